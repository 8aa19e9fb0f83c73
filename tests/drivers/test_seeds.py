"""Seeds as a guest reads them: by label, by both kinds of long names, and the same bytes wherever they are made."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from arable.domain.ids import VolumeId
from arable.drivers.storage.seeds import Seeds
from arable.runtime.clock import RealClock
from drivers import make_drivers as make

pytestmark = pytest.mark.real

VOLUME = VolumeId("volume-a")
META, USER = "instance-id: machine-a\nlocal-hostname: web-1\n", "#cloud-config\npassword: x\n"


def seeds(folder: Path) -> Seeds:
    for name in ("seeds", "staging"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return Seeds(folder / "seeds", folder / "staging")


def tool(*command: object) -> bytes:
    return subprocess.run(list(map(str, command)), check=True, capture_output=True).stdout


@pytest.mark.parametrize("names", ["-R", "-J"], ids=["Rock Ridge", "Joliet"])
def test_a_guest_finds_both_files_by_name(tmp_path, names) -> None:
    path = seeds(tmp_path).ensure(VOLUME, META, USER)
    assert tool("isoinfo", names, "-i", path, "-x", "/meta-data") == META.encode()
    assert tool("isoinfo", names, "-i", path, "-x", "/user-data") == USER.encode()
    listed = tool("isoinfo", names, "-i", path, "-f").split()
    assert sorted(listed) == [b"/meta-data", b"/user-data"]


def test_a_guest_finds_the_disk_by_its_label(tmp_path) -> None:
    path = seeds(tmp_path).ensure(VOLUME, META, USER)
    told = tool("blkid", "-p", "-o", "export", path).decode().splitlines()
    assert "LABEL=cidata" in told
    assert "TYPE=iso9660" in told


def test_a_small_guest_finds_the_disk_by_its_label(tmp_path) -> None:
    path = seeds(tmp_path).ensure(VOLUME, META, USER)
    assert b'LABEL="cidata"' in tool("busybox", "blkid", path)


def test_the_same_content_makes_the_same_bytes_at_another_time(tmp_path) -> None:
    clock = RealClock()
    one = seeds(tmp_path / "one").ensure(VOLUME, META, USER).read_bytes()
    second = clock.now().replace(microsecond=0)
    make.wait_until(lambda: clock.now().replace(microsecond=0) != second, "the next second")
    other = seeds(tmp_path / "other").ensure(VolumeId("volume-b"), META, USER).read_bytes()
    assert one == other


def test_a_seed_that_is_right_is_left_alone(tmp_path) -> None:
    path = seeds(tmp_path).ensure(VOLUME, META, USER)
    before = path.stat()
    assert seeds(tmp_path).ensure(VOLUME, META, USER) == path
    assert path.stat() == before


@pytest.mark.parametrize(
    ("meta", "user"), [(META + "\n", USER), (META, USER + "\n"), (META + USER, ""), ("", "")]
)
def test_a_seed_with_other_content_is_replaced(tmp_path, meta, user) -> None:
    made = seeds(tmp_path)
    made.ensure(VOLUME, META, USER)
    path = made.ensure(VOLUME, meta, user)
    assert tool("isoinfo", "-R", "-i", path, "-x", "/meta-data") == meta.encode()
    assert tool("isoinfo", "-R", "-i", path, "-x", "/user-data") == user.encode()


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"x" * 100_000])
def test_a_damaged_seed_is_made_anew(tmp_path, content) -> None:
    made = seeds(tmp_path)
    good = made.ensure(VOLUME, META, USER).read_bytes()
    (tmp_path / "seeds/volume-a.iso").write_bytes(content)
    assert made.ensure(VOLUME, META, USER).read_bytes() == good


def test_what_is_in_a_seed_stands_nowhere_else(tmp_path) -> None:
    path = seeds(tmp_path).ensure(VOLUME, META, "password: canary-4711\n")
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]
    assert path.stat().st_mode & 0o077 == 0


# Bytes that look like the times which are taken out of the directory must stay in a file's content.
@given(
    meta=st.text(st.characters(exclude_categories=["Cs"])),
    user=st.text(st.characters(exclude_categories=["Cs"]), max_size=5000),
)
@example(meta="TF\x1a\x01\x0e" + "z" * 21, user="\x01CD001\x01" * 1000)
@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_text_arrives_as_it_is(tmp_path, meta, user) -> None:
    path = seeds(tmp_path).ensure(VOLUME, meta, user)
    assert tool("isoinfo", "-R", "-i", path, "-x", "/meta-data") == meta.encode()
    assert tool("isoinfo", "-R", "-i", path, "-x", "/user-data") == user.encode()
