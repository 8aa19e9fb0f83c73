"""Hosts: how they join, what an operator may change, and when they may go."""

import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_infra import INVENTORY, join_in
from sqlalchemy import update

from arable.domain.errors import (
    BadInput,
    CloudError,
    Conflict,
    Forbidden,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from arable.domain.host import DIMENSIONS, Host, HostState, measured
from arable.domain.ids import HostId, PodId, ZoneId
from arable.domain.manifest import HostReport, Inventory, ItemKind, PoolSeen
from arable.domain.units import Size
from arable.runtime import ca, tokens
from arable.runtime.ca import new_request
from arable.services import agents, hosts, pools, zones
from arable.store import reservations, schema, wishes
from arable.store.wishes import Item
from arable.wire.agent import Hello, RenewIn
from arable.wire.hosts import HostChange, HostQuery, JoinTokenIn, JoinTokenQuery
from arable.wire.pools import PoolQuery


def hello(host: str, **but) -> Hello:
    return Hello(**{"host": host, "inventory": INVENTORY} | but)


def greet(infra, *greetings):
    """Pairs of who shows a certificate and what they say; a third part is the certificate's epoch."""
    whole = [(*greeting, 1)[:3] for greeting in greetings]
    with infra.cloud.database.write() as tx:
        return agents.greet(tx, infra.around, "server-1", whole)


def epoch_of(joined) -> int:
    return ca.peer(ssl.PEM_cert_to_DER_cert(joined.certificate)).epoch


def renew(infra, host: str, epoch: int):
    with infra.cloud.database.write() as tx:
        ask = RenewIn(request=new_request("anything").request)
        return agents.renew(tx, infra.around, HostId(host), epoch, ask)


def reserve(infra, host, **size) -> None:
    with infra.cloud.database.write() as tx:
        assert not reservations.take(tx, {host: (Size(**size), 1)})


def test_a_host_joins_by_its_token_and_is_who_its_certificate_says(infra):
    pod = infra.pod()
    token = infra.token(pod, roles=("routing", "compute"), tags=("ssd",))
    joined = infra.join(token, "h1")
    host = infra.ask(hosts.get, joined.host)
    assert (host.name, host.pod, host.state) == ("h1", pod, "joined")
    assert (host.roles, host.tags) == (("compute", "routing"), ("ssd",))
    assert (host.cpus, host.memory_mib.installed, host.memory_mib.total) == (8, 32_768, 32_768)
    assert host.cpu_mhz.total == 4 * 16_000
    assert ca.pinned(joined.authority, tokens.join_token(token).authority) == joined.authority
    pool = infra.ask(pools.get, joined.pool)
    assert (pool.host, pool.total_mib, pool.zone) == (host.id, 100_000, host.zone)
    assert infra.ask(pools.page, PoolQuery(host=host.id)).items == [pool]


def test_a_tokens_text_is_kept_nowhere(infra):
    made = infra.ask(hosts.create_token, JoinTokenIn(pod=infra.pod()))
    secret = made.token.split(".")[1]
    kept = infra.cloud.rows("select * from join_token")
    assert secret not in repr(kept)
    (listed,) = infra.ask(hosts.page_tokens, JoinTokenQuery()).items
    assert not hasattr(listed, "token")
    assert made.expires_at - made.created_at == timedelta(hours=3)


def test_a_token_works_once(infra):
    token = infra.token(infra.pod())
    infra.join(token, "h1")
    with pytest.raises(Unauthenticated):
        infra.join(token, "h2")
    (listed,) = infra.ask(hosts.page_tokens, JoinTokenQuery()).items
    assert listed.used_at
    assert listed.host


def test_of_many_who_join_by_one_token_at_once_one_gets_in(infra):
    token = infra.token(infra.pod())
    asks = [join_in(token, f"h{at}") for at in range(8)]

    def attempt(ask) -> bool:
        try:
            with infra.cloud.database.write() as tx:
                agents.join(tx, infra.around, ask)
        except CloudError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(attempt, asks)).count(True) == 1
    assert len(infra.ask(hosts.page, HostQuery()).items) == 1
    assert len(infra.ask(pools.page, PoolQuery()).items) == 1


