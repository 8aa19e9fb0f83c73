"""What is remembered of hosts is what a fresh look would show, whatever was done to them and by whom."""

from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text, update

from arable.controllers.zone_views import ZoneViews
from arable.domain.host import Host, HostState
from arable.domain.ids import HostId, PodId, PoolId, ZoneId
from arable.domain.pod import Pod
from arable.domain.units import Size
from arable.domain.zone import Zone
from arable.placement.view import HostView, ZoneView
from arable.runtime.clock import VirtualClock
from arable.store import hosts, placing, pods, reservations, zones
from arable.store import schema as t
from arable.store.database import Database, Tx

ZONE, ELSEWHERE = ZoneId("zone-1"), ZoneId("zone-2")
PODS = [PodId("pod-1"), PodId("pod-2")]
NAMES = [HostId(f"host-{at}") for at in range(6)]
NOW = VirtualClock().now()


@pytest.fixture(autouse=True)
def place(database: Database) -> None:
    with database.write() as tx:
        for zone in (ZONE, ELSEWHERE):
            zones.add(tx, Zone(id=zone, name=zone, created_at=NOW))
        for at, pod in enumerate(PODS):
            cidr = f"172.30.{at}.0/24"
            pods.add(tx, Pod(id=pod, zone=ZONE, name=pod, cidr=cidr, created_at=NOW))


def made(id_: HostId, **but: Any) -> Host:
    """A host with room for a hundred small machines."""
    columns: dict[str, Any] = {
        "zone": ZONE,
        "pod": PODS[0],
        "roles": ("compute",),
        "state": HostState.UP,
        "pool": PoolId(f"pool-{id_}"),
        **but,
    }
    return Host(
        id=id_,
        name=id_,
        cpus=64,
        cpu_mhz=100_000,
        memory_mib=100_000,
        disk_mib=100_000,
        created_at=NOW,
        **columns,
    )


def is_as_a_fresh_look(views: ZoneViews, tx: Tx) -> None:
    """What is remembered is what somebody sees who never looked before."""
    view, known = views.look(tx, ZONE)
    seen = {host.id: host for host in placing.hosts(tx, ZONE)}
    assert known == seen
    fresh = ZoneView(
        [
            HostView(h.id, h.name, h.pod, h.free, h.limit, h.tags, h.refuses)
            for h in seen.values()
            if "compute" in h.roles
        ]
    )
    assert view.hosts == fresh.hosts
    assert view.index == fresh.index
    assert view.pods == fresh.pods
    for column in (
        *("free_mhz", "free_memory", "free_disk", "limit_mhz", "limit_memory"),
        *("accepting", "pod"),
    ):
        assert np.array_equal(getattr(view, column), getattr(fresh, column)), column
    assert [view.pod_load(at) for at in range(len(view.pods))] == [
        fresh.pod_load(at) for at in range(len(fresh.pods))
    ]
    for tag in ("fast", "new"):
        assert np.array_equal(view.with_tag(tag), fresh.with_tag(tag))


def _write(tx: Tx, what: str, which: HostId) -> None:
    there = tx.execute(text("select 1 from host where id = :id"), {"id": which}).first()
    change: dict[str, Any]
    match what:
        case "come":
            if not there:
                hosts.add(tx, made(which))
            return
        case "go":
            tx.execute(t.host.delete().where(t.host.c.id == which))
            return
        case "take":
            reservations.take(tx, {which: (Size(1, 1000, 1000, 1000), 1)})
            return
        case "pod":
            row = t.pod.c
            tx.execute(update(t.pod).where(row.id == PODS[0]).values(enabled=~row.enabled))
            return
        case "maintenance":
            change = {"maintenance": ~t.host.c.maintenance}
        case "state":
            change = {"state": HostState.SILENT}
        case "tags":
            change = {"tags": ["fast"]}
        case "other tags":
            change = {"tags": ["new"]}
        case "roles":
            change = {"roles": ["storage"]}
        case "over-commit":
            change = {"memory_percent": t.host.c.memory_percent + 50}
        case "to another pod":
            change = {"pod": PODS[1]}
        case _:
            change = {"zone": ELSEWHERE}
    tx.execute(update(t.host).where(t.host.c.id == which).values(**change))


DEEDS = (
    *("come", "go", "take", "pod", "maintenance", "state", "tags", "other tags", "roles"),
    *("over-commit", "to another pod", "to another zone"),
)
STEP = st.tuples(
    st.lists(st.tuples(st.sampled_from(DEEDS), st.sampled_from(NAMES)), min_size=1, max_size=4),
    st.sampled_from(["kept", "undone", "undone in part", "looked at and undone"]),
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(STEP, max_size=8))
@example(steps=[([("come", NAMES[3]), ("go", NAMES[0])], "looked at and undone")])
def test_what_is_remembered_is_what_a_fresh_look_shows_after_any_changes(
    database: Database, steps: list[tuple[list[tuple[str, HostId]], str]]
) -> None:
    views = ZoneViews()
    with database.write() as tx:
        tx.execute(t.host.delete())
        for name in NAMES[:3]:
            hosts.add(tx, made(name))
    with database.read() as tx:
        is_as_a_fresh_look(views, tx)
    for deeds, end in steps:
        with ExitStack() as stack:
            tx = stack.enter_context(database.engine.connect())
            transaction = tx.begin()
            if database.is_sqlite:
                tx.exec_driver_sql("BEGIN")
            for what, which in deeds:
                nested = tx.begin_nested()
                _write(tx, what, which)
                if end == "looked at and undone":
                    is_as_a_fresh_look(views, tx)
                if end.startswith("undone in part"):
                    nested.rollback()
                    is_as_a_fresh_look(views, tx)
                else:
                    nested.commit()
            if end == "kept":
                is_as_a_fresh_look(views, tx)
                transaction.commit()
            else:
                transaction.rollback()
        with database.read() as tx:
            is_as_a_fresh_look(views, tx)


def test_what_another_server_had_not_committed_at_the_last_look_is_found_by_the_next(
    database: Database,
) -> None:
    views = ZoneViews()
    with database.write() as tx:
        for name in NAMES:
            hosts.add(tx, made(name))
    with database.write() as theirs:
        _write(theirs, "take", NAMES[0])
        _write(theirs, "go", NAMES[1])
        if not database.is_sqlite:  # others go on meanwhile, and their numbers are higher
            with database.write() as others:
                _write(others, "take", NAMES[2])
        with database.read() as tx:
            is_as_a_fresh_look(views, tx)
    with database.read() as tx:
        is_as_a_fresh_look(views, tx)


def test_a_look_reads_only_what_changed(database: Database) -> None:
    views = ZoneViews()
    with database.write() as tx:
        for name in NAMES:
            hosts.add(tx, made(name))
    with database.read() as tx:
        _, before = views.look(tx, ZONE)
    with database.write() as tx:
        _write(tx, "take", NAMES[3])
    with database.read() as tx:
        _, after = views.look(tx, ZONE)
    assert [name for name in NAMES if after[name] is not before[name]] == [NAMES[3]]


def test_a_view_that_is_placed_on_leaves_the_remembered_one_as_it_was(database: Database) -> None:
    views = ZoneViews()
    with database.write() as tx:
        hosts.add(tx, made(NAMES[0]))
        view, _ = views.look(tx, ZONE)
        view.take(0, Size(1, 1000, 1000, 1000))
        view.accepting[0] = False
        view.joined("group", 0)
        is_as_a_fresh_look(views, tx)
        assert not views.look(tx, ZONE)[0].groups
