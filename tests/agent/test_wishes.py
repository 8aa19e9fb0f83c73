"""Changes add up to the manifest, and what is looked up in it is kept up with them."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from agent import make_agent as make
from arable.agent.wishes import Wishes, _by_network
from arable.domain.errors import BadInput
from arable.wire.agent import Change

ITEMS = st.lists(
    st.one_of(
        st.builds(
            lambda name, of: make.item(make.lease(name, of=of)),
            st.sampled_from("abc"),
            st.sampled_from("xy"),
        ),
        st.builds(lambda name: make.no_longer(make.lease(name)), st.sampled_from("abc")),
        st.builds(lambda name: make.item(make.guest(name)), st.sampled_from("abc")),
        st.builds(lambda name: make.no_longer(make.guest(name)), st.sampled_from("abc")),
    ),
    max_size=6,
)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), ITEMS), max_size=6))
def test_leases_by_network_are_always_those_of_the_manifest(changes) -> None:
    wishes = Wishes(make.HOST, None)
    for generation, (whole, items) in enumerate(changes, start=1):
        base = None if whole else wishes.manifest.generation
        wishes.change(Change(base=base, generation=generation, items=items))
        expected = _by_network(wishes.manifest)
        assert {n: wishes.leases(n) for n in expected} == expected
        assert wishes._leases == expected
        assert not wishes.departed & wishes.manifest.guests.keys()


@pytest.mark.parametrize(("base", "generation"), [(4, 6), (6, 7), (4, 4), (5, 4)])
def test_a_difference_that_does_not_lead_forward_from_what_is_held_is_refused(
    base, generation
) -> None:
    wishes = Wishes(make.HOST, None)
    wishes.change(make.whole(5, make.guest("a")))
    held = wishes.manifest
    with pytest.raises(BadInput):
        wishes.change(Change(base=base, generation=generation, items=[]))
    assert wishes.manifest is held


def test_nothing_new_since_what_is_held_is_heard_and_changes_nothing() -> None:
    wishes = Wishes(make.HOST, None)
    wishes.change(make.whole(5, make.guest("a")))
    held = wishes.manifest
    wishes.change(Change(base=5, generation=5, items=[]))
    assert wishes.manifest is held
    with pytest.raises(BadInput):
        wishes.change(Change(base=5, generation=5, items=[make.no_longer(make.guest("a"))]))
    assert wishes.manifest is held


def test_a_refused_change_took_nothing_in() -> None:
    wishes = Wishes(make.HOST, None)
    wishes.change(make.whole(5, make.lease("a")))
    wrong = make.Item(kind=make.ItemKind.GUEST, id="machine-a", body=b"{}")
    with pytest.raises(BadInput):
        wishes.change(Change(base=5, generation=6, items=[make.no_longer(make.lease("a")), wrong]))
    assert wishes.manifest.generation == 5
    assert wishes.leases(make.network("a"))


def test_a_whole_manifest_is_the_newest_truth_even_when_its_generation_is_lower() -> None:
    wishes = Wishes(make.HOST, None)
    wishes.change(make.whole(5, make.guest("a")))
    wishes.change(make.whole(2, make.guest("b")))
    assert list(wishes.manifest.guests) == [make.machine("b")]
    assert wishes.departed == {make.machine("a")}


def test_leases_that_did_not_change_stay_the_same_object() -> None:
    wishes = Wishes(make.HOST, None)
    wishes.change(make.whole(1, make.lease("a", of="x"), make.lease("b", of="y")))
    before = wishes.leases(make.network("x"))
    items = [make.item(make.lease("c", of="y"))]
    wishes.change(Change(base=1, generation=2, items=items))
    assert wishes.leases(make.network("x")) is before
    assert len(wishes.leases(make.network("y"))) == 2
