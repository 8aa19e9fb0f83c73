"""Loads an appliance's packet filter, and ends the connections that it does not allow any more."""

import json
import socket
import subprocess
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from pyroute2 import Conntrack
from pyroute2.netlink.exceptions import NetlinkError

from arable.appliance import heirs, pair
from arable.appliance.connections import Connection, Connection6, stays, stays6
from arable.appliance.nftables import ruleset
from arable.appliance.router import Router
from arable.domain.errors import Unavailable
from arable.domain.ids import NetworkId
from arable.domain.manifest import Protocol
from arable.drivers import namespaces
from arable.drivers.network.links import failing

_PROTOCOLS = {1: Protocol.ICMP, 6: Protocol.TCP, 17: Protocol.UDP, 58: Protocol.ICMP}
_GONE = 2  # ENOENT


def load(netns: str, router: Router) -> None:
    """The rules are these, all at once; connections go on."""
    apply(netns, router.network, ruleset(router))


def apply(netns: str, network: NetworkId, rules: str) -> None:
    """Have nft take this, all at once."""
    done = _nft(netns, ["-f", "-"], rules)
    if done.returncode != 0:
        raise Unavailable(f"the packet filter of {network} was refused", detail=done.stderr.strip())


def yielded(netns: str) -> bool:
    """Whether the appliance has given way to a later one."""
    return bool(_elements(netns, heirs.TABLE, heirs.OVER))


def heard(netns: str) -> int:
    """The highest rank that an appliance of the same network was heard to have; 0: none was."""
    return max(
        (heirs.rank_in(str(each)) for each in _elements(netns, pair.TABLE, pair.HEARD)), default=0
    )


def _elements(netns: str, table: str, name: str) -> list[object]:
    done = _nft(netns, ["-j", "list", "set", "netdev", table, name])
    if done.returncode != 0:
        return []
    listed = json.loads(done.stdout)["nftables"]
    return [one for each in listed for one in each.get("set", {}).get("elem", ())]


def _nft(netns: str, words: list[str], rules: str = "") -> "subprocess.CompletedProcess[str]":
    def run() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["nft", *words], input=rules, capture_output=True, text=True, check=False
        )

    try:
        return namespaces.inside(netns, run)
    except FileNotFoundError:
        raise Unavailable("nft is not installed here") from None


def cut(netns: str, router: Router) -> int:
    """End what the rules do not allow any more; how many connections that were."""

    def act() -> int:
        families = (socket.AF_INET, socket.AF_INET6)
        return sum(_cut(router, family) for family in families)

    with failing("end connections of an appliance"):
        return namespaces.inside(netns, act)


def _cut(router: Router, family: int) -> int:
    ended = 0
    with Conntrack(nfgen_family=family) as table:
        for entry in list(table.dump_entries()):
            if entry.tuple_orig.proto not in _PROTOCOLS or _stays(router, entry):
                continue
            try:
                table.delete(entry)
                ended += 1
            except NetlinkError as error:
                if error.code != _GONE:
                    raise
    return ended


def _stays(router: Router, entry: Any) -> bool:
    asked, answers = entry.tuple_orig, entry.tuple_reply
    protocol, port = _PROTOCOLS[asked.proto], asked.dport or 0
    if asked.family == socket.AF_INET6:
        source, target = IPv6Address(asked.saddr), IPv6Address(asked.daddr)
        return stays6(
            router, Connection6(protocol=protocol, source=source, target=target, port=port)
        )
    return asked.family != socket.AF_INET or stays(
        router,
        Connection(
            protocol=protocol,
            source=IPv4Address(asked.saddr),
            target=IPv4Address(asked.daddr),
            port=port,
            answers_from=IPv4Address(answers.saddr),
            answers_from_port=answers.sport or 0,
            answers_to=IPv4Address(answers.daddr),
        ),
    )
