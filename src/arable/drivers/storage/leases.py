"""The right to run a machine, kept where its disks are (rule 1).

One lease for a machine on each storage host that has disks of it, not one for each disk: all its disks change hands
in one step or not at all, a fence is one act, and who renews says one word for each machine. A lease has a holder (a
host), an epoch, and a length. It is the holder's until `length` seconds after its last renewal; a host counts from
when it *asked*, so its own reckoning always ends before ours.

What keeps two hosts from writing is not the time but the *cut*: before another epoch is let in, every process that
served an earlier one is gone (`Exports.cut`). What keeps them from running at once is the time: the next epoch also
waits until the last one's time is over, unless its holder let go of it, or is known to be without power.

Durable is who had which epoch last, and whether that was let go; never when it ends, since no clock outlives its
machine. Whoever opens this store gives each lease that was not let go its whole length again: an agent's or a
machine's restart makes promises longer, never shorter. So renewals write nothing, and a dead agent's successor only
has to wait. Records go forward in steps, each on the disk before the next is begun:

    taken(1) -- revoked --> ending(1) -- cut, waited out --> free(1) -- acquired --> taken(2)
    taken(1) -- handed over by its holder --> taken(2), passed

The second line is a live migration (docs/decisions/0008). A holder whose guest stands still, and whose memory is
complete on another host, hands its lease over to the heir that is wished for, or decides to keep it. The record says
which of the two came first; the other one is refused from then on.

What a machine has replicas of (docs/decisions/0051) may have been given to another storage host while this one was without power.
So its lease is `guarded`: when nothing here serves its disks any more as this store is opened, it is neither given nor
renewed before this host has heard what is wished now (`hear`). And where such disks come to, the machine's next epoch
waits for as long as the earlier storage host may have let it run (`uprooted`).

Disks also go to another storage host while their machine runs (docs/decisions/0055). There the holder has a lease `beside` this
one, which is no right to run; here it hands the lease over to nobody: the record is `away`, by that attempt, and as
long as an old copy of a disk is here nobody gets a lease of it again.

An epoch that was seen is kept for good, also of machines that have no disks here any more: a few bytes for each.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from arable.domain.errors import CloudError, Conflict, Forbidden, Stale, Unavailable
from arable.domain.ids import HostId, MachineId, VolumeId
from arable.domain.manifest import Heir
from arable.drivers.storage.turns import Turns
from arable.runtime.boottime import BootTime

UNKNOWN = 1 << 62
"""The epoch of a record that was damaged: no lease of that machine is given again until somebody looked into it."""


class Held(StrEnum):
    """How a lease stands."""

    FREE = "free"
    TAKEN = "taken"
    ENDING = "ending"  # to be renewed no more; what served it is cut, or about to be


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is kept of a machine. `epoch` is the highest that was ever seen, `served` the highest that was given.

    `length` is how long the holder of `served` may run after its last renewal, in seconds. It was `passed` if the
    holder before handed it over. `kept` is the highest epoch of an heir that a holder decided against. `away` is the
    attempt by which the disks went to another storage host; what is `beside` is a copy in the making.
    """

    machine: MachineId
    epoch: int = 0
    served: int = 0
    holder: HostId | None = None
    volumes: tuple[VolumeId, ...] = ()
    length: float = 0.0
    held: Held = Held.FREE
    passed: bool = False
    kept: int = 0
    guarded: bool = False
    away: int = 0
    beside: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """Who may have the lease of a machine, as its operator wishes it (`ExportWish`).

    `fenced` is known to be without power: if it had the lease before, its time is not waited for. With `uprooted`, an epoch,
    another storage host may have let it run by an earlier one.
    """

    machine: MachineId
    holder: HostId
    epoch: int
    volumes: tuple[VolumeId, ...]
    fenced: HostId | None = None
    heir: Heir | None = None
    guarded: bool = False
    uprooted: int = 0
    beside: bool = False


class Records(Protocol):
    """Where records are kept."""

    def load(self) -> Mapping[MachineId, Record]:
        """All of them. One that can't be read is told with the epoch `UNKNOWN`: its machine may run anywhere."""

    def save(self, record: Record) -> None:
        """It is durable when this returns; what was there before it, until then."""


