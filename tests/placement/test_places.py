"""Places that are taken bit by bit, while others are placed on the same hosts."""

from hypothesis import given
from hypothesis import strategies as st

from arable.domain.group import Strategy
from arable.domain.ids import HostId, MachineId, PodId
from arable.domain.units import Size
from arable.placement.choose import PlacementAsk, Places, several
from arable.placement.view import HostView, ZoneView

SMALL, LARGE = Size(1, 1000, 512, 1024), Size(2, 2500, 1024, 1024)
ROOM = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2)), min_size=1, max_size=12)
STRATEGY = st.sampled_from(Strategy)


def view(rooms: list[tuple[int, int]]) -> ZoneView:
    return ZoneView(
        [
            HostView(
                HostId(f"host-{at:02}"),
                f"{at}",
                PodId(f"pod-{pod}"),
                SMALL.times(fits),
                SMALL.times(6),
            )
            for at, (fits, pod) in enumerate(rooms)
        ]
    )


def ask(size: Size, strategy: Strategy) -> PlacementAsk:
    return PlacementAsk(MachineId("machine-a"), size, strategy=strategy)


@given(rooms=ROOM, strategy=STRATEGY, parts=st.lists(st.integers(0, 8), max_size=5))
def test_bit_by_bit_they_are_the_same_as_all_at_once(
    rooms: list[tuple[int, int]], strategy: Strategy, parts: list[int]
) -> None:
    places = Places(view(rooms), ask(SMALL, strategy))
    taken = [at for count in parts for at in places.take(count)]
    assert taken == several(view(rooms), ask(SMALL, strategy), sum(parts))[0]


@given(
    rooms=ROOM,
    strategy=STRATEGY,
    turns=st.lists(
        st.tuples(st.booleans(), st.integers(1, 4), st.sets(st.integers(0, 11))), max_size=8
    ),
)
def test_no_host_is_given_more_than_it_has_nor_anything_while_it_is_closed(
    rooms: list[tuple[int, int]],
    strategy: Strategy,
    turns: list[tuple[bool, int, set[int]]],
) -> None:
    on = view(rooms)
    small, large = (Places(on, ask(size, strategy)) for size in (SMALL, LARGE))
    for which, count, closing in turns:
        closed = [at for at in closing if at < len(rooms)]
        on.accepting[closed] = False
        taken = (small if which else large).take(count)
        assert not set(taken) & set(closed)
        on.accepting[closed] = True
        for column in (on.free_mhz, on.free_memory, on.free_disk):
            assert (column >= 0).all()
    small.take(1000)
    for column in (on.free_mhz, on.free_memory, on.free_disk):
        assert (column >= 0).all()
    assert not several(on, ask(SMALL, strategy), 1)[0], "what was closed for a while is found again"
