"""Farms by documents in a real lab.

One grows and shrinks under load, is renewed, and comes back from a version that serves nothing; and no request fails.
What it gives back goes to a rival's, which is called the same and waited for room: neither sees the other. Both leave nothing.
Another one keeps an element ready, which serves at once when it is needed.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from arable.domain.settings import CPU_PERCENT
from arable.lab.visitors import Visitors, visitors
from arable.runtime.clock import RealClock
from arable.wire.farms import FarmQuery
from arable.wire.hosts import HostChange
from arable.wire.offerings import OfferingIn
from arable.wire.tiers import TierChange, TierOut
from cli.command_line import Arable
from e2e.belief_and_truth import believed, true
from e2e.crowd import Crowd, crowd
from e2e.customers import Customer, customer
from e2e.guest_terminal import Terminal
from e2e.lab_cloud import LabCloud
from e2e.patience import settled, until

pytestmark = pytest.mark.real

# Elements answer at 8080, too, and nobody is to reach them there. All are on one host, which gets room for three. What
# they say of their edition is there when their user-data is through, and is what they are looked at by.
CELL = OfferingIn(name="cell", cpus=1, cpu_mhz=10_000, memory_mib=128, root_mib=64, tags=("right",))
BLUEPRINT = """
kind: blueprint
name: page
image: tiny
offering: cell
ports: [{port: 80, protocol: http}]
check: {kind: http, path: /edition, interval: 1, timeout: 5, rise: 1}
update: {surge: 1, unavailable: 0, bake_seconds: 2}
user_data: |
  #!/bin/sh
  httpd -p 8080 -h /www
  echo first > /www/edition
---
"""
FARM = f"""{BLUEPRINT}
kind: farm
name: shop
networks:
  - {{name: web}}
  - {{name: app, isolated: true}}
tiers:
  - {{name: web, blueprint: page, networks: [web], least: 1, most: 2}}
  - {{name: app, blueprint: page, networks: [app]}}
passages:
  - {{source: web, to: app, port: 80}}
ways_in:
  - {{tier: web, port: 80}}
"""
# The farm's web servers are made of another version each time; its other tier stays what it is made of.
FOLLOWS = FARM.replace("blueprint: page, networks: [web]", "blueprint: page, version: newest, networks: [web]")  # fmt: skip
SECOND = FOLLOWS.replace("echo first", "echo second")
DEAF = FOLLOWS.replace("echo first > /www/edition", "killall httpd").replace("update:", "ready_seconds: 20\nupdate:")  # fmt: skip
READERS = 4.0  # requests a second for the edition
RIVAL = f"""{BLUEPRINT}
kind: farm
name: shop
networks:
  - {{name: web, cidr: 10.77.0.0/24}}
tiers:
  - {{name: web, blueprint: page, networks: [web]}}
ways_in:
  - {{tier: web, port: 80}}
