"""How simulated guests get from one simulated host to another: all at once, after some time, or not at all.

What happens on the way needs no agent, as with two QEMUs: `turn` is called by the world as time passes, and by
whoever looks.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from arable.domain.errors import Conflict, NotFound
from arable.domain.ids import HostId, MachineId
from arable.drivers.hypervisor.protocol import Guest, Journey, Passage, PassageState
from arable.drivers.simhost import SimGuest, SimHost

_UNDER_WAY = (PassageState.WAITING, PassageState.MOVING)


@dataclass(frozen=True, slots=True)
class _Trip:
    machine: MachineId
    epoch: int
    source: SimHost
    target: SimHost
    began: float


@dataclass(slots=True)
class SimRails:
    """Between all hosts that share one. `cut` says whether the wire between two of them is cut.

    Unless `live`, guests stand still from the beginning, as those on emulated processors do.
    """

    seconds: float = 2.0
    live: bool = True
    cut: Callable[[SimHost, SimHost], bool] = field(default=lambda _source, _target: False)
    doors: dict[str, tuple[SimHost, HostId, HostId]] = field(default_factory=dict)
    trips: list[_Trip] = field(default_factory=list)
    _number: int = 49152

    def receive(self, host: SimHost, name: HostId, guest: Guest, epoch: int, source: HostId) -> str:
        """The guest waits there; where."""
        address, self._number = f"{name}:{self._number}", self._number + 1
        self.doors[address] = (host, name, source)
        passage = Passage(
            machine=guest.machine,
            epoch=epoch,
            arriving=True,
            state=PassageState.WAITING,
            address=address,
        )
        host.receive(guest, passage)
        return address

    def send(self, host: SimHost, name: HostId, machine: MachineId, journey: Journey) -> None:
        """It is on its way, or is told at once why not."""
        kept = _running(host, machine)
        kept.passage = _passage(machine, journey.epoch)
        if not self.live:
            host.stand(machine, still=True)
        target, there, let_in = self.doors.get(journey.address, (None, None, None))
        if target is None or (there, let_in) != (journey.target, name):
            kept.passage = _failed(kept.passage, "nobody answers there, or not as who we asked for")
            return
        began = host.clock.monotonic()
        self.trips.append(_Trip(machine, journey.epoch, host, target, began))

    def call_off(self, host: SimHost, machine: MachineId) -> None:
        """What is on its way is not any more."""
        kept = _running(host, machine)
        assert kept.passage
        kept.passage = _failed(kept.passage, "it was called off")
        self.turn()

    def turn(self) -> None:
        """Whatever has become of those on their way."""
        for trip in list(self.trips):
            sent, received = _of(trip.source, trip), _of(trip.target, trip)
            cut = self.cut(trip.source, trip.target)
            if sent is None or received is None or cut:
                self.trips.remove(trip)
                if sent and sent.passage:
                    sent.passage = _failed(sent.passage, "the connection was lost")
                if received:
                    trip.target.forget(trip.machine)
            elif trip.source.clock.monotonic() >= trip.began + self.seconds:
                self.trips.remove(trip)
                for side in (sent, received):
                    assert side.passage
                    side.passage = replace(side.passage, state=PassageState.COMPLETE, left_bytes=0)
                received.memory = sent.memory
                trip.source.stand(trip.machine, still=True)


def _passage(machine: MachineId, epoch: int) -> Passage:
    return Passage(machine=machine, epoch=epoch, arriving=False, state=PassageState.MOVING)


def _failed(passage: Passage, told: str) -> Passage:
    return replace(passage, state=PassageState.FAILED, told=told)


def _running(host: SimHost, machine: MachineId) -> SimGuest:
    kept = host.guests.get(machine)
    if kept is None or kept.runs is None:
        raise NotFound(f"{machine} does not run here")
    if kept.passage and kept.passage.arriving:
        raise Conflict(f"{machine} is arriving here")
    return kept


def _of(host: SimHost, trip: _Trip) -> SimGuest | None:
    """The guest there, if it is still on this trip."""
    kept = host.guests.get(trip.machine)
    if kept is None or kept.passage is None or kept.passage.epoch != trip.epoch:
        return None
    return kept if kept.passage.state in _UNDER_WAY else None
