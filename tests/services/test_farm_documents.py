"""A farm is what its document says: laid out, changed and let go as a whole, by a plan that is the deed itself."""

from typing import Any

import msgspec
import pytest
from make_cloud import Cloud
from make_farm import SHOP, change, farm_in, prepare, whole
from sqlalchemy import insert

from arable.domain.element import ElementState
from arable.domain.errors import BadInput, Conflict, Forbidden, LimitExceeded, NotFound
from arable.domain.farm import Part, PartKind
from arable.domain.ids import FarmId
from arable.services import (
    addresses,
    attachments,
    balancers,
    blueprints,
    farms,
    ipv6_ranges,
    machines,
    networks,
    nics,
    operations,
    power,
    rules,
    volumes,
)
from arable.services import tiers as tiers_
from arable.store import farm_documents, schema, tiers
from arable.store import farms as farms_kept
from arable.wire.balancers import BalancerChange, MemberChange, MemberIn
from arable.wire.blueprints import BlueprintVersionIn
from arable.wire.farms import FarmIn, FarmMadeOut, FarmOut
from arable.wire.ipv6_ranges import Ipv6RangeIn
from arable.wire.machines import DestroyIn, MachineChange, NicIn, ResizeIn, StopIn
from arable.wire.networks import NetworkChange, NetworkIn
from arable.wire.nics import AttachIn, NicChange
from arable.wire.tiers import TierChange, TierQuery
from arable.wire.volumes import AttachVolumeIn, DetachVolumeIn, VolumeChange, VolumeIn
from everything_kept import everything_kept


def signs(made: FarmMadeOut) -> list[str]:
    return [f"{step.sign} {step.what} {step.name}" for step in made.steps]


def element(cloud: Cloud, farm: FarmOut, tier: str, number: int = 1, machine: str | None = None):
    """As the controller of tiers makes them."""
    row = next(each for each in farm.tiers if each.name == tier)
    with cloud.database.write() as tx:
        tx.execute(
            insert(schema.element).values(
                id=cloud.around.ids.new("element"),
                tier=row.id,
                farm=farm.id,
                account=farm.account,
                number=number,
                state=ElementState.SERVING,
                machine=machine,
                since=cloud.around.clock.now(),
            )
        )


def test_a_farm_is_laid_out_by_its_document(cloud):
    ann = prepare(cloud)
    made = cloud.do(ann, farms.create, farm_in())
    assert signs(made) == [
        "+ network web",
        "+ network app",
        "+ network db",
        "+ passage web>app:tcp:8080",
        "+ passage app>db:tcp:5432",
        "+ way in web:80",
        "+ balancer app:8080:inner",
        "+ balancer db:5432:inner",
        "+ tier web",
        "+ tier app",
        "+ tier db",
    ]
    assert made.steps[0].about == "10.64.0.0/24, way out by 198.51.100.10"
    assert made.steps[1].about == "10.64.1.0/24, isolated"
    assert made.steps[5].about == "http 198.51.100.10:80"
    assert made.steps[6].about == "http 10.64.1.1:8080"
    assert made.steps[8].about == "2 elements of web/1 on tiny/1"
    assert [(each.name, each.least, each.most, each.count) for each in made.farm.tiers] == [
        ("web", 2, 5, 2),
        ("app", 2, 2, 2),
        ("db", 1, 1, 1),
    ]
    assert cloud.rows("select name, farm from network order by name") == [
        (f"shop-{name}", made.farm.id) for name in ("app", "db", "web")
    ]
    assert cloud.rows("select name, kind, port from balancer order by name") == [
        ("shop-app", "inner", 8080),
        ("shop-db", "inner", 5432),
        ("shop-web-80", "public", 80),
    ]
    assert made.farm.operation == made.operation
    assert cloud.rows("select state from operation where id = :id", id=made.operation) == [
        ("running",)
    ]


