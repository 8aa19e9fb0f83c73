"""What is moved to even out loads: little, worth it, allowed, and never back and forth."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from arable.domain.ids import HostId, MachineId, PodId
from arable.placement.rebalance import GAIN, HostLoad, MachineLoad, Proposal, propose

MOST = 3


def host(name: str, *machines: MachineLoad, **but: object) -> HostLoad:
    usual: dict[str, object] = {
        "id": HostId(name),
        "pod": PodId("pod"),
        "mhz": 1000,
        "used_mhz": sum(m.used_mhz for m in machines),
        "limit_mib": 1000,
        "reserved_mib": sum(m.memory_mib for m in machines),
    }
    return HostLoad(**usual | but)  # type: ignore[arg-type]


def machine(name: str, on: str, used_mhz: int = 100, memory_mib: int = 100) -> MachineLoad:
    return MachineLoad(
        id=MachineId(name), host=HostId(on), used_mhz=used_mhz, memory_mib=memory_mib
    )


def proposed(hosts, machines, *, threshold=0.3, most=MOST, may=lambda _machine, _host: True):
    def of(where: HostId) -> list[MachineLoad]:
        return [each for each in machines if each.host == where]

    return propose(hosts, of, may, threshold=threshold, most=most)


def test_a_small_difference_is_left_alone() -> None:
    there = [machine(f"m{n}", "a") for n in range(2)]
    assert proposed([host("a", *there), host("b")], there) == []


def test_the_busiest_sends_what_evens_out_most_to_the_least_busy() -> None:
    there = [machine("large", "a", used_mhz=500), machine("middle", "a", used_mhz=300)]
    hosts = [host("a", *there), host("b", used_mhz=200), host("c")]
    assert proposed(hosts, there, most=1) == [Proposal("large", "a", "c")]  # type: ignore[arg-type]


def test_what_would_only_turn_the_difference_round_stays() -> None:
    there = [machine("only", "a", used_mhz=800)]
    assert proposed([host("a", *there), host("b")], there) == []


def test_other_pods_are_another_matter() -> None:
    there = [machine(f"m{n}", "a") for n in range(9)]
    assert proposed([host("a", *there), host("b", pod=PodId("other"))], there) == []


def test_nothing_goes_where_it_may_not() -> None:
    there = [machine(f"m{n}", "a") for n in range(9)]
    hosts = [host("a", *there), host("b"), host("c")]
    for each in proposed(hosts, there, may=lambda _machine, to: to == "c"):
        assert each.target == "c"


LOADS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 400), st.integers(1, 300)), max_size=14
)


@given(LOADS, st.integers(5, 60), st.sets(st.tuples(st.integers(0, 13), st.integers(0, 3))))
@settings(max_examples=300, deadline=None)
def test_it_ends_fits_helps_and_never_swings(loads, percent, barred) -> None:
    threshold = percent / 100
    names = ["a", "b", "c", "d"]
    machines = [
        machine(f"m{at}", names[where], used, memory)
        for at, (where, used, memory) in enumerate(loads)
    ]
    no = {(f"m{machine_}", names[where]) for machine_, where in barred}
    others = dict.fromkeys(names, 1000)  # room besides what is placed
    seen: set[tuple[HostId, ...]] = set()
    for _round in range(200):
        hosts = [
            host(
                name,
                *(m for m in machines if m.host == name),
                limit_mib=max(others[name], sum(m.memory_mib for m in machines if m.host == name)),
            )
            for name in names
        ]
        where = tuple(m.host for m in machines)
        assert where not in seen, "it was like that before"
        seen.add(where)
        made = proposed(hosts, machines, threshold=threshold, may=lambda m, h: (m, h) not in no)
        assert len(made) <= MOST
        assert len({each.machine for each in made}) == len(made)
        if not made:
            return
        loads_of = {each.id: each for each in hosts}
        for each in made:
            assert (each.machine, each.target) not in no
            assert each.source != each.target
            at = next(n for n, m in enumerate(machines) if m.id == each.machine)
            assert machines[at].host == each.source
            before = loads_of[each.source].load
            loads_of[each.source] = loads_of[each.source].without(machines[at])
            loads_of[each.target] = loads_of[each.target].beside(machines[at])
            assert loads_of[each.target].reserved_mib <= loads_of[each.target].limit_mib
            after = max(loads_of[each.source].load, loads_of[each.target].load)
            assert after <= before - threshold / GAIN + 1e-9
            machines[at] = replace(machines[at], host=each.target)
    raise AssertionError("it never ends")
