"""Hosts that go, and what is made of it: real witnesses, controllers and store, on virtual time."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pod_world import REPORT, Pods

from arable.domain.access import EVERYTHING
from arable.domain.host import HostState
from arable.store import alerts, events
from arable.store.database import Database
from arable.store.events import EventFilter
from databases import fresh_sqlite

UP, SILENT, DOWN = HostState.UP, HostState.SILENT, HostState.DOWN


def looked_at(database: Database) -> Pods:
    made = Pods(database, {"a": 4, "b": 3})
    made.tick(30)
    assert set(made.states().values()) == {UP}
    return made


@pytest.fixture
def pods(sqlite) -> Pods:
    return looked_at(sqlite)


@pytest.fixture
def on_either(database) -> Pods:
    """The statements are the same on both databases, the minutes of all these tests are not."""
    return looked_at(database)


def test_a_host_without_power_is_down_in_half_a_minute_and_up_when_it_is_heard(on_either: Pods):
    on_either.nodes["a1"].alive = False
    took = on_either.until("a1", DOWN, 40)
    assert 10 <= took <= 30
    assert "none of 3 peers reaches it" in on_either.row("a1").told
    on_either.tick(60)
    assert on_either.states() == {name: DOWN if name == "a1" else UP for name in on_either.nodes}
    on_either.nodes["a1"].alive = True
    on_either.until("a1", UP, 15)
    assert on_either.row("a1").told == ""
    with on_either.database.read() as tx:
        told = [each.kind for each in events.page(tx, EVERYTHING, EventFilter(kind="host"))]
    assert told.count("host.down") == 1


def test_whenever_between_two_reports_a_host_goes_it_is_found_out_in_eighteen_seconds(pods: Pods):
    took = []
    for second in range(0, REPORT, 2):
        pods.tick((second - pods.now) % REPORT)
        pods.nodes["a1"].alive = False
        took.append(pods.until("a1", DOWN, 40))
        pods.nodes["a1"].alive = True
        pods.until("a1", UP, 15)
        pods.tick(20)
    assert max(took) <= 18
    assert min(took) >= 10, "nobody can be so sure"


def test_most_hosts_that_go_in_the_same_second_condemn_none_however_their_reports_are_spread(
    pods: Pods,
):
    for node, second in zip(("a0", "a1", "a2"), (9, 0, 5), strict=True):
        pods.nodes[node].reports_at = second
    for second in range(0, REPORT, 3):
        pods.tick((second - pods.now) % REPORT)
        for name in ("a0", "a1", "a2"):
            pods.nodes[name].alive = False
        for _ in range(40):
            pods.tick()
            assert DOWN not in pods.states().values()
        for name in ("a0", "a1", "a2"):
            pods.nodes[name].alive = True
        pods.tick(30)


def test_a_host_whose_uplink_is_cut_is_silent_and_stays_so(pods: Pods):
    pods.nodes["a1"].uplink = False
    pods.until("a1", SILENT, 60)
    pods.tick(300)
    assert pods.state("a1") is SILENT
    assert "3 of 3 peers do not miss it" in pods.row("a1").told


def test_a_host_that_its_storage_hears_is_not_given_up(pods: Pods):
    node, storage = pods.nodes["a1"], pods.nodes["b0"]
    node.leases_at = storage
    pods.tick(20)
    node.uplink = False
    pods.cut = {frozenset(("a1", name)) for name in pods.nodes if name != "b0"}
    pods.tick(200)
    assert pods.state("a1") is SILENT
    assert "its storage hears it" in pods.row("a1").told
    pods.cut.add(frozenset(("a1", "b0")))
    assert pods.until("a1", DOWN, 60) <= 30


def test_a_pod_that_is_cut_off_condemns_nobody(pods: Pods):
    for name in ("a0", "a1", "a2", "a3"):
        pods.nodes[name].uplink = False
    pods.tick(300)
    assert set(pods.states().values()) == {UP, SILENT}
    assert [name for name, state in pods.states().items() if state is SILENT] == ["a0", "a1", "a2", "a3"]  # fmt: skip


def test_a_pod_whose_switch_fails_condemns_nobody_and_an_alert_names_its_hosts(on_either: Pods):
    for name in ("a0", "a1", "a2"):
        on_either.nodes[name].alive = False
    on_either.tick(300)
    assert [on_either.state(name) for name in ("a0", "a1", "a2")] == [SILENT] * 3
    assert "3 of 4 hosts of its pod were lost at once" in on_either.row("a0").told
    with on_either.database.read() as tx:
        assert alerts.held_back(tx) == [("pod-a", "a", ["a0", "a1", "a2"])]


def test_management_servers_that_were_away_condemn_nobody(pods: Pods):
    pods.nodes["a1"].uplink = False
    pods.managed = False
    pods.tick(600)
    pods.managed = True
    pods.tick(15)
    pods.nodes["a1"].uplink = True
    pods.tick(60)
    assert set(pods.states().values()) == {UP}


def test_a_host_that_went_while_nobody_was_there_is_found_out_in_its_time(pods: Pods):
    pods.managed = False
    pods.nodes["a1"].alive = False
    pods.tick(600)
    pods.managed = True
    took = pods.until("a1", DOWN, 60)
    assert took >= 15


def test_a_host_in_maintenance_is_not_given_up(pods: Pods):
    with pods.database.write() as tx:
        from arable.store import hosts

        hosts.change(tx, hosts.get(tx, pods.nodes["a1"].id), {"maintenance": True})
    pods.nodes["a1"].alive = False
    pods.tick(200)
    assert pods.state("a1") is SILENT


def test_one_host_after_the_other_is_given_up_while_others_are_there(pods: Pods):
    for name in ("a1", "a2"):
        pods.nodes[name].alive = False
        pods.until(name, DOWN, 60)
        pods.tick(130)
    assert [name for name, state in pods.states().items() if state is DOWN] == ["a1", "a2"]


def test_a_frozen_witness_that_wakes_up_condemns_nobody(pods: Pods):
    """Its clock went on, and it had asked nobody; the host it looks at is not heard meanwhile."""
    pods.nodes["a1"].uplink = False
    for name in ("a0", "a2"):
        pods.nodes[name].agent = False
    pods.tick(50)
    for name in ("a0", "a2"):
        pods.nodes[name].agent = True
    pods.tick(100)
    assert pods.state("a1") is SILENT


FRESH = 20
"""Seconds for which what a peer told counts: it may itself have gone since."""
FATES = st.lists(
    st.tuples(
        st.sampled_from(["a0", "a1", "a2", "a3", "b0", "b1", "b2"]),
        st.sampled_from(["alive", "uplink", "agent", "cut", "managed"]),
        st.integers(1, 45),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=12, deadline=None)
@given(fates=FATES, chance=st.randoms())
def test_no_host_that_is_reached_is_ever_condemned(tmp_path_factory, fates, chance):
    """Whatever is broken and mended when: who becomes down has not been heard, nor reached by those who tell."""
    with fresh_sqlite(tmp_path_factory.mktemp("pods")) as database:
        pods = Pods(database, {"a": 4, "b": 3})
        heard = dict.fromkeys(pods.nodes, 0)
        missed = dict.fromkeys(pods.nodes, -FRESH)
        before = pods.states()
        for name, what, span in fates:
            node = pods.nodes[name]
            if what == "cut":
                pods.cut ^= {frozenset((name, chance.choice(sorted(pods.nodes.keys() - {name}))))}
            elif what == "managed":
                pods.managed = not pods.managed
            else:
                setattr(node, what, not getattr(node, what))
            for _ in range(span):
                pods.tick()
                for each in pods.nodes.values():
                    if pods.managed and each.alive and each.agent and each.uplink:
                        heard[each.name] = pods.now
                    if any(
                        one.alive and one.agent and one.uplink and not pods.reaches(one, each)
                        and any(peer.host == each.id for peer in one.witness.peers())
                        for one in pods.nodes.values() if one is not each
                    ):  # fmt: skip
                        missed[each.name] = pods.now
                now = pods.states()
                for each, state in now.items():
                    if state is DOWN and before[each] is not DOWN:
                        assert pods.now - heard[each] >= 9, f"{each} was heard"
                        assert pods.now - missed[each] < FRESH, f"nobody could tell of {each}"
                before = now
