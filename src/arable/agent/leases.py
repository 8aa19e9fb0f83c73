"""Keeps the leases of the guests that this host runs (docs/decisions/0007).

The agent says after each look which leases it wants and what runs (`want`); whoever owns this asks each storage host
when it is time (`due`, `step`), in a thread for each of them, so that one that does not answer keeps no other
waiting. A guest may start when `lacks` has nothing to say. Its deadline is written down before that, and every
renewal moves it on; the watchdog does the rest, whatever becomes of this process.

The reckoning is always against us: a span counts from before it was asked for, a margin is taken off, and a guest
with disks on several storage hosts may run until the first of its leases ends. What was lost has no time left at
all. A lease is let go only when its guest is seen off, after its deadline was set to the past.

While the disks of a guest that runs go to another storage host (docs/decisions/0055), a lease is had there as well, `beside`: it
gives no right to run, and its loss takes none, until the other place has handed its own over for good. Then it is the
other way round. Whoever was told nothing of that hears it from the storage host that gave them away.

A guest that stands still, because all of it is on another host already, is either handed over (`hand_over`) or kept
(`keep`), and which of the two the storage hosts say (`settled`). Until they have, `lacks` has something to say.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from arable.agent.deadlines import Deadline, Deadlines
from arable.agent.lease_line import LeaseLine
from arable.domain.errors import Unavailable
from arable.domain.ids import MachineId, PoolId, VolumeId
from arable.domain.manifest import GuestWish, SharedFrom
from arable.drivers.storage.protocol import ExportAt, export_name
from arable.runtime.boottime import BootTime
from arable.runtime.entropy import Entropy
from arable.runtime.secret import Secret
from arable.runtime.seldom import Seldom
from arable.wire.leases import MOST, Ask, Question, Said, Verb, Verdict

log = logging.getLogger(__name__)

RENEWALS = 3  # within the length of a lease
MARGIN_SECONDS = 1.0
MARGIN_SHARE = (
    0.1  # of a lease's length, if that is more: for clocks that differ, and for the watchdog to act
)
_FIRST_SECONDS, _LONGEST_SECONDS, _GROWTH = 0.2, 3.0, 1.6  # between tries
_MOST_SECONDS = 600.0  # no storage host can have a guest run on for longer without asking
_COMING_SECONDS = (
    0.1  # between looks whether a lease was handed over: a guest stands still until it is seen
)
_AT_ONCE = 16  # leases that are asked for in one question: each starts servers of disks


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A lease that is wanted: of a machine with disks at these places."""

    machine: MachineId
    epoch: int
    places: frozenset[SharedFrom]
    volume: VolumeId  # its first: where its epoch is served is told by this name to no other guest
    volumes: frozenset[VolumeId] = frozenset()  # all of them, which come and go while it runs
    beside: SharedFrom | None = None  # where all of them are to be, by the attempt `shift`
    shift: int = 0


class Settled(StrEnum):
    """What has become of a lease that was to be handed over."""

    NO = "no"  # nobody was asked yet
    ASKED = "asked"
    GONE = "gone"  # the heir has it, or at least this host has not
    KEPT = "kept"  # this host has it, and the heir never will


@dataclass(slots=True)
class _At:
    """How it stands at one place. Times are those of `BootTime`."""

    until: float = 0.0  # ours until then, margin taken off; 0: not ours as far as we know
    again: float = 0.0  # when to ask for it, or to let it go, (again)
    pause: float = _FIRST_SECONDS
    free: bool = False  # let go, and confirmed
    coming: bool = False  # its holder may hand it over to us
    passed: bool = False  # and did
    told: str = ""
    disks: dict[VolumeId, ExportAt] = field(default_factory=dict)


