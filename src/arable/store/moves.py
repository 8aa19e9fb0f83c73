"""Moves of machines to other hosts while they run: the last one of each machine, and what hosts say of it.

Whoever decides about one holds its machine's row. What hosts say is noted in columns of its own, by anybody.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, bindparam, delete, func, select, text, update

from arable.domain.ids import HostId, MachineId, OperationId, PodId, PoolId, ZoneId
from arable.domain.manifest import GuestSeen, MovePhase
from arable.domain.move import BOUND, MoveStage, MoveWhy
from arable.domain.units import MIB
from arable.store import schema as t
from arable.store.columns import micros
from arable.store.database import Tx
from arable.store.many import among, among_given, given
from arable.store.rows import change_rows, put_rows, raw

TOPIC = "moves"
"""Nudged when there may be something to do about one."""

KIND = "machine.move"
"""Of the operations that show one."""

_v = t.move.c
# Word for word as the index has it.
_UNDER_WAY: ColumnElement[bool] = text("move.stage <> 'over'")  # type: ignore[assignment]
_TOLD = 300  # characters


class MoveRow(NamedTuple):
    """The last move of a machine."""

    id: MachineId
    stage: str
    why: str
    source: HostId
    target: HostId | None
    wanted: HostId | None
    pool: PoolId | None
    operation: OperationId | None
    epoch: int
    generation: int
    address: str
    bytes_per_second: int
    downtime_ms: int
    seconds: int
    offered: str
    failing: bool
    off: bool
    cancelled: bool
    sent_bytes: int
    left_bytes: int
    told: str
    tries: int
    begun_at: int
    changed_at: int

    @property
    def bound(self) -> bool:
        """Whether hosts may know of it."""
        return self.stage in BOUND

    @property
    def shifts(self) -> bool:
        """Whether only its disks go, to that pool of the host `wanted`, whose leases are asked for at `address`."""
        return self.pool is not None


_COLUMNS = MoveRow._fields
_WRITTEN_OVER = "(id) do update set " + ", ".join(
    f'"{name}" = excluded."{name}"' for name in _COLUMNS[1:]
)


_ALL_GOING = raw(t.move, _COLUMNS).where(_UNDER_WAY)
_FAILING = (
    select(_v.id, t.machine.c.name, _v.tries, _v.told)
    .join(t.machine, t.machine.c.id == _v.id)
    .where(_v.tries >= bindparam("least"), _v.changed_at >= bindparam("since"))
    .order_by(_v.id)
    .limit(100)
)
_GOING = select(_v.id).where(_UNDER_WAY).order_by(_v.id).limit(bindparam("limit"))


def under_way(tx: Tx, limit: int) -> list[MachineId]:
    """Machines whose move is not over."""
    return list(tx.scalars(_GOING, {"limit": limit}))


def of(tx: Tx, machines: Iterable[MachineId]) -> dict[MachineId, MoveRow]:
    """The last move of each of these that ever moved."""
    query = raw(t.move, _COLUMNS).where(among(tx, _v.id, machines))
    return {row.id: MoveRow._make(row) for row in tx.execute(query)}


def bound(tx: Tx, machines: Iterable[MachineId]) -> dict[MachineId, MoveRow]:
    """Those of these machines' moves that hosts may know of."""
    asked = {"some": given(tx, machines)}
    rows = (MoveRow._make(row) for row in tx.execute(_going_of(tx.dialect.name), asked))
    return {row.id: row for row in rows if row.bound}


@cache
def _going_of(dialect: str) -> Select[Any]:
    return _ALL_GOING.where(among_given(dialect, _v.id, "some"))


def all_bound(tx: Tx) -> list[MoveRow]:
    """Every move that hosts may know of."""
    rows = (MoveRow._make(row) for row in tx.execute(_ALL_GOING))
    return [row for row in rows if row.bound]


def concern(tx: Tx, host: HostId) -> bool:
    """Whether one that hosts may know of is from or to this host."""
    here = _v.stage.in_(BOUND) & ((_v.source == host) | (_v.target == host))
    return tx.execute(select(_v.id).where(_UNDER_WAY, here).limit(1)).first() is not None


def epochs(tx: Tx, machines: Iterable[MachineId]) -> dict[MachineId, int]:
    """The highest epoch that each of these was ever to move by."""
    query = select(_v.id, _v.epoch).where(among(tx, _v.id, machines))
    return dict(tx.execute(query).all())


def put(tx: Tx, rows: Sequence[MoveRow]) -> None:
    """These are the last moves of their machines, with all that is known of them."""
    put_rows(tx, t.move, _COLUMNS, [tuple(row) for row in rows], _WRITTEN_OVER)


_DECIDED = (
    *("stage", "source", "target", "epoch", "generation", "address", "bytes_per_second"),
    *("downtime_ms", "seconds", "told", "tries", "changed_at"),
)


