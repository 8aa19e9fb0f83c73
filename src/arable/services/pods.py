"""Pods: what an operator may ask of them."""

from ipaddress import IPv4Network

import msgspec

from arable.domain.access import Permission
from arable.domain.errors import BadInput, Conflict
from arable.domain.ids import PodId, ZoneId, kind_of
from arable.domain.pod import Pod
from arable.domain.subnet import inside, network
from arable.services import zones
from arable.services.asks import check_expected
from arable.services.call import Call
from arable.services.pages import paged
from arable.store import pods, public_ranges
from arable.store.pods import PodFilter
from arable.wire.common import Page
from arable.wire.pods import PodChange, PodIn, PodOut, PodQuery


def create(call: Call, ask: PodIn) -> PodOut:
    """A new pod, whose management subnet overlaps with no other subnet of the zone."""
    call.caller.needs(Permission.INFRA_WRITE)
    zone = zones.named(call, ask.zone)
    subnet = network(ask.cidr, "cidr")
    if not 8 <= subnet.prefixlen <= 30:
        raise BadInput("a management subnet is from /8 to /30", field="cidr")
    if ask.gateway is not None:
        inside(subnet, ask.gateway, "gateway")
    others = [(cidr, "another pod") for cidr in pods.subnets(call.tx, zone.id)]
    others += [(each.cidr, "a public range") for each in public_ranges.of_zone(call.tx, zone.id)]
    for cidr, what in others:
        if subnet.overlaps(IPv4Network(cidr)):
            raise Conflict(f"overlaps with {cidr}, the subnet of {what}", field="cidr")
    pod = Pod(
        id=PodId(call.around.ids.new("pod")),
        zone=zone.id,
        name=ask.name,
        cidr=ask.cidr,
        gateway=ask.gateway or "",
        created_at=call.around.clock.now(),
    )
    pods.add(call.tx, pod)
    return _out(pod)


def page(call: Call, query: PodQuery) -> Page[PodOut]:
    """Pods by age."""
    call.caller.needs(Permission.INFRA_READ)
    where = PodFilter(zone=ZoneId(query.zone) if query.zone else None, name=query.name)
    found = pods.page(call.tx, where, after=query.after, limit=query.limit + 1)
    return paged(found, query, _out)


def get(call: Call, pod: PodId) -> PodOut:
    """One pod."""
    call.caller.needs(Permission.INFRA_READ)
    return _out(pods.get(call.tx, pod))


def update(call: Call, pod: PodId, ask: PodChange) -> PodOut:
    """What is said is changed."""
    call.caller.needs(Permission.INFRA_WRITE)
    before = pods.get(call.tx, pod, lock=True)
    check_expected(call, before.generation, "pod")
    after = before.changed(**msgspec.to_builtins(ask))
    if after.name != before.name:
        pods.check_name(call.tx, after.zone, after.name)
    pods.save(call.tx, after)
    return _out(after)


def delete(call: Call, pod: PodId) -> None:
    """Only when it has no hosts."""
    call.caller.needs(Permission.INFRA_WRITE)
    found = pods.get(call.tx, pod, lock=True)
    check_expected(call, found.generation, "pod")
    pods.remove(call.tx, found)


def named(call: Call, name: str) -> Pod:
    """The pod that a body names by id, or by a name that only one zone uses."""
    if kind_of(name) == "pod":
        return pods.get(call.tx, PodId(name))
    found = pods.page(call.tx, PodFilter(name=name), limit=2)
    if not found:
        raise BadInput(f"there is no pod {name}", field="pod")
    if len(found) > 1:
        raise BadInput(f"several zones have a pod {name}; give its id", field="pod")
    return found[0]


def _out(pod: Pod) -> PodOut:
    return PodOut(
        id=pod.id,
        zone=pod.zone,
        name=pod.name,
        cidr=pod.cidr,
        gateway=pod.gateway,
        enabled=pod.enabled,
        generation=pod.generation,
        created_at=pod.created_at,
    )
