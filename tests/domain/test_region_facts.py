"""However pushes and snapshots come, doubled, late and out of order, what is kept ends as the region's truth."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from arable.domain.region import Fact, FactKind, ago, by_snapshot, news, next_version

KEYS = ("a", "b", "c")


class Copy:
    """What the grid manager keeps of a region, by the same decisions."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], Fact] = {}
        self.floor = 0

    def push(self, facts) -> None:
        self._keep(news(self._versions(), self.floor, facts))

    def snapshot(self, version, facts) -> None:
        if version <= self.floor:
            return
        live = [at for at, fact in self.kept.items() if fact.body is not None]
        self._keep(by_snapshot(self._versions(), live, version, facts))
        self.floor = version
        gone = [at for at, f in self.kept.items() if f.body is None and f.version <= version]
        for at in gone:  # as the grid manager forgets, in time, what is gone
            del self.kept[at]

    def truth(self):
        return {at: fact.body for at, fact in self.kept.items() if fact.body is not None}

    def _versions(self):
        return {at: fact.version for at, fact in self.kept.items()}

    def _keep(self, facts) -> None:
        self.kept |= {fact.at: fact for fact in facts}


class Region:
    """Changes, and makes messages of them."""

    def __init__(self) -> None:
        self.facts: dict[tuple[str, str], Fact] = {}
        self.version = 0

    def change(self, key, body, step) -> None:
        self.version = next_version(self.version, self.version + step)
        fact = Fact(kind=FactKind.ZONE, key=key, version=self.version, body=body)
        self.facts[fact.at] = fact

    def push(self, after):
        return ("push", [f for f in self.facts.values() if f.version > after])

    def snapshot(self):
        self.version += 1
        return ("snapshot", self.version, [f for f in self.facts.values() if f.body is not None])

    def truth(self):
        return {at: fact.body for at, fact in self.facts.items() if fact.body is not None}


def deliver(copy, message) -> None:
    match message:
        case ("push", facts):
            copy.push(facts)
        case ("snapshot", version, facts):
            copy.snapshot(version, facts)


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(KEYS),
        st.one_of(st.none(), st.integers(0, 3)),
        st.integers(0, 5),
        st.sampled_from(["", "push", "all", "snapshot"]),
    ),
    max_size=12,
)


def messages_of(region, changes):
    made = []
    for key, body, step, then in changes:
        before = region.version
        region.change(key, body, step)
        if then == "push":
            made.append(region.push(before))
        elif then == "all":
            made.append(region.push(0))
        elif then == "snapshot":
            made.append(region.snapshot())
    return made


@given(CHANGES, st.randoms(use_true_random=False), st.booleans())
def test_any_interleaving_ends_with_the_regions_truth(changes, dice, by_push):
    region, copy = Region(), Copy()
    sent = messages_of(region, changes)
    late = [m for m in sent if dice.random() < 0.3]
    arriving = [m for m in sent for _ in range(dice.choice((0, 1, 1, 2)))]  # lost, doubled
    dice.shuffle(arriving)
    arriving = [m for m in arriving if m not in late or dice.random() < 0.5]
    for message in arriving:
        deliver(copy, message)
    deliver(copy, region.push(0) if by_push else region.snapshot())
    for message in late:
        deliver(copy, message)
    assert copy.truth() == region.truth()


@given(CHANGES, st.randoms(use_true_random=False))
def test_pushes_that_all_come_in_any_order_need_no_snapshot(changes, dice):
    region, copy = Region(), Copy()
    sent = messages_of(region, [(*c[:3], "push") for c in changes])
    dice.shuffle(sent)
    for message in sent:
        deliver(copy, message)
    assert copy.truth() == region.truth()


def test_a_region_whose_store_was_set_back_is_believed_by_its_next_snapshot():
    region, copy = Region(), Copy()
    region.change("a", 1, 1)
    old, version = dict(region.facts), region.version
    region.change("a", 2, 1)
    region.change("b", 2, 1)
    deliver(copy, region.push(0))
    lost = region.version
    region.facts, region.version = old, version
    region.version = lost  # it hears what was known of it
    deliver(copy, region.snapshot())
    assert copy.truth() == {(FactKind.ZONE, "a"): 1}


def test_how_long_ago_is_said_for_people():
    spans = [timedelta(seconds=s) for s in (-3, 5, 61, 7200, 200_000)]
    assert [ago(span) for span in spans] == ["0 s", "5 s", "1 min", "2 h", "2 d"]
