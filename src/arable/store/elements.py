"""How elements of tiers are kept, what is known of their machines and at their balancers, and how long each was used."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    and_,
    bindparam,
    delete,
    exists,
    false,
    insert,
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
    OfferingId,
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
from arable.store.many import among
from arable.store.scope import visible
from arable.store.tiers import elements as elements_of

WHAT = "element"
_DIGITS = 9  # of a number

_e, _m, _t, _use = t.element.c, t.machine.c, t.tier.c, t.element_use.c
_SAVE = (
    update(t.element)
    .where(_e.id == bindparam("_id"), _e.generation == bindparam("_before"))
    .values({column: bindparam(column.name) for column in t.element.c})
)


def add_many(tx: Tx, elements: Sequence[Element]) -> None:
    """New ones."""
    if elements:
        tx.execute(insert(t.element), [asdict(each) for each in elements])


def save_many(tx: Tx, elements: Iterable[tuple[Element, int]]) -> None:
    """Later generations of them, each with the one that is kept; raises `Stale` when somebody got there first."""
    rows = [asdict(each) | {"_id": each.id, "_before": before} for each, before in elements]
    if rows and tx.execute(_SAVE, rows).rowcount != len(rows):
        raise kept.stale(WHAT)
    made = [row for row in rows if row["machine"] and row["state"] == ElementState.MAKING]
    usage_records.place(tx, [(row["machine"], row["tier"]) for row in made])


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


def _machines(tx: Tx, ids: Sequence[MachineId]) -> dict[MachineId, MachineNow]:
    host = t.host.c
    query = (
        select(_m.id, _m.state, _m.wish, _m.ran, _m.force, _m.highly_available, host.state)
        .outerjoin(t.host, host.id == _m.host)
        .where(among(tx, _m.id, ids))
    )
    return {
        MachineId(id_): MachineNow(
            state=MachineState(state),
            wish=MachineWish(wish),
            ran=bool(ran),
            force=bool(force),
            host_lost=host_state == HostState.DOWN,
            recovers=bool(available),
        )
        for id_, state, wish, ran, force, available, host_state in tx.execute(query)
    }


class _Door(NamedTuple):
    """A balancer, and its router."""

    network: NetworkId
    router: RouterNow
    settled: bool


class _Doors:
    """The balancers that lead to some tiers, whom they know, and what their routers said."""

    def __init__(
        self,
        doors: dict[BalancerId, _Door],
        weights: dict[tuple[BalancerId, NicId], int],
        nics: dict[tuple[MachineId, NetworkId], NicId],
        told: dict[BalancerId, tuple[datetime, BalancerSeen]],
    ) -> None:
        self._doors, self._weights, self._nics, self._told = doors, weights, nics, told

    @classmethod
    def of(cls, tx: Tx, tiers: Sequence[Tier], machines: Iterable[MachineId]) -> "_Doors":
        ids = sorted({door.balancer for tier in tiers for door in tier.body.doors})
        if not ids:
            return cls({}, {}, {}, {})
        doors = _doors(tx, ids)
        weights = {
            (row.balancer, row.nic): 0 if row.draining else row.weight
            for rows in balancers.members(tx, ids).values()
            for row in rows
        }
        nic = t.nic.c
        ports = select(nic.machine, nic.network, nic.id).where(
            among(tx, nic.machine, machines), nic.leaving.is_(False)
        )
        nics = {(machine, network): id_ for machine, network, id_ in tx.execute(ports)}
        return cls(doors, weights, nics, balancers.seen(tx, ids))

    def members(self, tier: Tier, machine: MachineId | None) -> tuple[MemberNow, ...]:
        """A machine at each balancer of its tier that is there."""
        doors = [door.balancer for door in tier.body.doors if door.balancer in self._doors]
        return tuple(self._member(balancer, machine) for balancer in doors)

    def _member(self, balancer: BalancerId, machine: MachineId | None) -> MemberNow:
        door = self._doors[balancer]
        nic = self._nics.get((machine, door.network)) if machine else None
        at, told = self._told.get(balancer, (None, None))
        said = next((one for one in told.members if one.nic == nic), None) if told else None
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
            at=at,
        )


def _doors(tx: Tx, ids: Sequence[BalancerId]) -> dict[BalancerId, _Door]:
    network, host, operation, balancer = t.network.c, t.host.c, t.operation.c, t.balancer.c
    waits = exists(
        select(operation.id).where(operation.target == network.id, operation.state == "running")
    )
    query = (
        select(balancer.id, network.id, network.appliance_state, host.state, waits)
        .join(t.network, network.id == balancer.network)
        .outerjoin(t.host, host.id == network.appliance_host)
        .where(among(tx, balancer.id, ids))
    )
    return {
        BalancerId(id_): _Door(net, _router(state, host_state), not waiting)
        for id_, net, state, host_state, waiting in tx.execute(query)
    }


def _router(state: str, host: str | None) -> RouterNow:
    """One that is being taken down may still lead people somewhere; one that starts may do so by what it was told first."""
    if state == ApplianceState.ABSENT:
        return RouterNow.ABSENT
    here = state == ApplianceState.RUNNING and host == HostState.UP
    return RouterNow.HEARD if here else RouterNow.SILENT


# --- which farms have work

_HELD = """
    join farm on farm.id = tier.farm and farm.holder = :holder and farm.confirmed = farm.epoch
    where not exists (select 1 from farm_trouble where farm_trouble.farm = farm.id)