def test_a_lost_answer_is_given_again_to_the_same_request_and_to_no_other(infra):
    token = infra.token(infra.pod())
    request = new_request("h1").request
    first = infra.join(token, "h1", request=request)
    again = infra.join(token, "h1", request=request)
    assert (again.host, again.pool) == (first.host, first.pool)
    with pytest.raises(Unauthenticated):
        infra.join(token, "h1")
    with pytest.raises(Conflict):
        infra.join(token, "h2", request=request)
    infra.around.clock.wait(timedelta(hours=4))
    with pytest.raises(Unauthenticated):
        infra.join(token, "h1", request=request)


def test_a_token_whose_time_is_over_or_that_was_revoked_or_never_was_reads_the_same(infra):
    pod = infra.pod()
    old, revoked = infra.token(pod, seconds=60), infra.ask(hosts.create_token, JoinTokenIn(pod=pod))
    infra.ask(hosts.delete_token, revoked.id)
    infra.around.clock.wait(timedelta(seconds=60))
    never = f"join.{'0' * 40}.{'0' * 64}"
    told = set()
    for text in (old, revoked.token, never, "join", ""):
        with pytest.raises(Unauthenticated) as error:
            infra.join(text)
        told.add(error.value.public)
    assert len(told) == 1
    assert infra.ask(hosts.page, HostQuery()).items == []


@pytest.mark.parametrize(
    "but",
    [
        {"name": "H1"},
        {"name": "a.b"},
        {"name": "a\n"},
        {"name": ""},
        {"request": "x"},
        {"request": "\ud800"},
        {"inventory": replace(INVENTORY, memory_mib=-1)},
        {"inventory": replace(INVENTORY, disk_mib=1 << 70)},
        {"inventory": replace(INVENTORY, version="1\nx")},
    ],
)
def test_a_join_that_makes_no_sense_leaves_the_token_unused(lone_infra, but):
    token = lone_infra.token(lone_infra.pod())
    with pytest.raises(BadInput):
        lone_infra.join(token, **{"name": "h1"} | but)
    assert lone_infra.join(token, "h1").host


def test_two_hosts_never_have_one_name(infra):
    infra.host("h1")
    with pytest.raises(Conflict):
        infra.host("h1")


def test_a_certificate_is_renewed_for_a_host_that_is_still_there(infra):
    joined = infra.host()
    assert renew(infra, joined.host, 1).host == joined.host
    with pytest.raises(Forbidden):
        renew(infra, "host-gone", 1)


def test_a_host_that_was_off_for_a_day_is_let_in_anew_as_who_it_was(infra):
    token = infra.token(infra.pod(), roles=("compute", "routing"), tags=("ssd",))
    joined = infra.join(token, "h1")
    greet(infra, (joined.host, hello(joined.host)))
    reserve(infra, joined.host, memory_mib=100)
    before = infra.ask(hosts.get, joined.host)
    infra.around.clock.wait(timedelta(days=3))
    again = infra.join(infra.anew("h1"), "h1", host=joined.host)
    assert (again.host, again.pool, again.authority) == (joined.host, joined.pool, joined.authority)
    assert infra.ask(hosts.get, joined.host) == before
    assert [pool.id for pool in infra.ask(pools.page, PoolQuery()).items] == [joined.pool]
    until = ca.until(again.certificate)
    assert timedelta(hours=23) < until - infra.around.clock.now() <= timedelta(hours=24)
    assert epoch_of(again) == 2
    assert greet(infra, (joined.host, hello(joined.host), 2)) == [None]
    kinds = [kind for (kind,) in infra.cloud.rows("select kind from event order by number")]
    assert kinds == ["host.joined", "host.up", "host.rejoined"]


