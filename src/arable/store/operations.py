"""Operations as rows: begun by services, settled by controllers in batches, read by whoever waits for them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Row, select, update

from arable.domain.access import Scope
from arable.domain.errors import CloudError, NotFound
from arable.domain.failure import Failure, failure
from arable.domain.ids import AccountId, OperationId, UserId
from arable.domain.operation import Operation, OperationState, Step
from arable.store import schema as t
from arable.store.columns import moment
from arable.store.database import Tx
from arable.store.lookup import Lookup
from arable.store.nudges import ended, nudge_all
from arable.store.rows import change_rows, insert_rows, json_text, raw, stamp
from arable.store.scope import visible

_STEPS = 50  # kept of one operation: its first ones and its last
_SURELY_FEW = 40 * (_STEPS - 2)  # characters: no step is shorter than 40
_CAUSES = 20  # failures kept of one operation

_ADDED = (
    *("id", "account", "user", "kind", "target", "state", "total", "pending"),
    *("steps", "result", "error", "created_at", "changed_at"),
)

_SETTLED = ("state", "pending", "steps", "error", "changed_at")
_SELECT = raw(t.operation, _ADDED)
_read_steps = msgspec.json.Decoder(tuple[Step, ...]).decode
_read_failure = msgspec.json.Decoder(Failure).decode

Failed = Failure | CloudError | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationFilter:
    """Which operations."""

    states: Sequence[str] = ()
    kind: str | None = None
    target: str | None = None
    account: str | None = None


def topic(operation: str) -> str:
    """What is nudged when this operation changes."""
    return f"operation/{operation}"


def add(tx: Tx, operation: Operation) -> None:
    """Begin one."""
    add_many(tx, [operation])


def add_many(tx: Tx, operations: Sequence[Operation]) -> None:
    """Begin many."""
    insert_rows(tx, t.operation, _ADDED, [_row(each) for each in operations])
    ended(tx, (each.id for each in operations if each.state is not OperationState.RUNNING))


def get(tx: Tx, scope: Scope, operation: OperationId) -> Operation:
    """One that the caller can see."""
    row = tx.execute(
        _SELECT.where(t.operation.c.id == operation, *visible(t.operation.c.account, scope))
    ).first()
    if row is None:
        raise NotFound("no such operation")
    return _operation(row)


def page(
    tx: Tx, scope: Scope, where: OperationFilter, *, after: str | None = None, limit: int = 100
) -> list[Operation]:
    """The newest first, as that is what is asked for; `after` is the id of the last one seen."""
    query = _SELECT.where(*visible(t.operation.c.account, scope))
    if where.states:
        query = query.where(t.operation.c.state.in_(where.states))
    for column, wanted in (
        (t.operation.c.kind, where.kind),
        (t.operation.c.target, where.target),
        (t.operation.c.account, where.account),
    ):
        if wanted is not None:
            query = query.where(column == wanted)
    if after is not None:
        query = query.where(t.operation.c.id < after)
    return [
        _operation(row) for row in tx.execute(query.order_by(t.operation.c.id.desc()).limit(limit))
    ]


def advance_many(tx: Tx, steps: Mapping[OperationId, str], at: datetime) -> None:
    """Note what happened on the way; operations that have ended or gone are passed over."""
    told = _Telling(at)
    changed = [(told.more(now.steps, steps[now.id]), stamp(at), now.id) for now in _held(tx, steps)]
    change_rows(tx, t.operation, ("steps", "changed_at"), changed)
    nudge_all(tx, (topic(row[-1]) for row in changed))


def advance(tx: Tx, operation: OperationId, step: str, at: datetime) -> None:
    """Note what happened on the way."""
    advance_many(tx, {operation: step}, at)


def settle_many(tx: Tx, settled: Mapping[OperationId, tuple[int, Failed]], at: datetime) -> None:
    """So many parts of each have come to their end, the last of them perhaps by a failure.

    An operation ends with its last part: `done`, or `failed` when any part failed.
    """
    told = _Telling(at)
    changed = [_settled(now, *settled[now.id], told) for now in _held(tx, settled)]
    change_rows(tx, t.operation, _SETTLED, changed)
    nudge_all(tx, (topic(row[-1]) for row in changed))
    ended(tx, (row[-1] for row in changed if row[0] != OperationState.RUNNING.value))


def finish(tx: Tx, operation: OperationId, at: datetime, result: Any = None) -> None:
    """All of it is done."""
    for now in _held(tx, [operation]):
        if result is not None:
            tx.execute(
                update(t.operation).where(t.operation.c.id == operation).values(result=result)
            )
        settle_many(tx, {operation: (now.pending, None)}, at)


def fail(tx: Tx, operation: OperationId, at: datetime, error: Failure | CloudError) -> None:
    """It can't be done, and nothing more will come of it."""
    for now in _held(tx, [operation]):
        settle_many(tx, {operation: (now.pending, error)}, at)


