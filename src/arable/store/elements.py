"""How elements of tiers are kept, and what is known of their machines and at their balancers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    delete,
    exists,
    false,
    or_,
    select,
    text,
    update,
)

from arable.domain.access import Scope
from arable.domain.balancer import BalancerSeen, Calm
from arable.domain.element import Element, ElementState
from arable.domain.host import HostState
from arable.domain.ids import (
    AccountId,
    BalancerId,
    ElementId,
    FarmId,
    MachineId,
    NetworkId,
    NicId,
    SegmentId,
    TierId,
)
from arable.domain.machine import MachineState, MachineWish
from arable.domain.network import ApplianceState
from arable.domain.tier import Door, Tier
from arable.domain.tier_acts import ElementSeen, MachineNow, MemberNow, RouterNow
from arable.store import balancers, kept, usage_records
from arable.store import schema as t
from arable.store.columns import micros
from arable.store.database import Tx
from arable.store.lookup import Among, Lookup
from arable.store.many import among
from arable.store.rows import change_rows, insert_rows, json_text, save_rows, stamp
from arable.store.scope import visible
from arable.store.tiers import elements as elements_of

WHAT = "element"
_DIGITS = 9  # of a number

_e, _m, _t, _bm = t.element.c, t.machine.c, t.tier.c, t.balancer_member.c
_FIXED = ("id", "tier", "farm", "account", "number")
_LOOKED = ("attention", "again_at", "due_at", "tries", "told")
_CHANGING = (
    *("state", "machine", "blueprint_number", "image_version", "kept", "surplus", "tries", "told"),
    *("replaces", "by_force", "operation", "since", "generation"),
)


def add_many(tx: Tx, elements: Sequence[Element]) -> None:
    """New ones."""
    rows = [(e.id, e.tier, e.farm, e.account, e.number, *_changing(e)) for e in elements]
    insert_rows(tx, t.element, (*_FIXED, *_CHANGING), rows)
    _place(tx, elements)


def save_many(tx: Tx, elements: Sequence[tuple[Element, int]]) -> None:
    """Later generations of them, each with the one that is kept; raises `Stale` when somebody got there first."""
    rows = [(*_changing(each), each.id, before) for each, before in elements]
    if rows and save_rows(tx, t.element, _CHANGING, rows) != len(rows):
        raise kept.stale(WHAT)
    _place(tx, [each for each, _ in elements])


def _place(tx: Tx, elements: Iterable[Element]) -> None:
    """What machines use that were made for elements is their tiers'."""
    made = [each for each in elements if each.machine and each.state is ElementState.MAKING]
    usage_records.place(tx, [(each.machine or "", each.tier) for each in made])


def _changing(e: Element) -> tuple[Any, ...]:
    """In column form."""
    return (
        *(e.state.value, e.machine, e.blueprint_number, e.image_version, json_text(e.kept)),
        *(e.surplus, e.tries, e.told, e.replaces, e.by_force, e.operation),
        *(stamp(e.since), e.generation),
    )


def remove(tx: Tx, element: ElementId) -> None:
    """There is no such element any more."""
    tx.execute(delete(t.element).where(_e.id == element))


# --- who may see them


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementFilter:
    """Which elements. `name` is the whole one, of farm, tier and number."""

    account: AccountId | None = None
    farm: FarmId | None = None
    tier: TierId | None = None
    name: str | None = None


def get(tx: Tx, scope: Scope, element: ElementId) -> Element:
    """The element, if it is there and in sight. Raises `NotFound`."""
    return kept.get(tx, t.element, Element, WHAT, _e.id == element, *visible(_e.account, scope))


def page(
    tx: Tx, scope: Scope, where: ElementFilter, *, after: str | None = None, limit: int = 100
) -> list[Element]:
    """By age."""
    conditions = visible(_e.account, scope)
    for column, wanted in (
        (_e.account, where.account),
        (_e.farm, where.farm),
        (_e.tier, where.tier),
    ):
        if wanted is not None:
            conditions.append(column == wanted)
    if where.name is not None:
        conditions += _called(where.name)
    return kept.page(tx, t.element, Element, conditions, after=after, limit=limit)


