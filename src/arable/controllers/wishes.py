"""What a host should be told of a machine: pure functions from rows to the items of manifests.

Written on every change, and again by the slow check in `repair.py`: both must agree to the byte, so nothing here may
depend on when it is called.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import msgspec
from msgspec import Raw

from arable.domain.group import Strategy
from arable.domain.guest_ipv6 import address_of
from arable.domain.ids import HostId, MachineId, PoolId
from arable.domain.machine import Boot, MachineWish
from arable.domain.manifest import ItemKind, Power, ScrapWish
from arable.domain.move import MoveStage
from arable.domain.units import MIB
from arable.domain.volume import LEAVING, Change, is_made
from arable.store.attention import BootRow, MachineRow, NicRow, VolumeRow
from arable.store.moves import MoveRow
from arable.store.routing import LeaseRow
from arable.store.wishes import Item

_boot = msgspec.json.Decoder(Boot).decode
_encode = msgspec.json.Encoder().encode


def guest(
    machine: MachineRow,
    generation: int,
    boot: BootRow,
    host: HostId,
    nics: Sequence[NicRow],
    volumes: Sequence[VolumeRow],
    pool: PoolId,
    move: MoveRow | None = None,
    shift: MoveRow | None = None,
) -> Item:
    """The machine on its host, a `GuestWish` of that generation. `pool` is for local volumes that have none yet.

    Written as the document that it becomes: the value itself, and those in it, would cost three times as much, and
    what is JSON in the rows would be read and written once more. A test compares it with the value, field by field.
    """
    parts, command_line = _booted(boot.boot)
    on = machine.wish == MachineWish.RUNNING and not machine.giving_up
    wish = {
        "machine": machine.id,
        "generation": generation,
        "name": machine.name,
        "power": Power.ON if on else Power.OFF,
        "force": bool(machine.force or machine.giving_up),
        "boots": machine.boots,
        "cpus": machine.cpus,
        "cpu_mhz": machine.cpu_mhz,
        "memory_mib": machine.memory_mib,
        "parts": parts,
        "command_line": command_line,
        "disks": [
            _disk(v, pool, _made(machine, v, generation), shared=True)
            for v in volumes
            if v.change not in LEAVING
        ],
        "ports": [_port(nic) for nic in nics if not nic.leaving],
        "seed": Raw(boot.seed),
    }
    if machine.epoch:
        wish["epoch"] = machine.epoch
    if boot.password:
        wish["password"] = Raw(boot.password)
    if move is not None:
        wish["move"] = {
            "source": move.source,
            "target": move.target,
            "epoch": move.epoch,
            "address": move.address,
            "bytes_per_second": move.bytes_per_second,
            "downtime_ms": move.downtime_ms,
            "seconds": move.seconds,
        }
    if shift is not None:
        wish["shift"] = {
            "epoch": shift.epoch,
            "target": {"host": shift.wanted, "address": shift.address},
            "bytes_per_second": shift.bytes_per_second,
        }
    return Item(host, ItemKind.GUEST, machine.id, _encode(wish).decode())


def _port(nic: NicRow) -> dict[str, object]:
    """A `PortWish`."""
    wish: dict[str, object] = {
        "nic": nic.id,
        "network": nic.network,
        "vlan": nic.vlan,
        "mac": nic.mac,
        "address": nic.address,
        "rate_kbps": nic.rate_kbps,
        "position": nic.position,
    }
    if nic.ipv6_cidr:
        wish["ipv6"] = address_of(nic.ipv6_cidr, nic.mac)
    return wish


def moving(
    machine: MachineRow,
    boot: BootRow,
    nics: Sequence[NicRow],
    volumes: Sequence[VolumeRow],
    move: MoveRow,
) -> list[Item]:
    """All that hosts are told of a machine that is on its way (docs/decisions/0008), as far as its move is.

    Its target never is told that the machine should be off: whoever wants that has the move taken back first.
    """
    assert machine.host is not None
    assert move.target is not None
    told, pool = machine.told, PoolId("")
    if move.shifts:
        here = guest(machine, told, boot, machine.host, nics, volumes, pool, shift=move)
        return [here, *moving_export(machine, volumes, move), *copies(machine, volumes, move)]
    sent = move if move.address else None
    there = machine._replace(epoch=move.epoch)
    return [
        guest(machine, told, boot, machine.host, nics, volumes, pool, sent),
        guest(there, told, boot, move.target, nics, volumes, pool, move),
        *moving_export(machine, volumes, move),
    ]


def moving_export(machine: MachineRow, volumes: Sequence[VolumeRow], move: MoveRow) -> list[Item]:
    """The part of that which is its storage host's. While the move is taken back, nobody is to have it but its source."""
    if move.stage == MoveStage.RETURNING:
        return export(machine, move.generation, volumes)
    return export(machine, machine.told, volumes, move)


def copies(machine: MachineRow, volumes: Sequence[VolumeRow], move: MoveRow) -> list[Item]:
    """What the storage host is told to which the disks of a machine go that runs (docs/decisions/0055).

    What is copied there is as fast as it can be: what the guest may write, its own storage host sees to.
    """
    there = [
        volume._replace(
            pool=move.pool,
            host=move.wanted,
            address=move.address,
            iops=0,
            bytes_per_second=0,
        )
        for volume in volumes
    ]
    return export(machine, machine.told, there, beside=True)


