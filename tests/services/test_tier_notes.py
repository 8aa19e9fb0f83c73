"""Rounds look at tiers of which somebody noted something, or in which something is due; at others they do not."""

from datetime import timedelta

import pytest
from make_shop import Shop
from test_machine_power import there

from arable.controllers.settle import settle
from arable.domain.ids import HostId, MachineId
from arable.domain.manifest import GuestSeen, GuestState, HostReport
from arable.store import attention, elements, tier_notes

NOTES = "select count(*) from tier_note"


@pytest.fixture
def shop(cloud) -> Shop:
    return Shop(cloud)


@pytest.fixture
def made(shop) -> Shop:
    """Its machines are being started, and the round that asked for them was looked at again."""
    shop.round(2)
    shop.cloud.run("update machine set state = 'starting', host = 'host-a', attention = false")
    assert shop.states() == ["making", "making"]
    return shop


def sees(shop: Shop, *names: str) -> None:
    """The host reports that these guests run."""
    rows = dict(shop.cloud.rows("select name, id from machine"))
    guests = tuple(
        GuestSeen(machine=MachineId(rows[each]), generation=99, state=GuestState.RUNNING, boots=1)
        for each in names
    )
    with shop.cloud.database.write() as tx:
        report = HostReport(host=HostId("host-a"), generation=1, guests=guests)
        settle(tx, [report], shop.cloud.around.clock.now())


def test_a_machine_that_runs_has_its_tier_looked_at_at_once(made):
    assert made.wanting() == []
    sees(made, "shop-web-1")
    assert made.cloud.rows(NOTES) == [(1,)]
    assert made.wanting() == [made.farm]
    made.round()
    assert made.states() == ["proving", "making"]
    assert made.cloud.rows(NOTES) == [(0,)], "who looks removes what was noted before"


def test_what_is_under_way_is_looked_at_every_so_often_and_more_seldom_with_time(made):
    clock = made.cloud.around.clock
    waits = []
    for _ in range(40):
        since = clock.now()
        while not made.wanting():
            clock.wait(timedelta(seconds=0.5))
        waits.append((clock.now() - since).total_seconds())
        made.round()
    assert (waits[0], waits[-1]) == (1, 5)
    assert waits == sorted(waits)


def test_that_it_was_not_ready_in_time_is_seen_when_it_is_so(lone_cloud):
    shop = Shop(lone_cloud, blueprint={"ready_seconds": 7})
    shop.round(2)
    clock, began = lone_cloud.around.clock, lone_cloud.around.clock.now()
    while shop.states() == ["making", "making"]:
        clock.wait(timedelta(seconds=0.5))
        if shop.wanting():
            shop.round()
        assert clock.now() < began + timedelta(seconds=20)
    assert shop.states() == ["leaving", "leaving"]
    assert clock.now() - began == timedelta(seconds=7)


def test_news_of_a_balancer_matters_while_somebody_proves_himself_or_is_ill(made):
    sees(made, "shop-web-1", "shop-web-2")
    made.round(2)
    assert made.states() == ["proving", "proving"]
    made.settle()
    made.says()
    assert made.cloud.rows(NOTES) == [(1,)]
    made.round()
    assert made.states() == ["serving", "serving"]
    made.round()
    made.says()
    assert (made.cloud.rows(NOTES), made.wanting()) == ([(0,)], [])
    made.says(well=False)
    assert made.wanting() == [made.farm]


def test_who_serves_and_stops_is_noted_and_a_machine_that_is_nobodys_is_not(made):
    sees(made, "shop-web-1", "shop-web-2")
    made.round(2)
    made.says()
    made.round(2)
    assert made.wanting() == []
    there(made.cloud, made.ann, "running", "running")
    for name, wanting in (("web", []), ("shop-web-2", [made.farm])):
        ((id_,),) = made.cloud.rows("select id from machine where name = :name", name=name)
        at = attention.stamp(made.cloud.around.clock.now())
        with made.cloud.database.write() as tx:
            row = {"id": id_, "state": "stopped", "changed_at": at}
            attention.change_machines(tx, ("state", "changed_at"), [row])
        assert made.wanting() == wanting


def test_notes_of_tiers_that_are_gone_go_too(made):
    made.cloud.run("insert into tier_note (tier) values ('tier-gone')")
    with made.cloud.database.write() as tx:
        tier_notes.take(tx, [made.farm])
        assert elements.sweep(tx) == 0
    assert made.cloud.rows(NOTES) == [(0,)]


def test_who_comes_to_serve_when_nobody_is_wanted_any_more_is_not_left_alone(made):
    made.run_all()
    made.round()
    made.cloud.run("update element set state = 'proving'")
    made.cloud.run("update tier set count = 0, attention = false, due_at = null")
    made.says(well=True)
    made.round()
    assert made.states() == ["serving", "serving"], "that they serve is what this look found"
    made.cloud.run("delete from tier_note")
    made.cloud.around.clock.wait(timedelta(seconds=5))
    assert made.wanting() == [made.farm]