def _called(name: str) -> list[ColumnElement[bool]]:
    """A farm's and a tier's names may have hyphens, too: so all that the name may be made of are looked for."""
    whose, _, number = name.rpartition("-")
    if not number.isascii() or not number.isdigit() or len(number) > _DIGITS:
        return [false()]
    words = whose.split("-")
    ways = [("-".join(words[:at]), "-".join(words[at:])) for at in range(1, len(words))]
    farm = t.farm.c
    tiers = (
        select(_t.id)
        .join(t.farm, farm.id == _t.farm)
        .where(or_(false(), *(and_(farm.name == f, _t.name == of) for f, of in ways)))
    )
    return [_e.number == int(number), _e.tier.in_(tiers)]


def titles(tx: Tx, found: Sequence[Element]) -> dict[ElementId, str]:
    """What each of these is called."""
    farm, ids = t.farm.c, {each.tier: each for each in found}
    query = (
        select(_t.id, farm.name, _t.name)
        .join(t.farm, farm.id == _t.farm)
        .where(among(tx, _t.id, ids))
    )
    begin = {tier: f"{of}-{name}" for tier, of, name in tx.execute(query)}
    return {each.id: f"{begin[each.tier]}-{each.number}" for each in found}


# --- what is known of them


def seen(
    tx: Tx, tiers: Sequence[Tier], holding: Iterable[TierId]
) -> dict[TierId, list[ElementSeen]]:
    """All that decides what is done next for the elements of these tiers.

    In the tiers `holding` a machine has until it is gone what its element's next one needs.
    """
    found = elements_of(tx, [tier.id for tier in tiers])
    every = [each for elements in found.values() for each in elements]
    machines = _machines(tx, [each.machine for each in every if each.machine])
    doors = _Doors.of(tx, tiers, machines)
    holds = set(holding)
    return {
        tier.id: [
            ElementSeen(
                element=each,
                machine=machines.get(each.machine) if each.machine else None,
                members=doors.members(tier, each.machine),
                holds=tier.id in holds,
            )
            for each in found.get(tier.id, ())
        ]
        for tier in tiers
    }


_MACHINES = Lookup(
    lambda among: (
        select(_m.id, _m.state, _m.wish, _m.ran, _m.force, _m.highly_available, t.host.c.state)
        .outerjoin(t.host, t.host.c.id == _m.host)
        .where(among(_m.id))
    )
)


def _machines(tx: Tx, ids: Sequence[MachineId]) -> dict[MachineId, MachineNow]:
    return {
        MachineId(id_): MachineNow(
            state=MachineState(state),
            wish=MachineWish(wish),
            ran=bool(ran),
            force=bool(force),
            host_lost=host_state == HostState.DOWN,
            recovers=bool(available),
        )
        for id_, state, wish, ran, force, available, host_state in _MACHINES.rows(tx, ids)
    }


class _Door(NamedTuple):
    """A balancer, and its router."""

    network: NetworkId
    router: RouterNow
    settled: bool


_WEIGHTS = Lookup(
    lambda among: select(_bm.balancer, _bm.nic, _bm.weight, _bm.draining).where(among(_bm.balancer))
)
_NICS = Lookup(
    lambda among: select(t.nic.c.machine, t.nic.c.network, t.nic.c.id).where(
        among(t.nic.c.machine), t.nic.c.leaving.is_(False)
    )
)


