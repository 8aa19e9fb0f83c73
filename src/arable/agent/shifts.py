"""Disks of this host's guests that go to another storage host while the guest runs (docs/decisions/0055).

The hypervisor mirrors them, and decides nothing. When both places hold the same and the guest stands still, the storage host
that has them is asked to give them away; once it has written that down, the guest goes on with the others. If it refuses,
or something broke on the way, the guest goes on with what it had. Nothing is kept in between but which attempts
were begun here: where a guest's disks are is asked of the hypervisor, whose word counts of the leases.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass

from arable.agent.leases import LeaseKeeper, Settled
from arable.domain.ids import MachineId
from arable.domain.manifest import MovePhase, MoveSeen, ShiftWish
from arable.drivers.hypervisor.protocol import (
    GuestDisk,
    Hypervisor,
    Mirror,
    Mirrors,
    MirrorState,
)

log = logging.getLogger(__name__)
_S = MirrorState


@dataclass(frozen=True, slots=True, kw_only=True)
class Shifting:
    """A guest that runs here. `disks` are where the shared ones are to be; without a `shift` where they should be now."""

    machine: MachineId
    epoch: int
    shift: ShiftWish | None
    disks: tuple[GuestDisk, ...]
    waits: str = ""  # for what, if it is not known where to


class Shifts:
    """Called by the one thread of `Mover`."""

    def __init__(self, hypervisor: Hypervisor, mirrors: Mirrors, leases: LeaseKeeper) -> None:
        self._hypervisor = hypervisor
        self._mirrors = mirrors
        self._leases = leases
        self._begun: dict[MachineId, int] = {}

    def begun(self, machine: MachineId) -> bool:
        """Whether something of it may be on its way."""
        return machine in self._begun

    def only(self, machines: Collection[MachineId]) -> None:
        """No others run here."""
        for machine in self._begun.keys() - set(machines):
            self._begun.pop(machine, None)

    def ends(self, one: Shifting, *, moved: bool) -> bool:
        """Whether it stood still because its disks went elsewhere, of which an agent before us knew.

        One that `moved` once, to another host or in vain, may stand still for that.
        """
        if not one.disks:
            return False
        seen = self._mirrors.mirrored(one.machine, one.disks)
        if not seen.still or seen.state not in (_S.READY, _S.THERE):
            return False
        if seen.state is _S.THERE and moved and not self._mirrors.mirroring(one.machine):
            return False
        self._end(one)
        return True

    def step(self, one: Shifting) -> MoveSeen | None:
        """Do what is to be done next, and tell how it stands."""
        machine, shift = one.machine, one.shift
        if shift is None:
            self._end(one)
            return None
        epoch = shift.epoch
        if self._leases.away(machine, one.epoch):
            return self._arrive(one, shift)
        if self._leases.lost(machine, one.epoch):
            return MoveSeen(epoch=epoch, phase=MovePhase.PREPARING, told="its lease is lost")
        if not one.disks:
            if self._begun.get(machine) == epoch:
                return self._fail(one, shift, "the other storage host is not there any more")
            return MoveSeen(epoch=epoch, phase=MovePhase.PREPARING, told=one.waits)
        seen = self._mirrors.mirrored(machine, one.disks)
        match seen.state:
            case _S.NONE | _S.FAILED if self._begun.get(machine) == epoch:
                return self._fail(one, shift, "the copy broke off")
            case _S.FAILED:  # an agent before us began with some of them
                self._mirrors.mirror(machine, one.disks, shift.bytes_per_second)
            case _S.NONE:
                if told := self._leases.lacks(machine, one.epoch):
                    return MoveSeen(epoch=epoch, phase=MovePhase.PREPARING, told=told)
                self._mirrors.mirror(machine, one.disks, shift.bytes_per_second)
                log.info("shifts: the disks of %s are copied to %s", machine, shift.target.host)
            case _S.READY:
                self._begun[machine] = epoch
                return self._settle(one, shift, seen)
            case _S.THERE:  # as it never has them before they were given away
                self._leases.went(machine, one.epoch, epoch)
                return _told(epoch, MovePhase.SWITCHING, seen)
            case _:
                if seen.still:
                    return self._fail(one, shift, "not all was copied when it stood still")
        self._begun[machine] = epoch
        return _told(epoch, MovePhase.MOVING, seen)

    def _settle(self, one: Shifting, shift: ShiftWish, seen: Mirror) -> MoveSeen:
        """All is at both places. What is asked first counts, and is asked until answered."""
        machine = one.machine
        if not seen.still:
            told = self._leases.lacks(machine, one.epoch)
            if not told and not self._leases.beside(machine, one.epoch):
                told = "waits for its lease there"
            if told:
                return MoveSeen(epoch=shift.epoch, phase=MovePhase.MOVING, told=told)
            self._mirrors.hold(machine)
            seen = self._mirrors.mirrored(machine, one.disks)
        if seen.state is not _S.READY or not seen.still:
            return _told(shift.epoch, MovePhase.MOVING, seen)
        match self._leases.settled(machine, one.epoch, shift.epoch):
            case Settled.NO:
                self._leases.hand_over(machine, one.epoch, shift.epoch)
            case Settled.KEPT:
                return self._fail(one, shift, "the storage host does not give them away any more")
            case _:
                pass
        return _told(shift.epoch, MovePhase.SWITCHING, seen)

    def _fail(self, one: Shifting, shift: ShiftWish, told: str) -> MoveSeen:
        """The guest goes on with what it had, unless that is being given away just now."""
        if self._leases.settled(one.machine, one.epoch, shift.epoch) is Settled.ASKED:
            return MoveSeen(epoch=shift.epoch, phase=MovePhase.SWITCHING)
        self._mirrors.unmirror(one.machine, one.disks)
        return MoveSeen(epoch=shift.epoch, phase=MovePhase.FAILED, told=told)

    def _arrive(self, one: Shifting, shift: ShiftWish) -> MoveSeen:
        """They are there and nowhere else."""
        if not one.disks:
            return MoveSeen(epoch=shift.epoch, phase=MovePhase.SWITCHING, told=one.waits)
        self._use(one)
        return MoveSeen(epoch=shift.epoch, phase=MovePhase.DONE, address=shift.target.address)

    def _use(self, one: Shifting) -> None:
        """The guest has its disks where they are now. One that can't any more is started anew, with them."""
        seen = self._mirrors.mirrored(one.machine, one.disks)
        if seen.state in (_S.NONE, _S.FAILED, _S.COPYING):
            log.warning("shifts: %s lost its disks, and starts anew where they are", one.machine)
            self._hypervisor.stop(one.machine, force=True)
        elif seen.state is not _S.THERE or seen.still:
            log.info("shifts: %s goes on with its disks elsewhere", one.machine)
            self._mirrors.pivot(one.machine, one.disks)

    def _end(self, one: Shifting) -> None:
        """It was decided where they are: there the guest has them, and goes on."""
        if not one.disks or self._leases.lacks(one.machine, one.epoch):
            return
        seen = self._mirrors.mirrored(one.machine, one.disks)
        if seen.state is _S.READY or (seen.still and seen.state is not _S.THERE):
            self._use(one)
        else:
            self._mirrors.unmirror(one.machine, one.disks)
        self._begun.pop(one.machine, None)


def _told(epoch: int, phase: MovePhase, seen: Mirror) -> MoveSeen:
    return MoveSeen(
        epoch=epoch, phase=phase, sent_bytes=seen.copied_bytes, left_bytes=seen.left_bytes
    )
