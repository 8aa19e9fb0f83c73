"""What must hold of guest networks' IPv6: a /64 is one network's, and a port's address is made of it and the MAC."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from arable.domain.guest_ipv6 import address_of
from arable.domain.ids import HostId
from arable.drivers.network.protocol import PortKind
from arable.drivers.simhost import SimHost

Rows = Callable[[str], list[Any]]


def always(rows: Rows, hosts: Mapping[HostId, SimHost]) -> Iterator[str]:
    """No two networks have one /64, nor any that is not of their zone's ranges.

    On the wire no address is in two VLANs, but that of one which a restored copy does not know.
    """
    seen: dict[str, str] = {}
    for id_, cidr, number, zone, its in rows("""
        select n.id, n.ipv6_cidr, n.ipv6_number, n.zone, r.zone
        from network n left join ipv6_range r on r.id = n.ipv6_range
        where n.ipv6_cidr is not null or n.ipv6_range is not null or n.ipv6_number is not null
    """):
        if cidr in seen:
            yield f"{id_} and {seen[cidr]} both have {cidr}"
        seen[cidr] = id_
        if zone != its or not number:
            yield f"{id_} has {cidr}, number {number} of a range of {its}"
    barred = {tag for (tag,) in rows("select tag from vlan where network is null and leaving")}
    wire: dict[str, int] = {}
    for sim in hosts.values():
        for nic, port in sim.ports.items():
            if port.kind is PortKind.TAP and port.ipv6 and port.vlan not in barred:
                vlan = wire.setdefault(port.ipv6, port.vlan)
                if vlan != port.vlan:
                    yield f"{port.ipv6} of {nic} is in VLANs {vlan} and {port.vlan}"


def at_rest(rows: Rows, hosts: Mapping[HostId, SimHost]) -> Iterator[str]:
    """Every port of a machine that runs has the address that it should, and every router knows of it."""
    wanted = {
        nic: address_of(cidr, mac) if cidr else ""
        for nic, mac, cidr in rows("""
            select i.id, i.mac, n.ipv6_cidr from nic i join network n on n.id = i.network
            join machine m on m.id = i.machine
            where m.state = 'running' and not i.leaving and i.position >= 0
        """)
    }
    cidrs = dict(rows("select id, ipv6_cidr from network"))
    for host, sim in hosts.items():
        for nic, port in sim.ports.items():
            if nic in wanted and port.ipv6 != wanted[nic]:
                yield f"{nic} on {host} has {port.ipv6!r}, not {wanted[nic]!r}"
        for network, held in sim.appliances.items():
            told = held.wish.ipv6.cidr if held.wish.ipv6 else None
            if network in cidrs and told != cidrs[network]:
                yield f"the router of {network} has {told}, not {cidrs[network]}"
            for nic, lease in held.leases.items():
                if nic in wanted and lease.ipv6 != wanted[nic]:
                    yield f"the router of {network} knows {nic} by {lease.ipv6!r}, not {wanted[nic]!r}"