def fail_kind(tx: Tx, kind: str, at: datetime, error: CloudError) -> None:
    """None of this kind will be done."""
    o = t.operation.c
    query = select(o.id).where(o.kind == kind, o.state == OperationState.RUNNING.value)
    for id_ in tx.scalars(query).all():
        fail(tx, id_, at, error)


class _Running(NamedTuple):
    """Of an operation that is not over; steps and error are JSON text."""

    id: OperationId
    pending: int
    steps: str
    error: str | None


@dataclass(slots=True)
class _Telling:
    """Adds steps to those that are kept, as text: they are all told at the same moment, and few differ."""

    at: datetime
    _steps: dict[str, str] = field(default_factory=dict)

    def more(self, steps: str, *texts: str) -> str:
        """These steps and more."""
        if len(steps) > _SURELY_FEW:
            return json_text(_few(_read_steps(steps), *(Step(self.at, text) for text in texts)))
        parts = [steps[1:-1]] if steps != "[]" else []
        return f"[{','.join((*parts, *map(self._step, texts)))}]"

    def _step(self, text: str) -> str:
        if text not in self._steps:
            self._steps[text] = json_text(Step(self.at, text))
        return self._steps[text]


def _settled(now: _Running, count: int, failed: Failed, told: _Telling) -> tuple[Any, ...]:
    """Its columns after that, and its id."""
    pending = max(now.pending - count, 0)
    error = None if now.error is None else _read_failure(now.error)
    steps = []
    if failed is not None:
        error = _with(error, failed if isinstance(failed, Failure) else failure(failed))
        steps.append(f"failed: {error.causes[-1].text if error.causes else error.text}")
    state = OperationState.RUNNING
    if pending == 0:
        state = OperationState.DONE if error is None else OperationState.FAILED
        steps.append(str(state))
    return (
        state.value,
        pending,
        told.more(now.steps, *steps) if steps else now.steps,
        None if error is None else json_text(error),
        stamp(told.at),
        now.id,
    )


def _with(error: Failure | None, more: Failure) -> Failure:
    """The first failure speaks for the operation; when parts failed for several reasons, all are its causes."""
    if error is None:
        return more
    known = error.causes if error.kind == "several" else (error,)
    if more in known or len(known) >= _CAUSES:
        return error
    return Failure("several", "parts of this failed, for several reasons", None, (*known, more))


_lookup = Lookup(
    lambda among: (
        raw(t.operation, _Running._fields)
        .where(among(t.operation.c.id), t.operation.c.state == OperationState.RUNNING.value)
        .order_by(t.operation.c.id)
        .with_for_update()
    )
)


def _held(tx: Tx, operations: Iterable[OperationId]) -> list[_Running]:
    """The running ones among these, held until the end of the transaction, in the order of ids."""
    ids = list(operations)
    return [_Running._make(row) for row in _lookup.rows(tx, ids)] if ids else []


def _row(operation: Operation) -> tuple[Any, ...]:
    return (
        operation.id,
        operation.account,
        operation.user,
        operation.kind,
        operation.target,
        operation.state.value,
        operation.total,
        operation.pending,
        json_text(_few(operation.steps)) if operation.steps else "[]",
        "{}" if operation.result is None else json_text(operation.result),
        None if operation.error is None else json_text(operation.error),
        stamp(operation.created_at),
        stamp(operation.changed_at),
    )


def _few(steps: Sequence[Step], *more: Step) -> list[Step]:
    every = [*steps, *more]
    if len(every) > _STEPS:
        every = every[: _STEPS // 2] + every[-_STEPS // 2 :]
    return every


def _operation(row: Row[Any]) -> Operation:
    return Operation(
        id=OperationId(row.id),
        account=AccountId(row.account),
        user=UserId(row.user),
        kind=row.kind,
        target=row.target,
        state=OperationState(row.state),
        total=row.total,
        pending=row.pending,
        steps=() if row.steps == "[]" else _read_steps(row.steps),
        result=msgspec.json.decode(row.result) or None,
        error=None if row.error is None else _read_failure(row.error),
        created_at=moment(row.created_at),
        changed_at=moment(row.changed_at),
    )
