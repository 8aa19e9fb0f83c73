"""What the switch's database says about one bridge, and the changes that are made to it. Values and operations only.

The facts of a port of ours stand beside it in `external_ids`, so the database is the only memory: an agent that
starts anew finds every port with all that it was asked to be.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from arable.domain.errors import Unavailable
from arable.domain.ids import NicId
from arable.domain.layer2 import is_vlan
from arable.drivers.network.ovsdb import (
    Operation,
    Ovsdb,
    first,
    from_map,
    from_set,
    to_map,
    to_set,
)
from arable.drivers.network.protocol import Port, PortKind, Reach

NOWHERE = 4095  # the tag of ports in no VLAN: no frame of any VLAN has it, so what the switch does by itself passes by
NUMBERS = range(1000, 60_000)  # OpenFlow port numbers that we give out; the switch's own start at 1

_NIC = "arable-nic"
_VNI = "arable-vni"
_REACH = "arable-reach-"


class Origin(StrEnum):
    """Where a port's device comes from, and so whether it goes with the port."""

    MADE = "made"
    ADOPTED = "adopted"  # it was there, and is somebody else's to remove


@dataclass(frozen=True, slots=True)
class Held:
    """A port of ours as the database keeps it. `number` is its OpenFlow port."""

    port: Port
    number: int
    origin: Origin


@dataclass(frozen=True, slots=True)
class Plug:
    """A port of the bridge, ours (`held`) or not."""

    uuid: str
    name: str
    tag: int | None
    trunks: frozenset[int]
    vlan_mode: str
    number: int  # as the switch has it; 0 or less: not at all
    error: str
    held: Held | None
    vni: int = 0  # of the tunnel that it is
    promised: int = 0  # the number that such a one is to have

    @property
    def ours(self) -> bool:
        """Whether it is a port that was asked for, or what one needs."""
        return self.held is not None or self.vni > 0


@dataclass(frozen=True, slots=True)
class Bridge:
    """The bridge and its ports at one moment."""

    uuid: str
    datapath: str
    fail_mode: str
    plugs: Mapping[str, Plug]
    reaches: Mapping[int, Reach] = field(default_factory=dict)  # as was told

    @property
    def userspace(self) -> bool:
        return self.datapath == "netdev"

    @property
    def ours(self) -> dict[NicId, tuple[Plug, Held]]:
        return {plug.held.port.nic: (plug, plug.held) for plug in self.plugs.values() if plug.held}

    @property
    def tunnels(self) -> dict[int, Plug]:
        """By VNI."""
        return {plug.vni: plug for plug in self.plugs.values() if plug.vni}

    def numbers_in(self, vni: int) -> list[int]:
        """Of the ports of a VNI, but for its tunnel."""
        return [held.number for _, held in self.ours.values() if held.port.vlan == vni]

    def free_number(self, but: Collection[int] = ()) -> int:
        """The lowest that nobody has or was promised, and that is not among these."""
        taken = {plug.number for plug in self.plugs.values()}
        taken |= {held.number for _, held in self.ours.values()}
        taken |= {plug.promised for plug in self.plugs.values()}
        return next(number for number in NUMBERS if number not in taken and number not in but)

    def unchanged(self) -> Operation:
        """A condition: nobody has added or removed a port since this was read."""
        members = [["uuid", plug.uuid] for plug in self.plugs.values()]
        return {
            "op": "wait",
            "timeout": 0,
            "table": "Bridge",
            "where": [["_uuid", "==", ["uuid", self.uuid]]],
            "columns": ["ports"],
            "until": "==",
            "rows": [{"ports": ["set", members]}],
        }