class Exports(Protocol):
    """What lets hosts reach disks."""

    def has(self, volume: VolumeId) -> bool:
        """Whether the volume is there to be served, and as large as it should be."""

    def open(self, epoch: int, holder: HostId, volumes: Iterable[VolumeId]) -> None:
        """These are served to that host, and to no other; already so is fine. Raises `Unavailable`."""

    def cut(self, volumes: Iterable[VolumeId]) -> None:
        """Nobody can write to these when this returns, whoever could before. Raises `Unavailable`: then somebody may."""

    def alive(self, volumes: Iterable[VolumeId]) -> bool:
        """Whether each of these is being served by something that was not ended since."""

    def stand_in(self, epoch: int, heir: HostId, volumes: Iterable[VolumeId]) -> None:
        """Where that epoch will be served, its holder finds disks of the same size, with nothing in them, already.

        A hypervisor that waits for a guest's memory wants to have opened its disks. `open` of that epoch, and `cut`,
        end them. Who has the real ones does not notice. Raises `Unavailable`.
        """

    def stand_down(self, volumes: Iterable[VolumeId]) -> None:
        """No such disks; none at all is fine, and costs nothing."""


class Coming(Conflict):
    """Its holder may hand it over to the asker, and has not done so. Disks to wait with are served."""


class Away(Conflict):
    """Its disks went to another storage host by the attempt `to`: what is here is old."""

    def __init__(self, public: str, to: int) -> None:
        super().__init__(public)
        self.to = to


class Lapsed(Conflict):
    """Its time was over, and it was taken back. Nobody had it since; who had it may ask for it anew."""


class TooEarly(Conflict):
    """Another host may still run the machine; `seconds` says for how long at most."""

    def __init__(self, public: str, seconds: float) -> None:
        super().__init__(public)
        self.seconds = seconds


