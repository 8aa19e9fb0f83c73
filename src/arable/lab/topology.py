"""What data centre to emulate, read from YAML. Pure: nothing here touches the machine.

Strict on purpose: an unknown word, a key said twice or an address outside its network is refused with the place
where it stands (`regions.0.zones.0.pods.1.management`), because a lab that comes up almost as meant costs more
time than one that does not come up.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import yaml

from arable.domain.errors import BadInput
from arable.domain.layer2 import FIRST_VNI, LAST_VNI

NATIVE_VLAN = 1  # untagged on every uplink: management
FIRST_HOST = 11  # the last number of a pod's first host's address; lower ones are for its router
GATEWAY_PORT = 8443  # of the management servers' gateway, the one port that hosts may talk to
GRID, WAN = "grid", "wan"
GRID_PORT = 8444  # of the grid manager, for regions
REGION_PORT = 8445  # of a region's servers, for other regions: the one port that the WAN leads to
RESERVED = frozenset({"internet", "management", "server", "sim", GRID, WAN})

# Names become interface names (at most 15 characters) and parts of namespace names.
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z]([a-z0-9-]{0,10}[a-z0-9])?\Z")]
Tag = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:=-]{0,62}\Z")]
Vlan = Annotated[int, msgspec.Meta(ge=2, le=4094)]
Vni = Annotated[int, msgspec.Meta(ge=FIRST_VNI, le=LAST_VNI)]
Role = Literal["compute", "storage", "routing"]


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every part of a topology refuses words it doesn't know."""


class Host(Part, frozen=True, kw_only=True):
    """One emulated server. The sizes are what Arable is told; the machine below may have less. MHz are of one CPU.

    A `simulated` one is real as far as management goes (its namespace, its cable, its agent's process), but its
    hypervisor, switch and disks are made up and end with its agent. It costs this machine an agent and nothing else.

    One with the role `storage` shares its disks over NBD, or over iSCSI; or it keeps a pool of files (`file`) in a directory
    that other hosts of its pod have mounted, too: those that name it in `mounts`. As with a file server, what is in there
    is lost with no host's power.
    """

    name: Name
    roles: Annotated[tuple[Role, ...], msgspec.Meta(min_length=1)]
    cpus: Annotated[int, msgspec.Meta(ge=1, le=1024)]
    mhz: Annotated[int, msgspec.Meta(ge=100, le=10_000)] = 2000
    memory_mib: Annotated[int, msgspec.Meta(ge=256, le=1 << 24)]
    disk_mib: Annotated[int, msgspec.Meta(ge=256, le=1 << 30)]
    tags: tuple[Tag, ...] = ()
    simulated: bool = False
    shares: Literal["nbd", "iscsi", "file"] = "nbd"
    mounts: tuple[Name, ...] = ()

    @property
    def keeps_files(self) -> bool:
        return "storage" in self.roles and self.shares == "file" and not self.simulated


class Pod(Part, frozen=True, kw_only=True):
    """Hosts behind one layer-2 switch, with a management subnet of their own."""

    name: Name
    management: str
    hosts: Annotated[tuple[Host, ...], msgspec.Meta(min_length=1)]

    @property
    def subnet(self) -> IPv4Network:
        return IPv4Network(self.management)

    @property
    def gateway(self) -> IPv4Address:
        """The zone router's address in this pod."""
        return self.subnet[1]

    def address(self, host: Host) -> IPv4Address:
        """A host's management address."""
        return self.subnet[FIRST_HOST + self.hosts.index(host)]


class VlanRange(Part, frozen=True, kw_only=True):
    """Both ends belong to it."""

    first: Vlan
    last: Vlan

    def __contains__(self, vlan: int) -> bool:
        return self.first <= vlan <= self.last

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.last + 1))


class VniRange(Part, frozen=True, kw_only=True):
    """Both ends belong to it."""

    first: Vni
    last: Vni


class Public(Part, frozen=True, kw_only=True):
    """The zone's public segment, and the range of it that Arable may give out."""

    vlan: Vlan
    cidr: str
    gateway: str
    first: str
    last: str

    @property
    def network(self) -> IPv4Network:
        return IPv4Network(self.cidr)


class Zone(Part, frozen=True, kw_only=True):
    """Pods with layer 3 between them, a firewall, and guest VLANs that reach all of them at layer 2.

    Or VNIs: then no guest network is on any switch, and their frames go over the management network, wrapped.
    `routers` are network namespaces of their hosts, or virtual machines.
    """

    name: Name
    management: str
    guest_vlans: VlanRange | None = None
    guest_vnis: VniRange | None = None
    routers: Literal["namespace", "vm"] = "namespace"
    public: Public
    pods: Annotated[tuple[Pod, ...], msgspec.Meta(min_length=1)]

    @property
    def supernet(self) -> IPv4Network:
        return IPv4Network(self.management)

    @property
    def tagged(self) -> tuple[int, ...]:
        """Every VLAN that trunks carry with a tag."""
        return (*(self.guest_vlans or ()), self.public.vlan)

    def hosts(self) -> Iterator[tuple[Pod, Host]]:
        for pod in self.pods:
            for host in pod.hosts:
                yield pod, host


