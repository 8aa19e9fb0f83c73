"""What a transaction leaves in memory for hosts is what the store would have told them, or it is not used."""

from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, update

from arable.domain.errors import Conflict
from arable.domain.ids import HostId
from arable.domain.manifest import ItemKind
from arable.store import incarnations, manifests, schema, wishes
from arable.store.manifests import Difference
from arable.store.nudges import collected, nudge_hosts
from arable.store.wishes import Item
from arable.store.writer import Writer

A, B = HostId("host-a"), HostId("host-b")
NOW = datetime(2030, 1, 1, tzinfo=UTC)
_host, _id = st.sampled_from((A, B)), st.sampled_from("pqr")
_put = st.tuples(st.just("put"), _host, _id, st.one_of(st.none(), st.integers(0, 9)))
_steps = st.lists(
    st.one_of(_put, _put, st.tuples(st.sampled_from(("fails", "skips", "undone")), _host)),
    max_size=6,
)


@pytest.fixture
def hosts(database):
    with database.write() as tx:
        tx.execute(insert(schema.zone).values(id="zone-z", name="z", created_at=NOW))
        pod = {"id": "pod-p", "zone": "zone-z", "name": "p", "cidr": "", "created_at": NOW}
        tx.execute(insert(schema.pod).values(pod))
        for host in (A, B):
            row = {"id": host, "zone": "zone-z", "pod": "pod-p", "name": host, "state": "up"}
            row["created_at"] = NOW
            tx.execute(insert(schema.host).values(row))
        incarnations.draw(tx, "one", NOW)
    return database


def put(tx, host: HostId, id_: str, value: int | None) -> None:
    body = None if value is None else str(value)
    wishes.put(tx, [Item(host, ItemKind.GUEST, id_, body)])


def after(held: dict[str, str], difference: Difference) -> dict[str, str]:
    now = dict(held) if difference.base else {}
    for _kind, id_, body in difference.items:
        now.pop(id_, None)
        if body is not None:
            now[id_] = body
    return now


def work(steps):
    def done(tx) -> None:
        for what, host, *more in steps:
            if what == "put":
                put(tx, host, *more)
            elif what == "skips":  # a generation that somebody counts on without a wish
                row = schema.host.c
                count = update(schema.host).where(row.id == host)
                tx.execute(count.values(manifest_generation=row.manifest_generation + 1))
                nudge_hosts(tx, {host})
            elif what == "undone":
                nested = tx.begin_nested()
                put(tx, host, "undone", 1)
                nested.rollback()
            else:
                put(tx, host, "lost", 1)
                raise Conflict("refused")

    return done


@given(commits=st.lists(st.lists(_steps, min_size=1, max_size=3), max_size=8), seen=st.data())
@settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)
def test_a_host_that_is_told_from_memory_holds_what_the_store_says(hosts, commits, seen):
    with hosts.write() as tx:
        tx.execute(schema.manifest_item.delete())
        tx.execute(update(schema.host).values(manifest_generation=0, acked_generation=0))
    have: dict[HostId, tuple[int, dict[str, str]]] = {A: (0, {}), B: (0, {})}
    found = []
    writer = Writer(hosts, found.append)
    for pieces in commits:
        for steps in pieces:
            writer.submit(work(steps))
        writer.run_waiting()
        told = found.pop().told
        with hosts.read() as tx:
            current = manifests.changes(tx, {A: 0, B: 0})
        for host, difference in told.items():
            generation, held = have[host]
            assert difference.generation <= current[host].generation
            if difference.base == generation:
                have[host] = (difference.generation, after(held, difference))
        for host, (generation, held) in have.items():
            if generation == current[host].generation:
                assert held == after({}, current[host])
            elif seen.draw(st.booleans()):  # looked up, or left behind for a while
                have[host] = (current[host].generation, after({}, current[host]))


def test_nothing_is_told_from_memory_while_it_is_not_known_what_every_host_runs(hosts):
    with hosts.write() as tx:
        incarnations.wait_for(tx, [B])
        put(tx, A, "p", 1)
        assert not collected(tx).told
        assert collected(tx).hosts == {A}
    with hosts.write() as tx:
        incarnations.heard(tx, B, 0)
        put(tx, A, "p", 2)
        assert collected(tx).told[A] == Difference(2, 1, [("guest", "p", "2")])
        assert collected(tx).incarnation == "one"
