"""Realistic data for driver tests: only what matters in a test is said there, the rest is said here.

Ids are fresh in every call, so several runs side by side on one machine never meet.
"""

import hashlib
import struct
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from arable.domain.errors import Unavailable
from arable.domain.ids import MachineId, NetworkId, NicId, PoolId, VolumeId
from arable.domain.manifest import (
    ApplianceWish,
    ImagePart,
    LeaseWish,
    PartFormat,
    PartRole,
    PublicPort,
)
from arable.domain.units import MIB
from arable.drivers.hypervisor.protocol import Guest, GuestDisk
from arable.drivers.network.protocol import Port, PortKind
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy, Ids

CLUSTER = 1 << 16

_ids = Ids(RealClock(), Entropy.system())


def fresh(kind: str) -> str:
    """An id that nobody had before."""
    return _ids.new(kind)


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 180) -> None:
    """Return when `condition` holds; fail with `what` when it never does. A simulator's holds at once."""
    clock = RealClock()
    end = clock.monotonic() + seconds
    while not condition():
        assert clock.monotonic() < end, f"waited {seconds:.0f} s in vain: {what}"
        clock.wait(timedelta(milliseconds=50))


def blank_disk(folder: Path) -> GuestDisk:
    """A small empty disk: firmware finds nothing to boot on it and waits, which is running enough."""
    path = folder / f"{fresh('volume')}.raw"
    with path.open("wb") as file:
        file.truncate(1 * MIB)
    return GuestDisk(path=path, format=PartFormat.RAW, serial=path.stem[-11:])


def guest(**but: Any) -> Guest:
    """A small machine."""
    usual: dict[str, Any] = {
        "machine": MachineId(fresh("machine")),
        "generation": 1,
        "name": "web-1",
        "boots": 1,
        "cpus": 1,
        "cpu_mhz": 500,
        "memory_mib": 64,
    }
    return Guest(**usual | but)


def tap(**but: Any) -> Port:
    """A guest's port."""
    nic = NicId(fresh("nic"))
    usual: dict[str, Any] = {
        "nic": nic,
        "kind": PortKind.TAP,
        "vlan": 100,
        "device": f"tap{nic[-11:]}",
        "mac": "02:00:0a:01:01:0a",
        "address": "10.1.1.10",
        "rate_kbps": 100_000,
    }
    return Port(**usual | but)


def veth(**but: Any) -> Port:
    """An appliance's port."""
    nic = NicId(fresh("nic"))
    usual: dict[str, Any] = {
        "nic": nic,
        "kind": PortKind.VETH,
        "vlan": 100,
        "device": f"vh{nic[-11:]}",
        "peer": f"vp{nic[-11:]}",
    }
    return Port(**usual | but)


def qcow2(virtual_bytes: int = 1 * MIB, content: bytes = b"", *, backing: bytes = b"") -> bytes:
    """A small, valid qcow2 (version 3) whose first bytes are `content`.

    Clusters: header, refcount table, refcount block, L1 table, L2 table, data.
    """
    data = content[:CLUSTER].ljust(CLUSTER, b"\0")
    header = struct.pack(
        ">4sIQIIQIIQQIIQQQQII",
        b"QFI\xfb",
        3,
        256 if backing else 0,  # backing file name: offset, length
        len(backing),
        16,  # cluster bits
        virtual_bytes,
        0,  # not encrypted
        max(1, -(-virtual_bytes // (CLUSTER * CLUSTER // 8))),  # L1 entries
        3 * CLUSTER,  # L1 table
        1 * CLUSTER,  # refcount table
        1,
        0,  # snapshots
        0,
        0,  # features: incompatible, compatible, autoclear
        0,
        0,
        4,  # refcounts of 16 bits
        104,  # header length
    )
    clusters = [
        header.ljust(256, b"\0") + backing,
        struct.pack(">Q", 2 * CLUSTER),
        struct.pack(">6H", 1, 1, 1, 1, 1, 1),
        struct.pack(">Q", 4 * CLUSTER | 1 << 63),
        struct.pack(">Q", 5 * CLUSTER | 1 << 63),
        data,
    ]
    return b"".join(cluster.ljust(CLUSTER, b"\0") for cluster in clusters)


def part(content: bytes, **but: Any) -> ImagePart:
    """The part of an image version that these bytes are; a qcow2 disk of 1 MiB unless said otherwise."""
    usual: dict[str, Any] = {
        "role": PartRole.DISK,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "format": PartFormat.QCOW2,
        "virtual_bytes": 1 * MIB,
    }
    return ImagePart(**usual | but)


class Depot:
    """Where parts are fetched from; counts the fetches."""

    def __init__(self, *contents: bytes) -> None:
        self._held = {hashlib.sha256(content).hexdigest(): content for content in contents}
        self.fetched: list[str] = []

    def serve(self, sha256: str, content: bytes) -> None:
        """From now on these bytes are given out under that name, right or wrong."""
        self._held[sha256] = content

    def fetch(self, sha256: str) -> Iterable[bytes]:
        self.fetched.append(sha256)
        if sha256 not in self._held:
            raise Unavailable("the depot does not answer")
        content = self._held[sha256]
        return (content[at : at + 50_000] for at in range(0, len(content), 50_000))


def volume() -> VolumeId:
    return VolumeId(fresh("volume"))


def pool() -> PoolId:
    return PoolId(fresh("pool"))


def appliance(**but: Any) -> ApplianceWish:
    """The router of a small guest network, with a way out."""
    usual: dict[str, Any] = {
        "network": NetworkId(fresh("network")),
        "generation": 1,
        "vlan": 100,
        "cidr": "10.1.1.0/24",
        "gateway": "10.1.1.1",
        "domain": "farm.internal",
        "public": PublicPort(vlan=50, address="203.0.113.10", prefix=24, gateway="203.0.113.1"),
    }
    return ApplianceWish(**usual | but)


def lease(network: NetworkId, **but: Any) -> LeaseWish:
    """A machine's address in that network."""
    usual: dict[str, Any] = {
        "nic": NicId(fresh("nic")),
        "network": network,
        "mac": "02:00:0a:01:01:0a",
        "address": "10.1.1.10",
        "name": "web-1",
    }
    return LeaseWish(**usual | but)
