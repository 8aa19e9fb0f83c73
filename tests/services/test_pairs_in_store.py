"""Networks with two routers, as they are kept: who is told what, who leads by what hosts say, and what waits for both."""

from dataclasses import replace

import msgspec
import pytest
from make_cloud import Cloud
from test_landing import routed, with_hosts

from arable.controllers import appliances, pairs, repair, stranded, watches
from arable.controllers.settle import settle
from arable.domain.access import Caller
from arable.domain.alert import Severity
from arable.domain.ids import HostId, NetworkId
from arable.domain.manifest import GIVE_UP, ApplianceSeen, ApplianceWish, HostReport
from arable.domain.pair import Pair
from arable.services import networks
from arable.store import hosts as host_rows
from arable.store import removals
from arable.wire.networks import NetworkChange, NetworkQuery

PLACES = "select appliance_host, appliance_state, standby_host, standby_state from network"


@pytest.fixture
def town(cloud) -> Cloud:
    return _town(cloud)[0]


@pytest.fixture
def lone_town(lone_cloud) -> tuple[Cloud, Caller]:
    return _town(lone_cloud)


def _town(cloud: Cloud) -> tuple[Cloud, Caller]:
    """Three hosts that route, and a network with a machine, whose owner has just asked for two routers."""
    with_hosts(cloud, "a", "b", "c")
    cloud.run("""update host set roles = '["compute", "routing"]'""")
    me = cloud.account("me")
    routed(cloud, me)
    (network,) = cloud.do(me, networks.page, NetworkQuery()).items
    changed = cloud.do(me, networks.update, network.id, NetworkChange(redundant=True))
    assert changed.redundant
    attend(cloud)
    return cloud, me


def attend(cloud: Cloud) -> None:
    with cloud.database.write() as tx:
        appliances.attend(tx, cloud.around.clock.now())
        pairs.attend(tx, cloud.around.clock.now())


def told(cloud: Cloud) -> dict[str, ApplianceWish]:
    """What each host is told of the router."""
    rows = cloud.rows(
        "select host, body from manifest_item where kind = 'appliance' and body is not null"
    )
    return {host: msgspec.json.decode(body, type=ApplianceWish) for host, body in rows}


def word(
    cloud: Cloud, host: str, *, standby: bool, generation: int = 2, running: bool = True
) -> HostReport:
    ((network,),) = cloud.rows("select id from network")
    seen = ApplianceSeen(
        network=NetworkId(network), generation=generation, running=running, standby=standby
    )
    return HostReport(host=HostId(host), generation=1, appliances=(seen,))


def heard(cloud: Cloud, *reports: HostReport) -> None:
    """In one batch."""
    with cloud.database.write() as tx:
        settle(tx, reports, cloud.around.clock.now())


def says(
    cloud: Cloud, host: str, *, standby: bool, generation: int = 2, running: bool = True
) -> None:
    heard(cloud, word(cloud, host, standby=standby, generation=generation, running=running))


def missing(cloud: Cloud) -> list[tuple[Severity, str]]:
    with cloud.database.read() as tx:
        found = list(watches.unpaired_networks(tx, cloud.around.clock.now()))
    assert {each.name for each in found} <= {"me/default"}
    return [(each.severity, each.text.partition(" ")[2]) for each in found]


def test_two_hosts_are_told_of_each_other_and_of_all_machines_and_who_leads_is_the_networks_router(
    town,
):
    wishes = told(town)
    assert {host: wish.pair for host, wish in wishes.items()} == {
        "host-a": Pair(number=1, other=2),
        "host-b": Pair(number=2, other=1),
    }
    leases = town.rows("select host from manifest_item where kind = 'lease' order by host")
    assert leases == [("host-a",), ("host-b",)]
    assert town.rows("select host from network_presence order by host") == [
        ("host-a",),
        ("host-b",),
    ]
    says(town, "host-a", standby=False)
    says(town, "host-b", standby=True)
    assert town.rows(PLACES) == [("host-a", "running", "host-b", "running")]
    says(town, "host-b", standby=False)
    assert town.rows(PLACES) == [("host-b", "running", "host-a", "running")]
    assert town.rows("select appliance_number, standby_number from network") == [(2, 1)]
    says(town, "host-b", standby=True)
    assert town.rows(PLACES) == [("host-a", "running", "host-b", "running")]
    with town.database.write() as tx:
        assert repair.check(tx, town.around.clock.now()) == 0


