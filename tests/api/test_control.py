"""What operators see of the management servers, and that nobody else does."""

from datetime import timedelta

import pytest

from arable.client.errors import Conflict, Forbidden, NotFound
from arable.domain.host import Host
from arable.domain.ids import FarmId, HostId, PodId, SegmentId, ZoneId
from arable.domain.segment import Cause, Election, Load, Segment, SegmentState, Suspicion
from arable.runtime.clock import VirtualClock
from arable.store import elections, holdings, hosts, leases, segments, troubles
from arable.store import schema as t
from arable.wire.control import ServerChoice
from serving import Served

NOW = VirtualClock().now()
A, B, C = (SegmentId(f"server-{letter}") for letter in "abc")


def three_servers(served: Served) -> None:
    """The first is master and silent, the second doubts it, the third has gone."""
    with served.database.write() as tx:
        now = leases.now(tx, served.around.clock.now())
        for each, age in ((A, 60), (B, 0), (C, 100)):
            heard = now - timedelta(seconds=age)
            epoch, _ = segments.register(
                tx,
                Segment(
                    id=each,
                    seq=0,
                    epoch=0,
                    address=f"{each}:8443",
                    state=SegmentState.READY,
                    heartbeat_at=heard,
                    site="north",
                ),
            )
            segments.beat(tx, each, epoch, heard, Load(cpu_percent=7, memory_mib=99))
        segments.fence(tx, C, 1)
        segments.ask(tx, C, "restart", now)
        segments.tell(tx, C, "restart", "done")
        elections.lock(tx)
        won = Election(epoch=1, holder=A, at=now, cause=Cause.FIRST)
        elections.elect(tx, won, now + timedelta(seconds=60))
        elections.suspect(tx, Suspicion(B, 1, now, now, "no answer"))


def test_an_operator_sees_who_is_master_who_is_there_and_what_happened(served_both: Served) -> None:
    cloud = served_both.operator
    before = cloud.control.status()
    assert (before.master.server, before.master.acting, before.servers) == (None, False, ())
    three_servers(served_both)
    found = cloud.control.status()
    assert (found.master.server, found.master.epoch, found.master.acting) == (A, 1, True)
    assert found.master.suspected_by == (B,)
    servers = {each.name: each for each in found.servers}
    assert {name: each.state for name, each in servers.items()} == {
        A: "silent",
        B: "ready",
        C: "gone",
    }
    assert [each.name for each in found.servers if each.master] == [A]
    assert (servers[B].cpu_percent, servers[B].memory_mib, servers[B].site) == (7, 99, "north")
    assert (servers[C].asked, servers[C].answer, servers[C].epoch) == ("restart", "done", 2)
    assert [(e.epoch, e.server, e.cause) for e in found.elections] == [(1, A, "first")]


def test_farms_are_counted_by_how_they_are_held(served_both: Served) -> None:
    three_servers(served_both)
    cloud = served_both.operator
    with served_both.database.write() as tx:
        tx.execute(t.zone.insert().values(id="zone-a", name="a", created_at=NOW))
        for name in "abc":
            row = {"id": f"farm-{name}", "account": served_both.first.account, "zone": "zone-a"}
            tx.execute(t.farm.insert().values(**row, name=name, created_at=NOW))
    total = cloud.control.status().farms.total
    assert total == 3
    assert cloud.control.status().farms.unheld == total
    with served_both.database.write() as tx:
        orphans = holdings.orphans(tx, 1000)
        assert len(orphans) == total
        holdings.give(tx, [(each.farm, each.holder, B) for each in orphans])
    found = cloud.control.status()
    assert (found.farms.unheld, found.farms.unconfirmed) == (0, total)
    with served_both.database.write() as tx:
        holdings.confirm(tx, B)
    found = cloud.control.status()
    assert (found.farms.unheld, found.farms.unconfirmed) == (0, 0)
    assert {each.name: each.farms for each in found.servers}[B] == total


def test_farms_whose_work_fails_are_named_with_what_went_wrong(served_both: Served) -> None:
    three_servers(served_both)
    cloud = served_both.operator
    assert cloud.control.status().farms.failing == ()
    with served_both.database.write() as tx:
        tx.execute(t.zone.insert().values(id="zone-a", name="a", created_at=NOW))
        row = {"id": "farm-a", "account": served_both.first.account, "zone": "zone-a"}
        tx.execute(t.farm.insert().values(**row, name="shop", created_at=NOW))
        for tries in (1, 2):
            at = NOW + timedelta(seconds=tries)
            troubles.note(tx, FarmId("farm-a"), B, tries, "machines: KeyError", at)
    (found,) = cloud.control.status().farms.failing
    assert (found.farm, found.name, found.server) == ("farm-a", "operators/shop", B)
    assert (found.tries, found.told) == (2, "machines: KeyError")
    assert found.tried_at - found.since == timedelta(seconds=1)


def test_customers_see_nothing_of_it(served: Served) -> None:
    with pytest.raises(Forbidden):
        served.customer("acme").control.status()


def test_a_server_is_drained_by_an_operator_and_takes_work_again(served_both: Served) -> None:
    three_servers(served_both)
    cloud = served_both.operator
    with served_both.database.write() as tx:  # A is back
        now = leases.now(tx, served_both.around.clock.now())
        segments.beat(tx, A, 1, now, Load())
    drained = cloud.control.drain(ServerChoice(server=B))
    assert (drained.name, drained.state) == (B, "draining")
    assert cloud.control.drain(ServerChoice(server=B)) == drained, "once more is no harm"
    states = {each.name: each.state for each in cloud.control.status().servers}
    assert states == {A: "ready", B: "draining", C: "gone"}
    assert cloud.control.undrain(ServerChoice(server=B)).state == "ready"
    told = [each.kind for each in cloud.events.page().items if each.subject == B]
    assert sorted(told) == ["segment.draining", "segment.ready"]


def test_the_last_server_that_works_is_not_drained(served_both: Served) -> None:
    three_servers(served_both)  # A is silent, C has gone
    cloud = served_both.operator
    with pytest.raises(Conflict, match="no other management server"):
        cloud.control.drain(ServerChoice(server=B))
    with pytest.raises(Conflict, match="is gone"):
        cloud.control.undrain(ServerChoice(server=C))
    with pytest.raises(NotFound, match="no such management server"):
        cloud.control.drain(ServerChoice(server="server-nowhere"))
    assert {each.name: each.state for each in cloud.control.status().servers}[B] == "ready"


def test_the_agents_of_each_server_are_counted(served_both: Served) -> None:
    three_servers(served_both)
    with served_both.database.write() as tx:
        tx.execute(t.zone.insert().values(id="zone-a", name="a", created_at=NOW))
        tx.execute(t.pod.insert().values(id="pod-a", zone="zone-a", name="a", cidr="10.1.0.0/24", created_at=NOW))  # fmt: skip
        for number in range(3):
            host = Host(
                id=HostId(f"host-{number}"),
                zone=ZoneId("zone-a"),
                pod=PodId("pod-a"),
                name=f"h{number}",
                server=B if number else "",
                created_at=NOW,
            )
            hosts.add(tx, host)
    counted = {each.name: each.agents for each in served_both.operator.control.status().servers}
    assert counted == {A: 0, B: 2, C: 0}