"""
PORTS = (22, 53, 80, 81, 443, 8080)
# Says which of the places takes connections; all are asked at once, as one that says nothing is waited for.
WHO_TAKES = (
    "for at in {}; do (nc -w 5 ${{at%:*}} ${{at#*:}} < /dev/null > /dev/null 2>&1 && echo $at) &"
    " done; wait"
)
WHO_HAS = "for it in {}; do arping -f -I eth0 -w 6 $it & done; wait"


@pytest.fixture
def owner(cloud: LabCloud) -> Iterator[Customer]:
    with _customer(cloud, "shopkeeper") as made:
        yield made


@pytest.fixture
def rival(cloud: LabCloud) -> Iterator[Customer]:
    with _customer(cloud, "rival") as made:
        yield made


@contextmanager
def _customer(cloud: LabCloud, name: str) -> Iterator[Customer]:
    made = customer(cloud.operator, cloud.url, name)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def keeper(cloud: LabCloud) -> Iterator[Customer]:
    with _customer(cloud, "kiosk-keeper") as made:
        yield made


@pytest.fixture(scope="module")
def cell(cloud: LabCloud) -> str:
    """The name of an offering that only one host has."""
    return cloud.operator.offerings.create(CELL).name


@pytest.fixture
def host(cloud: LabCloud, cell: str) -> Iterator[str]:
    """The id of the host that all elements are on."""
    assert cell == CELL.name
    (found,) = (each for each in cloud.operator.hosts.all() if "right" in each.tags)
    yield found.id
    cloud.operator.hosts.update(found.id, HostChange(cpu_percent=CPU_PERCENT.default))


def test_a_farm_grows_is_renewed_and_shrinks_and_what_it_gives_back_is_a_rivals_who_sees_nothing_of_it(
    cloud: LabCloud, owner: Customer, rival: Customer, host: str, tmp_path: Path
) -> None:
    arable, others = _command_line(tmp_path, owner, FARM), _command_line(tmp_path, rival, RIVAL)
    applied = arable.json("farm", "apply", "-f", str(arable.home / "shop.yaml"))
    address, _, port = applied[-1]["about"].partition(":")
    (farm,) = owner.api.farms.all(FarmQuery(name="shop"))
    web = next(tier.id for tier in farm.tiers if tier.name == "web")
    vlans = {cloud.vlan(network.id) for network in owner.api.networks.all()}
    assert len(vlans) == 2
    assert vlans < true(cloud)["a1"].tags, "and one between the routers, of the passage"

    outside, at = cloud.netns("internet"), (address, int(port))
    with (
        crowd(outside, *at) as people,
        visitors(outside, at, "/edition", READERS, RealClock(), count=2) as readers,
    ):
        people.hears("hostname=shop-web-1")
        more = owner.api.tiers.update(web, TierChange(count=2)).operation
        _web_calls_app_at_its_port_and_at_no_other(owner)
        owner.wait(more)
        owner.hang_up()  # the machines will be others
        _it_is_renewed(arable, owner, people, readers)
        _it_comes_back_from_what_serves_nothing(arable, owner, people, readers)
        # From now on there is room for three.
        cloud.operator.hosts.update(host, HostChange(cpu_percent=100))
        others("farm", "apply", "-f", str(others.home / "shop.yaml"), "--no-wait")
        people.hears("hostname=shop-web-1", "hostname=shop-web-2")
        until(lambda: _tier(rival).told, "the rival's element has no room")
        assert not rival.machines()
        fewer = owner.api.tiers.update(web, TierChange(count=1)).operation
        owner.wait(fewer)
        alone = len(people.answers)
        people.hears("hostname=shop-web-1")
        assert people.since(alone) == {"hostname=shop-web-1"}
    assert not people.failures(), f"of {len(people.answers)}"
    assert not readers.failures(), f"of {len(readers.calls)}"
    until(lambda: _tier(rival).serving == 1, "the rival's element has room")
    assert set(owner.machines()) == {"shop-web-1", "shop-app-1"}
    elements = [each for each in cloud.operator.machines.all() if each.name.startswith("shop-")]
    assert [each.host for each in elements] == [host] * 3
    _farms_are_apart(owner, rival)

    for each in (owner, rival):
        each.hang_up()
    others("farm", "delete", "shop", "--no-wait")
    arable("farm", "delete", "shop")
    until(lambda: "shop" not in _farms(rival), "the rival's farm goes")
    for who in (owner, rival):
        for group in (who.api.farms, who.api.tiers, who.api.networks, who.api.balancers):
            assert [one.name for one in group.all() if one.name != "default"] == []
        assert who.machines() == {}
        assert not list(who.api.volumes.all())
    settled(lambda: true(cloud) == believed(cloud), wanted=True)
    assert not any(vlans & host.tags for host in true(cloud).values())


STANDS_BY = f"""{BLUEPRINT}
kind: farm
name: kiosk
networks:
  - {{name: web}}
tiers:
  - {{name: web, blueprint: page, networks: [web], least: 1, most: 2, standby: 1}}
ways_in:
  - {{tier: web, port: 80}}
