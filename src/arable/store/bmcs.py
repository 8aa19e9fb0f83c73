"""By what hosts' power is switched, as rows: what is wished, what was seen. What is decided is `controllers/power.py`'s."""

from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Select, bindparam, delete, exists, or_, select, update

from arable.domain.errors import NotFound
from arable.domain.host import HostState
from arable.domain.ids import HostId
from arable.domain.power import Bmc, PowerState
from arable.store import exports, kept
from arable.store import schema as t
from arable.store.database import Tx

WHAT = "BMC of that host"

_b, _h = t.bmc.c, t.host.c


class Failing(NamedTuple):
    """A switch that does not do what is wished."""

    host: HostId
    name: str
    wanted: PowerState
    tries: int
    told: str


def find(tx: Tx, host: HostId, *, lock: bool = False) -> Bmc | None:
    """That of a host, if it has any."""
    try:
        return kept.get(tx, t.bmc, Bmc, WHAT, _b.host == host, lock=lock)
    except NotFound:
        return None


def put(tx: Tx, bmc: Bmc) -> None:
    """A new one, or instead of what was there."""
    remove(tx, bmc.host)
    kept.add(tx, t.bmc, bmc)


def remove(tx: Tx, host: HostId) -> bool:
    """The host has none any more; whether it had one."""
    return tx.execute(delete(t.bmc).where(_b.host == host)).rowcount > 0


def wish(tx: Tx, host: HostId, wanted: PowerState, at: datetime, *, fencing: bool = False) -> None:
    """Have its power be like that, from now on until it was seen so."""
    tx.execute(
        update(t.bmc)
        .where(_b.host == host)
        .values(
            wanted=wanted,
            fencing=fencing,
            wanted_at=at,
            next_at=at,
            tries=0,
            told="",
            generation=_b.generation + 1,
        )
    )


_TO_FENCE = (
    select(_b.host)
    .join(t.host, _h.id == _b.host)
    .where(_h.state == HostState.DOWN, ~_h.powered_off, _b.wanted.is_(None))
    .order_by(_b.host)
)


def to_fence(tx: Tx) -> list[HostId]:
    """Hosts that are down, could be switched off, and are neither off nor being switched."""
    return list(tx.execute(_TO_FENCE).scalars())


def relied_on(tx: Tx, host: HostId) -> bool:
    """Whether machines are being brought back elsewhere sooner because this host has no power."""
    m = t.machine.c
    query = select(m.id).where(m.fenced == host, m.recovery.is_not(None)).limit(1)
    return tx.execute(query).first() is not None or exports.unread_fences(tx, host) > 0


def rely_no_more(tx: Tx, host: HostId) -> None:
    """The (locked) host is about to get power: nothing new may count on its having none."""
    tx.execute(update(t.host).where(_h.id == host).values(powered_off=False))


_NEEDLESS = (
    update(t.bmc)
    .where(
        _b.wanted.is_not(None),
        _b.fencing,
        exists(select(_h.id).where(_h.id == _b.host, _h.state == HostState.UP)),
    )
    .values(wanted=None, fencing=False, generation=_b.generation + 1)
)


def needless(tx: Tx) -> int:
    """Take back what was wished for hosts that were down and are heard again; how many."""
    return tx.execute(_NEEDLESS).rowcount


def due(
    tx: Tx, at: datetime, unseen_since: datetime, limit: int, *, fencing: bool = True
) -> list[Bmc]:
    """What has to be done now, perhaps without what is for fencing; and hosts that should be without power, and were
    not looked at since then.
    """
    given = {"now": at, "unseen": unseen_since, "limit": limit}
    return [kept.value(Bmc, row) for row in tx.execute(_due(fencing), given)]


@cache
def _due(fencing: bool) -> Select[Any]:
    stale = _h.powered_off & (_b.seen_at < bindparam("unseen"))
    query = select(t.bmc).join(t.host, _h.id == _b.host)
    wanted = or_(
        _b.wanted.is_not(None) & (_b.next_at <= bindparam("now")), stale & _b.wanted.is_(None)
    )
    chosen = query.where(wanted) if fencing else query.where(wanted, ~_b.fencing)
    return chosen.order_by(_b.next_at, _b.host).limit(bindparam("limit"))


def note(tx: Tx, bmc: Bmc) -> None:
    """What became of it."""
    tx.execute(
        update(t.bmc)
        .where(_b.host == bmc.host)
        .values(
            wanted=bmc.wanted,
            fencing=bmc.fencing,
            tries=bmc.tries,
            next_at=bmc.next_at,
            seen=bmc.seen,
            seen_at=bmc.seen_at,
            told=bmc.told,
        )
    )


def failing(tx: Tx, least: int) -> list[Failing]:
    """Switches that failed so often in a row."""
    query = (
        select(_b.host, _h.name, _b.wanted, _b.tries, _b.told)
        .join(t.host, _h.id == _b.host)
        .where(_b.wanted.is_not(None), _b.tries >= least)
        .order_by(_b.host)
    )
    return [
        Failing(host, name, PowerState(wanted), tries, told)
        for host, name, wanted, tries, told in tx.execute(query)
    ]


def switched(
    tx: Tx,
    host: HostId,
    *,
    powered_off: bool,
    state: HostState,
    told: str,
    excused_until: datetime | None,
) -> None:
    """What a (locked) host's power makes of it."""
    tx.execute(
        update(t.host)
        .where(_h.id == host)
        .values(
            powered_off=powered_off,
            state=state,
            told=told,
            held_back=False,
            excused_until=excused_until,
        )
    )
