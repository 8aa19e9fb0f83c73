"""What grid operators told regions to do: at the grid manager all of it, at a region what it was told itself."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, insert, select, update

from arable.domain.instruction import OPEN, Instruction, InstructionKind, InstructionState
from arable.domain.region import GRID_ONLY
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among

_i, _g = t.instruction.c, t.grid_instruction.c
_SAID = 500
"""As many are told of: those that changed last."""


# --- at a region


def said(tx: Tx) -> dict[str, tuple[Any, str]]:
    """How far this region is with each."""
    query = select(t.instruction).order_by(_i.changed_at.desc()).limit(_SAID)
    return {
        row.id: (
            {"state": row.state, "told": row.told, "at": row.changed_at.isoformat()},
            GRID_ONLY,
        )
        for row in tx.execute(query)
    }


def known(tx: Tx, ids: Iterable[str]) -> set[str]:
    """Which of these were taken already, whatever became of them."""
    return set(tx.execute(select(_i.id).where(among(tx, _i.id, sorted(set(ids))))).scalars())


def take(tx: Tx, one: Instruction, state: InstructionState, told: str, at: datetime) -> None:
    """It is taken: nobody takes it again. Raises `Conflict` when somebody has."""
    tx.execute(
        insert(t.instruction).values(
            id=one.id,
            number=one.number,
            kind=str(one.kind),
            subject=one.subject,
            limits=dict(one.limits),
            origins=list(one.origins),
            stops=one.stops,
            given_by=one.given_by,
            given_at=one.given_at,
            expires_at=one.expires_at,
            state=str(state),
            told=told,
            taken_at=at,
            changed_at=at,
        )
    )


def running(tx: Tx) -> list[Row[Any]]:
    """Those that are under way here."""
    query = select(t.instruction).where(_i.state == str(InstructionState.RUNNING))
    return list(tx.execute(query.order_by(_i.number)))


def tell(tx: Tx, id_: str, state: InstructionState, told: str, at: datetime) -> None:
    """How far it is."""
    changed = update(t.instruction).where(_i.id == id_)
    tx.execute(changed.values(state=str(state), told=told, changed_at=at))


def page_here(tx: Tx, id_: str | None, *, after: str, limit: int) -> list[Row[Any]]:
    """By age."""
    query = select(t.instruction).where(_i.id > after)
    if id_ is not None:
        query = query.where(_i.id == id_)
    return list(tx.execute(query.order_by(_i.id).limit(limit)))


# --- at the grid manager


def give(tx: Tx, one: Instruction) -> None:
    """Keep that it was given."""
    tx.execute(
        insert(t.grid_instruction).values(
            id=one.id,
            region=one.region,
            number=one.number,
            kind=str(one.kind),
            subject=one.subject,
            limits=dict(one.limits),
            origins=list(one.origins),
            stops=one.stops,
            given_by=one.given_by,
            given_at=one.given_at,
            expires_at=one.expires_at,
        )
    )


def last_number(tx: Tx, region: str) -> int:
    """Of those to a region."""
    return tx.execute(select(func.max(_g.number)).where(_g.region == region)).scalar() or 0


def given(tx: Tx, ids: Iterable[str]) -> list[Row[Any]]:
    """To which regions, by id and region."""
    query = select(t.grid_instruction).where(among(tx, _g.id, sorted(set(ids))))
    return list(tx.execute(query.order_by(_g.id, _g.region)))


def page(tx: Tx, id_: str | None, *, after: str, limit: int) -> list[str]:
    """Ids, by age."""
    query = select(_g.id).distinct().where(_g.id > after)
    if id_ is not None:
        query = query.where(_g.id == id_)
    return list(tx.execute(query.order_by(_g.id).limit(limit)).scalars())


def cancel(tx: Tx, id_: str, at: datetime) -> None:
    """It was taken back."""
    tx.execute(
        update(t.grid_instruction)
        .where(_g.id == id_, _g.cancelled_at.is_(None))
        .values(cancelled_at=at)
    )


def one(row: Row[Any], region: str) -> Instruction:
    """The row's."""
    return Instruction(
        id=row.id,
        region=region,
        number=row.number,
        kind=InstructionKind(row.kind),
        subject=row.subject,
        limits=row.limits,
        origins=tuple(row.origins),
        stops=row.stops,
        given_by=row.given_by,
        given_at=row.given_at,
        expires_at=row.expires_at,
    )


def is_open(state: str) -> bool:
    """Whether a region may still do something about it."""
    return state in OPEN
