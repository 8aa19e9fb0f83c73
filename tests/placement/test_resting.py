"""Who sleeps and who is woken: never below the reserve, never in a pod in trouble, and a plan that was followed is over."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from arable.domain.ids import HostId, PodId
from arable.placement.resting import Plan, Policy, Rester, Stance, plan

HOUR = timedelta(hours=1)
USUAL = Policy(reserve=1, idle=HOUR)


def host(name: str, stance: Stance = Stance.IDLE, **but: object) -> Rester:
    usual: dict[str, object] = {"switchable": True, "idle": 2 * HOUR}
    return Rester(id=HostId(f"host-{name}"), pod=PodId("pod-a"), stance=stance, **usual | but)  # type: ignore[arg-type]


def names(hosts: tuple[HostId, ...]) -> list[str]:
    return [each.removeprefix("host-") for each in hosts]


def test_all_but_the_reserve_sleep_and_those_first_that_were_idle_longest() -> None:
    found = plan([host("a"), host("b", idle=3 * HOUR), host("c")], USUAL)
    assert names(found.sleep) == ["b", "a"]


def test_nobody_sleeps_who_was_busy_or_woken_a_moment_ago_or_can_not_be_switched() -> None:
    young, woken, fixed = (
        host("a", idle=HOUR / 2),
        host("b", awake=HOUR / 2),
        host("c", switchable=False),
    )
    assert plan(
        [young, woken, fixed, host("d"), host("e")], Policy(reserve=0, idle=HOUR)
    ).sleep == (
        HostId("host-d"),
        HostId("host-e"),
    )


def test_what_is_missing_of_the_reserve_is_woken_and_those_who_come_count() -> None:
    asleep = [host(name, Stance.ASLEEP) for name in "abc"]
    policy = Policy(reserve=2, idle=HOUR)
    assert names(plan(asleep, policy).wake) == ["a", "b"]
    assert names(plan([*asleep, host("d", Stance.WAKING)], policy).wake) == ["a"]
    assert names(plan([*asleep, host("d"), host("e", Stance.WAKING)], policy).wake) == []


def test_one_that_did_not_come_does_not_count_and_in_its_pod_nobody_sleeps() -> None:
    hosts = [host("a", Stance.TROUBLED), host("b", Stance.ASLEEP), host("c"), host("d"), host("e")]
    assert plan(hosts, USUAL) == Plan()
    assert names(plan(hosts[:2], USUAL).wake) == ["b"]


POLICIES = st.builds(Policy, reserve=st.integers(0, 4), idle=st.just(HOUR))
HOSTS = st.lists(
    st.builds(
        Rester,
        id=st.integers(0, 99).map(lambda n: HostId(f"host-{n:02}")),
        pod=st.sampled_from(["pod-a", "pod-b"]).map(PodId),
        stance=st.sampled_from(Stance),
        switchable=st.booleans(),
        idle=st.sampled_from([timedelta(), HOUR, 2 * HOUR]),
        awake=st.sampled_from([timedelta(), HOUR, timedelta.max]),
    ),
    max_size=20,
    unique_by=lambda one: one.id,
)


def followed(hosts: list[Rester], found: Plan) -> list[Rester]:
    """The hosts, a moment after everybody did as told."""
    becomes = dict.fromkeys(found.sleep, Stance.ASLEEP) | dict.fromkeys(found.wake, Stance.WAKING)
    return [
        replace(one, stance=becomes[one.id], idle=timedelta(), awake=timedelta())
        if one.id in becomes
        else one
        for one in hosts
    ]


@given(HOSTS, POLICIES)
def test_whatever_the_hosts_and_the_policy(hosts: list[Rester], policy: Policy) -> None:
    found = plan(hosts, policy)
    by_id = {one.id: one for one in hosts}
    for name in found.sleep:
        one = by_id[name]
        assert (one.stance, one.switchable) == (Stance.IDLE, True)
        assert min(one.idle, one.awake) >= policy.idle
    assert all(by_id[name].stance is Stance.ASLEEP for name in found.wake)
    for pod in {one.pod for one in hosts}:
        before = Counter(one.stance for one in hosts if one.pod == pod)
        after = Counter(one.stance for one in followed(hosts, found) if one.pod == pod)
        slept = before[Stance.IDLE] - after[Stance.IDLE]
        if slept:
            assert not before[Stance.TROUBLED]
            assert after[Stance.IDLE] >= policy.reserve
            assert not after[Stance.WAKING] - before[Stance.WAKING], "not both at once"
        coming = after[Stance.IDLE] + after[Stance.WAKING]
        left = any(
            one.pod == pod and one.stance is Stance.ASLEEP and one.switchable
            for one in followed(hosts, found)
            if one.id not in found.sleep
        )
        assert coming >= policy.reserve or not left, "whoever could be woken is"
    assert plan(followed(hosts, found), policy) == Plan(), "once followed, it is over"
    assert plan(list(reversed(hosts)), policy) == found, "in whatever order they are looked at"
