"""What is kept of tiers that scale by themselves: what they bear, what their policies remember, and whose turn it is.

A tier has a row in `tier_scaling` as long as it has a policy or windows, so those without cost nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import delete, insert, select, text, update

from arable.domain.balancer import BalancerKind, BalancerSeen, Traffic
from arable.domain.element import ElementState
from arable.domain.host import HostState
from arable.domain.ids import BalancerId, FarmId, MachineId, SegmentId, TierId
from arable.domain.network import ApplianceState
from arable.domain.scaling import Load, Memory
from arable.domain.tier import Tier
from arable.store import schema as t
from arable.store.columns import micros, moment
from arable.store.database import Tx
from arable.store.many import among
from arable.store.rows import raw

_s, _l = t.tier_scaling.c, t.tier_load.c


@dataclass(frozen=True, slots=True)
class Scaling:
    """What a tier's policy remembers, why it last changed the count (empty: never), and when it was last looked at."""

    memory: Memory
    told: str
    at: datetime


@dataclass(frozen=True, slots=True)
class DoorSeen:
    """A balancer that leads callers to elements, as its router told of it at `at`."""

    http: bool
    at: datetime
    seen: BalancerSeen


@dataclass(frozen=True, slots=True)
class MachineUsed:
    """What an element's machine that serves uses of its processors, its memory and its networks.

    `at` None: it was not told yet. `memory_percent` None: its guest does not tell.
    """

    cpus: int
    millicpus: int
    at: datetime | None
    memory_percent: float | None = None
    kbps: int = 0


def begin(tx: Tx, tier: Tier, count: int | None = None) -> None:
    """A new tier, or a changed one which had a `count` before: looked at soon if it scales by itself, never if not.

    What its policy remembers is of what the tier was; where the count is the same, what there was before a window stays.
    """
    kept = of(tx, [tier.id]).get(tier.id)
    if tier.body.policy is None and not tier.body.windows:
        if kept is not None:
            for table in (t.tier_scaling, t.tier_load):
                tx.execute(delete(table).where(table.c.tier == tier.id))
        return
    same = kept is not None and count == tier.count
    memory = Memory(before=kept.memory.before) if kept and same else Memory()
    values = {"memory": msgspec.to_builtins(memory), "looked_at": tier.created_at}
    if kept is None:
        tx.execute(insert(t.tier_scaling).values(tier=tier.id, told="", **values))
    else:
        tx.execute(update(t.tier_scaling).where(_s.tier == tier.id).values(**values))


def of(tx: Tx, tiers: Iterable[TierId]) -> dict[TierId, Scaling]:
    """Of those of these tiers that scale by themselves."""
    query = select(_s.tier, _s.memory, _s.told, _s.looked_at).where(among(tx, _s.tier, tiers))
    return {
        TierId(tier): Scaling(msgspec.convert(memory, Memory), told, at)
        for tier, memory, told, at in tx.execute(query)
    }


def looked(tx: Tx, tier: TierId, scaling: Scaling) -> None:
    """It was looked at."""
    memory = msgspec.to_builtins(scaling.memory)
    values = {"memory": memory, "told": scaling.told, "looked_at": scaling.at}
    tx.execute(update(t.tier_scaling).where(_s.tier == tier).values(**values))


# --- load


def loads(tx: Tx, tiers: Iterable[TierId]) -> dict[TierId, Load]:
    """What was last known of each of these tiers, however long ago."""
    query = select(_l.tier, _l.load).where(among(tx, _l.tier, tiers))
    return {TierId(tier): msgspec.convert(load, Load) for tier, load in tx.execute(query)}


def put_loads(tx: Tx, found: Mapping[TierId, Load]) -> None:
    """Instead of what was known before."""
    tx.execute(delete(t.tier_load).where(among(tx, _l.tier, found)))
    if found:
        rows = [
            {"tier": tier, "at": load.at, "load": msgspec.to_builtins(load)}
            for tier, load in found.items()
        ]
        tx.execute(insert(t.tier_load), rows)


