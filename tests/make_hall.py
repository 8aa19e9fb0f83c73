"""A hall of simulated hosts behind a served cloud: real controllers, real agents, drivers that make things up.

The rows that an operator would have made are written directly; everything that customers do goes over HTTP.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import DBAPIError

from arable.domain.host import HostState
from arable.domain.ids import HostId, PoolId, ZoneId
from arable.domain.manifest import HostReport, ImagePart, PartFormat, PartRole
from arable.drivers.faults import Faults
from arable.drivers.simhost import SimHost
from arable.runtime.clock import VirtualClock
from arable.runtime.entropy import Entropy
from arable.services.execution import lost_race
from arable.sim.cloud import Cloud, SimNode, controllers, member
from arable.sim.files import MemoryFiles
from arable.sim.ground import Ground
from arable.sim.shared import SharedDisks
from arable.store import schema as t
from arable.store.writer import Nudges
from serving import Served

KERNEL = b"\x7fELF simulated kernel"
MEMORY = 512  # MiB, of a machine


class SharedCloud(Cloud):
    """One whose store other servers write to as well."""

    def _reported(self, node: SimNode, report: HostReport) -> None:
        try:
            super()._reported(node, report)
        except DBAPIError as error:
            if not lost_race(error):
                raise
            node.wire.drop()  # the report was given up for another's sake: the host says it anew


@dataclass
class Hall:
    """The hosts, and who moves them."""

    cloud: Cloud

    def until(self, condition: Callable[[], bool], rounds: int = 300) -> None:
        """Let everybody move in turn until it is so."""
        for _ in range(rounds):
            if condition():
                return
            self.cloud.settle_down(rounds=1)
        raise AssertionError("it did not come true")

    def guests(self) -> list[str]:
        """What runs, wherever it does."""
        return [machine for node in self.cloud.nodes.values() for machine in node.hardware.guests]


def make_hall(
    served: Served, *, hosts: int = 5, slots: int = 20, vlans: int = 8, addresses: int = 8
) -> Hall:
    """A zone with so many hosts, and memory for so many machines on each."""
    clock = VirtualClock(served.around.clock.now())
    new = served.around.ids.new
    part = ImagePart(
        role=PartRole.KERNEL,
        sha256=hashlib.sha256(KERNEL).hexdigest(),
        bytes=len(KERNEL),
        format=PartFormat.BLOB,
    )
    zone, pod, image = ZoneId(new("zone")), new("pod"), new("image")
    pools = {HostId(new("host")): PoolId(new("pool")) for _ in range(hosts)}
    at = {"created_at": clock.now()}
    rows: list[tuple[Any, list[dict[str, Any]]]] = [
        (t.zone, [{"id": zone, "name": "zone-1", **at}]),
        (t.vlan, [{"zone": zone, "tag": 100 + n} for n in range(vlans)]),
        (t.pod, [{"id": pod, "zone": zone, "name": "a", "cidr": "172.31.0.0/24", **at}]),
        (t.host, [_host(host, pool, zone, pod, slots, at, clock) for host, pool in pools.items()]),
        (
            t.pool,
            [
                {"id": pool, "zone": zone, "host": host, "name": "local", "kind": "local", **at}
                for host, pool in pools.items()
            ],
        ),
        *_public(zone, addresses, new, at),
        (
            t.offering,
            [
                {
                    "id": new("offering"),
                    "name": "small",
                    "cpus": 1,
                    "cpu_mhz": 100,
                    "memory_mib": MEMORY,
                    "root_mib": 1024,
                    **at,
                }
            ],
        ),
        (
            t.image,
            [{"id": image, "account": served.first.account, "name": "tiny", "public": True, **at}],
        ),
        (
            t.image_version,
            [
                {
                    "image": image,
                    "number": 1,
                    "digest": part.sha256,
                    "parts": [part],
                    "bytes": part.bytes,
                    **at,
                }
            ],
        ),
    ]
    with served.database.write() as tx:
        for table, many in rows:
            tx.execute(table.insert(), many)
    nodes = {
        host: SimNode(
            host,
            pool,
            SimHost(cpus=8, cpu_mhz=16_000, memory_mib=slots * MEMORY, clock=clock),
            Faults(),
            clock,
        )
        for host, pool in pools.items()
    }
    segment = member(served.writer, clock)
    loop = controllers(served.writer, clock, segment, Entropy("hall"), lambda: served.around)

    def committed(nudges: Nudges) -> None:
        served.server.nudged(nudges.topics)
        loop.nudge(nudges.topics)

    served.writer.committed = committed
    ground = Ground(zone, pools, {}, (), {part.sha256: KERNEL})
    files = MemoryFiles()
    files.content.update(ground.files)
    writer: Any = served.writer  # in a thread of its own, as in a real server
    entropy = Entropy("hall")
    shared = SharedDisks(clock, entropy, lambda host: nodes[host].works)
    cloud = SharedCloud(
        *(served.database, clock, entropy, served.around, files, ground, nodes),
        *(writer, loop, segment, shared),
    )
    return Hall(cloud)


def _host(
    host: str, pool: str, zone: str, pod: str, slots: int, at: dict[str, Any], clock: VirtualClock
) -> dict[str, Any]:
    return {
        "id": host,
        "zone": zone,
        "pod": pod,
        "name": f"h{host[-8:]}",
        "state": HostState.UP,
        "roles": ["compute", "routing"],
        "pool": pool,
        "cpus": 8,
        "cpu_mhz": 16_000,
        "memory_mib": slots * MEMORY,
        "disk_mib": 100_000,
        "seen_at": clock.now(),
        **at,
    }


def _public(zone: str, count: int, new: Callable[[str], str], at: dict[str, Any]) -> list[Any]:
    range_, first = new("range"), (203 << 24) + (113 << 8)
    row = {
        "id": range_,
        "zone": zone,
        "cidr": "203.0.113.0/24",
        "gateway": "203.0.113.1",
        "first": "203.0.113.10",
        "last": f"203.0.113.{9 + count}",
        "vlan": 900,
        **at,
    }
    free = [
        {
            "id": new("address"),
            "zone": zone,
            "range": range_,
            "address": f"203.0.113.{n}",
            "number": first + n,
        }
        for n in range(10, 10 + count)
    ]
    return [(t.public_range, [row]), (t.address, free)]
