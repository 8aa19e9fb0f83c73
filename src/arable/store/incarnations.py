"""Which database this is, and which hosts have yet to say what they run before anybody is told what to run.

The name is drawn at the first start and anew whenever a copy is restored (`restore.py`), so that an agent can tell a
manifest of this database from one with the same generation that it got before (docs/decisions/0005).
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import func, insert, select, text, update

from arable.domain.ids import HostId, PoolId, ZoneId
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among


class Awaited(NamedTuple):
    """A host that was not heard since a copy was restored."""

    id: HostId
    name: str
    zone: ZoneId
    pool: PoolId | None


class Standing(NamedTuple):
    """The last name of this database, and what may have happened to it since. All empty before the first start."""

    name: str = ""
    place: str = ""  # where it was given
    superseded_by: str = ""


_PLACE = text("""
    select system_identifier || '/' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)
    from pg_control_system()
""")


def place(tx: Tx) -> str:
    """Where this is: PostgreSQL's cluster, and its timeline, which is another one after each promotion or recovery to
    an earlier time. Empty for SQLite. Not for replicas.
    """
    return "" if tx.dialect.name == "sqlite" else str(tx.execute(_PLACE).scalar_one())


def standing(tx: Tx) -> Standing:
    """What is known of this database as one among others."""
    row = t.incarnation.c
    query = select(row.id, row.place, row.superseded_by).order_by(row.number.desc()).limit(1)
    found = tx.execute(query).first()
    return Standing(*found) if found else Standing()


def supersede(tx: Tx, by: str) -> None:
    """Another one took its place: no server may work with this one any more."""
    last = select(func.max(t.incarnation.c.number)).scalar_subquery()
    tx.execute(update(t.incarnation).where(t.incarnation.c.number == last).values(superseded_by=by))


def current(tx: Tx) -> str:
    """The name of this database; empty before its first start."""
    row = t.incarnation.c
    query = select(row.id).order_by(row.number.desc()).limit(1)
    return tx.execute(query).scalar_one_or_none() or ""


def draw(tx: Tx, name: str, at: datetime) -> None:
    """From now on this is another database."""
    last = tx.execute(select(func.max(t.incarnation.c.number))).scalar() or 0
    tx.execute(insert(t.incarnation).values(number=last + 1, id=name, since=at, place=place(tx)))


def withheld(tx: Tx, hosts: Collection[HostId]) -> frozenset[HostId]:
    """Those of these hosts that must not be told anything yet.

    All of them, while any host is awaited that nobody looks after by hand (maintenance): what one is told to start
    may run on another that was not heard. Else those that are awaited themselves.
    """
    row = t.host.c
    found = tx.execute(select(row.id, row.maintenance).where(row.awaited)).all()
    if any(not maintenance for _host, maintenance in found):
        return frozenset(hosts)
    return frozenset(host for host, _maintenance in found) & frozenset(hosts)


def taking_stock(tx: Tx) -> bool:
    """Whether hosts are awaited, so that nothing may be placed."""
    row = t.host.c
    query = select(row.id).where(row.awaited, ~row.maintenance).limit(1)
    return tx.execute(query).first() is not None


def awaited(tx: Tx, hosts: Iterable[HostId]) -> list[Awaited]:
    """Those of these hosts that are awaited, locked."""
    row = t.host.c
    query = (
        select(row.id, row.name, row.zone, row.pool)
        .where(among(tx, row.id, hosts), row.awaited)
        .order_by(row.id)
        .with_for_update()
    )
    return [Awaited._make(found) for found in tx.execute(query)]


def wait_for(tx: Tx, hosts: Iterable[HostId]) -> None:
    """These hosts hold what another database told them."""
    tx.execute(update(t.host).where(among(tx, t.host.c.id, hosts)).values(awaited=True))


def heard(tx: Tx, host: HostId, generation: int) -> None:
    """It has said what it runs. Whatever generation it holds, this database's next one is another."""
    row = t.host.c
    passed = func.max if tx.dialect.name == "sqlite" else func.greatest
    newest = passed(row.manifest_generation, generation) + 1
    tx.execute(
        update(t.host).where(row.id == host).values(awaited=False, manifest_generation=newest)
    )


def bar_vlans(tx: Tx, zone: ZoneId, tags: Collection[int]) -> list[int]:
    """Tags that are in use and belong to no network that is known: nobody may take them (rule 3)."""
    row = t.vlan.c
    query = (
        update(t.vlan)
        .where(row.zone == zone, row.tag.in_(sorted(tags)), row.network.is_(None), ~row.leaving)
        .values(leaving=True)
        .returning(row.tag)
    )
    return sorted(tx.execute(query).scalars())