def test_tiers_know_by_which_balancers_their_elements_are_reached(lone_cloud):
    cloud = lone_cloud
    made = cloud.do(prepare(cloud), farms.create, farm_in())
    with cloud.database.read() as tx:
        found = tiers.of_farms(tx, [FarmId(made.farm.id)])[FarmId(made.farm.id)]
    by_name = {each.name: each for each in found}
    web, app = by_name["web"], by_name["app"]
    way_in, to_app, _ = [step.id for step in made.steps if step.what in ("way in", "balancer")]
    assert [(door.balancer, door.port) for door in web.body.doors] == [(way_in, 8080)]
    assert [(door.balancer, door.port) for door in app.body.doors] == [(to_app, 8080)]
    assert [web.body.networks[0], app.body.networks[0]] == [step.id for step in made.steps[:2]]


def test_a_document_that_is_applied_again_changes_nothing(cloud):
    ann = prepare(cloud)
    made = cloud.do(ann, farms.create, farm_in())
    before = everything_kept(cloud.database, but=("audit", "operation", "network"))
    again = cloud.do(ann, farms.update, FarmId(made.farm.id), whole(SHOP))
    assert {step.sign for step in again.steps} == {"="}
    assert again.farm == made.farm
    assert everything_kept(cloud.database, but=("audit", "operation", "network")) == before
    assert cloud.do(ann, operations.get, again.operation, None).state == "done"


def test_what_the_document_forgets_goes_and_what_is_by_hand_stays(cloud):
    ann = prepare(cloud)
    made = cloud.do(ann, farms.create, farm_in())
    mine = cloud.do(ann, networks.create, NetworkIn(name="mine", farm="shop", cidr="10.9.0.0/24"))
    smaller = {**SHOP, "tiers": SHOP["tiers"][:2], "passages": SHOP["passages"][:1]}
    smaller["networks"] = SHOP["networks"][:2]
    changed = cloud.do(ann, farms.update, FarmId(made.farm.id), whole(smaller))
    assert [each for each in signs(changed) if not each.startswith("=")] == [
        "- tier db",
        "- balancer db:5432:inner",
        "- passage app>db:tcp:5432",
        "- network db",
    ]
    assert cloud.rows("select name from network where state = 'ready' order by name") == [
        ("mine",),
        ("shop-app",),
        ("shop-web",),
    ]
    assert cloud.do(ann, networks.get, mine.id).state == "ready"


def test_ways_to_a_tier_that_leaves_stay_until_it_has_left(cloud):
    ann = prepare(cloud)
    made = cloud.do(ann, farms.create, farm_in())
    element(cloud, made.farm, "db")
    smaller = {**SHOP, "tiers": SHOP["tiers"][:2], "passages": SHOP["passages"][:1]}
    smaller["networks"] = SHOP["networks"][:2]
    changed = cloud.do(ann, farms.update, FarmId(made.farm.id), whole(smaller))
    late = {step.name: step.about for step in changed.steps if step.sign == "-"}
    assert late == {
        "db": "when the tiers that need it have left",
        "app>db:tcp:5432": "when the tiers that need it have left",
        "db:5432:inner": "when the tiers that need it have left",
    }
    tier = next(each for each in changed.farm.tiers if each.name == "db")
    assert (tier.leaving, tier.count) == (True, 0)
    farm = _farm(cloud, made.farm.id)
    assert not cloud.do(ann, farms.clear, farm)
    back = cloud.refused(ann, farms.update, FarmId(made.farm.id), whole(SHOP))
    assert isinstance(back, Conflict)
    assert back.field == "tiers.2.name"
    cloud.run("delete from element")
    assert cloud.do(ann, farms.clear, farm)
    assert [each.name for each in cloud.do(ann, farms.get, farm.id).tiers] == ["web", "app"]
    assert cloud.rows("select name from farm_part where name like '%db%'") == []


def _farm(cloud: Cloud, id_: str):
    with cloud.database.read() as tx:
        return farms_kept.get(tx, cloud.callers["ann"].scope, FarmId(id_))


