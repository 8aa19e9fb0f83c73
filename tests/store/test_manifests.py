"""Whatever generation a host holds, the difference it is given leads to the newest manifest."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select

from arable.domain.ids import HostId
from arable.domain.manifest import ItemKind
from arable.runtime.clock import VirtualClock
from arable.store import manifests, schema, wishes
from arable.store.wishes import Item

A, B = HostId("host-a"), HostId("host-b")


def body(value: int) -> str:
    return msgspec.json.encode({"value": value}).decode()


@pytest.fixture
def hosts(database):
    with database.write() as tx:
        fill(tx)
    return database


def fill(tx) -> None:
    now = VirtualClock().now()
    tx.execute(insert(schema.zone).values(id="zone-z", name="z", created_at=now))
    tx.execute(
        insert(schema.pod).values(id="pod-p", zone="zone-z", name="p", cidr="", created_at=now)
    )
    for host in (A, B):
        tx.execute(
            insert(schema.host).values(
                id=host, zone="zone-z", pod="pod-p", name=host, state="up", created_at=now
            )
        )


def put(tx, host: HostId, *items: tuple[str, int | None]) -> None:
    wishes.put(
        tx,
        [
            Item(host, ItemKind.GUEST, id_, None if value is None else body(value))
            for id_, value in items
        ],
    )


def held(difference, before=None) -> dict[str, int]:
    """What a host has that had `before` and is given the difference."""
    now = dict(before or {}) if difference.base else {}
    for _kind, id_, text in difference.items:
        if text is None:
            now.pop(id_, None)
        else:
            now[id_] = msgspec.json.decode(text)["value"]
    return now


def items(tx, host=A) -> set[str]:
    row = schema.manifest_item.c
    return set(tx.execute(select(row.id).where(row.host == host)).scalars())


def test_a_host_that_holds_nothing_is_given_everything(hosts):
    with hosts.write() as tx:
        put(tx, A, ("m1", 1), ("m2", 2))
        put(tx, A, ("m1", None))
    with hosts.read() as tx:
        found = manifests.changes(tx, {A: 0})[A]
        assert (found.generation, found.base, held(found)) == (2, 0, {"m2": 2})
        assert manifests.whole(tx, A) == found


def test_a_host_is_given_what_it_lacks_and_no_more(hosts):
    with hosts.write() as tx:
        put(tx, A, ("m1", 1), ("m2", 2))
        put(tx, A, ("m2", 3), ("m1", None))
        put(tx, A, ("m3", 4))
    with hosts.read() as tx:
        found = manifests.changes(tx, {A: 2})[A]
        assert (found.generation, found.base) == (3, 2)
        assert [id_ for _kind, id_, _body in found.items] == ["m3"]
        found = manifests.changes(tx, {A: 1})[A]
        assert held(found, {"m1": 1, "m2": 2}) == {"m2": 3, "m3": 4}


def test_a_host_that_holds_the_newest_is_given_nothing(hosts):
    with hosts.write() as tx:
        put(tx, A, ("m1", 1))
    with hosts.read() as tx:
        found = manifests.changes(tx, {A: 1})[A]
        assert (found.generation, found.base, found.items) == (1, 1, [])


def test_many_hosts_are_answered_at_once_and_strangers_not_at_all(hosts):
    with hosts.write() as tx:
        put(tx, A, ("m1", 1))
        put(tx, B, ("m2", 2))
    with hosts.read() as tx:
        found = manifests.changes(tx, {A: 0, B: 0, HostId("host-gone"): 0})
        assert {host: held(each) for host, each in found.items()} == {A: {"m1": 1}, B: {"m2": 2}}
        assert manifests.whole(tx, HostId("host-gone")) is None


def test_a_host_from_the_future_is_given_everything(hosts):
    """An older database was restored: what the host holds beyond it is not true any more."""
    with hosts.write() as tx:
        put(tx, A, ("m1", 1))
    with hosts.read() as tx:
        found = manifests.changes(tx, {A: 7})[A]
        assert (found.generation, found.base, held(found)) == (1, 0, {"m1": 1})


def test_a_host_that_lost_its_ledger_is_given_everything(hosts):
    """It once held more, so tombstones that it needs may have been forgotten."""
    with hosts.write() as tx:
        put(tx, A, ("m1", 1))
        put(tx, A, ("m1", None), ("m2", 2))
        manifests.acked(tx, {A: 2})
    with hosts.read() as tx:
        found = manifests.changes(tx, {A: 1})[A]
        assert (found.base, held(found, {"m1": 1})) == (0, {"m2": 2})


def test_tombstones_are_kept_until_the_host_holds_them(hosts):
    with hosts.write() as tx:
        put(tx, A, ("m1", 1), ("m2", 1))
        put(tx, A, ("m1", None))
        put(tx, A, ("m2", None))
        assert manifests.acked(tx, {A: 1}) == {A}
        assert items(tx) == {"m1", "m2"}
        assert manifests.acked(tx, {A: 2}) == {A}
        assert items(tx) == {"m2"}
        assert manifests.acked(tx, {A: 2}) == frozenset()
        assert manifests.acked(tx, {A: 3, B: 0}) == {A}
        assert items(tx) == set()


def test_nobody_can_hold_what_was_never_given(hosts):
    """A host that claims a generation that does not exist must not have later tombstones forgotten."""
    with hosts.write() as tx:
        put(tx, A, ("m1", 1))
        assert manifests.acked(tx, {A: 99}) == frozenset()
        put(tx, A, ("m1", None))
        assert items(tx) == {"m1"}


def test_a_host_may_have_the_image_parts_that_its_items_name_and_no_others(hosts):
    mine, other = "a" * 64, "b" * 64
    with hosts.write() as tx:
        for host, digest in ((A, mine), (B, other)):
            text = msgspec.json.encode({"disks": [{"source": {"sha256": digest}}]}).decode()
            wishes.put(tx, [Item(host, ItemKind.GUEST, "m1", text)])
    with hosts.read() as tx:
        assert manifests.names_part(tx, A, mine)
        assert not manifests.names_part(tx, A, other)
        assert not manifests.names_part(tx, A, "a" * 63)
        assert not manifests.names_part(tx, A, "%" * 64)
        assert not manifests.names_part(tx, A, "_" * 64)
    with hosts.write() as tx:
        wishes.put(tx, [Item(A, ItemKind.GUEST, "m1", None)])
        assert not manifests.names_part(tx, A, mine)


steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("put"),
            st.dictionaries(
                st.sampled_from(["m1", "m2", "m3"]), st.none() | st.integers(0, 9), min_size=1
            ),
        ),
        st.tuples(st.just("fetch"), st.none()),
        st.tuples(st.just("crash"), st.none()),
        st.tuples(st.just("ack"), st.none()),
    ),
    max_size=25,
)


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=steps)
def test_however_it_goes_a_host_ends_with_what_is_wished(hosts, steps):
    """It fetches, keeps durably only what it acknowledges, and falls back to that when it crashes."""
    wished: dict[str, int] = {}
    now: tuple[int, dict[str, int]] = (0, {})
    durable = now
    with hosts.write() as tx:
        for table in (schema.manifest_item, schema.host, schema.pod, schema.zone):
            tx.execute(delete(table))
        fill(tx)
        for what, change in [*steps, ("fetch", None)]:
            match what:
                case "put":
                    put(tx, A, *change.items())
                    wished |= change
                    wished = {id_: value for id_, value in wished.items() if value is not None}
                case "fetch":
                    found = manifests.changes(tx, {A: now[0]})[A]
                    now = (found.generation, held(found, now[1]))
                case "ack":
                    durable = now
                    manifests.acked(tx, {A: now[0]})
                case "crash":
                    now = durable
        assert now[1] == wished
