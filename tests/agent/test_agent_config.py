"""The configuration is read strictly: what is wrong is named."""

from pathlib import Path

import pytest

from arable.agent.config import Libvirt, Local, Namespace, Ovs, RouterMachines, read, written
from arable.domain.errors import BadInput

GOOD = """
directory: /var/lib/arable
servers: ["10.0.0.1:8443", "[fd00::1]:8443"]
name: rack-1
roles: [compute, routing]
tags: [ssd]
hypervisor: {driver: libvirt, uri: "qemu:///system"}
network: {driver: ovs, uplink: eth1}
storage: {driver: local, directory: /srv/pool}
appliances: {driver: namespace}
inventory: {cpus: 4, memory_mib: 4096}
"""


def test_a_whole_configuration_is_read(tmp_path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(GOOD)
    config = read(path)
    assert config.servers == ["10.0.0.1:8443", "[fd00::1]:8443"]
    assert config.hypervisor == Libvirt()
    assert config.network == Ovs(uplink="eth1")
    assert isinstance(config.storage, Local)
    assert config.inventory.memory_mib == 4096
    assert config.inventory.cpu_mhz is None


def test_what_is_written_is_read_as_it_was(tmp_path) -> None:
    path, again = tmp_path / "agent.yaml", tmp_path / "again.yaml"
    path.write_text(GOOD)
    again.write_bytes(written(read(path)))
    assert read(again) == read(path)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("tags: [ssd]", "tgas: [ssd]", ""),
        ("cpus: 4", "cpus: four", "inventory.cpus"),
        ("driver: libvirt", "driver: vmware", "hypervisor.driver"),
        ("uplink: eth1", "uplnik: eth1", "network"),
        ("roles: [compute, routing]", "roles: [compute, cooking]", "roles"),
        ('"10.0.0.1:8443"', '"10.0.0.1"', "servers.0"),
        ('"10.0.0.1:8443"', '"10.0.0.1:99999"', "servers.0"),
        ('servers: ["10.0.0.1:8443", "[fd00::1]:8443"]', "servers: []", "servers"),
        ("storage: {driver: local, directory: /srv/pool}", "", "storage"),
        ('hypervisor: {driver: libvirt, uri: "qemu:///system"}', "", "hypervisor"),
        ("appliances: {driver: namespace}", "", "appliances"),
        (
            "appliances: {driver: namespace}",
            "appliances: {driver: namespace, machines: {image: here}}",
            "appliances.machines.image",
        ),
        (
            "appliances: {driver: namespace}",
            "appliances: {driver: namespace, machines: {image: /srv/router, memory_mib: 64}}",
            "appliances.machines.memory_mib",
        ),
        ("name: rack-1", "name: [", ""),
        ("directory: /var/lib/arable", "", ""),
        ("directory: /var/lib/arable", "directory: 7", "directory"),
        ("directory: /var/lib/arable", 'directory: ""', "directory"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, old, new, field) -> None:
    assert old in GOOD
    path = tmp_path / "agent.yaml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(BadInput, match=r"agent\.yaml") as told:
        read(path)
    assert told.value.field == field


@pytest.mark.parametrize("text", ["", "[]", "7", "\x00"])
def test_what_is_no_configuration_is_refused(tmp_path, text) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(text)
    with pytest.raises(BadInput):
        read(path)


def test_routers_may_be_machines(tmp_path) -> None:
    path = tmp_path / "agent.yaml"
    machines = "appliances: {driver: namespace, machines: {image: /srv/router}}"
    path.write_text(GOOD.replace("appliances: {driver: namespace}", machines))
    config = read(path)
    assert isinstance(config.appliances, Namespace)
    assert config.appliances.machines == RouterMachines(image=Path("/srv/router"))


def test_a_missing_file_is_told(tmp_path) -> None:
    with pytest.raises(BadInput, match="no configuration"):
        read(tmp_path / "nowhere.yaml")
