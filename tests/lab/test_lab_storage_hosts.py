"""Hosts of a lab that have the role `storage` share their disks; the others keep theirs to themselves."""

import pytest
import yaml

from arable.agent.config import Iscsi, Local, Nbd, read
from arable.lab import setup, topology
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