@pytest.mark.parametrize("first", ["host-a", "host-b"])
def test_both_are_heard_when_they_speak_at_once_and_the_second_one_leads(town, first):
    town.run("update network set appliance_state = 'starting'")
    reports = [word(town, host, standby=host == "host-a") for host in ("host-a", "host-b")]
    heard(town, *(reports if first == "host-a" else reversed(reports)))
    assert town.rows(PLACES) == [("host-b", "running", "host-a", "running")]


def test_one_that_cannot_start_is_heard_when_the_other_one_leads_at_once(town):
    town.run("update network set appliance_state = 'starting'")
    fails = word(town, "host-a", standby=False, running=False)
    seen = replace(fails.appliances[0], told="no room", tries=GIVE_UP)
    failing = replace(fails, appliances=(seen,))
    heard(town, failing, word(town, "host-b", standby=False))
    assert town.rows(PLACES) == [("host-b", "running", "host-a", "leaving")]


def test_one_that_is_lost_is_replaced_under_another_number_and_by_the_next_epoch(town):
    says(town, "host-a", standby=False)
    says(town, "host-b", standby=True)
    town.run("update host set state = 'down' where id = 'host-a'")
    with town.database.write() as tx:
        assert stranded.watch(tx, town.around.clock.now()) == 1
        assert stranded.watch(tx, town.around.clock.now()) == 0
    assert town.rows(PLACES) == [("host-b", "running", None, "absent")]
    attend(town)
    wishes = told(town)
    assert {host: wish.pair for host, wish in wishes.items()} == {
        "host-b": Pair(number=2, other=3),
        "host-c": Pair(number=3, other=2),
    }
    assert {wish.epoch for wish in wishes.values()} == {1}


def test_what_is_asked_for_is_done_when_both_have_it(lone_town):
    town, me = lone_town
    (network,) = town.do(me, networks.page, NetworkQuery()).items
    says(town, "host-a", standby=False)
    says(town, "host-b", standby=True)
    town.do(me, networks.restart, network.id)
    attend(town)
    running = "select count(*) from operation where state = 'running'"
    says(town, "host-a", standby=False, generation=network.generation + 1)
    says(town, "host-b", standby=True, generation=network.generation)
    assert town.rows(running) == [(1,)]
    says(town, "host-b", standby=True, generation=network.generation + 1)
    assert town.rows(running) == [(0,)]


def test_customers_hear_that_one_is_missing_and_operators_where_they_are(lone_town):
    town, me = lone_town
    operator = town.account("op", role="operator")
    says(town, "host-a", standby=False)
    (seen,) = town.do(me, networks.page, NetworkQuery()).items
    assert "one routing appliance instead of two" in seen.notice
    assert (seen.standby, seen.appliance_host, seen.standby_host) == ("starting", None, None)
    assert missing(town) == [(Severity.WARNING, "has one router that runs, and should have two")]
    town.run("update network set appliance_state = 'starting', standby_told = 'no room'")
    assert missing(town) == [
        (Severity.CRITICAL, "has no router that runs, and should have two: no room")
    ]
    town.run("update network set appliance_state = 'running', standby_told = ''")
    says(town, "host-b", standby=True)
    known = town.do(operator, networks.get, seen.id)
    assert (known.appliance_host, known.standby_host) == ("host-a", "host-b")
    assert "instead of two" not in known.notice
    assert missing(town) == []
    with town.database.write() as tx:
        host = host_rows.get(tx, HostId("host-b"))
        assert removals.networks(tx, host) == [seen.id]
