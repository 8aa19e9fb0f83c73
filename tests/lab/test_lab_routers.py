"""Where a lab's topology says so, routers are virtual machines: its hosts can have them, and its zone wants them."""

from pathlib import Path

import pytest

from arable.agent.config import Namespace, RouterMachines, read
from arable.lab import setup, topology
from lab.test_topology import EXAMPLES, SMALL

IMAGE = Path("/srv/router-image")


@pytest.mark.parametrize(
    ("text", "runtime", "machines"),
    [
        (SMALL, "namespace", None),
        (
            (EXAMPLES / "lab-vm-routers.yaml").read_text(),
            "vm",
            RouterMachines(image=IMAGE),
        ),
    ],
)
def test_a_zone_says_what_its_routers_are(tmp_path, text, runtime, machines) -> None:
    (region,) = topology.parse(text).regions
    (zone,) = region.zones
    assert setup._zone(region, zone).router_runtime == runtime
    for pod, host in zone.hosts():
        path = tmp_path / f"{host.name}.yaml"
        path.write_bytes(setup._config(region, zone, pod, host, IMAGE))
        assert read(path).appliances == Namespace(machines=machines)
