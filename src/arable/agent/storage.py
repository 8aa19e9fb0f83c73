"""Disks before guests, and erasing after them.

`Disks` fetches and verifies image parts and makes volumes and seeds for guests that are about to start; those that
run as wished need nothing. `Scraps` erases, for a `ScrapWish` and for nothing else (`domain/manifest.py`), and only
when no guest that is here can still hold the volume.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from arable.agent.sight import Ground, Shelf, Sight
from arable.domain.errors import NoRoom, NotFound, Unavailable
from arable.domain.ids import PoolId, VolumeId
from arable.domain.manifest import DiskWish, GuestWish, ImagePart, ScrapWish, Seed
from arable.drivers.hypervisor.protocol import GuestPower
from arable.drivers.storage.protocol import Fetch, Promised, Storage

T = TypeVar("T")
GONE = (
    "{} was in {} and is not there any more; no blank one is put in its place. Its operator can bring the file back;"
    " if it is lost, destroy what it belongs to"
)


@dataclass(frozen=True, slots=True)
class Admit:
    """Have this part in this pool, verified."""

    pool: PoolId
    part: ImagePart

    def __str__(self) -> str:
        return f"admit {self.part.role} {self.part.sha256[:12]}"


@dataclass(frozen=True, slots=True)
class MakeDisk:
    """Have this volume, at least as large as wished."""

    disk: DiskWish

    def __str__(self) -> str:
        return f"make {self.disk.volume}"


@dataclass(frozen=True, slots=True)
class MakeSeed:
    """Have a guest's cloud-init data on a disk beside its first volume."""

    pool: PoolId
    volume: VolumeId
    seed: Seed

    def __str__(self) -> str:
        return f"seed {self.volume}"


@dataclass(frozen=True, slots=True)
class Erase:
    """Destroy what this volume holds."""

    scrap: ScrapWish

    def __str__(self) -> str:
        return f"erase {self.scrap.volume}"


def as_it_is(_pool: PoolId) -> bool:
    """For who can't make room."""
    return False


class Disks:
    """What guests need of the pools. Keeps paths, which drivers tell only when asked to have the thing."""

    name = "storage"

    def __init__(
        self, ground: Ground, fetch: Fetch, make_room: Callable[[PoolId], bool] = as_it_is
    ) -> None:
        self._ground = ground
        self._fetch = fetch
        self._make_room = make_room  # whether there is more of it in a pool now
        self._parts: dict[tuple[PoolId, str], Path] = {}
        self._seeds: dict[VolumeId, tuple[Seed, Path]] = {}

    def observe(self) -> Sight:
        return self._ground.seen

    def plan(self, seen: Sight, /) -> Sequence[Admit | MakeDisk | MakeSeed]:
        actions: dict[Admit | MakeDisk | MakeSeed, None] = {}  # in order, each once
        for wish in seen.making:
            for action in self._lacks(wish, seen):
                actions[action] = None
        return [action for action in actions if self._ground.patience.may(_key(action))]

    def apply(self, action: Admit | MakeDisk | MakeSeed, /) -> None:
        with self._ground.patience.attempt(_key(action)):
            match action:
                case Admit(pool, part):
                    path = self._roomy(pool, lambda: self._storage(pool).admit(part, self._fetch))
                    self._parts[pool, part.sha256] = path
                    self._shelf(pool).images.add(part.sha256)
                case MakeDisk(disk):
                    shelf = self._shelf(disk.pool)
                    if disk.made and disk.volume not in shelf.volumes:
                        raise Unavailable(GONE.format(disk.volume, disk.pool))
                    if _source(disk, shelf) - shelf.images:
                        return  # its image failed in this very step; that is the reason told
                    storage = self._storage(disk.pool)
                    shelf.volumes[disk.volume] = self._roomy(
                        disk.pool,
                        lambda: (
                            storage.view(disk.volume, disk.view_of)
                            if disk.view_of
                            else storage.ensure(disk.volume, disk.bytes, disk.source)
                        ),
                    )
                case MakeSeed(pool, volume, seed):
                    path = self._storage(pool).seed(volume, seed.meta_data, seed.user_data)
                    self._seeds[volume] = (seed, path)

    def _roomy(self, pool: PoolId, work: Callable[[], T]) -> T:
        """Do it, again and again while there is no room for it and some can be made."""
        while True:
            try:
                return work()
            except NoRoom as error:
                if isinstance(error, Promised) or not self._make_room(pool):
                    raise

    def part(self, wish: GuestWish, part: ImagePart) -> Path | None:
        """Where an admitted part is, once this agent asked for it."""
        return self._parts.get((self.home(wish), part.sha256))

    def seed(self, wish: GuestWish) -> Path | None:
        """Where the guest's seed is, once it is as wished."""
        held = self._seeds.get(wish.disks[0].volume) if wish.disks else None
        return held[1] if held and held[0] == wish.seed else None

    def home(self, wish: GuestWish) -> PoolId:
        """The pool in which a guest's kernel and seed are: that of its first disk, or this host's own."""
        if wish.disks and not wish.disks[0].shared:
            return wish.disks[0].pool
        return self._ground.drivers.pools[0].pool if self._ground.drivers.pools else PoolId("")

    def forget(self, volume: VolumeId) -> None:
        """The volume is erased."""
        self._seeds.pop(volume, None)

    def _lacks(self, wish: GuestWish, seen: Sight) -> Iterator[Admit | MakeDisk | MakeSeed]:
        home = self.home(wish)
        for part in wish.parts:
            if (home, part.sha256) not in self._parts or part.sha256 not in self._images(
                seen, home
            ):
                yield Admit(home, part)
        for disk in wish.disks:
            if disk.shared:
                continue
            shelf = seen.shelves.get(disk.pool)
            volume = shelf.volumes.get(disk.volume) if shelf else None
            if (
                volume is None
                and not disk.made
                and disk.source
                and disk.source.sha256 not in self._images(seen, disk.pool)
            ):
                yield Admit(disk.pool, disk.source)
            grows = volume is not None and volume.bytes < disk.bytes and not _runs(wish, seen)
            if volume is None or (grows and disk.volume not in self._ground.busy()):
                yield MakeDisk(disk)
        if wish.seed and wish.disks and self.seed(wish) is None:
            yield MakeSeed(home, wish.disks[0].volume, wish.seed)

    def _images(self, seen: Sight, pool: PoolId) -> set[str]:
        shelf = seen.shelves.get(pool)
        return shelf.images if shelf else set()

    def _storage(self, pool: PoolId) -> Storage:
        storage = self._ground.drivers.pool(pool)
        if storage is None:
            raise NotFound(f"this host does not serve {pool or 'any pool'}")
        return storage

    def _shelf(self, pool: PoolId) -> Shelf:
        shelf = self._ground.seen.shelves.get(pool)
        if shelf is None:
            self._storage(pool)
            raise NotFound(f"{pool} can't be asked")
        return shelf