"""
# What rests until `again_at` is no work, unless there is other work in its tier.
_WANTING = text(f"""
    select tier.farm from tier {_HELD} and tier.attention
      and (tier.again_at is null or tier.again_at <= :at)
    union
    select tier.farm from element join tier on tier.id = element.tier {_HELD}
      and element.state <> 'serving'
      and (element.state <> 'waiting' or tier.again_at is null or tier.again_at <= :at)
    union
    select tier.farm from rollout join tier on tier.id = rollout.tier {_HELD}
      and rollout.ended_at is null and rollout.due_at <= :at
    limit :limit
""")  # noqa: S608 - our own words
_UNWELL = text("""
    update tier set attention = true where not attention and id in (
      select element.tier from element left join machine on machine.id = element.machine
        left join host on host.id = machine.host
      where element.state = 'serving'
        and (machine.id is null or machine.state <> 'running' or machine.wish <> 'running'
             or host.state = 'down')
      union all
      select element.tier from element join nic on nic.machine = element.machine
        join balancer_member on balancer_member.nic = nic.id
        join balancer_seen on balancer_seen.balancer = balancer_member.balancer
      where element.state = 'serving' and balancer_seen.ill > 0)
""")


def wanting(tx: Tx, holder: SegmentId, at: datetime, limit: int) -> list[FarmId]:
    """Its farms with tiers that changed, or with elements that do not serve; those whose work fails left out."""
    values = {"holder": holder, "at": micros(at), "limit": limit}
    return [FarmId(id_) for id_ in tx.scalars(_WANTING, values)]


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

    How many.
    """
    return max(tx.execute(_UNWELL).rowcount, 0)


# --- how long they were used


def uses_begin(tx: Tx, elements: Sequence[Element], at: datetime) -> None:
    """Their machines run from now on. Said again it is the same use."""
    machines = {each.machine: each for each in elements if each.machine is not None}
    if not machines:
        return
    open_ = select(_use.machine).where(among(tx, _use.machine, machines), _use.until.is_(None))
    begun = set(tx.scalars(open_))
    offerings = select(_m.id, _m.offering).where(among(tx, _m.id, machines))
    made_of = {row.id: row.offering for row in tx.execute(offerings)}
    rows = [
        {
            "account": each.account,
            "farm": each.farm,
            "tier": each.tier,
            "element": each.id,
            "machine": machine,
            "offering": OfferingId(made_of.get(machine, "")),
            "since": at,
        }
        for machine, each in machines.items()
        if machine not in begun
    ]
    if rows:
        tx.execute(insert(t.element_use), rows)


def use_ends(tx: Tx, machine: MachineId | None, at: datetime) -> None:
    """It does not run any more, from now on at the latest."""
    if machine is not None:
        tx.execute(
            update(t.element_use)
            .where(_use.machine == machine, _use.until.is_(None))
            .values(until=at)
        )


def put_note(
    tx: Tx, tier: TierId, *, attention: bool, again_at: datetime | None, tries: int, told: str
) -> None:
    """What keeps a tier waiting. It is no change of the tier: nobody who changes it meets us here."""
    tx.execute(
        update(t.tier)
        .where(_t.id == tier)
        .values(attention=attention, again_at=again_at, tries=tries, told=told)
    )


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


def names(tx: Tx, farm: FarmId) -> tuple[str, str]:
    """What a farm and its zone are called."""
    farm_, zone = t.farm.c, t.zone.c
    query = select(farm_.name, zone.name).join(t.zone, zone.id == farm_.zone)
    name, its_zone = tx.execute(query.where(farm_.id == farm)).one()
    return name, its_zone