def test_certificates_from_before_a_host_joined_anew_count_no_more(infra):
    first = infra.host("h1")
    other = infra.host("h2")
    assert epoch_of(first) == 1
    again = infra.join(infra.anew(first.host), "h1")
    for use_case, *args in (
        (agents.renew, RenewIn(request=new_request("a").request)),
        (agents.image_part, "0" * 64),
    ):
        with (
            pytest.raises(Unauthenticated, match="newer certificate"),
            infra.cloud.database.write() as tx,
        ):
            use_case(tx, infra.around, HostId(first.host), 1, *args)
    answers = greet(
        infra,
        (first.host, hello(first.host), 2),
        (first.host, hello(first.host), 1),
        (other.host, hello(other.host), 1),
    )
    assert [type(answer) for answer in answers] == [type(None), Unauthenticated, type(None)]
    assert epoch_of(renew(infra, again.host, 2)) == 2
    third = infra.join(infra.anew("h1"), "h1")
    assert epoch_of(third) == 3
    with pytest.raises(Unauthenticated):
        renew(infra, again.host, 2)


def test_a_token_to_join_anew_works_once_and_its_lost_answer_is_given_again(infra):
    joined = infra.host("h1")
    token, request = infra.anew("h1"), new_request("h1").request
    first = infra.join(token, "h1", request=request, host=joined.host)
    again = infra.join(token, "h1", request=request, host=joined.host)
    assert epoch_of(first) == epoch_of(again) == 2
    with pytest.raises(Unauthenticated):
        infra.join(token, "h1", host=joined.host)
    assert infra.cloud.rows("select epoch from host") == [(2,)]


def test_of_many_who_join_anew_by_one_token_at_once_one_gets_in(infra):
    infra.host("h1")
    token = infra.anew("h1")
    asks = [join_in(token, "h1") for _ in range(8)]

    def attempt(ask) -> bool:
        try:
            with infra.cloud.database.write() as tx:
                agents.join(tx, infra.around, ask)
        except CloudError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(attempt, asks)).count(True) == 1
    assert infra.cloud.rows("select epoch from host") == [(2,)]


def test_joining_anew_ends_every_other_token_of_that_host_and_of_no_other(infra):
    pod, request = infra.pod(), new_request("h1").request
    first = infra.token(pod)
    infra.join(first, "h1", request=request)
    infra.host("h2", pod)
    spare, others, fresh = infra.anew("h1"), infra.anew("h2"), infra.token(pod)
    infra.join(infra.anew("h1"), "h1")
    with pytest.raises(Unauthenticated):
        infra.join(first, "h1", request=request)  # whose key may be in wrong hands
    with pytest.raises(Unauthenticated):
        infra.join(spare, "h1")
    assert infra.join(others, "h2").host
    assert infra.join(fresh, "h3").host


def test_a_token_of_one_host_makes_no_other_of_any_other(infra):
    one, two = infra.host("h1"), infra.host("h2")
    bound, fresh = infra.anew("h1"), infra.token(infra.ask(hosts.get, one.host).pod)
    for token, name, host in (
        (bound, "h2", two.host),
        (bound, "h2", ""),
        (bound, "h3", ""),
        (bound, "h1", two.host),
        (fresh, "h2", two.host),  # who has joined keeps its id
        (fresh, "h4", two.host),
    ):
        with pytest.raises(Conflict):
            infra.join(token, name, host=host)
    assert [host.name for host in infra.ask(hosts.page, HostQuery()).items] == ["h1", "h2"]
    assert set(infra.cloud.rows("select epoch from host")) == {(1,)}
    assert infra.join(bound, "h1", host=one.host).host == one.host
    assert infra.join(fresh, "h3").host not in {one.host, two.host}


def test_a_removed_host_is_not_let_in_anew(infra):
    joined = infra.host("h1")
    token = infra.anew("h1")
    infra.ask(hosts.delete, joined.host)
    with pytest.raises(Unauthenticated):
        infra.join(token, "h1", host=joined.host)
    assert isinstance(infra.refused(hosts.create_token, JoinTokenIn(host="h1")), BadInput)
    assert isinstance(infra.refused(hosts.create_token, JoinTokenIn(host=joined.host)), NotFound)
    infra.host("h1")  # the name is free, and the old token is not for who has it now
    with pytest.raises(Unauthenticated):
        infra.join(token, "h1")


