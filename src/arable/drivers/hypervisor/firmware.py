"""The small firmware that QEMU has for guests with a kernel of their own.

The usual one (SeaBIOS) readies a whole PC, with all that one may boot from. Such a guest boots from nothing: QEMU hands its kernel over.
On an emulated processor what it does not need is a fifth of a small guest's start (docs/decisions/0063).
"""

from collections.abc import Sequence
from pathlib import Path

_PLACES = (Path("/usr/share/qemu/qboot.rom"), Path("/usr/local/share/qemu/qboot.rom"))


def small(accelerator: str, places: Sequence[Path] = _PLACES) -> Path | None:
    """Where it is on this host; None where there is none, and under KVM, where there is nothing to be gained and it was never tried."""
    if accelerator != "tcg":
        return None
    return next((place for place in places if place.exists()), None)
