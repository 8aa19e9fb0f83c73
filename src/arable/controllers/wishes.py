"""What a host should be told of a machine: pure functions from rows to the items of manifests.

Written on every change, and again by the slow check in `repair.py`: both must agree to the byte, so nothing here may
depend on when it is called.
"""

from collections.abc import Sequence

import msgspec

from arable.domain.ids import HostId, MachineId, PoolId
from arable.domain.machine import Boot, MachineWish
from arable.domain.manifest import (
    DiskWish,
    GuestWish,
    ImagePart,
    ItemKind,
    LeaseWish,
    PortWish,
    Power,
    ScrapWish,
    Seed,
)
from arable.domain.units import MIB
from arable.store.attention import MachineRow, NicRow, VolumeRow
from arable.store.routing import LeaseRow
from arable.store.wishes import Item

_boot = msgspec.json.Decoder(Boot)
_seed = msgspec.json.Decoder(Seed)
_part = msgspec.json.Decoder(ImagePart)
_encode = msgspec.json.Encoder().encode


def guest(
    machine: MachineRow,
    host: HostId,
    nics: Sequence[NicRow],
    volumes: Sequence[VolumeRow],
    pool: PoolId,
) -> Item:
    """The machine on its host. `pool` is for volumes that have none yet."""
    boot = _boot.decode(machine.boot)
    on = machine.wish == MachineWish.RUNNING and not machine.giving_up
    wish = GuestWish(
        machine=machine.id,
        generation=machine.generation,
        name=machine.name,
        power=Power.ON if on else Power.OFF,
        force=bool(machine.force) or machine.giving_up,
        boots=machine.boots,
        cpus=machine.cpus,
        cpu_mhz=machine.cpu_mhz,
        memory_mib=machine.memory_mib,
        parts=boot.parts,
        command_line=boot.command_line,
        disks=tuple(
            DiskWish(
                volume=volume.id,
                pool=volume.pool or pool,
                bytes=volume.mib * MIB,
                source=_part.decode(volume.source) if volume.source else None,
                iops=volume.iops,
                bytes_per_second=volume.bytes_per_second,
            )
            for volume in volumes
        ),
        ports=tuple(
            PortWish(
                nic=nic.id,
                network=nic.network,
                vlan=nic.vlan,
                mac=nic.mac,
                address=nic.address,
                rate_kbps=nic.rate_kbps,
            )
            for nic in nics
        ),
        seed=_seed.decode(machine.seed),
    )
    return Item(host, ItemKind.GUEST, machine.id, _encode(wish).decode())


def lease(machine_name: str, nic: NicRow | LeaseRow, host: HostId) -> Item:
    """A NIC's address and name, for the host of its network's appliance."""
    wish = LeaseWish(
        nic=nic.id, network=nic.network, mac=nic.mac, address=nic.address, name=machine_name
    )
    return Item(host, ItemKind.LEASE, nic.id, _encode(wish).decode())


def scrap(volume: VolumeRow, host: HostId, pool: PoolId) -> Item:
    """Erase this volume on the host whose pool holds it."""
    wish = ScrapWish(volume=volume.id, pool=pool)
    return Item(host, ItemKind.SCRAP, volume.id, _encode(wish).decode())


def guest_gone(host: HostId, machine: MachineId) -> Item:
    """The machine has no business on this host any more."""
    return Item(host, ItemKind.GUEST, machine, None)
