"""The agent's configuration: one YAML file, parsed strictly, so that a misspelt key is told and not passed over.

Which drivers move the host is written here, by name; `processes/agent.py` is where the names get a meaning.
Values in `inventory` stand in for what is measured: an emulated host is smaller than the machine it runs on.
"""

from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

import msgspec
import yaml

from arable.domain.errors import BadInput

SHORTEST_LEASE, LONGEST_LEASE = 5.0, 600.0  # seconds
LEAST_ROUTER_MIB, MOST_ROUTER_MIB = 192, 16_384
ROLES = frozenset({"compute", "storage", "routing"})


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """No field that we don't know."""


class Libvirt(_Strict, frozen=True, tag="libvirt", tag_field="driver"):
    """QEMU under libvirt. Without `accelerator`, what really works is taken.

    Guests come from other hosts while they run by way of `move_address`, on the management network: one port for each
    that is on its way, open to the host that it comes from and to nobody else. Without an address, the one that this
    host has on the way to its management servers is taken.
    """

    uri: str = "qemu:///system"
    accelerator: str | None = None
    cap_cpu: bool | None = None
    move_address: str = ""
    first_move_port: int = 49152
    last_move_port: int = 49215


class SimHypervisorChoice(_Strict, frozen=True, tag="sim", tag_field="driver"):
    """Guests that are values."""


class Ovs(_Strict, frozen=True, tag="ovs", tag_field="driver"):
    """Open vSwitch. `tunnel` is this host's own address on the network that VXLAN goes over between hosts: the management
    network's, or that of another one, on which its other packets are not. A zone with VNIs needs it.
    """

    db: str = "unix:/run/openvswitch/db.sock"
    bridge: str = "br-int"
    uplink: str = "up0"
    native: int | None = None  # VLAN number of untagged (management) traffic within the bridge
    netns: str | None = None
    tunnel: str = ""


class SimNetworkChoice(_Strict, frozen=True, tag="sim", tag_field="driver"):
    """Ports that are values."""

    tunnel: str = ""


class Local(_Strict, frozen=True, tag="local", tag_field="driver"):
    """qcow2 files in a directory; without one, beside the agent's own."""

    directory: Path | None = None
    capacity_bytes: int | None = None
    reserve_bytes: int | None = None


class Leased(_Strict, frozen=True):
    """qcow2 files in a directory, shared with other hosts by leases, which are asked for at `address` and `port`.

    A lease is `lease_seconds` long: as long a machine's next host waits for one that can't be reached, and as long a
    storage host may be away before machines are stopped.
    """

    address: str
    directory: Path | None = None
    port: int = 10808
    lease_seconds: float = 30.0
    capacity_bytes: int | None = None
    reserve_bytes: int | None = None


class File(Leased, frozen=True, tag="file", tag_field="driver"):
    """A directory that all hosts of the pod have mounted, at the same path: this host is the pool's keeper."""


class Shared(Leased, frozen=True):
    """Served to the other hosts: besides the port for leases, one for each volume that is in use."""

    first_port: int = 10809
    last_port: int = 11832


class Nbd(Shared, frozen=True, tag="nbd", tag_field="driver"):
    """Over NBD and TLS. `address` is on the management network."""


class Iscsi(Shared, frozen=True, tag="iscsi", tag_field="driver"):
    """Over iSCSI, whose packets anybody on their way can read: `address` is on a network for storage alone."""

    first_port: int = 3260
    last_port: int = 4283


class SimStorageChoice(_Strict, frozen=True, tag="sim", tag_field="driver"):
    """Volumes that are values."""


class RouterMachines(_Strict, frozen=True):
    """Routers as virtual machines of the libvirtd at `uri`, from an image that `arable agent router-image` built in `image`.

    Each has `memory_mib` of the host's memory. That, and what QEMU takes beside it, is reserved on the host for each that is there.
    """

    image: Path
    uri: str = "qemu:///system"
    accelerator: str | None = None
    memory_mib: int = 256


class Namespace(_Strict, frozen=True, tag="namespace", tag_field="driver"):
    """Routers in network namespaces; with `machines`, also as virtual machines, where their zone asks for it."""

    netns: str | None = None
    prefix: str = ""
    machines: RouterMachines | None = None


class SimAppliancesChoice(_Strict, frozen=True, tag="sim", tag_field="driver"):
    """Routers that are values."""


class Given(_Strict, frozen=True):
    """What is not to be measured."""

    cpus: int | None = None
    cpu_mhz: int | None = None  # of all CPUs together
    memory_mib: int | None = None
    disk_mib: int | None = None


class AgentConfig(_Strict, frozen=True):
    """One host. `servers` are HOST:PORT of the management servers' agent port; any of them will do.

    `join_token` is a file with the one-time token: an agent that has no identity yet joins with it, and removes it.
    `hardware_watchdog` is a device, such as /dev/watchdog, that restarts the machine when our own watchdog (which stops
    guests without a lease) can't run any more; without it no host is ever restarted. At `peer_port`, on the management
    network, it answers other hosts of its pod that ask whether it is there; null: it does not, and asks nobody.
    `file_pools` are directories of pools of files that are mounted on this host, for the machines that it runs.
    """

    directory: Path
    servers: list[str]
    name: str = ""
    join_token: Path | None = None
    roles: list[str] = msgspec.field(default_factory=lambda: ["compute"])
    tags: list[str] = []
    hypervisor: Libvirt | SimHypervisorChoice | None = None
    network: Ovs | SimNetworkChoice = Ovs()
    storage: Local | Nbd | Iscsi | File | SimStorageChoice | None = None
    file_pools: list[Path] = []
    appliances: Namespace | SimAppliancesChoice | None = None
    hardware_watchdog: Path | None = None
    peer_port: int | None = 10807
    inventory: Given = Given()