@dataclass(slots=True)
class _Kept:
    """One machine's lease of one epoch."""

    wanted: Wanted
    at: dict[SharedFrom, _At]
    leaving: bool = False
    lost: bool = False
    away: bool = False  # the disks are where `beside` says
    verb: Verb | None = None  # HAND_OVER or KEEP, while that is being asked
    to: int = 0  # the heir's epoch
    settled: set[SharedFrom] = field(default_factory=set)
    kept: int = 0  # the last heir that was decided against

    def counts(self, place: SharedFrom) -> bool:
        """Whether the right to run depends on this place now."""
        beside = self.wanted.beside
        return beside is None or (place == beside) == self.away

    @property
    def counting(self) -> list[_At]:
        """Where the right to run is kept."""
        return [one for place, one in self.at.items() if self.counts(place)]

    @property
    def disks(self) -> dict[VolumeId, ExportAt]:
        """Where the disks are."""
        return {volume: at for one in self.counting for volume, at in one.disks.items()}

    @property
    def lacking(self) -> bool:
        """Whether there are disks of which it is not known where they are served."""
        return not self.wanted.volumes <= self.disks.keys()

    def lacks(self, place: SharedFrom) -> bool:
        """Whether something is to be asked for there."""
        one = self.at[place]
        known = self.disks if self.counts(place) else one.disks
        return not one.until or not self.wanted.volumes <= known.keys()

    @property
    def until(self) -> float:
        """Until when the guest may run; 0 while a lease is missing."""
        if self.lost or self.leaving:
            return 0.0
        return min((one.until for one in self.counting), default=0.0)


Key = tuple[MachineId, int]
_SETTLING = frozenset({Verb.HAND_OVER, Verb.KEEP})


def wanted(wish: GuestWish) -> Wanted | None:
    """The lease that a guest needs; None for one whose disks are all this host's own."""
    shared = {disk.volume: disk.shared for disk in wish.disks if disk.shared}
    if not shared:
        return None
    return Wanted(
        machine=wish.machine,
        epoch=wish.epoch,
        places=frozenset(shared.values()),
        volume=next(iter(shared)),
        volumes=frozenset(shared),
        beside=wish.shift.target if wish.shift else None,
        shift=wish.shift.epoch if wish.shift else 0,
    )


