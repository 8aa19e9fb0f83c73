"""Guests of this host that go to another one, or come from it, while they run (docs/decisions/0008).

The agent says after each look which moves are wished for (`want`); whoever owns this calls `step` when it is time
(`due`): more often than the agent looks around, since a guest stands still at the end. Look, decide, act, and nothing
kept in between but what is told: where a guest's memory is, is asked of the hypervisor; whose it is, of the leases.

The source begins when it is told where to, and does not try a second time. When all is over and the guest stands
still, it has the lease handed over; only if the storage hosts refuse that for good may the guest go on here. The target
lets its copy run if the lease was handed over to it and the copy is complete. If it has the lease in any other way,
the copy is worthless, however complete it looks: the guest may have run on elsewhere. It is thrown away, and the agent
starts the guest anew.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from arable.agent.leases import LeaseKeeper, Settled
from arable.agent.shifts import Shifting, Shifts
from arable.domain.errors import CloudError
from arable.domain.ids import HostId, MachineId
from arable.domain.manifest import GuestWish, MovePhase, MoveSeen, MoveWish
from arable.drivers.hypervisor.protocol import (
    Guest,
    Hypervisor,
    Journey,
    Mirrors,
    Moves,
    Passage,
    PassageState,
)
from arable.runtime.clock import Clock

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.05  # between looks at guests under way
CALM_SECONDS = 0.25  # between looks at others
AGAIN_SECONDS = 1.0  # after something that did not work
TELL_SECONDS = 5.0  # between two reports of how far memory is

_PHASES = {
    PassageState.WAITING: MovePhase.MOVING,
    PassageState.MOVING: MovePhase.MOVING,
    PassageState.COMPLETE: MovePhase.SWITCHING,
    PassageState.FAILED: MovePhase.FAILED,
}
_CALM = frozenset({MovePhase.PREPARING, MovePhase.DONE, MovePhase.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Going:
    """A guest that is here, and is to leave; or without a `move` one that was about to, and is to stay."""

    machine: MachineId
    epoch: int
    move: MoveWish | None
    disks: Shifting | None = None  # if it runs; an agent before us may have had them go elsewhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Coming:
    """A guest that is to be received, or run if it was; `guest` when all it needs here is there."""

    wish: GuestWish
    move: MoveWish
    guest: Guest | None
    runs: bool
    waits: str  # for what, if there is no guest


class Mover:
    """Moves of one host. Any thread may call `want` and `seen`; one at a time calls `step`."""

    def __init__(
        self,
        hypervisor: Hypervisor,
        moves: Moves,
        leases: LeaseKeeper,
        clock: Clock,
        nudge: Callable[[], None] = lambda: None,
    ) -> None:
        self._hypervisor = hypervisor
        self._moves = moves
        self._leases = leases
        self._clock = clock
        self._nudge = nudge
        mirrors = hypervisor if isinstance(hypervisor, Mirrors) else None
        self._shifts = Shifts(hypervisor, mirrors, leases) if mirrors else None
        self._lock = threading.Lock()
        self._wanted: tuple[Going | Coming | Shifting, ...] = ()
        self._seen: dict[MachineId, MoveSeen] = {}
        self._told_at: dict[MachineId, float] = {}
        self._again: dict[MachineId, float] = {}
        self._looked = float("-inf")
        self._arrived: dict[MachineId, int] = {}
        self.changed: Callable[[], None] = lambda: None
        """Called when there may be something to do earlier than was said."""

    def want(
        self,
        going: Iterable[Going],
        coming: Iterable[Coming],
        shifting: Iterable[Shifting] = (),
    ) -> None:
        """These are all."""
        with self._lock:
            known = {_machine(one): one for one in self._wanted}
            wanted: tuple[Going | Coming | Shifting, ...] = (
                *going,
                *(_remembered(one, known) for one in coming),
                *(shifting if self._shifts else ()),
            )
            news = wanted != self._wanted
            self._wanted = wanted
            if news:
                self._again.clear()
            machines = {_machine(one) for one in wanted}
            if self._shifts:
                self._shifts.only({_machine(o) for o in wanted if isinstance(o, Shifting)})
            for kept in (self._seen, self._told_at, self._again, self._arrived):
                for machine in kept.keys() - machines:
                    del kept[machine]
        if news:
            self.changed()

    def seen(self, machine: MachineId) -> MoveSeen | None:
        """How that guest's move stands, for the report."""
        with self._lock:
            return self._seen.get(machine)

    def shifts(self, machine: MachineId) -> bool:
        """Whether its disks may be on their way, as far as is known here."""
        return self._shifts is not None and self._shifts.begun(machine)

    def due(self) -> float:
        """When to `step`, in monotonic time."""
        with self._lock:
            if not self._wanted:
                return float("inf")
            soon = self._looked + LOOK_SECONDS
            return min(max(soon, self._again.get(_machine(one), 0.0)) for one in self._wanted)

    def step(self) -> None:
        """Look at each, and do what is to be done next."""
        with self._lock:
            wanted = self._wanted
            self._looked = now = self._clock.monotonic()
            ready = [one for one in wanted if self._again.get(_machine(one), 0.0) <= now]
            for one in ready:
                self._again.pop(_machine(one), None)
        for one in ready:
            machine = _machine(one)
            try:
                seen = self._step(one)
            except CloudError as error:
                log.warning("moves: %s: %s %s", machine, error.public, error.detail)
                with self._lock:
                    self._again[machine] = self._clock.monotonic() + AGAIN_SECONDS
                    before = self._seen.get(machine)
                wish = one.shift if isinstance(one, Shifting) else one.move
                if wish is None:
                    continue
                known = before or MoveSeen(epoch=wish.epoch, phase=MovePhase.PREPARING)
                seen = replace(known, told=error.public)
            self._tell(machine, seen)
            if seen is None or seen.phase in _CALM:
                with self._lock:
                    self._again.setdefault(machine, self._clock.monotonic() + CALM_SECONDS)

    def _step(self, one: Going | Coming | Shifting) -> MoveSeen | None:
        if isinstance(one, Shifting):
            assert self._shifts is not None, "wanted by none without"
            return self._shifts.step(one)
        return self._depart(one) if isinstance(one, Going) else self._arrive(one)

    def _depart(self, one: Going) -> MoveSeen | None:
        """A guest that is here, or was."""
        machine, move = one.machine, one.move
        passage = self._moves.passage(machine)
        if (
            move is None
            and one.disks
            and self._shifts
            and self._shifts.ends(one.disks, moved=passage is not None)
        ):
            return None
        if passage and passage.arriving:
            log.info("moves: the copy of %s that was received is not wanted any more", machine)
            self._hypervisor.remove(machine)
            passage = None
        if self._leases.lost(machine, one.epoch):
            if passage:
                self._hypervisor.remove(machine)
            return _over(move, passage) if move else None
        wanted = move is not None and passage is not None and passage.epoch == move.epoch
        if passage and passage.state is PassageState.COMPLETE:
            self._settle(one, passage, hand_over=wanted)
        elif (
            passage
            and passage.state is PassageState.MOVING
            and (not wanted or (move and passage.seconds > move.seconds))
        ):
            log.info("moves: %s is called off after %.1f s", machine, passage.seconds)
            self._moves.go_on(machine)
        elif passage and passage.state is PassageState.FAILED and passage.still:
            log.info("moves: %s goes on here: %s", machine, passage.told)
            self._moves.go_on(machine)
        if move is None:
            return None
        if passage and wanted:
            return _seen(move, passage)
        told = "waits to be told where to"
        if move.address:
            told = self._leases.lacks(machine, one.epoch)
            if not told and not (passage and _unsettled(passage)):
                log.info("moves: %s sets out for %s at %s", machine, move.target, move.address)
                self._moves.send(machine, _journey(move))
        return MoveSeen(epoch=move.epoch, phase=MovePhase.PREPARING, told=told)

    def _settle(self, one: Going, passage: Passage, *, hand_over: bool) -> None:
        """It stands still, and all of it is elsewhere. What is asked first counts, and is asked until answered."""
        match self._leases.settled(one.machine, one.epoch, passage.epoch):
            case Settled.NO if hand_over:
                self._leases.hand_over(one.machine, one.epoch, passage.epoch)
            case Settled.NO:
                self._leases.keep(one.machine, one.epoch, passage.epoch)
            case Settled.KEPT if not self._leases.lacks(one.machine, one.epoch):
                log.info("moves: %s goes on here", one.machine)
                self._moves.go_on(one.machine)
            case _:
                pass

    def _arrive(self, one: Coming) -> MoveSeen:
        """A guest that is to be here."""
        machine, move = one.wish.machine, one.move
        passage = self._moves.passage(machine)
        if passage and not passage.arriving:
            passage = None
        if passage is None and one.runs:
            if one.guest and self._arrived.get(machine) != move.epoch:
                self._moves.arrive(one.guest)  # we may have been stopped in the middle of it
                self._arrived[machine] = move.epoch
            return MoveSeen(epoch=move.epoch, phase=MovePhase.DONE)
        held = not self._leases.lacks(machine, move.epoch)
        passed = held and self._leases.passed(machine, move.epoch)
        if passage and self._is_worthless(passage, move, held=held, passed=passed):
            log.info("moves: the copy of %s that was received is thrown away", machine)
            self._hypervisor.remove(machine)
            passage = None
        if passage and passed and one.guest:
            log.info("moves: %s was handed over and runs here", machine)
            self._moves.arrive(one.guest)
            self._arrived[machine] = move.epoch
            self._nudge()
            return MoveSeen(epoch=move.epoch, phase=MovePhase.DONE)
        address, told = "", one.waits
        if passage:
            address = passage.address
        elif one.guest and not held and self._leases.coming(machine, move.epoch):
            address = self._moves.receive(one.guest, move.epoch, move.source)
            log.info("moves: %s is awaited from %s at %s", machine, move.source, address)
        state = passage.state if passage else PassageState.WAITING
        if not address and state is PassageState.WAITING:
            return MoveSeen(epoch=move.epoch, phase=MovePhase.PREPARING, told=told)
        phase = MovePhase.READY if state is PassageState.WAITING else _PHASES[state]
        return MoveSeen(epoch=move.epoch, phase=phase, address=address)

    def _is_worthless(self, passage: Passage, move: MoveWish, *, held: bool, passed: bool) -> bool:
        """Whether what is received can never run."""
        if passage.epoch != move.epoch or passage.state is PassageState.FAILED:
            return True
        if self._leases.lost(passage.machine, move.epoch):
            return True
        return held and (not passed or passage.state is not PassageState.COMPLETE)

    def _tell(self, machine: MachineId, seen: MoveSeen | None) -> None:
        """Counters alone are news only now and then."""
        with self._lock:
            now, before = self._clock.monotonic(), self._seen.get(machine)
            if machine not in {_machine(one) for one in self._wanted}:
                return
            if seen is None:
                news = self._seen.pop(machine, None) is not None
            else:
                news = before is None or _coarse(before) != _coarse(seen)
                if news or (before != seen and now >= self._told_at[machine] + TELL_SECONDS):
                    self._seen[machine], self._told_at[machine] = seen, now
        if news:
            self._nudge()