def read(db: Ovsdb, name: str) -> Bridge:
    """The bridge as it is now. Raises `Unavailable` when there is none."""
    bridges, ports, interfaces = db.transact(
        _select(
            "Bridge",
            ["_uuid", "name", "ports", "fail_mode", "datapath_type", "external_ids"],
            name,
        ),
        _select(
            "Port", ["_uuid", "name", "tag", "trunks", "vlan_mode", "interfaces", "external_ids"]
        ),
        _select("Interface", ["_uuid", "ofport", "error"]),
    )
    if not bridges["rows"]:
        raise Unavailable(f"there is no bridge {name} on this host")
    (row,) = bridges["rows"]
    members = set(from_set(row["ports"]))
    behind = {first(found["_uuid"]): found for found in interfaces["rows"]}
    plugs = [
        _plug(port, behind[first(port["interfaces"])])
        for port in ports["rows"]
        if first(port["_uuid"]) in members
    ]
    return Bridge(
        uuid=first(row["_uuid"]),
        datapath=row["datapath_type"] or "system",
        fail_mode=first(row["fail_mode"]) or "",
        plugs={plug.name: plug for plug in sorted(plugs, key=lambda plug: plug.name)},
        reaches=_reaches(from_map(row["external_ids"])),
    )


def adding(bridge: Bridge, held: Held) -> list[Operation]:
    """A port of ours comes to be; its device may come later."""
    port = held.port
    interface = {
        "name": port.device,
        "ofport_request": held.number,
        "external_ids": to_map({"iface-id": port.nic, "attached-mac": port.mac}),
    }
    row = {
        "name": port.device,
        "tag": tag_of(port),
        "vlan_mode": "access",
        "interfaces": ["named-uuid", "interface"],
        "external_ids": to_map(_facts(held)),
    }
    return [
        {"op": "insert", "table": "Interface", "row": interface, "uuid-name": "interface"},
        {"op": "insert", "table": "Port", "row": row, "uuid-name": "port"},
        _mutate_ports(bridge, "insert", ["named-uuid", "port"]),
    ]


def tag_of(port: Port) -> int:
    """The VLAN that the switch has its port in."""
    return port.vlan if is_vlan(port.vlan) else NOWHERE


def digging(bridge: Bridge, vni: int, name: str, number: int) -> list[Operation]:
    """The tunnel of a VNI comes to be; its device may come later."""
    interface = {"name": name, "ofport_request": number}
    row = {
        "name": name,
        "tag": NOWHERE,
        "vlan_mode": "access",
        "interfaces": ["named-uuid", "tunnel_interface"],
        "external_ids": to_map({_VNI: str(vni), "arable-number": str(number)}),
    }
    return [
        {"op": "insert", "table": "Interface", "row": interface, "uuid-name": "tunnel_interface"},
        {"op": "insert", "table": "Port", "row": row, "uuid-name": "tunnel"},
        _mutate_ports(bridge, "insert", ["named-uuid", "tunnel"]),
    ]


def reaching(bridge: Bridge, reach: Reach) -> list[Operation]:
    """Where else a VNI is is kept; what was kept of it goes."""
    told = " ".join([str(reach.mtu), *sorted(reach.hosts)])
    return [
        *leaving(bridge, reach.vni),
        _mutate_facts(bridge, "insert", to_map({f"{_REACH}{reach.vni}": told})),
    ]


def leaving(bridge: Bridge, vni: int) -> list[Operation]:
    """A VNI is nowhere else, as far as is kept."""
    return [_mutate_facts(bridge, "delete", to_set(frozenset({f"{_REACH}{vni}"})))]


def changing(plug: Plug, held: Held) -> list[Operation]:
    """What a port of ours is asked to be changes; not its device, VLAN or number."""
    facts = {"external_ids": to_map(_facts(held))}
    where = [["_uuid", "==", ["uuid", plug.uuid]]]
    return [{"op": "update", "table": "Port", "where": where, "row": facts}]


def dropping(bridge: Bridge, plug: Plug) -> list[Operation]:
    """A port goes; the database forgets what nothing refers to any more."""
    return [_mutate_ports(bridge, "delete", ["uuid", plug.uuid])]


