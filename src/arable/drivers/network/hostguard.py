"""Keeps guests away from the host they run on (rule 10).

A userspace switch reads its devices beside the kernel, not instead of it: the host's own network stack sees every
frame of a guest too, and would answer ARP for the host's management address on the guest's tap. One small ruleset
in the host's namespace drops all that arrives by a link of our group before the stack looks at it; the switch, which
reads earlier, is not touched by it. With the kernel datapath the switch takes the frames away, and this never fires.

The host's ends of the private lines to appliances have a group too: over those the host asks and gets echoes back,
and nothing that an appliance begins reaches it.
"""

import subprocess
from collections.abc import Sequence

from arable.domain.errors import Unavailable
from arable.drivers import namespaces
from arable.drivers.network.links import GROUP, LEGS

TABLE = "arable_hostguard"

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
    listed = _nft(netns, ["list", "tables"]).splitlines()
    return {f"table inet {TABLE}", f"table arp {TABLE}"} <= set(listed)


def raise_up(netns: str | None) -> None:
    """The rules are loaded, at once and completely."""
    _nft(netns, ["-f", "-"], RULES)


def _nft(netns: str | None, words: Sequence[str], told: str = "") -> str:
    def run() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["nft", *words], input=told, capture_output=True, text=True, check=False
        )

    try:
        done = namespaces.inside(netns, run)
    except FileNotFoundError:
        raise Unavailable("nft is not installed here") from None
    if done.returncode != 0:
        raise Unavailable("the host's packet filter refused its rules", detail=done.stderr.strip())
    return done.stdout