def test_a_farm_goes_when_nothing_of_it_is_left(cloud):
    ann = prepare(cloud)
    before = cloud.used(ann)
    made = cloud.do(ann, farms.create, farm_in())
    farm = _farm(cloud, made.farm.id)
    leaving = cloud.do(ann, farms.delete, farm.id)
    assert leaving.state == "running"
    assert cloud.do(ann, farms.get, farm.id).state == "leaving"
    assert cloud.rows("select state from network") == [("leaving",)] * 3
    for use_case in (farms.delete,):
        assert isinstance(cloud.refused(ann, use_case, farm.id), Conflict)
    assert isinstance(cloud.refused(ann, farms.update, farm.id, change(tiers=[])), Conflict)
    assert not cloud.do(ann, farms.clear, farm)  # hosts may have something of its networks
    cloud.run("update vlan set network = null")
    cloud.run("delete from network")
    assert cloud.do(ann, farms.clear, farm)
    assert isinstance(cloud.refused(ann, farms.get, farm.id), NotFound)
    assert cloud.rows("select state from operation where id = :id", id=leaving.id) == [("done",)]
    assert {k: v for k, v in cloud.used(ann).items() if k != "networks"} == before
    cloud.do(ann, farms.create, farm_in())


def test_a_farm_with_things_by_hand_is_not_deleted(cloud):
    ann = prepare(cloud)
    made = cloud.do(ann, farms.create, farm_in())
    id_ = FarmId(made.farm.id)
    mine = cloud.do(ann, networks.create, NetworkIn(name="mine", farm="shop", cidr="10.9.0.0/24"))
    refused = cloud.refused(ann, farms.delete, id_)
    assert "mine" in refused.public
    cloud.do(ann, networks.delete, mine.id)
    cloud.deploy(ann, name="guest", farm="shop", networks=(NicIn(network="shop-web"),))
    assert "1 machines" in cloud.refused(ann, farms.delete, id_).public
    assert cloud.do(ann, farms.get, id_).by_hand == 1
    refused = cloud.refused(ann, farms.update, id_, whole({"networks": SHOP["networks"][1:]}))
    assert (refused.field, refused.why) == ("networks", {"machines": ["guest"]})
    cloud.run("update machine set state = 'expunging', wish = 'gone' where name = 'guest'")
    assert cloud.do(ann, farms.get, id_).by_hand == 0, "what goes anyway is waited for"
    less = whole({"networks": SHOP["networks"][1:]})
    steps = cloud.do(ann, farms.update, id_, less).steps
    assert ("-", "web", "when the tiers that need it have left") in [
        (each.sign, each.name, each.about) for each in steps if each.what == "network"
    ]
    assert cloud.do(ann, farms.delete, id_).state == "running"
    farm = _farm(cloud, id_)
    cloud.do(ann, farms.clear, farm)
    left = "select name from network where state = 'ready'"
    assert cloud.rows(left) == [("shop-web",)], "until it has left"
    cloud.run("delete from nic")
    cloud.do(ann, farms.clear, farm)
    assert cloud.rows(left) == []


