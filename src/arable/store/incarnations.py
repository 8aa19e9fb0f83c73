"""Which database this is, and which hosts have yet to say what they run before anybody is told what to run.

The name is drawn at the first start and anew whenever a copy is restored (`restore.py`), so that an agent can tell a
manifest of this database from one with the same generation that it got before (docs/decisions/0005).
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import func, insert, select, text, update

from arable.domain.host import HostState
from arable.domain.ids import FarmId, HostId, NetworkId, PoolId, ZoneId
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


# Maintenance: somebody vouches for it. Down and seen without power: it runs nothing, until it has power again.
_MAY_SPEAK = ~t.host.c.maintenance & ~((t.host.c.state == HostState.DOWN) & t.host.c.powered_off)
# Word for word as the index has it: of the column alone SQLAlchemy makes `awaited = 1` for SQLite, which would then look
# through every host, for nearly every round.
_WAITS = text("host.awaited")
_AWAITED = select(t.host.c.id).where(_WAITS, _MAY_SPEAK).order_by(t.host.c.id).limit(1)
# In the index's order: PostgreSQL takes it that half of all hosts are so, and would look through all of them.
_FIRST = select(t.host.c.id).where(_WAITS).order_by(t.host.c.id).limit(1)
_TRUSTED = (
    select(t.incarnation.c.id)
    .where(_FIRST.scalar_subquery().is_(None))
    .order_by(t.incarnation.c.number.desc())
    .limit(1)
)
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

    All of them, while any host is awaited that may speak yet (`_MAY_SPEAK`): what one is told to start may run on
    another that was not heard. Else those that are awaited themselves.
    """
    row = t.host.c
    found = tx.execute(select(row.id, _MAY_SPEAK).where(_WAITS)).all()
    if any(may_speak for _host, may_speak in found):
        return frozenset(hosts)
    return frozenset(host for host, _may_speak in found) & frozenset(hosts)


def trusted(tx: Tx) -> str:
    """The name of this database while it knows what all hosts run, so that each may be told (`withheld`); else empty."""
    return str(tx.execute(_TRUSTED).scalar_one_or_none() or "")


def taking_stock(tx: Tx) -> bool:
    """Whether hosts are awaited, so that nothing may be placed."""
    return tx.execute(_AWAITED).first() is not None


def unheard(tx: Tx) -> tuple[datetime, list[str]] | None:
    """Names of hosts that were never heard since a copy was restored, are without power, and are nobody's to look
    after; and when that was. What the copy knows and nobody has may be on them.
    """
    row, number = t.host.c, t.incarnation.c
    query = select(row.name).where(_WAITS, ~row.maintenance).order_by(row.name)
    names = list(tx.execute(query).scalars())
    if not names:
        return None
    since = tx.execute(select(number.since).order_by(number.number.desc()).limit(1)).scalar_one()
    return since, names


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


def owners_of(tx: Tx, zone: ZoneId, tags: Collection[int]) -> list[NetworkId | FarmId]:
    """Whose these tags are, as far as they are anybody's: networks', and farms' where their networks' routers meet."""
    row = t.vlan.c
    query = select(row.network).where(
        row.zone == zone, row.tag.in_(sorted(tags)), row.network.is_not(None)
    )
    return list(tx.execute(query).scalars())


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
