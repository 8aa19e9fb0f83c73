"""Cables between namespaces (veth pairs), addresses and routes, over netlink.

Pairs are born with each end where it belongs: nothing is ever in the root namespace, so a lab that is killed in
between can't leave a stray interface there. Neither end of a switch's cable offloads anything: a switch in user space
passes frames on as they are, and one whose checksum was left for hardware that isn't there arrives broken. The end
that is the switch's port is made quiet, too: no voice of the kernel behind it. IPv6 is off: nothing in the lab uses
it, and its chatter would be on every captured wire.
"""

import errno
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from arable.domain.errors import Unavailable
from arable.drivers.namespaces import RUN, inside
from arable.drivers.network.links import Links, switch_offloads_off
from arable.lab.plan import Route

_SETTINGS = {
    "ipv6/conf/all/disable_ipv6": "1",
    "ipv6/conf/default/disable_ipv6": "1",
    "ipv4/conf/all/rp_filter": "1",
    "ipv4/conf/default/rp_filter": "1",
}
Answer = TypeVar("Answer")


def settle(namespace: str, *, forwards: bool) -> None:
    """A fresh namespace's own settings: loopback up, no IPv6, no packets with impossible senders."""

    def go(ip: Any) -> None:
        for name, value in {**_SETTINGS, "ipv4/ip_forward": str(int(forwards))}.items():
            Path("/proc/sys/net", name).write_text(value)
        ip.link("set", index=1, state="up")

    _over_netlink(namespace, go)


def connect(near: tuple[str, str], far: tuple[str, str]) -> None:
    """A cable between two (namespace, interface) that aren't there yet; both ends are up."""

    def make(ip: Any) -> None:
        with (RUN / far[0]).open() as other:
            peer = {"ifname": far[1], "net_ns_fd": other.fileno()}
            ip.link("add", ifname=near[1], kind="veth", peer=peer)

    _over_netlink(near[0], make)
    for namespace, interface in (far, near):
        Links(namespace).raise_up(interface)


def limit(namespace: str, interface: str, mbit: int) -> None:
    """What leaves there goes at that rate. What waits is as much as a router keeps: 50 ms of it, or 64 frames.

    The kernel's token bucket cuts frames that are larger than the wire's, so senders may offload.
    """
    rate = mbit * 125_000  # bytes a second
    burst = max(16 * 1600, rate // 250)
    queue = max(64 * 1600, rate // 20)

    def go(ip: Any) -> None:
        index = _index(ip, interface)
        ip.tc(
            "replace",
            "tbf",
            index,
            handle="1:",
            rate=f"{mbit}mbit",
            burst=burst,
            limit=burst + queue,
        )

    _over_netlink(namespace, go)


def disconnect(namespace: str, interface: str) -> None:
    """The cable that ends there is gone with both its ends; already gone is fine."""
    Links(namespace).remove(interface)


def quiet(namespace: str, interface: str) -> None:
    """Make an interface a switch's port, of which the kernel takes no notice."""
    Links(namespace).make_quiet(interface, offloads=False)


def without_offloads(namespace: str, interface: str) -> None:
    """Make the far end of a switch's cable send frames that are complete."""
    inside(namespace, lambda: switch_offloads_off(interface))


def plug(namespace: str, interface: str, *, up: bool) -> None:
    """Pull one end of a cable, or put it back; the other end's carrier follows."""
    _over_netlink(
        namespace,
        lambda ip: ip.link("set", index=_index(ip, interface), state="up" if up else "down"),
    )


def configure(
    namespace: str, addresses: Iterable[tuple[str, str]], routes: Iterable[Route] = ()
) -> None:
    """These addresses and routes are there, and their interfaces up; may be said again."""

    def go(ip: Any) -> None:
        for interface, address in addresses:
            index = _index(ip, interface)
            text, _, prefix = address.partition("/")
            ip.addr("replace", index=index, address=text, prefixlen=int(prefix))
            ip.link("set", index=index, state="up")
        for route in routes:
            way: dict[str, object] = {"oif": _index(ip, route.interface)}
            if route.via:
                way |= {"gateway": route.via, "flags": ["onlink"]}
            else:
                way |= {"scope": "link"}
            ip.route("replace", dst=route.destination, **way)

    _over_netlink(namespace, go)


def _over_netlink(namespace: str, do: Callable[[Any], Answer]) -> Answer:
    def go() -> Answer:
        with IPRoute() as ip:
            return do(ip)

    try:
        return inside(namespace, go)
    except NetlinkError as error:
        raise Unavailable(f"{namespace}: {error.args[-1]}", detail=repr(error)) from error


def _index(ip: Any, interface: str) -> int:
    found = ip.link_lookup(ifname=interface)
    if not found:
        raise NetlinkError(errno.ENODEV, f"no interface {interface}")
    return int(found[0])
