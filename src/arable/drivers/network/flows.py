"""What the switch does with a frame, as OpenFlow rules. Pure text; `openflow.py` hands it to the switch.

Table 0 decides whether a frame may come in at all, and notes its VLAN in register 0. Everything that is not
let in by name is dropped, so a port without rules is a port without traffic: there is no unguarded instant while
a port is made, and none after the switch lost its memory. Table 1 limits what goes to a port, and forwards.

VLANs are forwarded as the switch does by itself. There is no such thing for VNIs, and their ports are in no VLAN: what
comes from a port of one is told in register 0 as well, and leads to ports of the same VNI alone, since each rule that
puts a frame out names both. Table 2 is what was learned: behind which port a MAC was seen last (register 2). Table 3 puts
the frame out there if that port is in the VNI, or to all ports of the VNI.

Each rule carries a cookie: our mark, the port's number, and a digest of all of the port's rules and meters. Whether
a port is guarded exactly as it should be is then a count of cookies, also after an upgrade changed the rules.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from arable.domain.guest_ipv6 import link_local
from arable.domain.layer2 import is_vni
from arable.drivers.network.protocol import Port, PortKind

MARK = 0xA7AB << 48
MARK_MASK = 0xFFFF << 48
PORT_MASK = 0xFFFFFFFF << 32
LEARNED = 0xA7AC << 48  # with a port's number: what was learned of what came from there

FORWARD = "actions=NORMAL"
_UNTAGGED = "vlan_tci=0x0000/0x1fff"
_TAGGED = "vlan_tci=0x1000/0x1000"
_TO_MANY = "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00"
_FORGOTTEN = 300  # seconds after which a MAC that was not seen any more is forgotten


@dataclass(frozen=True, slots=True)
class Meter:
    """A limit on frames that are sent through it."""

    id: int
    kbps: int

    def __str__(self) -> str:
        # A burst of a tenth of a second: enough for TCP to run at the limit, too little to be felt as more.
        burst = max(self.kbps // 10, 256)
        return f"meter={self.id},kbps,burst,band=type=drop,rate={self.kbps},burst_size={burst}"


@dataclass(frozen=True, slots=True)
class Rules:
    """All that the switch needs to know for one port, or (number 0) for itself."""

    number: int
    flows: tuple[str, ...]
    meters: tuple[Meter, ...] = ()

    @property
    def cookie(self) -> int:
        text = "\n".join([*self.flows, *map(str, self.meters)])
        digest = hashlib.sha256(text.encode()).digest()
        return MARK | self.number << 32 | int.from_bytes(digest[:4])

    def bundle(self) -> str:
        """One atomic change: every rule of this port, of whatever age, makes way for these."""
        added = [f"add cookie={self.cookie:#x},{flow}" for flow in self.flows]
        return "\n".join([removal(self.number), *added, ""])


def removal(number: int) -> str:
    """The line of a bundle that takes away all rules of a port."""
    return f"delete {owned_by(number)}"


def owned_by(number: int) -> str:
    """Matches the rules of a port by cookie."""
    return f"cookie={MARK | number << 32:#x}/{PORT_MASK:#x}"


def meter_ids(number: int) -> tuple[int, int]:
    """Of the frames from a port, and of those to it."""
    return 2 * number, 2 * number + 1


def of_bridge(uplink: int, others: Iterable[int], native: int) -> Rules:
    """The switch's own rules: the uplink and the host's own ports pass; nothing else does without rules of its own."""
    to_table_1 = "goto_table:1"
    note_native = f"load:{native}->NXM_NX_REG0[0..11],{to_table_1}"
    note_tag = f"move:NXM_OF_VLAN_TCI[0..11]->NXM_NX_REG0[0..11],{to_table_1}"
    outside = [
        f"table=0,priority=20,in_port={uplink},{_UNTAGGED},actions={note_native}",
        f"table=0,priority=10,in_port={uplink},actions={note_tag}",
    ]
    flows = [
        *(outside if uplink > 0 else ()),
        *(f"table=0,priority=10,in_port={n},actions={note_native}" for n in sorted(others)),
        "table=0,priority=0,actions=drop",
        # Of a VNI whose own rules are missing, nothing goes anywhere: the switch itself would take it to all VNIs' ports.
        "table=1,priority=5,reg3=1,actions=drop",
        f"table=1,priority=0,{FORWARD}",
    ]
    return Rules(0, tuple(flows))


def of_port(number: int, port: Port) -> Rules:
    """The rules of a port: what its kind may send, and its limits in both directions."""
    up, down = meter_ids(number)
    tunnelled = is_vni(port.vlan)
    note_vlan = f"load:{port.vlan}->NXM_NX_REG0[0..11],goto_table:1"
    admit = _note_vni(port.vlan, number) if tunnelled else note_vlan
    meters = []
    if port.rate_kbps:
        admit = f"meter:{up},{admit}"
        meters.append(Meter(up, port.rate_kbps))
    flows = _guarded(number, port, admit) if port.kind is PortKind.TAP else _trusted(number, admit)
    if port.rate_kbps and port.mac:
        meters.append(Meter(down, port.rate_kbps))
        to_it = f"reg0={port.vlan},dl_dst={port.mac}"
        onwards = _LOOK if tunnelled else "NORMAL"
        flows.append(f"table=1,priority=100,{to_it},actions=meter:{down},{onwards}")
    return Rules(number, tuple(flows), tuple(meters))


_LOOK = "resubmit(,2),goto_table:3"


def _note_vni(vni: int, number: int) -> str:
    """The frame is of this VNI, and whoever sent it is behind this port."""
    learn = (
        f"learn(table=2,priority=10,idle_timeout={_FORGOTTEN},cookie={LEARNED | number << 32:#x},"
        "NXM_NX_REG0[],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:NXM_OF_IN_PORT[]->NXM_NX_REG2[0..15])"
    )
    return f"load:{vni}->NXM_NX_REG0[0..23],load:1->NXM_NX_REG3[0..15],{learn},goto_table:1"


def of_vni(tunnel: int, vni: int, ports: Iterable[int]) -> Rules:
    """The rules of a VNI, kept as those of its `tunnel`; `ports` are its others here. Nothing goes out where it came in."""
    every = (*sorted(ports), tunnel)
    flows = [
        f"table=0,priority=200,in_port={tunnel},{_TAGGED},actions=drop",
        f"table=0,priority=100,in_port={tunnel},actions={_note_vni(vni, tunnel)}",
        f"table=1,priority=20,reg0={vni},{_TO_MANY},actions=goto_table:3",
        f"table=1,priority=10,reg0={vni},actions={_LOOK}",
        *(f"table=3,priority=10,reg0={vni},reg2={n},actions=output:{n}" for n in every),
        f"table=3,priority=5,reg0={vni},actions={','.join(f'output:{n}' for n in every)}",
    ]
    return Rules(tunnel, tuple(flows))


def learned_from(number: int) -> str:
    """Matches what was learned of frames from a port."""
    return f"cookie={LEARNED | number << 32:#x}/{PORT_MASK:#x}"


def _trusted(number: int, admit: str) -> list[str]:
    return [
        f"table=0,priority=200,in_port={number},{_TAGGED},actions=drop",
        f"table=0,priority=100,in_port={number},actions={admit}",
    ]


def _guarded(number: int, port: Port, admit: str) -> list[str]:
    """A guest speaks for itself alone: its MAC, its addresses, as a DHCP client, without tags.

    What is not named falls to the last rule: IPv6 of those who have none, STP, LLDP, CDP and whatever else there is. Duplicate address
    detection (RFC 5227) asks with an empty sender address, which tells nobody anything, so it may for its own.
    """
    here = f"in_port={number}"
    own = f"{here},{_UNTAGGED},dl_src={port.mac}"
    refused: Sequence[str] = [
        f"{here},{_TAGGED}",
        f"{here},udp,tp_src=67",  # answers of a DHCP server
        f"{here},udp,tp_dst=68",
        f"{here},icmp,icmp_type=5",  # redirects
    ]
    passed: Sequence[str] = [
        f"{own},arp,arp_sha={port.mac},arp_spa={port.address}",
        f"{own},arp,arp_op=1,arp_sha={port.mac},arp_spa=0.0.0.0,arp_tpa={port.address}",
        f"{own},ip,nw_src={port.address}",
        f"{own},udp,nw_src=0.0.0.0,nw_dst=255.255.255.255,tp_src=68,tp_dst=67",
    ]
    bound = _bound(here, own, port, admit) if port.ipv6 else ()
    return [
        *(f"table=0,priority=200,{match},actions=drop" for match in refused),
        *bound,
        *(f"table=0,priority=100,{match},actions={admit}" for match in passed),
        f"table=0,priority=90,{here},actions=drop",
    ]


def _bound(here: str, own: str, port: Port, admit: str) -> list[str]:
    """The same in IPv6: from its two addresses, no word of a router or DHCP server, and of neighbours only about itself.

    A solicitation may name the asker's MAC, an advertisement the answerer's: its own, or none (all zeroes to the switch).
    Duplicate address detection (RFC 4862) asks from nowhere for one of its own. Fragments of neighbour discovery, which
    could hide what they are, no receiver takes (RFC 6980).
    """
    ours = (link_local(port.mac), port.ipv6)
    macs = (port.mac, "00:00:00:00:00:00")
    ask, tell = (f"icmp6,icmp_type={kind},icmp_code=0" for kind in (135, 136))
    refused = (
        f"{here},icmp6,icmp_type=134",  # advertisements of a router
        f"{here},icmp6,icmp_type=137",  # redirects
        f"{here},udp6,tp_src=547",  # answers of a DHCP server
        f"{here},udp6,tp_dst=546",
    )
    neighbours = (
        *(f"{own},{ask},ipv6_src={our},nd_sll={mac}" for our in ours for mac in macs),
        *(f"{own},{ask},ipv6_src=::,nd_target={our}" for our in ours),
        *(
            f"{own},{tell},ipv6_src={our},nd_target={about},nd_tll={mac}"
            for our in ours
            for about in ours
            for mac in macs
        ),
    )
    passed = (
        f"{own},icmp6,ipv6_src=::,icmp_type=133",  # a question for routers
        *(f"{own},ipv6,ipv6_src={our}" for our in ours),
    )
    return [
        *(f"table=0,priority=200,{match},actions=drop" for match in refused),
        *(f"table=0,priority=120,{match},actions={admit}" for match in neighbours),
        *(
            f"table=0,priority=110,{here},icmp6,icmp_type={kind},actions=drop"
            for kind in (135, 136)
        ),
        *(f"table=0,priority=100,{match},actions={admit}" for match in passed),
    ]


def number_in(cookie: int) -> int:
    """The port whose rules carry this cookie."""
    return cookie >> 32 & 0xFFFF