class Scraps:
    """Erases volumes."""

    name = "scraps"

    def __init__(
        self, ground: Ground, disks: Disks, shared: Callable[[], set[VolumeId]] = set
    ) -> None:
        self._ground = ground
        self._disks = disks
        self._shared = shared  # volumes of this host that others may be using
        self._done: set[VolumeId] = set()

    @property
    def scrapped(self) -> frozenset[VolumeId]:
        """Those whose erasing the driver confirmed to this agent, and that the manifest still names."""
        self._done &= self._ground.wishes.manifest.scraps.keys()
        return frozenset(self._done)

    def observe(self) -> Sight:
        return self._ground.seen

    def plan(self, seen: Sight, /) -> Sequence[Erase]:
        scraps = self._ground.wishes.manifest.scraps
        waiting = scraps.keys() - self._done
        if not waiting or (seen.guests is None and self._ground.drivers.hypervisor):
            return []
        by_guests = held_by_guests(self._ground, seen)
        if by_guests is None:
            return []
        held = by_guests | self._shared() | self._ground.busy()
        return [
            Erase(scraps[volume])
            for volume in sorted(waiting - held)
            if scraps[volume].pool in seen.shelves and self._ground.patience.may(volume)
        ]

    def apply(self, action: Erase, /) -> None:
        scrap = action.scrap
        storage = self._ground.drivers.pool(scrap.pool)
        if storage is None:
            return
        with self._ground.patience.attempt(scrap.volume):
            storage.erase(scrap.volume)
        self._done.add(scrap.volume)
        self._disks.forget(scrap.volume)
        self._ground.seen.shelves[scrap.pool].volumes.pop(scrap.volume, None)


def held_by_guests(ground: Ground, seen: Sight) -> set[VolumeId] | None:
    """Volumes that a guest may be using or is about to; None when that can't be known yet."""
    wishes = ground.wishes
    held = {
        disk.volume
        for wish in (*wishes.manifest.guests.values(), *wishes.kept.values())
        for disk in wish.disks
    }
    for machine, found in (seen.guests or {}).items():
        facts = ground.facts_of(machine)
        if (
            found.power is GuestPower.RUNNING
            and not facts.volumes
            and machine in seen.strangers
            and machine not in wishes.kept
        ):
            return None  # nothing is known of it; it will be removed first
        held.update(facts.volumes)
    return held


def serial(volume: VolumeId) -> str:
    """What a guest sees of a volume's id, and by which a hypervisor knows the disk."""
    return volume.partition("-")[2][:20]


def _runs(wish: GuestWish, seen: Sight) -> bool:
    """A running guest's volumes are open; they grow before its next start."""
    found = (seen.guests or {}).get(wish.machine)
    return found is not None and found.power is GuestPower.RUNNING


def seed_key(volume: VolumeId) -> str:
    """Under which troubles with the seed beside that volume are kept."""
    return f"seed of {volume}"


def _source(disk: DiskWish, shelf: Shelf) -> set[str]:
    if disk.source is None or disk.volume in shelf.volumes:
        return set()
    return {disk.source.sha256}


def _key(action: Admit | MakeDisk | MakeSeed) -> str:
    match action:
        case Admit(_, part):
            return part.sha256
        case MakeDisk(disk):
            return disk.volume
        case MakeSeed(_, volume, _):
            return seed_key(volume)