def decide(tx: Tx, rows: Sequence[MoveRow]) -> None:
    """What was decided of these; what hosts say stays as it is."""
    values = [(*(getattr(row, name) for name in _DECIDED), row.id) for row in rows]
    change_rows(tx, t.move, _DECIDED, values)


def cancel(tx: Tx, machines: Collection[MachineId]) -> None:
    """They are wanted no more."""
    if machines:
        tx.execute(update(t.move).where(among(tx, _v.id, machines)).values(cancelled=True))


def note(tx: Tx, seen: Iterable[tuple[HostId, GuestSeen]]) -> bool:
    """What sources and targets say; whether there may be something to do about it."""
    news = False
    for host, guest in seen:
        said = guest.move
        if said is None:
            continue
        here = [_v.id == guest.machine, _v.epoch == said.epoch, _v.stage.in_(BOUND)]
        values: dict[str, Any] = {"sent_bytes": said.sent_bytes, "left_bytes": said.left_bytes}
        if said.phase is MovePhase.READY and said.address:
            tx.execute(update(t.move).where(*here, _v.target == host).values(offered=said.address))
            news = True
        if said.phase is MovePhase.DONE and said.address:
            mine = (*here, _v.source == host, _v.pool.is_not(None))
            tx.execute(update(t.move).where(*mine).values(offered=said.address))
            news = True
        failed = said.phase is MovePhase.FAILED
        if failed:
            values |= {"failing": True, "told": said.told[:_TOLD]}
            news = True
        if failed or said.sent_bytes:
            tx.execute(update(t.move).where(*here, _v.source == host).values(**values))
    return news


def note_off(tx: Tx, machines: Collection[MachineId]) -> None:
    """They shut themselves down, say the hosts that they were to leave."""
    tx.execute(update(t.move).where(among(tx, _v.id, machines)).values(off=True))


def forget(tx: Tx, machines: Collection[MachineId]) -> None:
    """Of machines that are gone, nothing is left to be known."""
    tx.execute(delete(t.move).where(among(tx, _v.id, machines)))


def kin(tx: Tx, hosts: Iterable[HostId]) -> dict[HostId, str]:
    """Between which hosts machines can move: those with the same word, unless it is empty."""
    query = select(t.host.c.id, t.host.c.facts).where(among(tx, t.host.c.id, hosts))
    return {id_: str(facts.get("moves", "")) for id_, facts in tx.execute(query)}


def memory(row: MoveRow) -> str:
    """How far its memory is, for people; nothing while it is nowhere."""
    if not row.sent_bytes:
        return ""
    return f", {row.sent_bytes // MIB} MiB sent, {row.left_bytes // MIB} MiB left"


def counts(tx: Tx) -> dict[str, int]:
    """How many moves are in which stage."""
    query = select(_v.stage, func.count()).where(_UNDER_WAY).group_by(_v.stage)
    return dict.fromkeys((s.value for s in MoveStage if s is not MoveStage.OVER), 0) | dict(
        tx.execute(query).all()
    )


def failing(tx: Tx, tries: int, since: datetime) -> list[tuple[MachineId, str, int, str]]:
    """Machines that could not be moved so many times in a row, the last time since then: name, how often, why."""
    return [tuple(row) for row in tx.execute(_FAILING, {"least": tries, "since": since})]


class Place(NamedTuple):
    """A host that has to do with a move."""

    name: str
    state: str
    pod: PodId
    zone: ZoneId


def places(tx: Tx, hosts: Iterable[HostId]) -> dict[HostId, Place]:
    """These."""
    h = t.host.c
    query = select(h.id, h.name, h.state, h.pod, h.zone).where(among(tx, h.id, hosts))
    return {row[0]: Place(*row[1:]) for row in tx.execute(query)}


def begun(
    *,
    machine: MachineId,
    source: HostId,
    why: MoveWhy,
    at: datetime,
    wanted: HostId | None = None,
    pool: PoolId | None = None,
    address: str = "",
    operation: OperationId | None = None,
    before: MoveRow | None = None,
) -> MoveRow:
    """One that is wanted from now on. How often others failed before, and the epochs they had, is not forgotten."""
    return MoveRow(
        id=machine,
        stage=MoveStage.WAITING,
        why=why,
        source=source,
        target=None,
        wanted=wanted,
        pool=pool,
        operation=operation,
        epoch=before.epoch if before else 0,
        generation=0,
        address=address,
        bytes_per_second=0,
        downtime_ms=0,
        seconds=0,
        offered="",
        failing=False,
        off=False,
        cancelled=False,
        sent_bytes=0,
        left_bytes=0,
        told="",
        tries=before.tries if before else 0,
        begun_at=micros(at),
        changed_at=micros(at),
    )