def trunking(uplink: Plug, native: int, vlans: Iterable[int]) -> list[Operation]:
    """The uplink carries these VLANs tagged, and the native one without a tag. Never none: that would mean all."""
    row = {
        "vlan_mode": "native-untagged",
        "tag": native,
        "trunks": to_set(frozenset({native, *vlans})),
    }
    where = [["_uuid", "==", ["uuid", uplink.uuid]]]
    return [{"op": "update", "table": "Port", "where": where, "row": row}]


def tagging(plug: Plug, native: int) -> list[Operation]:
    """A port without a tag would be a trunk into every guest network."""
    where = [["_uuid", "==", ["uuid", plug.uuid]]]
    return [{"op": "update", "table": "Port", "where": where, "row": {"tag": native}}]


def closing(bridge: Bridge) -> list[Operation]:
    """Without rules the bridge carries nothing, instead of everything."""
    where = [["_uuid", "==", ["uuid", bridge.uuid]]]
    return [{"op": "update", "table": "Bridge", "where": where, "row": {"fail_mode": "secure"}}]


def _select(table: str, columns: Sequence[str], name: str = "") -> Operation:
    where = [["name", "==", name]] if name else []
    return {"op": "select", "table": table, "where": where, "columns": list(columns)}


def _mutate_ports(bridge: Bridge, how: str, port: Any) -> Operation:
    return {
        "op": "mutate",
        "table": "Bridge",
        "where": [["_uuid", "==", ["uuid", bridge.uuid]]],
        "mutations": [["ports", how, ["set", [port]]]],
    }


def _mutate_facts(bridge: Bridge, how: str, facts: Any) -> Operation:
    return {
        "op": "mutate",
        "table": "Bridge",
        "where": [["_uuid", "==", ["uuid", bridge.uuid]]],
        "mutations": [["external_ids", how, facts]],
    }


def _reaches(facts: Mapping[str, str]) -> dict[int, Reach]:
    found = {}
    for name, told in facts.items():
        if name.startswith(_REACH):
            mtu, *hosts = told.split()
            vni = int(name.removeprefix(_REACH))
            found[vni] = Reach(vni, frozenset(hosts), int(mtu))
    return found


def _plug(port: Mapping[str, Any], interface: Mapping[str, Any]) -> Plug:
    facts = from_map(port["external_ids"])
    vni = int(facts.get(_VNI, 0))
    return Plug(
        uuid=first(port["_uuid"]),
        name=port["name"],
        tag=first(port["tag"]),
        trunks=frozenset(from_set(port["trunks"])),
        vlan_mode=first(port["vlan_mode"]) or "",
        number=first(interface["ofport"]) or 0,
        error=first(interface["error"]) or "",
        held=_held(port["name"], facts),
        vni=vni,
        promised=int(facts["arable-number"]) if vni else 0,
    )


def _facts(held: Held) -> dict[str, str]:
    port = held.port
    return {
        _NIC: port.nic,
        "arable-kind": port.kind,
        "arable-vlan": str(port.vlan),
        "arable-peer": port.peer,
        "arable-mac": port.mac,
        "arable-address": port.address,
        "arable-rate-kbps": str(port.rate_kbps),
        "arable-number": str(held.number),
        "arable-origin": held.origin,
    } | ({"arable-ipv6": port.ipv6} if port.ipv6 else {})


def _held(device: str, facts: Mapping[str, str]) -> Held | None:
    if _NIC not in facts:
        return None
    port = Port(
        nic=NicId(facts[_NIC]),
        kind=PortKind(facts["arable-kind"]),
        vlan=int(facts["arable-vlan"]),
        device=device,
        peer=facts["arable-peer"],
        mac=facts["arable-mac"],
        address=facts["arable-address"],
        rate_kbps=int(facts["arable-rate-kbps"]),
        ipv6=facts.get("arable-ipv6", ""),
    )
    return Held(port, int(facts["arable-number"]), Origin(facts["arable-origin"]))
