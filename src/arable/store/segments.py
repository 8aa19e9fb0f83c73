"""Management servers as rows: registered, heard, asked to be restarted, and fenced off by their epoch."""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, func, select, text, update

from arable.domain.errors import Conflict, NotFound
from arable.domain.ids import SegmentId
from arable.domain.segment import Load, Segment, SegmentState
from arable.store import elections, schema
from arable.store.columns import micros
from arable.store.database import Tx
from arable.store.many import among

_c, _f = schema.segment.c, schema.farm.c
_SEQ = text("""
    insert into lease (name, holder, epoch, until) values ('segments', '', 1, 0)
    on conflict (name) do update set epoch = lease.epoch + 1 returning epoch
""")
_REGISTER = text("""
    insert into segment (id, seq, epoch, address, site, version, state, heartbeat_at)
    values (:id, :seq, 1, :address, :site, :version, :state, :at)
    on conflict (id) do update set
      seq = excluded.seq, epoch = segment.epoch + 1, address = excluded.address, site = excluded.site,
      version = excluded.version, state = excluded.state, heartbeat_at = excluded.heartbeat_at,
      lag_ms = 0, pending = 0, asked = '', asked_at = null, told = ''
    returning epoch
""")
_BEAT = text(f"""
    update segment set heartbeat_at = :at, cpu_percent = :cpu_percent, memory_mib = :memory_mib,
      lag_ms = :lag_ms, pending = :pending
    where id = :id and epoch = :epoch and state <> '{SegmentState.GONE}'
""")  # noqa: S608 - our own word
_EVERY = select(schema.segment).order_by(_c.seq)
_RIGHT = select(_c.epoch).where(_c.id == bindparam("id")).with_for_update(read=True, key_share=True)
_HANG_UP = text("""
    select count(pg_terminate_backend(pid)) from pg_stat_activity
    where application_name = :name and usename = current_user and datname = current_database()
      and state like 'idle in transaction%' and state_change < clock_timestamp() - interval '1 second'
""")


def register(tx: Tx, said: Segment) -> tuple[int, int]:
    """It is there, with a new epoch and behind all others in line: both numbers. What it did before is over."""
    elections.prepare(tx)
    seq = tx.execute(_SEQ).scalar_one()
    epoch = tx.execute(
        _REGISTER,
        {
            "id": said.id,
            "seq": seq,
            "address": said.address,
            "site": said.site,
            "version": said.version,
            "state": said.state,
            "at": micros(said.heartbeat_at),
        },
    ).scalar_one()
    elections.absolve(tx, said.id)
    return epoch, seq


def beat(tx: Tx, id_: SegmentId, epoch: int, at: datetime, load: Load) -> bool:
    """It lives. False when its epoch has passed: it was taken for lost, and has to register anew."""
    values = {"id": id_, "epoch": epoch, "at": micros(at), **asdict(load)}
    return tx.execute(_BEAT, values).rowcount == 1


def demand(tx: Tx, id_: SegmentId, epoch: int) -> None:
    """Raises `Conflict` unless it may act with this epoch, and keeps it so until the end of this transaction."""
    found = tx.execute(_RIGHT, {"id": id_}).scalar_one_or_none()
    if found != epoch:
        raise Conflict(f"{id_} may not act any more", detail=f"it had epoch {epoch}, not {found}")


def fence(tx: Tx, id_: SegmentId, epoch: int) -> bool:
    """It is gone: from here on nothing it writes is accepted. False when it has registered anew meanwhile."""
    locked = select(_c.epoch).where(_c.id == id_, _c.epoch == epoch).with_for_update()
    if tx.execute(locked).first() is None:
        return False
    changed = update(schema.segment).where(_c.id == id_)
    tx.execute(changed.values(epoch=epoch + 1, state=SegmentState.GONE))
    elections.absolve(tx, id_)
    return True


def become(tx: Tx, id_: SegmentId, state: SegmentState) -> None:
    """Draining, or ready again. Raises `NotFound`, or `Conflict` for one that is gone."""
    changed = update(schema.segment).where(_c.id == id_, _c.state != SegmentState.GONE)
    if tx.execute(changed.values(state=state)).rowcount == 0:
        if tx.execute(select(_c.id).where(_c.id == id_)).first() is None:
            raise NotFound("there is no such management server")
        raise Conflict(f"{id_} is gone")


def leave(tx: Tx, id_: SegmentId, epoch: int) -> None:
    """It ends as it should: nobody has to wait until it is missed."""
    fence(tx, id_, epoch)


def ask(tx: Tx, id_: SegmentId, what: str, at: datetime) -> None:
    """What the platform should do for it; the answer is open."""
    tx.execute(update(schema.segment).where(_c.id == id_).values(asked=what, asked_at=at, told=""))


def tell(tx: Tx, id_: SegmentId, what: str, told: str) -> None:
    """What came of it, if that is still what is asked."""
    tx.execute(update(schema.segment).where(_c.id == id_, _c.asked == what).values(told=told))


def forget(tx: Tx, silent_since: datetime) -> None:
    """Those that are gone for long."""
    tx.execute(
        delete(schema.segment).where(
            _c.state == SegmentState.GONE,
            _c.heartbeat_at < silent_since,
            _c.id.not_in(select(_f.holder).distinct()),
        )
    )


def page(tx: Tx) -> tuple[Segment, ...]:
    """All of them, the eldest first, with the number of farms that each holds."""
    counted = select(_f.holder, func.count()).group_by(_f.holder)
    held = {str(row[0]): int(row[1]) for row in tx.execute(counted)}
    return tuple(_segment(row, held) for row in tx.execute(_EVERY))


def hold(tx: Tx) -> None:
    """Nobody else decides who is ready until the end of this transaction."""
    tx.execute(select(_c.id).order_by(_c.id).with_for_update()).all()


def members(tx: Tx) -> tuple[Segment, ...]:
    """All of them, without looking at farms: what is read each second."""
    return tuple(_segment(row, {}) for row in tx.execute(_EVERY))


def states(tx: Tx, ids: Iterable[SegmentId]) -> dict[SegmentId, SegmentState]:
    """Of those that are known."""
    query = select(_c.id, _c.state).where(among(tx, _c.id, ids))
    return {SegmentId(id_): SegmentState(state) for id_, state in tx.execute(query)}


def hang_up(tx: Tx, id_: SegmentId) -> int:
    """End its transactions that stand still: a server that is frozen within one holds its locks for ever."""
    if tx.dialect.name == "sqlite":
        return 0
    ended: int = tx.execute(_HANG_UP, {"name": id_}).scalar_one()
    return ended


def _segment(row: Any, held: dict[str, int]) -> Segment:
    return Segment(
        id=SegmentId(row.id),
        seq=row.seq,
        epoch=row.epoch,
        address=row.address,
        state=SegmentState(row.state),
        heartbeat_at=row.heartbeat_at,
        site=row.site,
        version=row.version,
        load=Load(
            cpu_percent=row.cpu_percent,
            memory_mib=row.memory_mib,
            lag_ms=row.lag_ms,
            pending=row.pending,
        ),
        farms=held.get(row.id, 0),
        asked=row.asked,
        asked_at=row.asked_at,
        told=row.told,
    )