class _Doors:
    """The balancers that lead to some tiers, whom they know, and what their routers said."""

    def __init__(
        self,
        doors: dict[BalancerId, _Door],
        weights: dict[tuple[BalancerId, NicId], int],
        nics: dict[tuple[MachineId, NetworkId], NicId],
        told: dict[BalancerId, tuple[datetime, BalancerSeen]],
    ) -> None:
        self._doors, self._weights, self._nics = doors, weights, nics
        self._told = {id_: at for id_, (at, _) in told.items()}
        self._said = {
            (id_, one.nic): one for id_, (_, seen) in told.items() for one in seen.members
        }

    @classmethod
    def of(cls, tx: Tx, tiers: Sequence[Tier], machines: Iterable[MachineId]) -> "_Doors":
        ids = sorted({door.balancer for tier in tiers for door in tier.body.doors})
        if not ids:
            return cls({}, {}, {}, {})
        weights = {
            (balancer, nic): 0 if draining else weight
            for balancer, nic, weight, draining in _WEIGHTS.rows(tx, ids)
        }
        nics = {(machine, network): id_ for machine, network, id_ in _NICS.rows(tx, machines)}
        return cls(_doors(tx, ids), weights, nics, balancers.seen(tx, ids))

    def members(self, tier: Tier, machine: MachineId | None) -> tuple[MemberNow, ...]:
        """A machine at each balancer of its tier that is there."""
        doors = [door.balancer for door in tier.body.doors if door.balancer in self._doors]
        return tuple(self._member(balancer, machine) for balancer in doors)

    def _member(self, balancer: BalancerId, machine: MachineId | None) -> MemberNow:
        door = self._doors[balancer]
        nic = self._nics.get((machine, door.network)) if machine else None
        said = self._said.get((balancer, nic)) if nic else None
        return MemberNow(
            balancer=balancer,
            wanted=self._weights.get((balancer, nic)) if nic else None,
            router=door.router,
            settled=door.settled,
            named=said is not None,
            weight=said.weight if said and said.weight >= 0 else None,
            sessions=said.sessions if said else 0,
            answers=said.all_sessions if said else 0,
            errors=said.errors if said else 0,
            well=said.well if said else None,
            at=self._told.get(balancer),
        )


def _routers(among: Among) -> Select[Any]:
    network, operation, balancer = t.network.c, t.operation.c, t.balancer.c
    waits = exists(
        select(operation.id).where(operation.target == network.id, operation.state == "running")
    )
    return (
        select(balancer.id, network.id, network.appliance_state, t.host.c.state, waits)
        .join(t.network, network.id == balancer.network)
        .outerjoin(t.host, t.host.c.id == network.appliance_host)
        .where(among(balancer.id))
    )


_ROUTERS = Lookup(_routers)


def _doors(tx: Tx, ids: Iterable[BalancerId]) -> dict[BalancerId, _Door]:
    return {
        BalancerId(id_): _Door(net, _router(state, host_state), not waiting)
        for id_, net, state, host_state, waiting in _ROUTERS.rows(tx, ids)
    }


def _router(state: str, host: str | None) -> RouterNow:
    """One that is being taken down may still lead people somewhere; one that starts may do so by what it was told first."""
    if state == ApplianceState.ABSENT:
        return RouterNow.ABSENT
    here = state == ApplianceState.RUNNING and host == HostState.UP
    return RouterNow.HEARD if here else RouterNow.SILENT


# --- which farms have work

# "Cross" says to SQLite that work comes before farms: by itself it goes through all farms.
_HELD = """
    cross join farm
    where farm.id = tier.farm and farm.holder = :holder and farm.confirmed = farm.epoch
      and not exists (select 1 from farm_trouble where farm_trouble.farm = farm.id)
"""
# What rests until `again_at` is no work, unless there is other work in its tier.
_WANTING = text(f"""
    select tier.farm from tier {_HELD} and tier.attention
      and (tier.again_at is null or tier.again_at <= :at)
    union
    select tier.farm from tier_note cross join tier {_HELD} and tier.id = tier_note.tier
    union
    select tier.farm from tier {_HELD} and tier.due_at <= :at
    union
    select tier.farm from rollout cross join tier {_HELD} and tier.id = rollout.tier
      and rollout.ended_at is null and rollout.due_at <= :at
    limit :limit
""")  # noqa: S608 - our own words
_UNWELL = text("""
    update tier set attention = true where not attention and id in (
      select element.tier from element left join machine on machine.id = element.machine
        left join host on host.id = machine.host
      where element.state in ('serving', 'standby')
        and (machine.id is null or machine.state <> 'running' or machine.wish <> 'running'
             or host.state = 'down')
      union all
      select element.tier from element join nic on nic.machine = element.machine
        join balancer_member on balancer_member.nic = nic.id
        join balancer_seen on balancer_seen.balancer = balancer_member.balancer
      where element.state in ('serving', 'standby') and balancer_seen.ill > 0
      union all
      select element.tier from element join tier as one on one.id = element.tier
      where element.state <> 'serving' and element.state <> 'standby' and one.due_at is null)
""")
_STRAY = text("delete from tier_note where tier not in (select id from tier)")


