"""Placement: nothing is overbooked, every rule is kept, every refusal tells why for every host."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from arable.domain.group import GroupRule, Strategy
from arable.domain.ids import HostId, MachineId, PodId
from arable.domain.units import Size
from arable.placement.choose import GroupAsk, Placed, PlacementAsk, Refused, choose, why_not
from arable.placement.view import HostView, ZoneView, groups_of

SMALL = Size(1, 1000, 512, 1024)


def host(name: str, *, pod: str = "pod-a", fits: int = 4, **but: object) -> HostView:
    room = SMALL.times(fits)
    return HostView(HostId(f"host-{name}"), name, PodId(pod), room, room, **but)


def ask(name: str = "a", **but: object) -> PlacementAsk:
    return PlacementAsk(MachineId(f"machine-{name}"), but.pop("size", SMALL), **but)


def hosts_of(answers: list[Placed | Refused]) -> list[str]:
    return [answer.host.removeprefix("host-") for answer in answers if isinstance(answer, Placed)]


def test_spread_takes_the_emptiest_and_pack_the_fullest_that_fits() -> None:
    def view() -> ZoneView:
        full = HostView(HostId("host-b"), "b", PodId("pod-a"), SMALL.times(2), SMALL.times(4))
        return ZoneView([host("a"), full])

    assert hosts_of(choose(view(), [ask()])) == ["a"]
    assert hosts_of(choose(view(), [ask(strategy=Strategy.PACK)])) == ["b"]


def test_the_least_loaded_pod_is_tried_first() -> None:
    busy = HostView(HostId("host-a"), "a", PodId("pod-a"), SMALL.times(4), SMALL.times(8))
    view = ZoneView([busy, host("b", pod="pod-b", fits=3)])
    assert hosts_of(choose(view, [ask()])) == ["b"]


def test_machines_spread_evenly_over_hosts() -> None:
    view = ZoneView([host(name) for name in "abcd"])
    answers = choose(view, [ask(str(n)) for n in range(16)])
    assert set(Counter(hosts_of(answers)).values()) == {4}


def test_a_refusal_tells_for_each_host_the_first_rule_it_fails() -> None:
    view = ZoneView(
        [
            host("a", refuses="is in maintenance"),
            host("b", fits=0),
            host("c", tags=frozenset({"gpu"})),
        ]
    )
    big = Size(1, 1000, 512 * 9, 1024)
    (answer,) = choose(view, [ask(size=big, tags=frozenset({"gpu"}))])
    assert isinstance(answer, Refused)
    assert answer.by_host == {
        "a": "is in maintenance",
        "b": "lacks a tag of gpu",
        "c": f"needs {512 * 9} MiB of memory, {512 * 4} free",
    }
    assert answer.reasons == {"take no machines now": 1, "lack a tag": 1, "lack memory": 1}
    assert answer.told() == (
        "no host can take this: 1 lack a tag, 1 lack memory, 1 take no machines now"
    )


def test_members_of_a_group_that_wants_to_be_apart_never_share_a_host() -> None:
    view = ZoneView([host(name) for name in "abc"])
    apart = (GroupAsk("group-1", GroupRule.APART),)
    answers = choose(view, [ask(str(n), groups=apart) for n in range(4)])
    assert sorted(hosts_of(answers)) == ["a", "b", "c"]
    assert isinstance(answers[3], Refused)


def test_a_group_that_wants_to_be_together_follows_its_first_member() -> None:
    view = ZoneView([host(name) for name in "abc"])
    groups_of(view, {"group-1": [HostId("host-b")]})
    together = (GroupAsk("group-1", GroupRule.TOGETHER),)
    answers = choose(view, [ask(str(n), groups=together) for n in range(5)])
    assert hosts_of(answers) == ["b"] * 4
    assert isinstance(answers[4], Refused)


def test_a_wish_that_is_not_strict_gives_way_when_nothing_else_fits() -> None:
    view = ZoneView([host("a"), host("b")])
    loose = (GroupAsk("group-1", GroupRule.APART, strict=False),)
    answers = choose(view, [ask(str(n), groups=loose) for n in range(4)])
    assert Counter(hosts_of(answers)) == {"a": 2, "b": 2}


def test_a_machine_whose_disks_are_on_a_host_goes_nowhere_else() -> None:
    view = ZoneView([host("a"), host("b", fits=0)])
    (answer,) = choose(view, [ask(only=HostId("host-b"))])
    assert isinstance(answer, Refused)
    assert answer.reasons == {"don't hold its disks": 1, "lack CPU": 1}


def test_a_host_that_could_not_start_it_is_avoided() -> None:
    view = ZoneView([host("a"), host("b")])
    assert hosts_of(choose(view, [ask(avoid=frozenset({HostId("host-a")}))])) == ["b"]


sizes = st.builds(
    Size, st.just(1), st.integers(1, 4000), st.integers(1, 2048), st.integers(0, 4096)
)
some_hosts = st.lists(
    st.builds(
        lambda n, pod, room, refuses, tags: HostView(
            HostId(f"host-{n:03d}"), f"h{n}", PodId(f"pod-{pod}"), room, room, tags, refuses
        ),
        st.integers(0, 999),
        st.integers(0, 3),
        sizes.map(lambda size: size.times(3)),
        st.sampled_from(["", "", "", "is silent"]),
        st.sets(st.sampled_from(["ssd", "gpu"])).map(frozenset),
    ),
    max_size=12,
    unique_by=lambda host: host.id,
)
some_asks = st.lists(
    st.builds(
        lambda size, tags, strategy, apart: PlacementAsk(
            MachineId("machine-x"),
            size,
            frozenset(tags),
            strategy,
            (GroupAsk("group-1", GroupRule.APART),) if apart else (),
        ),
        sizes,
        st.sets(st.sampled_from(["ssd", "gpu"]), max_size=1),
        st.sampled_from(list(Strategy)),
        st.booleans(),
    ),
    max_size=20,
)


@settings(deadline=None, max_examples=300)
@given(some_hosts, some_asks)
def test_whatever_is_asked_nothing_is_overbooked_and_no_rule_broken(
    hosts: list[HostView], asks: list[PlacementAsk]
) -> None:
    view = ZoneView(hosts)
    by_id = {host.id: host for host in hosts}
    taken: dict[HostId, Size] = {}
    apart: set[HostId] = set()
    for wanted, answer in zip(asks, choose(view, asks), strict=True):
        if isinstance(answer, Refused):
            assert sum(answer.reasons.values()) == len(hosts)
            continue
        at = by_id[answer.host]
        assert not at.refuses
        assert wanted.tags <= at.tags
        if wanted.groups:
            assert at.id not in apart
            apart.add(at.id)
        sum_ = taken[at.id] = taken.get(at.id, Size()) + wanted.size
        assert sum_.cpu_mhz <= at.free.cpu_mhz
        assert sum_.memory_mib <= at.free.memory_mib
        assert sum_.disk_mib <= at.free.disk_mib


@settings(deadline=None, max_examples=200)
@given(some_hosts, some_asks, st.randoms(use_true_random=False))
def test_the_order_of_hosts_in_the_snapshot_does_not_matter(hosts, asks, random) -> None:
    shuffled = list(hosts)
    random.shuffle(shuffled)
    assert choose(ZoneView(hosts), asks) == choose(ZoneView(shuffled), asks)


@settings(deadline=None, max_examples=200)
@given(some_hosts, some_asks)
def test_a_machine_is_refused_only_when_every_host_fails_a_rule(hosts, asks) -> None:
    for wanted in asks:
        view = ZoneView(hosts)
        (answer,) = choose(view, [wanted])
        fresh = ZoneView(hosts)
        assert isinstance(answer, Refused) == (len(why_not(fresh, wanted)) == len(hosts))
