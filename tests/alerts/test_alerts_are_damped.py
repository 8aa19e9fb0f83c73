"""What becomes of an alert, look by look: `after` and nothing else."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arable.domain.alert import DAMPING, After, Alert, AlertKind, Finding, Severity, Told, after
from arable.domain.ids import check, kind_of

START = datetime(2030, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
W, C = Severity.WARNING, Severity.CRITICAL


def finding(kind: AlertKind = AlertKind.ZONE_CAPACITY, severity: Severity = W) -> Finding:
    return Finding(kind, "zone-1", "north", severity, f"{severity}")


def told(looks: list[tuple[int, Finding | None]]) -> list[tuple[int, Told]]:
    """What is told at which second, of causes that were seen or not at these."""
    now: Alert | None = None
    said = []
    for second, found in looks:
        now, what = after(now, found, START + second * SECOND)
        if what is not None:
            said.append((second, what))
        if now is not None and now.until is not None:
            now = None
    return said


def test_a_cause_that_goes_at_once_is_not_told() -> None:
    assert told([(0, finding()), (30, finding()), (59, None), (600, None)]) == []


def test_a_cause_that_stays_is_told_once() -> None:
    looks = [(second, finding()) for second in range(0, 600, 5)]
    assert told(looks) == [(60, Told.OPENED)]


def test_what_comes_back_is_the_same_alert() -> None:
    steady = [(s, finding()) for s in range(0, 70, 10)]
    flapping = [(s, finding() if s // 60 % 2 else None) for s in range(120, 3600, 10)]
    over = [(s, None) for s in range(3600, 4000, 10)]
    assert told([*steady, *flapping, *over]) == [(60, Told.OPENED), (3900, Told.ENDED)]


def test_an_alert_that_gets_worse_is_told_again_and_never_gets_better() -> None:
    severities = [W, W, C, W, C, W]
    looks = [(60 * at, finding(severity=severity)) for at, severity in enumerate(severities)]
    assert told(looks) == [(60, Told.OPENED), (120, Told.RAISED)]


def test_ids_follow_from_what_they_name_and_are_ids() -> None:
    one, again = (after(None, finding(), START).alert for _ in range(2))
    other = after(None, finding(AlertKind.FARM_FAILING), START).alert
    assert one
    assert again
    assert other
    assert one.id == again.id != other.id
    assert check("alert", one.id)
    assert kind_of(one.id) == "alert"


@pytest.mark.parametrize("kind", AlertKind)
def test_every_kind_that_is_kept_says_how_it_is_damped(kind: AlertKind) -> None:
    assert (kind in DAMPING) == (kind is not AlertKind.TEST)


def test_every_kind_is_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs/operators.md").read_text()
    rows = re.findall(r"^\| `([a-z]+-[a-z-]+)` \|", page, re.MULTILINE)
    assert set(rows) == set(AlertKind) - {AlertKind.TEST}


looks = st.lists(
    st.tuples(
        st.integers(0, 400),
        st.one_of(st.none(), st.sampled_from(Severity).map(lambda s: finding(severity=s))),
    ),
    max_size=40,
)


@given(looks)
@settings(deadline=None)
def test_every_alert_is_opened_once_then_ended_once(
    looks: list[tuple[int, Finding | None]],
) -> None:
    now: Alert | None = None
    at, opened, unseen_since = START, False, None
    opens, ends = DAMPING[AlertKind.ZONE_CAPACITY]
    for span, found in looks:
        at += span * SECOND
        before = now
        now, what = after(before, found, at)
        unseen_since = None if found else (unseen_since or at)
        match what:
            case Told.OPENED:
                assert not opened
                assert now
                assert now.opened_at == at
                assert at - now.since >= opens
                opened = True
            case Told.RAISED:
                assert opened
                assert before
                assert before.severity is W
                assert now
                assert now.severity is C
            case Told.ENDED:
                assert opened
                assert now
                assert now.until == at
                assert unseen_since is not None
                assert at - unseen_since >= ends
                opened, now = False, None
            case _:
                assert opened == (now is not None and now.opened_at is not None)
        if before and now and before.id == now.id and before.opened_at:
            assert now.severity.at_least(before.severity)


def test_a_clock_that_is_set_back_ends_nothing_early() -> None:
    opened = after(None, finding(AlertKind.HOST_SILENT), START).alert
    assert opened
    gone = after(opened, None, START + 10 * SECOND).alert
    assert gone
    back = after(gone, None, START - timedelta(hours=1))
    assert back == After(replace(gone), None)
