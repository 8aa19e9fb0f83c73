"""Wherever one call to a driver fails, before its effect or after it, and wherever the agent dies: the same end."""

from agent import make_agent as make
from agent.likeness import differences
from agent.make_agent import Rig
from arable.drivers.faults import Faults, every_failure


def play(rig: Rig, pause) -> None:
    """A day on a host: every kind of item comes, changes and goes."""
    rig.wish(make.guest("a"), make.guest("b"), make.appliance("a"), make.lease("a"))
    pause(rig)
    rig.wish(
        make.guest("a", generation=2, boots=2),
        make.off("b"),
        make.guest("c", disks=(make.disk("c", source=None), make.disk("d", source=None))),
        make.lease("c"),
        no=[make.lease("a")],
    )
    pause(rig)
    rig.wish(
        make.scrap("a"),
        make.guest("b", generation=3, ports=(make.port("b", vlan=101),)),
        make.appliance("b", vlan=101, public=None),
        no=[make.guest("a"), make.appliance("a")],
    )
    pause(rig)
    rig.wish(make.scrap("c"), make.scrap("d"), no=[make.guest("c"), make.scrap("a")])
    pause(rig)


def day_with(faults: Faults) -> None:
    rig = Rig(faults)
    play(rig, lambda r: r.settle(30))
    rig.settle(30)
    assert not differences(rig)
    assert not rig.hardware.mishaps


def test_a_host_becomes_what_it_should_be_wherever_one_call_fails() -> None:
    tried = 0
    for faults in every_failure(day_with):
        day_with(faults)
        assert faults.passed > faults.fail_at, "the failure was never met"
        tried += 1
    assert tried > 60


def test_two_failures_in_a_row_do_not_matter_either() -> None:
    tried = 0
    for first in every_failure(day_with):
        place, seen = first.fail_at, iter(range(10_000))

        def twice(_where: str, place: int = place, seen=seen) -> bool:
            return next(seen) in (place, place + 2)

        day_with(Faults(when=twice))
        tried += 1
    assert tried > 60


def test_an_agent_that_dies_at_any_call_and_comes_back_finishes_the_work() -> None:
    class Dies(BaseException):
        """Not an error of a driver: the process is gone."""

    def dying(place: int | None) -> tuple[Rig, int]:
        calls = iter(range(100_000))
        met = 0

        def count(_where: str) -> bool:
            nonlocal met
            met = next(calls)
            if met == place:
                raise Dies
            return False

        rig = Rig(Faults(when=count))

        def go_on(rig: Rig) -> None:
            try:
                rig.settle(30)
            except Dies:
                rig.restart()
                rig.settle(30)

        play(rig, go_on)
        assert not differences(rig)
        assert not rig.hardware.mishaps
        return rig, met

    _, places = dying(None)
    clean = dying(None)[0].hardware.started
    for place in range(places + 1):
        rig, _ = dying(place)
        assert rig.hardware.started == clean, "something was started twice"


def test_a_restart_of_the_agent_between_any_two_steps_changes_nothing_that_runs() -> None:
    rig = Rig()

    def pause(rig: Rig) -> None:
        for _ in range(3):
            rig.restart()
            before = {name: kept.starts for name, kept in rig.hardware.guests.items()}
            rig.step()
            after = {name: kept.starts for name, kept in rig.hardware.guests.items()}
            steady.append(before == after)

    steady: list[bool] = []
    play(rig, pause)
    rig.settle(30)
    assert not differences(rig)
    assert steady[1::3] == steady[2::3] == [True] * 4
    started = rig.hardware.started
    for _ in range(5):
        rig.restart()
        rig.settle(20)
    assert rig.hardware.started == started
