"""How a use case gets its transaction, and what is done around every write: repetition, dry runs, the audit.

The answer of a write, its audit entry and the answer kept under its idempotency key are one transaction with the deed.
A refusal has rolled its deed back, so it is noted by a transaction of its own before it is told (`note`); where a batch
refuses single ones, their notes go with the batch.

A dry run is the real thing, rolled back: what it says is what would have happened.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec

from arable.domain.access import Caller
from arable.domain.errors import (
    CloudError,
    Conflict,
    Forbidden,
    LimitExceeded,
    NotFound,
    Unauthenticated,
)
from arable.domain.failure import kind_of
from arable.services.call import Asked, Call, Prelude, Surroundings
from arable.store import audit, idempotency, shares
from arable.store.database import Database, Tx, lost_race
from arable.store.writer import DryRun, Promise, Writer

log = logging.getLogger(__name__)

KEPT = timedelta(hours=24)
"""How long an answer is kept for repetition."""

_NOTED = (Forbidden, NotFound, Conflict, LimitExceeded, Unauthenticated)

BatchOf = Callable[[Tx, Sequence[Asked]], Sequence[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class UseCase:
    """What the executor must know of an operation."""

    action: str  # what the audit calls it
    does: Callable[..., Any]
    batch: BatchOf | None = None
    secrets: tuple[str, ...] = ()
    status: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One write. `key` is empty when the request need not be told apart from its repetition."""

    case: UseCase
    caller: Caller
    args: tuple[Any, ...]
    target: str = ""
    dry_run: bool = False
    expects: int | None = None
    key: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """The answer; or, for a repeated request, the body that was answered the first time."""

    answer: Any
    repeated: bytes | None = None
    status: int = 0


