"""Everything that runs by itself, in two tables: what the master does, and what each server does for its farms."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from arable.controllers import (
    alerts,
    appliances,
    expunge,
    farms,
    liveness,
    machines,
    networks,
    peers,
    power,
    recovery,
    repair,
)
from arable.domain.ids import FarmId, SegmentId
from arable.store import holdings
from arable.store.database import Tx


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
    """

    name: str
    wanting: Callable[[Tx, SegmentId, datetime], Sequence[FarmId]]
    run: Callable[[Tx, datetime, Iterable[FarmId]], int]
    seconds: int
    topic: str = ""
    most: int = 1_000_000


FARM_CONTROLLERS = (
    FarmController("machines", machines.wanting, machines.attend, 15, "machines", machines.MOST),
    FarmController(
        "appliances", appliances.wanting, appliances.attend, 15, "networks", appliances.MOST
    ),
    FarmController("destroyed machines", expunge.wanting, expunge.collect, 5, most=expunge.MOST),
)

CONTROLLERS = (
    Controller("farms", farms.attend, 2, holdings.TOPIC, farms.MOST),
    Controller("idle appliances", appliances.collect, 5),
    Controller("leaving networks", networks.collect, 5, "networks", networks.MOST),
    Controller("silent hosts", liveness.watch, liveness.SECONDS),
    Controller("peers", peers.attend, peers.SECONDS, liveness.TOPIC),
    Controller("fencing", power.attend, power.SECONDS, liveness.TOPIC),
    Controller("recovery", recovery.watch, recovery.SECONDS, liveness.TOPIC, recovery.TOGETHER),
    Controller("alerts", alerts.watch, alerts.SECONDS, "alerts"),
    Controller("repair", repair.check, repair.SECONDS),
)