def by(metric: str, **said) -> dict:
    """The first tier scales by that, and has no passages to it."""
    policy = {"targets": [{"metric": metric, "value": 50}]}
    return {"tiers": [{**SHOP["tiers"][0], "policy": policy}], "passages": [], **said}


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("time_zone", {"time_zone": "Mars/Olympus"}),
        ("networks.1", {"networks": [{"name": "web"}, {"name": "web"}]}),
        ("tiers.0.networks.0", {"networks": []}),
        ("tiers.1", {"tiers": [SHOP["tiers"][0]] * 2}),
        ("tiers.0.most", {"tiers": [{**SHOP["tiers"][0], "most": 1}]}),
        ("tiers.0.count", {"tiers": [{**SHOP["tiers"][0], "count": 6}]}),
        ("tiers.0.policy", {"tiers": [{**SHOP["tiers"][0], "policy": {}}]}),
        ("tiers.0.policy.targets.0.metric", by("requests-per-s", ways_in=[{**SHOP["ways_in"][0], "protocol": "tcp"}])),
        ("tiers.0.policy.targets.0.metric", by("sessions", ways_in=[])),
        ("passages.0.to", {"tiers": SHOP["tiers"][:1]}),
        ("passages.1.port", {"tiers": [{**each, "networks": ["web"]} for each in SHOP["tiers"]],
                             "passages": [{"source": "web", "to": name, "port": 90} for name in ("app", "db")]}),
        ("passages.0.port", {"passages": [{"source": "web", "to": "app", "port": 53}]}),
        ("ways_in.0.tier", {"ways_in": [{"tier": "app", "port": 80}]}),
        ("ways_in.1.port", {"ways_in": SHOP["ways_in"] * 2}),
        ("tiers.0.blueprint", {"tiers": [{**SHOP["tiers"][0], "blueprint": "none"}], "passages": []}),
        ("tiers.0.version", {"tiers": [{**SHOP["tiers"][0], "version": 2}], "passages": []}),
        ("tiers.0.image_version", {"tiers": [{**SHOP["tiers"][0], "image_version": 2}], "passages": []}),
        ("tiers.0.offering", {"tiers": [{**SHOP["tiers"][0], "offering": "none"}], "passages": []}),
        ("ssh_keys.0", {"ssh_keys": ["none"]}),
        ("networks.0.cidr", {"networks": [{"name": "web", "cidr": "8.8.8.0/24"}, *SHOP["networks"][1:]]}),
        ("networks.1.cidr", {"networks": [{"name": "web", "cidr": "10.9.0.0/24"},
                                          {"name": "app", "cidr": "10.9.0.0/16"}, SHOP["networks"][2]]}),
        ("tiers.0.blueprint", {"tiers": [{**SHOP["tiers"][0], "name": "edge"}], "passages": [], "ways_in": []}),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_place_and_leaves_nothing(lone_cloud, field, said):
    ann = prepare(lone_cloud)
    before = everything_kept(lone_cloud.database)
    refused = lone_cloud.refused(ann, farms.create, farm_in(**said))
    assert isinstance(refused, BadInput | NotFound | Conflict)
    assert refused.field == field, refused.public
    assert everything_kept(lone_cloud.database) == before


@pytest.mark.parametrize("limit", range(3))
def test_a_limit_is_met_at_any_step_and_nothing_is_left(lone_cloud, limit):
    ann = prepare(lone_cloud)
    lone_cloud.run("update quota set max_networks = :n", n=limit)
    before = everything_kept(lone_cloud.database)
    refused = lone_cloud.refused(ann, farms.create, farm_in())
    assert isinstance(refused, LimitExceeded)
    assert refused.field == f"networks.{limit}"
    assert everything_kept(lone_cloud.database) == before


def test_names_that_elements_would_have_are_looked_at_first(lone_cloud):
    cloud = lone_cloud
    ann = prepare(cloud)
    cloud.deploy(ann, name="shop-web-5")
    before = everything_kept(cloud.database)
    refused = cloud.refused(ann, farms.create, farm_in())
    assert (refused.field, "shop-web-5" in refused.public) == ("tiers.0.name", True)
    assert everything_kept(cloud.database) == before
    long = [{**SHOP["tiers"][0], "name": "w" * 58}]
    refused = cloud.refused(ann, farms.create, farm_in(tiers=long, passages=[], ways_in=[]))
    assert refused.field == "tiers.0.name"


