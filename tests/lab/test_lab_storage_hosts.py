"""Hosts of a lab that have the role `storage` share their disks; the others keep theirs to themselves."""

import yaml

from arable.agent.config import Local, Nbd, read
from arable.lab import setup, topology
from lab.test_topology import SMALL


def test_the_role_says_who_shares(tmp_path) -> None:
    tree = yaml.safe_load(SMALL)
    tree["regions"][0]["zones"][0]["pods"][0]["hosts"][1]["roles"] = ["compute", "storage"]
    (region,) = topology.parse(yaml.safe_dump(tree)).regions
    chosen = {}
    for pod, host in region.zones[0].hosts():
        path = tmp_path / f"{host.name}.yaml"
        path.write_bytes(setup._config(region, pod, host))
        chosen[host.name] = (read(path).storage, str(pod.address(host)))
    shares = {name for name, (storage, _) in chosen.items() if isinstance(storage, Nbd)}
    assert shares == {"a2"}
    storage, address = chosen["a2"]
    assert storage == Nbd(address=address)
    assert isinstance(chosen["a1"][0], Local)
