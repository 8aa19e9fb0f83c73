"""VXLAN between hosts (RFC 7348): one device of the kernel for each VNI, as a port of the switch.

The kernel wraps what the switch sends to the device and learns where MACs are; what has to go everywhere goes to the
hosts that were named, one by one, so the underlay needs layer 3 alone and no multicast. What arrives from anybody else
is dropped by the host's packet filter before it is unwrapped.
"""

import socket
import subprocess
from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Any

from pyroute2 import IPRoute

from arable.domain.errors import Unavailable
from arable.drivers import namespaces
from arable.drivers.network import hostguard
from arable.drivers.network.links import failing

PORT = 4789  # IANA's
TABLE = "arable_tunnels"

_EVERYBODY = "00:00:00:00:00:00"
_AF_BRIDGE = 7  # of neighbours that are MACs: linux/socket.h


def device(vni: int) -> str:
    """Its name."""
    return f"vx{vni}"


class Tunnels:
    """Those of one host, from its address `local` on the underlay. `netns` is where its devices are."""

    def __init__(self, netns: str | None, local: str) -> None:
        self._netns = netns
        self.local = local
        self._let_in: frozenset[str] | None = None

    def make(self, vni: int) -> None:
        """A device for that VNI, down, which leads nowhere."""

        def make() -> None:
            with IPRoute() as ip:
                ip.link(
                    "add",
                    ifname=device(vni),
                    kind="vxlan",
                    vxlan_id=vni,
                    vxlan_local=self.local,
                    vxlan_port=PORT,
                    vxlan_learning=1,
                )

        with failing(f"make a tunnel for VNI {vni}"):
            namespaces.inside(self._netns, make)

    def lead(self, vni: int, hosts: Iterable[str], mtu: int) -> None:
        """What goes to everybody goes to these hosts, and larger frames than that go nowhere."""
        wanted = set(hosts)

        def lead() -> None:
            with IPRoute() as ip:
                index = socket.if_nametoindex(device(vni))
                ip.link("set", index=index, mtu=mtu)
                there = _ends(ip, index)
                for address in sorted(wanted - there):
                    ip.fdb("append", ifindex=index, lladdr=_EVERYBODY, dst=address)
                for address in sorted(there - wanted):
                    ip.fdb("del", ifindex=index, lladdr=_EVERYBODY, dst=address)

        with failing(f"lead VNI {vni} to its hosts"):
            namespaces.inside(self._netns, lead)

    def leads(self, vni: int) -> tuple[frozenset[str], int] | None:
        """To which hosts the device leads, and its MTU; None without a device."""

        def look() -> tuple[frozenset[str], int] | None:
            try:
                index = socket.if_nametoindex(device(vni))
            except OSError:
                return None
            with IPRoute() as ip:
                (link,) = ip.get_links(index)
                return frozenset(_ends(ip, index)), int(link.get_attr("IFLA_MTU"))

        with failing(f"look where VNI {vni} leads"):
            return namespaces.inside(self._netns, look)

    def let_in(self, hosts: Iterable[str]) -> None:
        """From these hosts, and from no others, is taken what is wrapped."""
        known = frozenset(hosts)
        if known == self._let_in and hostguard.loaded(self._netns, TABLE):
            return
        try:
            done = namespaces.inside(self._netns, lambda: _load(known))
        except FileNotFoundError:
            raise Unavailable("nft is not installed here") from None
        if done.returncode != 0:
            told = "the host's packet filter refused the rules of tunnels"
            raise Unavailable(told, detail=done.stderr.strip())
        self._let_in = known


def _ends(ip: Any, index: int) -> set[str]:
    """Where a device leads what goes to everybody."""
    found = ip.get_neighbours(family=_AF_BRIDGE, ifindex=index)
    return {
        each.get_attr("NDA_DST")
        for each in found
        if each.get_attr("NDA_LLADDR") == _EVERYBODY and each.get_attr("NDA_DST")
    }


def _load(known: Iterable[str]) -> "subprocess.CompletedProcess[str]":
    named = ", ".join(str(each) for each in sorted(map(IPv4Address, known)))
    elements = f"elements = {{ {named} }}" if named else ""
    rules = f"""\
table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
  set hosts {{
    type ipv4_addr
    {elements}
  }}
  chain known_hosts_alone {{
    type filter hook input priority -450; policy accept;
    udp dport {PORT} ip saddr != @hosts counter drop
    meta nfproto ipv6 udp dport {PORT} counter drop
  }}
}}
"""
    return subprocess.run(
        ["nft", "-f", "-"], input=rules, capture_output=True, text=True, check=False
    )
