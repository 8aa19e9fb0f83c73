"""Hosts between which a machine moves while it runs: real agents, leases and movers on simulated hardware.

A guest's memory is told apart from every other one: each start has a number, and each half second that it runs counts.
So a copy that runs though its original went on is seen at once.
"""

from datetime import timedelta

from agent.leased_world import Compute, M, Storage, World, export, guest
from arable.agent.leases import LeaseKeeper
from arable.agent.moves import Mover
from arable.agent.sight import Drivers
from arable.domain.ids import HostId, PoolId
from arable.domain.manifest import ExportSeen, Heir, MoveSeen, MoveWish
from arable.drivers.faults import Faults
from arable.drivers.hypervisor.protocol import GuestPower
from arable.drivers.hypervisor.sim import SimHypervisor
from arable.drivers.hypervisor.sim_rails import SimRails
from arable.drivers.network.sim import SimNetwork
from arable.drivers.storage.sim import SimStorage
from arable.runtime.entropy import Entropy


class Mobile(Compute):
    """A compute host with an address for guests that move."""

    def __init__(self, name: HostId, world: "MovingWorld") -> None:
        self.rails = world.rails
        self.faults = Faults()
        super().__init__(name, world.clock, world.network)

    def restart(self) -> None:
        self.keeper = LeaseKeeper(
            lambda place: self.network.line(self.name, place),
            self.deadlines,
            lambda: self.watched,
            self.time,
            Entropy(self.name),
        )
        hypervisor = SimHypervisor(self.hardware, self.faults, rails=self.rails, host=self.name)
        self.mover = Mover(hypervisor, hypervisor, self.keeper, self.clock)
        self.begin(
            Drivers(
                network=SimNetwork(self.hardware),
                hypervisor=hypervisor,
                pools=(SimStorage(self.hardware, PoolId(f"pool-{self.name}")),),
                leases=self.keeper,
                mover=self.mover,
            )
        )

    def work(self) -> None:
        super().work()
        if not self.off and not self.frozen and self.mover.due() <= self.clock.monotonic():
            self.mover.step()

    def runs(self) -> bool:
        """Whether it really does: one that stands still can't do anything twice."""
        kept = self.hardware.guests.get(M)
        return kept is not None and kept.awake

    def arrives(self) -> bool:
        found = self.hardware.found.get(M)
        return found is not None and found.power is GuestPower.ARRIVING

    def move(self) -> MoveSeen | None:
        """As it was reported last."""
        seen = self.server.guests.get(M)
        return seen.move if seen else None


class MovingWorld(World):
    """A storage host and two compute hosts. Whoever runs has to go on from where the machine was last."""

    def __init__(self, *, seconds: float = 2.0, live: bool = True) -> None:
        super().__init__()
        self.rails = SimRails(seconds=seconds, live=live)
        self.wire_cut = False
        self.rails.cut = lambda _source, _target: self.wire_cut
        self.storage = Storage(self.storage.name, self.clock, self.network)
        self.a = Mobile(HostId("host-a"), self)
        self.b = Mobile(HostId("host-b"), self)
        self.computes = {host.name: host for host in (self.a, self.b)}
        for host in self.computes.values():
            host.hardware.size = self.storage.exports.size
            host.hardware.reaches = lambda source, host=host: self.storage.exports.reaches(
                source, host.name
            )
        self.boots = 0
        self.latest: tuple[int, int] = (0, 0)
        self.stood_still = 0.0

    def other(self, host: Mobile) -> Mobile:
        return self.b if host is self.a else self.a

    def seen(self) -> ExportSeen:
        return self.storage.server.exports[M]

    def wish_target(self, source: Mobile, epoch: int, to: int, **but: object) -> None:
        """The storage host and the target are told; the source is not."""
        target = self.other(source)
        heir = Heir(host=target.name, epoch=to)
        self.storage.server.wish(export(epoch, source.name, generation=to * 10, heir=heir))
        move = MoveWish(source=source.name, target=target.name, epoch=to)
        target.server.wish(guest(to, move=move, **but))

    def wish_source(self, source: Mobile, epoch: int, to: int, address: str, **but) -> None:
        target = self.other(source)
        move = MoveWish(source=source.name, target=target.name, epoch=to, address=address, **but)
        source.server.wish(guest(epoch, generation=to * 10, move=move))

    def finish(self, target: Mobile, to: int) -> None:
        """It is there now."""
        self.storage.server.wish(export(to, target.name, generation=to * 10 + 1))
        target.server.wish(guest(to, generation=to * 10 + 1))
        self.other(target).server.wish()

    def take_back(self, source: Mobile, epoch: int, to: int) -> None:
        """First half: who may have it. The hosts are told when that is in force."""
        self.storage.server.wish(export(epoch, source.name, generation=to * 10 + 5))

    def took_back(self, source: Mobile, epoch: int, to: int) -> None:
        source.server.wish(guest(epoch, generation=to * 10 + 5))
        self.other(source).server.wish()

    def tick(self, seconds: float = 0.5) -> None:
        self.rails.turn()
        super().tick(seconds)
        running = [host for host in self.computes.values() if host.runs()]
        for host in running:
            kept = host.hardware.guests[M]
            if kept.memory is None:
                self.boots += 1
                kept.memory = (self.boots, 0)
            else:
                boot, count = kept.memory
                assert kept.memory == self.latest, "what runs is older than what ran"
                kept.memory = (boot, count + 1)
            self.latest = kept.memory
        if not running:
            self.stood_still += seconds

    def until(self, condition, seconds: float = 120.0, step: float = 0.5) -> None:
        for _ in range(round(seconds / step)):
            if condition():
                return
            self.tick(step)
        raise AssertionError("waited in vain")

    def wait(self, seconds: float) -> None:
        self.clock.wait(timedelta(seconds=seconds))
