"""One workflow, and one thing that breaks in it: between any two of its steps, once for each.

A step is a transaction of the store, an effect of a driver, a ledger that was written or a message on a wire. Before
and after each of the first three the process that takes it can die: the management server, or the host's agent. Of a
message nothing may arrive, because the connection breaks. A story is played once whole, to count the places, and then
once for each place, with all that must always be true checked after every round, and all that must be true at rest
checked at its end.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from arable.agent.ledger import Held, MemoryLedger
from arable.domain.errors import CloudError
from arable.domain.settings import (
    APPLIANCE_IDLE_SECONDS,
    EXPUNGE_SECONDS,
    FARM_HEAL_SECONDS,
    REPLICATE_SECONDS,
)
from arable.sim import invariants
from arable.sim.cloud import Cloud, SimNode
from arable.sim.ground import Room
from arable.sim.wire import Wire
from arable.store import settings

ROOM = Room(pods=1, hosts=2)
_ROUNDS = 90  # of two seconds
_AGAIN = 3  # rounds in which all must stay as it is


class Dies(BaseException):
    """The process that was at work is gone; nothing may catch it."""


class Unending(invariants.Broken):
    """There was time enough, and it is not as it should be."""


@dataclass(frozen=True, slots=True)
class Act:
    """Something that is asked for. Who asks asks again until it is `done`, as a client does that got no answer."""

    ask: Callable[[Cloud], object]
    done: Callable[[Cloud], bool]


@dataclass(frozen=True, slots=True)
class Story:
    """What is there `before`, what is asked of it, and what must be so in the end."""

    name: str
    before: Sequence[Act]
    acts: Sequence[Act]
    end: Callable[[Cloud], bool]
    recoverable: int = 10  # seconds that a destroyed machine is
    room: Room = ROOM


@dataclass(slots=True)
class Places:
    """Counts the places where something can break, and breaks at one."""

    at: int | None = None
    on: bool = False
    passed: list[str] = field(default_factory=list)

    def reached(self, what: str) -> bool:
        """Whether this is the place."""
        if not self.on:
            return False
        self.passed.append(what)
        return len(self.passed) - 1 == self.at

    def die(self, what: str) -> bool:
        """For those who ask whether to fail: they end instead, at the place."""
        if self.reached(what):
            raise Dies(what)
        return False


class BreakingWire(Wire):
    """Breaks with the message that is at the place."""

    __slots__ = ("reached",)
    reached: Callable[[str], bool]

    def say(self, message: Any) -> None:
        if not self._breaks(f"{type(message).__name__} to the server"):
            super().say(message)

    def tell(self, message: Any) -> None:
        if not self._breaks(f"{type(message).__name__} to the host"):
            super().tell(message)

    def _breaks(self, what: str) -> bool:
        if not self.reached(what):
            return False
        self.drop()
        return True


class BreakingLedger(MemoryLedger):
    """Its agent can die on either side of a save."""

    def __init__(self, die: Callable[[str], bool]) -> None:
        super().__init__()
        self._die = die

    def save(self, held: Held) -> None:
        self._die("before the ledger is saved")
        super().save(held)
        self._die("after the ledger is saved")


def play(story: Story, at: int | None = None) -> list[str]:
    """The story with a break at that place; the places it has. Raises `Broken`, with what broke."""
    places = Places(at)
    with TemporaryDirectory(prefix="arable-story-") as folder:
        cloud = _cloud(story, Path(folder), places)
        try:
            _round(cloud)
            for act in story.before:
                _done(cloud, act)
            _ends(cloud, lambda _cloud: True)
            places.on = True
            for act in story.acts:
                _done(cloud, act)
            _ends(cloud, story.end)
        except invariants.Broken as broken:
            where = places.passed[at] if at is not None and at < len(places.passed) else "nowhere"
            raise type(broken)(f"{story.name}, broken at {at} ({where}): {broken}") from broken
        finally:
            cloud.database.close()
    return places.passed


def _cloud(story: Story, folder: Path, places: Places) -> Cloud:
    logging.disable(logging.ERROR)  # every break is one
    cloud = Cloud.build(story.name, folder, story.room)
    with cloud.database.write() as tx:
        soon = {EXPUNGE_SECONDS.name: story.recoverable, APPLIANCE_IDLE_SECONDS.name: 10}
        settings.put(tx, soon | {FARM_HEAL_SECONDS.name: 5, REPLICATE_SECONDS.name: 10})
    cloud.writer.fails = places.die
    for node in cloud.nodes.values():
        node.faults.when = places.die
        node.ledger = BreakingLedger(places.die)
        node.wire = BreakingWire()
        node.wire.reached = places.reached
    return cloud


def _done(cloud: Cloud, act: Act) -> None:
    """Ask until it is done, and let it have its effect."""
    for _ in range(_ROUNDS):
        try:
            if act.done(cloud):
                return
            with suppress(CloudError):
                act.ask(cloud)
        except Dies:
            cloud.restart_server()
        _round(cloud)
    raise Unending("what was asked for was never done")


def _ends(cloud: Cloud, end: Callable[[Cloud], bool]) -> None:
    """Go on until all is as wished, and has been so for some time."""
    row = 0
    for _ in range(_ROUNDS):
        row = row + 1 if _rests(cloud) and end(cloud) else 0
        if row > _AGAIN:
            return
        _round(cloud)
    with cloud.database.read() as tx:
        invariants.at_rest(tx, _hardware(cloud))
    raise Unending("all is at rest, and not as it was asked for")


def _rests(cloud: Cloud) -> bool:
    try:
        with cloud.database.read() as tx:
            invariants.at_rest(tx, _hardware(cloud))
    except invariants.Broken:
        return False
    return True


def _round(cloud: Cloud) -> None:
    """Everybody moves once; what dies starts anew."""
    cloud.pass_time(timedelta(seconds=2))
    _move(cloud, cloud.control, cloud.restart_server)
    for node in cloud.nodes.values():
        for _word in range(3):
            _move(cloud, partial(cloud.tend, node), partial(cloud.kill_agent, node))
            _move(cloud, partial(cloud.serve, node), cloud.restart_server)
    _check(cloud)


def _move(cloud: Cloud, move: Callable[[], None], dies: Callable[[], None]) -> None:
    try:
        move()
    except Dies:
        _check(cloud)
        dies()
        _check(cloud)


def _check(cloud: Cloud) -> None:
    with cloud.database.read() as tx:
        invariants.always(tx, _hardware(cloud))


def _hardware(cloud: Cloud) -> dict[Any, Any]:
    nodes: dict[Any, SimNode] = dict(cloud.nodes)
    return {id_: node.hardware for id_, node in nodes.items()}
