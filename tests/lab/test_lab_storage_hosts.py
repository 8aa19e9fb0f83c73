"""Hosts of a lab that have the role `storage` share their disks; the others keep theirs to themselves."""

import pytest
import yaml

from arable.agent.config import File, Iscsi, Local, Nbd, read
from arable.domain.errors import BadInput
from arable.lab import plan, power, setup, topology
from arable.lab.record import Place
from lab.test_topology import SMALL


@pytest.mark.parametrize(("said", "kind"), [({}, Nbd), ({"shares": "iscsi"}, Iscsi)])
def test_the_role_says_who_shares(tmp_path, said, kind) -> None:
    tree = yaml.safe_load(SMALL)
    host = tree["regions"][0]["zones"][0]["pods"][0]["hosts"][1]
    host |= {"roles": ["compute", "storage"], **said}
    (region,) = topology.parse(yaml.safe_dump(tree)).regions
    chosen = {}
    for pod, host in region.zones[0].hosts():
        path = tmp_path / f"{host.name}.yaml"
        path.write_bytes(setup._config(region, region.zones[0], pod, host))
        chosen[host.name] = (read(path).storage, str(pod.address(host)))
    shares = {name for name, (storage, _) in chosen.items() if isinstance(storage, kind)}
    assert shares == {"a2"}
    storage, address = chosen["a2"]
    assert storage == kind(address=address)
    assert isinstance(chosen["a1"][0], Local)


def with_files(**second: object) -> str:
    """The small example: its second host keeps a pool of files, which the first one has mounted."""
    tree = yaml.safe_load(SMALL)
    hosts = tree["regions"][0]["zones"][0]["pods"][0]["hosts"]
    hosts[1] |= {"roles": ["storage"], "shares": "file", **second}
    hosts[0]["mounts"] = ["a2"]
    return yaml.safe_dump(tree)


def test_a_pool_of_files_is_at_the_same_path_on_its_keeper_and_where_it_is_mounted(
    tmp_path,
) -> None:
    found = topology.parse(with_files())
    (region,) = found.regions
    chosen = {}
    for pod, host in region.zones[0].hosts():
        path = tmp_path / f"{host.name}.yaml"
        path.write_bytes(setup._config(region, region.zones[0], pod, host))
        chosen[host.name] = read(path)
    keeper = chosen["a2"].storage
    assert isinstance(keeper, File)
    assert chosen["a1"].file_pools == [keeper.directory]
    assert isinstance(chosen["a1"].storage, Local)
    place = Place(tmp_path)
    devices = plan.plan(found).devices
    for name in ("a1", "a2"):
        place.device(name).mkdir(parents=True)
    mounts = [power.mounts(place, devices[name]) for name in ("a1", "a2")]
    assert mounts[0] == mounts[1]
    ((directory, where),) = mounts[0].items()
    assert where == str(keeper.directory)
    assert directory.is_dir()
    assert not power.mounts(place, devices["zone1"])


@pytest.mark.parametrize("second", [{"shares": "nbd"}, {"roles": ["compute"]}, {"simulated": True}])
def test_only_a_pool_of_files_can_be_mounted(second) -> None:
    with pytest.raises(BadInput, match="no host of pod-a keeps a pool of files") as refused:
        topology.parse(with_files(**second))
    assert refused.value.field == "regions.0.zones.0.pods.0.hosts.0.mounts"