def test_a_token_for_a_host_takes_everything_else_from_it(infra):
    pod = infra.pod()
    joined = infra.join(infra.token(pod, roles=("routing",), tags=("ssd",)), "h1")
    made = infra.ask(hosts.create_token, JoinTokenIn(host="h1"))
    assert (made.host, made.pod, made.roles, made.tags) == (
        joined.host,
        pod,
        ("routing",),
        ("ssd",),
    )
    assert made.used_at is None
    for but in ({"pod": "a"}, {"roles": ("compute",)}, {"tags": ("x",)}):
        error = infra.refused(hosts.create_token, JoinTokenIn(host="h1", **but))
        assert isinstance(error, BadInput)
        assert [error.field] == list(but)
    error = infra.refused(hosts.create_token, JoinTokenIn())
    assert (type(error), error.field) == (BadInput, "pod")
    assert infra.ask(hosts.create_token, JoinTokenIn(pod=pod)).roles == ("compute",)


def test_a_greeting_brings_a_host_up_and_tells_what_it_has(infra):
    joined = infra.host()
    told = replace(INVENTORY, memory_mib=65_536, hypervisor="qemu (tcg)")
    assert greet(infra, (joined.host, hello(joined.host, inventory=told))) == [None]
    host = infra.ask(hosts.get, joined.host)
    assert (host.state, host.server, host.memory_mib.installed) == ("up", "server-1", 65_536)
    assert host.facts["hypervisor"] == "qemu (tcg)"
    assert host.seen_at == infra.around.clock.now()
    assert host.generation == 1, "what a host tells of itself is nobody's change"
    kinds = [kind for (kind,) in infra.cloud.rows("select kind from event order by number")]
    assert kinds == ["host.joined", "host.up"]


def test_in_a_crowd_of_greetings_only_the_bad_ones_are_refused(infra):
    good, other = infra.host("h1"), infra.host("h2")
    answers = greet(
        infra,
        (good.host, hello(good.host)),
        (other.host, hello(good.host)),  # says it is somebody else
        ("host-gone", hello("host-gone")),
        (other.host, hello(other.host, version=99)),
        (other.host, hello(other.host, inventory=replace(INVENTORY, cpus=-1))),
    )
    assert [type(answer) for answer in answers] == [
        type(None),
        Forbidden,
        Forbidden,
        BadInput,
        BadInput,
    ]
    assert infra.ask(hosts.get, other.host).state == "joined"


def test_a_host_that_shrank_keeps_what_is_reserved_and_is_flagged(infra):
    joined = infra.host()
    reserve(infra, joined.host, memory_mib=30_000, cpu_mhz=1000)
    small = replace(INVENTORY, memory_mib=16_000)
    greet(infra, (joined.host, hello(joined.host, inventory=small)))
    host = infra.ask(hosts.get, joined.host)
    assert (host.memory_mib.installed, host.memory_mib.reserved) == (30_000, 30_000)
    assert host.facts["short"] == {"memory_mib": 14_000}
    greet(infra, (joined.host, hello(joined.host)))
    host = infra.ask(hosts.get, joined.host)
    assert "short" not in host.facts
    assert host.memory_mib.installed == INVENTORY.memory_mib


@settings(deadline=None)
@given(
    has=st.tuples(*[st.integers(0, 1000)] * 3),
    reserved=st.tuples(*[st.integers(0, 1000)] * 3),
    percents=st.tuples(*[st.integers(10, 1000)] * 3),
)
def test_whatever_a_host_tells_what_is_reserved_fits(has, reserved, percents):
    names = [dimension.partition("_")[0] for dimension in DIMENSIONS]
    host = Host(
        id=HostId("host-a"),
        zone=ZoneId("zone-a"),
        pod=PodId("pod-a"),
        name="a",
        created_at=None,
        **{f"reserved_{d}": n for d, n in zip(DIMENSIONS, reserved, strict=True)},
        **{f"{name}_percent": n for name, n in zip(names, percents, strict=True)},
    )
    told = Inventory(cpus=1, **dict(zip(DIMENSIONS, has, strict=True)))
    after = replace(host, **measured(host, told))
    for dimension, installed in zip(DIMENSIONS, has, strict=True):
        assert after.reserved(dimension) <= after.limit(dimension)
        missing = after.facts.get("short", {}).get(dimension, 0)
        assert getattr(after, dimension) == installed + missing


