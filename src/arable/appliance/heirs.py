"""How an appliance gives way to a later one of the same network: rules for the kernel, which need no process.

An appliance of a host that was lost may still run, with nobody who could be told to end it: its agent is frozen, or cut
off from management. The one that takes its place announces itself on the networks that both serve (gratuitous ARP), and
names its epoch where such a frame has room for six bytes that nobody reads, the target's hardware address. Whoever
serves the same address by a lower epoch hears that, and from then on lets nothing in or out where it heard it: it answers
no question and leads no packet on, and what its own programs begin (checks of machines, handshakes of VPNs) teaches no switch
that its MAC is there. Nobody else notices; ports of guests let no frame out with another one's address.
"""

from collections.abc import Iterable

from arable.appliance.nftables import GUESTS, LINK, PUBLIC
from arable.appliance.router import Router

TABLE, OVER = "heir", "over"
_PREFIX = b"\x0a\xfe"
_HIGHEST = (1 << 32) - 1
_NOBODY = b"\xff" * 6


def name_of(epoch: int) -> bytes:
    """What announcements of an appliance of that epoch are addressed to. The first one announces itself to nobody."""
    return _PREFIX + min(epoch, _HIGHEST).to_bytes(4, "big") if epoch else _NOBODY


def guard(router: Router) -> str:
    """All rules by which it gives way, in place of those it had; its interfaces must be there."""
    chains = _chain("guests", GUESTS, [router.gateway], router.epoch)
    if router.out:
        chains += _chain("public", PUBLIC, router.out.addresses, router.epoch)
    if router.link:
        chains += _chain("link", LINK, [router.link.address], router.epoch)
    begin = f"table netdev {TABLE}\ndelete table netdev {TABLE}\n"
    kept = f"  set {OVER} {{\n    type iface_index\n    size 8\n    flags dynamic\n  }}\n"
    return f"{begin}table netdev {TABLE} {{\n{kept}{chains}}}\n"


def _chain(name: str, interface: str, addresses: Iterable[object], epoch: int) -> str:
    mine, last = _text(_PREFIX + epoch.to_bytes(4, "big")), _text(name_of(_HIGHEST))
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
