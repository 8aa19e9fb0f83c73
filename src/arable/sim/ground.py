"""What an operator and a customer had before the story begins: a zone of hosts, an offering, an image, an account."""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import insert

from arable.domain.access import ROLES, Caller
from arable.domain.host import HostState
from arable.domain.ids import LENGTH, AccountId, DomainId, HostId, PoolId, UserId, ZoneId
from arable.domain.manifest import ImagePart, PartFormat, PartRole
from arable.domain.pool import FILE, LOCAL, NBD
from arable.domain.zone import Isolation
from arable.runtime.clock import Clock
from arable.runtime.entropy import Ids
from arable.sim.shared import PORT
from arable.store import incarnations, schema
from arable.store.database import Tx

KERNEL = b"\x7fELF simulated kernel"
IMAGE = "tiny"
OFFERING = "small"
AVAILABLE, SHARED = "steady", "movable"  # offerings with shared disks, where there are any
REPLICATED = "kept-twice"  # and one whose disks have a second copy on another storage host
DISK, SHARED_DISK = "disk", "shared-disk"  # disk offerings
VLANS = range(100, 108)
VNIS = range(70_000, 70_008)
PUBLIC_VLAN = 900
PEER_PORT = 7444
VM_ROUTER_MIB = 64
WITHOUT_VM_ROUTERS = "172.31.1.10"  # the host whose routers can't be machines


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How large the world is, and how tight: small worlds hit their limits, and that is where bugs live."""

    pods: int = 2
    hosts: int = 2  # in each pod
    host_cpus: int = 8
    host_mhz: int = 16_000
    host_memory_mib: int = 2048
    host_disk_mib: int = 100_000
    machine_memory_mib: int = 256
    limits: int = -1  # machines of an account
    storage: int = 0  # hosts in each pod that share their disks with the others
    files: bool = False  # whether those are keepers of files that the others have mounted
    servers: int = 1  # management servers
    bmcs: bool = False  # whether hosts that run machines can be switched off
    vnis: bool = False  # guest networks are in VXLAN
    idle: bool = (
        False  # whether those of them that are no routers may sleep; then one in each pod is
    )


@dataclass(frozen=True, slots=True)
class Ground:
    """The names of what was laid out."""

    zone: ZoneId
    hosts: dict[HostId, PoolId]  # that run machines
    storage: dict[HostId, tuple[PoolId, str]]  # and where their leases are asked for
    callers: tuple[Caller, ...]
    files: dict[str, bytes]
    peers: dict[HostId, str] = field(default_factory=dict)  # where hosts answer other hosts
    mounts: dict[HostId, tuple[PoolId, ...]] = field(default_factory=dict)  # pools of files

    def tunnel_address(self, host: HostId) -> str:
        """Where its tunnels end."""
        return self.peers[host].partition(":")[0]

    def vm_router_mib(self, host: HostId) -> int:
        """What of its memory a router that is a virtual machine takes; 0: there can be none."""
        able = host in self.hosts and self.tunnel_address(host) != WITHOUT_VM_ROUTERS
        return VM_ROUTER_MIB if able else 0

    @property
    def operator(self) -> Caller:
        """Who may do all."""
        rank, may = ROLES["operator"]
        return replace(
            self.callers[0], name="operator", role="operator", rank=rank, permissions=may
        )


def lay_out(tx: Tx, room: Room, clock: Clock, ids: Ids, customers: int = 2) -> Ground:
    """Write it all down in an empty store."""
    at = clock.now()
    incarnations.draw(tx, "first", at)
    zone = ZoneId(ids.new("zone"))
    isolation = Isolation.VXLAN if room.vnis else Isolation.VLAN
    _add(tx, schema.zone, id=zone, name="zone-1", isolation=isolation, created_at=at)
    tags = VNIS if room.vnis else VLANS
    _add_all(tx, schema.vlan, [{"zone": zone, "tag": tag} for tag in tags])
    hosts: dict[HostId, PoolId] = {}
    storage: dict[HostId, tuple[PoolId, str]] = {}
    peers: dict[HostId, str] = {}
    mounts: dict[HostId, tuple[PoolId, ...]] = {}
    for p in range(room.pods):
        pod = ids.new("pod")
        _add(
            tx,
            schema.pod,
            id=pod,
            zone=zone,
            name=f"pod-{p}",
            cidr=f"172.31.{p}.0/24",
            created_at=at,
        )
        for h in range(room.hosts):
            host, pool = HostId(ids.new("host")), PoolId(ids.new("pool"))
            roles = ["compute"] if room.idle and h else ["compute", "routing"]
            address = f"172.31.{p}.{10 + h}"
            _host(
                tx,
                room,
                at,
                id=host,
                zone=zone,
                pod=pod,
                name=f"host-{p}-{h}",
                roles=roles,
                pool=pool,
                facts=({"moves": "sim"} if room.storage else {})
                | (
                    {"vm_routers": True, "vm_router_mib": VM_ROUTER_MIB}
                    if address != WITHOUT_VM_ROUTERS
                    else {}
                ),
                tunnel_address=address,
            )
            _pool(tx, at, id=pool, zone=zone, host=host)
            hosts[host] = pool
            peers[host] = f"{address}:{PEER_PORT}"
        for s in range(room.storage):
            host, pool = HostId(ids.new("host")), PoolId(ids.new("pool"))
            address = f"172.31.{p}.{200 + s}:{PORT}"
            name = f"storage-{p}-{s}"
            _host(
                tx, room, at, id=host, zone=zone, pod=pod, name=name, roles=["storage"], pool=pool
            )
            kind = FILE if room.files else NBD
            _pool(tx, at, id=pool, zone=zone, host=host, kind=kind, address=address)
            for runner in list(hosts)[-room.hosts :] if room.files else ():
                mounts[runner] = (*mounts.get(runner, ()), pool)
            storage[host] = (pool, address)
            peers[host] = f"172.31.{p}.{200 + s}:{PEER_PORT}"
    _addresses(tx, zone, ids, at)
    part = ImagePart(
        role=PartRole.KERNEL,
        sha256=hashlib.sha256(KERNEL).hexdigest(),
        bytes=len(KERNEL),
        format=PartFormat.BLOB,
    )
    root = DomainId(ids.new("domain"))
    _add(tx, schema.domain, id=root, path="root", name="root", created_at=at)
    _add_all(
        tx,
        schema.role,
        [
            {"name": name, "rank": int(rank), "permissions": sorted(may)}
            for name, (rank, may) in ROLES.items()
        ],
    )
    callers = tuple(
        _customer(tx, ids, root, f"customer-{n}", room.limits, at) for n in range(customers)
    )
    _add(
        tx,
        schema.offering,
        id=ids.new("offering"),
        name=OFFERING,
        cpus=1,
        cpu_mhz=1000,
        memory_mib=room.machine_memory_mib,
        root_mib=1024,
        created_at=at,
    )
    for name, available in ((AVAILABLE, True), (SHARED, False)) if storage else ():
        _add(
            tx,
            schema.offering,
            id=ids.new("offering"),
            name=name,
            cpus=1,
            cpu_mhz=1000,
            memory_mib=room.machine_memory_mib,
            root_mib=1024,
            storage="shared",
            highly_available=available,
            created_at=at,
        )
    for name, kind in ((DISK, "local"), (SHARED_DISK, "shared")):
        key = name.replace("-", "").ljust(LENGTH, "0")  # as ids look
        disk = {"id": f"diskoffering-{key}", "name": name, "storage": kind}
        _add(tx, schema.disk_offering, created_at=at, **disk)
    image = ids.new("image")
    _add(
        tx,
        schema.image,
        id=image,
        account=callers[0].account,
        name=IMAGE,
        public=True,
        newest=1,
        created_at=at,
    )
    _add(
        tx,
        schema.image_version,
        image=image,
        number=1,
        digest=part.sha256,
        parts=[part],
        bytes=part.bytes,
        created_at=at,
    )
    if storage:
        _add(
            tx,
            schema.offering,
            id=ids.new("offering"),
            name=REPLICATED,
            cpus=1,
            cpu_mhz=1000,
            memory_mib=room.machine_memory_mib,
            root_mib=1024,
            storage="shared",
            highly_available=True,
            replicated=True,
            created_at=at,
        )
    return Ground(zone, hosts, storage, callers, {part.sha256: KERNEL}, peers, mounts)


def _host(tx: Tx, room: Room, at: Any, **columns: Any) -> None:
    _add(
        tx,
        schema.host,
        state=HostState.UP,
        cpus=room.host_cpus,
        cpu_mhz=room.host_mhz,
        memory_mib=room.host_memory_mib,
        disk_mib=room.host_disk_mib,
        seen_at=at,
        created_at=at,
        **columns,
    )


def _pool(tx: Tx, at: Any, **columns: Any) -> None:
    _add(tx, schema.pool, **({"name": "its own", "kind": LOCAL, "created_at": at} | columns))


def _customer(tx: Tx, ids: Ids, root: DomainId, name: str, limit: int, at: Any) -> Caller:
    account, user = AccountId(ids.new("account")), UserId(ids.new("user"))
    _add(tx, schema.account, id=account, domain=root, name=name, created_at=at)
    _add(tx, schema.quota, account=account, max_machines=limit)
    _add(tx, schema.user, id=user, account=account, name=name, role="customer", created_at=at)
    rank, may = ROLES["customer"]
    return Caller(
        user=user,
        name=name,
        account=account,
        domain=root,
        path="root",
        role="customer",
        rank=rank,
        permissions=may,
        via="system",
    )


def _addresses(tx: Tx, zone: ZoneId, ids: Ids, at: Any) -> None:
    made = ids.new("range")
    _add(
        tx,
        schema.public_range,
        id=made,
        zone=zone,
        cidr="203.0.113.0/24",
        gateway="203.0.113.1",
        first="203.0.113.10",
        last="203.0.113.19",
        vlan=PUBLIC_VLAN,
        created_at=at,
    )
    _add(
        tx,
        schema.ipv6_range,
        id=ids.new("prefix"),
        zone=zone,
        cidr="2001:db8:100::/60",  # few, so that they come back
        gateway="2001:db8:100::1",
        created_at=at,
    )
    first = (203 << 24) + (113 << 8)
    _add_all(
        tx,
        schema.address,
        [
            {
                "id": ids.new("address"),
                "zone": zone,
                "range": made,
                "address": f"203.0.113.{n}",
                "number": first + n,
            }
            for n in range(10, 20)
        ],
    )


def _add(tx: Tx, table: Any, **columns: Any) -> None:
    tx.execute(insert(table).values(**columns))


def _add_all(tx: Tx, table: Any, rows: list[dict[str, Any]]) -> None:
    tx.execute(insert(table), rows)
