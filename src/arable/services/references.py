"""What a request names, by name or by id, found once: a thousand deployments of one kind look things up once.

Everything is looked up for an account: its own things, and what everybody may use. Another account's name or id reads
like one that does not exist (rule 9).
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from arable.domain import ids
from arable.domain.access import Scope
from arable.domain.errors import BadInput, CloudError, Conflict, NotFound
from arable.domain.farm import DEFAULT, Farm
from arable.domain.group import Group
from arable.domain.ids import AccountId
from arable.domain.image import Image, ImageVersion
from arable.domain.machine import Boot
from arable.domain.manifest import PartRole
from arable.domain.network import Network
from arable.domain.offering import DiskOffering, Offering
from arable.domain.settings import MACHINE_NICS, PLACEMENT_STRATEGY
from arable.domain.ssh_key import SshKey
from arable.domain.zone import Zone
from arable.services import catalogue
from arable.services.call import Surroundings
from arable.services.catalogue import Wanted
from arable.store import (
    farm_documents,
    farms,
    groups,
    images,
    networks,
    offerings,
    settings,
    ssh_keys,
    storage_zones,
    zones,
)
from arable.store.database import Tx
from arable.store.rows import json_text

T = TypeVar("T")


@dataclass(slots=True)
class References:
    """Remembers what it found, and what it did not find, for as long as its transaction lasts."""

    tx: Tx
    _found: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    _made: catalogue.Made = field(default_factory=dict)

    def prepare(self, asks: Iterable[tuple[AccountId, str | None, str]]) -> None:
        """Find at once what deployments of many accounts will look up. Each is an account, its zone and its image."""
        by_zone: dict[str | None, set[AccountId]] = {}
        by_image: dict[str, set[AccountId]] = {}
        for account, zone, image in asks:
            by_zone.setdefault(zone, set()).add(account)
            by_image.setdefault(image, set()).add(account)
        for ref, accounts in by_image.items():
            if ids.kind_of(ref) != "image":
                named = images.named_by(self.tx, accounts, ref)
                self._found |= {("image", of, ref): found for of, found in named.items()}
        for where, accounts in by_zone.items():
            with suppress(CloudError):  # whoever names it is told
                zone_id = self.zone(where).id
                there = networks.named_by(self.tx, accounts, zone_id, DEFAULT)
                key = "default network"
                self._found |= {(key, of, zone_id): there.get(of) for of in accounts}

    def zone(self, ref: str | None, where: str = "zone") -> Zone:
        """An enabled zone; the only one there is when nothing is said."""

        def look() -> Zone:
            if ref is None:
                every = zones.page(self.tx, zones.ZoneFilter(enabled=True), limit=2)
                if len(every) != 1:
                    raise BadInput(
                        "say in which zone" if every else "there is no zone", field=where
                    )
                return every[0]
            if ids.kind_of(ref) == "zone":
                return zones.get(self.tx, ids.ZoneId(ref))
            return _one(zones.page(self.tx, zones.ZoneFilter(name=ref), limit=1), "zone")

        zone = self._once(("zone", ref), where, look)
        if not zone.enabled:
            raise Conflict("this zone takes nothing new: it is disabled", field=where)
        return zone

    def offering(self, ref: str, where: str = "offering") -> Offering:
        """One that is for sale."""

        def look() -> Offering:
            if ids.kind_of(ref) == "offering":
                return offerings.get(self.tx, ids.OfferingId(ref))
            return offerings.by_name(self.tx, ref)

        found = self._once(("offering", ref), where, look)
        if not found.enabled:
            raise Conflict("this offering is not for sale any more", field=where)
        return found

    def disk_offering(self, ref: str | None, where: str) -> DiskOffering:
        """One that is for sale; the only one when nothing is said."""

        def look() -> DiskOffering:
            if ref is None:
                every = offerings.page_disks(self.tx, offerings.OfferingFilter(), limit=2)
                if len(every) != 1:
                    which = "say which disk offering" if every else "there is no disk offering"
                    raise BadInput(which, field=where)
                return every[0]
            if ids.kind_of(ref) == "diskoffering":
                return offerings.get_disk(self.tx, ids.DiskOfferingId(ref))
            named = offerings.OfferingFilter(name=ref)
            return _one(offerings.page_disks(self.tx, named, limit=1), "disk offering")

        found = self._once(("diskoffering", ref), where, look)
        if not found.enabled:
            raise Conflict("this disk offering is not for sale any more", field=where)
        return found

    def image(self, account: AccountId, ref: str, where: str = "image") -> Image:
        """The account's own, or a public one."""
        scope = Scope(account=account)

        def look() -> Image:
            if ids.kind_of(ref) == "image":
                return images.get(self.tx, scope, ids.ImageId(ref))
            return images.by_name(self.tx, scope, ref)

        return self._once(("image", account, ref), where, look)

    def catalogued(
        self, around: Surroundings, account: AccountId, ref: str, number: int | None
    ) -> Wanted | None:
        """A version that is not here, of an image with that name that another region has for the account."""
        if ids.kind_of(ref) == "image":
            return None
        key = ("catalogue", account, ref, number)
        return self._once(
            key, "image", lambda: catalogue.find(self.tx, around, account, ref, number, self._made)
        )

    def fetched(
        self, around: Surroundings, account: AccountId, ref: str, number: int | None
    ) -> Wanted:
        """The same, on its way from now on. Raises `NotFound` when no other region has it either."""
        wanted = self.catalogued(around, account, ref, number)
        if wanted is None:
            raise NotFound("there is no such image", field="image")
        catalogue.begin(self.tx, around, wanted)
        return wanted

    def version(self, image: Image, number: int | None, where: str = "version") -> ImageVersion:
        """Of an image that was found; its newest when no number is said."""
        return self._once(
            ("version", image.id, number),
            where,
            lambda: images.version(self.tx, image.id, number),
        )

    def boot(self, image: Image, version: ImageVersion) -> str:
        """How machines of a version start, as JSON: one text for all of them."""
        return self._once(("boot", image.id, version.number), "", lambda: _boot(image, version))

    def farm(self, account: AccountId, zone: Zone, ref: str, where: str = "farm") -> Farm:
        """The account's, in the zone."""

        def look() -> Farm:
            if ids.kind_of(ref) == "farm":
                found = farms.get(self.tx, Scope(account=account), ids.FarmId(ref))
                return _in_zone(found, zone, "farm")
            return _there(farms.named(self.tx, account, zone.id, ref), "farm")

        return self._once(("farm", account, zone.id, ref), where, look)

    def check_stays(self, farm: ids.FarmId) -> None:
        """Raises `Conflict` for a farm that was deleted: nothing new comes into it."""
        if self._once(("leaving", farm), "", lambda: farm_documents.leaves(self.tx, farm)):
            raise Conflict(
                "the farm was deleted; it goes when all that it made is gone", field="farm"
            )

    def default_farm(self, account: AccountId, zone: Zone) -> ids.FarmId | None:
        """The account's default farm in the zone, if it was made already."""
        key = ("default farm", account, zone.id)
        farm = self._once(key, "", lambda: farms.named(self.tx, account, zone.id, DEFAULT))
        return farm.id if farm else None

    def network(self, account: AccountId, zone: Zone, ref: str, where: str = "network") -> Network:
        """The account's, in the zone."""

        def look() -> Network:
            if ids.kind_of(ref) == "network":
                found = networks.get(self.tx, Scope(account=account), ids.NetworkId(ref))
                return _in_zone(found, zone, "network")
            return _there(networks.named(self.tx, account, zone.id, ref), "network")

        return self._once(("network", account, zone.id, ref), where, look)

    def default_network(self, account: AccountId, zone: Zone) -> Network | None:
        """The account's default network in the zone, if it was made already."""
        return self._once(
            ("default network", account, zone.id),
            "",
            lambda: networks.named(self.tx, account, zone.id, DEFAULT),
        )

    def storage_zone(
        self, account: AccountId, zone: ids.ZoneId, ref: str, where: str = "storage_zone"
    ) -> ids.StorageZoneId:
        """The account's, in the zone: one that farms share, or that of a farm which is named."""
        scope = Scope(account=account)

        def look() -> ids.StorageZoneId:
            kind = ids.kind_of(ref)
            shared = (
                storage_zones.get(self.tx, scope, ids.StorageZoneId(ref))
                if kind == "storagezone"
                else storage_zones.named(self.tx, account, zone, ref)
            )
            if shared is not None and shared.zone == zone:
                return shared.id
            farm = (
                farms.get(self.tx, scope, ids.FarmId(ref))
                if kind == "farm"
                else farms.named(self.tx, account, zone, ref)
            )
            if farm is None or farm.zone != zone:
                raise NotFound("there is no such storage zone")
            return farm.reaches

        return self._once(("storage zone", account, zone, ref), where, look)

    def group(self, account: AccountId, ref: str, where: str = "group") -> Group:
        """The account's placement group."""

        def look() -> Group:
            if ids.kind_of(ref) == "group":
                return groups.get(self.tx, Scope(account=account), ids.GroupId(ref))
            return _there(groups.named(self.tx, account, ref), "placement group")

        return self._once(("group", account, ref), where, look)

    def ssh_key(self, account: AccountId, ref: str, where: str) -> str:
        """A public key, as `authorized_keys` has it: as it was said, or of the account's key that is called so."""
        if " " in ref:
            return ref

        def look() -> SshKey:
            if ids.kind_of(ref) == "sshkey":
                return ssh_keys.get(self.tx, Scope(account=account), ids.SshKeyId(ref))
            return _there(ssh_keys.named(self.tx, account, ref), "SSH key")

        return self._once(("SSH key", account, ref), where, look).line

    def strategy(self) -> str:
        """What the cloud prefers."""
        return self._once(("strategy",), "", lambda: settings.get(self.tx, PLACEMENT_STRATEGY))

    def most_nics(self) -> int:
        """How many ports a machine may have."""
        return self._once(("nics",), "", lambda: settings.get(self.tx, MACHINE_NICS))

    def _once(self, key: tuple[Any, ...], where: str, look: Callable[[], T]) -> T:
        if key not in self._found:
            try:
                self._found[key] = look()
            except (NotFound, BadInput) as error:
                self._found[key] = error
        found = self._found[key]
        if isinstance(found, NotFound | BadInput):
            raise type(found)(found.public, field=where)
        result: T = found
        return result


def _boot(image: Image, version: ImageVersion) -> str:
    parts = tuple(part for part in version.parts if part.role is not PartRole.DISK)
    return json_text(Boot(parts, image.command_line) if parts else Boot())


def _one(found: list[T], what: str) -> T:
    return _there(found[0] if found else None, what)


def _there(found: T | None, what: str) -> T:
    if found is None:
        raise NotFound(f"there is no such {what}")
    return found


def _in_zone(found: T, zone: Zone, what: str) -> T:
    if getattr(found, "zone", None) != zone.id:
        raise BadInput(f"this {what} is in another zone than {zone.name}")
    return found
