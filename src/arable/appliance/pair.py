"""What makes two appliances of one network a pair: keepalived elects, conntrackd follows, the kernel keeps one silent.

Both have all of the network's addresses, and the same MACs, all the time; what is in them runs in both. The one that
stands by is *muted*: rules of the kernel let nothing in or out on the networks that both serve, but what the one that
leads says of itself (VRRP) and of its connections. So only one answers ARP or leads a packet on, and when the election
has another outcome, one set changes: neighbours have nothing to learn but, for switches, where the MAC is. keepalived
says that itself, by announcing an address of its own that nobody uses, on each network, in the moment it begins to lead.

Both are believed by MAC and by number: ports of guests let no frame out with a router's MAC.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import PurePosixPath

from arable.domain.errors import BadInput
from arable.domain.pair import PAIRS, Pair

GUESTS, PUBLIC, LINK = "eth0", "eth2", "eth3"
SHARED = (GUESTS, PUBLIC, LINK)
"""Interfaces on networks where both are."""
LEADS: Mapping[str, IPv4Address] = {name: PAIRS[-2 - place] for place, name in enumerate(SHARED)}
"""Which address each of these has while its appliance leads. Nobody uses them."""

VRRP = 112
SYNC_PORT = 3780
SECONDS = 0.5
"""Between two words of the one that leads; after little more than three that are missing the other one leads."""

TABLE, MUTED, HEARD = "pair", "muted", "heard"
TURN_LEAD, TURN_STAND = "lead.nft", "stand.nft"
VRRP_PID, PARENT_PID = "vrrp.pid", "keepalived.pid"
SYNC_LOCK, SYNC_SOCKET, SYNC_LOG = "conntrackd.lock", "conntrackd.ctl", "conntrackd.log"

_ELECTING = IPv4Address("224.0.0.18")
_GROUP = IPv4Address("224.0.0.50")  # not led on by any router, and never held back by a switch
_VRRP = f"ip protocol {VRRP} ip daddr {_ELECTING}"
_SYNC = f"udp dport {SYNC_PORT} ip daddr {_GROUP}"
_ROUTER_ID = 51  # of VRRP; one pair is all that a network has
_MOST_HEARD = 64
_ANNOUNCED = ("0a:fe:00:00:00:00", "0a:fe:ff:ff:ff:ff")  # what `heirs.name_of` makes


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Its own address among the two, and the other one's; None: it is alone now."""

    own: IPv4Address
    other: IPv4Address | None


def paired(asked: Pair) -> Paired:
    """The wish as typed values. Raises `BadInput` naming the field that can't be."""
    last = PAIRS.num_addresses - 2 - len(SHARED)
    if not 1 <= asked.number <= last:
        raise BadInput(f"{asked.number} is no number of a pair", field="pair.number")
    if not 0 <= asked.other <= last or asked.other == asked.number:
        raise BadInput(f"{asked.other} is no number of another", field="pair.other")
    return Paired(own=PAIRS[asked.number], other=PAIRS[asked.other] if asked.other else None)


def keepalived(pair: Paired, interfaces: Collection[str], folder: PurePosixPath, nft: str) -> str:
    """What keepalived is started with, and told anew when interfaces come or go. It never leads at once, if it must not."""
    leads = [f"    {LEADS[name]}/32 dev {name}" for name in SHARED if name in interfaces]
    lines = [
        "global_defs {",
        "  vrrp_version 3",
        "  vrrp_garp_master_delay 1",
        "  vrrp_garp_master_repeat 2",
        "  script_user root",
        "  enable_script_security",
        "}",
        "vrrp_instance router {",
        "  state BACKUP",
        "  nopreempt",
        f"  interface {GUESTS}",
        f"  virtual_router_id {_ROUTER_ID}",
        "  priority 100",
        f"  advert_int {SECONDS}",
        f"  mcast_src_ip {pair.own}",
        "  virtual_ipaddress {",
        *leads,
        "  }",
        *(
            f'  notify_{when} "{nft} -f {folder / turn}"'
            for when, turn in (
                ("master", TURN_LEAD),
                ("backup", TURN_STAND),
                ("fault", TURN_STAND),
                ("stop", TURN_STAND),
            )
        ),
        "}",
    ]
    return "\n".join([*lines, ""])