def doors(tx: Tx, ids: Iterable[BalancerId]) -> dict[BalancerId, DoorSeen | None]:
    """Those of these that lead callers somewhere. None: its router is away, or has told nothing.

    A router that starts, or whose host is silent, is away: what it told is of another time.
    """
    balancer, network, host, seen = t.balancer.c, t.network.c, t.host.c, t.balancer_seen
    query = (
        select(balancer.id, balancer.traffic, network.appliance_state, host.state)
        .join(t.network, network.id == balancer.network)
        .outerjoin(t.host, host.id == network.appliance_host)
        .where(among(tx, balancer.id, ids), balancer.kind != BalancerKind.PROBE.value)
    )
    there = tx.execute(query).all()
    news = raw(seen, ("balancer", "at", "seen"))
    told = {
        row[0]: (moment(row[1]), msgspec.json.decode(row[2], type=BalancerSeen))
        for row in tx.execute(news.where(among(tx, seen.c.balancer, ids)))
    }
    found: dict[BalancerId, DoorSeen | None] = {}
    for id_, traffic, state, host_state in there:
        heard = state == ApplianceState.RUNNING and host_state == HostState.UP and id_ in told
        http = Traffic(traffic) is not Traffic.TCP
        found[BalancerId(id_)] = DoorSeen(http, *told[id_]) if heard else None
    return found


def watched(tx: Tx) -> list[MachineId]:
    """Of all tiers that scale, the machines by whose use their policies go."""
    element = t.element.c
    query = select(element.machine).join(t.tier_scaling, _s.tier == element.tier)
    return list(tx.scalars(query.where(element.machine.is_not(None))))


def machines(tx: Tx, tiers: Iterable[TierId]) -> dict[TierId, list[MachineUsed]]:
    """What elements of each of these tiers use that serve."""
    element, machine, usage = t.element.c, t.machine.c, t.machine_usage.c
    query = (
        select(
            element.tier,
            machine.cpus,
            usage.millicpus,
            usage.at,
            machine.memory_mib,
            usage.memory_mib,
            usage.kbps,
        )
        .join(t.machine, machine.id == element.machine)
        .outerjoin(t.machine_usage, usage.machine == machine.id)
        .where(among(tx, element.tier, tiers), element.state == ElementState.SERVING.value)
    )
    found: dict[TierId, list[MachineUsed]] = {}
    for tier, cpus, millicpus, at, mib, used, kbps in tx.execute(query):
        percent = None if used is None else 100 * used / mib
        row = MachineUsed(cpus, millicpus or 0, at, percent, kbps or 0)
        found.setdefault(TierId(tier), []).append(row)
    return found


# --- whose turn it is

# Each at its time, and at once when a router had news of the farm's balancers; who waits longest is first. "Cross" says
# to SQLite that tiers that scale come before farms: by itself it goes through all farms.
_WANTING = text("""
    select tier.farm from tier_scaling cross join tier cross join farm
    where tier.id = tier_scaling.tier and not tier.leaving
      and farm.id = tier.farm and farm.holder = :holder and farm.confirmed = farm.epoch
      and not exists (select 1 from farm_trouble where farm_trouble.farm = farm.id)
      and (tier_scaling.looked_at <= :before or exists (
        select 1 from farm_part join balancer_seen on balancer_seen.balancer = farm_part.id
        where farm_part.farm = tier.farm and balancer_seen.at > tier_scaling.looked_at))
    group by tier.farm order by min(tier_scaling.looked_at) limit :limit
""")


def wanting(tx: Tx, holder: SegmentId, at: datetime, seconds: float, limit: int) -> list[FarmId]:
    """Its farms with tiers that nobody looked at for so long, or of which there is news; troubled ones left out."""
    before = micros(at - timedelta(seconds=seconds))
    values = {"holder": holder, "before": before, "limit": limit}
    return [FarmId(id_) for id_ in tx.scalars(_WANTING, values)]