def test_overcommit_never_falls_below_what_is_reserved(infra):
    joined = infra.host()
    reserve(infra, joined.host, memory_mib=16_384, cpu_mhz=32_000)
    for but in ({"memory_percent": 49}, {"cpu_percent": 199}):
        error = infra.refused(hosts.update, joined.host, HostChange(**but))
        assert isinstance(error, Conflict)
        assert error.field == next(iter(but))
    change = HostChange(memory_percent=50, cpu_percent=200, maintenance=True, tags=("b", "a", "b"))
    after = infra.ask(hosts.update, joined.host, change)
    assert (after.memory_mib.total, after.cpu_mhz.total) == (16_384, 32_000)
    assert (after.maintenance, after.tags, after.generation) == (True, ("a", "b"), 2)


def test_a_host_is_removed_only_when_nothing_is_there(infra):
    joined = infra.host()
    host = HostId(joined.host)
    reserve(infra, host, memory_mib=100)
    assert "machines" in infra.refused(hosts.delete, host).public
    with infra.cloud.database.write() as tx:
        reservations.give(tx, [(host, Size(memory_mib=100), 1)])
        wishes.put(tx, [Item(host, ItemKind.SCRAP, "volume-a", "{}")])
    assert "wished" in infra.refused(hosts.delete, host).public
    with infra.cloud.database.write() as tx:
        wishes.take_back(tx, ItemKind.SCRAP, [(host, "volume-a")])
        wishes.note_presence(tx, [("network-a", host)])
    assert "network" in infra.refused(hosts.delete, host).public
    infra.cloud.run("delete from network_presence")
    infra.ask(hosts.delete, host)
    for table in ("host", "pool", "manifest_item"):
        assert infra.cloud.rows(f"select * from {table}") == []
    assert isinstance(infra.refused(hosts.get, host), NotFound)


def test_a_host_with_volumes_stays(infra):
    joined = infra.host()
    infra.cloud.run(
        """insert into volume (id, account, zone, pool, name, created_at)
           values ('volume-a', 'account-root', 'zone-here', :pool, 'a', 0)""",
        pool=joined.pool,
    )
    assert "volumes" in infra.refused(hosts.delete, joined.host).public


def test_a_removed_host_cannot_come_back_by_the_request_that_it_joined_with(infra):
    token = infra.token(infra.pod())
    request = new_request("h1").request
    joined = infra.join(token, "h1", request=request)
    infra.ask(hosts.delete, joined.host)
    with pytest.raises(Unauthenticated):
        infra.join(token, "h1", request=request)


def test_hosts_are_listed_by_what_they_are(infra):
    one, two = infra.host("h1"), infra.host("h2")
    greet(infra, (one.host, hello(one.host)))
    infra.ask(hosts.update, two.host, HostChange(maintenance=True))

    def names(**query) -> list[str]:
        return [host.name for host in infra.ask(hosts.page, HostQuery(**query)).items]

    assert names() == ["h1", "h2"]
    assert names(state=("up",)) == ["h1"]
    assert names(maintenance=True) == names(state=("joined",)) == names(name="h2") == ["h2"]
    assert names(zone="zone-other") == []


