"""Whatever documents follow each other, a farm is as the last one says."""

from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_cloud import Cloud, make_cloud
from make_farm import prepare, whole

from arable.domain.access import Caller
from arable.domain.errors import Conflict
from arable.domain.ids import FarmId
from arable.services import addresses, blueprints, farms, networks
from arable.wire.addresses import AddressIn
from arable.wire.blueprints import BlueprintIn
from arable.wire.farms import FarmIn
from arable.wire.networks import NetworkIn
from databases import fresh_sqlite

NAMES = ("a", "b", "c")


def _spec(networks: Any, tiers: Any, passages: Any, ways: Any) -> dict[str, Any]:
    """One that can be: what it names is there."""
    homes: dict[str, tuple[str, int]] = {}
    for name, network, least in tiers:
        if network in networks:
            homes.setdefault(name, (network, least))
    called: dict[tuple[str, int], str] = {}  # of one network one tier can be called at a port
    there = {(homes[tier][0], port): (tier, port) for tier, port in ways if tier in homes}
    return {
        "networks": [{"name": name} for name in networks],
        "tiers": [
            {"name": name, "blueprint": "plain", "networks": [network], "least": least}
            for name, (network, least) in homes.items()
        ],
        "passages": [
            {"source": one, "to": other, "port": port}
            for one, other, port in passages
            if one in homes
            and other in homes
            and called.setdefault((homes[other][0], port), other) == other
        ],
        "ways_in": [{"tier": tier, "port": port} for tier, port in there.values()],
    }


SPECS = st.builds(
    _spec,
    st.lists(st.sampled_from(NAMES), unique=True, min_size=1),
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES), st.integers(0, 3)), max_size=3),
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES), st.sampled_from([80, 90])), max_size=4),
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from([80, 90])), max_size=3),
)  # fmt: skip


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(specs=st.lists(SPECS, min_size=1, max_size=4))
def test_whatever_documents_follow_each_other_the_farm_is_as_the_last_one_says(
    tmp_path_factory, specs
):
    """The plan is what is then done; what is by hand stays; and from the last document nothing more follows."""
    with fresh_sqlite(tmp_path_factory.mktemp("farms")) as database:
        cloud = make_cloud(database)
        ann = prepare(cloud)
        plain = msgspec.convert(
            {"name": "plain", "image": "tiny", "offering": "small"}, BlueprintIn
        )
        cloud.do(ann, blueprints.create, plain)
        id_ = FarmId(cloud.do(ann, farms.create, msgspec.convert({"name": "f"}, FarmIn)).farm.id)
        cloud.do(ann, networks.create, NetworkIn(name="mine", farm="f", cidr="10.9.0.0/24"))
        cloud.do(ann, addresses.acquire, AddressIn(name="kept"))
        for spec in specs:
            moved = _moved(cloud, ann, id_, spec)
            if moved:
                continue
            cloud.do(ann, farms.update, id_, whole(spec))
            again = cloud.do(ann, farms.update, id_, whole(spec))
            assert {step.sign for step in again.steps} <= {"="}
            _is_as(cloud, spec)


def _moved(cloud: Cloud, ann: Caller, id_: FarmId, spec: dict[str, Any]) -> bool:
    """Whether it says of a tier that it is elsewhere, which is refused."""
    homes = {each["name"]: each["networks"] for each in spec["tiers"]}
    now = (cloud.do(ann, farms.get, id_).spec or {}).get("tiers", [])
    if all(homes.get(each["name"], each["networks"]) == each["networks"] for each in now):
        return False
    assert isinstance(cloud.refused(ann, farms.update, id_, whole(spec)), Conflict)
    return True


def _is_as(cloud: Cloud, spec: dict[str, Any]) -> None:
    wanted = {f"f-{each['name']}" for each in spec["networks"]} | {"mine"}
    ready = cloud.rows("select name from network where state = 'ready'")
    assert {name for (name,) in ready} == wanted
    home = {each["name"]: each["networks"][0] for each in spec["tiers"]}
    assert {name for (name,) in cloud.rows("select name from tier")} == set(home)
    calls = {
        (f"f-{home[each['source']]}", f"f-{home[each['to']]}", each["port"])
        for each in spec["passages"]
        if home[each["source"]] != home[each["to"]]
    }
    there = cloud.rows(
        "select s.name, n.name, r.first_port from rule r join network n on n.id = r.network "
        "join network s on s.id = r.source"
    )
    assert set(there) == calls
    assert len(there) == len(calls)
    ways = {(f"f-{home[each['tier']]}", each["port"], "public") for each in spec["ways_in"]}
    ways |= {(f"f-{home[each['to']]}", each["port"], "inner") for each in spec["passages"]}
    rows = cloud.rows(
        "select n.name, b.port, b.kind from balancer b join network n on n.id = b.network"
    )
    assert sorted(rows) == sorted(ways)
    ((kept,),) = cloud.rows("select count(*) from address where name = 'kept'")
    assert kept == 1
    ((parts,),) = cloud.rows("select count(*) from farm_part")
    assert parts == len(spec["networks"]) + len(calls) + len(ways)
