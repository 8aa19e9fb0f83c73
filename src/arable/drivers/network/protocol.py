"""What every network driver promises.

A port is a tap device (for a guest) or one end of a veth (for an appliance), an access port of one VLAN. Bridges,
trunks and whatever a VLAN needs here are made with its first port and removed after its last; nobody asks for them.
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


class Network(Protocol):
    """Four verbs; each safe to say twice."""

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
        """Every guest VLAN that still has anything of ours on this host: what rule 3 rests on."""
