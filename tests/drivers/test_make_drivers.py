"""The data that driver tests rely on is what it says it is."""

import json
import subprocess

import pytest

from arable.domain.units import MIB
from drivers import make_drivers as make


@pytest.mark.real
def test_our_small_qcow2_is_valid_and_reads_back(tmp_path) -> None:
    path = tmp_path / "small.qcow2"
    path.write_bytes(make.qcow2(virtual_bytes=3 * MIB, content=b"boot me"))
    checked = subprocess.run(
        ["qemu-img", "check", "-f", "qcow2", "--output=json", path], capture_output=True, check=True
    )
    assert json.loads(checked.stdout)["check-errors"] == 0
    raw = tmp_path / "small.raw"
    subprocess.run(
        ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, raw],
        check=True,
    )
    assert raw.stat().st_size == 3 * MIB
    assert raw.read_bytes()[:7] == b"boot me"
