"""How often it is kept what machines use: seldom, but for what is new and what policies go by."""

from datetime import timedelta

from arable.domain.ids import HostId, MachineId
from arable.domain.manifest import GuestStats, HostReport
from arable.services.usage_notes import UsageNotes
from arable.store import scalings


def said(host: str, *machines: str) -> HostReport:
    stats = tuple(GuestStats(machine=MachineId(each), cpu_ns=1) for each in machines)
    return HostReport(host=HostId(host), generation=7, stats=stats)


class Rig:
    def __init__(self, database) -> None:
        self.database, self.notes = database, UsageNotes()

    def worth(self, clock, *reports: HostReport) -> list[list[str]]:
        with self.database.read() as tx:
            kept = self.notes.worth(tx, reports, clock.now())
        assert [(each.host, each.generation) for each in kept] == [(r.host, 7) for r in reports]
        return [[one.machine for one in each.stats] for each in kept]


def test_each_machine_once_a_minute_and_what_is_new_at_once(cloud) -> None:
    rig, clock = Rig(cloud.database), cloud.around.clock
    assert rig.worth(clock, said("a", "m1"), said("b", "m2")) == [["m1"], ["m2"]]
    clock.wait(timedelta(seconds=10))
    assert rig.worth(clock, said("a", "m1", "m3"), said("b")) == [["m3"], []]
    assert rig.worth(clock, said("b", "m1")) == [["m1"]], "it has gone to another host"
    clock.wait(timedelta(seconds=49))
    assert rig.worth(clock, said("a", "m1", "m3")) == [[]]
    clock.wait(timedelta(seconds=1))
    assert rig.worth(clock, said("a", "m1", "m3")) == [["m1", "m3"]]


def test_a_host_that_comes_back_is_news(cloud) -> None:
    rig, clock = Rig(cloud.database), cloud.around.clock
    assert rig.worth(clock, said("a", "m1")) == [["m1"]]
    rig.notes.forget(HostId("a"))
    rig.notes.forget(HostId("unknown"))
    assert rig.worth(clock, said("a", "m1")) == [["m1"]]


def test_a_clock_that_goes_back_keeps_nothing_from_being_kept(cloud) -> None:
    rig, clock = Rig(cloud.database), cloud.around.clock
    rig.worth(clock, said("a", "m1"))
    clock.wait(timedelta(seconds=-100))
    assert rig.worth(clock, said("a", "m1")) == [["m1"]]


def test_an_operator_says_how_often(cloud) -> None:
    cloud.run("insert into setting (name, value) values ('usage_seconds', '20')")
    rig, clock = Rig(cloud.database), cloud.around.clock
    assert rig.worth(clock, said("a", "m1")) == [["m1"]]
    clock.wait(timedelta(seconds=20))
    assert rig.worth(clock, said("a", "m1")) == [["m1"]]


def test_what_policies_go_by_is_kept_whenever_it_is_said(cloud, monkeypatch) -> None:
    rig, clock = Rig(cloud.database), cloud.around.clock
    rig.worth(clock, said("a", "m1", "m2"))
    monkeypatch.setattr(scalings, "watched", lambda _tx: [MachineId("m2")])
    clock.wait(timedelta(seconds=5))
    assert rig.worth(clock, said("a", "m1", "m2")) == [[]], "looked for every ten seconds"
    clock.wait(timedelta(seconds=5))
    assert rig.worth(clock, said("a", "m1", "m2")) == [["m2"]]
    clock.wait(timedelta(seconds=1))
    assert rig.worth(clock, said("a", "m1", "m2")) == [["m2"]]
