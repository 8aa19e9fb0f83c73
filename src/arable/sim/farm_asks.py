"""What customers in the simulated world ask for farms, where farms are what the story is about, and what befalls those."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sqlalchemy import Table, select

from arable.domain.access import Caller
from arable.domain.errors import CloudError, Conflict
from arable.domain.ids import AddressId, ElementId, FarmId, MachineId, RolloutId, RuleId, TierId
from arable.runtime.entropy import Random
from arable.services import (
    addresses,
    elements,
    farms,
    orders,
    power,
    rollouts,
    rules,
    storage_zones,
    tiers,
)
from arable.services.call import Call
from arable.sim.acts import rows
from arable.sim.asks import Ask
from arable.sim.cloud import Cloud
from arable.sim.farm_stories import document, lay_out
from arable.sim.ground import DISK
from arable.sim.rollout_stories import publish, roll
from arable.store import schema
from arable.wire.elements import ElementReplaceIn
from arable.wire.machines import DestroyIn
from arable.wire.orders import OrderIn
from arable.wire.storage_zones import StorageZoneIn
from arable.wire.tiers import TierChange

_KEEPS = {"disks": [{"name": "data", "offering": DISK, "mib": 512}], "keeps": {"volumes": True}}


def _apply(cloud: Cloud, caller: Caller, dice: Random) -> str:
    """A small one: the world has room for few machines, and fewer VLANs."""
    more = dice.choice(({}, {}, {"keeps": {"address": True}}, _KEEPS))
    name, count = f"f{dice.randrange(10**6)}", dice.choice((1, 1, 2))
    others = ("db",) if dice.random() < 0.3 else ()
    first = dice.choice(({}, {"image_version": "newest", "automatic": True}, {"standby": 1}))
    if "disks" in more:
        first = {**first, "least": 0}  # or else none may be missing
    update = (
        {} if "disks" in more else {"update": {"bake_seconds": 10, "surge": dice.choice((1, 2))}}
    )
    body: dict[str, Any] = {"blueprint": f"b{name}", "first": first, **update, **more}
    if dice.random() < 0.3:
        body["storage_zone"] = _zone(cloud, caller)
    return cloud.ask(caller, lambda call: lay_out(call, name, count, *others, **body))


def _zone(cloud: Cloud, caller: Caller) -> str:
    """One for several farms."""
    with suppress(Conflict):  # there it is
        cloud.ask(caller, lambda call: storage_zones.create(call, StorageZoneIn(name="common")))
    return "common"


def _order(cloud: Cloud, caller: Caller, dice: Random) -> str:
    """The same as an order, which the master makes."""
    name, count = f"o{dice.randrange(10**6)}", dice.choice((1, 1, 2))
    ask = cloud.ask(
        caller,
        lambda call: orders.create(
            call, OrderIn(document=document(call, name, count, blueprint=f"b{name}"))
        ),
    )
    return ask.order.id


def _scale(cloud: Cloud, caller: Caller, dice: Random) -> str:
    found = _some(cloud, caller, dice, schema.tier)
    if found is None:
        return "nothing"
    ready = {"standby": dice.randrange(2)} if dice.random() < 0.2 else {}
    change = TierChange(count=dice.randrange(1, 4), **ready)
    cloud.ask(caller, lambda call: tiers.update(call, TierId(found), change))
    return f"{found} to {change.count}"


def _replace(cloud: Cloud, caller: Caller, dice: Random) -> str:
    found = _some(cloud, caller, dice, schema.element)
    if found is None:
        return "nothing"
    ask = ElementReplaceIn(force=dice.random() < 0.4)
    cloud.ask(caller, lambda call: elements.replace(call, ElementId(found), ask))
    return f"{found}{', by force' if ask.force else ''}"


def _delete(cloud: Cloud, caller: Caller, dice: Random) -> str:
    found = _some(cloud, caller, dice, schema.farm)
    if found is None:
        return "nothing"
    cloud.ask(caller, lambda call: farms.delete(call, FarmId(found)))
    return found


def _publish(cloud: Cloud, caller: Caller, dice: Random) -> str:  # noqa: ARG001
    """Few, as each has farms at work for long."""
    if rows(cloud, "select max(number) from image_version")[0] > _MOST_VERSIONS:
        return "nothing"
    return f"version {cloud.ask(cloud.ground.operator, publish)}"


def _roll(cloud: Cloud, caller: Caller, dice: Random) -> str:
    found = _some(cloud, caller, dice, schema.farm)
    versions = rows(cloud, "select number from image_version order by number")
    ready = rows(cloud, "select farm from farm_spec where state = 'ready'")
    if found is None or found not in ready:
        return "nothing"
    number = dice.choice(versions)
    cloud.ask(caller, lambda call: roll(call, FarmId(found), number))
    return f"{found} to {number}"


def _turn(cloud: Cloud, caller: Caller, dice: Random) -> str:
    found = _some(cloud, caller, dice, schema.rollout)
    if found is None:
        return "nothing"
    verb = dice.choice((rollouts.pause, rollouts.resume, rollouts.back))
    cloud.ask(caller, lambda call: verb(call, RolloutId(found)))
    return f"{verb.__name__} {found}"


_MOST_VERSIONS = 4
_PAUSED = "select id from rollout where state = 'paused'"
_STUCK = "select farm from rollout where ended_at is null and told like 'none may be missing%'"
# A tier whose least is none says nothing of an element that finds no room: that is the element's to say.
_WAITING = """
    select farm from tier where told <> '' and not leaving
    union select e.farm from element e join tier t on t.id = e.tier
    where e.told like 'there was no room%' and not t.leaving
