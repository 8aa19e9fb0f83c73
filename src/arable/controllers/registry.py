"""Everything that runs by itself, in two tables: what the master does, and what each server does for its farms."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Protocol

from arable.controllers import (
    alerts,
    appliances,
    attachments,
    balancing,
    booking,
    carries,
    draining,
    expunge,
    farm_documents,
    farms,
    idle_pool,
    image_policies,
    instructions,
    leaving_members,
    liveness,
    machines,
    moving,
    networks,
    nics,
    orders,
    pairs,
    peers,
    power,
    recovery,
    removals,
    repair,
    resting,
    scaling,
    stranded,
    tiers,
    tunnels,
    volume_replicas,
)
from arable.domain.ids import FarmId, SegmentId
from arable.store import balancers, holdings, moves
from arable.store import tunnels as tunnel_rows
from arable.store.database import Tx
from arable.store.fail_overs import TOPIC as REPLICAS
from arable.store.farm_documents import DONE as DOCUMENTS
from arable.store.grid_members import TOPIC as GRID
from arable.store.tiers import TOPIC as TIERS


@dataclass(frozen=True, slots=True)
class Controller:
    """One of the master's. Runs when its topic is nudged, and every so many seconds in case a nudge was lost.

    A round that handled `most` or more is followed by another at once.
    """

    name: str
    run: Callable[[Tx, datetime], int]
    seconds: int
    topic: str = ""
    most: int = 1_000_000


@dataclass(frozen=True, slots=True)
class FarmController:
    """One part of what a farm manager does, `run` for many farms at once.

    `wanting` names a server's farms that have something to do for it, without those whose work fails (`farm_trouble`).
    After a round, nudges are answered only when it has rested for `rests` times as long as that took: so the busier it
    is, the more is done at once.
    """

    name: str
    wanting: Callable[[Tx, SegmentId, datetime], Sequence[FarmId]]
    run: Callable[[Tx, datetime, Iterable[FarmId]], int]
    seconds: int
    topic: str = ""
    most: int = 1_000_000
    rests: float = 0.0


FARM_CONTROLLERS = (
    FarmController("machines", machines.wanting, machines.attend, 15, "machines", machines.MOST),
    FarmController(
        "appliances", appliances.wanting, appliances.attend, 15, "networks", appliances.MOST
    ),
    FarmController("destroyed machines", expunge.wanting, expunge.collect, 5, most=expunge.MOST),
)


class Hands(tiers.Hands, farm_documents.Hands, Protocol):
    """What can be asked for farms without anybody at a keyboard."""


def farm_controllers(hands: Hands) -> tuple[FarmController, ...]:
    """All that each server does for its farms; what has to be asked for them is asked by these hands."""
    of_tiers, documents = partial(tiers.attend, hands), partial(farm_documents.attend, hands)
    return (
        *FARM_CONTROLLERS,
        FarmController(
            "scaling", scaling.wanting, scaling.attend, scaling.SECONDS, scaling.TOPIC, scaling.MOST
        ),
        FarmController(
            "tiers", tiers.wanting, of_tiers, tiers.SECONDS, TIERS, tiers.MOST, tiers.RESTS
        ),
        FarmController(
            "farms' documents",
            farm_documents.wanting,
            documents,
            farm_documents.SECONDS,
            DOCUMENTS,
            farm_documents.MOST,
        ),
    )


CONTROLLERS = (
    Controller("farms", farms.attend, 2, holdings.TOPIC, farms.MOST),
    Controller("idle appliances", appliances.collect, 5),
    Controller("pairs of appliances", pairs.attend, pairs.SECONDS, "networks", pairs.MOST),
    Controller("leaving networks", networks.collect, 5, "networks", networks.MOST),
    Controller("tunnels", tunnels.attend, tunnels.SECONDS, tunnel_rows.TOPIC, tunnels.MOST),
    Controller("leaving ports", nics.collect, 15, most=nics.MOST),
    Controller("silent hosts", liveness.watch, liveness.SECONDS),
    Controller("peers", peers.attend, peers.SECONDS, liveness.TOPIC),
    Controller("fencing", power.attend, power.SECONDS, liveness.TOPIC),
    Controller("recovery", recovery.watch, recovery.SECONDS, liveness.TOPIC, recovery.TOGETHER),
    Controller("stranded routers", stranded.watch, stranded.SECONDS, liveness.TOPIC, stranded.MOST),
    Controller("resting hosts", resting.attend, resting.SECONDS, liveness.TOPIC),
    Controller("removed hosts", removals.attend, removals.SECONDS, liveness.TOPIC),
    Controller("draining", draining.watch, draining.SECONDS, liveness.TOPIC),
    Controller("moves", moving.watch, moving.SECONDS, moves.TOPIC, moving.MOST),
    Controller("balance", balancing.watch, balancing.SECONDS),
    Controller(
        "leaving members",
        leaving_members.attend,
        leaving_members.SECONDS,
        balancers.TOPIC,
        leaving_members.MOST,
    ),
    Controller("volumes", attachments.watch, attachments.SECONDS),
    Controller("carried volumes", carries.attend, carries.SECONDS),
    Controller(
        "replicas", volume_replicas.attend, volume_replicas.SECONDS, REPLICAS, volume_replicas.MOST
    ),
    Controller("failing elements", tiers.sweep, tiers.SWEEP_SECONDS, liveness.TOPIC),
    Controller("idle pool", idle_pool.attend, idle_pool.SECONDS, most=idle_pool.MOST),
    Controller("alerts", alerts.watch, alerts.SECONDS, "alerts"),
    Controller("repair", repair.check, repair.SECONDS),
)


class MasterHands(orders.Hands, booking.Hands, Protocol):
    """What the master can ask for accounts."""


def master_controllers(
    hands: MasterHands,
    brings: image_policies.Hands,
    keys: Callable[[Tx, datetime], int],
    instructed: instructions.Hands,
) -> tuple[Controller, ...]:
    """All that the master does; what has to be asked in somebody's name is asked by these hands."""
    attend, book = partial(orders.attend, hands), partial(booking.attend, hands)
    return (
        *CONTROLLERS,
        Controller("orders", attend, orders.SECONDS, orders.TOPIC, orders.MOST),
        Controller("booking", book, booking.SECONDS, most=booking.MOST),
        Controller("sign-on keys", keys, 60, GRID),
        Controller(
            "instructions",
            partial(instructions.attend, instructed),
            instructions.SECONDS,
            GRID,
            instructions.MOST,
        ),
        Controller(
            "image policies",
            partial(image_policies.attend, brings),
            image_policies.SECONDS,
            image_policies.TOPIC,
            image_policies.MOST,
        ),
    )
