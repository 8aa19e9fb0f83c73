"""What is said: all on a new connection, then what changed, and statistics at the heartbeat."""

from dataclasses import replace

import pytest

from agent import make_agent as make
from agent.make_agent import Rig
from arable.domain.errors import Unavailable
from arable.domain.ids import HostId
from arable.domain.manifest import PeerWish
from arable.wire.agent import Change, Welcome


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_the_first_report_on_a_connection_names_everything(rig) -> None:
    rig.wish(make.guest("a"), make.guest("b"), make.appliance("a"), make.scrap("z"))
    rig.settle(5)
    rig.connect()
    report = rig.step()
    assert report.full
    assert {seen.machine for seen in report.guests} == {make.machine("a"), make.machine("b")}
    assert [seen.network for seen in report.appliances] == [make.network("a")]
    assert report.scrapped == (make.volume("z"),)
    assert report.vlans == (50, 100)
    assert [pool.pool for pool in report.pools] == [make.POOL]
    assert report.generation == 1


def test_later_reports_name_what_changed(rig) -> None:
    rig.wish(make.guest("a"), make.guest("b"))
    rig.step()
    assert rig.step() is None
    rig.wish(make.off("a"))
    report = rig.step()
    assert not report.full
    assert [seen.machine for seen in report.guests] == [make.machine("a")]
    assert report.pools == report.stats == ()
    assert rig.step() is None


def test_a_new_generation_is_acknowledged_even_if_nothing_came_of_it(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    rig.wish(make.lease("x", of="elsewhere"))
    report = rig.step()
    assert (report.generation, report.guests) == (2, ())


def test_a_heartbeat_comes_with_statistics_as_often_as_the_server_wants(rig) -> None:
    rig.agent.receive(Welcome(server="server-a", report_seconds=30))
    rig.wish(make.guest("a"), make.off("b"))
    rig.step()
    assert rig.step() is None
    rig.clock.wait(make.timedelta(seconds=29))
    assert rig.step() is None
    rig.clock.wait(make.timedelta(seconds=1))
    report = rig.step()
    assert not report.full
    assert [stats.machine for stats in report.stats] == [make.machine("a")]
    assert report.vlans == (100,)
    assert report.pools
    assert rig.agent.due() == rig.clock.monotonic() + 30


def test_who_has_just_lost_a_peer_is_heard_more_often_for_a_while(rig) -> None:
    peer = HostId("host-peer")
    rig.wish(PeerWish(host=peer, address="10.0.0.9:10807"))
    rig.step()
    said = []
    for second in range(60):
        rig.clock.wait(make.timedelta(seconds=1))
        if second % 2:
            rig.witness.failed(peer)
        if rig.step() is not None:
            said.append(second + 1)
    assert said == [6, 9, 10, 13, 16, 19, 20, 30, 40, 50, 60]
    assert rig.agent.due() <= rig.clock.monotonic() + 10


def test_a_changed_inventory_is_told_once(rig) -> None:
    rig.step()
    rig.inventory = replace(make.INVENTORY, memory_mib=131_072)
    rig.settle(30)
    told = [r.inventory for r in rig.server.reports if r.inventory]
    assert told == [rig.inventory]


def test_what_a_lost_connection_swallowed_is_said_again_on_the_next(rig) -> None:
    rig.wish(make.guest("a"), make.guest("b"))
    rig.step()
    rig.wish(make.scrap("a"), no=[make.guest("a")])
    assert rig.agent.step().gone == (make.machine("a"),)  # and lost
    rig.connect()
    report = rig.step()
    assert report.full
    assert [seen.machine for seen in report.guests] == [make.machine("b")]
    assert report.scrapped == (make.volume("a"),)
    assert make.machine("a") in rig.server.gone


def test_a_change_from_another_generation_makes_the_agent_ask_for_all(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    answer = rig.agent.receive(Change(base=7, generation=8, items=[]))
    assert answer.have == 0
    assert rig.runs("a")
    assert rig.agent.step().full
    rig.agent.receive(make.whole(8, make.guest("a")))
    assert rig.step().generation == 8
    assert rig.starts("a") == 1


def test_a_greeting_tells_which_manifest_is_held(rig) -> None:
    assert rig.connect().have == 0
    rig.wish(make.guest("a"))
    rig.wish(make.guest("b"))
    rig.step()
    hello = rig.restart(alone=True).hello()
    assert (hello.have, hello.host, hello.inventory) == (2, make.HOST, make.INVENTORY)


def test_a_silent_hypervisor_makes_no_machine_gone(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    hypervisor = rig.drivers.hypervisor

    def refuse():
        raise Unavailable("libvirt does not answer")

    hypervisor.guests = hypervisor.stats = refuse
    rig.connect()
    rig.settle(30)
    assert not rig.server.gone
    assert all(not report.full for report in rig.server.reports[1:])
    assert rig.server.reports[-1].pools  # the host is alive all the same
    del hypervisor.guests, hypervisor.stats
    rig.step()
    assert rig.server.reports[-1].full
    assert rig.server.said("a").state == "running"


def test_vlans_are_told_as_soon_as_they_change(rig) -> None:
    rig.wish(make.guest("a"))
    assert rig.step().vlans == (100,)
    rig.wish(make.guest("b", ports=(make.port("b", vlan=101),)))
    assert rig.step().vlans == (100, 101)
    rig.wish(make.guest("c"))
    assert rig.step().vlans is None
    rig.wish(no=[make.guest("b")])
    assert rig.step().vlans == (100,)


def test_a_machine_told_gone_is_not_told_again(rig) -> None:
    rig.wish(make.guest("a"))
    rig.step()
    rig.wish(no=[make.guest("a")])
    assert rig.step().gone
    rig.settle(40)
    assert sum(make.machine("a") in report.gone for report in rig.server.reports) == 1
