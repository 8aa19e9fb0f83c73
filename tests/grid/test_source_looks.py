"""Before an image is fetched, the regions that have it are looked at: how far they are, and how busy."""

import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from make_regions import Source

from arable.controllers import source_looks
from arable.controllers.source_looks import Looks, reserved_share
from arable.domain.grid import Peer, PeerState
from arable.domain.region import Fact, FactKind
from arable.domain.sources import LOOKED_AT, Seen
from arable.store import grid_facts


class EachThreadsOwn(threading.local):
    """A clock on which time passes for the thread that waits alone: nobody else's slowness is measured with it."""

    at = 0.0

    def monotonic(self) -> float:
        return self.at

    def wait(self, seconds: float) -> None:
        self.at += seconds

    def now(self) -> datetime:
        return datetime(2027, 1, 1, tzinfo=UTC)


def source(clock: EachThreadsOwn, name: str, away: float, busy: float = 0.0) -> Source:
    return Source(name, b"", away=lambda: clock.wait(away), busy=busy)


def test_each_is_measured_by_a_round_trip_and_says_how_busy_it_is():
    clock = EachThreadsOwn()
    looks = Looks(clock)
    asked = [source(clock, "far", 0.2, 0.1), source(clock, "near", 0.01, 0.3)]
    asked.append(Source("down", b"", down=True))
    assert looks.at(asked, {"far": 0.5, "near": 0.2}) == [
        *(Seen("far", 0.2, 0.5), Seen("near", 0.01, 0.3), Seen("down")),
    ]
    assert looks.away == {"far": 0.2, "near": 0.01}


def test_who_does_not_answer_holds_nobody_up(monkeypatch):
    monkeypatch.setattr(source_looks, "_LEAST", 0.01)
    clock, held = EachThreadsOwn(), threading.Event()
    stuck = Source("stuck", b"", away=lambda: held.wait(30) and None)
    seen = Looks(clock).at([stuck, source(clock, "near", 0.01)], {})
    assert seen == [Seen("stuck"), Seen("near", 0.01)]
    held.set()


def peer(name: str, state: PeerState = PeerState.REACHED) -> Peer:
    return Peer(name=name, url="https://x:1", fingerprint="", authority="", state=state)


def test_of_many_those_are_looked_at_that_were_near_or_are_not_known_yet():
    looks = Looks(EachThreadsOwn())
    peers = [peer(f"r{number:02}") for number in range(LOOKED_AT + 3)]
    peers[0] = replace(peers[0], state=PeerState.SILENT)
    looks.away = {"r01": 0.5, "r02": 0.3, "r03": 0.1}
    names = [each.name for each in looks.worth(peers)]
    assert names == [*(f"r{number:02}" for number in range(4, LOOKED_AT + 3)), "r03"]


def test_what_is_reserved_of_a_region_is_what_it_told(sqlite):
    def zone(key: str, cpu: tuple[int, int], memory: tuple[int, int]) -> Fact:
        body = {
            name: {"total": total, "reserved": reserved}
            for name, (total, reserved) in (("cpu_mhz", cpu), ("memory_mib", memory))
        }
        return Fact(kind=FactKind.ZONE, key=key, version=1, body=body)

    with sqlite.write() as tx:
        facts = [zone("z1", (1000, 100), (500, 400)), zone("z2", (1000, 300), (500, 200))]
        grid_facts.put(tx, "london", facts)
        assert reserved_share(tx, "london") == pytest.approx(0.6)
        assert reserved_share(tx, "nowhere") == 0
