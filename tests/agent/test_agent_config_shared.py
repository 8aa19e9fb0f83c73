"""The configuration of a storage host that shares its disks."""

from pathlib import Path

import pytest

from arable.agent.config import Nbd, read, written
from arable.domain.errors import BadInput

GOOD = """
directory: /var/lib/arable
servers: ["10.0.0.1:8443"]
roles: [storage]
storage: {driver: nbd, address: 10.0.0.9, lease_seconds: 20}
hardware_watchdog: /dev/watchdog
"""


def test_it_is_read_and_written_as_it_is(tmp_path) -> None:
    path, again = tmp_path / "agent.yaml", tmp_path / "again.yaml"
    path.write_text(GOOD)
    config = read(path)
    assert config.storage == Nbd(address="10.0.0.9", lease_seconds=20)
    assert config.hardware_watchdog == Path("/dev/watchdog")
    again.write_bytes(written(config))
    assert read(again) == config


@pytest.mark.parametrize(
    ("but", "field"),
    [
        ("address: storage.example.org", "storage.address"),
        ("address: 0.0.0.0", "storage.address"),
        ('address: "::"', "storage.address"),
        ("address: 10.0.0.9, lease_seconds: 4", "storage.lease_seconds"),
        ("address: 10.0.0.9, lease_seconds: 601", "storage.lease_seconds"),
        ("address: 10.0.0.9, port: 0", "storage.port"),
        ("address: 10.0.0.9, port: 10810", "storage.port"),
        ("address: 10.0.0.9, first_port: 20000, last_port: 19999", "storage.last_port"),
        ("address: 10.0.0.9, last_port: 70000", "storage.last_port"),
        ("lease_seconds: 20", "storage"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, but, field) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(GOOD.replace("address: 10.0.0.9, lease_seconds: 20", but))
    with pytest.raises(BadInput) as refused:
        read(path)
    assert refused.value.field == field
