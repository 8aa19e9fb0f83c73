"""Hosts that sleep for want of work, as rows: who has nothing to do, who is to be without power until needed."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Select, exists, or_, select, update

from arable.domain.event import Event
from arable.domain.host import HostState
from arable.domain.ids import HostId, PodId
from arable.domain.manifest import ItemKind
from arable.domain.power import PowerState
from arable.store import bmcs, events, reservations
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among
from arable.store.nudges import nudge

_h, _b = t.host.c, t.bmc.c
_FAILING = 3  # tries of a switch in a row: it is not relied on

GOING = "it is being powered down: it has nothing to do"
ASLEEP = "it sleeps: it had nothing to do"
WAKING = "it is being woken"


class RestRow(NamedTuple):
    """A compute host, and what keeps it from sleeping."""

    id: HostId
    name: str
    pod: PodId
    state: HostState
    rests: bool
    rests_since: datetime | None
    idle_since: datetime | None
    maintenance: bool
    awaited: bool
    enabled: bool
    tries: int | None  # of its switch, in a row; None: it has none
    wanted: str | None
    busy: bool
    relied_on: bool

    @property
    def fails(self) -> bool:
        """Whether its power can't be relied on to be switched."""
        return self.tries is None or self.tries >= _FAILING

    @property
    def obstacle(self) -> str:
        """Why it can't be put to sleep now; empty if it can."""
        if self.rests:
            return "it sleeps, or is about to"
        if self.state is not HostState.UP:
            return f"it is {self.state}"
        for case, told in (
            (self.maintenance, "it is in maintenance: its power is yours to switch"),
            (self.awaited, "it has yet to say what it runs"),
            (self.tries is None, "nothing that switches its power is known"),
            (self.wanted is not None, "its power is being switched"),
            (self.relied_on, "machines that ran there are being brought back"),
            (self.busy, "it has machines, disks, networks, or a role besides compute"),
        ):
            if case:
                return told
        return ""


def _busy() -> ColumnElement[bool]:
    """Something is there, or on its way there or away: machines, disks of machines that are off, routers, networks."""
    item, volume, pool = t.manifest_item.c, t.volume.c, t.pool.c
    return or_(
        _h.machines > 0,
        _h.roles != ("compute",),
        exists(select(t.machine.c.id).where(t.machine.c.host == _h.id)),
        exists(select(t.network.c.id).where(t.network.c.appliance_host == _h.id)),
        exists(select(volume.id).join(t.pool, pool.id == volume.pool).where(pool.host == _h.id)),
        exists(
            select(item.id).where(
                item.host == _h.id, item.body.is_not(None), item.kind != ItemKind.PEER
            )
        ),
        exists(select(t.network_presence.c.host).where(t.network_presence.c.host == _h.id)),
    )


def _rows() -> Select[tuple[object, ...]]:
    fenced = exists(
        select(t.machine.c.id).where(t.machine.c.fenced == _h.id, t.machine.c.recovery.is_not(None))
    )
    return (
        select(
            *(_h[name] for name in ("id", "name", "pod", "state", "rests", "rests_since")),
            *(_h[name] for name in ("idle_since", "maintenance", "awaited")),
            t.pod.c.enabled,
            _b.tries,
            _b.wanted,
            _busy().label("busy"),
            fenced.label("relied_on"),
        )
        .join(t.pod, t.pod.c.id == _h.pod)
        .outerjoin(t.bmc, _b.host == _h.id)
        .order_by(_h.id)
    )


def every(tx: Tx) -> list[RestRow]:
    """Of all hosts."""
    return _read(tx, _rows())


def some(tx: Tx, hosts: Iterable[HostId]) -> list[RestRow]:
    """Those of these hosts that exist. Lock them before: what is read is to stay so."""
    return _read(tx, _rows().where(among(tx, _h.id, hosts)))


def _read(tx: Tx, query: Select[tuple[object, ...]]) -> list[RestRow]:
    found = [RestRow._make(row) for row in tx.execute(query)]
    return [row._replace(state=HostState(row.state)) for row in found]