def test_a_network_stays_what_it_is(lone_cloud):
    cloud = lone_cloud
    ann = prepare(cloud)
    id_ = FarmId(cloud.do(ann, farms.create, farm_in()).farm.id)
    for said, field in (
        ({"networks": [{"name": "web", "cidr": "10.9.0.0/24"}, *SHOP["networks"][1:]]}, "networks.0.cidr"),
        ({"networks": [{"name": "web"}, {"name": "app"}, SHOP["networks"][2]]}, "networks.1.isolated"),
        ({"tiers": [{**SHOP["tiers"][0], "networks": ["app"]}, *SHOP["tiers"][1:]], "ways_in": []}, "tiers.0.networks"),
    ):  # fmt: skip
        assert cloud.refused(ann, farms.update, id_, change(**said)).field == field


def test_a_network_has_ipv6_from_its_document_and_keeps_it(lone_cloud):
    cloud = lone_cloud
    ann = prepare(cloud)
    web, *others = SHOP["networks"]
    said = {"networks": [{**web, "ipv6": True, "redundant": True}, *others]}
    assert cloud.refused(ann, farms.create, farm_in(**said)).field == "networks.0.ipv6"
    ask = Ipv6RangeIn(zone="here", cidr="2001:db8:100::/48")
    cloud.do(cloud.account("op", role="operator"), ipv6_ranges.create, ask)
    id_ = FarmId(cloud.do(ann, farms.create, farm_in()).farm.id)

    def planned(networks) -> list[str]:
        made = cloud.do(ann, farms.update, id_, change(networks=networks))
        return [
            f"{s.sign} {s.about}" for s in made.steps if s.what == "network" and s.name == "web"
        ]

    assert planned(said["networks"]) == ["~ two routers, 2001:db8:100:1::/64, too"]
    assert planned(said["networks"]) == ["= 10.64.0.0/24 and 2001:db8:100:1::/64"]
    assert planned([{**web, "redundant": True}, *others]) == planned(said["networks"])


def test_a_way_in_is_open_to_ipv6_where_its_network_has_it(lone_cloud):
    cloud = lone_cloud
    ann = prepare(cloud)
    cloud.do(
        cloud.account("op", role="operator"),
        ipv6_ranges.create,
        Ipv6RangeIn(zone="here", cidr="2001:db8:100::/48"),
    )
    (way,) = SHOP["ways_in"]
    open_ = {"ways_in": [{**way, "cidr6": "2001:DB8:7::/48"}]}
    refused = cloud.refused(ann, farms.create, farm_in(**open_))
    assert (refused.field, "has no IPv6" in refused.public) == ("ways_in.0.cidr6", True)
    web, *others = SHOP["networks"]
    six = {"networks": [{**web, "ipv6": True}, *others]}
    id_ = FarmId(cloud.do(ann, farms.create, farm_in(**six, **open_)).farm.id)

    def planned(**said: Any) -> list[str]:
        made = cloud.do(ann, farms.update, id_, change(**six, **said))
        return [step.sign for step in made.steps if step.what == "way in"]

    reached = "select cidr6 from balancer where cidr6 <> ''"
    assert cloud.rows(reached) == [("2001:db8:7::/48",)]
    assert planned(**open_) == ["="]
    assert planned(ways_in=[{**way, "cidr6": "::/0"}]) == ["~"]
    assert cloud.rows(reached) == [("::/0",)]
    assert planned(ways_in=[way]) == ["~"]
    assert cloud.rows(reached) == [], "nobody may any more"


def test_counts_follow_the_document_unless_a_policy_says_them(lone_cloud):
    cloud = lone_cloud
    ann = prepare(cloud)
    id_ = FarmId(cloud.do(ann, farms.create, farm_in()).farm.id)
    web, *others = SHOP["tiers"]

    def counted(**said: Any) -> tuple[int, list[str]]:
        made = cloud.do(ann, farms.update, id_, change(tiers=[{**web, **said}, *others]))
        about = [step.about for step in made.steps if step.sign == "~"]
        return next(each.count for each in made.farm.tiers if each.name == "web"), about

    assert counted(count=4) == (4, ["count 2 -> 4"])
    assert counted() == (4, [])
    assert counted(most=3) == (3, ["most 5 -> 3, count 4 -> 3"])
    policy = {"targets": [{"metric": "requests-per-s", "value": 50}]}
    assert counted(count=2, policy=policy) == (3, ["most 3 -> 5, other policy"])
    assert counted(least=4, policy=policy) == (4, ["least 2 -> 4, count 3 -> 4"])


