"""What is done for an order in the customer's name: evaluated by trying it, its credit checked, its farm applied.

Here are the `Hands` of `controllers.orders`. How credit is checked is a protocol, `CreditCheck`; `Prepaid` is built in.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from msgspec import structs

from arable.domain.access import EVERYTHING, ROLES, Caller, Scope
from arable.domain.errors import LimitExceeded, NoRoom
from arable.domain.farm import Farm
from arable.domain.ids import AccountId, FarmId, OfferingId, OperationId
from arable.domain.order import Estimate, Order, Room
from arable.domain.price import written
from arable.domain.settings import ORDER_CREDIT, ORDER_CREDIT_HOURS
from arable.domain.tier import Tier
from arable.domain.tier_acts import held
from arable.domain.usage import ROOT, UsageKind
from arable.metering.rating import estimate, in_force
from arable.services import bills, credit, farms, orders
from arable.services.call import Call, Surroundings
from arable.services.references import References
from arable.store import (
    accounts,
    blueprints,
    capacity,
    credit_entries,
    farm_documents,
    offerings,
    prices,
    promises,
    quotas,
    settings,
    tiers,
    usage_records,
)
from arable.store import farms as farm_rows
from arable.store import orders as order_rows
from arable.store.database import Tx
from arable.store.nudges import collected
from arable.wire.farms import FarmChange, FarmMadeOut, FarmSpec

_ROLE = "customer"
VIA = "order"
Wanted = dict[tuple[UsageKind, str], int]


class CreditCheck(Protocol):
    """Whether an account may have something that costs so much."""

    def refusal(self, tx: Tx, account: AccountId, hourly: int, call: Call) -> str:
        """Why not, for the customer; empty: it may. `hourly` is in micro-units.

        It may be asked again for the same order, and holds nothing.
        """


@dataclass(frozen=True, slots=True)
class Prepaid:
    """There has to be enough for some hours of all that the account has and has ordered: paid ahead, or as its limit."""

    def refusal(self, tx: Tx, account: AccountId, hourly: int, call: Call) -> str:
        if settings.get(tx, ORDER_CREDIT) == "none":
            return ""
        credit_entries.held(tx, account)  # two orders of an account don't both count on the same
        now = call.around.clock.now()
        valid = in_force(prices.every(tx), now)
        running = math.ceil(estimate(usage_records.open_now(tx, account), valid))
        hours = settings.get(tx, ORDER_CREDIT_HOURS)
        needed = (hourly + running + order_rows.committed(tx, account)) * hours
        there = credit.available(tx, account, now)
        if there >= needed:
            return ""
        return (
            f"there is not enough credit: {written(there)} are available, and {hours} hours "
            f"of what you have and ordered cost {written(needed)}; pay ahead, or ask for a higher limit"
        )


@dataclass(frozen=True, slots=True)
class OrderHands:
    """Of one process."""

    around: Callable[[], Surroundings]
    check: CreditCheck = Prepaid()

    def evaluate(self, tx: Tx, order: Order) -> tuple[Estimate, Room]:
        """What it costs, and takes. Raises what it is refused for: it was done for real, and taken back."""
        call = self._call(tx, order)
        with _taken_back(tx):
            before = _elements(tx, order)
            made = _applied(call, order)
            found = tiers.of_farms(tx, [FarmId(made.farm.id)]).get(FarmId(made.farm.id), [])
            kept = [tier for tier in found if not tier.leaving]
            sizes = {tier.name: _size(tx, tier) for tier in kept}
            more = {tier.name: max(held(tier) - before.get(tier.name, 0), 0) for tier in kept}
            room = _room(call, made, sizes, more)
            _check_room(call, order, room, sizes, more)
            document = orders.document_of(order)
        ways_out = sum(not network.isolated for network in document.networks)
        fixed: Wanted = {
            (UsageKind.NETWORK, ""): len(document.networks),
            (UsageKind.ADDRESS, ""): ways_out,
        }
        lists = prices.every(tx)
        valid = in_force(lists, call.around.clock.now())
        least = _times(sizes, {tier.name: held(tier) for tier in kept}) | fixed
        most = _times(sizes, {tier.name: tier.most for tier in kept}) | fixed
        cost = Estimate(
            currency=bills.currency(lists),
            least=math.ceil(estimate(least, valid)),
            most=math.ceil(estimate(most, valid)),
        )
        return cost, room

    def credit(self, tx: Tx, order: Order) -> str:
        """Why there is not enough of it; empty: there is."""
        call = self._call(tx, order)
        return self.check.refusal(tx, order.account, order.estimate.least, call)

    def provision(self, tx: Tx, order: Order) -> tuple[FarmId, OperationId]:
        """The farm is applied; the operation that is done when all of it serves. Raises what is refused."""
        made = _applied(self._call(tx, order), order)
        if order.password:
            farm_documents.set_password(tx, FarmId(made.farm.id), order.password)
        return FarmId(made.farm.id), OperationId(made.operation)

    def book(self, tx: Tx, account: AccountId, until: datetime) -> None:
        """Its use until then becomes entries of its credit."""
        credit.book(tx, account, until, self.around().clock.now())

    def _call(self, tx: Tx, order: Order) -> Call:
        rank, may = ROLES[_ROLE]
        account = accounts.get(tx, EVERYTHING, order.account)
        caller = Caller(
            user=order.user,
            name=f"order of {order.name}",
            account=order.account,
            domain=account.domain,
            path="",  # who sees one account alone has no need of it
            role=_ROLE,
            rank=rank,
            permissions=may,
            via=VIA,
        )
        return Call(tx, caller, self.around())


@contextmanager
def _taken_back(tx: Tx) -> Iterator[None]:
    """What is done within is undone, whatever comes of it; ends of operations are not told of."""
    ended = frozenset(collected(tx).ended)
    within = tx.begin_nested()
    try:
        yield
    finally:
        within.rollback()
        collected(tx).ended = set(ended)


def _applied(call: Call, order: Order) -> FarmMadeOut:
    document = orders.document_of(order)
    there = _there(call.tx, order)
    if there is None:
        return farms.create(call, document)
    said = {each.name: getattr(document, each.name) for each in structs.fields(FarmSpec)}
    return farms.update(call, there.id, structs.replace(FarmChange(), **said))


def _there(tx: Tx, order: Order) -> Farm | None:
    zone = References(tx).zone(orders.document_of(order).zone)
    return farm_rows.named(tx, order.account, zone.id, order.name)


def _elements(tx: Tx, order: Order) -> dict[str, int]:
    """How many elements the tiers of the farm have already."""
    there = _there(tx, order)
    if there is None:
        return {}
    found = tiers.of_farms(tx, [there.id]).get(there.id, [])
    elements = tiers.elements(tx, [tier.id for tier in found])
    return {tier.name: len(elements.get(tier.id, [])) for tier in found}


@dataclass(frozen=True, slots=True)
class _Size:
    """Of one element."""

    offering: OfferingId
    cpus: int
    cpu_mhz: int
    memory_mib: int
    disks: Mapping[str, int]  # MiB by disk offering, or `root`
    volumes: int


def _size(tx: Tx, tier: Tier) -> _Size:
    body = blueprints.version(tx, tier.blueprint, tier.blueprint_number).body
    offering = offerings.get(tx, tier.body.offering or body.offering)
    disks: dict[str, int] = {ROOT: offering.root_mib}
    for disk in body.disks:
        of = offerings.get_disk(tx, disk.offering)
        disks[of.id] = disks.get(of.id, 0) + (of.mib if disk.mib is None else disk.mib)
    return _Size(
        offering=offering.id,
        cpus=offering.cpus,
        cpu_mhz=offering.cpus * offering.cpu_mhz,
        memory_mib=offering.memory_mib,
        disks=disks,
        volumes=1 + len(body.disks),
    )


def _times(sizes: Mapping[str, _Size], counts: Mapping[str, int]) -> Wanted:
    made: Wanted = {}
    for name, size in sizes.items():
        count = counts[name]
        offering: str = size.offering
        each = [(UsageKind.RUNNING, offering, 1), (UsageKind.MACHINE, offering, 1)]
        each += [(UsageKind.VOLUME, of, mib) for of, mib in size.disks.items()]
        for kind, paid, amount in each:
            made[kind, paid] = made.get((kind, paid), 0) + amount * count
    return made


def _room(
    call: Call, made: FarmMadeOut, sizes: Mapping[str, _Size], more: Mapping[str, int]
) -> Room:
    """What the elements take that it begins with."""
    farm = farm_rows.get(call.tx, Scope(account=call.caller.account), FarmId(made.farm.id))
    return Room(
        zone=farm.zone,
        machines=sum(more.values()),
        cpus=sum(size.cpus * more[name] for name, size in sizes.items()),
        cpu_mhz=sum(size.cpu_mhz * more[name] for name, size in sizes.items()),
        memory_mib=sum(size.memory_mib * more[name] for name, size in sizes.items()),
    )


def _check_room(
    call: Call, order: Order, room: Room, sizes: Mapping[str, _Size], more: Mapping[str, int]
) -> None:
    """Networks and addresses are taken already; elements are only counted, since they are deployed later.

    What is promised to other orders is not there: of the account's limits its own, of the zone's room everybody's.
    """
    disks = [(size.volumes, sum(size.disks.values()), more[name]) for name, size in sizes.items()]
    needs = {
        "machines": room.machines,
        "cpus": room.cpus,
        "memory_mib": room.memory_mib,
        "volumes": sum(volumes * count for volumes, _, count in disks),
        "storage_mib": sum(mib * count for _, mib, count in disks),
    }
    now, quota = call.around.clock.now(), quotas.get(call.tx, call.caller.account)
    ordered = promises.of_account(call.tx, call.caller.account, order.id, now)
    for name, amount in needs.items():
        most, used = quota.limits[name], quota.used[name] + ordered.get(name, 0)
        if amount and 0 <= most < used + amount:
            had = f"you have {used} of {most}"
            had += " with what you ordered" if ordered.get(name) else ""
            raise LimitExceeded(
                f"this takes {amount} {quotas.WORDS[name]} more; {had}",
                why={"resource": name, "limit": most, "used": used, "asked": amount},
            )
    _hosts, idle = capacity.of_zone(call.tx, room.zone)
    others = [each for each in promises.of_zone(call.tx, room.zone, now) if each.order != order.id]
    left = {
        "processors": idle["cpu_mhz"].idle - sum(each.cpu_mhz for each in others),
        "memory": idle["memory_mib"].idle - sum(each.memory_mib for each in others),
    }
    for what, amount in (("processors", room.cpu_mhz), ("memory", room.memory_mib)):
        if amount > left[what]:
            raise NoRoom(f"the zone has not enough {what} for {room.machines} machines more now")
