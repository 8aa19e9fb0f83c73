"""Who writes with which right: looked at within each round's own transaction, by statements of its own (rule 5).

A round that runs has passed the product's fence. Here it is demanded independently that it had the right: that its
server is the master of the newest epoch, that no epoch ever has two masters and none comes back; that each farm is
held by the server that works for it, and was worked for by nobody else with that epoch.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any

from arable.controllers.registry import Controller, FarmController
from arable.domain.ids import FarmId
from arable.store.database import Tx


@dataclass
class Fences:
    """Of one story. `broken` says what was wrong: a controller's error would only be tried again."""

    masters: dict[int, tuple[str, int]] = field(default_factory=dict)  # who acts with an epoch
    farms: dict[tuple[FarmId, int], str] = field(default_factory=dict)
    last: int = 0
    rounds: int = 0
    broken: list[str] = field(default_factory=list)

    def forget(self) -> None:
        """An older copy of the store is in its place: epochs are counted from there."""
        self.masters.clear()
        self.farms.clear()
        self.last = 0

    def of_master(
        self, name: str, life: int, controllers: Iterable[Controller]
    ) -> Sequence[Controller]:
        """What a server does as master, looked at."""
        return tuple(
            replace(each, run=partial(self._master, name, life, each.run)) for each in controllers
        )

    def of_farms(
        self, name: str, controllers: Iterable[FarmController]
    ) -> Sequence[FarmController]:
        """What it does for farms."""
        return tuple(
            replace(each, run=partial(self._farms, name, each.run)) for each in controllers
        )

    def _master(
        self,
        name: str,
        life: int,
        run: Callable[[Tx, datetime], int],
        tx: Tx,
        at: datetime,
    ) -> int:
        holder, epoch = _row(tx, "select holder, epoch from lease where name = 'master'")
        owner = self.masters.setdefault(epoch, (name, life))
        if (holder, owner) != (name, (name, life)):
            self.broken.append(f"{name}/{life} acts as master of {epoch}: {holder}'s, {owner}'s")
        if epoch < self.last:
            self.broken.append(f"{name} acts with epoch {epoch} after {self.last}")
        self.last = epoch
        self.rounds += 1
        return run(tx, at)

    def _farms(
        self,
        name: str,
        run: Callable[[Tx, datetime, Iterable[FarmId]], int],
        tx: Tx,
        at: datetime,
        farms: Iterable[FarmId],
    ) -> int:
        mine = list(farms)
        query = "select holder, epoch from farm where id = ?"
        (state,) = _row(tx, "select state from segment where id = ?", name)
        if state == "gone":
            self.broken.append(f"{name} works for farms, but was taken for lost")
        for farm in mine:
            holder, epoch = _row(tx, query, farm)
            owner = self.farms.setdefault((farm, int(epoch)), name)
            if (holder, owner) != (name, name):
                self.broken.append(f"{name} works for {farm}: {holder}'s, {owner}'s by {epoch}")
        self.rounds += 1
        return run(tx, at, mine)


def _row(tx: Tx, query: str, *values: str) -> Any:
    """The only one, by the shortest way: this is asked in every round of every story."""
    raw: Any = tx.connection.driver_connection
    return raw.execute(query, values).fetchone()