def test_a_tier_is_grown_by_itself_and_its_document_says_the_same(cloud):
    ann = prepare(cloud)
    made = cloud.do(ann, farms.create, farm_in()).farm
    web = made.tiers[0].id
    grown = cloud.do(ann, tiers_.update, web, TierChange(count=4))
    assert (grown.tier.count, grown.tier.least, grown.tier.most) == (4, 2, 5)
    first, second = cloud.rows(
        "select state from operation where kind like 'farm%' order by created_at, id"
    )
    assert {first[0], second[0]} == {"failed", "running"}
    farm = cloud.do(ann, farms.get, FarmId(made.id))
    assert farm.operation == grown.operation
    assert farm.spec["tiers"][0]["count"] == 4
    assert {step.sign for step in cloud.do(ann, farms.update, FarmId(made.id), change()).steps} == {
        "="
    }
    for said, field in (
        ({"count": 6}, "count"),
        ({"count": 1}, "count"),
        ({"most": 1}, "most"),
        ({"least": 6}, "least"),
    ):
        assert cloud.refused(ann, tiers_.update, web, TierChange(**said)).field == field
    narrower = cloud.do(ann, tiers_.update, web, TierChange(most=3)).tier
    assert (narrower.count, narrower.most) == (3, 3)
    bob = cloud.account("bob")
    for use_case, *ask in ((tiers_.get,), (tiers_.update, TierChange(count=1))):
        assert isinstance(cloud.refused(bob, use_case, web, *ask), NotFound)


def test_elements_are_shown_by_their_names(lone_cloud):
    cloud = lone_cloud
    ann = prepare(cloud)
    made = cloud.do(ann, farms.create, farm_in()).farm
    for number in (1, 2):
        element(cloud, made, "web", number)
    (web,) = cloud.do(ann, tiers_.page, TierQuery(farm=made.id, name="web")).items
    assert [(each.name, each.state) for each in web.elements] == [
        ("shop-web-1", "serving"),
        ("shop-web-2", "serving"),
    ]
    assert cloud.do(ann, farms.get, FarmId(made.id)).tiers[0].serving == web.serving == 2


def test_a_tier_stays_of_its_versions_until_it_is_told_otherwise(lone_cloud):
    cloud = lone_cloud
    ann = prepare(cloud)
    id_ = FarmId(cloud.do(ann, farms.create, farm_in()).farm.id)
    found = cloud.do(ann, farms.get, id_)
    body = msgspec.convert({"image": "tiny", "offering": "large"}, BlueprintVersionIn)
    cloud.do(ann, blueprints.create_version, found.tiers[0].blueprint, body)
    same = cloud.do(ann, farms.update, id_, whole(SHOP))
    assert {step.sign for step in same.steps} == {"="}
    newer = [{**SHOP["tiers"][0], "version": 2}, *SHOP["tiers"][1:]]
    changed = cloud.do(ann, farms.update, id_, change(tiers=newer))
    assert [step.about for step in changed.steps if step.sign == "~"] == [
        "version 1 -> 2, other ways in"
    ]