_ANY = select(_h.id).where(or_(_h.rests, _h.state == HostState.ASLEEP)).limit(1)


def any_rests(tx: Tx) -> bool:
    """Whether any host sleeps, or is on its way there or back."""
    return tx.execute(_ANY).first() is not None


def idle(tx: Tx, hosts: Collection[HostId], since: datetime | None) -> None:
    """Since when these have had nothing to do; None: they have."""
    if hosts:
        tx.execute(update(t.host).where(among(tx, _h.id, hosts)).values(idle_since=since))


def sleep(tx: Tx, hosts: Iterable[HostId], at: datetime, why: str) -> list[HostId]:
    """Have those of these hosts sleep that have nothing to do now that they are locked; who they are."""
    hosts = list(hosts)
    reservations.hold(tx, hosts)
    able = [row for row in some(tx, hosts) if not row.obstacle]
    for row in able:
        _rest(tx, row.id, at, told=GOING)
        bmcs.wish(tx, row.id, PowerState.OFF, at)
        tell(tx, row, "host.sleeps", f"{row.name} is put to sleep: {why}", at)
    if able:
        nudge(tx, "power")
    return [row.id for row in able]


def wake(tx: Tx, hosts: Iterable[HostId], at: datetime, why: str) -> list[HostId]:
    """Have those of these hosts wake that sleep, or are about to; who they are."""
    hosts = list(hosts)
    reservations.hold(tx, hosts)
    asleep = [row for row in some(tx, hosts) if row.rests]
    for row in asleep:
        wakes(tx, row.id, at, told=WAKING)
        bmcs.wish(tx, row.id, PowerState.ON, at)
        tell(tx, row, "host.wakes", f"{row.name} is woken: {why}", at)
    if asleep:
        nudge(tx, "power")
    return [row.id for row in asleep]


def tell(tx: Tx, row: RestRow, kind: str, text: str, at: datetime) -> None:
    """An event about a host, for operators."""
    events.add_many(tx, [Event(at=at, account=None, kind=kind, subject=row.id, text=text)])


def _rest(tx: Tx, host: HostId, at: datetime, *, told: str) -> None:
    """The (locked) host is to sleep; nothing is placed there from now on."""
    tx.execute(
        update(t.host)
        .where(_h.id == host)
        .values(rests=True, rests_since=at, told=told, generation=_h.generation + 1)
    )


def wakes(tx: Tx, host: HostId, at: datetime, *, told: str) -> None:
    """The (locked) host is to sleep no more."""
    tx.execute(
        update(t.host)
        .where(_h.id == host)
        .values(
            rests=False,
            rests_since=at,
            idle_since=None,
            powered_off=False,
            told=told,
            generation=_h.generation + 1,
        )
    )


def late(tx: Tx, host: HostId, told: str) -> bool:
    """The (locked) host was woken and did not come; False when it has been heard meanwhile."""
    gone = update(t.host).where(_h.id == host, _h.state == HostState.ASLEEP, ~_h.rests)
    return tx.execute(gone.values(state=HostState.SILENT, told=told)).rowcount > 0


def wake_all(tx: Tx, at: datetime) -> None:
    """In a restored copy: whoever slept when it was made may run machines by now, and has to say so."""
    asleep = select(_h.id).where(or_(_h.rests, _h.state == HostState.ASLEEP))
    switch = update(t.bmc).where(_b.host.in_(asleep))
    tx.execute(
        switch.values(
            wanted=PowerState.ON,
            fencing=False,
            wanted_at=at,
            next_at=at,
            tries=0,
            told="",
            generation=_b.generation + 1,
        )
    )
    woken = update(t.host).where(or_(_h.rests, _h.state == HostState.ASLEEP))
    tx.execute(
        woken.values(rests=False, rests_since=at, idle_since=None, state=HostState.SILENT, told="")
    )
