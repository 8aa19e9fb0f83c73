"""A network whose ports are values. No frames are carried; what the control plane relies on is enforced:

one port for each NIC, in one VLAN; one device name for each port; a VLAN is here while a port of it is.
"""

from collections.abc import Mapping

from arable.domain.errors import BadInput, Conflict
from arable.domain.ids import NicId
from arable.domain.layer2 import is_vlan, is_vni
from arable.drivers.faults import Faults
from arable.drivers.network.protocol import Port, Reach
from arable.drivers.simhost import SimHost


class SimNetwork:
    """`Network` over a `SimHost`."""

    name = "sim"

    def __init__(self, hardware: SimHost, faults: Faults | None = None) -> None:
        self._hardware = hardware
        self._faults = faults or Faults()

    def ports(self) -> Mapping[NicId, Port]:
        return self._hardware.ports.copy()

    def ensure(self, port: Port) -> None:
        if not is_vlan(port.vlan) and not is_vni(port.vlan):
            raise BadInput(f"{port.nic}: there is no VLAN or VNI {port.vlan}")
        if not 1 <= len(port.device) <= 15 or len(port.peer) > 15:
            raise BadInput(f"{port.nic}: {port.device!r} is no name for a device")
        owner = self._hardware.devices.get(port.device, port.nic)
        if owner != port.nic:
            raise Conflict(f"{port.nic}: device {port.device} belongs to {owner}")
        if self._hardware.ports.get(port.nic) != port:
            with self._faults.around(f"ensure {port.nic}"):
                self._hardware.plug(port)

    def remove(self, nic: NicId) -> None:
        if nic in self._hardware.ports:
            with self._faults.around(f"remove {nic}"):
                self._hardware.unplug(nic)

    def vlans(self) -> frozenset[int]:
        return frozenset(self._hardware.vlans)

    def reaches(self) -> Mapping[int, Reach]:
        return self._hardware.tunnels.copy()

    def reach(self, reach: Reach) -> None:
        if not is_vni(reach.vni):
            raise BadInput(f"there is no VNI {reach.vni}")
        if self._hardware.tunnels.get(reach.vni) != reach:
            with self._faults.around(f"reach {reach.vni}"):
                self._hardware.tunnels[reach.vni] = reach

    def unreach(self, vni: int) -> None:
        if vni in self._hardware.tunnels:
            with self._faults.around(f"unreach {vni}"):
                del self._hardware.tunnels[vni]
