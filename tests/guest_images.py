"""The small guest that tests of real drivers run, built once for all runs (in the clone's cache)."""

from functools import cache
from pathlib import Path

from arable.lab.guest_image import GuestImage, build

CACHE = Path(__file__).parents[1] / ".cache" / "guest"


@cache
def image() -> GuestImage:
    return build(CACHE, print)
