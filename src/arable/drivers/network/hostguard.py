"""Keeps guests away from the host they run on (rule 10).

A userspace switch reads its devices beside the kernel, not instead of it: the host's own network stack sees every
frame of a guest too, and would answer ARP for the host's management address on the guest's tap. One small ruleset
in the host's namespace drops all that arrives by a link of our group before the stack looks at it; the switch, which
reads earlier, is not touched by it. With the kernel datapath the switch takes the frames away, and this never fires.

The host's ends of the private lines to appliances have a group too: over those the host asks and gets echoes back,
and nothing that an appliance begins reaches it.
"""

import socket
import subprocess

from pyroute2.nftables.main import NFTables

from arable.domain.errors import Unavailable
from arable.drivers import namespaces
from arable.drivers.network.links import GROUP, LEGS, failing

TABLE = "arable_hostguard"
_FAMILIES = {1, 3}  # NFPROTO_INET, NFPROTO_ARP of linux/netfilter.h

RULES = f"""\
table inet {TABLE}
delete table inet {TABLE}
table arp {TABLE}
delete table arp {TABLE}
table inet {TABLE} {{
  chain ours_are_not_the_hosts {{
    type filter hook prerouting priority -450; policy accept;
    meta iifgroup {GROUP} counter drop
  }}
  chain appliances_only_answer {{
    type filter hook prerouting priority -449; policy accept;
    meta iifgroup {LEGS} icmpv6 type {{ echo-reply, nd-neighbor-solicit, nd-neighbor-advert }} accept
    meta iifgroup {LEGS} counter drop
  }}
}}
table arp {TABLE} {{
  chain ours_are_not_the_hosts {{
    type filter hook input priority -450; policy accept;
    meta iifgroup {{ {GROUP}, {LEGS} }} counter drop
  }}
}}
"""


def stands(netns: str | None) -> bool:
    """Whether the rules are loaded; an operator's `nft flush ruleset` takes them too."""
    return loaded(netns, TABLE) >= _FAMILIES


def loaded(netns: str | None, name: str) -> set[int]:
    """The families in which there is a table of that name."""

    def families() -> set[int]:
        with NFTables(nfgen_family=socket.AF_UNSPEC) as tables:
            return {
                table["nfgen_family"]
                for table in tables.get_tables()
                if table.get_attr("NFTA_TABLE_NAME") == name
            }

    with failing("look at the host's packet filter"):
        return namespaces.inside(netns, families)


def raise_up(netns: str | None) -> None:
    """The rules are loaded, at once and completely."""

    def run() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["nft", "-f", "-"], input=RULES, capture_output=True, text=True, check=False
        )

    try:
        done = namespaces.inside(netns, run)
    except FileNotFoundError:
        raise Unavailable("nft is not installed here") from None
    if done.returncode != 0:
        raise Unavailable("the host's packet filter refused its rules", detail=done.stderr.strip())
