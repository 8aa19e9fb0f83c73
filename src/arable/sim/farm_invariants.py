"""What must be true of farms' tiers after every step, and at rest: for `invariants.py`."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from arable.domain.ids import HostId
from arable.domain.tier import Release
from arable.drivers.simhost import SimHost
from arable.sim import reach

Look = Callable[[str], list[Any]]
"""The rows of a query."""


def always(look: Look, hosts: Mapping[HostId, SimHost]) -> Iterator[str]:
    """Safety, where there are elements at all."""
    if look("select 1 from element limit 1"):
        yield from _cut_off(look, hosts)
        yield from _strangers(look)
        yield from _bounds(look)
        yield from _uses(look)
        yield from _releases(look)
        yield from _taken_away(look)
    if look("select 1 from farm_part limit 1"):
        yield from _parts(look)
    yield from _across(look, hosts)


def at_rest(look: Look) -> Iterator[str]:
    """Tiers are as wished, and wait for nothing."""
    rows = """
        select t.id, t.told, t.leaving, t.count, t.most, t.body,
          (select count(*) from element e where e.tier = t.id),
          (select count(*) from element e where e.tier = t.id and e.state = 'serving'),
          (select count(*) from element e where e.tier = t.id and e.state = 'standby')
        from tier t
    """
    for tier, told, leaving, count, most, body, there, serving, ready in look(rows):
        keeps = max(min(_read(body).get("standby", 0), most - count), 0)
        if leaving or (there, serving, ready) != (count + keeps, count, keeps):
            yield f"{serving} of {there} elements of {tier} serve and {ready} are ready, {count} and {keeps} should ({told})"
    for rollout, state, told in look("select id, state, told from rollout where ended_at is null"):
        yield f"{rollout} is {state}, and goes on no more ({told})"
    for order, state in look("select id, state from farm_order where ended_at is null"):
        yield f"{order} is still {state}"


def _cut_off(look: Look, hosts: Mapping[HostId, SimHost]) -> Iterator[str]:
    """F1: the machine of an element is not told to end while its network's router leads somebody to it.

    By the farm's own balancers: who makes one by hand and has an element's machine in it cuts off whoever calls that.
    """
    own = {row[0] for row in look("select id from farm_part where kind = 'balancer'")}
    ending = look("""
        select m.id, n.id, w.id, w.appliance_host from element e
          join machine m on m.id = e.machine and m.wish = 'gone'
          join nic n on n.machine = m.id
          join network w on w.id = n.network and w.appliance_state = 'running'
        where e.state = 'dropping'
    """)
    for machine, nic, network, host in ending:
        router = hosts[host].appliances.get(network)
        for balancer in router.wish.balancers if router else ():
            yield from (
                f"{machine} ends, and the router of {network} leads to it with {member.weight}"
                for member in balancer.members
                if member.nic == nic and balancer.id in own
            )


def _strangers(look: Look) -> Iterator[str]:
    """F2, F4: an element's machine is of its farm, account and zone, and so are its networks and balancers."""
    machines = """
        select e.id, m.id from element e join tier t on t.id = e.tier join machine m on m.id = e.machine
        where (m.farm, m.account, m.zone) <> (t.farm, t.account, t.zone)
    """
    yield from (f"{element} has {machine} of somebody else" for element, machine in look(machines))
    ports = """
        select e.id, w.id from element e join nic n on n.machine = e.machine
          join network w on w.id = n.network where w.farm <> e.farm
    """
    yield from (f"{element} is on {network} of another farm" for element, network in look(ports))
    members = """
        select e.id, b.id from element e join nic n on n.machine = e.machine
          join balancer_member m on m.nic = n.id join balancer b on b.id = m.balancer
        where b.network <> n.network
    """
    yield from (f"{element} is led to by {balancer}" for element, balancer in look(members))


def _across(look: Look, hosts: Mapping[HostId, SimHost]) -> Iterator[str]:
    """F9: by what hosts, switches and routers have, nobody reaches a machine of another farm, nor knows its name."""
    farm_of = dict(look("select id, farm from machine"))
    if len(set(farm_of.values())) < 2:
        return
    ends = dict(look("select id, tunnel_address from host"))
    sight = reach.look(hosts, where=lambda host: ends.get(host, ""))
    yield from (
        f"{here} of {farm_of[here]} reaches {there} of {farm_of[there]}"
        for here, there in sorted(reach.across(sight, farm_of))
        if here in farm_of and there in farm_of  # a restored copy knows not all
    )


def _bounds(look: Look) -> Iterator[str]:
    """F3: there are never fewer or more wished for than may be; no two living machines have an element's name."""
    rows = "select id, count from tier where count > most or count < 0"
    yield from (f"{tier} should have {count} elements" for tier, count in look(rows))


def _uses(look: Look) -> Iterator[str]:
    """F6: what an element's machine uses is counted as its tier's."""
    rows = """
        select u.kind, u.thing, e.id from element e join usage_record u on u.thing = e.machine
        where u.until is null and u.tier <> e.tier
    """
    yield from (f"the {kind} {thing} of {id_} is not its tier's" for kind, thing, id_ in look(rows))


def _releases(look: Look) -> Iterator[str]:
    """F7: a tier is of what its rollout says; without one all its elements are of what it says itself."""
    rows = "select r.id, r.state, r.before, r.goal, t.blueprint_number, t.image_version from rollout r join tier t on t.id = r.tier where r.ended_at is null and not t.leaving"
    for rollout, state, before, goal, blueprint, image in look(rows):
        wanted = msgspec.convert(_read(before if state == "back" else goal), Release)
        if wanted != Release(blueprint, image):
            yield f"{rollout} is {state}, and its tier of {blueprint}, {image}"
    rows = """
        select e.id from element e join tier t on t.id = e.tier
        where e.state <> 'waiting' and not t.leaving
          and (e.blueprint_number, e.image_version) <> (t.blueprint_number, t.image_version)
          and not exists (select 1 from rollout r where r.tier = t.id and r.ended_at is null)
    """
    yield from (f"{element} is of another release than its tier" for (element,) in look(rows))


def _read(kept: Any) -> Any:
    """A JSON column, as whoever reads it without the schema has it."""
    return msgspec.json.decode(kept) if isinstance(kept, str) else kept


def _taken_away(look: Look) -> Iterator[str]:
    """F8: none that serves is taken away where fewer are left than always should serve, unless somebody said so.

    What is left is told with each that is: of that moment, since elements fail, and owners change their minds, at any time.
    """
    rows = "select number, text, data from event where kind = 'element.draining'"
    for number, text, kept in look(rows):
        data = _read(kept)
        serving, least = data.get("serving", 0), data.get("least", 0)
        if serving < least and "forced" not in data:
            yield f"event {number}: {text}, when {serving} were left and {least} should be"


_TABLES = {
    "network": "network",
    "passage": "rule",
    "address": "address",
    "balancer": "balancer",
    "firewall": "rule",
    "forward": "rule",
    "volume": "volume",
    "key": "api_key",
}


def _parts(look: Look) -> Iterator[str]:
    """F5: what a farm is said to have made is there."""
    for kind, table in _TABLES.items():
        rows = f"select farm, name, id from farm_part where kind = '{kind}' and id not in (select id from {table})"  # noqa: S608 - our own words
        yield from (
            f"{farm} has no {kind} {name} any more ({id_})" for farm, name, id_ in look(rows)
        )
