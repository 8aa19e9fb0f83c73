"""How an appliance gives way to a later one of the same network: rules for the kernel, which need no process.

An appliance of a host that was lost may still run, with nobody who could be told to end it: its agent is frozen, or cut
off from management. The one that takes its place announces itself on the networks that both serve (gratuitous ARP), and
names its epoch where such a frame has room for six bytes that nobody reads, the target's hardware address. Whoever
serves the same address by a lower epoch hears that, and from then on lets nothing in or out where it heard it: it answers
no question and leads no packet on, and what its own programs begin (checks of machines, handshakes of VPNs) teaches no switch
that its MAC is there. Nobody else notices; ports of guests let no frame out with another one's address.
"""

from collections.abc import Iterable

from arable.appliance.pair import GUESTS, LINK, PUBLIC
from arable.appliance.router import Router

TABLE, OVER = "heir", "over"
_PREFIX = b"\x0a\xfe"
_HIGHEST = (1 << 32) - 1
_MOST = (1 << 16) - 1
_NOBODY = b"\xff" * 6


def rank(epoch: int, term: int = 0) -> int:
    """By which of two gives way. In a pair, who begins to lead has a higher `term` than who led before."""
    return min(epoch, _MOST) << 16 | min(term, _MOST)


def term_after(epoch: int, term: int, heard: int) -> int:
    """The term of one of that epoch that begins to lead: above its own last one, and those of its epoch that it heard."""
    theirs = heard & _MOST if heard >> 16 == epoch else 0
    return max(term, theirs) + 1


def name_of(rank: int) -> bytes:
    """What announcements of an appliance of that rank are addressed to. The first one announces itself to nobody."""
    return _PREFIX + min(rank, _HIGHEST).to_bytes(4, "big") if rank else _NOBODY


def rank_in(name: str) -> int:
    """The rank in such an address, as text with colons."""
    return int.from_bytes(bytes.fromhex(name.replace(":", ""))[2:], "big")


def guard(router: Router, term: int = 0) -> str:
    """All rules by which it gives way, in place of those it had; its interfaces must be there."""
    own = rank(router.epoch, term)
    chains = _chain("guests", GUESTS, [router.gateway], own)
    if router.out:
        chains += _chain("public", PUBLIC, router.out.addresses, own)
    if router.link:
        chains += _chain("link", LINK, [router.link.address], own)
    begin = f"table netdev {TABLE}\ndelete table netdev {TABLE}\n"
    kept = f"  set {OVER} {{\n    type iface_index\n    size 8\n    flags dynamic\n  }}\n"
    return f"{begin}table netdev {TABLE} {{\n{kept}{chains}}}\n"


def _chain(name: str, interface: str, addresses: Iterable[object], own: int) -> str:
    mine, last = _text(_PREFIX + own.to_bytes(4, "big")), _text(name_of(_HIGHEST))
    later = f"arp daddr ether > {mine} arp daddr ether <= {last}"
    ours = f"arp saddr ip {{ {', '.join(map(str, addresses))} }}"
    return (
        f"  chain {name} {{\n"
        f'    type filter hook ingress device "{interface}" priority -300; policy accept;\n'
        f"    {ours} {later} add @{OVER} {{ iif }}\n"
        f"    iif @{OVER} drop\n"
        "  }\n"
        f"  chain {name}_out {{\n"
        f'    type filter hook egress device "{interface}" priority -300; policy accept;\n'
        f"    oif @{OVER} drop\n"
        "  }\n"
    )


def _text(hardware: bytes) -> str:
    return hardware.hex(":")
