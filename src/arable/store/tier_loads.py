"""What tiers bear: of their balancers as routers tell it, and of their machines as hosts do.

A figure is known only if all that it is made of was told lately: of requests each balancer of the tier, of processors
each machine that serves. What is not known is left out, so that nothing is decided by it.
"""

from collections.abc import Sequence
from datetime import datetime

from arable.domain.ids import TierId
from arable.domain.scaling import Load, Metric
from arable.domain.tier import Tier
from arable.store import scalings
from arable.store.database import Tx
from arable.store.scalings import DoorSeen, MachineUsed

STALE_SECONDS = 30
"""Three heartbeats: what was told longer ago is not known any more."""

_Told = tuple[dict[Metric, float], list[datetime]]


def known(tx: Tx, tiers: Sequence[Tier], at: datetime) -> dict[TierId, Load]:
    """What each of these tiers bears now; those of which nothing is known left out."""
    doors = scalings.doors(
        tx, sorted({door.balancer for tier in tiers for door in tier.body.doors})
    )
    used = scalings.machines(tx, [tier.id for tier in tiers])
    found: dict[TierId, Load] = {}
    for tier in tiers:
        ids = [door.balancer for door in tier.body.doors if door.balancer in doors]
        of_doors, told = _of_doors([doors[id_] for id_ in ids], at)
        of_machines, told_too = _of_machines(used.get(tier.id, []), at)
        if told or told_too:
            found[tier.id] = Load(min(told + told_too), of_doors | of_machines)
    return found


def _of_doors(doors: Sequence[DoorSeen | None], at: datetime) -> _Told:
    seen = [door for door in doors if door is not None and _is_fresh(door.at, at)]
    if not seen or len(seen) < len(doors):
        return {}, []
    figures = {
        Metric.SESSIONS: float(sum(door.seen.sessions for door in seen)),
        Metric.RESPONSE: float(max(_response(door) for door in seen)),
    }
    if any(door.http for door in seen):
        figures[Metric.REQUESTS] = float(sum(door.seen.request_rate for door in seen if door.http))
    return figures, [door.at for door in seen]


def _response(door: DoorSeen) -> int:
    """The router's mean is of the last requests, whenever they were; where nobody calls, nobody waits."""
    seen = door.seen
    return seen.response_ms if seen.sessions or seen.session_rate or seen.request_rate else 0


def _of_machines(machines: Sequence[MachineUsed], at: datetime) -> _Told:
    told = [each.at for each in machines if each.at is not None and _is_fresh(each.at, at)]
    if not told or len(told) < len(machines):
        return {}, []
    figures = {
        Metric.CPU: sum(each.millicpus / each.cpus / 10 for each in machines),
        Metric.KBPS: float(sum(each.kbps for each in machines)),
    }
    memory = [each.memory_percent for each in machines if each.memory_percent is not None]
    if len(memory) == len(machines):
        figures[Metric.MEMORY] = sum(memory)
    return figures, told


def _is_fresh(told: datetime, at: datetime) -> bool:
    return (at - told).total_seconds() <= STALE_SECONDS
