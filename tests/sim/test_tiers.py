"""Elements of tiers come and go in a simulated cloud, as whoever looks from outside sees it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from arable.domain.ids import FarmId
from arable.domain.settings import FARM_HEAL_SECONDS, FARM_STOP_SECONDS
from arable.services import farms
from arable.sim import invariants
from arable.sim.acts import rows
from arable.sim.cloud import Cloud
from arable.sim.farm_stories import lay_out
from arable.sim.ground import DISK, Room
from arable.store import schema, settings, tiers


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    made = Cloud.build("tiers", tmp_path, Room(pods=1, hosts=2))
    with made.database.write() as tx:
        settings.put(tx, {FARM_HEAL_SECONDS.name: 5, FARM_STOP_SECONDS.name: 20})
    goes_on(made, 2)
    yield made
    made.database.close()


def goes_on(cloud: Cloud, rounds: int) -> None:
    for _ in range(rounds):
        cloud.settle_down(1)
        with cloud.database.read() as tx:
            invariants.always(tx, {id_: node.hardware for id_, node in cloud.nodes.items()})


def until(cloud: Cloud, query: str, *wanted: object) -> None:
    for _ in range(60):
        if rows(cloud, query) == list(wanted):
            return
        goes_on(cloud, 1)
    raise AssertionError(f"{query}: {rows(cloud, query)}, not {wanted}")


def applied(cloud: Cloud, count: int, **body: object) -> str:
    first = cloud.ground.callers[0]
    return cloud.ask(first, lambda call: lay_out(call, "shop", count, **body))


def scaled(cloud: Cloud, count: int) -> None:
    with cloud.database.write() as tx:
        (tier,) = tx.execute(select(schema.tier.c.id, schema.tier.c.generation)).all()
        assert tiers.set_count(tx, tier.id, tier.generation, count)
    cloud.loop.nudge({tiers.TOPIC})


STATES = "select state from element order by number"
NAMES = "select name from machine order by name"
ADDRESSES = "select address from nic"


def hosting(cloud: Cloud, machine: str):
    return next(n for n in cloud.nodes.values() if machine in n.hardware.guests)


def routing(cloud: Cloud):
    (host,) = rows(cloud, "select appliance_host from network")
    return cloud.nodes[host]


def test_who_is_at_a_leaving_element_is_waited_for(cloud: Cloud) -> None:
    applied(cloud, 2)
    until(cloud, STATES, "serving", "serving")
    (nic,) = rows(cloud, "select id from nic where machine = (select machine from element where number = 2)")  # fmt: skip
    sessions = routing(cloud).hardware.sessions
    sessions[nic] = 1
    goes_on(cloud, 8)
    scaled(cloud, 1)
    goes_on(cloud, 12)
    assert rows(cloud, STATES) == ["serving", "draining"]
    assert rows(cloud, "select wish from machine") == ["running", "running"]
    del sessions[nic]
    until(cloud, STATES, "serving")
    until(cloud, NAMES, "shop-web-1")
    assert not rows(cloud, "select 1 from event where kind = 'element.cut-off'")


def test_who_stays_too_long_is_cut_off_and_told_of(cloud: Cloud) -> None:
    farm = applied(cloud, 1, drain_seconds=10)
    until(cloud, STATES, "serving")
    (nic,) = rows(cloud, "select id from nic")
    routing(cloud).hardware.sessions[nic] = 3
    goes_on(cloud, 8)
    cloud.ask(cloud.ground.callers[0], lambda call: farms.delete(call, FarmId(farm)))
    until(cloud, NAMES)
    (told,) = rows(cloud, "select text from event where kind = 'element.cut-off'")
    assert told == "shop-web-1: 3 sessions were cut off"


def test_a_refused_ask_is_told_once_and_tried_again_until_there_is_room(cloud: Cloud) -> None:
    with cloud.database.write() as tx:
        tx.execute(update(schema.quota).values(max_machines=1))
    applied(cloud, 3)
    until(cloud, STATES, "serving", "waiting", "waiting")
    goes_on(cloud, 20)
    (told,) = rows(cloud, "select text from event where kind = 'tier.waits'")
    assert "machines" in told
    (again, tries) = (rows(cloud, f"select {c} from tier")[0] for c in ("again_at", "tries"))
    assert again is not None
    assert 2 <= tries <= 5
    assert not rows(cloud, "select 1 from farm_trouble")
    with cloud.database.write() as tx:
        tx.execute(update(schema.quota).values(max_machines=5))
    until(cloud, STATES, "serving", "serving", "serving")
    until(cloud, "select told from tier", "")
    assert rows(cloud, NAMES) == ["shop-web-1", "shop-web-2", "shop-web-3"]


def test_what_waits_and_is_not_wanted_any_more_is_forgotten(cloud: Cloud) -> None:
    with cloud.database.write() as tx:
        tx.execute(update(schema.quota).values(max_machines=1))
    applied(cloud, 3)
    until(cloud, STATES, "serving", "waiting", "waiting")
    scaled(cloud, 1)
    until(cloud, STATES, "serving")
    until(cloud, "select told from tier", "")


def test_elements_of_a_lost_host_are_replaced_by_others_of_their_name(cloud: Cloud) -> None:
    applied(cloud, 2)
    until(cloud, STATES, "serving", "serving")
    (machine,) = rows(cloud, "select machine from element where number = 2")
    lost = hosting(cloud, machine)
    if lost is routing(cloud):
        (machine,) = rows(cloud, "select machine from element where number = 1")
        lost = hosting(cloud, machine)
    cloud.power_off(lost)
    with cloud.database.write() as tx:
        tx.execute(update(schema.host).where(schema.host.c.id == lost.id).values(state="down"))
    until(cloud, "select wish from machine where id = '" + machine + "'", "gone")
    until(cloud, STATES, "serving", "serving")
    living = "select name from machine where wish = 'running' order by name"
    assert rows(cloud, living) == ["shop-web-1", "shop-web-2"]
    cloud.heal()
    until(cloud, NAMES, "shop-web-1", "shop-web-2")


def test_a_guest_that_shuts_itself_down_is_started_again(cloud: Cloud) -> None:
    applied(cloud, 1)
    until(cloud, STATES, "serving")
    (machine,) = rows(cloud, "select id from machine")
    hosting(cloud, machine).hardware.power_off_by_guest(machine)
    until(cloud, "select kind from event where kind = 'element.ill'", "element.ill")
    until(cloud, STATES, "serving")
    assert rows(cloud, "select id from machine") == [machine]
    uses = rows(
        cloud,
        "select until is null from usage_record where kind = 'running' and tier <> '' order by number",
    )
    assert uses == [0, 1]


def test_a_guest_that_does_not_shut_down_has_its_plug_pulled(cloud: Cloud) -> None:
    farm = applied(cloud, 1)
    until(cloud, STATES, "serving")
    (machine,) = rows(cloud, "select id from machine")
    hosting(cloud, machine).hardware.disobey(machine)
    cloud.ask(cloud.ground.callers[0], lambda call: farms.delete(call, FarmId(farm)))
    until(cloud, "select id from farm")
    assert not rows(cloud, "select id from machine")


def test_an_address_that_stays_is_the_next_machines(cloud: Cloud) -> None:
    applied(cloud, 2, keeps={"address": True})
    until(cloud, STATES, "serving", "serving")
    before = rows(cloud, "select address from nic join machine on machine.id = nic.machine order by machine.name")  # fmt: skip
    (machine,) = rows(cloud, "select machine from element where number = 1")
    hosting(cloud, machine).hardware.deaf.add(machine)
    until(cloud, "select kind from event where kind = 'element.failed'", "element.failed")
    until(cloud, STATES, "serving", "serving")
    assert machine not in rows(cloud, "select id from machine")
    after = rows(cloud, "select address from nic join machine on machine.id = nic.machine order by machine.name")  # fmt: skip
    assert after == before


def test_asks_are_the_farms_and_machines_know_their_place(cloud: Cloud) -> None:
    said = "#cloud-config\n# {{element.name}} is number {{element.number}} of {{tier.name}} in {{farm.name}}, {{zone.name}}, called at {{tier.web.address}}:{{tier.web.port}}"  # fmt: skip
    applied(cloud, 1, user_data=said)
    until(cloud, STATES, "serving")
    (farm,) = rows(cloud, "select id from farm where name = 'shop'")
    asked = "select distinct \"user\" from operation where kind = 'machine.deploy'"
    assert rows(cloud, asked) == [farm]
    assert rows(cloud, "select farm from machine") == [farm]
    (seed,) = rows(cloud, "select seed from machine_boot")
    (public,) = rows(cloud, "select address from address where network is not null")
    assert f"shop-web-1 is number 1 of web in shop, zone-1, called at {public}:80" in seed


def test_an_element_that_never_serves_is_made_again_ever_less_often(cloud: Cloud) -> None:
    applied(cloud, 1, ready_seconds=10)
    for _ in range(70):
        for node in cloud.nodes.values():
            node.hardware.deaf.update(node.hardware.guests)
        goes_on(cloud, 1)
    failed = len(rows(cloud, "select 1 from event where kind = 'element.failed'"))
    assert 2 <= failed <= 5
    (tries,) = rows(cloud, "select tries from element")
    assert tries >= failed


def test_volumes_that_stay_wait_for_their_element_and_are_left_to_the_owner(cloud: Cloud) -> None:
    disks = [{"name": "data", "offering": DISK, "mib": 512}]
    farm = applied(cloud, 2, disks=disks, keeps={"volumes": True})
    until(cloud, STATES, "serving", "serving")
    kept = "select id from volume where stays order by name"
    before = rows(cloud, kept)
    assert rows(cloud, "select name from farm_part where kind = 'volume' order by name") == ["web-1-data", "web-2-data"]  # fmt: skip
    scaled(cloud, 1)
    until(cloud, NAMES, "shop-web-1")
    assert rows(cloud, kept) == before
    scaled(cloud, 2)
    until(cloud, STATES, "serving", "serving")
    theirs = "select v.id from volume v join machine m on m.id = v.machine where v.stays order by m.name"  # fmt: skip
    assert rows(cloud, theirs) == before
    cloud.ask(cloud.ground.callers[0], lambda call: farms.delete(call, FarmId(farm)))
    until(cloud, "select id from farm")
    assert rows(cloud, kept) == before
    assert rows(cloud, "select machine from volume") == [None, None]