def read(path: Path) -> AgentConfig:
    """The configuration in this file; raises `BadInput` naming the field that is at fault."""
    try:
        found = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise BadInput(f"there is no configuration at {path}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not YAML: {error}") from error
    try:
        config = msgspec.convert(found, AgentConfig, dec_hook=_parsed)
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at `$")
        field = where.rstrip("`").lstrip(".")
        raise BadInput(f"{path}: {text}" + (f" ({field})" if field else ""), field=field) from error
    _check(config, path)
    return config


def written(config: AgentConfig) -> bytes:
    """What `read` reads: JSON, and so YAML, that a person can read too."""
    return msgspec.json.format(msgspec.json.encode(config, enc_hook=str))


def _parsed(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str) and value and "\0" not in value:
        return Path(value)
    raise ValueError("Expected a path")


def _check(config: AgentConfig, path: Path) -> None:
    if not config.servers:
        raise BadInput(f"{path}: name at least one management server", field="servers")
    for at, server in enumerate(config.servers):
        host, _, port = server.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise BadInput(f"{path}: {server!r} is not HOST:PORT", field=f"servers.{at}")
    unknown = set(config.roles) - ROLES
    if unknown:
        raise BadInput(f"{path}: there are no roles {', '.join(sorted(unknown))}", field="roles")
    if "compute" in config.roles and not (config.hypervisor and config.storage):
        raise BadInput(
            f"{path}: a compute host needs a hypervisor and storage",
            field="storage" if config.hypervisor else "hypervisor",
        )
    if config.peer_port is not None and not 0 < config.peer_port < 65536:
        raise BadInput(f"{path}: not a port", field="peer_port")
    if config.network.tunnel:
        try:
            address = IPv4Address(config.network.tunnel)
        except ValueError as error:
            raise BadInput(f"{path}: not an IPv4 address", field="network.tunnel") from error
        if address.is_unspecified:
            raise BadInput(f"{path}: name this host's own address", field="network.tunnel")
    if isinstance(config.storage, Leased):
        _check_leased(config.storage, path)
    if isinstance(config.storage, Shared):
        _check_ports(config.storage, path)
    for at, directory in enumerate(config.file_pools):
        if not directory.is_absolute():
            raise BadInput(f"{path}: not an absolute path", field=f"file_pools.{at}")
    if isinstance(config.hypervisor, Libvirt):
        _check_moves(config.hypervisor, path)
    if "routing" in config.roles and not config.appliances:
        raise BadInput(f"{path}: a routing host needs appliances", field="appliances")
    if isinstance(config.appliances, Namespace) and config.appliances.machines:
        _check_machines(config.appliances.machines, path)


def _check_machines(machines: RouterMachines, path: Path) -> None:
    if not machines.image.is_absolute():
        raise BadInput(f"{path}: not an absolute path", field="appliances.machines.image")
    if not LEAST_ROUTER_MIB <= machines.memory_mib <= MOST_ROUTER_MIB:
        raise BadInput(
            f"{path}: a router has {LEAST_ROUTER_MIB} to {MOST_ROUTER_MIB} MiB of memory",
            field="appliances.machines.memory_mib",
        )


def _check_moves(hypervisor: Libvirt, path: Path) -> None:
    if hypervisor.move_address:
        try:
            address = ip_address(hypervisor.move_address)
        except ValueError as error:
            raise BadInput(
                f"{path}: {hypervisor.move_address!r} is not an address",
                field="hypervisor.move_address",
            ) from error
        if address.is_unspecified:
            raise BadInput(
                f"{path}: guests move over the management network, so name this host's address there",
                field="hypervisor.move_address",
            )
    for field in ("first_move_port", "last_move_port"):
        if not 0 < getattr(hypervisor, field) < 65536:
            raise BadInput(f"{path}: not a port", field=f"hypervisor.{field}")
    if not hypervisor.first_move_port <= hypervisor.last_move_port:
        raise BadInput(
            f"{path}: the last port is before the first", field="hypervisor.last_move_port"
        )


def _check_leased(storage: Leased, path: Path) -> None:
    try:
        address = ip_address(storage.address)
    except ValueError as error:
        raise BadInput(
            f"{path}: {storage.address!r} is not an address", field="storage.address"
        ) from error
    if address.is_unspecified:
        raise BadInput(
            f"{path}: shared disks are for the management network, so name this host's address there",
            field="storage.address",
        )
    if not 0 < storage.port < 65536:
        raise BadInput(f"{path}: not a port", field="storage.port")
    if isinstance(storage, File) and not (storage.directory and storage.directory.is_absolute()):
        raise BadInput(
            f"{path}: name the directory that all hosts of the pod have mounted",
            field="storage.directory",
        )
    if not SHORTEST_LEASE <= storage.lease_seconds <= LONGEST_LEASE:
        raise BadInput(
            f"{path}: a lease is {SHORTEST_LEASE:g} to {LONGEST_LEASE:g} seconds long",
            field="storage.lease_seconds",
        )


def _check_ports(storage: Shared, path: Path) -> None:
    for field in ("first_port", "last_port"):
        if not 0 < getattr(storage, field) < 65536:
            raise BadInput(f"{path}: not a port", field=f"storage.{field}")
    if not storage.first_port <= storage.last_port:
        raise BadInput(f"{path}: the last port is before the first", field="storage.last_port")
    if storage.first_port <= storage.port <= storage.last_port:
        raise BadInput(f"{path}: leases need a port of their own", field="storage.port")
