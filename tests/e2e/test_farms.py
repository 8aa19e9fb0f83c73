"""A farm by a document in a real lab: it grows and shrinks under load and no request fails, and leaves nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from arable.wire.farms import FarmQuery
from arable.wire.tiers import TierChange
from cli.command_line import Arable
from e2e.belief_and_truth import believed, true
from e2e.crowd import crowd
from e2e.customers import Customer, customer
from e2e.guest_terminal import Terminal
from e2e.lab_cloud import LabCloud
from e2e.patience import settled

pytestmark = pytest.mark.real

# Elements answer at 8080, too, and nobody is to reach them there.
FARM = """
kind: blueprint
name: page
image: tiny
offering: tiny
ports: [{port: 80, protocol: http}]
check: {kind: http, path: /, interval: 1, timeout: 5, rise: 1}
user_data: |
  #!/bin/sh
  httpd -p 8080 -h /www
---
kind: farm
name: shop
networks:
  - {name: web}
  - {name: app, isolated: true}
tiers:
  - {name: web, blueprint: page, networks: [web], least: 1, most: 2}
  - {name: app, blueprint: page, networks: [app]}
passages:
  - {source: web, to: app, port: 80}
ways_in:
  - {tier: web, port: 80}
"""
PORTS = (22, 53, 80, 81, 443, 8080)
# Says which of the places takes connections; all are asked at once, as one that says nothing is waited for.
WHO_TAKES = (
    "for at in {}; do (nc -w 5 ${{at%:*}} ${{at#*:}} < /dev/null > /dev/null 2>&1 && echo $at) &"
    " done; wait"
)


@pytest.fixture
def owner(cloud: LabCloud) -> Iterator[Customer]:
    made = customer(cloud.operator, cloud.url, "shopkeeper")
    try:
        yield made
    finally:
        made.close()


def test_a_farm_grows_and_shrinks_under_load_and_no_request_fails(
    cloud: LabCloud, owner: Customer, tmp_path: Path
) -> None:
    (tmp_path / "shop.yaml").write_text(FARM)
    arable = Arable(tmp_path, {"ARABLE_URL": owner.url, "ARABLE_TOKEN": owner.token})
    applied = arable.json("farm", "apply", "-f", str(tmp_path / "shop.yaml"))
    address, _, port = applied[-1]["about"].partition(":")
    (farm,) = owner.api.farms.all(FarmQuery(name="shop"))
    web = next(tier.id for tier in farm.tiers if tier.name == "web")
    vlans = {cloud.vlan(network.id) for network in owner.api.networks.all()}
    assert len(vlans) == 2
    assert vlans < true(cloud)["a1"].tags, "and one between the routers, of the passage"

    with crowd(cloud.netns("internet"), address, int(port)) as people:
        people.hears("hostname=shop-web-1")
        more = owner.api.tiers.update(web, TierChange(count=2)).operation
        _web_calls_app_at_its_port_and_at_no_other(owner)
        owner.wait(more)
        people.hears("hostname=shop-web-1", "hostname=shop-web-2")
        owner.wait(owner.api.tiers.update(web, TierChange(count=1)).operation)
        alone = len(people.answers)
        people.hears("hostname=shop-web-1")
        assert people.since(alone) == {"hostname=shop-web-1"}
    assert not people.failures(), f"of {len(people.answers)}"
    assert set(owner.machines()) == {"shop-web-1", "shop-app-1"}

    owner.hang_up()
    arable("farm", "delete", "shop")
    for group in (owner.api.farms, owner.api.tiers, owner.api.networks, owner.api.balancers):
        assert [one.name for one in group.all() if one.name != "default"] == []
    assert owner.machines() == {}
    assert not list(owner.api.volumes.all())
    settled(lambda: true(cloud) == believed(cloud), wanted=True)
    assert not any(vlans & host.tags for host in true(cloud).values())


def _web_calls_app_at_its_port_and_at_no_other(owner: Customer) -> None:
    """Seen from within: what is there, and what of that the passage leads to: its port, by the name and at the element."""
    app, its = owner.at("shop-app-1"), owner.address("shop-app-1")
    at, name = owner.at("shop-web-1"), "app.shop.internal"
    assert at.run(f"wget -q -O - http://{name}").splitlines()[0] == "hostname=shop-app-1"
    assert _taking(app, its) >= {f"{its}:80", f"{its}:8080"}
    assert _taking(at, name, its) == {f"{name}:80", f"{its}:80"}
    assert not _taking(app, owner.address("shop-web-1"))


def _taking(at: Terminal, *hosts: str) -> set[str]:
    """Where somebody takes connections from there, of those ports."""
    there = " ".join(f"{host}:{port}" for host in hosts for port in PORTS)
    return set(at.run(WHO_TAKES.format(there)).split())