def conntrackd(pair: Paired, folder: PurePosixPath) -> str:
    """What conntrackd is started with: what one kernel knows of connections is put straight into the other."""
    lines = [
        "Sync {",
        "  Mode NOTRACK {",
        "    DisableInternalCache On",
        "    DisableExternalCache On",
        "  }",
        "  Multicast {",
        f"    IPv4_address {_GROUP}",
        f"    Group {SYNC_PORT}",
        f"    IPv4_interface {pair.own}",
        f"    Interface {GUESTS}",
        "    Checksum on",
        "  }",
        "}",
        "General {",
        f"  LockFile {folder / SYNC_LOCK}",
        "  UNIX {",
        f"    Path {folder / SYNC_SOCKET}",
        "  }",
        f"  LogFile {folder / SYNC_LOG}",
        "  Filter From Kernelspace {",
        "    Protocol Accept {",
        "      TCP",
        "      UDP",
        "      ICMP",
        "      IPv6-ICMP",
        "    }",
        "    Address Ignore {",
        "      IPv4_address 127.0.0.0/8",
        f"      IPv4_address {PAIRS}",
        "    }",
        "  }",
        "}",
    ]
    return "\n".join([*lines, ""])


def rules(pair: Paired, macs: Mapping[str, str], *, leads: bool) -> str:
    """All rules that keep it silent while it stands by, for these interfaces, in place of those it had.

    What earlier and later ones of the pair have announced is remembered in a set (`HEARD`).
    """
    begin = f"table netdev {TABLE}\ndelete table netdev {TABLE}\n"
    first, last = _ANNOUNCED
    sets = (
        f"  set {MUTED} {{\n    type iface_index\n  }}\n"
        f"  set {HEARD} {{\n    type ether_addr\n    size {_MOST_HEARD}\n    flags dynamic\n  }}\n"
    )
    chains = "".join(
        f"  chain {name}_in {{\n"
        f'    type filter hook ingress device "{name}" priority -310; policy accept;\n'
        f"{_told(pair, mac) if name == GUESTS else ''}"
        f"    ether saddr {mac} arp daddr ether >= {first} arp daddr ether <= {last} "
        f"add @{HEARD} {{ arp daddr ether }}\n"
        f"    iif @{MUTED} drop\n"
        "  }\n"
        f"  chain {name}_out {{\n"
        f'    type filter hook egress device "{name}" priority -310; policy accept;\n'
        f"{f'    {_VRRP} ip saddr {pair.own} accept{chr(10)}' if name == GUESTS else ''}"
        f"    arp saddr ip {LEADS[name]} arp daddr ip {LEADS[name]} accept\n"
        f"    oif @{MUTED} drop\n"
        "  }\n"
        for name, mac in sorted(macs.items())
    )
    turned = turn(macs, leads=leads)
    return f"{begin}table netdev {TABLE} {{\n{sets}{chains}}}\n{turned}"


def _told(pair: Paired, mac: str) -> str:
    """What is said between the two is believed from the other one alone, of which there may be none."""
    if not pair.other:
        return f"    {_VRRP} drop\n    {_SYNC} drop\n"
    strange = (f"ether saddr != {mac}", f"ip saddr != {pair.other}")
    drops = (f"    {what} {who} drop\n" for what in (_VRRP, _SYNC) for who in strange)
    return "".join((*drops, f"    {_VRRP} accept\n", f"    {_SYNC} accept\n"))


def turn(interfaces: Iterable[str], *, leads: bool) -> str:
    """What nft is told when it begins to lead, or to stand by."""
    flush = f"flush set netdev {TABLE} {MUTED}\n"
    named = ", ".join(f'"{name}"' for name in sorted(interfaces))
    return flush if leads else f"{flush}add element netdev {TABLE} {MUTED} {{ {named} }}\n"
