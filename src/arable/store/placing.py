"""Snapshots for placement: a zone's hosts as they are in this transaction."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import select, text

from arable.domain.host import HostState
from arable.domain.ids import HostId, MachineId, PodId, PoolId, ZoneId
from arable.domain.move import BOUND
from arable.domain.units import Size
from arable.store import schema
from arable.store.database import Tx
from arable.store.many import among

HOSTS = """
    select h.id, h.name, h.pod,
           case when h.awaited then 'yet to say what it runs'
                when h.rests and h.state = 'up' then 'going to sleep'
                when h.state = 'asleep' and not h.rests then 'being woken' else h.state end,
           h.maintenance, h.roles, h.tags, p.enabled,
           h.tunnel_address = '' and (select z.isolation from zone z where z.id = h.zone) = 'vxlan',
           h.cpu_mhz * h.cpu_percent / 100, h.memory_mib * h.memory_percent / 100,
           h.disk_mib * h.disk_percent / 100,
           h.reserved_cpu_mhz, h.reserved_memory_mib, h.reserved_disk_mib, h.machines, h.pool, h.disk_full, h.generation
    from host h join pod p on p.id = h.pod
"""
"""Rows from which `Reader` makes what the placer needs."""
_hosts = text(f"{HOSTS} where h.zone = :zone")
_routers = text(f"{HOSTS} where h.zone = :zone and h.roles like '%\"routing\"%'")
_roles = msgspec.json.Decoder(list[str])


WAKABLE = frozenset({"is asleep", "is being woken", "is going to sleep"})
"""Of those that take no machines, why some will when they are woken."""


class HostSeen(msgspec.Struct, frozen=True, gc=False):
    """A host as the placer needs it."""

    id: HostId
    name: str
    pod: PodId
    free: Size
    limit: Size
    tags: frozenset[str]
    roles: frozenset[str]
    refuses: str
    machines: int
    pool: PoolId | None
    full: bool  # its pool gets no further disks
    generation: int


class Reader:
    """Makes them. Ten thousand are much alike: what they have in common is made once."""

    def __init__(self) -> None:
        self._words: dict[str, frozenset[str]] = {}
        self._limits: dict[tuple[int, int, int], Size] = {}

    def seen(self, row: Sequence[Any]) -> HostSeen:
        """One of `HOSTS`."""
        (id_, name, pod, state, maintenance, roles, tags, enabled, cut_off) = row[:9]
        mhz, memory, disk, used_mhz, used_memory, used_disk, machines = row[9:16]
        pool, full, generation = row[16:]
        refuses = ""
        if state != HostState.UP:
            refuses = f"is {state}"
        elif maintenance:
            refuses = "is in maintenance"
        elif not enabled:
            refuses = "its pod is disabled"
        elif cut_off:
            refuses = "has no address for tunnels, which its zone's networks need"
        limit = self._limits.get((mhz, memory, disk))
        if limit is None:
            limit = self._limits[mhz, memory, disk] = Size(0, mhz, memory, disk)
        return HostSeen(
            id_,
            name,
            pod,
            Size(0, mhz - used_mhz, memory - used_memory, disk - used_disk),
            limit,
            self._set(tags),
            self._set(roles),
            refuses,
            machines,
            pool,
            bool(full),
            generation,
        )

    def _set(self, raw: str) -> frozenset[str]:
        found = self._words.get(raw)
        if found is None:
            found = self._words[raw] = frozenset(_roles.decode(raw))
        return found


def hosts(tx: Tx, zone: ZoneId) -> list[HostSeen]:
    """Every host of the zone. Whoever asks again and again remembers them (`zone_hosts.py`)."""
    reader = Reader()
    return [reader.seen(row) for row in tx.execute(_hosts, {"zone": zone})]


def routers(tx: Tx, zone: ZoneId) -> list[HostSeen]:
    """Those of the zone's hosts on which routing appliances run."""
    reader = Reader()
    found = [reader.seen(row) for row in tx.execute(_routers, {"zone": zone})]
    return [host for host in found if "routing" in host.roles]


class Membership(NamedTuple):
    """A machine's placement group."""

    machine: MachineId
    group: str
    rule: str
    strict: bool


def memberships(tx: Tx, machines: Iterable[MachineId]) -> dict[MachineId, list[Membership]]:
    """The placement groups of each of these machines."""
    member, group = schema.group_member.c, schema.placement_group.c
    query = (
        select(member.machine, group.id, group.rule, group.strict)
        .join(schema.placement_group, group.id == member.group)
        .where(among(tx, member.machine, machines))
        .order_by(member.machine, group.id)
    )
    found: dict[MachineId, list[Membership]] = {}
    for row in tx.execute(query).all():
        found.setdefault(row[0], []).append(Membership._make(row))
    return found


def hold_groups(tx: Tx, groups: Iterable[str]) -> None:
    """Place their members alone: those of one group may be in farms that different servers act for."""
    group = schema.placement_group.c
    query = select(group.id).where(among(tx, group.id, groups)).order_by(group.id)
    tx.execute(query.with_for_update(key_share=True)).all()


def group_hosts(tx: Tx, groups: Iterable[str]) -> dict[str, list[HostId]]:
    """For each placement group the hosts of its members; a host stands once for each member.

    A member that moves is on both: that where it is, and that to which it goes.
    """
    member, machine, move = schema.group_member, schema.machine, schema.move
    going = (
        select(member.c.group, move.c.target)
        .join(move, move.c.id == member.c.machine)
        .where(among(tx, member.c.group, groups), move.c.stage.in_(BOUND))
    )
    query = (
        select(member.c.group, machine.c.host)
        .join(machine, machine.c.id == member.c.machine)
        .where(among(tx, member.c.group, groups), machine.c.host.is_not(None))
    )
    found: dict[str, list[HostId]] = {}
    for group, host in (*tx.execute(query), *tx.execute(going)):
        found.setdefault(group, []).append(host)
    return found