@dataclass
class Executor:
    """`read` blocks; `write` keeps a promise, after the commit."""

    database: Database
    writer: Writer
    around: Surroundings
    _batches: dict[UseCase, Callable[[Tx, Sequence[Order]], list[Done | CloudError]]] = field(
        default_factory=dict
    )

    @property
    def one_writer(self) -> bool:
        """Whether no other management server writes to this store."""
        return self.database.is_sqlite

    def answers(self) -> None:
        """Raises when the store does not."""
        with self.database.read() as tx:
            tx.exec_driver_sql("select 1")

    def read(self, caller: Caller, does: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Do a use case that only looks."""
        with self.database.read() as tx:
            return does(Call(tx, caller, self.around), *args)

    def prelude(self, caller: Caller) -> Prelude:
        """For what goes before a write."""

        @contextmanager
        def look() -> Iterator[Call]:
            with self.database.read() as tx:
                yield Call(tx, caller, self.around)

        return Prelude(caller, self.around, look)

    def write(self, order: Order, into: Promise[Done]) -> None:
        """Do a use case that writes, with all that belongs to it, in one transaction."""
        if order.case.batch is not None and not order.dry_run:
            self.writer.take_batch(into, self._batch(order.case), order, _weight(order))
        else:
            self.writer.take(into, lambda tx: self._one(tx, order), order.caller.account)

    def note(self, order: Order, error: CloudError, into: Promise[None]) -> bool:
        """Write down that somebody was refused; False where that is not worth it. Not for single ones of a batch."""
        if order.dry_run or not isinstance(error, _NOTED):
            return False
        entry = self._entry(order, order.target, kind_of(type(error)))

        def noted(tx: Tx) -> None:
            audit.add_many(tx, [entry])
            shares.wanted(tx, error)

        self.writer.take(into, noted)
        return True

    def _one(self, tx: Tx, order: Order) -> Done:
        case = order.case
        asked = Asked(order.caller, self.around, order.args, order.dry_run, order.expects)
        if order.dry_run:
            raise DryRun(Done(self._answer(tx, case, asked)))
        if order.key and (done := self._begin(tx, order)):
            return done
        answer = self._answer(tx, case, asked)
        if order.key:
            idempotency.keep(tx, [self._kept(order, answer)])
        audit.add_many(tx, [self._entry(order, order.target or _target(answer), "ok")])
        return Done(answer)

    def _answer(self, tx: Tx, case: UseCase, asked: Asked) -> Any:
        if case.batch is None:
            return case.does(asked.on(tx), *asked.args)
        (answer,) = case.batch(tx, [asked])
        if isinstance(answer, CloudError):
            raise answer
        return answer

    def _batch(self, case: UseCase) -> Callable[[Tx, Sequence[Order]], list[Done | CloudError]]:
        """One function for each case, always the same: the writer puts together what has the same."""
        found = self._batches.get(case)
        if found is None:
            found = self._batches[case] = lambda tx, orders: self._together(tx, case, orders)
        return found

    def _together(self, tx: Tx, case: UseCase, orders: Sequence[Order]) -> list[Done | CloudError]:
        assert case.batch is not None
        done: dict[int, Done | CloudError] = {}
        for at, order in enumerate(orders):
            if not order.key:
                continue
            try:
                earlier = self._begin(tx, order)
            except Conflict as error:
                done[at] = error
            else:
                if earlier is not None:
                    done[at] = earlier
        waiting = [at for at in range(len(orders)) if at not in done]
        answers = case.batch(
            tx,
            [
                Asked(orders[at].caller, self.around, orders[at].args, expects=orders[at].expects)
                for at in waiting
            ],
        )
        kept, given_back, entries = [], [], []
        for at, answer in zip(waiting, answers, strict=True):
            order = orders[at]
            if isinstance(answer, CloudError):
                done[at] = answer
                if order.key:
                    given_back.append((order.caller.user, order.key))
                if isinstance(answer, _NOTED):
                    entries.append(self._entry(order, order.target, kind_of(type(answer))))
                continue
            done[at] = Done(answer)
            if order.key:
                kept.append(self._kept(order, answer))
            entries.append(self._entry(order, order.target or _target(answer), "ok"))
        idempotency.keep(tx, kept)
        idempotency.forget(tx, given_back)
        audit.add_many(tx, entries)
        return [done[at] for at in range(len(orders))]

    def _begin(self, tx: Tx, order: Order) -> Done | None:
        """What was answered before; None when this is the first time. Raises `Conflict` for another request's key."""
        now = self.around.clock.now()
        kept = idempotency.begin(
            tx, order.caller.user, order.key, order.fingerprint, now=now, since=now - KEPT
        )
        if kept is None:
            return None
        if kept.fingerprint != order.fingerprint or not kept.status:
            raise Conflict(
                "this Idempotency-Key belongs to another request; take a new key for a new request",
                field="idempotency-key",
            )
        return Done(None, kept.body, kept.status)

    def _kept(self, order: Order, answer: Any) -> tuple[str, str, int, bytes]:
        """Without what is shown only once: a secret is not in the database, not for a day either."""
        case = order.case
        if case.secrets:
            answer = msgspec.structs.replace(answer, **dict.fromkeys(case.secrets))
        body = b"" if answer is None else msgspec.json.encode(answer)
        return (order.caller.user, order.key, case.status, body)

    def _entry(self, order: Order, target: str, outcome: str) -> audit.Entry:
        caller = order.caller
        return audit.Entry(
            at=self.around.clock.now(),
            account=caller.account,
            user=caller.user,
            via=caller.via,
            source=caller.source,
            request=caller.request,
            action=order.case.action,
            target=target,
            outcome=outcome,
        )


def _weight(order: Order) -> int:
    """How many things it asks for at once."""
    weight: int = getattr(order.args[0], "count", 1) if order.args else 1
    return weight


def _target(answer: Any) -> str:
    """What was made, where the path could not say it."""
    for name in ("id", "target"):
        found = getattr(answer, name, "")
        if found and isinstance(found, str):
            return found
    return ""


__all__ = ["Database", "Done", "Executor", "Order", "UseCase", "Writer", "lost_race"]