class Server(NamedTuple):
    """A management server's name, and the address where hosts find it."""

    name: str
    address: IPv4Address


class Region(Part, frozen=True, kw_only=True):
    """What one control plane manages. `server` is the address where hosts find it, in every zone.

    Several `servers` have the addresses from that one on, each with a cable of its own, named like it: NAME-1, NAME-2 …
    With `bmc` its hosts have management controllers, and the cloud knows them. In a lab with a grid, `wan_mbit` is what
    its link to the WAN carries, in each direction; left out, as much as this machine can.
    """

    name: Name
    server: str
    servers: Annotated[int, msgspec.Meta(ge=1, le=9)] = 1
    bmc: bool = False
    wan_mbit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
    zones: Annotated[tuple[Zone, ...], msgspec.Meta(min_length=1)]

    @property
    def management(self) -> tuple[Server, ...]:
        """Its management servers; a single one is called like the region."""
        first = IPv4Address(self.server)
        if self.servers == 1:
            return (Server(self.name, first),)
        return tuple(Server(f"{self.name}-{at + 1}", first + at) for at in range(self.servers))

    @property
    def hub(self) -> IPv4Address:
        """Where several servers' cables meet: the address after the last of theirs."""
        return IPv4Address(self.server) + self.servers


class Grid(Part, frozen=True, kw_only=True):
    """A grid manager, of which all regions are, and a WAN that joins it and their servers; `server` is its address.

    The WAN leads to grid ports alone. The address after the grid manager's is the WAN's own.
    """

    server: str

    @property
    def hub(self) -> IPv4Address:
        """Where the links of the WAN meet."""
        return IPv4Address(self.server) + 1


class Topology(Part, frozen=True, kw_only=True):
    """The whole lab."""

    grid: Grid | None = None
    regions: Annotated[tuple[Region, ...], msgspec.Meta(min_length=1)]

    def zones(self) -> Iterator[tuple[Region, Zone]]:
        for region in self.regions:
            for zone in region.zones:
                yield region, zone

    def hosts(self) -> Iterator[tuple[Zone, Pod, Host]]:
        for _, zone in self.zones():
            for pod, host in zone.hosts():
                yield zone, pod, host


def load(path: Path) -> Topology:
    """The topology in that file; raises `BadInput` that names the file and the field."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: can't be read: {error}", field="lab") from error
    try:
        return parse(text)
    except BadInput as error:
        where = f"{error.field}: " if error.field else ""
        raise BadInput(f"{path}: {where}{error.public}", field=error.field) from error


def parse(text: str) -> Topology:
    """The topology that the YAML text describes; raises `BadInput` naming the field."""
    try:
        tree = yaml.load(text, Loader=_OnceOnly)  # noqa: S506 - made from the safe loader
    except yaml.YAMLError as error:
        raise BadInput(f"not YAML: {' '.join(str(error).split())}") from error
    try:
        topology = msgspec.convert(tree, Topology, strict=True)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `")
        raise BadInput(reason, field=_dotted(place.rstrip("`"))) from error
    _check(topology)
    return topology


class _OnceOnly(yaml.SafeLoader):
    """YAML says that keys are unique, PyYAML lets the last one win; here a second one is refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be a word", key.start_mark
                )
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value!r} is said twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _dotted(path: str) -> str:
    """`$.regions[0].zones` as `regions.0.zones`."""
    return path.removeprefix("$").replace("[", ".").replace("]", "").lstrip(".")


def _check(topology: Topology) -> None:
    """What can't be said with types: networks that hold what they should and don't overlap, names used once."""
    names: dict[str, str] = {}
    private: dict[str, IPv4Network] = {}
    public: dict[str, IPv4Network] = {}
    if topology.grid:
        first = _address(topology.grid.server, "grid.server")
        private["grid.server"] = IPv4Network(first)
        private["grid.server + 1"] = IPv4Network(_after(first, 1, "grid.server"))
    for r, region in enumerate(topology.regions):
        at = f"regions.{r}"
        _claim(names, region.name, f"{at}.name")
        if region.wan_mbit and not topology.grid:
            raise BadInput("there is no WAN without a grid", field=f"{at}.wan_mbit")
        if region.bmc and topology.grid:
            told = "servers that are on a WAN don't reach the lab's management controllers"
            raise BadInput(told, field=f"{at}.bmc")
        server = _address(region.server, f"{at}.server")
        for number in range(region.servers + (region.servers > 1)):
            one = IPv4Network(_after(server, number, f"{at}.server"))
            _apart(private | public, one, f"{at}.server")
            private[f"{at}.server" + (f" + {number}" if number else "")] = one
        for place in region.management if region.servers > 1 else ():
            _claim(names, place.name, f"{at}.servers")
        for z, zone in enumerate(region.zones):
            _check_zone(zone, f"{at}.zones.{z}", names, private, public)


