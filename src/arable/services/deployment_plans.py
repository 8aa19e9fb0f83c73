"""One ask for machines, checked and put into numbers, before anything is taken or written.

What is found wrong here costs nobody anything. What depends on what others do at the same time (limits, names, addresses)
is left to `deployments`, which looks again when it holds the account's limit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from msgspec import structs

from arable.domain import fitting, template
from arable.domain.access import Permission
from arable.domain.errors import BadInput, Conflict, LimitExceeded, NoRoom, NotFound
from arable.domain.farm import DEFAULT
from arable.domain.group import Group, Placement, Strategy
from arable.domain.guest_cidr import checked, subnet_of
from arable.domain.ids import AccountId, FarmId
from arable.domain.image import Image, ImageVersion
from arable.domain.manifest import ImagePart
from arable.domain.network import Network, NetworkState
from arable.domain.offering import Offering, StorageKind
from arable.domain.seed import check_size, takes_password, unpacked
from arable.domain.zone import Zone
from arable.runtime.secret import Secret
from arable.services import farm_secrets
from arable.services import passwords as passwords_
from arable.services.belonging import FARM
from arable.services.call import Asked
from arable.services.catalogue import Wanted
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
    offering: str = ""  # the disk offering, but for root disks
    replicated: bool = False


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
    wanted: Wanted | None  # that version, where it is only in other regions
    root: DiskPlan | None
    every_disk: Sequence[DiskPlan]  # the root disk, if there is one, and the further ones
    disk_mib: int
    nics: list[NicPlan]
    default_nic: int  # which of them
    names: list[str]
    group: Group | None
    farm: FarmId | None  # None: the default one
    placement: str  # a Placement, as JSON
    boot: str  # a Boot, as JSON
    keys: tuple[str, ...]  # public ones
    passwords: Sequence[Password]
    secrets: Mapping[str, Secret]  # of its farm, that its user-data asks for

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
    ask = structs.replace(ask, user_data=unpacked(ask.user_data))
    passwords: Sequence[Password] = asked.args[1] or ()
    asked.caller.needs(Permission.MACHINE_WRITE)
    account = asked.caller.account
    zone = found.zone(ask.zone)
    offering = found.offering(ask.offering)
    image, version, wanted = _image(found, asked, ask)
    fitting.check_memory(image, offering)
    _check_user_data(ask)
    disks = [_disk(found, offering, disk, at) for at, disk in enumerate(ask.disks)]
    root = _root(offering, version)
    if offering.highly_available and root is None and not disks:
        raise BadInput(
            f"machines of {offering.name} are highly available, which takes a disk", field="disks"
        )
    every_disk = disks if root is None else [root, *disks]
    nics = _nics(found, account, zone, ask)
    farm = _farm(found, account, zone, ask, [nic.network for nic in nics])
    return Plan(
        asked=asked,
        ask=ask,
        account=account,
        zone=zone,
        offering=offering,
        image=image,
        version=version,
        wanted=wanted,
        root=root,
        every_disk=every_disk,
        disk_mib=sum(disk.mib for disk in every_disk),
        nics=nics,
        default_nic=_default_nic(ask),
        names=_names(ask),
        group=None if ask.group is None else found.group(account, ask.group),
        farm=farm,
        placement=_placement(
            ask.tags,
            offering.tags,
            tuple(tag for disk in disks for tag in disk.tags),
            ask.strategy or found.strategy(),
        ),
        boot=found.boot(image, version),
        keys=tuple(
            found.ssh_key(account, ref, f"ssh_keys.{at}") for at, ref in enumerate(ask.ssh_keys)
        ),
        passwords=passwords,
        secrets=_secrets(found, asked, farm),
    )


def plan_like(found: References, asked: Asked, before: Plan) -> Plan | None:
    """The same for an ask that differs from one that was planned in its name and user-data alone; None for any other.

    A tier asks for all of its elements' machines in this way. Raises what is wrong with the ask.
    """
    ask, same = asked.args[0], before.asked
    if (
        asked.caller is not same.caller
        or asked.args[1] is not same.args[1]
        or structs.replace(ask, name=same.args[0].name, user_data=same.args[0].user_data)
        != same.args[0]
    ):
        return None
    ask = structs.replace(ask, user_data=unpacked(ask.user_data))
    _check_user_data(ask)
    secrets = _secrets(found, asked, before.farm)
    return replace(before, asked=asked, ask=ask, names=_names(ask), secrets=secrets)


def _secrets(found: References, asked: Asked, farm: FarmId | None) -> Mapping[str, Secret]:
    """Only a farm has its secrets told to machines: in user-data of somebody else's such words mean nothing."""
    if asked.caller.via != FARM or farm is None:
        return {}
    user_data: str = asked.args[0].user_data
    names = template.secrets(user_data)
    if not names:
        return {}
    texts = farm_secrets.texts(found.tx, asked.around, farm, names)
    check_size(template.revealed(user_data, {name: texts[name].reveal() for name in names}))
    return texts


