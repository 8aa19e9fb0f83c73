"""Who is told to ask for whom: as many as ask for it, within its pod's network, and no longer than they are there."""

from collections import Counter

import pytest
from pod_world import Pods
from sqlalchemy import select

from arable.controllers import peers
from arable.domain.host_health import WITNESSES
from arable.store import hosts, sightings
from arable.store import schema as t


@pytest.fixture
def pods(database) -> Pods:
    return Pods(database, {"a": 5, "b": 2, "c": 1})


def asked(pods: Pods) -> dict[str, set[str]]:
    """Of each host, whom it is told to ask."""
    item = t.manifest_item.c
    with pods.database.read() as tx:
        rows = tx.execute(select(item.host, item.id).where(item.kind == "peer", item.body.is_not(None)))  # fmt: skip
        found = [(str(host), str(peer)) for host, peer in rows]
    names: dict[str, set[str]] = {}
    for host, peer in found:
        names.setdefault(host.removeprefix("host-"), set()).add(peer.removeprefix("host-"))
    return names


def attend(pods: Pods) -> int:
    with pods.database.write() as tx:
        return peers.attend(tx, pods.clock.now())


def change(pods: Pods, name: str, **row) -> None:
    with pods.database.write() as tx:
        tx.execute(t.host.update().where(t.host.c.name == name).values(**row))


def test_each_asks_some_others_of_its_pod_and_is_asked_by_as_many(pods: Pods):
    found = asked(pods)
    assert {name: len(whom) for name, whom in found.items()} == dict.fromkeys(
        ["a0", "a1", "a2", "a3", "a4"], WITNESSES
    ) | {"b0": 1, "b1": 1}
    times = Counter(name for whom in found.values() for name in whom)
    assert set(times.values()) == {WITNESSES, 1}
    assert all(host[0] == other[0] for host, whom in found.items() for other in whom)
    assert attend(pods) == 0


def test_addresses_outside_the_pods_network_are_handed_to_nobody(pods: Pods):
    """A host that lies about itself can't have others knock at strangers' doors."""
    for address in ("192.0.2.1:22", "10.0.1.10:10807", "management:5432", ":", "[::1]:10807"):
        change(pods, "a1", peer_address=address)
        attend(pods)
        assert "a1" not in {name for whom in asked(pods).values() for name in whom}
        assert "a1" not in asked(pods)


def test_an_address_that_changes_is_told_anew(pods: Pods):
    change(pods, "b1", peer_address="10.0.1.99:10807")
    assert attend(pods) == 1
    item = t.manifest_item.c
    with pods.database.read() as tx:
        body = tx.scalar(select(item.body).where(item.host == "host-b0", item.kind == "peer"))
    assert "10.0.1.99:10807" in body


def test_a_host_that_is_down_is_asked_by_nobody_until_it_is_heard(pods: Pods):
    before = asked(pods)
    change(pods, "a1", state="down")
    attend(pods)
    assert "a1" not in {name for whom in asked(pods).values() for name in whom} | asked(pods).keys()
    change(pods, "a1", state="up")
    attend(pods)
    assert asked(pods) == before


def test_a_host_can_be_removed_though_others_are_to_ask_for_it(pods: Pods):
    with pods.database.write() as tx:
        hosts.remove(tx, hosts.get(tx, pods.nodes["a1"].id, lock=True))
    attend(pods)
    assert "a1" not in {name for whom in asked(pods).values() for name in whom} | asked(pods).keys()


def test_only_troubled_pods_are_looked_at_and_the_others_of_the_zone_are_counted(pods: Pods):
    with pods.database.read() as tx:
        counted = sightings.elsewhere(tx, ["pod-a"])
        assert {row.pod for row in sightings.hosts(tx, ["pod-a"])} == {"pod-a"}
    assert counted == {"zone-z": 3}
    change(pods, "b0", maintenance=True)
    change(pods, "b1", state="down")
    with pods.database.read() as tx:
        assert sightings.elsewhere(tx, ["pod-a"]) == {"zone-z": 1}
