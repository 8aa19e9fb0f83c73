"""Inside an appliance's namespace: its interfaces, their addresses, the ways out.

Everything is made so by comparing with what is there, so saying it again touches nothing that is right, and a
change keeps the addresses that stay (and with them the connections that use them).
"""

import errno
import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

from pyroute2 import IPRoute

from arable.appliance.between import Link
from arable.appliance.pair import LEADS
from arable.appliance.router import WayOut
from arable.appliance.tunnels import Tunnel
from arable.appliance.wireguard import MTU
from arable.domain.errors import Unavailable
from arable.domain.pair import PAIRS
from arable.drivers import namespaces
from arable.drivers.network.links import failing, get_sysctl, set_sysctl

_PERMANENT = 0x80
_NODAD = 0x02
_MAIN = 254  # the routing table

# A router for strangers: no redirects in or out, no source routes, answers must come the way the question went,
# and it answers ARP on an interface for that interface's addresses alone.
_ROUTER = {
    "net/ipv4/conf/all/rp_filter": "1",
    "net/ipv4/conf/default/rp_filter": "1",
    "net/ipv4/conf/all/accept_redirects": "0",
    "net/ipv4/conf/default/accept_redirects": "0",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    "net/ipv4/conf/all/accept_source_route": "0",
    "net/ipv4/conf/default/accept_source_route": "0",
    "net/ipv4/conf/all/arp_ignore": "1",
    "net/ipv4/conf/all/arp_announce": "2",
    "net/ipv4/conf/all/promote_secondaries": "1",
    "net/ipv4/conf/default/promote_secondaries": "1",
    "net/ipv4/ip_forward": "1",
    "net/ipv4/ip_unprivileged_port_start": "0",  # so that what listens there for customers need not be root
}
# Set once: what `all` is told, each interface is, and those that are to have IPv6 would lose it for a moment.
_NO_IPV6 = ("net/ipv6/conf/default/disable_ipv6", "net/ipv6/conf/all/disable_ipv6")
# What the kernel writes into each interface when it is made, whatever was said for `default` after.
_INTERFACE = {"accept_redirects": "0", "send_redirects": "0", "rp_filter": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """How an interface of the appliance should be."""

    name: str
    mac: str = ""
    mtu: int = 1500
    addresses: tuple[IPv4Interface, ...] = ()
    said_to: bytes = b"\xff" * 6  # what is announced is addressed to, within (`appliance/heirs.py`)


def settle(netns: str) -> None:
    """The namespace routes, and does nothing else that a router for strangers should not."""

    def act() -> None:
        for path, value in _ROUTER.items():
            set_sysctl(path, value)
        for path in _NO_IPV6:
            if get_sysctl(path) != "1":
                set_sysctl(path, "1")
        with IPRoute() as ip:
            ip.link("set", index=1, state="up")

    with failing("set up the namespace of an appliance"):
        namespaces.inside(netns, act)


def interfaces(netns: str) -> Mapping[str, int]:
    """The interfaces in there, with their numbers."""

    def act() -> dict[str, int]:
        with IPRoute() as ip:
            return {link.get_attr("IFLA_IFNAME"): link["index"] for link in ip.get_links()}

    with failing("look into the namespace of an appliance"):
        return namespaces.inside(netns, act)


def addresses(netns: str, name: str) -> frozenset[IPv4Address]:
    """Those of an interface; none when it is not there."""

    def act() -> frozenset[IPv4Address]:
        with IPRoute() as ip:
            found = ip.link_lookup(ifname=name)
            held = ip.get_addr(index=found[0], family=socket.AF_INET) if found else ()
            return frozenset(IPv4Address(one.get_attr("IFA_ADDRESS")) for one in held)

    with failing("look at an interface of an appliance"):
        return namespaces.inside(netns, act)


def take_in(host: str | None, device: str, netns: str, name: str) -> bool:
    """A device of the host becomes an interface of the appliance. False when the host has none of that name."""

    def act() -> bool:
        with IPRoute() as ip, (namespaces.RUN / netns).open("rb") as door:
            found = ip.link_lookup(ifname=device)
            if found:
                ip.link("set", index=found[0], net_ns_fd=door.fileno(), ifname=name)
            return bool(found)

    with failing(f"move {device} into its appliance"):
        return namespaces.inside(host, act)


def drop(netns: str, name: str) -> None:
    """No interface of that name."""

    def act() -> None:
        with IPRoute() as ip:
            for index in ip.link_lookup(ifname=name):
                ip.link("del", index=index)

    with failing(f"remove {name} from its appliance"):
        namespaces.inside(netns, act)


def configure(netns: str, interface: Interface) -> None:
    """The interface is so, and its neighbours know of every address that is new there."""

    def act() -> None:
        with IPRoute() as ip:
            index = _index(ip, interface.name)
            for name, value in _INTERFACE.items():
                set_sysctl(f"net/ipv4/conf/{interface.name}/{name}", value)
            (link,) = ip.get_links(index)
            if link.get_attr("IFLA_ADDRESS") != interface.mac:
                ip.link("set", index=index, address=interface.mac)
            if link.get_attr("IFLA_MTU") != interface.mtu:
                ip.link("set", index=index, mtu=interface.mtu)
            ip.link("set", index=index, state="up")
            fresh = _address(ip, index, interface.addresses)
        if fresh:
            _announce(interface.name, interface.mac, fresh, interface.said_to)

    with failing(f"configure {interface.name} of an appliance"):
        namespaces.inside(netns, act)


def announce(netns: str, interface: str, mac: str, said_to: bytes) -> None:
    """Its neighbours, and earlier ones of the same appliance, hear of every address that is there."""

    def act() -> None:
        with IPRoute() as ip:
            held = ip.get_addr(index=_index(ip, interface), family=socket.AF_INET)
        addresses = [IPv4Address(one.get_attr("IFA_ADDRESS")) for one in held]
        ours = [address for address in addresses if address not in PAIRS]
        _announce(interface, mac, ours, said_to)

    with failing(f"announce {interface} of an appliance"):
        namespaces.inside(netns, act)


def lead_out(netns: str, out: WayOut) -> None:
    """Everything that is not here goes to the gateway, from the appliance's own address."""

    def act() -> None:
        with IPRoute() as ip:
            ip.route(
                "replace",
                dst="0.0.0.0/0",
                gateway=str(out.gateway),
                oif=_index(ip, "eth2"),
                prefsrc=str(out.address),
                flags=["onlink"],
            )

    with failing("set the way out of an appliance"):
        namespaces.inside(netns, act)


def lead_between(netns: str, interface: str, link: Link) -> None:
    """What is a neighbour's goes to its router, and nothing else goes there."""

    def act() -> None:
        with IPRoute() as ip:
            index = _index(ip, interface)
            wanted = {str(each.cidr): str(each.via) for each in link.near}
            for route in ip.get_routes(oif=index, family=socket.AF_INET, table=_MAIN):
                to = f"{route.get_attr('RTA_DST')}/{route['dst_len']}"
                if route.get_attr("RTA_GATEWAY") and to not in wanted:
                    ip.route("del", dst=to, oif=index)
            for to, via in wanted.items():
                ip.route("replace", dst=to, gateway=via, oif=index, flags=["onlink"])

    with failing("set the ways to an appliance's neighbours"):
        namespaces.inside(netns, act)


def lead_into(netns: str, tunnel: Tunnel, gateway: IPv4Address) -> None:
    """What is behind a tunnel goes there; the router itself speaks there by its address on the guest network."""

    def act() -> None:
        with IPRoute() as ip:
            index = _index(ip, tunnel.interface)
            for name, value in _INTERFACE.items():
                set_sysctl(f"net/ipv4/conf/{tunnel.interface}/{name}", value)
            ip.link("set", index=index, mtu=MTU, state="up")
            wanted = {str(cidr) for cidr in tunnel.behind}
            for route in ip.get_routes(oif=index, family=socket.AF_INET, table=_MAIN):
                to = f"{route.get_attr('RTA_DST')}/{route['dst_len']}"
                if to not in wanted:
                    ip.route("del", dst=to, oif=index)
            for to in wanted:
                ip.route("replace", dst=to, oif=index, prefsrc=str(gateway))

    with failing("lead into a VPN of an appliance"):
        namespaces.inside(netns, act)


def address_leg(netns: str | None, device: str, address: str) -> None:
    """One end of the private line between host and appliance: link-local, so it needs no plan and leads nowhere."""

    def act() -> None:
        set_sysctl(f"net/ipv6/conf/{device}/disable_ipv6", "0")
        for name, value in {"accept_ra": "0", "addr_gen_mode": "1", "forwarding": "0"}.items():
            set_sysctl(f"net/ipv6/conf/{device}/{name}", value)
        with IPRoute() as ip:
            index = _index(ip, device)
            ip.link("set", index=index, state="up")
            held = ip.get_addr(index=index, family=socket.AF_INET6)
            if address not in {one.get_attr("IFA_ADDRESS") for one in held}:
                ip.addr(
                    "add",
                    index=index,
                    family=socket.AF_INET6,
                    address=address,
                    prefixlen=64,
                    flags=_NODAD | _PERMANENT,
                )

    with failing(f"configure the line to an appliance ({device})"):
        namespaces.inside(netns, act)


def _index(ip: Any, name: str) -> int:
    found = ip.link_lookup(ifname=name)
    if not found:
        raise Unavailable(f"the appliance has no {name}")
    return int(found[0])


def _address(ip: Any, index: int, wanted: Iterable[IPv4Interface]) -> list[IPv4Address]:
    """New ones come before old ones go, so that one which stays is never gone."""
    held = {
        IPv4Interface(f"{one.get_attr('IFA_ADDRESS')}/{one['prefixlen']}")
        for one in ip.get_addr(index=index, family=socket.AF_INET)
    }
    fresh = [address for address in wanted if address not in held]
    for address in fresh:
        ip.addr("add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen)
    for address in held.difference(wanted):
        if address.ip in LEADS.values():  # keepalived's own
            continue
        ip.addr("del", index=index, address=str(address.ip), prefixlen=address.network.prefixlen)
    return [address.ip for address in fresh]


def _announce(device: str, mac: str, addresses: Iterable[IPv4Address], said_to: bytes) -> None:
    """Gratuitous ARP: whoever knew the address elsewhere (another host, the last owner) learns it anew."""
    hardware = bytes.fromhex(mac.replace(":", ""))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as mouth:
        mouth.bind((device, 0))
        for address in addresses:
            for operation in (1, 2):
                head = struct.pack(
                    "!6s6sHHHBBH", b"\xff" * 6, hardware, 0x0806, 1, 0x0800, 6, 4, operation
                )
                body = hardware + address.packed + said_to + address.packed
                try:
                    mouth.send(head + body)
                except OSError as error:
                    if error.errno != errno.ENOBUFS:  # so the kernel says that rules let it not out
                        raise
