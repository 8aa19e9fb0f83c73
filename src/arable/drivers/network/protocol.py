"""What every network driver promises.

A port is a tap device (for a virtual machine) or one end of a veth (for an appliance), an access port of one VLAN, or of one VNI:
its number says which (`domain/layer2.py`). Bridges, trunks, tunnels and whatever a VLAN or VNI needs here are made with its
first port and removed after its last; nobody asks for them. Which other hosts have a VNI has to be told (`reach`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from arable.domain.ids import NicId


class PortKind(StrEnum):
    """Who is behind a port."""

    TAP = "tap"  # a guest: guarded, its MAC and IP are bound to the port
    VETH = "veth"  # an appliance: trusted, may speak for others
    ROUTER = "router"  # an appliance that is a virtual machine: a tap, and trusted


@dataclass(frozen=True, slots=True)
class Reach:
    """Where else a VNI is: the addresses of the other hosts that have it, and what fits into a frame of it."""

    vni: int
    hosts: frozenset[str] = frozenset()
    mtu: int = 1450


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port on this host. `device` names the interface that a guest or appliance uses (at most 15 characters).

    With `VETH`, `device` is the host's end that is plugged into the switch, and `peer` the other one, which the
    appliance driver moves into its namespace. `rate_kbps` limits each direction; 0 means none.
    """

    nic: NicId
    kind: PortKind
    vlan: int
    device: str
    peer: str = ""
    mac: str = ""
    address: str = ""
    rate_kbps: int = 0
    ipv6: str = ""  # a guest's; empty: it has none, and no IPv6 passes


class Network(Protocol):
    """Each verb is safe to say twice."""

    @property
    def name(self) -> str:
        """What was chosen, for people: "ovs (netdev)"."""

    def ports(self) -> Mapping[NicId, Port]:
        """Every port of ours that is completely made."""

    def ensure(self, port: Port) -> None:
        """The port exists, in its VLAN, guarded and limited as given. Never two VLANs at once, not for an instant."""

    def remove(self, nic: NicId) -> None:
        """No such port any more, nor what only it needed; already gone is fine."""

    def vlans(self) -> frozenset[int]:
        """Every guest VLAN or VNI that still has anything of ours on this host: what rule 3 rests on."""

    def reaches(self) -> Mapping[int, Reach]:
        """Where else VNIs are, as far as it was told and is in effect; also of those that have no port here yet."""

    def reach(self, reach: Reach) -> None:
        """Frames of the VNI go to these hosts, and are taken from hosts that were named for any VNI, and no others."""

    def unreach(self, vni: int) -> None:
        """The VNI is nowhere else; its ports here see each other alone."""