def test_many_hosts_are_noted_at_once_and_those_of_another_server_are_not(infra):
    one, two = infra.host("h1"), infra.host("h2")
    greet(infra, (one.host, hello(one.host)), (two.host, hello(two.host)))
    infra.cloud.run("update host set server = 'server-2' where name = 'h2'")
    infra.cloud.run("update host set state = 'silent'")
    infra.around.clock.wait(timedelta(seconds=30))
    both = [HostId(one.host), HostId(two.host)]
    with infra.cloud.database.write() as tx:
        agents.heard(tx, infra.around, "server-1", both, [], {})
    first, second = infra.ask(hosts.page, HostQuery()).items
    assert (first.state, first.seen_at) == ("up", infra.around.clock.now())
    assert (second.state, second.server) == ("silent", "server-2")
    with infra.cloud.database.write() as tx:
        agents.heard(tx, infra.around, "server-1", [], both, {})
    assert [host.server for host in infra.ask(hosts.page, HostQuery()).items] == ["", "server-2"]


def test_capacity_is_what_the_hosts_have_less_what_is_reserved(infra):
    one, two = infra.host("h1"), infra.host("h2")
    greet(infra, (one.host, hello(one.host)), (two.host, hello(two.host)))
    infra.ask(hosts.update, two.host, HostChange(maintenance=True, memory_percent=150))
    reserve(infra, one.host, memory_mib=10_000)
    reserve(infra, two.host, memory_mib=1_000)
    found = infra.ask(zones.capacity_of, "zone-here")
    memory = found.memory_mib
    assert (memory.installed, memory.total) == (65_536, 32_768 + 49_152)
    assert (memory.reserved, memory.free) == (11_000, 81_920 - 11_000)
    assert memory.idle == 32_768 - 10_000, "nothing may be placed on a host in maintenance"
    assert (found.hosts.total, found.hosts.up, found.hosts.maintenance) == (2, 2, 1)
    assert found.machines == 2
    assert (found.addresses.total, found.vlans.total) == (20, 50)
    assert msgspec.json.encode(found)


def test_a_zone_without_hosts_has_no_capacity(infra):
    found = infra.ask(zones.capacity_of, "zone-here")
    assert (found.hosts.total, found.cpu_mhz.total, found.disk_mib.idle) == (0, 0, 0)


def test_a_server_that_was_frozen_while_it_kept_a_report_does_not_keep_it_after_its_host_went(
    infra,
):
    host = HostId(infra.host().host)
    greet(infra, (host, hello(host)))
    pool = PoolSeen(pool=infra.ask(hosts.get, host).pool, total_bytes=1 << 40, used_bytes=1 << 39)
    report = HostReport(host=host, generation=1, pools=(pool,), inventory=INVENTORY)
    there = update(schema.host).where(schema.host.c.id == host)

    def report_it(settle) -> None:
        with infra.cloud.database.write() as tx:
            agents.report(tx, infra.around, "server-1", settle, [report], [host])

    def frozen(tx, reports, at) -> None:
        tx.execute(there.values(server="server-2"))

    before = infra.ask(hosts.get, host)
    with pytest.raises(Unavailable):
        report_it(frozen)
    assert infra.ask(hosts.get, host) == before
    with infra.cloud.database.write() as tx:
        tx.execute(there.values(server="server-2"))
    kept: list[HostReport] = []
    report_it(lambda tx, reports, at: kept.extend(reports))
    assert kept == [], "when it tries again it knows better"


def test_customers_have_nothing_to_do_with_hosts(infra):
    customer = infra.cloud.account("acme")
    joined = infra.host()
    for use_case, *args in (
        (hosts.page, HostQuery()),
        (hosts.get, joined.host),
        (hosts.update, joined.host, HostChange()),
        (hosts.delete, joined.host),
        (hosts.create_token, JoinTokenIn(pod="a")),
        (hosts.page_tokens, JoinTokenQuery()),
        (hosts.delete_token, "jointoken-a"),
        (pools.page, PoolQuery()),
        (pools.get, joined.pool),
    ):
        assert isinstance(infra.refused(use_case, *args, by=customer), Forbidden)


def test_states_of_hosts_are_those_that_the_api_tells():
    assert {state.value for state in HostState} == {"joined", "up", "silent", "down", "asleep"}
