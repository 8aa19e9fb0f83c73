"""What this host has, as it is measured; what the configuration gives stands in for it."""

import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from arable.agent.config import Given
from arable.domain.errors import CloudError
from arable.domain.ids import PoolId
from arable.domain.manifest import Inventory
from arable.domain.units import MIB

_PROC = Path("/proc")
_TOP_KHZ = Path("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")
_UNKNOWN_MHZ = 2000  # where a processor does not say (some emulated ones)


@dataclass(frozen=True, slots=True)
class Measured:
    """What the kernel says."""

    cpus: int
    mhz_each: int
    memory_mib: int


def measure(proc: Path = _PROC, top_khz: Path = _TOP_KHZ) -> Measured:
    """Ask the kernel. The clock of a CPU is its highest where that is known, since the present one varies by load."""
    memory = re.search(r"^MemTotal:\s+(\d+) kB", (proc / "meminfo").read_text(), re.MULTILINE)
    if top_khz.exists():
        mhz = int(top_khz.read_text()) // 1000
    else:
        shown = re.findall(r"^cpu MHz\s*:\s*([\d.]+)", (proc / "cpuinfo").read_text(), re.MULTILINE)
        mhz = round(max(map(float, shown))) if shown else _UNKNOWN_MHZ
    return Measured(
        cpus=len(os.sched_getaffinity(0)),
        mhz_each=mhz,
        memory_mib=int(memory[1]) // 1024 if memory else 0,
    )


class InventoryOfHost:
    """Call it for the inventory. Measured once but for the disk; drivers are asked for their names until they answer."""

    def __init__(
        self,
        given: Given,
        disk: Path,
        names: dict[str, Callable[[], str]],
        *,
        roles: Sequence[str],
        tags: Sequence[str],
        shares: str = "",
        shares_by: str = "",
        tunnel: str = "",
        mounts: Callable[[], tuple[PoolId, ...]] = tuple,
        vm_router_mib: int = 0,
    ) -> None:
        measured = measure()
        cpus = given.cpus or measured.cpus
        self._cpus = cpus
        self._cpu_mhz = given.cpu_mhz or cpus * measured.mhz_each
        self._memory_mib = given.memory_mib or measured.memory_mib
        self._disk_mib = given.disk_mib
        self._disk = disk
        self._ask = names
        self._names: dict[str, str] = {}
        self._roles = tuple(roles)
        self._tags = tuple(tags)
        self._shares, self._shares_by = shares, shares_by
        self._tunnel = tunnel
        self._mounts = mounts
        self._vm_router_mib = vm_router_mib

    def __call__(self) -> Inventory:
        return Inventory(
            cpus=self._cpus,
            cpu_mhz=self._cpu_mhz,
            memory_mib=self._memory_mib,
            disk_mib=self._disk_mib or shutil.disk_usage(self._disk).total // MIB,
            hypervisor=self._name("hypervisor"),
            network=self._name("network"),
            storage=self._name("storage"),
            version=version("arable"),
            roles=self._roles,
            tags=self._tags,
            shares=self._shares,
            shares_by=self._shares_by,
            moves=self._name("moves"),
            tunnel_address=self._tunnel,
            mounts=self._mounts(),
            vm_routers=self._vm_router_mib > 0,
            vm_router_mib=self._vm_router_mib,
        )

    def _name(self, kind: str) -> str:
        if kind in self._ask and kind not in self._names:
            try:
                self._names[kind] = self._ask[kind]()
            except CloudError:
                return ""  # it does not answer now; the next inventory will say
        return self._names.get(kind, "")
