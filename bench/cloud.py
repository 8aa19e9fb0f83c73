"""A cloud to measure: a real server process, and what an operator and customers put into it before the clock runs.

What the API is for is done by the API. A thousand hosts and a hundred thousand machines are put into the store by its
own functions instead: they are the scenery, and asking for them one by one would take longer than what is measured.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from arable.client.arable import Arable
from arable.domain.host import Host
from arable.domain.ids import HostId, PodId, PoolId, ZoneId
from arable.domain.manifest import Inventory
from arable.domain.pool import Pool
from arable.lab import setup
from arable.lab.guest_image import GuestImage
from arable.processes import children
from arable.processes.ready import Ready, credentials
from arable.runtime.ca import Authority, IdentityKind, new_request
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy, Ids
from arable.store import hosts, pools
from arable.store.database import Database
from arable.wire.accounts import AccountIn, FirstUserIn, LimitsChange
from arable.wire.offerings import OfferingIn
from arable.wire.pods import PodIn
from arable.wire.public_ranges import PublicRangeIn
from arable.wire.users import KeyIn
from arable.wire.zones import VlanRange, ZoneIn

OFFERING = "bench"
HAS = Inventory(
    cpus=64,
    cpu_mhz=64 * 3000,
    memory_mib=1 << 20,
    disk_mib=1 << 24,
    hypervisor="sim",
    network="sim",
    storage="sim",
    version="bench",
)
ROUTING = 10  # of the hosts: where the customers' routers are
_FREE = LimitsChange(
    machines=None,
    cpus=None,
    memory_mib=None,
    volumes=None,
    storage_mib=None,
    networks=None,
    addresses=None,
)


@dataclass(frozen=True, slots=True)
class Served:
    """A server that runs."""

    data: Path
    database: str  # its URL
    ready: Ready

    @property
    def pid(self) -> int:
        """Of its process."""
        return self.ready.pid


@dataclass(frozen=True, slots=True)
class Place:
    """Where machines will be."""

    zone: ZoneId
    pods: tuple[PodId, ...]


class Joined(msgspec.Struct, frozen=True):
    """A host with its identity, as the swarm needs it."""

    host: str
    pool: str
    identity: str  # path of certificate and key
    inventory: Inventory


@contextmanager
def server(data: Path, database: str = "", *, profile: Path | None = None) -> Iterator[Served]:
    """`arable server` in a process of its own."""
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    argv = [sys.executable, "-m"]
    argv += ["bench.profiled", str(profile)] if profile else ["arable.processes.main"]
    argv += ["server", "--data", str(data), "--api", "127.0.0.1:0", "--gateway", "127.0.0.1:0"]
    argv += ["--database", database] if database else []
    log = data / "server.log"
    with children.child(argv, log) as process:
        ready = children.await_ready(
            data, process.pid, lambda: process.poll() is None, log, RealClock()
        )
        yield Served(data, database or f"sqlite:///{data / 'arable.sqlite'}", ready)


def operator(served: Served) -> Arable:
    """A client that may do everything."""
    first = credentials(served.data)
    client = Arable(served.ready.api)
    client.sign_in(first.name, first.password)
    secret = client.keys.create(KeyIn(name="bench")).secret
    assert secret, "a fresh key is told"
    client.close()
    return Arable(served.ready.api, secret)


def describe(cloud: Arable, data: Path, *, farms: int = 0, hosts: int = 0) -> Place:
    """A zone of ten pods or more, something to deploy and a size for it. `farms`: room for so many, each with its router.
    `hosts`: how many are to come, a hundred or so in a pod.
    """
    last = 999 if farms < 200 else 4000
    zone = cloud.zones.create(
        ZoneIn(name="zone1", vlans=VlanRange(first=100, last=last), guest_cidr="10.0.0.0/16")
    )
    pods = [
        cloud.pods.create(PodIn(zone="zone1", name=f"pod-{at}", cidr=f"172.30.{at}.0/24"))
        for at in range(max(10, hosts // 100))
    ]
    for at in range(farms // 200 + 1):
        cloud.public_ranges.create(
            PublicRangeIn(
                zone="zone1",
                cidr=f"198.51.{100 + at}.0/24",
                gateway=f"198.51.{100 + at}.1",
                first=f"198.51.{100 + at}.2",
                last=f"198.51.{100 + at}.250",
                vlan=50 + at,
            )
        )
    cloud.offerings.create(
        OfferingIn(name=OFFERING, cpus=1, cpu_mhz=1000, memory_mib=256, root_mib=1024)
    )
    kernel, initrd = data / "kernel", data / "initrd"
    kernel.write_bytes(b"\x7fELF of a simulated machine")
    initrd.write_bytes(b"070701 of a simulated machine")
    setup.publish(cloud, GuestImage("simulated", kernel, initrd))
    return Place(ZoneId(zone.id), tuple(PodId(pod.id) for pod in pods))


def customers(served: Served, cloud: Arable, count: int) -> dict[str, str]:
    """New accounts without limits: an API key of each, by account."""
    keys = {}
    password = Entropy.system().secret(24)
    for at in range(count):
        name = f"customer-{at}"
        user = FirstUserIn(name=name, password=password)
        account = cloud.accounts.create(AccountIn(name=name, limits=_FREE, user=user))
        with Arable(served.ready.api) as client:
            client.sign_in(name, password)
            secret = client.keys.create(KeyIn(name="bench")).secret
        assert secret, "a fresh key is told"
        keys[account.id] = secret
    return keys


def join(served: Served, place: Place, count: int, routing: int = ROUTING) -> list[Joined]:
    """So many hosts, each with a certificate of its own. Their key is the same one: it takes no time to make."""
    clock, entropy = RealClock(), Entropy.system()
    ids = Ids(clock, entropy)
    authority = Authority.load(served.data / "authority", clock, entropy)
    folder = served.data / "identities"
    folder.mkdir(mode=0o700)
    made = new_request("bench")
    found = []
    rows = rows_of(place, ids, count, clock, routing)
    for host, _pool in rows:
        certificate = authority.sign(made.request, host.id, IdentityKind.HOST, 24)
        file = folder / f"{host.name}.pem"
        file.write_text(made.key.reveal() + certificate)
        assert host.pool
        found.append(Joined(host.id, host.pool, str(file), HAS))
    (folder / "authority.pem").write_text(authority.pem)
    database = Database(served.database)
    try:
        keep(database, rows)
    finally:
        database.close()
    return found


def rows_of(
    place: Place, ids: Ids, count: int, clock: RealClock, routing: int = ROUTING
) -> list[tuple[Host, Pool]]:
    """Hosts as they are after joining, spread over the pods; the first ones route as well."""
    now = clock.now()
    rows = []
    for at in range(count):
        host = Host(
            id=HostId(ids.new("host")),
            zone=place.zone,
            pod=place.pods[at % len(place.pods)],
            name=f"host-{at:04}",
            roles=("compute", "routing") if at < routing else ("compute",),
            pool=PoolId(ids.new("pool")),
            cpus=HAS.cpus,
            cpu_mhz=HAS.cpu_mhz,
            memory_mib=HAS.memory_mib,
            disk_mib=HAS.disk_mib,
            created_at=now,
        )
        assert host.pool
        pool = Pool(
            id=host.pool,
            zone=place.zone,
            host=host.id,
            name=f"{host.name}-local",
            total_mib=HAS.disk_mib,
            created_at=now,
        )
        rows.append((host, pool))
    return rows


def keep(database: Database, rows: Sequence[tuple[Host, Pool]]) -> None:
    """Into the store."""
    with database.write() as tx:
        for host, pool in rows:
            hosts.add(tx, host)
            pools.add(tx, pool)