"""


def test_one_that_is_ready_serves_at_once_and_is_ready_again_afterwards(
    cloud: LabCloud, keeper: Customer, cell: str, tmp_path: Path
) -> None:
    assert cell in STANDS_BY
    arable = _command_line(tmp_path, keeper, STANDS_BY)
    applied = arable.json("farm", "apply", "-f", str(arable.home / "shop.yaml"))
    address, _, port = applied[-1]["about"].partition(":")
    before = _machines_of_elements(keeper)
    assert _states(keeper) == ["serving", "standby"], "the document is only then as it should be"

    with crowd(cloud.netns("internet"), address, int(port)) as people:
        people.hears("hostname=kiosk-web-1")
        assert people.since(0) == {"hostname=kiosk-web-1"}
        keeper.wait(keeper.api.tiers.update(_tier(keeper).id, TierChange(count=2)).operation)
        people.hears("hostname=kiosk-web-1", "hostname=kiosk-web-2")
        keeper.wait(keeper.api.tiers.update(_tier(keeper).id, TierChange(count=1)).operation)
        settled(lambda: _states(keeper), ["serving", "standby"])
        mark = len(people.answers)
        people.hears("hostname=kiosk-web-1")
        assert people.since(mark) == {"hostname=kiosk-web-1"}
        # Whoever stands by is there when the one that serves is ill, before that has another machine.
        keeper.at("kiosk-web-1").run("killall httpd")
        people.hears("hostname=kiosk-web-2")
        ill = [one for one in people.answers if one.failure]
    assert _machines_of_elements(keeper) == before, "nobody was made for it"
    assert not [one for one in people.answers[:mark] if one.failure]
    assert len(ill) < len(people.answers) // 2
    keeper.hang_up()
    arable("farm", "delete", "kiosk")
    settled(lambda: true(cloud) == believed(cloud), wanted=True)


def _states(of: Customer) -> list[str]:
    return sorted(each.state for each in of.api.elements.all())


def _machines_of_elements(of: Customer) -> dict[str, str | None]:
    return {each.name: each.machine for each in of.api.elements.all()}


def _command_line(folder: Path, who: Customer, documents: str) -> Arable:
    """Theirs, in a home with the documents in it."""
    home = folder / who.name
    home.mkdir()
    (home / "shop.yaml").write_text(documents)
    return Arable(home, {"ARABLE_URL": who.url, "ARABLE_TOKEN": who.token})


def _tier(of: Customer) -> TierOut:
    (found,) = of.api.tiers.all()
    return found


def _farms(of: Customer) -> list[str]:
    return [farm.name for farm in of.api.farms.all()]


def _it_is_renewed(arable: Arable, owner: Customer, people: Crowd, readers: Visitors) -> None:
    """Another version of what its web servers are made of: when it is there, both say so, and before somebody always did."""
    assert _editions(people, readers) == {"first"}
    _write(arable, SECOND)
    arable("farm", "apply", "-f", str(arable.home / "shop.yaml"))
    assert _editions(people, readers) == {"second"}
    assert _rollouts(owner) == [("done", 2)]


def _it_comes_back_from_what_serves_nothing(
    arable: Arable, owner: Customer, people: Crowd, readers: Visitors
) -> None:
    """A version that is never well is led to by nobody, and goes by itself. The document keeps it; so it is taken back."""
    mark = len(readers.calls)
    _write(arable, DEAF)
    refused = arable("farm", "apply", "-f", str(arable.home / "shop.yaml"), status=None)
    assert refused.status, "it can't be made so"
    assert "failed" in refused.err
    until(lambda: _rollouts(owner) == [("done", 2), ("failed", 2)], "it is over")
    assert _editions(people, readers) == {"second"}
    assert {call.who for call in readers.calls[mark:]} == {"second"}
    assert len(owner.machines()) == 3, "the one that was too many is gone"


def _write(arable: Arable, document: str) -> None:
    (arable.home / "shop.yaml").write_text(document)


def _editions(people: Crowd, readers: Visitors) -> set[str]:
    """What is read from now on, while both web servers answer."""
    mark = len(readers.calls)
    people.hears("hostname=shop-web-1", "hostname=shop-web-2")
    until(lambda: len(readers.calls) >= mark + 10, "somebody reads")
    # Those that were called before we began to look may have been answered by who is gone.
    return {call.who for call in readers.calls[mark + 2 :]}


def _rollouts(of: Customer) -> list[tuple[str, int]]:
    """How each stands, and how many elements it renewed; the oldest first."""
    found = sorted(of.api.rollouts.all(), key=lambda each: each.created_at)
    return [(each.state, each.renewed) for each in found]


def _web_calls_app_at_its_port_and_at_no_other(owner: Customer) -> None:
    """Seen from within: what is there, and what of that the passage leads to: its port, by the name and at the element."""
    app, its = owner.at("shop-app-1"), owner.address("shop-app-1")
    at, name = owner.at("shop-web-1"), "app.shop.internal"
    assert at.run(f"wget -q -O - http://{name}").splitlines()[0] == "hostname=shop-app-1"
    assert _taking(app, its) >= {f"{its}:80", f"{its}:8080"}
    assert _taking(at, name, its) == {f"{name}:80", f"{its}:80"}
    assert not _taking(app, owner.address("shop-web-1"))


def _farms_are_apart(owner: Customer, rival: Customer) -> None:
    """From within, both ways: of the other farm nobody answers, by address or by name, on the wire or through routers."""
    web, app = owner.address("shop-web-1"), owner.address("shop-app-1")
    new = rival.address("shop-web-1")
    for at, mine, theirs in ((owner.at("shop-web-1"), web, (new,)), (rival.at("shop-web-1"), new, (web, app))):  # fmt: skip
        router = mine.rpartition(".")[0] + ".1"
        said = at.run(WHO_HAS.format(" ".join((router, *theirs))))
        assert set(re.findall(r"reply from ([0-9.]+)", said)) == {router}
        assert _taking(at, *theirs) == set()
        assert f"{router}:53" in _taking(at, router), "so it is no wonder that nobody answers"
        named = at.run("nslookup shop-web-1")
        assert mine in named
        assert not any(each in named for each in theirs)
    rival.at("shop-web-1").run("nslookup shop-app-1", fails=True)
    rival.at("shop-web-1").run("nslookup app.shop.internal", fails=True)


def _taking(at: Terminal, *hosts: str) -> set[str]:
    """Where somebody takes connections from there, of those ports."""
    there = " ".join(f"{host}:{port}" for host in hosts for port in PORTS)
    return set(at.run(WHO_TAKES.format(there)).split())
