"""How elements of tiers are kept, what is known of their machines and at their balancers, and how long each was used."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import delete, exists, insert, select, text, update

from arable.domain.balancer import BalancerSeen, Calm
from arable.domain.element import Element, ElementState
from arable.domain.host import HostState
from arable.domain.ids import (
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
from arable.store.tiers import elements as elements_of

WHAT = "element"

_e, _m, _t, _use = t.element.c, t.machine.c, t.tier.c, t.element_use.c


def add(tx: Tx, element: Element) -> None:
    """A new one."""
    kept.add(tx, t.element, element)


def save(tx: Tx, element: Element) -> None:
    """The next generation of it; raises `Stale` when somebody got there first."""
    kept.save(tx, t.element, element, WHAT)
    if element.machine is not None and element.state is ElementState.MAKING:
        usage_records.place(tx, element.machine, element.tier)


def remove(tx: Tx, element: ElementId) -> None:
    """There is no such element any more."""
    tx.execute(delete(t.element).where(_e.id == element))


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


def use_begins(tx: Tx, element: Element, at: datetime) -> None:
    """Its machine runs from now on. Said again it is the same use."""
    if element.machine is None:
        return
    open_ = exists(select(_use.number).where(_use.machine == element.machine, _use.until.is_(None)))
    if tx.execute(select(open_)).scalar():
        return
    offering = tx.execute(select(_m.offering).where(_m.id == element.machine)).scalar()
    tx.execute(
        insert(t.element_use).values(
            account=element.account,
            farm=element.farm,
            tier=element.tier,
            element=element.id,
            machine=element.machine,
            offering=OfferingId(offering or ""),
            since=at,
        )
    )


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
