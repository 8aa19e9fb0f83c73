"""One ask for machines, checked and put into numbers, before anything is taken or written.

What is found wrong here costs nobody anything. What depends on what others do at the same time (limits, names, addresses)
is left to `deployments`, which looks again when it holds the account's limit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from arable.domain import fitting
from arable.domain.access import Permission
from arable.domain.errors import BadInput, NoRoom
from arable.domain.farm import DEFAULT, Farm
from arable.domain.group import Group, Placement, Strategy
from arable.domain.guest_cidr import checked, subnet_of
from arable.domain.ids import AccountId
from arable.domain.image import Image, ImageVersion
from arable.domain.manifest import ImagePart
from arable.domain.network import Network, NetworkState
from arable.domain.offering import Offering, StorageKind
from arable.domain.seed import USER_DATA_BYTES, takes_password
from arable.domain.zone import Zone
from arable.services import passwords as passwords_
from arable.services.call import Asked
from arable.services.passwords import Password
from arable.services.references import References
from arable.store.rows import json_text
from arable.wire.machines import DeployIn, DiskIn, NicIn

_LONGEST_NAME = 63


@dataclass(frozen=True, slots=True)
class DiskPlan:
    """A disk of each machine; without a source it is blank."""

    mib: int
    iops: int
    bytes_per_second: int
    tags: tuple[str, ...] = ()
    source: str | None = None  # an ImagePart, as JSON
    shared: bool = False


@dataclass(frozen=True, slots=True)
class NicPlan:
    """A port of each machine. `network` None: the default one, which is not there yet."""

    network: Network | None
    offset: int | None  # of the address that was asked for


@dataclass(slots=True, kw_only=True)
class Plan:
    """What one ask comes to."""

    asked: Asked
    ask: DeployIn
    account: AccountId
    zone: Zone
    offering: Offering
    image: Image
    version: ImageVersion
    root: DiskPlan | None
    every_disk: Sequence[DiskPlan]  # the root disk, if there is one, and the further ones
    disk_mib: int
    nics: list[NicPlan]
    names: list[str]
    group: Group | None
    farm: Farm | None  # None: the default one
    placement: str  # a Placement, as JSON
    boot: str  # a Boot, as JSON
    passwords: Sequence[Password]

    @property
    def amounts(self) -> Mapping[str, int]:
        """What it takes from the account's limits."""
        count = len(self.names)
        return {
            "machines": count,
            "cpus": count * self.offering.cpus,
            "memory_mib": count * self.offering.memory_mib,
            "volumes": count * len(self.every_disk),
            "storage_mib": count * self.disk_mib,
        }


def plan(found: References, asked: Asked) -> Plan:
    """Raises what is wrong with the ask."""
    ask: DeployIn = asked.args[0]
    passwords: Sequence[Password] = asked.args[1] or ()
    asked.caller.needs(Permission.MACHINE_WRITE)
    account = asked.caller.account
    zone = found.zone(ask.zone)
    offering = found.offering(ask.offering)
    image = found.image(account, ask.image)
    version = found.version(image, ask.version)
    fitting.check_memory(image, offering)
    _check_user_data(ask)
    disks = [_disk(found, offering, disk, at) for at, disk in enumerate(ask.disks)]
    root = _root(offering, version)
    if offering.highly_available and root is None and not disks:
        raise BadInput(
            f"machines of {offering.name} are highly available, which takes a disk", field="disks"
        )
    every_disk = disks if root is None else [root, *disks]
    return Plan(
        asked=asked,
        ask=ask,
        account=account,
        zone=zone,
        offering=offering,
        image=image,
        version=version,
        root=root,
        every_disk=every_disk,
        disk_mib=sum(disk.mib for disk in every_disk),
        nics=_nics(found, account, zone, ask),
        names=_names(ask),
        group=None if ask.group is None else found.group(account, ask.group),
        farm=None if ask.farm in (None, DEFAULT) else found.farm(account, zone, ask.farm or ""),
        placement=_placement(
            ask.tags,
            offering.tags,
            tuple(tag for disk in disks for tag in disk.tags),
            ask.strategy or found.strategy(),
        ),
        boot=found.boot(image, version),
        passwords=passwords,
    )