def test_a_tier_that_nobody_calls_is_still_looked_at_and_one_that_answers_nowhere_is_not(cloud):
    ann = prepare(cloud)
    alone = {**SHOP, "passages": [], "ways_in": []}
    made = cloud.do(ann, farms.create, msgspec.convert(alone, FarmIn))
    id_ = FarmId(made.farm.id)
    probes = [f"+ probe {name}:probe" for name in ("web", "app", "db")]
    assert [each for each in signs(made) if "probe" in each] == probes
    assert made.steps[3].about == "checks port 8080"
    body = msgspec.convert({"image": "tiny", "offering": "small"}, BlueprintVersionIn)
    cloud.do(ann, blueprints.create_version, made.farm.tiers[0].blueprint, body)
    newer = [{**each, "version": 2} for each in SHOP["tiers"]]
    changed = cloud.do(ann, farms.update, id_, change(tiers=newer))
    assert [each for each in signs(changed) if "probe" in each] == [
        f"- {each[2:]}" for each in probes
    ]
    assert cloud.rows("select name from balancer") == []


def test_a_tier_that_is_called_at_several_ports_has_its_name_at_the_first(cloud):
    ann = prepare(cloud)
    id_ = FarmId(cloud.do(ann, farms.create, farm_in()).farm.id)

    def named(*ports: int) -> list[tuple[str, int]]:
        calls = [{"source": "web", "to": "app", "port": port} for port in ports]
        cloud.do(ann, farms.update, id_, change(passages=[*calls, SHOP["passages"][1]]))
        return cloud.rows(
            "select name, port from balancer where name like 'shop-app%' order by port"
        )

    assert named(8080) == [("shop-app", 8080)]
    assert named(8080, 80) == [("shop-app", 80), ("shop-app-8080-inner", 8080)]
    assert named(8080) == [("shop-app", 8080)]
    assert named(9090) == [("shop-app", 9090)]


def test_a_balancer_for_other_traffic_is_made_anew(cloud):
    ann = prepare(cloud)
    made = cloud.do(ann, farms.create, farm_in())
    ((before,),) = cloud.rows("select id from balancer where name = 'shop-web-80'")
    tcp = [{"tier": "web", "port": 80, "protocol": "tcp"}]
    changed = cloud.do(ann, farms.update, FarmId(made.farm.id), change(ways_in=tcp))
    assert [each for each in signs(changed) if "way in" in each] == [
        "- way in web:80",
        "+ way in web:80",
    ]
    ((after, traffic),) = cloud.rows("select id, traffic from balancer where name = 'shop-web-80'")
    assert (after != before, traffic) == (True, "tcp")
    closer = [{**tcp[0], "cidr": "198.51.100.0/24"}]
    changed = cloud.do(ann, farms.update, FarmId(made.farm.id), change(ways_in=closer))
    assert [each for each in signs(changed) if each[0] != "="] == ["~ way in web:80"]
    assert cloud.rows("select id, cidr from balancer where name = 'shop-web-80'") == [
        (after, "198.51.100.0/24")
    ]


def test_what_a_farm_made_is_changed_by_the_farm_alone(cloud):
    ann = prepare(cloud)
    made = cloud.do(ann, farms.create, farm_in())
    ids = {f"{step.what} {step.name}": step.id for step in made.steps}
    machine = cloud.deploy(ann, name="x", farm="shop", networks=(NicIn(network="shop-web"),))
    (one,) = machine.machines
    element(cloud, made.farm, "web", machine=one.id)
    ((nic,),) = cloud.rows("select id from nic")
    ((public,),) = cloud.rows("select address from balancer where kind = 'public'")
    volume = cloud.do(ann, volumes.create, VolumeIn(name="data", offering="ten")).id
    with cloud.database.write() as tx:
        for kind, name, id_ in (("volume", "web-1-data", volume), ("address", "web", public)):
            farm_documents.put_part(
                tx, Part(farm=FarmId(made.farm.id), kind=PartKind(kind), name=name, id=id_)
            )
    balancer = ids["way in web:80"]
    for use_case, id_, *ask in (
        (networks.delete, ids["network app"]),
        (networks.update, ids["network app"], NetworkChange(name="mine")),
        (rules.delete, ids["passage web>app:tcp:8080"]),
        (balancers.delete, balancer),
        (balancers.update, balancer, BalancerChange(name="mine")),
        (balancers.add_member, balancer, MemberIn(machine="x", port=80)),
        (balancers.update_member, balancer, one.id, MemberChange(weight=2)),
        (balancers.remove_member, balancer, one.id),
        (power.stop, one.id, StopIn()),
        (power.destroy, one.id, DestroyIn()),
        (power.expunge, one.id),
        (machines.update, one.id, MachineChange(name="mine")),
        (machines.resize, one.id, ResizeIn(offering="large")),
        (nics.attach, AttachIn(machine=one.id, network="shop-app")),
        (nics.update, nic, NicChange(default=True)),
        (nics.detach, nic),
        (volumes.update, volume, VolumeChange(name="mine")),
        (volumes.delete, volume),
        (attachments.attach, volume, AttachVolumeIn(machine=one.id)),
        (attachments.detach, volume, DetachVolumeIn()),
        (addresses.release, public),
    ):
        refused = cloud.refused(ann, use_case, id_, *ask)
        assert isinstance(refused, Conflict), use_case
        assert "which alone changes it" in refused.public, (use_case, refused.public)


