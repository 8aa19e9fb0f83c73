"""Snapshots for placement: a zone's hosts as they are in this transaction."""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec
from sqlalchemy import select, text

from arable.domain.host import HostState
from arable.domain.ids import HostId, MachineId, PodId, PoolId, ZoneId
from arable.domain.units import Size
from arable.store import schema
from arable.store.database import Tx
from arable.store.many import among

_HOSTS = """
    select h.id, h.name, h.pod, h.state, h.maintenance, h.roles, h.tags, p.enabled,
           h.cpu_mhz * h.cpu_percent / 100, h.memory_mib * h.memory_percent / 100,
           h.disk_mib * h.disk_percent / 100,
           h.reserved_cpu_mhz, h.reserved_memory_mib, h.reserved_disk_mib, h.machines, h.pool, h.generation
    from host h join pod p on p.id = h.pod where h.zone = :zone
"""
_hosts = text(_HOSTS)
_roles = msgspec.json.Decoder(list[str])


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
    generation: int


def hosts(tx: Tx, zone: ZoneId) -> list[HostSeen]:
    """Every host of the zone."""
    found = []
    decoded: dict[str, frozenset[str]] = {}

    def words(raw: str) -> frozenset[str]:
        if raw not in decoded:
            decoded[raw] = frozenset(_roles.decode(raw))
        return decoded[raw]

    limits: dict[tuple[int, int, int], Size] = {}  # hosts are much alike

    for row in tx.execute(_hosts, {"zone": zone}).all():
        (id_, name, pod, state, maintenance, roles, tags, enabled) = row[:8]
        mhz, memory, disk, used_mhz, used_memory, used_disk, machines = row[8:15]
        refuses = ""
        if state != HostState.UP:
            refuses = f"is {state}"
        elif maintenance:
            refuses = "is in maintenance"
        elif not enabled:
            refuses = "its pod is disabled"
        found.append(
            HostSeen(
                id_,
                name,
                pod,
                Size(0, mhz - used_mhz, memory - used_memory, disk - used_disk),
                limits.get((mhz, memory, disk))
                or limits.setdefault((mhz, memory, disk), Size(0, mhz, memory, disk)),
                words(tags),
                words(roles),
                refuses,
                machines,
                *row[15:],
            )
        )
    return found


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
    """For each placement group the hosts of its members; a host stands once for each member."""
    member, machine = schema.group_member, schema.machine
    query = (
        select(member.c.group, machine.c.host)
        .join(machine, machine.c.id == member.c.machine)
        .where(among(tx, member.c.group, groups), machine.c.host.is_not(None))
    )
    found: dict[str, list[HostId]] = {}
    for group, host in tx.execute(query):
        found.setdefault(group, []).append(host)
    return found
