"""What libvirt is told of a router's machine."""

from pathlib import Path
from xml.etree.ElementTree import fromstring

from arable.domain.ids import NetworkId
from arable.drivers.appliance.vm.libvirt_machines import MARK, LibvirtMachines, name_of
from arable.drivers.appliance.vm.machines import Card, Machine
from arable.drivers.appliance.vm.words import CHANNEL
from arable.drivers.hypervisor import domain_xml
from arable.runtime.clock import VirtualClock

NETWORK = NetworkId("network-0mh5z1x2k3q8w7e6r5t4")


def definition(tmp_path: Path, *cards: Card):
    machines = LibvirtMachines(
        "test:///none",
        tmp_path / "image",
        tmp_path,
        VirtualClock(),
        accelerator="tcg",
        memory_mib=300,
    )
    line, log = tmp_path / "line", tmp_path / "log"
    return fromstring(
        machines.definition(Machine(network=NETWORK, cards=cards, line=line, log=log))
    )


def test_it_is_none_of_the_hypervisors_guests(tmp_path) -> None:
    made = definition(tmp_path)
    assert made.findtext("name") == name_of(NETWORK) == "router-0mh5z1x2k3q8w7e6r5t4"
    (mark,) = made.find("metadata")
    assert mark.tag.startswith(f"{{{MARK}}}")
    assert made.find(f"metadata/{{{domain_xml.NAMESPACE}}}guest") is None


def test_it_ends_rather_than_start_again_by_itself(tmp_path) -> None:
    made = definition(tmp_path)
    assert [made.findtext(f"on_{what}") for what in ("poweroff", "reboot", "crash")] == [
        "destroy"
    ] * 3


def test_it_writes_to_no_disk_and_has_the_line(tmp_path) -> None:
    made = definition(tmp_path)
    (disk,) = made.findall("devices/disk")
    assert disk.find("readonly") is not None
    assert disk.find("source").get("file") == str(tmp_path / "image/root.img")
    (channel,) = made.findall("devices/channel")
    assert channel.find("target").get("name") == CHANNEL
    assert channel.find("source").attrib == {"mode": "bind", "path": str(tmp_path / "line")}
    assert made.findtext("memory") == "300"


def test_its_cards_are_those_that_are_wanted(tmp_path) -> None:
    cards = [Card(device=f"r{n}abc", mac=f"0a:00:00:00:00:0{n}", place=n) for n in (1, 3)]
    found = definition(tmp_path, *cards).findall("devices/interface")
    assert [each.find("target").get("dev") for each in found] == ["r1abc", "r3abc"]
    places = [tuple(sorted(each.find("address").items())) for each in found]
    assert len(set(places)) == 2, "each has its own place"
    (alone,) = definition(tmp_path, cards[1]).findall("devices/interface")
    assert tuple(sorted(alone.find("address").items())) == places[1], "whatever others there are"
