"""Bad topologies are refused with the place where they are wrong; good ones mean what they say."""

from ipaddress import IPv4Address
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from arable.domain.errors import BadInput
from arable.lab import plan, topology

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = (EXAMPLES / "lab-small.yaml").read_text()


def changed(path: str, value: object) -> str:
    """The small example with one value changed (or, with `...`, left out)."""
    tree = yaml.safe_load(SMALL)
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    at = tree
    for step in way:
        at = at[step]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return yaml.safe_dump(tree)


ZONE = "regions.0.zones.0"
POD = f"{ZONE}.pods.0"
HOST = f"{POD}.hosts.0"


@pytest.mark.parametrize("name", ["lab.yaml", "lab-small.yaml", "lab-vm-routers.yaml"])
def test_an_example_loads(name: str) -> None:
    found = topology.load(EXAMPLES / name)
    assert [host.name for _, _, host in found.hosts()][:2] == ["a1", "a2"]


def test_hosts_get_addresses_above_their_router() -> None:
    pod = topology.parse(SMALL).regions[0].zones[0].pods[0]
    assert pod.gateway == IPv4Address("172.30.1.1")
    assert [str(pod.address(host)) for host in pod.hosts] == ["172.30.1.11", "172.30.1.12"]


def several(count: int, **region: object) -> str:
    tree = yaml.safe_load(SMALL)
    tree["regions"][0] |= {"servers": count, **region}
    return yaml.safe_dump(tree)


def test_several_servers_have_addresses_cables_and_names_of_their_own() -> None:
    found = topology.parse(several(3))
    (region,) = found.regions
    assert [(each.name, str(each.address)) for each in region.management] == [
        ("home-1", "172.31.255.10"),
        ("home-2", "172.31.255.11"),
        ("home-3", "172.31.255.12"),
    ]
    made = plan.plan(found)
    assert {"home-1", "home-2", "home-3"} <= made.wires.keys()
    assert [device.name for device in made.of(plan.Kind.SERVER)] == ["home-1", "home-2", "home-3"]
    ways = {route.destination: route.via for route in made.devices["zone1"].routes}
    assert ways["172.31.255.13/32"] == "", "or what the hub asks the zone is not answered"
    assert ways["172.31.255.11/32"] == "172.31.255.13"
    assert (
        "ip daddr { 172.31.255.10, 172.31.255.11, 172.31.255.12 }" in made.devices["zone1"].firewall
    )


def in_a_grid(**changes: object) -> str:
    tree = yaml.safe_load((EXAMPLES / "three-regions.yaml").read_text())
    tree["regions"][0] |= changes
    return yaml.safe_dump(tree)


def test_regions_of_a_grid_are_joined_by_a_wan_with_limited_links() -> None:
    made = plan.plan(topology.parse(in_a_grid(wan_mbit=7)))
    links = {wire.name: wire.mbit for wire in made.wires_of("wan")}
    assert links == {"san-jose.wan": 7, "new-york.wan": 100, "london.wan": 100, "grid": 0}
    ways = {route.destination: route.interface for route in made.devices["wan"].routes}
    assert ways == {
        "172.31.255.1/32": "grid",
        "172.31.255.10/32": "san-jose",
        "172.31.255.20/32": "new-york",
        "172.31.255.30/32": "london",
    }
    assert {"tcp dport 8445 counter accept", 'counter drop comment "refused"'} <= {
        line.strip() for line in made.devices["london"].firewall.splitlines()
    }
    assert "wan" not in made.wires, "hosts and guests have no way there"
    assert not plan.plan(topology.parse(SMALL)).devices["home"].firewall


def test_several_servers_of_a_region_are_on_the_wan_by_their_hub() -> None:
    made = plan.plan(topology.parse(in_a_grid(servers=2)))
    ways = {route.destination: route.via for route in made.devices["wan"].routes}
    assert ways["172.31.255.12/32"] == "", "the hub itself"
    assert ways["172.31.255.11/32"] == "172.31.255.12"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (several(1, wan_mbit=100), "regions.0.wan_mbit"),
        (in_a_grid(wan_mbit=0), "regions.0.wan_mbit"),
        (in_a_grid(bmc=True), "regions.0.bmc"),
        (in_a_grid(name="wan"), "regions.0.name"),
        (in_a_grid(server="172.31.255.2"), "regions.0.server"),
        (in_a_grid().replace("172.31.255.1\n", "255.255.255.255\n"), "grid.server"),
        (several(3, server="255.255.255.254"), "regions.0.server"),
    ],
)
def test_a_grid_that_can_not_be_is_refused(text: str, field: str) -> None:
    with pytest.raises(BadInput) as refused:
        topology.parse(text)
    assert refused.value.field == field


def test_the_only_server_of_a_region_is_called_like_it_and_stands_in_its_midst() -> None:
    found = topology.parse(SMALL)
    assert [each.name for each in found.regions[0].management] == ["home"]
    made = plan.plan(found)
    assert not list(made.of(plan.Kind.SERVER))
    assert made.devices["home"].addresses == (("lo", "172.31.255.10/32"),)


def test_servers_do_not_take_the_addresses_or_names_of_others() -> None:
    with pytest.raises(BadInput, match="overlaps") as refused:
        topology.parse(several(3, server="172.29.255.254"))  # and the next are the zone's
    assert refused.value.field == "regions.0.zones.0.management"
    with pytest.raises(BadInput, match="taken"):
        topology.parse(several(2).replace("name: a1", "name: home-2"))


