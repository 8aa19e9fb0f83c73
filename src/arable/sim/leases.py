"""The simulated world's lease services and watchdogs, on virtual time."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from arable.agent.deadlines import DeadlineMemory
from arable.agent.lease_desk import LeaseDesk
from arable.domain.errors import Unavailable
from arable.domain.ids import HostId
from arable.domain.manifest import SharedFrom
from arable.drivers.simhost import SimHost
from arable.runtime.boottime import BootTime
from arable.wire import leases as wire
from arable.wire.leases import Answer, Question


@dataclass
class SimLeaseNetwork:
    """Storage hosts' lease services by their addresses, and who can't reach whom. Messages are really encoded."""

    desks: dict[str, LeaseDesk] = field(default_factory=dict)
    cut: Callable[[HostId, str], bool] = field(default=lambda _host, _address: False)
    heard: Callable[[HostId, str], None] = field(default=lambda _host, _address: None)
    lost_answers: Callable[[HostId, str], bool] = field(default=lambda _host, _address: False)

    answering: Callable[[str], AbstractContextManager[None]] = field(
        default=lambda _address: nullcontext()
    )

    def line(self, host: HostId, place: SharedFrom) -> "SimLeaseLine":
        """How that host asks there."""
        return SimLeaseLine(self, host, place)


@dataclass
class SimLeaseLine:
    """`LeaseLine` within one process."""

    network: SimLeaseNetwork
    host: HostId
    place: SharedFrom

    def ask(self, question: Question) -> Answer:
        desk = self.network.desks.get(self.place.address)
        if desk is None or self.network.cut(self.host, self.place.address):
            raise Unavailable(f"{self.place.host} does not answer about leases")
        self.network.heard(self.host, self.place.address)
        answer: Answer | None = None
        with self.network.answering(self.place.address):
            answer = desk.answer(self.host, wire.question(wire.line(question)))
        if answer is None:
            raise Unavailable(f"{self.place.host} is no more")
        if self.network.lost_answers(self.host, self.place.address):
            raise Unavailable(f"{self.place.host} hung up")
        return wire.answer(wire.line(answer))

    def close(self) -> None:
        """Nothing is open."""


@dataclass
class SimWatchdog:
    """Ends guests whose time is over, as `processes/watchdog.py` does: by what is written down, and by nothing else."""

    hardware: SimHost
    deadlines: DeadlineMemory
    time: BootTime
    killed: int = 0

    def look(self) -> None:
        """Once round."""
        if self.hardware.halted:
            return
        for deadline in self.deadlines.held.values():
            kept = self.hardware.guests.get(deadline.machine)
            if self.time.now() < deadline.at or kept is None or kept.runs is None:
                continue
            names = [disk.nbd.name for disk in kept.runs.disks if disk.nbd]
            if set(deadline.marks[1:]) <= set(names):
                self.killed += 1
                self.hardware.crash(deadline.machine)