def _machine(one: Going | Coming | Shifting) -> MachineId:
    return one.wish.machine if isinstance(one, Coming) else one.machine


def _remembered(one: Coming, known: Mapping[MachineId, Going | Coming | Shifting]) -> Coming:
    """What was there for the guest once need not be seen at the moment it is to run."""
    before = known.get(one.wish.machine)
    if one.guest is None and isinstance(before, Coming) and before.wish == one.wish:
        return replace(one, guest=before.guest)
    return one


def _unsettled(passage: Passage) -> bool:
    """Whether an earlier attempt is not over yet."""
    return passage.state in (PassageState.MOVING, PassageState.COMPLETE)


def _journey(move: MoveWish) -> Journey:
    return Journey(
        epoch=move.epoch,
        target=move.target,
        address=move.address,
        bytes_per_second=move.bytes_per_second,
        downtime_ms=move.downtime_ms,
    )


def _seen(move: MoveWish, passage: Passage) -> MoveSeen:
    return MoveSeen(
        epoch=move.epoch,
        phase=_PHASES[passage.state],
        address=move.address,
        sent_bytes=passage.sent_bytes,
        left_bytes=passage.left_bytes,
        dirty_bytes_per_second=passage.dirty_bytes_per_second,
        downtime_ms=passage.downtime_ms,
        told=passage.told,
    )


def _over(move: MoveWish, passage: Passage | None) -> MoveSeen:
    if passage:
        return replace(_seen(move, passage), phase=MovePhase.DONE, told="")
    return MoveSeen(epoch=move.epoch, phase=MovePhase.DONE, address=move.address)


def _coarse(seen: MoveSeen) -> MoveSeen:
    return replace(seen, sent_bytes=0, left_bytes=0, dirty_bytes_per_second=0, downtime_ms=0)


def is_target(wish: GuestWish, host: HostId) -> bool:
    """Whether the guest is to come here while it runs."""
    return wish.move is not None and wish.move.target == host and wish.epoch == wish.move.epoch
