"""One look at the host, shared by all reconcilers of a step.

Taken once, because looking costs a round trip to every driver. What a step makes is entered here as it is made,
so that a guest can be started in the step that made its disk. A driver that can't be asked leaves None: its items
are left alone, the others are served.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import partial
from typing import TypeVar

from arable.agent.file_pools import Mounted
from arable.agent.leases import LeaseKeeper
from arable.agent.ledger import NO_FACTS, GuestFacts
from arable.agent.moves import Mover
from arable.agent.patience import Patience
from arable.agent.wishes import Wishes
from arable.domain.errors import CloudError, NoRoom
from arable.domain.ids import MachineId, NetworkId, NicId, PoolId, VolumeId
from arable.domain.manifest import ApplianceSeen, GuestWish, Power
from arable.drivers.appliance.protocol import Appliances
from arable.drivers.hypervisor.protocol import GuestFound, GuestPower, Hypervisor
from arable.drivers.network.protocol import Network, Port
from arable.drivers.storage.protocol import Promised, Storage, VolumeFound
from arable.runtime.full_disk import or_no_room

log = logging.getLogger(__name__)

T = TypeVar("T")

HYPERVISOR, NETWORK, APPLIANCES = "the hypervisor", "the network", "the appliances"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drivers:
    """What moves this host. A host without a role lacks its driver."""

    network: Network
    hypervisor: Hypervisor | None = None
    appliances: Appliances | None = None
    pools: tuple[Storage, ...] = ()
    leases: LeaseKeeper | None = None  # of machines with shared disks
    mover: Mover | None = None  # of those that go to other hosts while they run
    files: Mounted | None = None  # that are mounted on this host

    def pool(self, pool: PoolId) -> Storage | None:
        """The driver of that pool."""
        return next((storage for storage in self.pools if storage.pool == pool), None)


@dataclass(slots=True)
class Shelf:
    """What is in one pool."""

    images: set[str]
    volumes: dict[VolumeId, VolumeFound]


@dataclass(slots=True)
class Sight:
    """The host as it was seen, and the wishes sorted by what they ask for."""

    now: float
    guests: dict[MachineId, GuestFound] | None = None
    ports: dict[NicId, Port] | None = None
    appliances: dict[NetworkId, ApplianceSeen] | None = None
    shelves: dict[PoolId, Shelf] = field(default_factory=dict)
    on: list[GuestWish] = field(default_factory=list)  # to run, and not halted
    making: list[GuestWish] = field(default_factory=list)  # of those: not yet as wished
    off: list[GuestWish] = field(default_factory=list)
    strangers: list[MachineId] = field(default_factory=list)  # here, and not wished for
    replugged: bool = False  # ports were touched in this step


class Standing(Enum):
    """How a wished-for guest stands to its wish."""

    OFF = auto()  # is not to run
    HALTED = auto()  # shut itself down
    SATISFIED = auto()
    MAKING = auto()  # is to run, and does not yet as wished


def stand(wish: GuestWish, found: GuestFound | None, facts: GuestFacts) -> Standing:
    """Judge one guest."""
    if wish.power is Power.OFF:
        return Standing.OFF
    if facts.halted is not None:
        return Standing.HALTED
    return Standing.SATISFIED if satisfied(wish, found) else Standing.MAKING


Judged = tuple[GuestWish, GuestFound | None, GuestFacts, Standing]


@dataclass(slots=True)
class Ground:
    """What the reconcilers of one agent stand on. `seen` is replaced by each look; `facts` go to the ledger."""

    drivers: Drivers
    patience: Patience
    wishes: Wishes
    facts: dict[MachineId, GuestFacts]
    seen: Sight
    judged: dict[MachineId, Judged] = field(
        default_factory=dict
    )  # what was judged is not judged again
    busy: Callable[[], set[VolumeId]] = set
    """Volumes with which something is done aside: nothing else is to be done with them, nor to begin using them."""

    tight: set[PoolId] = field(default_factory=set)
    """Pools without room for something that was begun aside; it is tried again by itself, and images may go meanwhile."""

    def failed(self, key: str, error: CloudError, pool: PoolId) -> None:
        """Something that is done aside, in that pool, failed."""
        self.patience.failed(key, error.public)
        if isinstance(error, NoRoom) and not isinstance(error, Promised):
            self.tight.add(pool)

    def facts_of(self, machine: MachineId) -> GuestFacts:
        """What is known of a guest beyond what can be seen."""
        return self.facts.get(machine, NO_FACTS)


def satisfied(wish: GuestWish, found: GuestFound | None) -> bool:
    """Whether a guest that should run does, as wished."""
    return (
        found is not None
        and found.power is GuestPower.RUNNING
        and found.generation == wish.generation
        and found.boots >= wish.boots
        and not found.stalled
    )


def look(ground: Ground, now: float) -> None:
    """See what is here."""
    ground.seen = sight = Sight(now)
    drivers, patience = ground.drivers, ground.patience
    sight.ports = ask(lambda: dict(drivers.network.ports()), NETWORK, patience)
    for storage in drivers.pools:
        shelf = ask(partial(_shelf, storage), storage.pool, patience)
        if shelf:
            sight.shelves[storage.pool] = shelf
    look_at_appliances(ground)
    look_at_guests(ground)


def look_at_appliances(ground: Ground) -> None:
    """See the appliances (again)."""
    appliances = ground.drivers.appliances
    if appliances:
        ground.seen.appliances = ask(
            lambda: dict(appliances.appliances()), APPLIANCES, ground.patience
        )


def look_at_guests(ground: Ground) -> None:
    """See the guests (again), sort the wishes by what they ask for, and note in `facts` what is new."""
    sight, facts, hypervisor = ground.seen, ground.facts, ground.drivers.hypervisor
    sight.on, sight.making, sight.off, sight.strangers = [], [], [], []
    sight.guests = guests = (
        ask(lambda: dict(hypervisor.guests()), HYPERVISOR, ground.patience) if hypervisor else {}
    )
    if guests is None:
        return
    wished, judged = ground.wishes.manifest.guests, ground.judged
    lists = {
        Standing.OFF: (sight.off,),
        Standing.HALTED: (),
        Standing.SATISFIED: (sight.on,),
        Standing.MAKING: (sight.on, sight.making),
    }
    for machine, wish in wished.items():
        found = guests.get(machine)
        known = facts.get(machine, NO_FACTS)
        last = judged.get(machine)
        if last and last[0] is wish and last[1] is found and last[2] is known:
            standing = last[3]
        else:
            noted = note(wish, found, known)
            if noted is not known:
                facts[machine] = noted
            standing = stand(wish, found, noted)
            judged[machine] = (wish, found, noted, standing)
        for group in lists[standing]:
            group.append(wish)
    for machine in judged.keys() - wished.keys():
        del judged[machine]
    if guests.keys() - wished.keys():
        sight.strangers = sorted(guests.keys() - wished.keys())


def note(wish: GuestWish, found: GuestFound | None, facts: GuestFacts) -> GuestFacts:
    """What must be remembered of a guest after seeing it; the same object when nothing is new.

    A guest that ran for this wish, was not asked to stop and is off has shut itself down: it is left alone until
    the wish changes. One that never ran for it is merely not started yet.
    """
    turn = (wish.generation, wish.boots)
    held = facts
    running = found is not None and found.power is GuestPower.RUNNING
    if (
        running and facts is NO_FACTS
    ):  # the ledger was lost: suppose that it holds what its wish names
        held = holding(facts, wish)
    halted, ran, asked = facts.halted, facts.ran, facts.asked
    if halted is not None and (halted != turn or running or wish.power is Power.OFF):
        halted = None
    if running and not asked and satisfied(wish, found) and wish.power is Power.ON:
        if ran != turn:
            ran, held = turn, _as_wished(held, wish)
    elif found and found.power is GuestPower.OFF and ran == turn and wish.power is Power.ON:
        halted, ran = (None if asked else turn), None
    elif not running and ran is not None:
        ran = None
    if not running:
        asked = False
    if held is facts and (halted, ran, asked) == (facts.halted, facts.ran, facts.asked):
        return facts
    return GuestFacts(
        ran=ran,
        halted=halted,
        asked=asked,
        tries=facts.tries,
        volumes=held.volumes,
        nics=held.nics,
        left=held.left if running else (),
    )


def _as_wished(facts: GuestFacts, wish: GuestWish) -> GuestFacts:
    """It runs just as wished, so it uses the disks and ports that are wished for and no other."""
    nics = {port.nic for port in wish.ports}
    left = {*facts.left, *facts.nics} - nics
    held = holding(replace(facts, volumes=()), wish)
    return replace(held, nics=tuple(sorted(nics)), left=tuple(sorted(left)))


def holding(facts: GuestFacts, wish: GuestWish) -> GuestFacts:
    """With what this wish makes a guest hold added to what it holds."""
    return replace(
        facts,
        volumes=tuple(sorted({*facts.volumes, *(disk.volume for disk in wish.disks)})),
        nics=tuple(sorted({*facts.nics, *(port.nic for port in wish.ports)})),
    )


def ask(question: Callable[[], T], whom: str, patience: Patience) -> T | None:
    """The answer of a driver, or None when it has none now; the reason is kept."""
    try:
        with or_no_room():
            answer = question()
    except CloudError as error:
        log.warning("%s can't be asked: %s", whom, error.public)
        patience.waits(whom, f"{whom} can't be asked: {error.public}")
        return None
    if patience:
        patience.fine(whom)
    return answer


def _shelf(storage: Storage) -> Shelf:
    return Shelf(set(storage.images()), dict(storage.volumes()))