def export(
    machine: MachineRow,
    generation: int,
    volumes: Sequence[VolumeRow],
    move: MoveRow | None = None,
    *,
    beside: bool = False,
) -> list[Item]:
    """Who may have the lease of a machine with shared disks, an `ExportWish` on their storage host; none without any.

    With a `move`, its target may be handed it; what is `beside` is to be made there.
    """
    shared = [volume for volume in volumes if volume.address and volume.change != Change.CUT]
    if not shared or shared[0].host is None or machine.host is None:
        return []
    wish = {
        "machine": machine.id,
        "generation": generation,
        "holder": machine.host,
        "epoch": machine.epoch,
        "disks": [
            _disk(
                volume,
                PoolId(""),
                not beside and _made(machine, volume, generation),
                shared=False,
            )
            for volume in shared
        ],
        "fenced": machine.fenced,
    }
    if volumes[0].storage_zone:  # its first disk, which was made with it, in its farm's
        wish["storage_zone"] = volumes[0].storage_zone
    if any(volume.replicated for volume in shared):
        wish["guarded"] = True
    if machine.uprooted:
        wish["uprooted"] = machine.uprooted
    if move is not None:
        heir = {"host": move.target, "epoch": move.epoch}
        wish["heir"] = heir | {"away": True} if move.shifts else heir
    if beside:
        wish["beside"] = True
    return [Item(shared[0].host, ItemKind.EXPORT, machine.id, _encode(wish).decode())]


def _disk(volume: VolumeRow, pool: PoolId, made: bool, *, shared: bool) -> dict[str, object]:
    """A `DiskWish`; with `shared`, where a compute host finds a disk that is not its own."""
    wish: dict[str, object] = {
        "volume": volume.id,
        "pool": volume.pool or pool,
        "bytes": volume.mib * MIB,
        "source": Raw(volume.source) if volume.source else None,
        "iops": volume.iops,
        "bytes_per_second": volume.bytes_per_second,
    }
    if volume.position:
        wish["position"] = volume.position
    if volume.view_of:
        wish["view_of"] = volume.view_of
    if volume.read_only:
        wish["read_only"] = True
    if made:
        wish["made"] = True
    if not shared and volume.storage_zone:
        wish |= {"storage_zone": volume.storage_zone, "zoned": volume.zoned}
    if shared and volume.address:
        wish["shared"] = {"host": volume.host, "address": volume.address}
    return wish


def _made(machine: MachineRow, volume: VolumeRow, generation: int) -> bool:
    """Whether the volume was there before that generation. A view shows another one, and may be made at any time."""
    if volume.view_of:
        return False
    return is_made(volume.made if volume.stays else machine.ran, generation)


@lru_cache(maxsize=1024)
def _booted(text: str) -> tuple[Raw, str]:
    """The parts, as JSON, and the command line: the same for all machines of an image's version."""
    boot = _boot(text)
    return Raw(_encode(boot.parts)), boot.command_line


def why_placed(strategy: Strategy, considered: int, refused: Mapping[str, int]) -> str:
    """What `explain` tells about how a machine found its host, as JSON."""
    told = {"placed by": strategy, "hosts considered": considered, "hosts refused": refused}
    return _encode(told).decode()


def lease(machine_name: str, nic: NicRow | LeaseRow, host: HostId, seed: str) -> Item:
    """A NIC's address and name, for the host of its network's appliance: a `LeaseWish`. `seed` is JSON."""
    wish = {
        "nic": nic.id,
        "network": nic.network,
        "mac": nic.mac,
        "address": nic.address,
        "name": machine_name,
        "inner": not nic.is_default,
        "seed": Raw(seed),
    }
    if nic.ipv6_cidr:
        wish["ipv6"] = address_of(nic.ipv6_cidr, nic.mac)
    return Item(host, ItemKind.LEASE, nic.id, _encode(wish).decode())


def scrap(volume: VolumeRow, host: HostId, pool: PoolId) -> Item:
    """Erase this volume on the host whose pool holds it."""
    wish = ScrapWish(volume=volume.id, pool=pool)
    return Item(host, ItemKind.SCRAP, volume.id, _encode(wish).decode())


def leaves(
    machine: MachineId, host: HostId, pool: PoolId | None, volumes: Sequence[VolumeRow]
) -> list[Item]:
    """A machine with shared disks is off, or goes elsewhere: nobody gets its lease anew, and the cloud-init data that
    its host kept beside its own disks is erased there. Its guest's item is another matter.
    """
    shared = [volume for volume in volumes if volume.address and volume.host]
    if not shared:
        return []
    first = shared[0]
    items = [Item(first.host, ItemKind.EXPORT, machine, None)] if first.host else []
    if pool is not None and pool != first.pool:  # there the volume itself would be erased
        items.append(scrap(first, host, pool))
    return items


def seed_left(host: HostId, pool: PoolId | None, volumes: Sequence[VolumeRow]) -> list[Item]:
    """Cloud-init data of a machine with shared disks that runs elsewhere is erased where it was."""
    first = next((volume for volume in volumes if volume.shared), None)
    if first is None or pool is None or pool == first.pool:
        return []
    return [scrap(first, host, pool)]


def arrives(host: HostId, pool: PoolId, volumes: Sequence[VolumeRow]) -> list[Item]:
    """Cloud-init data of a machine that comes back is not to be erased any more."""
    first = next((volume for volume in volumes if volume.shared), None)
    return [Item(host, ItemKind.SCRAP, first.id, None)] if first and pool != first.pool else []


def guest_gone(host: HostId, machine: MachineId) -> Item:
    """The machine has no business on this host any more."""
    return Item(host, ItemKind.GUEST, machine, None)
