"""Elements and rollouts: no state is a trap, and the page shows what the tables say."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arable.domain.blueprint import Update
from arable.domain.element import ELEMENT, Element, ElementEvent, ElementState
from arable.domain.errors import Conflict
from arable.domain.ids import AccountId, ElementId, FarmId, RolloutId, TierId
from arable.domain.order import ORDER
from arable.domain.rollout import ROLLOUT, Rollout, RolloutEvent, RolloutState
from arable.domain.tier import Release

AT = datetime(2030, 1, 1, tzinfo=UTC)
NEW = Element(
    id=ElementId("element-a"),
    tier=TierId("tier-a"),
    farm=FarmId("farm-a"),
    account=AccountId("account-a"),
    number=1,
    since=AT,
)
ROLLING = Rollout(
    id=RolloutId("rollout-a"),
    tier=TierId("tier-a"),
    farm=FarmId("farm-a"),
    account=AccountId("account-a"),
    before=Release(1, 1),
    goal=Release(1, 2),
    policy=Update(),
    created_at=AT,
)


@pytest.mark.parametrize("cycle", [ELEMENT, ROLLOUT], ids=["element", "rollout"])
def test_every_state_is_reached_from_the_first_and_can_come_to_an_end(cycle) -> None:
    there = {cycle.first}
    while new := {after for (before, _), after in cycle.rows.items() if before in there} - there:
        there |= new
    assert there == set(type(cycle.first))
    ending = set(cycle.final)
    while new := {before for (before, _), after in cycle.rows.items() if after in ending} - ending:
        ending |= new
    assert ending == there


@pytest.mark.parametrize("state", sorted(set(ElementState) - ELEMENT.final))
def test_an_element_with_a_machine_is_in_nobodys_way_before_it_is_dropped(state) -> None:
    """Only what left all balancers is shut down, and only what was shut down is made anew."""
    before = {was for (was, _), after in ELEMENT.rows.items() if after is state}
    if state is ElementState.DROPPING:
        assert before == {ElementState.LEAVING}
    if state is ElementState.MAKING:
        at_work = {ElementState.PROVING, ElementState.SERVING, ElementState.STANDBY}
        assert before == {ElementState.WAITING} | at_work


@given(st.lists(st.sampled_from(list(ElementEvent)), max_size=30))
def test_an_element_follows_its_table_and_remembers_since_when(events) -> None:
    element = NEW
    for event in events:
        if ELEMENT.allows(element.state, event):
            then = element.after(event, AT)
            assert (then.state, then.generation) == (
                ELEMENT.rows[element.state, event],
                element.generation + 1,
            )
            element = then
        else:
            with pytest.raises(Conflict):
                element.after(event, AT)


@given(st.lists(st.sampled_from(list(RolloutEvent)), max_size=12))
def test_a_rollout_that_is_over_stays_so_and_knows_since_when(events) -> None:
    rollout = ROLLING
    for event in events:
        if ROLLOUT.allows(rollout.state, event):
            rollout = rollout.after(event, AT)
    over = rollout.state in (RolloutState.DONE, RolloutState.FAILED)
    assert over == (rollout.ended_at is not None)
    assert over != any(ROLLOUT.events(rollout.state))


def test_the_page_shows_all_tables() -> None:
    page = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text()
    for cycle in (ELEMENT, ROLLOUT, ORDER):
        assert f"```mermaid\n{cycle.mermaid()}```" in page
