"""What an agent does of replicas: when it asks, whom it lets read, and what it tells; on virtual time."""

from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from make_agent import HOST, POOL, Rig, make_drivers, volume

from arable.agent.patience import Waiting
from arable.agent.replicating import Following, Marking
from arable.domain.errors import Forbidden
from arable.domain.ids import HostId, ReplicaId
from arable.domain.replica import ReplicaWish
from arable.domain.units import MIB
from arable.drivers.simhost import SimHost
from arable.drivers.storage.protocol import InUse
from arable.drivers.storage.sim import SimStorage

B, C = HostId("host-b"), HostId("host-c")
V = volume("a")


class Pair:
    """This host keeps a replica of what is in another host's pool."""

    def __init__(self) -> None:
        self.rig = Rig()
        self.rig.wish()
        self.rig.step()
        self.other = SimStorage(SimHost(), make_drivers.pool())
        self.other.ensure(V, 8 * MIB, None)
        self.asked, self.away = 0, False
        ground = self.rig.agent._ground
        self.following = Following(
            ground, HOST, self.rig.clock, lambda _sha: iter(()), ask=self._ask
        )
        self.wish = ReplicaWish(
            replica=ReplicaId(make_drivers.fresh("replica")),
            volume=V,
            source=B,
            target=HOST,
            pool=POOL,
            bytes=8 * MIB,
            seconds=60,
        )
        self.wishes(self.wish)

    def wishes(self, wish: ReplicaWish | None) -> None:
        replicas = {wish.replica: wish} if wish else {}
        wishes = self.rig.agent._ground.wishes
        wishes.manifest = replace(wishes.manifest, replicas=replicas)

    @contextmanager
    def _ask(self, wish, since):
        self.asked += 1
        if self.away:
            raise Waiting("it does not answer")
        with self.other.increment(wish.volume, wish.replica, since) as passing:
            yield passing

    def turn(self, seconds: float = 0) -> None:
        self.rig.clock.wait(timedelta(seconds=seconds))
        for action in self.following.plan(self.following.observe()):
            try:
                self.following.apply(action)
            except Waiting:
                self.rig.agent._ground.patience.prune()

    def said(self):
        (seen,) = self.following.tell().values()
        return seen


def test_a_point_is_asked_for_at_once_and_then_at_its_time() -> None:
    pair = Pair()
    assert (pair.said().point, pair.said().at) == (0, None)
    pair.turn()
    assert pair.said().point == 1
    assert pair.following.due() == pair.rig.clock.monotonic() + 60
    pair.turn(59)
    assert pair.asked == 1
    pair.turn(2)
    assert (pair.asked, pair.said().point) == (2, 2)


def test_who_does_not_answer_is_asked_again_and_told_of() -> None:
    pair = Pair()
    pair.turn()
    pair.away = True
    pair.turn(61)
    assert (pair.said().point, pair.said().told) == (1, "it does not answer")
    pair.turn(1)
    assert pair.asked == 2, "others have their turn first"
    pair.away = False
    pair.turn(10)
    assert (pair.said().point, pair.said().told) == (2, "")


def test_an_agent_that_is_made_anew_knows_what_it_has() -> None:
    pair = Pair()
    pair.turn()
    ground = pair.rig.agent._ground
    again = Following(ground, HOST, pair.rig.clock, lambda _sha: iter(()))
    again.plan(again.observe())
    assert next(iter(again.tell().values())).point == 1


def test_to_promote_asks_nobody_and_makes_it_the_volume() -> None:
    pair = Pair()
    pair.turn()
    pair.away = True
    pair.wishes(replace(pair.wish, promote=True, source=None))
    assert pair.following.busy() == {V}
    pair.turn()
    assert pair.said().promoted
    assert not pair.following.busy()
    assert V in pair.rig.drivers.pools[0].volumes()


def test_only_the_host_that_keeps_the_replica_may_read_it_and_only_while_it_is_wished() -> None:
    rig = Rig()
    rig.wish()
    rig.step()
    pool = rig.drivers.pools[0]
    pool.ensure(V, 8 * MIB, None)
    rig.step()
    marking = Marking(rig.agent._ground, HOST)
    wish = ReplicaWish(
        replica=ReplicaId("replica-a"),
        volume=V,
        source=HOST,
        target=B,
        pool=POOL,
        bytes=1,
        seconds=9,
    )

    def lent(asker: HostId = B) -> bytes:
        with marking.lend(asker, wish.replica, 0) as passing:
            return b"".join(passing.pieces)

    with pytest.raises(InUse, match="not told"):
        lent()
    wishes = rig.agent._ground.wishes
    wishes.manifest = replace(wishes.manifest, replicas={wish.replica: wish})
    marking.look()
    assert lent()
    with pytest.raises(Forbidden):
        lent(C)
    wishes.manifest = replace(wishes.manifest, replicas={wish.replica: replace(wish, promote=True)})
    marking.look()
    with pytest.raises(InUse):
        lent()
