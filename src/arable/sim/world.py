"""A story by dice: customers ask, everybody moves, things break; what must always be true is checked after every step.

`World(seed).run(steps)` first breaks and checks safety, then heals and demands progress: every wish comes true, every
operation ends and nothing is left over. The seed is the bug report.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from arable.domain.access import Caller
from arable.domain.errors import CloudError
from arable.domain.settings import APPLIANCE_IDLE_SECONDS, EXPUNGE_SECONDS
from arable.sim import invariants
from arable.sim.asks import ASKS, Ask
from arable.sim.cloud import Cloud, SimNode
from arable.sim.ground import Room
from arable.store import settings

ROOMS = (
    Room(),
    Room(host_memory_mib=512),  # four hosts of two machines each: hosts are the limit
    Room(limits=5),  # accounts are
    Room(pods=1, hosts=1),
)


_ROUNDS, _ROUND = 10, 40  # 40 rounds are 80 seconds


class World:
    """One seed."""

    asks: Sequence[tuple[str, Ask]] = ASKS

    def __init__(self, seed: str, room: Room | None = None) -> None:
        self.seed = seed
        self.trace: deque[str] = deque(maxlen=60)
        self._folder = TemporaryDirectory(prefix="arable-world-")
        room = room or ROOMS[hash_of(seed) % len(ROOMS)]
        self.cloud = Cloud.build(seed, Path(self._folder.name), room)
        self.dice = self.cloud.entropy.child("schedule").random
        with self.cloud.database.write() as tx:
            settings.put(tx, {EXPUNGE_SECONDS.name: 60, APPLIANCE_IDLE_SECONDS.name: 30})
        self._moves: list[tuple[int, Callable[[], str]]] = [
            (30, self._tend),
            (30, self._serve),
            (15, self._control),
            (12, self._ask),
            (1, self._guest_event),
            (1, self._cut),
            (1, self._freeze),
            (1, self._kill_agent),
            (1, self._power),
            (1, self._restart_server),
            (1, self._trouble),
            (1, self._unroute),
        ]

    def run(self, steps: int) -> None:
        """Break, check; heal, demand. Raises `Broken` with the story's end."""
        try:
            for _ in range(steps):
                self._step()
            self._heal()
            self.trace.append("healed")
            self._rest()
        except Exception as error:
            story = "\n  ".join(self.trace)
            raise invariants.Broken(f"seed {self.seed}: {error}\n  {story}") from error
        finally:
            self.cloud.database.close()
            self._folder.cleanup()

    def _heal(self) -> None:
        self.cloud.heal()

    def _rest(self) -> None:
        """Everybody has time until all is as wished, and some more, in which it must stay so."""
        for _ in range(_ROUNDS):
            self.cloud.settle_down(_ROUND)
            with suppress(invariants.Broken):
                self._at_rest()
                break
        self.cloud.settle_down(_ROUND)
        self._check()
        self._at_rest()

    def _at_rest(self) -> None:
        with self.cloud.database.read() as tx:
            invariants.at_rest(tx, self._hardware())

    def _step(self) -> None:
        self.cloud.pass_time(timedelta(milliseconds=self.dice.randint(0, 3000)))
        weights = [weight for weight, _move in self._moves]
        (chosen,) = self.dice.choices([move for _weight, move in self._moves], weights)
        with suppress(CloudError):
            told = chosen()
            if told:
                self.trace.append(f"{self.cloud.clock.now():%H:%M:%S} {told}")
        self._check()

    def _check(self) -> None:
        with self.cloud.database.read() as tx:
            invariants.always(tx, self._hardware())

    def _hardware(self) -> dict[Any, Any]:
        return {id_: node.hardware for id_, node in self.cloud.nodes.items()}

    def _node(self) -> SimNode:
        return self.dice.choice(list(self.cloud.nodes.values()))

    # --- who moves

    def _tend(self) -> str:
        self.cloud.tend(self._node())
        return ""

    def _serve(self) -> str:
        self.cloud.serve(self._node())
        return ""

    def _control(self) -> str:
        self.cloud.control()
        return ""

    def _ask(self) -> str:
        caller: Caller = self.dice.choice(self.cloud.ground.callers)
        name, ask = self.dice.choice(self.asks)
        try:
            about = ask(self.cloud, caller, self.dice)
        except CloudError as error:
            return f"{caller.name} {name}: {type(error).__name__} {error.public}"
        return f"{caller.name} {name} {about}"

    # --- what happens to them

    def _guest_event(self) -> str:
        node = self._node()
        running = [m for m, guest in node.hardware.guests.items() if guest.runs is not None]
        if not running:
            return ""
        machine = self.dice.choice(sorted(running))
        match self.dice.randrange(3):
            case 0:
                node.hardware.crash(machine)
                return f"{machine} crashes"
            case 1:
                node.hardware.power_off_by_guest(machine)
                return f"{machine} shuts itself down"
            case _:
                node.hardware.disobey(machine)
                return f"{machine} will not shut down when asked"

    def _cut(self) -> str:
        node = self._node()
        if node.wire.cut:
            node.wire.cut = False
            return f"{node.id} can be reached again"
        self.cloud.cut(node)
        return f"{node.id} is cut off"

    def _freeze(self) -> str:
        node = self._node()
        node.frozen = not node.frozen
        return f"the agent of {node.id} {'stalls' if node.frozen else 'goes on'}"

    def _kill_agent(self) -> str:
        node = self._node()
        self.cloud.kill_agent(node)
        return f"the agent of {node.id} is killed"

    def _power(self) -> str:
        return self._power_of(self._node())

    def _power_of(self, node: SimNode) -> str:
        if node.powered:
            self.cloud.power_off(node)
            return f"{node.id} loses power"
        node.powered = True
        return f"{node.id} has power again"

    def _restart_server(self) -> str:
        self.cloud.restart_server()
        return "the management server is killed and started"

    def _trouble(self) -> str:
        """Drivers or commits begin, or cease, to fail one time in ten."""
        dice = self.dice
        if dice.random() < 0.5:
            self.cloud.writer.fails = lambda _where: False
            for node in self.cloud.nodes.values():
                node.faults.when = lambda _where: False
            return "troubles end"
        if dice.random() < 0.5:
            self.cloud.writer.fails = lambda _where: dice.random() < 0.1
            return "commits begin to fail"
        node = self._node()
        node.faults.when = lambda _where: dice.random() < 0.1
        return f"the drivers of {node.id} begin to fail"

    def _unroute(self) -> str:
        """No routing appliance starts on a host any more, or again."""
        node = self._node()
        node.hardware.unroutable = "" if node.hardware.unroutable else "dnsmasq is not installed"
        able = "starts no" if node.hardware.unroutable else "starts"
        return f"{node.id} {able} appliances"


def hash_of(seed: str) -> int:
    """A number from a seed, the same in every process."""
    return sum(ord(letter) * (place + 1) for place, letter in enumerate(seed))