class LeaseKeeper:
    """Leases of one host. Any number of threads; one for each place at a time."""

    def __init__(
        self,
        line: Callable[[SharedFrom], LeaseLine],
        deadlines: Deadlines,
        watched: Callable[[], bool],
        time: BootTime,
        entropy: Entropy,
        *,
        nudge: Callable[[], None] = lambda: None,
    ) -> None:
        self._line = line
        self._lines: dict[SharedFrom, LeaseLine] = {}
        self._deadlines = deadlines
        self._watched = watched
        self._time = time
        self._random = entropy.random
        self._nudge = nudge
        self._troubles = Seldom(log, time.now)
        self._lock = threading.RLock()
        self._kept: dict[Key, _Kept] = {}
        self._renew_at: dict[SharedFrom, float] = {}
        self.changed: Callable[[], None] = lambda: None
        """Called when there may be something to ask earlier than was said, or at another place."""

    def want(self, wishes: Iterable[Wanted], running: Collection[MachineId] | None) -> None:
        """These leases, and those of what runs here. `running` is None when that can't be known now."""
        with self._lock:
            now = {(one.machine, one.epoch): one for one in wishes}
            before = {key: (kept.leaving, kept.wanted) for key, kept in self._kept.items()}
            for key, kept in list(self._kept.items()):
                gone = key not in now and running is not None and key[0] not in running
                if gone and kept.lost:
                    self._forget(key)
                elif gone and not kept.leaving:
                    kept.leaving = True
                    self._write(kept)
                    for one in kept.at.values():
                        one.again = 0.0
                elif kept.leaving and key in now:
                    # Let go, perhaps; asked for again, it is ours again.
                    self._kept[key] = _fresh(kept.wanted)
                elif key in now and kept.wanted != now[key]:
                    self._other_places(kept, now[key])
                    self._other_disks(kept, now[key])
            for key in now.keys() - self._kept.keys():
                self._kept[key] = _fresh(now[key])
            if running is not None:
                self._tidy(running)
            after = {key: (kept.leaving, kept.wanted) for key, kept in self._kept.items()}
            lacking = any(kept.lacking for kept in self._kept.values())
        if before != after or lacking:
            self.changed()

    def lacks(self, machine: MachineId, epoch: int) -> str:
        """Why the guest may not start now; empty when it may."""
        with self._lock:
            kept = self._kept.get((machine, epoch))
            if kept is None:
                return "it was not asked for yet"
            if kept.lost:
                return "another host has it, or will"
            if kept.verb:
                return "it is being handed over"
            if self._time.now() >= kept.until:
                return next((one.told for one in kept.at.values() if one.told), "no answer yet")
        return "" if self._watched() else "no watchdog is running on this host"

    def lost(self, machine: MachineId, epoch: int) -> bool:
        """Whether that epoch is over for this host, as far as it knows."""
        with self._lock:
            kept = self._kept.get((machine, epoch))
            return kept is not None and kept.lost

    def coming(self, machine: MachineId, epoch: int) -> bool:
        """Whether it may be handed over to this host, or was: the disks can be told."""
        with self._lock:
            kept = self._kept.get((machine, epoch))
            return kept is not None and all(one.coming or one.until for one in kept.counting)

    def passed(self, machine: MachineId, epoch: int) -> bool:
        """Whether this host has it because the one before handed it over."""
        with self._lock:
            kept = self._kept.get((machine, epoch))
            return kept is not None and all(one.passed for one in kept.counting)

    def hand_over(self, machine: MachineId, epoch: int, to: int) -> None:
        """Ask that the heir have it. The guest stands still, and may not go on before it is `settled`."""
        self._settle(machine, epoch, to, Verb.HAND_OVER)

    def keep(self, machine: MachineId, epoch: int, to: int) -> None:
        """Ask that the heir shall never have it."""
        self._settle(machine, epoch, to, Verb.KEEP)

    def settled(self, machine: MachineId, epoch: int, to: int) -> Settled:
        """What has become of that."""
        with self._lock:
            kept = self._kept.get((machine, epoch))
            if kept is None:
                return Settled.NO
            if kept.lost or (kept.away and kept.wanted.shift == to):
                return Settled.GONE
            if kept.to == to and kept.verb:
                return Settled.ASKED
            return Settled.KEPT if kept.kept == to else Settled.NO

    def disks(self, machine: MachineId, epoch: int) -> Mapping[VolumeId, ExportAt]:
        """Where the holder finds its disks."""
        with self._lock:
            kept = self._kept.get((machine, epoch))
            return dict(kept.disks) if kept else {}

    def beside(self, machine: MachineId, epoch: int) -> Mapping[VolumeId, ExportAt]:
        """Where the copies of all disks are that are in the making elsewhere; nothing while one is missing, or not ours."""
        with self._lock:
            kept = self._kept.get((machine, epoch))
            one = kept.at.get(kept.wanted.beside) if kept and kept.wanted.beside else None
            if kept is None or one is None or self._time.now() >= one.until:
                return {}
            return dict(one.disks) if kept.wanted.volumes <= one.disks.keys() else {}

    def away(self, machine: MachineId, epoch: int) -> bool:
        """Whether its disks are at the other storage host now, and nowhere else."""
        with self._lock:
            kept = self._kept.get((machine, epoch))
            return kept is not None and kept.away and not kept.lost

    def went(self, machine: MachineId, epoch: int, shift: int) -> None:
        """The guest has its disks at the other storage host: they were given away, whoever can still say so."""
        with self._lock:
            kept = self._kept.get((machine, epoch))
            if kept and kept.wanted.shift == shift and not kept.lost and not kept.leaving:
                self._went(kept)

    def places(self) -> set[SharedFrom]:
        """Storage hosts to be asked something, now or later."""
        with self._lock:
            return {place for kept in self._kept.values() for place in kept.at}

    def due(self, place: SharedFrom) -> float:
        """When to `step` for that place."""
        with self._lock:
            moments = [one.again for kept, one in self._waiting(place)]
            if any(True for _ in self._ours(place)):
                moments.append(self._renew_at.get(place, 0.0))
            return min(moments, default=float("inf"))

    def step(self, place: SharedFrom) -> None:
        """Ask that storage host what is to be asked now."""
        now = self._time.now()
        with self._lock:
            renewals = []
            if now >= self._renew_at.get(place, 0.0):
                renewals = [_ask(Verb.RENEW, kept) for kept in self._ours(place)]
            others = [
                _ask(_verb(kept), kept) for kept, one in self._waiting(place) if now >= one.again
            ]
        sizes = ((renewals, MOST), (others, _AT_ONCE))
        for asks, most in sizes:
            for at in range(0, len(asks), most):
                self._put(place, asks[at : at + most])

    def close(self) -> None:
        """Hang up everywhere; no lease is let go."""
        for line in self._lines.values():
            line.close()

    def _other_disks(self, kept: _Kept, wanted: Wanted) -> None:
        """The machine got a disk or lost one: what is served is asked for anew, the lease is what it was."""
        kept.wanted = wanted
        for one in kept.at.values():
            for volume in one.disks.keys() - wanted.volumes:
                del one.disks[volume]
            one.again, one.pause = 0.0, _FIRST_SECONDS

    def _other_places(self, kept: _Kept, wanted: Wanted) -> None:
        """Another storage host is to have its disks, or has them, or never will. What is ours already stays so."""
        before = kept.wanted
        kept.away = kept.away and wanted.beside == before.beside and wanted.shift == before.shift
        there = kept.at
        kept.at = {place: there.get(place) or _At() for place in _places(wanted)}
        if (
            kept.verb
            and before.shift
            and (wanted.beside, wanted.shift) != (before.beside, before.shift)
        ):
            kept.verb = None  # it was decided, whatever we heard
        kept.wanted = wanted
        if kept.until:
            self._write(kept)

    def _tidy(self, running: Collection[MachineId]) -> None:
        """What an earlier agent wrote counts until its guest is gone."""
        held = self._deadlines.all()
        for name in held.keys() - {self._name(key) for key in self._kept}:
            if held[name] not in running:
                self._deadlines.drop(name)

    def _waiting(self, place: SharedFrom) -> Iterator[tuple[_Kept, _At]]:
        """What is to be asked for or let go there."""
        for (machine, epoch), kept in self._kept.items():
            one = kept.at.get(place)
            if one is None or kept.lost:
                continue
            if kept.leaving:
                if not one.free:
                    yield kept, one
            elif kept.verb:
                if place not in kept.settled:
                    yield kept, one
            elif kept.away and not kept.counts(place):
                continue
            elif kept.lacks(place) and not self._has_earlier(machine, epoch, place):
                yield kept, one

    def _ours(self, place: SharedFrom) -> Iterator[_Kept]:
        for kept in self._kept.values():
            mine = place in kept.at and kept.at[place].until and not kept.leaving and not kept.lost
            if mine and not (kept.away and not kept.counts(place)):
                yield kept

    def _has_earlier(self, machine: MachineId, epoch: int, place: SharedFrom) -> bool:
        """Whether a guest of another epoch may still be here: it goes first. A lease without one is let go first where it
        is from; a storage host that was lost, and never hears of that, keeps nobody from asking another one.
        """
        earlier = [kept for (m, old), kept in self._kept.items() if m == machine and old < epoch]
        return any(
            not kept.leaving or (place in kept.at and not kept.at[place].free) for kept in earlier
        )

    def _put(self, place: SharedFrom, asks: list[Ask]) -> None:
        line = self._lines.get(place)
        if line is None:
            line = self._lines[place] = self._line(place)
        asked = self._time.now()
        try:
            said = line.ask(Question(asks=asks)).said
            if len(said) != len(asks):
                raise Unavailable(f"{place.host} gave {len(said)} answers to {len(asks)} questions")
        except Unavailable as error:
            self._troubles.wrong(place.host, f"leases: {error.public}")
            self._failed(place, asks, error.public)
            return
        self._troubles.over(place.host)
        with self._lock:
            news = [
                self._heard(place, ask, one, asked) for ask, one in zip(asks, said, strict=True)
            ]
            if asks[0].verb is Verb.RENEW:
                spans = [one.seconds for one in said if one.verdict is Verdict.HELD]
                self._renew_at[place] = asked + self._spread(min(spans, default=0.0) / RENEWALS)
        if any(news):
            self._nudge()

    def _failed(self, place: SharedFrom, asks: list[Ask], told: str) -> None:
        with self._lock:
            now = self._time.now()
            if asks[0].verb is Verb.RENEW:
                self._renew_at[place] = now + self._spread(_LONGEST_SECONDS / 2)
                return
            for ask in asks:
                kept = self._kept.get((MachineId(ask.machine), ask.epoch))
                if kept:
                    self._later(kept.at[place], told)

    def _heard(self, place: SharedFrom, ask: Ask, said: Said, asked: float) -> bool:
        """Take in one answer; whether that is news for the agent."""
        kept = self._kept.get((MachineId(ask.machine), ask.epoch))
        if kept is None or (said.machine, said.epoch) != (ask.machine, ask.epoch):
            return False
        one = kept.at[place]
        before = _news(kept, one)
        match said.verdict:
            case Verdict.AWAY if not kept.leaving and kept.wanted.beside:
                self._went(kept)
            case _ if ask.verb in _SETTLING:
                self._heard_settling(place, kept, ask, said)
            case Verdict.COMING if not kept.leaving:
                one.coming, one.told = True, said.told
                self._take_in(place, kept, said)
                one.again = self._time.now() + _COMING_SECONDS
            case Verdict.HELD if not kept.leaving:
                pause = one.pause
                self._held(place, kept, said, asked)
                if kept.lacks(place) and ask.verb is Verb.ACQUIRE:
                    one.pause = pause
                    self._later(one, "")
            case Verdict.WAIT if one.until and ask.verb is Verb.ACQUIRE and not kept.leaving:
                self._later(
                    one, said.told, said.seconds
                )  # for a further disk; it is ours as before
            case Verdict.LOST | Verdict.REFUSED if not kept.counts(place) and not kept.leaving:
                one.until = 0.0
                self._later(one, said.told, said.seconds)
            case Verdict.LOST if not kept.leaving:
                log.error("%s: epoch %d is over: %s", ask.machine, ask.epoch, said.told)
                kept.lost = True
                self._write(kept)
            case Verdict.FREE | Verdict.LOST | Verdict.REFUSED | Verdict.AWAY if kept.leaving:
                one.free = True
                if all(other.free for other in kept.at.values()):
                    self._forget((kept.wanted.machine, kept.wanted.epoch))
            case _:
                one.until, one.coming = 0.0, False
                self._later(one, said.told, said.seconds)
        return before != _news(kept, one)

    def _went(self, kept: _Kept) -> None:
        """Its disks are elsewhere: the lease there is what counts from now on."""
        if not kept.away:
            log.info("%s: its disks are at %s now", kept.wanted.machine, kept.wanted.beside)
        kept.away, kept.verb = True, None
        self._write(kept)

    def _settle(self, machine: MachineId, epoch: int, to: int, verb: Verb) -> None:
        with self._lock:
            kept = self._kept.get((machine, epoch))
            if kept is None or kept.lost or kept.leaving or (kept.verb and kept.to == to):
                return
            kept.verb, kept.to = verb, to
            kept.settled = {place for place in kept.at if not kept.counts(place)}
            for one in kept.at.values():
                one.again, one.pause = 0.0, _FIRST_SECONDS
        self.changed()

    def _heard_settling(self, place: SharedFrom, kept: _Kept, ask: Ask, said: Said) -> None:
        """The first word of a storage host counts; what one gave away can't be kept at another."""
        one = kept.at[place]
        if (kept.verb, kept.to) != (ask.verb, ask.to):
            return
        match said.verdict:
            case Verdict.FREE if kept.verb is Verb.HAND_OVER:
                kept.settled.add(place)
            case Verdict.HELD if kept.verb is Verb.KEEP:
                kept.settled.add(place)
            case Verdict.LOST | Verdict.FREE:
                kept.settled = set(kept.at)
                kept.verb = Verb.HAND_OVER
                if kept.to == kept.wanted.shift:  # it was not given to us elsewhere
                    kept.lost, kept.verb = True, None
                    self._write(kept)
                    return
            case Verdict.REFUSED if kept.verb is Verb.HAND_OVER:
                kept.verb = Verb.KEEP
                kept.settled = {place for place in kept.at if not kept.counts(place)}
                for other in kept.at.values():
                    other.again = 0.0
            case _:
                self._later(one, said.told, said.seconds)
        if kept.settled == set(kept.at):
            if kept.verb is Verb.HAND_OVER and kept.to == kept.wanted.shift:
                self._went(kept)
            elif kept.verb is Verb.HAND_OVER:
                kept.lost = True
                self._write(kept)
            else:
                kept.kept = kept.to
            kept.verb = None

    def _held(self, place: SharedFrom, kept: _Kept, said: Said, asked: float) -> None:
        one = kept.at[place]
        seconds = min(said.seconds, _MOST_SECONDS)
        margin = max(MARGIN_SECONDS, MARGIN_SHARE * seconds)
        if not one.until:
            self._renew_at[place] = min(
                self._renew_at.get(place, float("inf")),
                asked + self._spread(seconds / RENEWALS),
            )
        one.until = max(one.until, asked + seconds - margin)
        one.told, one.pause = "", _FIRST_SECONDS
        one.coming, one.passed = False, said.passed
        self._take_in(place, kept, said)
        if kept.until:
            self._write(kept)

    def _take_in(self, place: SharedFrom, kept: _Kept, said: Said) -> None:
        for disk in said.disks:
            volume = VolumeId(disk.volume)
            if kept.wanted.volumes and volume not in kept.wanted.volumes:
                continue
            kept.at[place].disks[volume] = ExportAt(
                volume=volume,
                address=disk.address,
                port=disk.port,
                name=disk.name,
                initiator=disk.initiator,
                secret=Secret(disk.secret) if disk.secret else None,
                pool=PoolId(disk.pool) if disk.pool else None,
                host=place.host,
            )

    def _later(self, one: _At, told: str, at_most: float = _LONGEST_SECONDS) -> None:
        one.told = told
        pause = min(one.pause, at_most or _LONGEST_SECONDS)
        one.again = self._time.now() + self._spread(max(pause, _FIRST_SECONDS))
        one.pause = min(one.pause * _GROWTH, _LONGEST_SECONDS)

    def _forget(self, key: Key) -> None:
        del self._kept[key]
        self._deadlines.drop(self._name(key))

    def _write(self, kept: _Kept) -> None:
        machine, epoch = kept.wanted.machine, kept.wanted.epoch
        # Another host's process for the same machine, seen from here or not, has another epoch's disk.
        marks = (f"guest={machine}", export_name(kept.wanted.volume, epoch))
        self._deadlines.set(Deadline(machine=machine, epoch=epoch, at=kept.until, marks=marks))

    def _name(self, key: Key) -> str:
        return Deadline(machine=key[0], epoch=key[1], at=0.0).name

    def _spread(self, seconds: float) -> float:
        return seconds * self._random.uniform(0.8, 1.0)


def _fresh(one: Wanted) -> _Kept:
    return _Kept(one, {place: _At() for place in _places(one)})


def _places(one: Wanted) -> frozenset[SharedFrom]:
    return one.places | {one.beside} if one.beside else one.places


def _news(kept: _Kept, one: _At) -> tuple[object, ...]:
    """What is worth a look when it changes."""
    beside = (bool(one.until), len(one.disks)) if kept.wanted.beside else ()
    state = (kept.until > 0, kept.lost, kept.verb, kept.away, kept.kept, kept.lacking)
    return (*state, one.coming, *beside)


def _verb(kept: _Kept) -> Verb:
    """What is to be asked of a lease that is not simply ours."""
    if kept.leaving:
        return Verb.RELEASE
    return kept.verb or Verb.ACQUIRE


def _ask(verb: Verb, kept: _Kept) -> Ask:
    to = kept.to if verb in _SETTLING else kept.wanted.shift
    return Ask(verb=verb, machine=kept.wanted.machine, epoch=kept.wanted.epoch, to=to)