"""
_IN_THE_WAY = """
    select a.id from address a join network n on n.id = a.network join farm_spec s on s.farm = n.farm
    where s.state = 'leaving' and s.told <> '' and a.account is not null and not a.source_nat
"""

# Whoever deployed these there by hand has to take them away before the farm can go.
_BY_HAND = """
    select distinct m.id from machine m join tier t on t.farm = m.farm
    where t.told <> '' and not t.leaving and m.wish in ('running', 'stopped')
      and m.id not in (select machine from element where machine is not null)
"""
_BETWEEN = """
    select distinct r.id from rule r join network n on n.id in (r.network, r.source)
      join farm_spec s on s.farm = n.farm
    where r.source is not null and s.state = 'leaving' and s.told <> ''
"""


def give_up(cloud: Cloud) -> str:
    """Farms that wait for what there is no room for are deleted, and what is in a deleted one's way goes; which."""
    told = []
    for rollout in rows(cloud, _PAUSED):
        told.append(f"{rollout} goes on")
        _operate(cloud, rollouts.resume, RolloutId(rollout))
    for machine in rows(cloud, _BY_HAND):
        told.append(f"{machine} goes")
        _operate(cloud, _expunge, MachineId(machine))
    for farm in sorted({*rows(cloud, _WAITING), *rows(cloud, _STUCK)}):
        told.append(f"{farm} is deleted")
        _operate(cloud, farms.delete, FarmId(farm))
    for address in rows(cloud, _IN_THE_WAY):
        told.append(f"{address} is released")
        _operate(cloud, addresses.release, AddressId(address))
    for rule in rows(cloud, _BETWEEN):
        told.append(f"{rule} is deleted")
        _operate(cloud, rules.delete, RuleId(rule))
    return ", ".join(told)


def _expunge(call: Call, machine: MachineId) -> None:
    power.destroy(call, machine, DestroyIn(force=True, expunge=True))


def _operate(cloud: Cloud, verb: Callable[..., Any], id_: str) -> None:
    with suppress(CloudError):
        cloud.ask(cloud.ground.operator, lambda call: verb(call, id_))


def _some(cloud: Cloud, caller: Caller, dice: Random, table: Table) -> str | None:
    """The id of one of the caller's."""
    with cloud.database.read() as tx:
        c = table.c
        query = select(c.id).where(c.account == caller.account).order_by(c.id)
        ids = list(tx.scalars(query))
    return dice.choice(ids) if ids else None


FARMS: tuple[tuple[str, Ask], ...] = (
    ("applies a farm", _apply),
    ("applies a farm", _apply),
    ("orders a farm", _order),
    ("scales a tier", _scale),
    ("scales a tier", _scale),
    ("replaces an element", _replace),
    ("replaces an element", _replace),
    ("deletes a farm", _delete),
    ("publishes an image", _publish),
    ("rolls an image out", _roll),
    ("rolls an image out", _roll),
    ("turns a rollout", _turn),
)
"""Beside what others ask."""