def test_others_neither_see_nor_change_a_farm(cloud):
    ann, bob = prepare(cloud), prepare(cloud, "bob")
    made = cloud.do(ann, farms.create, farm_in())
    for use_case, *ask in ((farms.get,), (farms.update, whole(SHOP)), (farms.delete,)):
        assert isinstance(cloud.refused(bob, use_case, made.farm.id, *ask), NotFound)
    theirs = cloud.do(bob, farms.create, farm_in())
    assert theirs.farm.id != made.farm.id
    reader = cloud.account("eve", role="read-only")
    assert isinstance(cloud.refused(reader, farms.create, farm_in()), Forbidden)


def test_the_default_farm_is_filled_by_hand(lone_cloud):
    cloud = lone_cloud
    ann = prepare(cloud)
    cloud.deploy(ann)
    ((id_,),) = cloud.rows("select id from farm")
    assert isinstance(cloud.refused(ann, farms.create, farm_in(name="default")), BadInput)
    for use_case, *ask in ((farms.update, change(tiers=[])), (farms.delete,)):
        assert isinstance(cloud.refused(ann, use_case, id_, *ask), Conflict)
    shown = cloud.do(ann, farms.get, id_)
    assert (shown.spec, shown.by_hand, shown.tiers) == (None, 1, [])


def test_a_machine_has_ports_on_networks_of_its_own_farm_alone(cloud):
    ann = prepare(cloud)
    shop = cloud.do(ann, farms.create, farm_in()).farm
    cloud.do(ann, farms.create, farm_in(name="other"))
    web, app, other = (
        NicIn(network="shop-web"),
        NicIn(network="shop-app"),
        NicIn(network="other-web"),
    )
    for said, field in (
        ({"networks": (web, other)}, "networks.1.network"),
        ({"networks": (other,), "farm": "shop"}, "networks.0.network"),
        ({"networks": (NicIn(), web)}, "networks.1.network"),
        ({"networks": (web,), "farm": "default"}, "networks.0.network"),
    ):
        with pytest.raises(Conflict) as refused:
            cloud.deploy(ann, **said)
        assert refused.value.field == field
    with pytest.raises(BadInput) as unsaid:
        cloud.deploy(ann, farm="shop")
    assert unsaid.value.field == "networks"
    (one,) = cloud.deploy(ann, name="in", networks=(web, app)).machines
    ((farm, kept),) = cloud.rows("select farm, state from machine")
    assert farm == shop.id
    cloud.run("update machine set state = 'stopped', operation = null")
    refused = cloud.refused(ann, nics.attach, AttachIn(machine=one.id, network="other-app"))
    assert (refused.field, kept) == ("network", "waiting")
    cloud.deploy(ann, name="by-default")
    cloud.deploy(ann, name="again", farm="default", networks=(NicIn(),))
