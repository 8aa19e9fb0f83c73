"""What hosts are told is written as documents; they are what the values of the protocol would be."""

import msgspec
import pytest

from arable.controllers import wishes
from arable.domain.ids import HostId, MachineId, NetworkId, NicId, PoolId, VolumeId
from arable.domain.machine import Boot
from arable.domain.manifest import (
    DiskWish,
    GuestWish,
    ImagePart,
    LeaseWish,
    PartFormat,
    PartRole,
    PortWish,
    Power,
    Seed,
)
from arable.domain.units import MIB
from arable.store.attention import BootRow, MachineRow, NicRow, VolumeRow

encode = msgspec.json.encode
ID = MachineId("machine-a")
KERNEL = ImagePart(role=PartRole.KERNEL, sha256="b" * 64, bytes=5, format=PartFormat.BLOB)
DISK = ImagePart(
    role=PartRole.DISK, sha256="a" * 64, bytes=7, format=PartFormat.QCOW2, virtual_bytes=9
)
SEED = Seed(meta_data='instance-id: "ü"\n', user_data="#!/bin/sh\n\\")
NIC = NicRow(
    id=NicId("nic-a"),
    machine=ID,
    network=NetworkId("network-a"),
    mac="0a:00:00:00:00:01",
    address="10.1.0.2",
    rate_kbps=100,
    vlan=7,
    appliance_host=HostId("host-r"),
    appliance_state="running",
    position=2,
    is_default=False,
)


def row(**but) -> MachineRow:
    usual = {
        **dict.fromkeys(MachineRow._fields, 0),
        "id": ID,
        "name": "web",
        "wish": "running",
        "boots": 3,
        "cpus": 2,
        "cpu_mhz": 4000,
        "memory_mib": 512,
        "generation": 5,
    }
    return MachineRow(**{**usual, **but})


def volume(name: str, **but) -> VolumeRow:
    usual = {"machine": ID, "pool": None, "host": None, "mib": 3, "iops": 4}
    more = {"bytes_per_second": 5, "source": None, "erasing": False}
    return VolumeRow(**{"id": VolumeId(name), **usual, **more, **but})


@pytest.mark.parametrize("boot", [Boot(), Boot((KERNEL,), 'console="ttyS0"')])
@pytest.mark.parametrize(
    ("but", "power", "force"),
    [
        ({}, Power.ON, False),
        ({"wish": "stopped", "force": 1}, Power.OFF, True),
        ({"giving_up": True}, Power.OFF, True),
    ],
)
def test_a_guest_is_told_as_the_value_would_be(boot, but, power, force):
    volumes = [
        volume("volume-a", source=encode(DISK).decode()),
        volume("volume-b", pool=PoolId("pool-other")),
    ]
    boots = BootRow(ID, encode(boot).decode(), encode(SEED).decode())
    leaving = NIC._replace(id=NicId("nic-b"), leaving=True)
    nics = [NIC, leaving]
    item = wishes.guest(row(**but), 9, boots, HostId("host-a"), nics, volumes, PoolId("pool-a"))
    wish = GuestWish(
        machine=ID,
        generation=9,
        name="web",
        power=power,
        force=force,
        boots=3,
        cpus=2,
        cpu_mhz=4000,
        memory_mib=512,
        parts=boot.parts,
        command_line=boot.command_line,
        disks=(
            DiskWish(
                volume=VolumeId("volume-a"),
                pool=PoolId("pool-a"),
                bytes=3 * MIB,
                source=DISK,
                iops=4,
                bytes_per_second=5,
            ),
            DiskWish(
                volume=VolumeId("volume-b"),
                pool=PoolId("pool-other"),
                bytes=3 * MIB,
                iops=4,
                bytes_per_second=5,
            ),
        ),
        ports=(
            PortWish(
                nic=NIC.id,
                network=NIC.network,
                vlan=7,
                mac=NIC.mac,
                address=NIC.address,
                rate_kbps=100,
                position=2,
            ),
        ),
        seed=SEED,
    )
    assert item.body
    assert msgspec.json.decode(item.body, type=GuestWish) == wish
    assert msgspec.json.decode(item.body).keys() <= msgspec.to_builtins(wish).keys()


def test_who_is_told_that_a_disk_is_there_already():
    boots = BootRow(ID, encode(Boot()).decode(), encode(SEED).decode())
    kept = volume("volume-b", stays=True, made=5)
    view = volume("volume-c", view_of=VolumeId("volume-z"))

    def told(ran: int, generation: int) -> list[bool]:
        disks = [volume("volume-a"), kept, kept._replace(made=-1), view]
        item = wishes.guest(
            row(ran=ran), generation, boots, HostId("host-a"), [], disks, PoolId("pool-a")
        )
        assert item.body
        return [disk.made for disk in msgspec.json.decode(item.body, type=GuestWish).disks]

    assert told(0, 4) == [False, False, True, False]
    assert told(4, 4) == [False, False, True, False], "what was told once is told the same way"
    assert told(4, 5) == [True, False, True, False]
    assert told(4, 6) == [True, True, True, False]


def test_a_lease_is_told_as_the_value_would_be():
    item = wishes.lease("web", NIC, HostId("host-r"), encode(SEED).decode())
    wish = LeaseWish(
        nic=NIC.id,
        network=NIC.network,
        mac=NIC.mac,
        address=NIC.address,
        name="web",
        inner=True,
        seed=SEED,
    )
    assert (item.host, item.id, item.body) == ("host-r", NIC.id, encode(wish).decode())
