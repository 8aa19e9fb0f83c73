"""IPv6 inside an appliance's namespace: the guests' /64 on one side, on the other an answer for each of them.

Outside, the whole range is taken to be on the public VLAN. Whoever asks there for a machine's address is answered by the
router of its network (neighbour discovery by proxy), so no other router has to learn a route when a network comes or goes.

What is right is not touched: to switch IPv6 off and on again would forget addresses, and what relies on them.
"""

import errno
import socket
from collections.abc import Iterable
from ipaddress import IPv6Address
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from arable.appliance.pair import GUESTS, LINK, PUBLIC
from arable.appliance.router import Router
from arable.appliance.six import Six
from arable.domain.guest_ipv6 import link_local, on_link
from arable.drivers import namespaces
from arable.drivers.network.links import failing, set_sysctl

_PERMANENT, _NODAD = 0x80, 0x02
_PROXY = 0x08  # of a neighbour that is answered for
_DEFAULT = "::/0"
_MAIN = 254


def settle(netns: str, made: Router, mac_inside: str, mac_outside: str) -> None:
    """The interfaces have IPv6, as far as they are to; `mac_…` are those of the guests' side and of the world's."""
    six = made.six

    def act() -> None:
        with IPRoute() as ip:
            there = {link.get_attr("IFLA_IFNAME"): link["index"] for link in ip.get_links()}
            if six is not None:
                set_sysctl("net/ipv6/conf/all/forwarding", "1")
            inside = [(link_local(mac_inside), 64), (str(six.gateway), 64)] if six else []
            inside += [(str(each), 128) for each in _twins(made)]
            _have(ip, GUESTS, there[GUESTS], inside)
            if PUBLIC in there:
                leads = six is not None and six.upstream is not None
                _have(ip, PUBLIC, there[PUBLIC], [(link_local(mac_outside), 64)] if leads else [])
                if six is not None and six.upstream is not None:
                    set_sysctl(f"net/ipv6/conf/{PUBLIC}/proxy_ndp", "1")
                    set_sysctl(f"net/ipv6/neigh/{PUBLIC}/proxy_delay", "0")
                    way = {"gateway": str(six.upstream), "oif": there[PUBLIC]}
                    ip.route("replace", dst=_DEFAULT, family=socket.AF_INET6, **way, flags=_ONLINK)
            if LINK in there:
                meets = six is not None and bool(six.near)
                own = [(on_link(made.link.address), 64)] if meets and made.link else []
                _have(ip, LINK, there[LINK], own)
                _lead_between(ip, there[LINK], six)

    with failing("give an appliance IPv6"):
        namespaces.inside(netns, act)


def _twins(made: Router) -> list[IPv6Address]:
    """Where its balancers are called by IPv6."""
    return sorted({each.at6 for each in made.balancers if each.at6})


def _lead_between(ip: Any, index: int, six: Six | None) -> None:
    """What is a neighbour's goes to its router, and nothing else goes there."""
    wanted = {str(each.cidr): on_link(each.via) for each in six.near} if six else {}
    for route in ip.get_routes(oif=index, family=socket.AF_INET6, table=_MAIN):
        to = f"{route.get_attr('RTA_DST')}/{route['dst_len']}"
        if route.get_attr("RTA_GATEWAY") and to not in wanted:
            ip.route("del", dst=to, oif=index, family=socket.AF_INET6)
    for to, via in wanted.items():
        ip.route("replace", dst=to, gateway=via, oif=index, family=socket.AF_INET6, flags=_ONLINK)


def answer_for(netns: str, made: Router, machines: Iterable[IPv6Address]) -> None:
    """Outside, the router answers for these, and for itself, and for nobody else."""
    six = made.six
    leads = six is not None and six.upstream is not None
    ours = map(str, (*_twins(made), *machines))
    wanted = {str(six.gateway), *ours} if six and leads else set()

    def act() -> None:
        with IPRoute() as ip:
            found = ip.link_lookup(ifname=PUBLIC)
            if not found:
                return
            (index,) = found
            held = {
                one.get_attr("NDA_DST")
                for one in ip.neigh("dump", family=socket.AF_INET6, flags=_PROXY)
                if one["ifindex"] == index
            }
            for how, these in (("add", wanted - held), ("del", held - wanted)):
                for address in sorted(these):
                    _proxy(ip, how, index, address)

    with failing("have an appliance answer for its machines"):
        namespaces.inside(netns, act)


_ONLINK = ["onlink"]


def _proxy(ip: Any, how: str, index: int, address: str) -> None:
    try:
        ip.neigh(how, dst=address, ifindex=index, family=socket.AF_INET6, flags=_PROXY)
    except NetlinkError as error:
        if error.code not in (errno.EEXIST, errno.ENOENT):
            raise


def _have(ip: Any, name: str, index: int, wanted: list[tuple[str, int]]) -> None:
    """The interface has these addresses, and IPv6 at all only if there are any. It believes no other router."""
    if not wanted:
        set_sysctl(f"net/ipv6/conf/{name}/disable_ipv6", "1")
        return
    for what, value in _INTERFACE.items():
        set_sysctl(f"net/ipv6/conf/{name}/{what}", value)
    held = {
        (one.get_attr("IFA_ADDRESS"), one["prefixlen"])
        for one in ip.get_addr(index=index, family=socket.AF_INET6)
    }
    for address, length in wanted:
        if (address, length) not in held:
            ip.addr(
                "add",
                index=index,
                family=socket.AF_INET6,
                address=address,
                prefixlen=length,
                flags=_NODAD | _PERMANENT,
            )
    for address, length in held.difference(wanted):
        ip.addr("del", index=index, family=socket.AF_INET6, address=address, prefixlen=length)


# In this order: what the kernel would give an interface by itself has to be off before there is IPv6 on it.
_INTERFACE = {
    "accept_ra": "0",
    "accept_redirects": "0",
    "addr_gen_mode": "1",
    "forwarding": "1",
    "disable_ipv6": "0",
}
