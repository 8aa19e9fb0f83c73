"""On a storage host: who may have which machine's disks, and that the disks are there.

Who may comes first, whatever else fails: it is what cuts an old holder off. Disks are made for whoever will ask for
them; that they are served, and to whom, is between the lease service and the hosts (`agent/lease_port.py`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from arable.agent.sight import Ground, Sight
from arable.agent.storage import Admit, Disks, MakeDisk
from arable.domain.errors import BadInput, CloudError, Forbidden
from arable.domain.ids import MachineId, VolumeId
from arable.domain.manifest import DiskWish, ExportSeen, ExportState, ExportWish
from arable.drivers.storage.leases import UNKNOWN, Held, Right
from arable.drivers.storage.protocol import Shares

_STATES = {
    Held.FREE: ExportState.FREE,
    Held.TAKEN: ExportState.HELD,
    Held.ENDING: ExportState.ENDING,
}


@dataclass(frozen=True, slots=True)
class Allow:
    """Let this holder have the lease, and nobody before it."""

    wish: ExportWish

    def __str__(self) -> str:
        return f"let {self.wish.holder} have epoch {self.wish.epoch} of {self.wish.machine}"


@dataclass(frozen=True, slots=True)
class Grow:
    """Have this volume, which the machine's holder may be using, as large as wished."""

    machine: MachineId
    disk: DiskWish

    def __str__(self) -> str:
        return f"grow {self.disk.volume} of {self.machine}"


@dataclass(frozen=True, slots=True)
class Forget:
    """Let nobody have the lease who has not got it."""

    machine: MachineId

    def __str__(self) -> str:
        return f"give out {self.machine} no more"


_Action = Allow | Forget | Admit | MakeDisk | Grow