def wanting(tx: Tx, holder: SegmentId, at: datetime, limit: int) -> list[FarmId]:
    """Its farms with tiers that changed, or in which something happened or is due; those whose work fails left out."""
    values = {"holder": holder, "at": micros(at), "limit": limit}
    return [FarmId(id_) for id_ in tx.scalars(_WANTING, values)]


def by_account(tx: Tx, farms: Iterable[FarmId]) -> list[FarmId]:
    """These farms, in the order of their accounts."""
    return [FarmId(id_) for (id_,) in _BY_ACCOUNT.rows(tx, farms)]


_BY_ACCOUNT = Lookup(
    lambda among: (
        select(t.farm.c.id).where(among(t.farm.c.id)).order_by(t.farm.c.account, t.farm.c.id)
    )
)


def there(tx: Tx, doors: Sequence[Door]) -> list[Door]:
    """Those of these whose balancers are there."""
    balancer = t.balancer.c.id
    ids = among(tx, balancer, [door.balancer for door in doors])
    found = set(tx.scalars(select(balancer).where(ids)))
    return [door for door in doors if door.balancer in found]


def watch(tx: Tx, doors: Sequence[Door]) -> None:
    """Have news of these balancers' members told at once; who watches them for more is left to do so."""
    balancer = t.balancer.c
    ids = among(tx, balancer.id, [door.balancer for door in doors])
    for id_ in tx.scalars(select(balancer.id).where(ids, balancer.calm.is_(None))).all():
        balancers.set_calm(tx, BalancerId(id_), Calm())


def sweep(tx: Tx) -> int:
    """Have tiers looked at that have an element which serves no more: its machine does not run, or a router told.

    How many. It looks at all elements there are: for when a host is lost, and in case a note was.
    """
    tx.execute(_STRAY)
    return max(tx.execute(_UNWELL).rowcount, 0)


def put_note(
    tx: Tx,
    tier: TierId,
    *,
    attention: bool,
    again_at: datetime | None,
    tries: int,
    told: str,
) -> None:
    """What keeps a tier waiting. It is no change of the tier: nobody who changes it meets us here."""
    tx.execute(
        update(t.tier)
        .where(_t.id == tier)
        .values(attention=attention, again_at=again_at, tries=tries, told=told)
    )


Looked = tuple[TierId, bool, datetime | None, datetime | None, int, str]
"""A tier; whether it wants attention, rests until then, is due then (None: unless something happens), its tries, and why it waits."""


def looked(tx: Tx, found: Iterable[Looked]) -> None:
    """What keeps these tiers waiting, as `put_note` has it, and until when they need not be looked at."""
    rows = [
        (attention, stamp(again), stamp(due), tries, told, tier)
        for tier, attention, again, due, tries, told in found
    ]
    change_rows(tx, t.tier, _LOOKED, rows)


def ways_to(tx: Tx, tiers: Sequence[Tier]) -> dict[TierId, tuple[str, int]]:
    """Where each of these tiers is called: address and port of its first door. Without one it is not there."""
    balancer, network, address = t.balancer.c, t.network.c, t.address.c
    first = {tier.body.doors[0].balancer: tier.id for tier in tiers if tier.body.doors}
    query = (
        select(balancer.id, balancer.port, address.address, network.gateway)
        .join(t.network, network.id == balancer.network)
        .outerjoin(t.address, address.id == balancer.address)
        .where(among(tx, balancer.id, sorted(first)))
    )
    return {
        first[id_]: (public or gateway, port) for id_, port, public, gateway in tx.execute(query)
    }


def names(tx: Tx, farms: Iterable[FarmId]) -> dict[FarmId, tuple[str, str]]:
    """What each of these farms and its zone are called."""
    return {FarmId(id_): (name, zone) for id_, name, zone in _NAMES.rows(tx, farms)}


_NAMES = Lookup(
    lambda among: (
        select(t.farm.c.id, t.farm.c.name, t.zone.c.name)
        .join(t.zone, t.zone.c.id == t.farm.c.zone)
        .where(among(t.farm.c.id))
    )
)
