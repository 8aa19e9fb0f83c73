"""Labs for tests: each at a directory of its own, and so with names of its own, whoever else runs one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from arable.lab import build, topology
from arable.lab.power import Site
from arable.runtime.clock import RealClock

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def two_pods(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A lab with two pods; the tests of a module share it, so each leaves it as it found it."""
    topo = topology.load(EXAMPLES / "lab.yaml")
    with build.lab(topo, tmp_path_factory.mktemp("lab"), RealClock()) as site:
        yield site
