"""Something to do for every farm, all the time, done by the real farm managers of the members under the dice.

It fails for farms that are broken. Each time that it is done, what must be true is looked at in the same transaction:
the server may act, holds the farm, and nobody else has acted with this epoch of the farm. All farms that are well are
done again and again, whatever becomes of the broken ones.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select

from arable.controllers.farm_managers import FarmManagers
from arable.controllers.registry import FarmController
from arable.controllers.underway import Underway
from arable.domain.errors import CloudError
from arable.domain.ids import FarmId, SegmentId
from arable.domain.segment import SegmentState
from arable.runtime.clock import Clock
from arable.runtime.entropy import Random
from arable.runtime.metrics import Figures
from arable.sim.invariants import Broken
from arable.store import holdings, schema, segments, troubles
from arable.store.database import Tx
from arable.store.writer import Writer

Transact = Callable[[Callable[[Tx], Any]], Any]


class _Through(Writer):
    """A writer whose transactions are the model's: whoever submits waits in them."""

    def __init__(self, transact: Transact) -> None:
        self._transact = transact

    def submit(self, work: Callable[[Tx], Any], order: str = "") -> "Future[Any]":  # noqa: ARG002
        done: Future[Any] = Future()
        try:
            done.set_result(self._transact(work))
        except Broken:
            raise
        except Exception as error:  # noqa: BLE001 - as the store's writer tells them
            done.set_exception(error)
        return done


class Fault(CloudError):
    """What is wrong with a broken farm."""


@dataclass
class FarmWork:
    """Of one story. `at` tells the true time, `dice` are for what only farm managers draw."""

    dice: Random
    at: Callable[[], float]
    broken: set[FarmId] = field(default_factory=set)
    done: dict[FarmId, float] = field(default_factory=dict)  # when it was done last
    by: dict[tuple[FarmId, int], SegmentId] = field(default_factory=dict)  # who acted with an epoch
    servers: set[SegmentId] = field(default_factory=set)  # that ever did something
    faults: int = 0

    def managers(
        self, me: SegmentId, transact: Transact, clock: Clock, serving: Callable[[], int]
    ) -> FarmManagers:
        """Those of a process that begins."""

        def run(tx: Tx, _at: datetime, farms: Iterable[FarmId]) -> int:
            return self._run(tx, me, farms)

        work = FarmController("work", _wanting, run, 1)
        underway = Underway(_Through(transact), clock)
        return FarmManagers(underway, clock, self.dice, me, serving, Figures(), (work,))

    def break_or_mend(self, farm: FarmId) -> str:
        """Its work fails from now on, or no longer."""
        self.broken ^= {farm}
        return f"{farm} is {'broken' if farm in self.broken else 'mended'}"

    def all_since(self, tx: Tx, then: float) -> bool:
        """Whether all farms were served since then, and none is in trouble."""
        every = [each.farm for each in holdings.every(tx)]
        return not troubles.every(tx, 1) and all(self.done.get(each, -1) > then for each in every)

    def _run(self, tx: Tx, me: SegmentId, farms: Iterable[FarmId]) -> int:
        (member,) = (each for each in segments.members(tx) if each.id == me)
        farm = schema.farm.c
        rows = {
            row[0]: (row[1], row[2]) for row in tx.execute(select(farm.id, farm.holder, farm.epoch))
        }
        for each in farms:
            holder, epoch = rows[each]
            if member.state is SegmentState.GONE:
                raise Broken(f"{me} worked for {each}, but was taken for lost")
            if holder != me:
                raise Broken(f"{me} worked for {each}, which {holder} holds")
            owner = self.by.setdefault((each, epoch), me)
            if owner != me:
                raise Broken(f"{me} worked for {each} with epoch {epoch}, and so did {owner}")
            if each in self.broken:
                self.faults += 1
                raise Fault(f"{each} is broken")
        self.done |= dict.fromkeys(farms, self.at())
        self.servers.add(me)
        return 0


def _wanting(tx: Tx, holder: SegmentId, _at: datetime) -> list[FarmId]:
    farm, failing = schema.farm.c, select(schema.farm_trouble.c.farm)
    query = select(farm.id).where(farm.holder == holder, farm.id.not_in(failing))
    return [FarmId(id_) for id_ in tx.scalars(query.order_by(farm.id))]