class HostExports:
    """Shared disks of this host. What was allowed can't be seen from outside, so after a restart it is said again."""

    name = "exports"

    def __init__(self, ground: Ground, disks: Disks) -> None:
        self._ground = ground
        self._disks = disks
        self._allowed: dict[MachineId, ExportWish] = {}
        self._tried: dict[MachineId, int] = {}  # epochs: a fence waits for no earlier trouble
        self._pools = tuple(pool for pool in ground.drivers.pools if isinstance(pool, Shares))

    def observe(self) -> Sight:
        return self._ground.seen

    def plan(self, seen: Sight, /) -> Sequence[_Action]:
        wished = self._ground.wishes.manifest.exports
        may = self._ground.patience.may
        actions: list[_Action] = [
            Forget(machine)
            for machine in sorted((self._allowed.keys() | self._beside()) - wished.keys())
        ]
        actions += [
            Allow(wish)
            for machine, wish in sorted(wished.items())
            if self._allowed.get(machine) != wish
            and (may(_key(machine)) or self._tried.get(machine, 0) < wish.epoch)
            and not self._handed_over(wish)
        ]
        lacking = dict.fromkeys(
            action for wish in wished.values() for action in self._lacks(wish, seen)
        )
        actions += [action for action in lacking if may(_what(action))]
        return actions

    def apply(self, action: _Action, /) -> None:
        match action:
            case Allow(wish):
                self._tried[wish.machine] = wish.epoch
                with self._ground.patience.attempt(_key(wish.machine)):
                    self._allow(wish)
                self._allowed[wish.machine] = wish
            case Forget(machine):
                for pool in self._pools:
                    pool.leases.forget(machine)
                    pool.leases.drop_beside(machine)
                self._allowed.pop(machine, None)
                self._tried.pop(machine, None)
            case Grow(machine, disk):
                self._grow(machine, disk)
            case _:
                self._disks.apply(action)

    def tell(self) -> dict[MachineId, ExportSeen]:
        """Every machine that is wished for here, and every other whose lease is not free."""
        wished = self._ground.wishes.manifest.exports
        told = {machine: self._say(machine, wish) for machine, wish in wished.items()}
        for pool in self._pools:
            for machine, record in pool.leases.records().items():
                if machine not in told and record.held is not Held.FREE:
                    told[machine] = self._say(machine, None)
        return told

    def held(self) -> set[VolumeId]:
        """Volumes that somebody may be using, or is about to."""
        found = {
            disk.volume
            for wish in self._ground.wishes.manifest.exports.values()
            for disk in wish.disks
        }
        for pool in self._pools:
            for record in pool.leases.records().values():
                if record.held is not Held.FREE:
                    found.update(record.volumes)
        return found

    def hear(self) -> None:
        """What is allowed now is what is wished now, as far as a management server knows."""
        for pool in self._pools:
            pool.leases.hear()

    def _allow(self, wish: ExportWish) -> None:
        pool = self._pool(wish)
        for disk in wish.disks:
            pool.expect(disk.volume, disk.bytes)
        refused = _masked(pool, wish)
        pool.leases.allow(
            Right(
                machine=wish.machine,
                holder=wish.holder,
                epoch=wish.epoch,
                volumes=tuple(disk.volume for disk in wish.disks if disk.volume not in refused),
                fenced=wish.fenced,
                heir=wish.heir,
                guarded=wish.guarded,
                uprooted=wish.uprooted,
                beside=wish.beside,
            )
        )
        # Last, since it asks whoever serves the disk: who is to be cut off need not answer for that.
        for disk in wish.disks:
            pool.limit(disk.volume, disk.iops, disk.bytes_per_second)
        if refused:
            raise next(iter(refused.values()))

    def _handed_over(self, wish: ExportWish) -> bool:
        """Whether what this wish is about has happened: the lease is the heir's, and nothing of it is left to do."""
        if wish.heir is None:
            return False
        records = [pool.leases.record(wish.machine) for pool in self._pools]
        if wish.heir.away:
            return any(one.away == wish.heir.epoch for one in records)
        return any((one.served, one.holder) == (wish.heir.epoch, wish.heir.host) for one in records)

    def _beside(self) -> set[MachineId]:
        """Machines that have copies in the making here: nobody's, when they are not wished for."""
        return {
            machine
            for pool in self._pools
            for machine, record in pool.leases.records().items()
            if record.beside and record.held is not Held.FREE
        }

    def _grow(self, machine: MachineId, disk: DiskWish) -> None:
        pool = next(pool for pool in self._pools if pool.pool == disk.pool)
        try:
            pool.check_room(disk.volume, disk.bytes)  # before anybody is cut off for it
        except CloudError as error:
            self._ground.patience.failed(disk.volume, error.public)
            raise
        made = MakeDisk(disk)
        pool.leases.rework(machine, disk.volume, lambda: self._disks.apply(made))

    def _lacks(self, wish: ExportWish, seen: Sight) -> Iterator[Admit | MakeDisk | Grow]:
        for disk in wish.disks:
            shelf = seen.shelves.get(disk.pool)
            if shelf is None:
                continue
            there = shelf.volumes.get(disk.volume)
            if there is None and disk.volume in self._ground.busy():
                continue  # its replica is about to be the volume
            if there is None and disk.source and disk.source.sha256 not in shelf.images:
                yield Admit(disk.pool, disk.source)
            if there is None:
                yield MakeDisk(disk)
            elif there.bytes < disk.bytes and disk.volume not in self._ground.busy():
                holder = self._leased_by(disk.volume)
                if holder is None:
                    yield MakeDisk(disk)
                elif holder != wish.machine or wish.heir:  # an heir has seen its size
                    continue
                elif not any(pool.by_mount for pool in self._pools if pool.pool == disk.pool):
                    yield Grow(wish.machine, disk)

    def _leased_by(self, volume: VolumeId) -> MachineId | None:
        """The machine by whose lease it may be open now."""
        for pool in self._pools:
            for machine, record in pool.leases.records().items():
                if record.held is not Held.FREE and volume in record.volumes:
                    return machine
        return None

    def _say(self, machine: MachineId, wish: ExportWish | None) -> ExportSeen:
        records = [pool.leases.record(machine) for pool in self._pools]
        record = max(records, key=lambda one: one.served, default=None)
        trouble = self._ground.patience.of(_key(machine))
        if not trouble and wish:
            keys = (_what(action) for action in self._lacks(wish, self._ground.seen))
            trouble = next(
                (found for key in keys if (found := self._ground.patience.of(key))), None
            )
        state = _STATES[record.held] if record else ExportState.FREE
        if trouble and trouble.tries and state is ExportState.FREE:
            state = ExportState.FAILED
        return ExportSeen(
            machine=machine,
            generation=wish.generation if wish and self._in_force(wish) else 0,
            state=state,
            epoch=record.served if record else 0,
            holder=record.holder if record else None,
            told=trouble.told if trouble else "",
            highest=record.epoch if record and record.epoch < UNKNOWN else 0,
            lapsed=any(pool.leases.lapsed(machine) for pool in self._pools),
            beside=wish.beside if wish else bool(record and record.beside),
            away=record.away if record else 0,
        )

    def _in_force(self, wish: ExportWish) -> bool:
        return self._allowed.get(wish.machine) == wish or self._handed_over(wish)

    def _pool(self, wish: ExportWish) -> Shares:
        """All its disks here are in one pool. Raises `BadInput`."""
        pools = {disk.pool for disk in wish.disks}
        found = [pool for pool in self._pools if {pool.pool} == pools]
        if not found:
            raise BadInput(f"the disks of {wish.machine} are not in one shared pool of this host")
        return found[0]


def _masked(pool: Shares, wish: ExportWish) -> dict[VolumeId, CloudError]:
    """Disks that its machine does not get, whatever is wished, and why: they are not in its storage zone.

    Who is to be cut off is cut off all the same.
    """
    refused: dict[VolumeId, CloudError] = {}
    for disk in wish.disks:
        try:
            if disk.storage_zone != wish.storage_zone:
                raise Forbidden(f"{disk.volume} is in another storage zone than {wish.machine}")
            for volume in (disk.view_of, disk.volume):
                if volume:
                    pool.mask(volume, disk.storage_zone, disk.zoned)
        except CloudError as error:
            refused[disk.volume] = error
    return refused


def _key(machine: MachineId) -> str:
    """Under which troubles with a lease are kept; the guest itself may be on this host, too."""
    return f"lease of {machine}"


def _what(action: Admit | MakeDisk | Grow) -> str:
    return action.part.sha256 if isinstance(action, Admit) else action.disk.volume
