"""Everything that runs by itself, in one table."""

from collections.abc import Callable
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
    repair,
)
from arable.store import holdings
from arable.store.database import Tx


@dataclass(frozen=True, slots=True)
class Controller:
    """One of them. Runs when its topic is nudged, and every so many seconds in case a nudge was lost.

    A round that handled `most` or more is followed by another at once.
    """

    name: str
    run: Callable[[Tx, datetime], int]
    seconds: int
    topic: str = ""
    most: int = 1_000_000


CONTROLLERS = (
    Controller("farms", farms.attend, 2, holdings.TOPIC, farms.MOST),
    Controller("machines", machines.attend, 15, "machines", machines.MOST),
    Controller("appliances", appliances.attend, 15, "networks", appliances.MOST),
    Controller("idle appliances", appliances.collect, 5),
    Controller("leaving networks", networks.collect, 5, "networks", networks.MOST),
    Controller("destroyed machines", expunge.collect, 5, most=expunge.MOST),
    Controller("silent hosts", liveness.watch, liveness.SECONDS),
    Controller("alerts", alerts.watch, alerts.SECONDS, "alerts"),
    Controller("repair", repair.check, repair.SECONDS),
)