def _names(ask: DeployIn) -> list[str]:
    if ask.count == 1:
        return [ask.name]
    if len(ask.name) + 1 + len(str(ask.count)) > _LONGEST_NAME:
        raise BadInput(
            f"{ask.name}-{ask.count} has more than {_LONGEST_NAME} characters", field="name"
        )
    return [f"{ask.name}-{number}" for number in range(1, ask.count + 1)]


def _check_user_data(ask: DeployIn) -> None:
    if len(ask.user_data) > USER_DATA_BYTES // 4 and len(ask.user_data.encode()) > USER_DATA_BYTES:
        raise BadInput(f"more than {USER_DATA_BYTES} bytes", field="user_data")
    if not ask.password:
        return
    if ask.count > passwords_.MOST:
        raise BadInput(
            f"passwords are generated for at most {passwords_.MOST} machines in one call",
            field="password",
        )
    if not takes_password(ask.user_data):
        raise BadInput(
            "a password is generated beside a #cloud-config, a #! script or no user-data at all, "
            "and this is none of them; put the password's hash into your user-data instead",
            field="password",
        )


def _root(offering: Offering, version: ImageVersion) -> DiskPlan | None:
    mib = fitting.root_mib(offering, version)
    if not mib:
        return None
    source = None if version.disk is None else _part(version.disk)
    return DiskPlan(
        mib,
        offering.disk_iops,
        offering.disk_bytes_per_second,
        source=source,
        shared=offering.storage is StorageKind.SHARED,
    )


# One text for all disks of a version.
@lru_cache(maxsize=1024)
def _part(part: ImagePart) -> str:
    return json_text(part)


def _disk(found: References, size: Offering, ask: DiskIn, at: int) -> DiskPlan:
    offering = found.disk_offering(ask.offering, f"disks.{at}.offering")
    if offering.storage is not size.storage:
        raise BadInput(
            f"disks of {offering.name} are {offering.storage}, those of {size.name} {size.storage}:"
            " all disks of a machine are of one kind",
            field=f"disks.{at}.offering",
        )
    if offering.mib and ask.mib not in (None, offering.mib):
        raise BadInput(f"disks of {offering.name} have {offering.mib} MiB", field=f"disks.{at}.mib")
    mib = offering.mib or ask.mib
    if not mib:
        raise BadInput(f"say how large: {offering.name} leaves it to you", field=f"disks.{at}.mib")
    shared = offering.storage is StorageKind.SHARED
    return DiskPlan(mib, offering.iops, offering.bytes_per_second, offering.tags, shared=shared)


def _nics(found: References, account: AccountId, zone: Zone, ask: DeployIn) -> list[NicPlan]:
    plans = [
        _nic(found, account, zone, nic, ask.count, f"networks.{at}")
        for at, nic in enumerate(ask.networks or _DEFAULT_NICS)
    ]
    networks = [each.network and each.network.id for each in plans]
    if len(set(networks)) < len(networks):
        raise BadInput("one port on each network, not more", field="networks")
    return plans


_DEFAULT_NICS = (NicIn(),)


def _nic(
    found: References, account: AccountId, zone: Zone, ask: NicIn, count: int, where: str
) -> NicPlan:
    network = found.default_network(account, zone)
    if ask.network not in (None, DEFAULT):
        network = found.network(account, zone, ask.network or "", f"{where}.network")
    if network is not None and network.state is not NetworkState.READY:
        raise BadInput(f"{network.name} was deleted", field=f"{where}.network")
    subnet = subnet_of(network.cidr if network else str(checked(zone.guest_cidr, "zone")))
    if count > subnet.room:
        raise NoRoom(
            f"the network has room for {subnet.room} ports in all; deploy fewer, or on a larger one",
            field=f"{where}.network",
        )
    offset = None
    if ask.address is not None:
        if count > 1:
            raise BadInput("one address is for one machine", field=f"{where}.address")
        offset = subnet.offset(ask.address, f"{where}.address")
    return NicPlan(network, offset)


# Asks of one kind share this text.
@lru_cache(maxsize=1024)
def _placement(
    own: tuple[str, ...], offering: tuple[str, ...], disks: tuple[str, ...], strategy: str
) -> str:
    required = tuple(sorted({*offering, *disks}))
    return json_text(Placement(tuple(sorted(set(own))), required, Strategy(strategy)))