def _check_zone(
    zone: Zone,
    at: str,
    names: dict[str, str],
    private: dict[str, IPv4Network],
    public: dict[str, IPv4Network],
) -> None:
    _claim(names, zone.name, f"{at}.name")
    supernet = _network(zone.management, f"{at}.management")
    _apart(private | public, supernet, f"{at}.management")
    private[f"{at}.management"] = supernet
    vlans, vnis = zone.guest_vlans, zone.guest_vnis
    if (vlans is None) == (vnis is None):
        raise BadInput("a zone has guest_vlans or guest_vnis", field=f"{at}.guest_vlans")
    for name, run in (("guest_vlans", vlans), ("guest_vnis", vnis)):
        if run and run.first > run.last:
            raise BadInput("the range is empty: first is above last", field=f"{at}.{name}")
    if vlans and zone.public.vlan in vlans:
        raise BadInput("is in the guest VLAN range", field=f"{at}.public.vlan")
    _check_public(zone.public, f"{at}.public", private, public)
    pods: dict[str, IPv4Network] = {}
    for p, pod in enumerate(zone.pods):
        here = f"{at}.pods.{p}"
        _claim(names, pod.name, f"{here}.name")
        subnet = _network(pod.management, f"{here}.management")
        if not subnet.subnet_of(supernet):
            raise BadInput(f"is not inside the zone's {supernet}", field=f"{here}.management")
        _apart(pods, subnet, f"{here}.management")
        pods[f"{here}.management"] = subnet
        if subnet.num_addresses < FIRST_HOST + len(pod.hosts) + 1:
            raise BadInput(f"is too small for {len(pod.hosts)} hosts", field=f"{here}.management")
        for h, host in enumerate(pod.hosts):
            _claim(names, host.name, f"{here}.hosts.{h}.name")
            if len(set(host.roles)) < len(host.roles):
                raise BadInput("names a role twice", field=f"{here}.hosts.{h}.roles")
            if missing := set(host.mounts) - {each.name for each in pod.hosts if each.keeps_files}:
                told = f"no host of {pod.name} keeps a pool of files that is called {min(missing)}"
                raise BadInput(told, field=f"{here}.hosts.{h}.mounts")


def _check_public(
    segment: Public, at: str, private: dict[str, IPv4Network], public: dict[str, IPv4Network]
) -> None:
    network = _network(segment.cidr, f"{at}.cidr")
    _apart(private | public, network, f"{at}.cidr")
    public[f"{at}.cidr"] = network
    gateway = _address(segment.gateway, f"{at}.gateway")
    first, last = _address(segment.first, f"{at}.first"), _address(segment.last, f"{at}.last")
    for name, address in (("gateway", gateway), ("first", first), ("last", last)):
        if address not in network or address in (network[0], network[-1]):
            raise BadInput(f"is no address of a machine in {network}", field=f"{at}.{name}")
    if first > last:
        raise BadInput("the range is empty: first is above last", field=f"{at}.first")
    if first <= gateway <= last:
        raise BadInput("is inside the range to give out", field=f"{at}.gateway")


def _claim(names: dict[str, str], name: str, field: str) -> None:
    if name in RESERVED:
        raise BadInput(f"{name!r} is a name the lab needs itself", field=field)
    if name in names:
        raise BadInput(f"{name!r} is taken by {names[name]}", field=field)
    names[name] = field


def _apart(taken: dict[str, IPv4Network], network: IPv4Network, field: str) -> None:
    for where, other in taken.items():
        if other.overlaps(network):
            raise BadInput(f"overlaps {other} of {where}", field=field)


def _network(text: str, field: str) -> IPv4Network:
    try:
        return IPv4Network(text)
    except ValueError as error:
        raise BadInput(f"is not an IPv4 network: {error}", field=field) from error


def _after(address: IPv4Address, number: int, field: str) -> IPv4Address:
    try:
        return address + number
    except ValueError as error:
        raise BadInput("there are no addresses after it", field=field) from error


def _address(text: str, field: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except ValueError as error:
        raise BadInput(f"is not an IPv4 address: {error}", field=field) from error
