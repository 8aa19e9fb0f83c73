"""The configuration of a storage host that shares its disks, and of hosts between which machines move."""

from pathlib import Path

import pytest

from arable.agent.config import File, Iscsi, Libvirt, Nbd, read, written
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


def test_it_may_be_iscsi_on_ports_of_its_own(tmp_path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(GOOD.replace("driver: nbd", "driver: iscsi"))
    config = read(path)
    assert config.storage == Iscsi(address="10.0.0.9", lease_seconds=20)
    assert (config.storage.first_port, config.storage.last_port) == (3260, 4283)


def test_it_may_keep_a_directory_that_others_have_mounted(tmp_path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(GOOD.replace("driver: nbd", "driver: file, directory: /srv/pool"))
    storage = read(path).storage
    assert storage == File(address="10.0.0.9", directory=Path("/srv/pool"), lease_seconds=20)


@pytest.mark.parametrize(
    ("but", "field"),
    [
        ("driver: file", "storage.directory"),
        ("driver: file, directory: pool", "storage.directory"),
        ("driver: file, directory: /srv/pool, port: 0", "storage.port"),
        ("driver: file, directory: /srv/pool, first_port: 7", "storage"),
    ],
)
def test_what_is_wrong_with_such_a_directory_is_named(tmp_path, but, field) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(GOOD.replace("driver: nbd", but))
    with pytest.raises(BadInput) as refused:
        read(path)
    assert refused.value.field == field


def test_directories_that_are_mounted_are_absolute(tmp_path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(GOOD + "file_pools: [/srv/one, /srv/two]\n")
    assert read(path).file_pools == [Path("/srv/one"), Path("/srv/two")]
    path.write_text(GOOD + "file_pools: [/srv/one, two]\n")
    with pytest.raises(BadInput) as refused:
        read(path)
    assert refused.value.field == "file_pools.1"


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


COMPUTE = """
directory: /var/lib/arable
servers: ["10.0.0.1:8443"]
hypervisor: {driver: libvirt, move_address: 10.0.0.7, first_move_port: 50000, last_move_port: 50009}
storage: {driver: local}
"""


def test_where_guests_come_in_may_be_said(tmp_path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(COMPUTE)
    hypervisor = read(path).hypervisor
    assert isinstance(hypervisor, Libvirt)
    assert hypervisor.move_address == "10.0.0.7"
    assert (hypervisor.first_move_port, hypervisor.last_move_port) == (50000, 50009)


@pytest.mark.parametrize(
    ("was", "but", "field"),
    [
        ("10.0.0.7", "h7.example.org", "hypervisor.move_address"),
        ("10.0.0.7", "0.0.0.0", "hypervisor.move_address"),
        ("50000", "0", "hypervisor.first_move_port"),
        ("50009", "70000", "hypervisor.last_move_port"),
        ("50009", "49999", "hypervisor.last_move_port"),
    ],
)
def test_where_they_can_not_is_named(tmp_path, was, but, field) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(COMPUTE.replace(was, but))
    with pytest.raises(BadInput) as refused:
        read(path)
    assert refused.value.field == field
