"""Guests: started when what they need is there, asked to stop, removed when no longer wished for.

A guest that crashes is started again, each time in a row after a longer pause. One that shuts itself down stays
off until its wish changes (`sight.note`). One that is to be off is asked first, and after `GRACE_SECONDS` its plug
is pulled.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from arable.agent.leases import wanted
from arable.agent.ledger import NO_FACTS
from arable.agent.moves import Coming, Going, is_target
from arable.agent.network import Ports, device
from arable.agent.shifts import Shifting
from arable.agent.sight import HYPERVISOR, NETWORK, Ground, Sight, holding, satisfied
from arable.agent.storage import Disks, as_it_is, seed_key, serial
from arable.domain.errors import CloudError
from arable.domain.ids import HostId, MachineId, PoolId
from arable.domain.manifest import DiskWish, GuestWish, MoveWish, PartFormat, PartRole, Power
from arable.drivers.hypervisor.protocol import (
    Guest,
    GuestDisk,
    GuestFound,
    GuestPort,
    GuestPower,
    IscsiSource,
    NbdSource,
)
from arable.drivers.storage.protocol import ExportAt

GRACE_SECONDS = 60.0
ASKS_SECONDS = 10.0  # a guest that boots just then misses the question
STABLE_SECONDS = 120.0  # running that long, earlier crashes no longer count


@dataclass(frozen=True, slots=True)
class Start:
    """Have this guest run as wished; also tells a running one what counts from its next boot."""

    wish: GuestWish

    def __str__(self) -> str:
        return f"start {self.wish.machine} ({self.wish.generation}.{self.wish.boots})"


@dataclass(frozen=True, slots=True)
class Stop:
    """Ask a guest to shut down, or pull its plug."""

    machine: MachineId
    force: bool

    def __str__(self) -> str:
        return f"{'pull the plug of' if self.force else 'shut down'} {self.machine}"


@dataclass(frozen=True, slots=True)
class Remove:
    """Have no such guest."""

    machine: MachineId

    def __str__(self) -> str:
        return f"remove {self.machine}"


@dataclass(slots=True)
class Asked:
    """When a guest was asked to shut down."""

    first: float
    last: float = -ASKS_SECONDS


class Guests:
    """Guests of this host."""

    name = "guests"

    def __init__(
        self,
        ground: Ground,
        disks: Disks,
        ports: Ports,
        make_room: Callable[[PoolId], bool] = as_it_is,
    ) -> None:
        self._ground = ground
        self._make_room = make_room
        self._driver = ground.drivers.hypervisor
        self._disks = disks
        self._ports = ports
        self._asked: dict[MachineId, Asked] = {}
        self._crashed: set[MachineId] = set()  # and counted, and not started again yet
        self._shaky: dict[MachineId, float] = {}  # tries count; running since
        self._running = 0

    def observe(self) -> Sight:
        return self._ground.seen

    def tend(self, seen: Sight) -> None:
        """Count crashes and forget what is over: what every look tells, before anything is planned."""
        if seen.guests is None:
            return
        wished = self._ground.wishes.manifest.guests
        for machine in self._ground.facts.keys() - wished.keys() - seen.guests.keys():
            del self._ground.facts[machine]
            self._crashed.discard(machine)
            self._ground.patience.fine(machine)
        for wish in seen.making:
            found = seen.guests.get(wish.machine)
            if found and found.power is GuestPower.CRASHED and wish.machine not in self._crashed:
                self._crashed.add(wish.machine)
                self._blame(wish.machine, "the guest went away without being asked")
        for machine, known in list(self._ground.facts.items()):
            if known.tries:
                self._steady(machine, seen)
            if known.asked:
                self._changed_its_mind(machine, seen)
        for machine in [m for m in self._asked if not _running(m, seen)]:
            del self._asked[machine]
        running = sum(found.power is GuestPower.RUNNING for found in seen.guests.values())
        if running < self._running:  # there may be room now for those that found none
            for wish in seen.making:
                if wish.machine not in self._crashed:
                    self._ground.patience.hurry(wish.machine)
        self._running = running

    def plan(self, seen: Sight, /) -> Sequence[Start | Stop | Remove]:
        if seen.guests is None:
            return []
        actions: list[Start | Stop | Remove] = [
            Remove(machine)
            for machine in seen.strangers
            if machine not in self._ground.wishes.kept and self._ground.patience.may(machine)
        ]
        actions += self._stops(seen)
        actions += [
            Start(wish)
            for wish in seen.making
            if self._ground.patience.may(wish.machine) and not any(self.lacks(wish, seen))
        ]
        return actions

    def apply(self, action: Start | Stop | Remove, /) -> None:
        assert self._driver is not None, "plans nothing without a driver"
        match action:
            case Start(wish):
                found = (self._ground.seen.guests or {}).get(wish.machine)
                reboots = found is not None and found.boots < wish.boots
                if found and found.short:  # before it tries again
                    for pool in sorted({disk.pool for disk in wish.disks if not disk.shared}):
                        self._make_room(pool)
                self._hold(wish, keep=_running(wish.machine, self._ground.seen))
                try:
                    self._driver.ensure(self._guest(wish))
                except CloudError as error:
                    self._blame(wish.machine, error.public)
                    raise
                self._ground.patience.fine(wish.machine)
                self._crashed.discard(wish.machine)
                if reboots:
                    self._hold(wish, keep=False)
            case Stop(machine, force):
                self._ask(machine)
                with self._ground.patience.attempt(machine):
                    self._driver.stop(machine, force=force)
                self._asked[machine].last = self._ground.seen.now
            case Remove(machine):
                with self._ground.patience.attempt(machine):
                    self._driver.remove(machine)

    def lacks(self, wish: GuestWish, seen: Sight) -> Iterator[tuple[str, str]]:
        """What a guest still needs before it can start: the item's key, and a word for it."""
        if self._driver is None:
            yield HYPERVISOR, "a hypervisor on this host"
        running = _running(wish.machine, seen)
        for part in wish.parts:
            if self._disks.part(wish, part) is None:
                yield part.sha256, f"image part {part.role}"
        if _arrives(wish.machine, seen):
            yield wish.machine, "its memory"
        if self._held(wish, seen):
            yield wish.machine, "its disks, which go to another storage host"
        yield from self._lacks_lease(wish)
        busy = self._ground.busy()
        for disk in wish.disks:
            if disk.shared:
                continue
            shelf = seen.shelves.get(disk.pool)
            volume = shelf.volumes.get(disk.volume) if shelf else None
            if volume is None:
                if shelf and disk.source and disk.source.sha256 not in shelf.images:
                    yield disk.source.sha256, "image"
                elif shelf is None:
                    yield disk.pool, f"pool {disk.pool}"
                yield disk.volume, f"disk {disk.volume}"
            elif volume.bytes < disk.bytes and not running:
                yield disk.volume, f"disk {disk.volume}"
            elif disk.volume in busy:
                yield disk.volume, f"a snapshot of disk {disk.volume}"
        if wish.seed and self._disks.seed(wish) is None:
            if wish.disks:
                yield seed_key(wish.disks[0].volume), "cloud-init data"
            else:
                yield wish.machine, "a disk to keep cloud-init data with"
        if seen.ports is None and wish.ports:
            yield NETWORK, NETWORK
        for port in wish.ports:
            there = seen.ports.get(port.nic) if seen.ports else None
            if there is None or there != self._ports.port(port):
                yield port.nic, f"port {port.nic}"

    def want_moves(self, host: HostId) -> None:
        """Tell whoever moves guests which ones, as far as can be seen now."""
        mover, leases, seen = (
            self._ground.drivers.mover,
            self._ground.drivers.leases,
            self._ground.seen,
        )
        if mover is None or leases is None or seen.guests is None:
            return
        wishes = self._ground.wishes
        going, coming, shifting = [], [], []
        for wish in (*wishes.manifest.guests.values(), *wishes.kept.values()):
            found = seen.guests.get(wish.machine)
            if _runs_on(found) and (wish.shift or mover.shifts(wish.machine)):
                shifting.append(self._shifting(wish))
            elif is_target(wish, host) and wish.power is Power.ON:
                coming.append(self._coming(wish, found, seen))
            elif wish.move is None and wish.power is Power.ON and _arrives(wish.machine, seen):
                # Others may hear before we do that it was handed over to us: then the wish speaks of no move any more.
                here = MoveWish(source=host, target=host, epoch=wish.epoch)
                coming.append(self._coming(replace(wish, move=here), found, seen))
            elif wish.move or (found and _between(found)) or mover.seen(wish.machine):
                mine = wish.move is not None and wish.move.source == host
                move = wish.move if mine and wish.power is Power.ON else None
                disks = self._shifting(wish) if _runs_on(found) and not wish.move else None
                one = Going(machine=wish.machine, epoch=wish.epoch, move=move, disks=disks)
                going.append(one)
        mover.want(going, coming, shifting)

    def _held(self, wish: GuestWish, seen: Sight) -> bool:
        """Whether it stands still for its disks to go elsewhere, or has not gone on since."""
        mover, found = self._ground.drivers.mover, (seen.guests or {}).get(wish.machine)
        if mover is None or found is None or not found.still or not _runs_on(found):
            return False
        return wish.shift is not None or mover.shifts(wish.machine)

    def _shifting(self, wish: GuestWish) -> Shifting:
        """Where its shared disks are to be, if they go elsewhere; else where they should be now."""
        leases, shift = self._ground.drivers.leases, wish.shift
        assert leases is not None
        there = shift is not None and not leases.away(wish.machine, wish.epoch)
        places = (leases.beside if there else leases.disks)(wish.machine, wish.epoch)
        shared = [disk for disk in wish.disks if disk.shared]
        missing = [disk.volume for disk in shared if disk.volume not in places]
        disks = () if missing else tuple(self._far(wish, d, places[d.volume]) for d in shared)
        return Shifting(
            machine=wish.machine,
            epoch=wish.epoch,
            shift=shift,
            disks=tuple(disk for disk in disks if disk.is_far),
            waits=f"waits for its disk {missing[0]} there" if missing else "",
        )

    def _coming(self, wish: GuestWish, found: GuestFound | None, seen: Sight) -> Coming:
        assert wish.move is not None
        assert self._ground.drivers.leases is not None
        besides = (_lease_key(wish), wish.machine)
        waits = [what for key, what in self.lacks(wish, seen) if key not in besides]
        served = self._ground.drivers.leases.disks(wish.machine, wish.epoch)
        waits += [f"disk {d.volume}" for d in wish.disks if d.shared and d.volume not in served]
        runs = found is not None and found.power is GuestPower.RUNNING
        return Coming(
            wish=wish,
            move=wish.move,
            guest=None if waits else self._guest(wish),
            runs=runs,
            waits=f"waits for {waits[0]}" if waits else "waits for its disks",
        )

    def restless(self, seen: Sight) -> bool:
        """Whether a guest is on its way from one state to another, so that it is worth looking again soon."""
        guests = seen.guests or {}
        if any(found.stalled for found in guests.values()):
            return True
        if any(_running(wish.machine, seen) for wish in seen.making):  # its disks come and go
            return True
        return bool(self._asked) and any(_running(machine, seen) for machine in self._asked)

    def _lacks_lease(self, wish: GuestWish) -> Iterator[tuple[str, str]]:
        need, keeper = wanted(wish), self._ground.drivers.leases
        if need is None:
            return
        if keeper is None:
            yield _lease_key(wish), "a host that can have leases"
            return
        why = keeper.lacks(wish.machine, wish.epoch)
        served = keeper.disks(wish.machine, wish.epoch)
        missing = [d.volume for d in wish.disks if d.shared and d.volume not in served]
        if not why and missing:
            why = f"{missing[0]} is not served"
        if why:
            yield _lease_key(wish), f"the right to run: {why}"
        files = self._ground.drivers.files
        for pool in sorted({at.pool for at in served.values() if at.pool}):
            if lacking := files.lacks(pool) if files else f"{pool} is not mounted on this host":
                yield pool, f"its disks: {lacking}"

    def _stops(self, seen: Sight) -> Iterator[Stop]:
        for wish in seen.off:
            if not _running(wish.machine, seen) or not self._ground.patience.may(wish.machine):
                continue
            asked = self._asked.get(wish.machine)
            if wish.force or (asked and seen.now >= asked.first + GRACE_SECONDS):
                yield Stop(wish.machine, force=True)
            elif asked is None or seen.now >= asked.last + ASKS_SECONDS:
                yield Stop(wish.machine, force=False)

    def _ask(self, machine: MachineId) -> None:
        self._asked.setdefault(machine, Asked(self._ground.seen.now))
        facts = self._ground.facts_of(machine)
        if not facts.asked:
            self._ground.facts[machine] = replace(facts, asked=True)

    def _hold(self, wish: GuestWish, *, keep: bool) -> None:
        """Remember what the guest will hold; one that runs on also keeps what it was started with."""
        facts = self._ground.facts_of(wish.machine)
        held = holding(facts if keep else NO_FACTS, wish)
        self._ground.facts[wish.machine] = replace(facts, volumes=held.volumes, nics=held.nics)

    def _blame(self, machine: MachineId, told: str) -> None:
        facts = self._ground.facts_of(machine)
        self._ground.patience.failed(machine, told, facts.tries)
        self._ground.facts[machine] = replace(facts, tries=self._ground.patience.tries(machine))

    def _steady(self, machine: MachineId, seen: Sight) -> None:
        wish = self._ground.wishes.manifest.guests.get(machine)
        found = (seen.guests or {}).get(machine)
        if wish is None or wish.power is Power.OFF or not satisfied(wish, found):
            self._shaky.pop(machine, None)
            return
        self._crashed.discard(machine)
        self._ground.patience.fine(machine)  # an answer was lost: it runs all the same
        if seen.now >= self._shaky.setdefault(machine, seen.now) + STABLE_SECONDS:
            del self._shaky[machine]
            self._ground.facts[machine] = replace(self._ground.facts[machine], tries=0)

    def _changed_its_mind(self, machine: MachineId, seen: Sight) -> None:
        """One that is to run after all may still go off, because it was asked to; not for ever."""
        wish = self._ground.wishes.manifest.guests.get(machine)
        if wish and wish.power is Power.ON and _running(machine, seen):
            asked = self._asked.setdefault(machine, Asked(seen.now))
            if seen.now >= asked.first + 2 * GRACE_SECONDS:
                del self._asked[machine]
                facts = self._ground.facts_of(machine)
                self._ground.facts[machine] = replace(facts, asked=False)

    def _disk(self, wish: GuestWish, disk: DiskWish, seen: Sight) -> GuestDisk:
        if disk.shared:
            assert self._ground.drivers.leases is not None, "lacks nothing"
            at = self._ground.drivers.leases.disks(wish.machine, wish.epoch)[disk.volume]
            return self._far(wish, disk, at)
        volume = seen.shelves[disk.pool].volumes[disk.volume]
        return GuestDisk(
            path=volume.path,
            format=volume.format,
            serial=serial(disk.volume),
            bytes=disk.bytes,
            iops=disk.iops,
            bytes_per_second=disk.bytes_per_second,
            position=disk.position,
            read_only=disk.read_only or disk.view_of is not None,
        )

    def _far(self, wish: GuestWish, disk: DiskWish, at: ExportAt) -> GuestDisk:
        """A shared disk, where its storage host serves it."""
        assert disk.shared
        far = GuestDisk(
            format=PartFormat.RAW,
            serial=serial(disk.volume),
            bytes=disk.bytes,
            position=disk.position,
            read_only=disk.read_only or disk.view_of is not None,
        )
        if at.pool:
            assert self._ground.drivers.files is not None, "lacks nothing"
            return replace(
                far,
                path=self._ground.drivers.files.path(at.pool, disk.volume, wish.epoch),
                format=PartFormat.QCOW2,
                iops=disk.iops,
                bytes_per_second=disk.bytes_per_second,
            )
        if at.secret:
            unit = IscsiSource(
                address=at.address,
                port=at.port,
                target=at.name,
                initiator=at.initiator,
                secret=at.secret,
            )
            return replace(far, iscsi=unit)
        server = at.host or disk.shared.host
        export = NbdSource(address=at.address, port=at.port, name=at.name, server=server)
        return replace(far, nbd=export)

    def _guest(self, wish: GuestWish) -> Guest:
        seen = self._ground.seen
        paths = {part.role: self._disks.part(wish, part) for part in wish.parts}
        disks = [self._disk(wish, disk, seen) for disk in wish.disks]
        seed = self._disks.seed(wish)
        if seed:
            disks.append(
                GuestDisk(path=seed, format=PartFormat.RAW, serial="cidata", read_only=True)
            )
        return Guest(
            machine=wish.machine,
            generation=wish.generation,
            name=wish.name,
            boots=wish.boots,
            cpus=wish.cpus,
            cpu_mhz=wish.cpu_mhz,
            memory_mib=wish.memory_mib,
            kernel=paths.get(PartRole.KERNEL),
            initrd=paths.get(PartRole.INITRD),
            command_line=wish.command_line,
            disks=tuple(disks),
            ports=tuple(
                GuestPort(device=device(port.nic), mac=port.mac, place=port.position or at)
                for at, port in enumerate(wish.ports)
            ),
        )


def needs(wish: GuestWish) -> Iterator[str]:
    """Keys of all that can stand in the way of a guest."""
    yield wish.machine
    for part in wish.parts:
        yield part.sha256
    for disk in wish.disks:
        yield disk.volume
        yield seed_key(disk.volume)
        if disk.source:
            yield disk.source.sha256
    for port in wish.ports:
        yield port.nic


def _lease_key(wish: GuestWish) -> str:
    return f"lease of {wish.machine}"


def _between(found: GuestFound) -> bool:
    """Whether it stands still on its way from one host to another."""
    return found.still or found.power is GuestPower.ARRIVING


def _runs_on(found: GuestFound | None) -> bool:
    return found is not None and found.power is GuestPower.RUNNING


def _arrives(machine: MachineId, seen: Sight) -> bool:
    found = (seen.guests or {}).get(machine)
    return found is not None and found.power is GuestPower.ARRIVING


def _running(machine: MachineId, seen: Sight) -> bool:
    found = (seen.guests or {}).get(machine)
    return found is not None and found.power is GuestPower.RUNNING