def _image(
    found: References, asked: Asked, ask: DeployIn
) -> tuple[Image, ImageVersion, Wanted | None]:
    """From this region; what it has not got, from the grid's catalogue. Raises what this region says of it."""
    account = asked.caller.account
    try:
        image = found.image(account, ask.image)
        version = found.version(image, ask.version)
    except NotFound:
        wanted = found.catalogued(asked.around, account, ask.image, ask.version)
        if wanted is None:
            raise
        return wanted.image, wanted.version, wanted
    if version.arriving:  # somebody else wanted it, and it is not here yet
        return image, version, Wanted(image, version)
    return image, version, None


def _names(ask: DeployIn) -> list[str]:
    if ask.count == 1:
        return [ask.name]
    if len(ask.name) + 1 + len(str(ask.count)) > _LONGEST_NAME:
        raise BadInput(
            f"{ask.name}-{ask.count} has more than {_LONGEST_NAME} characters", field="name"
        )
    return [f"{ask.name}-{number}" for number in range(1, ask.count + 1)]


def _check_user_data(ask: DeployIn) -> None:
    check_size(ask.user_data)
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
        replicated=offering.replicated,
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
    return DiskPlan(
        mib,
        offering.iops,
        offering.bytes_per_second,
        offering.tags,
        shared=shared,
        offering=offering.id,
        replicated=offering.replicated,
    )


def _nics(found: References, account: AccountId, zone: Zone, ask: DeployIn) -> list[NicPlan]:
    most = found.most_nics()
    if len(ask.networks) > most:
        raise LimitExceeded(
            f"a machine has at most {most} ports in this cloud",
            field="networks",
            why={"limit": most},
        )
    plans = [
        _nic(found, account, zone, nic, ask.count, f"networks.{at}")
        for at, nic in enumerate(ask.networks or _DEFAULT_NICS)
    ]
    networks = [each.network and each.network.id for each in plans]
    if len(set(networks)) < len(networks):
        raise BadInput("one port on each network, not more", field="networks")
    return plans


_DEFAULT_NICS = (NicIn(),)


def _farm(
    found: References,
    account: AccountId,
    zone: Zone,
    ask: DeployIn,
    networks: Sequence[Network | None],
) -> FarmId | None:
    """The one that is named, or else that of the networks: a machine has ports on networks of its own farm alone."""
    farm: FarmId | None
    if ask.farm not in (None, DEFAULT):
        farm = found.farm(account, zone, ask.farm or "").id
        if not ask.networks:
            raise BadInput("say on which networks of that farm", field="networks")
    elif ask.farm is None and None not in networks:
        farm = networks[0].farm if networks[0] else None
    else:
        farm = found.default_farm(account, zone)
    for at, network in enumerate(networks):
        if network is not None and network.farm != farm:
            raise Conflict(
                f"{network.name} is of another farm than the machine",
                field=f"networks.{at}.network",
            )
    by_default = ask.farm is None and any(each and each.name == DEFAULT for each in networks)
    if farm is not None and ask.farm != DEFAULT and not by_default:  # a default one never goes
        found.check_stays(farm)
    return farm


def _default_nic(ask: DeployIn) -> int:
    """The one that is said to be, or the first."""
    said = [at for at, nic in enumerate(ask.networks) if nic.default]
    if len(said) > 1:
        raise BadInput(
            "one port is the default one, not several", field=f"networks.{said[1]}.default"
        )
    return said[0] if said else 0


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
