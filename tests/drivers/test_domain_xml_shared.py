"""What libvirt is told of a disk on a storage host."""

from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest

from arable.domain.errors import BadInput
from arable.domain.manifest import PartFormat
from arable.drivers.hypervisor.domain_xml import Console, Tuning, render
from arable.drivers.hypervisor.protocol import GuestDisk, NbdSource
from drivers import make_drivers as make

AT = NbdSource(address="172.31.0.9", port=10809, name="volume-v.e3", server="host-s")


def rendered(source: NbdSource):
    disk = GuestDisk(format=PartFormat.RAW, serial="v", nbd=source)
    console = Console(Path("/run/a.sock"), Path("/run/a.log"))
    made = render(make.guest(disks=(disk,)), console, Tuning("tcg", 2000, cap_cpu=False))
    return fromstring(made.xml).find("devices/disk")


def test_a_shared_disk_is_reached_by_tls_under_its_epochs_name_and_never_reports_an_error() -> None:
    disk = rendered(AT)
    assert disk.get("type") == "network"
    source = disk.find("source")
    assert source.attrib == {
        "protocol": "nbd",
        "name": "volume-v.e3",
        "tls": "yes",
        "tlsHostname": "host-s",
    }
    assert source.find("host").attrib == {"name": "172.31.0.9", "port": "10809"}
    driver = disk.find("driver").attrib
    assert (driver["type"], driver["cache"]) == ("raw", "none")
    assert (driver["error_policy"], driver["rerror_policy"]) == ("stop", "stop")


@pytest.mark.parametrize(
    "but",
    [
        {"address": "storage.example.org"},
        {"address": "172.31.0.9,export=other"},
        {"port": 0},
        {"port": 70_000},
        {"name": "volume v"},
        {"name": ""},
        {"server": "host-s'/>"},
    ],
)
def test_what_is_no_place_is_refused(but) -> None:
    with pytest.raises(BadInput):
        rendered(replace(AT, **but))
