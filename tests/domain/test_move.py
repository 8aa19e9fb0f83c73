"""What is done next about a move, whatever is known of it."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from arable.domain.host import HostState
from arable.domain.move import (
    BOUND,
    MOVE,
    PREPARES,
    MoveEvent,
    MoveSight,
    MoveStage,
    after,
    immovable,
)

SIGHTS = st.builds(
    MoveSight,
    stage=st.sampled_from(list(MoveStage)),
    runs=st.booleans(),
    cancelled=st.booleans(),
    off=st.booleans(),
    failing=st.booleans(),
    told=st.sampled_from(["", "the connection was lost"]),
    offered=st.sampled_from(["", "h:1", "h:2"]),
    address=st.sampled_from(["", "h:1", "h:2"]),
    since=st.floats(0, 2000),
    source=st.sampled_from(list(HostState)),
    target=st.sampled_from([None, *HostState]),
    arrived=st.booleans(),
    revoked=st.booleans(),
)


@given(SIGHTS)
def test_the_next_step_is_one_that_the_table_allows(now) -> None:
    then = after(now)
    if then.do is not None:
        assert MOVE.allows(now.stage, then.do)
        assert then.why or then.do not in (MoveEvent.DROP, MoveEvent.TAKE_BACK)


@given(SIGHTS)
def test_only_the_storage_hosts_word_ends_what_hosts_may_know_of(now) -> None:
    then = after(now)
    if now.stage in BOUND:
        assert (then.do is MoveEvent.ARRIVE) == now.arrived
        if then.do is MoveEvent.STAY:
            assert now.revoked
            assert not now.arrived


@given(SIGHTS)
def test_what_nobody_wants_any_more_never_goes_on(now) -> None:
    gone = now.target is not HostState.UP or now.off or now.cancelled or not now.runs
    if now.stage in (MoveStage.PREPARING, MoveStage.MOVING) and not now.arrived and gone:
        assert after(now).do is MoveEvent.TAKE_BACK


def test_nobody_waits_for_ever() -> None:
    for stage, since in ((MoveStage.PREPARING, PREPARES), (MoveStage.MOVING, 660.0)):
        now = {"stage": stage, "runs": True, "target": HostState.UP}
        assert after(MoveSight(since=since, **now)).do is None
        assert after(MoveSight(since=since + 1, **now)).do is MoveEvent.TAKE_BACK


def test_disks_say_whether_a_machine_can_move() -> None:
    assert immovable(["host-s", "host-s"]) == ""  # type: ignore[list-item]
    assert "on its host" in immovable(["host-s", None])  # type: ignore[list-item]
    assert "several" in immovable(["host-s", "host-t"])  # type: ignore[list-item]
    assert "on its host" in immovable([])


def test_the_documentation_has_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text()
    assert f"```mermaid\n{MOVE.mermaid()}```" in page
