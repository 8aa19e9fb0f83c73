"""Who leads of a network's two routers, in a simulated world, and what must be true of such pairs.

Routers hear each other on their customers' networks, whatever becomes of management: one that is there leads on until
somebody who does not hear it, and is not of an earlier epoch, begins to.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from arable.domain.ids import HostId, NetworkId
from arable.domain.manifest import ApplianceWish
from arable.drivers.simhost import SimHost

Look = Callable[[str], list[Any]]
"""The rows of a query."""

NOWHERE = "no other host of the zone"
"""What is said where there is no place for a second one."""


@dataclass
class Elections:
    """Of all networks with two routers. `there` are hosts with power."""

    there: Callable[[], Mapping[HostId, SimHost]]
    _led: dict[NetworkId, HostId] = field(default_factory=dict)

    def leads(self, host: HostId, wish: ApplianceWish) -> bool:
        """Whether that host's router does."""
        network = wish.network
        all_of = {
            id_: sim.appliances[network].wish
            for id_, sim in self.there().items()
            if network in sim.appliances
        }
        if not all_of:
            return False
        led = self._led.get(network)
        if led not in all_of:
            led = max(all_of, key=lambda id_: (all_of[id_].epoch, id_))
        for other, its in sorted(all_of.items()):
            if other != led and not _hears(its, all_of[led]) and its.epoch >= all_of[led].epoch:
                led = other
        self._led[network] = led
        return led == host


def _hears(one: ApplianceWish, other: ApplianceWish) -> bool:
    """Whether it is told by the other one that this leads."""
    return bool(one.pair and other.pair and one.pair.other == other.pair.number)


def always(look: Look, hosts: Mapping[HostId, SimHost]) -> Iterator[str]:
    """Safety: the two are apart, and only one of them leads."""
    apart = """
        select id from network where appliance_host = standby_host
        or (standby_host is not null and appliance_number = standby_number)
    """
    yield from (f"the two routers of {network} are not apart" for (network,) in look(apart))
    leading: dict[NetworkId, list[HostId]] = {}
    for host, sim in hosts.items():
        for network, held in sim.appliances.items():
            if held.wish.pair and sim.leads(held.wish):
                leading.setdefault(network, []).append(host)
    for network, those in leading.items():
        if len(those) > 1:
            yield f"the routers of {network} on {those} lead"


_ELSEWHERE = """
    select i.host, i.id from manifest_item i
    left join nic on nic.id = i.id left join network n on n.id = nic.network
    where i.kind = 'lease' and i.body is not null
    and coalesce(i.host not in (n.appliance_host, coalesce(n.standby_host, '')), true)
"""


def at_rest(look: Look, hosts: Mapping[HostId, SimHost]) -> Iterator[str]:
    """A network that is to have two has them, alike, and the one that leads is known. Routers alone know machines."""
    for host, nic in look(_ELSEWHERE):
        yield f"{host} is told of {nic}, whose router it has not"
    rows = look("""
        select id, redundant, appliance_host, appliance_state, standby_host, standby_state, standby_told
        from network where state = 'ready'
    """)
    for network, redundant, host, state, other, standby, told in rows:
        if state != "running" or not redundant:
            if other is not None:
                yield f"the second router of {network} is still {standby}"
            continue
        if standby != "running":
            if not told.startswith(NOWHERE):
                yield f"the second router of {network} is {standby}: {told}"
            continue
        one, two = (hosts[id_].appliances.get(network) for id_ in (host, other))
        if one is None or two is None:
            yield f"one of the routers of {network} is not there"
        elif replace(one.wish, pair=None) != replace(two.wish, pair=None):
            yield f"the routers of {network} are not alike"
        elif one.leases != two.leases:
            yield f"the routers of {network} do not know the same machines"
        elif not hosts[host].leads(one.wish):
            yield f"the router of {network} that leads is not on {host}"
