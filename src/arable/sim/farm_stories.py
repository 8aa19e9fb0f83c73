"""The workflows of a farm's tiers, each as short as it can be: for `breaks.py`."""

from collections.abc import Callable
from typing import Any

from msgspec import convert
from sqlalchemy import select

from arable.domain.ids import ElementId, FarmId
from arable.services import blueprints, elements, farms, orders
from arable.services.call import Call
from arable.sim.acts import ask as _ask
from arable.sim.acts import rows, says, some
from arable.sim.breaks import Act, Story
from arable.sim.cloud import Cloud
from arable.sim.ground import DISK, IMAGE, OFFERING
from arable.store import schema, tiers
from arable.wire.blueprints import BlueprintIn
from arable.wire.elements import ElementReplaceIn
from arable.wire.farms import FarmIn
from arable.wire.orders import OrderIn

PORT = 80


def lay_out(call: Call, name: str, count: int, *tiers_: str, **more: Any) -> FarmId:
    """A farm by such a document."""
    return FarmId(farms.create(call, document(call, name, count, *tiers_, **more)).farm.id)


def document(
    call: Call,
    name: str,
    count: int,
    *tiers_: str,
    blueprint: str = "web",
    policy: dict[str, Any] | None = None,
    first: dict[str, Any] | None = None,
    secrets: tuple[str, ...] = (),
    storage_zone: str | None = None,
    **more: Any,
) -> FarmIn:
    """A farm whose first tier has so many elements and a way in; it calls the others, which have one each.

    With a `policy` the first tier has one element at least, and scales by it; `first` is what else is said of it.
    """
    has = ("web", *tiers_)
    made_of = {"image": IMAGE, "offering": OFFERING, "ports": [{"port": PORT}]}
    blueprints.create(call, convert({"name": blueprint} | made_of | more, BlueprintIn))
    counts = {"web": count}
    farm = {
        "name": name,
        "secrets": secrets,
        "storage_zone": storage_zone,
        "networks": [{"name": tier} for tier in has],
        "tiers": [
            {
                "name": tier,
                "blueprint": blueprint,
                "networks": [tier],
                "most": 4,
                "count": counts.get(tier, 1),
            }
            | ({"policy": policy} if policy and tier == has[0] else {})
            | ((first or {}) if tier == has[0] else {})
            for tier in has
        ],
        "passages": [{"source": "web", "to": tier, "port": PORT} for tier in tiers_],
        "ways_in": [{"tier": "web", "port": PORT, "protocol": "tcp"}],
    }
    return convert(farm, FarmIn)


def _orders(count: int) -> Act:
    def ask(cloud: Cloud) -> None:
        first = cloud.ground.callers[0]
        cloud.ask(
            first,
            lambda call: orders.create(call, OrderIn(document=document(call, "shop", count))),
        )

    return Act(ask, some("farm_order"))


def _applies(count: int, *tiers_: str, **more: Any) -> Act:
    def ask(cloud: Cloud) -> None:
        first = cloud.ground.callers[0]
        cloud.ask(first, lambda call: lay_out(call, "shop", count, *tiers_, **more))

    return Act(ask, some("tier"))


def _scales(count: int) -> Act:
    def ask(cloud: Cloud) -> None:
        def work(call: Call) -> None:
            for id_, generation in call.tx.execute(
                select(schema.tier.c.id, schema.tier.c.generation)
            ):
                tiers.set_count(call.tx, id_, generation, count)

        cloud.ask(cloud.ground.callers[0], work)

    return Act(ask, says("select count from tier", count))


def serve(count: int) -> Callable[[Cloud], bool]:
    """So many serve, the router leads to exactly these, and nothing else is there."""

    def look(cloud: Cloud) -> bool:
        serving = rows(cloud, "select state from element order by number") == ["serving"] * count
        machines = rows(cloud, "select state from machine") == ["running"] * count
        led = [
            sorted((member.to, member.weight) for member in balancer.members)
            for node in cloud.nodes.values()
            for held in node.hardware.appliances.values()
            for balancer in held.wish.balancers
        ]
        there = rows(cloud, "select address from nic")
        return serving and machines and led == [sorted((to, 1) for to in there)]

    return look


def _ready(count: int) -> Callable[[Cloud], bool]:
    """So many serve and one is ready, and the router leads to those alone."""

    def look(cloud: Cloud) -> bool:
        states = sorted(rows(cloud, "select state from element"))
        machines = rows(cloud, "select state from machine") == ["running"] * (count + 1)
        led = [
            sorted(member.weight for member in balancer.members)
            for node in cloud.nodes.values()
            for held in node.hardware.appliances.values()
            for balancer in held.wish.balancers
        ]
        return (
            machines and states == ["serving"] * count + ["standby"] and led == [[0] + [1] * count]
        )

    return look


def _served(count: int) -> Act:
    return Act(lambda _cloud: None, serve(count))


def _fall_silent(cloud: Cloud) -> None:
    """The guest of the first element runs, and answers nobody any more."""
    (machine,) = rows(cloud, "select machine from element where number = 1")
    for node in cloud.nodes.values():
        if machine in node.hardware.guests:
            node.hardware.deaf.add(machine)


_silent = Act(
    _fall_silent,
    lambda cloud: any(node.hardware.deaf for node in cloud.nodes.values()),
)


