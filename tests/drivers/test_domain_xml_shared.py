"""What libvirt is told of a disk on a storage host."""

from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import fromstring, tostring

import pytest

from arable.domain.errors import BadInput
from arable.domain.manifest import PartFormat
from arable.drivers.hypervisor.domain_xml import Console, Tuning, render
from arable.drivers.hypervisor.protocol import GuestDisk, IscsiSource, NbdSource
from arable.runtime.secret import Secret
from drivers import make_drivers as make

AT = NbdSource(address="172.31.0.9", port=10809, name="volume-v.e3", server="host-s")


UNIT = IscsiSource(
    address="172.31.0.9",
    port=3260,
    target="iqn.2026-11.internal.arable:volume-v.e3",
    initiator="iqn.2026-11.internal.arable:host-a",
    secret=Secret("nobody reads this"),
)


def rendered(source: NbdSource | IscsiSource):
    far = {"nbd": source} if isinstance(source, NbdSource) else {"iscsi": source}
    disk = GuestDisk(format=PartFormat.RAW, serial="v", **far)
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


def test_an_iscsi_disk_is_reached_under_its_holders_name_and_its_secret_is_not_said() -> None:
    disk = rendered(UNIT)
    assert disk.get("type") == "network"
    assert b"nobody reads this" not in tostring(disk)
    source = disk.find("source")
    assert source.attrib == {"protocol": "iscsi", "name": f"{UNIT.target}/1"}
    assert source.find("host").attrib == {"name": "172.31.0.9", "port": "3260"}
    assert source.find("initiator/iqn").attrib == {"name": UNIT.initiator}
    assert source.find("auth").attrib == {"username": UNIT.initiator}
    assert source.find("auth/secret").attrib == {"type": "iscsi", "usage": UNIT.target}
    driver = disk.find("driver").attrib
    assert (driver["type"], driver["cache"]) == ("raw", "none")
    assert (driver["error_policy"], driver["rerror_policy"]) == ("stop", "stop")


@pytest.mark.parametrize(
    "but",
    [
        {"address": "storage.example.org"},
        {"port": 70_000},
        {"target": "volume-v.e3"},
        {"target": "iqn.2026-11.internal.arable:volume v"},
        {"target": "iqn.2026-11.internal.arable:volume-v/2"},
        {"initiator": ""},
    ],
)
def test_what_is_no_place_of_iscsi_is_refused(but) -> None:
    with pytest.raises(BadInput):
        rendered(replace(UNIT, **but))