def test_a_simulated_host_has_an_address_and_no_switch() -> None:
    found = plan.plan(topology.parse(changed(f"{HOST}.simulated", True)))
    assert found.devices["a1"].switch is None
    assert found.devices["a1"].addresses == ((plan.UPLINK, "172.30.1.11/24"),)
    assert found.devices["a2"].switch


@pytest.mark.parametrize(
    ("path", "value", "field", "says"),
    [
        (f"{HOST}.memroy_mib", 1, HOST, "memroy_mib"),
        (f"{HOST}.cpus", "8", f"{HOST}.cpus", "int"),
        (f"{HOST}.cpus", 0, f"{HOST}.cpus", ">= 1"),
        (f"{HOST}.memory_mib", ..., HOST, "memory_mib"),
        (f"{HOST}.roles", ["cooking"], f"{HOST}.roles.0", "cooking"),
        (f"{HOST}.roles", [], f"{HOST}.roles", ">= 1"),
        (f"{HOST}.roles", ["compute", "compute"], f"{HOST}.roles", "twice"),
        (f"{HOST}.name", "a" * 13, f"{HOST}.name", "regex"),
        (f"{HOST}.name", "a1\n", f"{HOST}.name", "regex"),
        (f"{HOST}.name", "internet", f"{HOST}.name", "needs itself"),
        (f"{HOST}.name", "a2", f"{POD}.hosts.1.name", "taken"),
        (f"{HOST}.simulated", "yes", f"{HOST}.simulated", "bool"),
        ("regions.0.servers", 0, "regions.0.servers", ">= 1"),
        ("regions.0.servers", 10, "regions.0.servers", "<= 9"),
        (f"{POD}.hosts", [], f"{POD}.hosts", ">= 1"),
        (f"{POD}.management", "172.30.1.5/24", f"{POD}.management", "host bits"),
        (f"{POD}.management", "172.29.1.0/24", f"{POD}.management", "not inside"),
        (f"{POD}.management", "172.30.1.0/29", f"{POD}.management", "too small"),
        (f"{ZONE}.management", "fd00::/64", f"{ZONE}.management", "IPv4"),
        (f"{ZONE}.management", "172.16.0.0/12", f"{ZONE}.management", "overlaps"),
        (f"{ZONE}.guest_vlans.first", 200, f"{ZONE}.guest_vlans", "empty"),
        (f"{ZONE}.guest_vlans.first", 1, f"{ZONE}.guest_vlans.first", ">= 2"),
        (
            f"{ZONE}.guest_vnis",
            {"first": 5000, "last": 5001},
            f"{ZONE}.guest_vlans",
            "or guest_vnis",
        ),
        (f"{ZONE}.guest_vlans.last", 4095, f"{ZONE}.guest_vlans.last", "<= 4094"),
        (f"{ZONE}.public.vlan", 110, f"{ZONE}.public.vlan", "guest VLAN range"),
        (f"{ZONE}.public.cidr", "172.30.0.0/24", f"{ZONE}.public.cidr", "overlaps"),
        (f"{ZONE}.public.first", "203.0.113.0", f"{ZONE}.public.first", "no address"),
        (f"{ZONE}.public.last", "203.0.114.9", f"{ZONE}.public.last", "no address"),
        (f"{ZONE}.public.first", "203.0.113.40", f"{ZONE}.public.first", "empty"),
        (f"{ZONE}.public.gateway", "203.0.113.12", f"{ZONE}.public.gateway", "give out"),
        (f"{ZONE}.public.gateway", "nowhere", f"{ZONE}.public.gateway", "IPv4 address"),
        ("regions.0.server", "172.30.1.200", f"{ZONE}.management", "overlaps"),
        ("regions", [], "regions", ">= 1"),
        ("region", 1, "", "region"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(
    path: str, value: object, field: str, says: str
) -> None:
    with pytest.raises(BadInput) as refused:
        topology.parse(changed(path, value))
    assert refused.value.field == field
    assert says in refused.value.public


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("regions: [", "not YAML"),
        ("regions: []\nregions: []", "twice"),
        ("? [a]\n: b", "word"),
        ("", "object"),
        ("!!python/object/apply:os.getcwd []", "not YAML"),
        ("\x00", "not YAML"),
    ],
)
def test_text_that_is_no_topology_is_refused(text: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        topology.parse(text)


def test_a_file_that_is_wrong_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    with pytest.raises(BadInput, match=r"mine\.yaml"):
        topology.load(file)
    file.write_text(changed(f"{HOST}.cpus", -1))
    with pytest.raises(BadInput, match=r"mine\.yaml: regions\.0\..*cpus"):
        topology.load(file)


def test_two_zones_may_not_share_addresses() -> None:
    tree = yaml.safe_load(SMALL)
    other = yaml.safe_load(changed(f"{ZONE}.name", "zone2"))["regions"][0]["zones"][0]
    tree["regions"][0]["zones"].append(other)
    with pytest.raises(BadInput) as refused:
        topology.parse(yaml.safe_dump(tree))
    assert refused.value.field == "regions.0.zones.1.management"


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["regions", "name", "zones", "x"]), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_whatever_is_written_the_answer_is_a_topology_or_a_refusal(tree: object) -> None:
    try:
        made = topology.parse(yaml.safe_dump(tree))
    except BadInput:
        return
    assert topology.parse(msgspec.yaml.encode(made).decode()) == made