def _replaced(cloud: Cloud) -> bool:
    """Another machine by the same name."""
    deaf = {machine for node in cloud.nodes.values() for machine in node.hardware.deaf}
    named = rows(cloud, "select name from machine order by name") == ["shop-web-1"]
    return named and serve(1)(cloud) and not deaf & {*rows(cloud, "select id from machine")}


def _stood_in(cloud: Cloud) -> bool:
    """The one that was ready serves; the one that failed got another machine, and is ready now."""
    serving = rows(cloud, "select number from element where state = 'serving'")
    return serving == [2] and _ready(1)(cloud)


def _data(cloud: Cloud) -> list[object]:
    """What is on the volumes that stay."""
    kept = rows(cloud, "select id from volume where stays")
    pools = [pool for node in cloud.nodes.values() for pool in node.hardware.pools.values()]
    return [pool.contents.get(id_) for pool in pools for id_ in kept if id_ in pool.volumes]


def _write(cloud: Cloud) -> None:
    (id_,) = rows(cloud, "select id from volume where stays")
    for node in cloud.nodes.values():
        for pool in node.hardware.pools.values():
            if id_ in pool.volumes:
                pool.contents[id_] = "orders"


_written = Act(_write, lambda cloud: _data(cloud) == ["orders"])


def _kept(cloud: Cloud) -> bool:
    """The next machine has the volume of the one before, with all that was on it."""
    theirs = "select v.id from volume v join machine m on m.id = v.machine where v.stays"
    return _replaced(cloud) and len(rows(cloud, theirs)) == 1 and _data(cloud) == ["orders"]


def _leave(cloud: Cloud) -> None:
    """The farm is deleted."""
    for farm in rows(cloud, "select id from farm where name = 'shop'"):
        _ask(cloud, farms.delete, FarmId(farm))


_left = Act(_leave, says("select 1 from farm_spec where state = 'ready'"))
_TABLES = ("farm", "tier", "element", "machine", "volume", "balancer", "network", "rule", "address where account is not null")  # fmt: skip


def _none(cloud: Cloud) -> bool:
    """Nothing is left of it."""
    return not any(rows(cloud, f"select 1 from {table}") for table in _TABLES)  # noqa: S608 - our own words


def _up(cloud: Cloud) -> bool:
    """Each tier has its machine, and whoever asked was told."""
    elements = rows(cloud, "select state from element")
    done = "select state from operation where kind = 'farm.create'"
    return elements == ["serving", "serving"] and rows(cloud, done) == ["done"]


def _replace(cloud: Cloud) -> None:
    """Its owner wants another machine for it, although there is no other one to serve meanwhile."""
    for element in rows(cloud, "select id from element"):
        _ask(cloud, elements.replace, ElementId(element), ElementReplaceIn(force=True))


_by_hand = Act(_replace, some("operation where kind = 'element.replace'"))


def _renewed(cloud: Cloud) -> bool:
    """A second machine was made, has what stays, and whoever asked was told."""
    made = rows(cloud, "select 1 from event where kind = 'element.making'")
    done = rows(cloud, "select state from operation where kind = 'element.replace'")
    return len(made) >= 2 and done == ["done"] and _kept(cloud)


def _ordered(cloud: Cloud) -> bool:
    """It was made once, all of it serves, and whoever ordered was told."""
    ended = rows(cloud, "select state from operation where kind = 'order.create'")
    steps = rows(cloud, "select kind from event where kind like 'order.%' order by number")
    return (
        rows(cloud, "select state from farm_order") == ended == ["done"]
        and steps == [f"order.{state}" for state in ("queued", "approved", "provisioning", "done")]
        and serve(1)(cloud)
    )


FARMS = (
    Story("apply a farm", (), (_applies(1, "db"),), _up),
    Story("grow a tier", (_applies(1), _served(1)), (_scales(2),), serve(2)),
    Story("shrink a tier", (_applies(2), _served(2)), (_scales(1),), serve(1)),
    Story("replace a failed element", (_applies(1), _served(1)), (_silent,), _replaced),
    Story(
        "replace an element that keeps a volume",
        (
            _applies(
                1, disks=[{"name": "data", "offering": DISK, "mib": 512}], keeps={"volumes": True}
            ),
            _served(1),
            _written,
        ),
        (_silent,),
        _kept,
    ),
    Story(
        "replace an element by hand",
        (
            _applies(
                1, disks=[{"name": "data", "offering": DISK, "mib": 512}], keeps={"volumes": True}
            ),
            _served(1),
            _written,
        ),
        (_by_hand,),
        _renewed,
    ),
    Story("delete a farm", (_applies(1), _served(1)), (_left,), _none),
    Story(
        "shrink and grow at once",
        (_applies(2), _served(2)),
        (_scales(1), _scales(2)),
        serve(2),
    ),
    Story(
        "grow a tier that keeps one ready",
        (_applies(1, first={"standby": 1}), Act(lambda _cloud: None, _ready(1))),
        (_scales(2),),
        _ready(2),
    ),
    Story(
        "one that is ready stands in for one that fails",
        (_applies(1, first={"standby": 1}), Act(lambda _cloud: None, _ready(1))),
        (_silent,),
        _stood_in,
    ),
    Story("order a farm", (), (_orders(1),), _ordered),
)
