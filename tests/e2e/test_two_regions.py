"""Two regions in one topology are two clouds: each starts with its own server, store and zone, and none reaches the other."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from arable.client.arable import Arable
from arable.client.errors import Refused, Unreachable
from arable.client.patience import Patience
from arable.domain.errors import BadInput
from arable.drivers.namespaces import inside
from arable.lab import fail, topology
from arable.lab.topology import GATEWAY_PORT
from arable.processes import up
from arable.processes.up import Cloud, Wanted
from arable.processes.up_commands import look_around
from arable.runtime.clock import RealClock
from arable.wire.machines import DeployIn

REGIONS = Path(__file__).parents[2] / "examples/lab-regions.yaml"


@dataclass
class TwoClouds:
    made: Cloud
    north: Arable
    south: Arable


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoClouds]:
    text = REGIONS.read_text().replace("    zones:", "    bmc: true\n    zones:")
    wanted = Wanted(
        data=tmp_path_factory.mktemp("regions"),
        topology=topology.parse(text),
        api="127.0.0.1:0",
    )
    with ExitStack() as stack:
        made = stack.enter_context(up.cloud(wanted, RealClock(), lambda _line: None))
        operators = [
            stack.enter_context(made.operator_of(region)) for region in wanted.topology.regions
        ]
        yield TwoClouds(made, *operators)


@pytest.mark.real
def test_each_region_has_its_own_server_store_and_zone(two: TwoClouds) -> None:
    assert [zone.name for zone in two.north.zones.all()] == ["north1"]
    assert [zone.name for zone in two.south.zones.all()] == ["south1"]
    assert [(host.name, host.state) for host in two.north.hosts.all()] == [("n1", "up")]
    assert [(host.name, host.state) for host in two.south.hosts.all()] == [("s1", "up")]
    for cloud in (two.north, two.south):  # the same name twice, and the same VLAN on either side
        asked = cloud.machines.deploy(DeployIn(name="web", image="tiny", offering="tiny"))
        cloud.operations.wait(asked.operation, seconds=120)
    (north,), (south,) = two.north.networks.all(), two.south.networks.all()
    assert (north.vlan, north.id == south.id) == (south.vlan, False)
    (machine,) = two.north.machines.all()
    with pytest.raises(Refused) as refused:
        two.south.machines.get(machine.id)
    assert refused.value.status == 404


@pytest.mark.real
def test_a_credential_of_one_region_opens_nothing_in_another(two: TwoClouds) -> None:
    key = (
        up.server_data(two.made.wanted, two.made.wanted.topology.regions[0]) / "setup.key"
    ).read_text()
    with (
        Arable(two.made.ready["south"].api, key) as stranger,
        pytest.raises(Refused) as refused,
    ):
        stranger.zones.page()
    assert refused.value.status == 401


@pytest.mark.real
def test_hosts_reach_the_servers_of_their_own_region_alone(two: TwoClouds) -> None:
    def reaches(host: str, server: str) -> bool:
        assert two.made.site
        address = (server, GATEWAY_PORT)

        def knock() -> bool:
            try:
                socket.create_connection(address, 2).close()
            except OSError:
                return False
            return True

        return inside(two.made.site.place.namespace(host), knock)

    north, south = (region.server for region in two.made.wanted.topology.regions)
    assert [reaches("n1", north), reaches("n1", south)] == [True, False]
    assert [reaches("s1", south), reaches("s1", north)] == [True, False]


@pytest.mark.real
def test_one_switchboard_of_the_lab_serves_the_hosts_of_both(two: TwoClouds) -> None:
    known = [
        cloud.hosts.get(host.id).bmc
        for cloud in (two.north, two.south)
        for host in cloud.hosts.all()
    ]
    at = {one.url.partition("/redfish")[0] for one in known if one}
    assert (len(known), len(at)) == (2, 1)


@pytest.mark.real
def test_the_operator_is_told_of_both(two: TwoClouds) -> None:
    told = look_around(two.made)
    assert two.made.ready["north"].api in told
    assert f"--profile south --url {two.made.ready['south'].api}" in told
    assert "lab fail power s1 " in told, "a host that there is"


@pytest.mark.real
def test_without_its_server_one_region_stands_still_and_the_other_goes_on(two: TwoClouds) -> None:
    assert two.made.site
    fail.kill_server(two.made.site, "north")
    with (
        Arable(two.made.ready["north"].api, patience=Patience(tries=1)) as nobody,
        pytest.raises(Unreachable),
    ):
        nobody.zones.page()
    asked = two.south.machines.deploy(DeployIn(name="more", image="tiny", offering="tiny"))
    two.south.operations.wait(asked.operation, seconds=120)
    fail.start_server(two.made.site, "north")


def test_regions_can_not_share_a_database(tmp_path: Path) -> None:
    both = up.topology_of(REGIONS)
    shared = Wanted(data=tmp_path, topology=both, database="postgresql+psycopg:///arable")
    with (
        pytest.raises(BadInput, match="the same database") as refused,
        up.cloud(shared, RealClock(), lambda _line: None),
    ):
        pass
    assert refused.value.field == "database"
    assert not list(tmp_path.iterdir()), "nothing was begun"


@pytest.mark.parametrize(
    ("simulated", "database", "field"),
    [(False, "", "database"), (True, "postgresql+psycopg:///arable", "lab")],
)
def test_several_servers_take_a_postgresql_and_a_network(
    tmp_path: Path, simulated: bool, database: str, field: str
) -> None:
    three = up.topology_of(Path(__file__).parent / "three-servers.yaml")
    wanted = Wanted(data=tmp_path, topology=three, simulated=simulated, database=database)
    with (
        pytest.raises(BadInput, match="3 management servers") as refused,
        up.cloud(wanted, RealClock(), lambda _line: None),
    ):
        pass
    assert refused.value.field == field