class Leases:
    """All leases of one storage host. Any number of threads; one machine's slow disks keep no other one waiting."""

    def __init__(self, records: Records, exports: Exports, time: BootTime, length: float) -> None:
        self._store = records
        self._exports = exports
        self._time = time
        self.length = length
        self.changed: Callable[[], None] = lambda: None
        """Called, in any thread, after a lease was given, ended or became free."""
        self._turns = Turns()
        self._guard = (
            threading.Lock()
        )  # of whose disk is whose, held for no longer than a record takes
        self._records = dict(records.load())
        self._rights: dict[MachineId, Right] = {}
        self._unsaved: dict[MachineId, Record] = {}
        self._lapsed: set[MachineId] = set()  # as was told last
        now = time.now()
        self._until = {
            record.machine: now + record.length
            for record in self._records.values()
            if record.held is not Held.FREE
        }
        self._heard = False
        self._living = {
            record.machine
            for record in self._records.values()
            if record.guarded and record.held is Held.TAKEN and exports.alive(record.volumes)
        }

    def hear(self) -> None:
        """What is allowed now is what is wished now. Guarded leases that nobody is to have any more are over."""
        if self._heard:
            return
        for machine, record in self.records().items():
            if record.guarded and machine not in self._living and machine not in self._rights:
                with self._turn_of(machine):
                    known = self.record(machine)
                    if known.held is Held.TAKEN:
                        self._end(known, fenced=False)
        self._heard = True
        self.changed()

    def _withheld(self, machine: MachineId) -> bool:
        if self._heard or machine in self._living:
            return False
        right = self._rights.get(machine)
        return self.record(machine).guarded or (right is not None and right.guarded)

    def _check_heard(self, machine: MachineId) -> None:
        if self._withheld(machine):
            raise Unavailable(f"whether {machine} has its disks here is not known yet")

    def record(self, machine: MachineId) -> Record:
        """What is known of a machine's lease."""
        return self._records.get(machine) or Record(machine=machine)

    def records(self) -> dict[MachineId, Record]:
        """All of them."""
        with self._guard:
            return dict(self._records)

    def waits(self, machine: MachineId) -> float:
        """Seconds until nobody can be running the machine by an earlier lease; 0 for already."""
        if self.record(machine).held is Held.FREE:
            return 0.0
        return max(0.0, self._until[machine] - self._time.now())

    def lapsed(self, machine: MachineId) -> bool:
        """Whether a lease was not renewed in its time by its holder, who still may: nobody can be running the machine."""
        return self.record(machine).held is Held.TAKEN and not self.waits(machine)

    def allow(self, right: Right) -> None:
        """From now on this is who may have the lease; every earlier epoch is over, and cut off. May be repeated.

        Raises `Stale` for an epoch below one that was seen, or another holder of the same epoch, and `Unavailable`
        when the cut failed: then the lease is renewed no more all the same.
        """
        with self._turn_of(right.machine):
            known = self.record(right.machine)
            before = self._rights.get(right.machine)
            _check_here(known)
            if right.epoch < known.epoch:
                told = f"epoch {right.epoch} of {right.machine} is over: {known.epoch} was seen"
                raise Stale(told)
            holder = known.holder if known.served == right.epoch else None
            if before and before.epoch == right.epoch:
                holder = before.holder
            if holder and holder != right.holder:
                raise Stale(f"epoch {right.epoch} of {right.machine} belongs to {holder}")
            if right.epoch > known.epoch:
                known = self._seen(known, right)
            self._rights[right.machine] = right
            known = self._without(known, right)
            if known.held is Held.TAKEN and known.guarded != right.guarded:
                known = self._keep(replace(known, guarded=right.guarded))
            if known.held is not Held.FREE and known.beside != right.beside:
                known = self._keep(replace(known, beside=right.beside))
            if known.held is Held.ENDING:
                self._end(known, fenced=bool(known.holder) and known.holder == right.fenced)
            if right.heir is None or (before and before.heir != right.heir):
                self._exports.stand_down(right.volumes)

    def _seen(self, known: Record, right: Right) -> Record:
        """A later epoch was seen. Of disks that came from another storage host it is not known who runs the machine."""
        held = Held.ENDING if known.held is Held.TAKEN else known.held
        after = replace(known, epoch=right.epoch, held=held)
        if right.uprooted > known.epoch and right.fenced is None and held is Held.FREE:
            after = replace(after, held=Held.ENDING, holder=None, length=self.length, volumes=())
            self._until[right.machine] = self._time.now() + self.length
        return self._keep(after)

    def forget(self, machine: MachineId) -> None:
        """Nobody may have the lease any more who has not got it."""
        with self._turn_of(machine):
            self._rights.pop(machine, None)

    def acquire(self, machine: MachineId, holder: HostId, epoch: int) -> float:
        """The lease is this host's for so many seconds, and its disks are served to it. Asked again, it is renewed.

        Raises `Forbidden` for one who may not have it, `Stale` for an epoch that is over, `TooEarly` while another
        may run the machine, `Coming` for an heir, `Unavailable` when the disks can't be served now.
        """
        with self._turn_of(machine):
            self._check_heard(machine)
            _check_here(self.record(machine))
            return self._have(self.record(machine), holder, epoch)

    def renew(self, machine: MachineId, holder: HostId, epoch: int) -> float:
        """The lease is this host's for so many seconds more. Whether its disks can be reached is another matter.

        Raises `Lapsed` when it was taken back, `Stale` when it is not this host's any more, `Unavailable` for not yet.
        """
        self._check_heard(machine)
        with self._guard:  # who has it has it longer, whatever is being done with its disks
            known = self.record(machine)
            his = (known.holder, known.served, known.epoch) == (holder, epoch, epoch)
            rests = known.length == self.length and machine not in self._unsaved
            if his and rests and known.held is Held.TAKEN:
                return self._longer(machine)
        with self._turn_of(machine):
            _check_here(self.record(machine))
            known = self._last_of(machine, holder, epoch)
            if known.held is not Held.TAKEN:
                raise Lapsed(f"epoch {epoch} of {machine} was not renewed in its time")
            if known.length != self.length:
                self._keep(replace(known, length=self.length))
            return self._longer(machine)

    def hand_over(self, machine: MachineId, holder: HostId, epoch: int, to: int) -> None:
        """The lease is the heir's, of epoch `to`, and was never anybody else's in between. Already so is fine.

        The holder's guest stands still and must not run again. Raises `Forbidden` when there is no such heir (any
        more) or the lease was taken back, `Stale` when it is not this host's, `Unavailable` when one should ask again.
        """
        with self._turn_of(machine):
            self._check_heard(machine)
            known = self.record(machine)
            if (known.away and known.away == to) or (known.passed and known.served == to):
                return
            _check_here(known)
            known = self._last_of(machine, holder, epoch)
            if known.held is not Held.TAKEN:
                raise Forbidden(f"epoch {epoch} of {machine} was not renewed in its time")
            right = self._rights.get(machine)
            if right is None:
                raise Unavailable(f"who may have {machine} is not known yet")
            heir = right.heir
            if right.epoch != epoch or heir is None or heir.epoch != to or to <= known.kept:
                raise Forbidden(f"{machine} has no heir of epoch {to}")
            self._exports.cut(known.volumes)
            if heir.away:
                self._unsaved[machine] = replace(known, held=Held.FREE, away=to, passed=False)
                self._certain(machine)
                return
            passed = replace(
                known,
                epoch=to,
                served=to,
                holder=heir.host,
                length=self.length,
                passed=True,
            )
            self._until[machine] = self._time.now() + self.length
            self._unsaved[machine] = passed
            self._certain(machine)
            with suppress(CloudError):  # whoever comes for it has it done again
                self._exports.open(to, heir.host, known.volumes)

    def keep(self, machine: MachineId, holder: HostId, epoch: int, to: int) -> float:
        """The lease stays this host's, which will never hand it over to epoch `to`, nor could it.

        Its guest may go on then. Raises `Stale` when it is not this host's (any more), and what `acquire` does.
        """
        with self._turn_of(machine):
            self._check_heard(machine)
            _check_here(self.record(machine))
            known = self._last_of(machine, holder, epoch)
            if to > known.kept:
                known = self._keep(replace(known, kept=to))
            return self._have(known, holder, epoch)

    def release(self, machine: MachineId, holder: HostId, epoch: int) -> None:
        """The host runs the machine no more, and its disks are served to it no more. Already so is fine."""
        with self._turn_of(machine):
            known = self.record(machine)
            if (known.holder, known.served) != (holder, epoch):
                return  # whoever has it now is another one
            if known.held is not Held.FREE:
                self._end(known, fenced=True)

    def drop_beside(self, machine: MachineId) -> None:
        """A copy in the making is nobody's: it was never a right to run, so no time is waited for. Anything else is left."""
        with self._turn_of(machine):
            self._rights.pop(machine, None)
            known = self.record(machine)
            if known.beside and known.held is not Held.FREE:
                self._exports.cut(known.volumes)
                self._keep(replace(known, held=Held.FREE, beside=False))

    def erased(self, volume: VolumeId) -> None:
        """Nothing of it is here any more. Who was told that its disks went elsewhere may have others here one day."""
        for machine, record in self.records().items():
            if record.away and volume in record.volumes:
                with self._turn_of(machine):
                    known = self.record(machine)
                    left = tuple(each for each in known.volumes if each != volume)
                    away = known.away if left else 0
                    self._keep(
                        replace(known, volumes=left, away=away, kept=max(known.kept, known.away))
                    )

    def rework(self, machine: MachineId, volume: VolumeId, work: Callable[[], None]) -> None:
        """Do something to a volume that needs it for itself. Who has it by the machine's lease waits that long.

        Nothing is lost by that: what was answered is on the disk (docs/decisions/0007), and the rest is asked again. Whoever dies in
        between leaves it cut off, and `tend` serves it again.
        """
        with self._turn_of(machine):
            known = self.record(machine)
            self._exports.cut([volume])
            try:
                work()
            finally:
                his = known.held is Held.TAKEN and known.holder and volume in known.volumes
                if his and known.holder and not self._withheld(machine):
                    self._exports.open(known.served, known.holder, [volume])

    def tend(self) -> None:
        """What is taken is served, what is ending is cut off, and free when its time is over.

        So is what is taken, but nobody's by any wish: its holder may have died before it could let go.

        Raises `Unavailable` for one that could not be, when the others were.
        """
        failure: CloudError | None = None
        lapsed = set()
        for machine in self.records():
            if self.lapsed(machine):
                lapsed.add(machine)
            try:
                with self._turn_of(machine):
                    known = self.record(machine)
                    forsaken = machine not in self._rights and not self.waits(machine)
                    if known.held is Held.ENDING or (known.held is Held.TAKEN and forsaken):
                        self._end(known, fenced=False)
                    elif known.held is Held.TAKEN and known.holder and not self._withheld(machine):
                        self._exports.open(known.served, known.holder, known.volumes)
            except CloudError as error:
                failure = error
        if lapsed != self._lapsed:
            self._lapsed = lapsed
            self.changed()
        if failure:
            raise failure

    @contextmanager
    def _turn_of(self, machine: MachineId) -> Iterator[None]:
        with self._turns.of(machine):
            self._certain(machine)
            yield

    def _certain(self, machine: MachineId) -> None:
        """A handing over that could not be written down may have been all the same: nothing is done before it is."""
        unsaved = self._unsaved.get(machine)
        if unsaved:
            self._keep(unsaved)
            del self._unsaved[machine]

    def _last_of(self, machine: MachineId, holder: HostId, epoch: int) -> Record:
        """The record of a lease that this host had last, if none was given after it. Raises `Stale`."""
        known = self.record(machine)
        if (known.holder, known.served, known.epoch) != (holder, epoch, epoch):
            raise Stale(f"{holder} does not have epoch {epoch} of {machine}")
        return known

    def _have(self, known: Record, holder: HostId, epoch: int) -> float:
        """Take it, or have it longer."""
        if known.held is not Held.TAKEN or (known.holder, known.served) != (holder, epoch):
            known = self._take(known, holder, epoch)
        known = self._with_more(known)
        self._exports.open(epoch, holder, known.volumes)
        return self._longer(known.machine)

    def _take(self, known: Record, holder: HostId, epoch: int) -> Record:
        """The record of a lease that was just given; nothing is served by it yet."""
        if epoch < known.epoch:
            raise Stale(f"epoch {epoch} of {known.machine} is over: {known.epoch} was seen")
        right = self._rights.get(known.machine)
        if right and right.heir == Heir(host=holder, epoch=epoch) and epoch > known.kept:
            if known.held is not Held.TAKEN or known.served != right.epoch:
                raise Forbidden(f"{right.holder} has no lease of {known.machine} to hand over")
            self._exports.stand_in(epoch, holder, known.volumes)
            raise Coming(f"{right.holder} has it, and may hand it over")
        if right is None or (right.holder, right.epoch) != (holder, epoch):
            raise Forbidden(f"{holder} was not given epoch {epoch} of {known.machine}")
        if known.held is not Held.FREE:
            # A host can't run a machine twice: to itself it need not give time.
            mine = known.holder is not None and known.holder in {right.fenced, holder}
            known = self._end(known, fenced=mine)
        if known.held is not Held.FREE:
            left = self.waits(known.machine)
            who = known.holder or "another host"
            told = f"{who} may run {known.machine} for {left:.1f} s more"
            raise TooEarly(told, left)
        with self._guard:
            self._nobody_has(right)
        if waits := [volume for volume in right.volumes if not self._exports.has(volume)]:
            raise Unavailable(f"{waits[0]} is not ready")
        self._exports.cut(right.volumes)  # nothing should be left of others; this makes sure
        taken = replace(
            known,
            epoch=epoch,
            served=epoch,
            holder=holder,
            volumes=right.volumes,
            length=self.length,
            held=Held.TAKEN,
            passed=False,
            guarded=right.guarded,
            beside=right.beside,
        )
        with self._guard:
            self._nobody_has(right)
            self._until[known.machine] = self._time.now() + self.length
            self._store.save(taken)
            self._records[known.machine] = taken
        self.changed()
        return taken

    def _without(self, known: Record, right: Right) -> Record:
        """Disks that the machine is not to have any more are cut off, and then no part of the lease.

        In this order: who dies in between has them served once more until this is said again, which it is.
        """
        less = [volume for volume in known.volumes if volume not in right.volumes]
        if known.held is not Held.TAKEN or known.served != right.epoch or not less:
            return known
        self._exports.cut(less)
        left = tuple(volume for volume in known.volumes if volume in right.volumes)
        return self._keep(replace(known, volumes=left))

    def _with_more(self, known: Record) -> Record:
        """Disks that the machine has got since are part of the lease, once they are there and nobody else has them.

        Until then the lease is what it was: a disk that can't be had costs the machine none of its others.
        """
        right = self._rights.get(known.machine)
        if right is None or right.epoch != known.served:
            return known
        more = [volume for volume in right.volumes if volume not in known.volumes]
        if not more or not all(self._exports.has(volume) for volume in more):
            return known
        new = replace(right, volumes=tuple(more))
        try:
            with self._guard:
                self._nobody_has(new)
            self._exports.cut(more)
            with self._guard:
                self._nobody_has(new)
                grown = replace(known, volumes=(*known.volumes, *more))
                self._store.save(grown)
                self._records[known.machine] = grown
        except TooEarly:
            return known
        self.changed()
        return grown

    def _nobody_has(self, right: Right) -> None:
        wanted = set(right.volumes)
        for other in self._records.values():
            if (
                other.held is not Held.FREE
                and other.machine != right.machine
                and not wanted.isdisjoint(other.volumes)
            ):
                raise TooEarly(f"{other.machine} has a disk of {right.machine}", self.length)

    def _end(self, known: Record, *, fenced: bool) -> Record:
        """Renewed no more, cut off, and free if nobody can be running the machine any more."""
        if known.held is Held.TAKEN:
            known = self._keep(replace(known, held=Held.ENDING))
        self._exports.cut(known.volumes)
        if fenced or not self.waits(known.machine):
            known = self._keep(replace(known, held=Held.FREE))
        return known

    def _longer(self, machine: MachineId) -> float:
        self._until[machine] = self._time.now() + self.length
        return self.length

    def _keep(self, record: Record) -> Record:
        with self._guard:
            self._store.save(record)
            self._records[record.machine] = record
        self.changed()
        return record


def _check_here(known: Record) -> None:
    """Raises `Away` when its disks went to another storage host, and what is here is old."""
    if known.away:
        raise Away(f"the disks of {known.machine} went to another storage host", known.away)
