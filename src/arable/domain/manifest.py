"""The whole agent protocol: what a host should run, and what it says it runs.

A manifest is a set of *items*, each a wish with a kind and an id, under one generation that grows with every
change. The agent makes its host so, in the order storage, network, appliances, guests, and reports. Two things
are deliberate. Items name everything a host needs (VLANs, addresses, digests, limits), so that an agent never
asks back. And **data is destroyed only by an explicit `ScrapWish`**, never because an item is missing: a bug or
an empty manifest may stop machines, it can't erase a disk.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from arable.domain.balancer import BalancerSeen, BalancerWish, NameWish
from arable.domain.carry import CarrySeen, CarryWish
from arable.domain.export_seen import ExportSeen as ExportSeen  # noqa: PLC0414 - found here, too
from arable.domain.export_seen import ExportState as ExportState  # noqa: PLC0414
from arable.domain.farm_secret import SealedWord
from arable.domain.ids import (
    FarmId,
    HostId,
    MachineId,
    NetworkId,
    NicId,
    OperationId,
    PoolId,
    ReplicaId,
    VolumeId,
)
from arable.domain.image_part import ImagePart as ImagePart  # noqa: PLC0414 - found here, too
from arable.domain.image_part import PartFormat as PartFormat  # noqa: PLC0414
from arable.domain.image_part import PartRole as PartRole  # noqa: PLC0414
from arable.domain.pair import Pair
from arable.domain.pool import ImageEvicted
from arable.domain.protocols import Protocol as Protocol  # noqa: PLC0414 - found here, too
from arable.domain.replica import ReplicaSeen, ReplicaWish
from arable.domain.router_runtime import RouterRuntime
from arable.domain.snapshot import SnapshotSeen, SnapshotWish
from arable.domain.tunnel import TunnelWish
from arable.domain.vpn import VpnSeen, VpnWish


class ItemKind(StrEnum):
    """Kinds of items in a manifest; the id beside it is unique within its kind and host."""

    GUEST = "guest"  # id: MachineId, body: GuestWish
    APPLIANCE = "appliance"  # id: NetworkId, body: ApplianceWish
    LEASE = "lease"  # id: NicId, body: LeaseWish; on the host of the network's appliance
    SCRAP = "scrap"  # id: VolumeId, body: ScrapWish
    SNAPSHOT = "snapshot"  # id: OperationId, body: SnapshotWish
    CARRY = "carry"  # id: OperationId, body: CarryWish; on both hosts
    REPLICA = "replica"  # id: ReplicaId, body: ReplicaWish; on both hosts
    EXPORT = "export"  # id: MachineId, body: ExportWish; on the storage host of the machine's shared disks
    PEER = "peer"  # id: HostId, body: PeerWish
    TUNNEL = "tunnel"  # id: NetworkId, or FarmId of a link, body: TunnelWish


class Power(StrEnum):
    """Whether a guest should run."""

    ON = "on"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedFrom:
    """Where a shared disk is: a storage host, and HOST:PORT of its lease service on the management network."""

    host: HostId
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskWish:
    """A disk of a guest, first one first. Made on first use: an overlay over `source`, or blank without one.

    Limits of 0 mean none. One that is `shared` is made, limited and kept by its storage host (`ExportWish`); the
    guest's host reaches it there while it has the machine's lease. Further disks (`position` above 0) come and go while
    the guest runs, and keep their place in it. No machine of another `storage_zone` has it; the last word counts (`zoned`).
    One that is known to have been `made` is not made again: if it is not there, something is wrong.
    """

    volume: VolumeId
    pool: PoolId
    bytes: int
    source: ImagePart | None = None
    iops: int = 0
    bytes_per_second: int = 0
    shared: SharedFrom | None = None
    position: int = 0
    storage_zone: str = ""  # said to storage hosts; empty: in none
    zoned: int = 0
    view_of: VolumeId | None = None  # it shows what is on that one, read-only
    read_only: bool = False  # the guest reads its source, and writes nothing
    made: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PortWish:
    """A guest's port on a network. Frames with any other source MAC or IP are dropped at the port.

    `vlan`, here and wherever there is one, is a VLAN or a VNI (`layer2.py`). `position` is its place in the guest, which it keeps while others come and go.
    """

    nic: NicId
    network: NetworkId
    vlan: int
    mac: str
    address: str
    rate_kbps: int = 0  # in each direction; 0: no limit
    position: int = 0
    ipv6: str = ""  # its address besides; empty: it has none, and nothing of IPv6 passes


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """cloud-init NoCloud data, put on a read-only disk labelled `cidata`. Secrets are filled in on the way to a host."""

    meta_data: str
    user_data: str = field(repr=False)
    secrets: tuple[SealedWord, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveWish:
    """A machine with shared disks goes from one host to another while it runs (docs/decisions/0008).

    The item of the machine has it on both hosts: on `source`, where the item has the epoch that runs now, and on
    `target`, where it has `epoch`, another one for every attempt. The source begins when `address` is given: HOST:PORT
    as the target told it (`MoveSeen.address`).
    """

    source: HostId
    target: HostId
    epoch: int
    address: str = ""
    bytes_per_second: int = 0  # of the network at most; 0: no limit
    downtime_ms: int = (
        300  # for which the guest may stand still while the last of its memory goes over
    )
    seconds: int = 600  # after which the source gives up


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftWish:
    """The shared disks of a machine that runs here go to another storage host (docs/decisions/0055), by this attempt."""

    epoch: int
    target: SharedFrom
    bytes_per_second: int = 0  # of all its disks together at most; 0: no limit


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordWish:
    """A password that a running guest is to be given through its guest agent, as `/etc/shadow` has it: a hash.

    It is in the wish until it was reported to be set (`GuestSeen.password`), or that it can't be.
    """

    number: int  # another one for each that is asked for
    user: str
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestWish:
    """A machine on this host. `boots` grows by one with each reboot that is asked for.

    With shared disks it runs only while this host has its lease, of exactly this `epoch` (docs/decisions/0007).
    """

    machine: MachineId
    generation: int
    name: str
    power: Power = Power.ON
    force: bool = False  # with power off: pull the plug instead of asking the guest
    boots: int = 1
    cpus: int
    cpu_mhz: int  # of the whole machine; the share and cap of CPU time is made from it
    memory_mib: int
    parts: tuple[ImagePart, ...] = ()  # kernel and initrd, when the machine boots directly
    command_line: str = ""
    disks: tuple[DiskWish, ...] = ()
    ports: tuple[PortWish, ...] = ()
    seed: Seed | None = None
    epoch: int = 0  # of the right to run; 0: all disks are this host's own, no lease is needed
    move: MoveWish | None = None  # this host is its source or its target
    shift: ShiftWish | None = None
    password: PasswordWish | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicPort:
    """The appliance's way out: its first public address, on the zone's public VLAN."""

    vlan: int
    address: str  # of source NAT
    prefix: int
    gateway: str
    further: tuple[str, ...] = ()  # other public addresses this appliance answers for


@dataclass(frozen=True, slots=True, kw_only=True)
class PortForward:
    """Traffic to `public`:`ports` goes to `to`, the ports shifted so that the first becomes `to_port`."""

    protocol: Protocol
    public: str
    first_port: int
    last_port: int
    to: str
    to_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticNat:
    """Traffic to `public` goes to `to`, and what `to` sends outwards leaves as `public`."""

    public: str
    to: str


class Direction(StrEnum):
    """Which way a firewall rule looks: `in` to the network from outside, `out` of it."""

    IN = "in"
    OUT = "out"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirewallRule:
    """Lets traffic pass. Inbound (by public address) nothing passes without a rule; outbound all passes without one.

    `cidr` is the outside party. Ports 0–0 mean all.
    """

    direction: Direction
    protocol: Protocol
    cidr: str
    public: str = ""  # inbound: the public address it is for
    first_port: int = 0
    last_port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """Another network of the farm, whose router is at `via` on the farm's link."""

    cidr: str
    via: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkPort:
    """The appliance's port on the VLAN where routers of one farm meet (docs/decisions/0016)."""

    vlan: int
    address: str
    neighbours: tuple[Neighbour, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """Connections from `source` to `target` may begin; one is of this network, the other of a neighbour. No others may.

    Both are CIDRs. Ports 0-0 mean all.
    """

    source: str
    target: str
    protocol: Protocol
    first_port: int = 0
    last_port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ipv6Net:
    """The network's /64, the router's address in it, and where the world is (on the public VLAN), if it leads there.

    The router answers for its machines there (neighbour discovery by proxy), so nobody has to be told a route. `near` are
    the /64 of neighbours on the farm's link, whose routers have addresses there that follow from those of IPv4 (`via`);
    `passages` are what may begin between them and here. Older agents know neither, and let nothing pass.
    """

    cidr: str
    gateway: str
    upstream: str = ""
    near: tuple[Neighbour, ...] = ()
    passages: tuple[Passage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplianceWish:
    """The routing appliance of one network: eth0 gateway, eth1 management (host only), eth2 public, eth3 link.

    When it is given to another host while the one before may still run it, its `epoch` is a higher one: wherever both
    are seen, the one of the lower epoch gives way (docs/decisions/0011).
    """

    network: NetworkId
    generation: int
    vlan: int
    cidr: str
    gateway: str
    domain: str  # DNS domain of the machines' names
    mtu: int = 1500
    public: PublicPort | None = None
    forwards: tuple[PortForward, ...] = ()
    statics: tuple[StaticNat, ...] = ()
    balancers: tuple[BalancerWish, ...] = ()
    firewall: tuple[FirewallRule, ...] = ()
    resolvers: tuple[str, ...] = ()  # where other names are asked; none: not at all
    epoch: int = 0
    isolated: bool = False  # DHCP names no router: there is no way out
    restarts: int = 0  # one more than when it was made: it is made anew, with its leases
    link: LinkPort | None = None
    passages: tuple[Passage, ...] = ()
    vpns: tuple[VpnWish, ...] = ()
    inners: tuple[BalancerWish, ...] = ()  # without a public address; older agents know them not
    names: tuple[NameWish, ...] = ()  # beside those of its machines
    pair: Pair | None = None
    ipv6: Ipv6Net | None = None  # older agents know it not
    runtime: RouterRuntime = RouterRuntime.NAMESPACE


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseWish:
    """A machine's address and name, as its network's DHCP and DNS tell them, and what its metadata service tells it.

    `inner`: the machine finds its way out by another port, so this one is told neither a router nor a resolver.
    """

    nic: NicId
    network: NetworkId
    mac: str
    address: str
    name: str
    inner: bool = False
    seed: Seed | None = None
    ipv6: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrapWish:
    """Erase this volume. Stays in the manifest until the host reports it gone."""

    volume: VolumeId
    pool: PoolId


@dataclass(frozen=True, slots=True, kw_only=True)
class Heir:
    """To whom the holder of a lease may hand it over, and the epoch that it is then of (docs/decisions/0008).

    `away`: the disks go to another storage host, by the attempt `epoch`, and the holder runs on by the lease that it has there.
    """

    host: HostId
    epoch: int
    away: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportWish:
    """On a storage host: who may have the lease of a machine, and its disks here. `disks` have this host's pools.

    Every epoch below `epoch` is over for good: what was exported for it is cut off, and its lease is renewed no more.
    Only `holder` gets the lease of `epoch`, and only when the one before is released, or its time is over, or
    `fenced` names the host which had it: that one is without power, and stays so until this wish is reported to be in
    force. An epoch of an item never goes back, and a new holder always has a new one. Without an item nobody gets a lease; who has one keeps it.

    An `heir` gets nothing from the wish: the holder, while it has the lease, may hand it over, in one step and for
    good. `ExportSeen` then tells the heir and its epoch, and this wish is over. `guarded` disks have replicas, and
    `uprooted` is the epoch with which they came here from one (docs/decisions/0051).
    """

    machine: MachineId
    generation: int
    holder: HostId
    epoch: int
    disks: tuple[DiskWish, ...]
    fenced: HostId | None = None
    heir: Heir | None = None
    storage_zone: str = ""  # of the machine: it reaches no volume of another one
    guarded: bool = False
    uprooted: int = 0
    beside: bool = False  # for copies in the making: this lease is no right to run


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerWish:
    """Another host of the pod, to be asked now and then whether it is there. `address` is HOST:PORT of its peer port."""

    host: HostId
    address: str


Wish = (
    GuestWish
    | ApplianceWish
    | LeaseWish
    | ScrapWish
    | SnapshotWish
    | CarryWish
    | ReplicaWish
    | ExportWish
    | PeerWish
    | TunnelWish
)


@dataclass(frozen=True, slots=True)
class HostManifest:
    """All that a host should run. Guests are kept by id, and so on; the agent's ledger holds the last one."""

    host: HostId
    generation: int = 0
    incarnation: str = (
        ""  # of the database that it is from; generations of different ones can't be compared
    )
    guests: dict[MachineId, GuestWish] = field(default_factory=dict)
    appliances: dict[NetworkId, ApplianceWish] = field(default_factory=dict)
    leases: dict[NicId, LeaseWish] = field(default_factory=dict)
    scraps: dict[VolumeId, ScrapWish] = field(default_factory=dict)
    snapshots: dict[OperationId, SnapshotWish] = field(default_factory=dict)
    carries: dict[OperationId, CarryWish] = field(default_factory=dict)
    replicas: dict[ReplicaId, ReplicaWish] = field(default_factory=dict)
    exports: dict[MachineId, ExportWish] = field(default_factory=dict)
    peers: dict[HostId, PeerWish] = field(default_factory=dict)
    tunnels: dict[NetworkId | FarmId, TunnelWish] = field(default_factory=dict)


class GuestState(StrEnum):
    """What an agent sees of a guest."""

    PREPARING = "preparing"  # image, disk or port are not ready yet; `told` says what is waited for
    RUNNING = "running"
    STOPPING = "stopping"  # was asked to shut down
    STOPPED = "stopped"  # not running; its disks are kept
    FAILED = "failed"  # could not be made so; `told` is the reason; tried again with back-off


class MovePhase(StrEnum):
    """How far a move is, as one of its two hosts sees it."""

    PREPARING = (
        "preparing"  # on the target: it is not ready; on the source: it was not told where to
    )
    READY = "ready"  # the target takes the guest in at `address`
    MOVING = "moving"  # memory goes over; the guest runs on at the source
    SWITCHING = "switching"  # all of it is over; the guest stands still until the storage host has said whose it is
    DONE = "done"  # on the source: it is not here any more; on the target: it runs
    FAILED = "failed"  # the guest runs on at the source; `told` is the reason. Not tried again with this epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveSeen:
    """A move as one of its hosts sees it. Counters are the source's, and some seconds old."""

    epoch: int
    phase: MovePhase
    address: str = ""
    sent_bytes: int = 0
    left_bytes: int = 0
    dirty_bytes_per_second: int = 0  # of memory that the guest writes to
    downtime_ms: int = 0  # for which the memory's last part took, or would
    told: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestSeen:
    """A guest as it is. `generation` is that of the wish it was last made to match; 0 when never."""

    machine: MachineId
    generation: int
    state: GuestState
    boots: int = 0
    told: str = ""
    tries: int = 0  # failed attempts in a row
    move: MoveSeen | None = None
    password: int = 0  # the number of the wished one, once it is set, or given up
    password_told: str = ""  # why it was given up
    stalled: str = (
        ""  # why it stands still, although it runs; it goes on by itself when that is over
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplianceSeen:
    """An appliance as it is."""

    network: NetworkId
    generation: int
    running: bool
    told: str = ""
    tries: int = 0  # failed attempts in a row
    standby: bool = False  # the other one of its pair leads


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestStats:
    """Counters since the guest's start; rates are the reader's business."""

    machine: MachineId
    cpu_ns: int = 0
    memory_mib: int = 0
    memory_told: bool = False  # by the guest itself: else it is what its process takes
    received_bytes: int = 0
    sent_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    read_ops: int = 0
    written_ops: int = 0


GIVE_UP = 3
"""Failures of one host in a row after which it is told to stop trying."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSeen:
    """A storage pool this host serves: bytes in all and in use, and how many of these are image parts."""

    pool: PoolId
    total_bytes: int
    used_bytes: int
    images: int = 0  # parts
    image_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What a host has, told at join and whenever it changes."""

    cpus: int
    cpu_mhz: int  # of all CPUs together
    memory_mib: int
    disk_mib: int
    hypervisor: str = ""  # "qemu (tcg)", "qemu (kvm)", "sim"
    network: str = ""
    storage: str = ""
    version: str = ""
    roles: tuple[str, ...] = ("compute",)
    tags: tuple[str, ...] = ()
    shares: str = (
        ""  # HOST:PORT where leases of its shared pool are asked for; empty: its pool is its own
    )
    shares_by: str = ""  # the kind of its shared pool; empty: "nbd"
    moves: str = (
        ""  # machines move while they run between hosts that say the same here; empty: none does
    )
    peer_address: str = ""  # HOST:PORT on the management network, where it answers other hosts
    tunnel_address: str = ""  # where its tunnels (VXLAN) to other hosts end; empty: it has none
    mounts: tuple[PoolId, ...] = ()  # pools of files that it has mounted
    vm_routers: bool = False  # its routers may be virtual machines
    vm_router_mib: int = 0  # of its memory that such a one takes; 0: as usual


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerLost:
    """A peer that this host can't reach, and for how many seconds it has not reached it."""

    host: HostId
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReport:
    """What a host runs. `full` reports name everything; others only what changed since the last one.

    `generation` is that of the newest manifest this agent holds durably: the server may forget tombstones up to it.
    `vlans`, when not None, are all VLANs that have a port here (rule 3). `prefixes`, in full reports,
    are the /64 of IPv6 that anything here has an address in, or had until it was to go. `lost`, when not None, are all peers that
    this host was wished to ask and can't reach; `renewing`, when not None, all hosts whose leases here are being
    renewed. Both are said when they changed, and in full reports. `balancers` and `vpns` are told with the heartbeat, those
    of which something is new; balancers that are watched also when they are not calm.
    """

    host: HostId
    generation: int
    full: bool = False
    guests: tuple[GuestSeen, ...] = ()
    gone: tuple[MachineId, ...] = ()  # guests no longer here at all
    appliances: tuple[ApplianceSeen, ...] = ()
    appliances_gone: tuple[NetworkId, ...] = ()
    scrapped: tuple[VolumeId, ...] = ()
    snapshots: tuple[SnapshotSeen, ...] = ()
    carries: tuple[CarrySeen, ...] = ()
    replicas: tuple[ReplicaSeen, ...] = ()
    vlans: tuple[int, ...] | None = None
    prefixes: tuple[str, ...] = ()
    pools: tuple[PoolSeen, ...] = ()
    evicted: tuple[ImageEvicted, ...] = ()
    exports: tuple[ExportSeen, ...] = ()
    exports_gone: tuple[MachineId, ...] = ()
    stats: tuple[GuestStats, ...] = ()
    balancers: tuple[BalancerSeen, ...] = ()
    vpns: tuple[VpnSeen, ...] = ()
    lost: tuple[PeerLost, ...] | None = None
    renewing: tuple[HostId, ...] | None = None
    inventory: Inventory | None = None
