"""Empty volumes: whether copied or made by the tool, the very same file."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from arable.domain.errors import Unavailable
from arable.domain.manifest import PartFormat
from arable.domain.units import GIB, MIB
from arable.drivers.storage.blanks import Backing, Blanks
from arable.drivers.storage.jail import Bounds, Done, Jail
from arable.runtime.clock import RealClock

pytestmark = pytest.mark.real

RAW = Backing(Path("/srv/images/a"), PartFormat.RAW)
KINDS = [
    (64 * MIB, None),
    (64 * MIB, RAW),
    (64 * MIB, Backing(RAW.path, PartFormat.QCOW2)),
    (64 * MIB, Backing(Path("/srv/images/b"), PartFormat.RAW)),
    (10 * GIB, RAW),
    (64 * 1024 * GIB, None),
]


class Counting(Jail):
    """Counts what it runs."""

    def __init__(self) -> None:
        super().__init__(RealClock())
        self.runs = 0

    def run(
        self,
        tool: str,
        arguments: Sequence[str],
        *,
        read: Sequence[Path] = (),
        write: Sequence[Path] = (),
        bounds: Bounds | None = None,
    ) -> Done:
        self.runs += 1
        return super().run(tool, arguments, read=read, write=write, bounds=bounds)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_copy_is_what_the_tool_would_have_made(tmp_path, kind):
    jail = Counting()
    blanks = Blanks(jail)
    blanks.make(tmp_path / "first", *kind)
    blanks.make(tmp_path / "copy", *kind)
    assert jail.runs == 1
    Blanks(jail).make(tmp_path / "made", *kind)
    assert jail.runs == 2
    made = (tmp_path / "made").read_bytes()
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "first").read_bytes() == made
    check = ["qemu-img", "info", "-U", "-f", "qcow2", str(tmp_path / "copy")]
    subprocess.run(check, check=True, capture_output=True)


def test_a_copy_keeps_the_holes(tmp_path):
    blanks = Blanks(Counting())
    for name in ("first", "copy"):
        blanks.make(tmp_path / name, 10 * GIB, RAW)
    first, copy = ((tmp_path / name).stat().st_blocks for name in ("first", "copy"))
    assert copy <= first


def test_every_kind_is_its_own(tmp_path):
    blanks = Blanks(Counting())
    made = set()
    for _ in range(2):
        for at, kind in enumerate(KINDS):
            blanks.make(tmp_path / str(at), *kind)
            made.add((tmp_path / str(at)).read_bytes())
    assert len(made) == len(KINDS)


def test_what_was_in_the_file_before_is_gone(tmp_path):
    blanks = Blanks(Counting())
    blanks.make(tmp_path / "good", 64 * MIB, RAW)
    (tmp_path / "copy").write_bytes(b"x" * MIB)
    blanks.make(tmp_path / "copy", 64 * MIB, RAW)
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "good").read_bytes()


def test_a_volume_is_nobody_elses_to_read(tmp_path):
    blanks = Blanks(Counting())
    for name in ("first", "copy"):
        blanks.make(tmp_path / name, 64 * MIB, RAW)
        assert (tmp_path / name).stat().st_mode & 0o077 == 0


def test_what_the_tool_refused_is_not_remembered(tmp_path):
    jail = Counting()
    blanks = Blanks(jail)
    for _ in range(2):
        with pytest.raises(Unavailable):
            blanks.make(tmp_path / "huge", 1 << 62, None)
    assert jail.runs == 2
