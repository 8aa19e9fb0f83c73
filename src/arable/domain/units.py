"""Amounts. Whole numbers in the unit the name says; no floats, no conversions in passing."""

from dataclasses import dataclass

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Size:
    """What a machine takes from a host. `cpu_mhz` is the whole machine's: CPUs times the clock of each."""

    cpus: int = 0
    cpu_mhz: int = 0
    memory_mib: int = 0
    disk_mib: int = 0

    def __add__(self, other: "Size") -> "Size":
        return Size(
            self.cpus + other.cpus,
            self.cpu_mhz + other.cpu_mhz,
            self.memory_mib + other.memory_mib,
            self.disk_mib + other.disk_mib,
        )

    def times(self, count: int) -> "Size":
        """The same `count` times; negative to give back."""
        return Size(
            self.cpus * count,
            self.cpu_mhz * count,
            self.memory_mib * count,
            self.disk_mib * count,
        )
