"""Manifests of another database: generations say nothing, and what it does not know is kept."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from agent import make_agent as make
from agent.make_agent import Rig
from arable.agent.ledger import FileLedger, GuestFacts, Held
from arable.domain.manifest import GuestState, HostManifest
from arable.wire.agent import Change, Hello


def of(incarnation: str, change: Change) -> Change:
    return msgspec.structs.replace(change, incarnation=incarnation)


@pytest.fixture
def rig() -> Rig:
    """It holds generation 7 of the database `old`, and two guests run."""
    made = Rig()
    made.agent.receive(of("old", make.whole(7, make.guest("a"), make.guest("b", ports=()))))
    made.settle(20)
    assert made.runs("a")
    assert made.runs("b")
    return made


def restored(rig: Rig, generation: int, *wishes) -> None:
    """What a server says after an older copy was restored."""
    rig.agent.receive(of("new", make.whole(generation, *wishes)))
    rig.settle(200)


def test_the_greeting_says_what_is_held_and_of_which_database(rig) -> None:
    hello = rig.agent.hello()
    assert (hello.have, hello.incarnation) == (7, "old")


@pytest.mark.parametrize("generation", [3, 7, 9])
def test_a_whole_manifest_of_another_database_counts_whatever_its_generation(
    rig, generation
) -> None:
    restored(rig, generation, make.guest("a"), make.guest("b", ports=()), make.guest("c", ports=()))
    assert rig.runs("c")
    assert (rig.agent.generation, rig.agent.hello().incarnation) == (generation, "new")


@pytest.mark.parametrize("items", [[], [make.no_longer(make.guest("a"))]])
@pytest.mark.parametrize("generation", [7, 8])
def test_a_difference_of_another_database_is_answered_by_asking_for_all(
    rig, generation, items
) -> None:
    change = of("new", Change(base=7, generation=generation, items=items))
    answer = rig.agent.receive(change)
    assert isinstance(answer, Hello)
    assert answer.have == 0
    rig.settle(20)
    assert rig.runs("a")


def test_a_guest_that_the_other_database_does_not_know_runs_on_and_is_told(rig) -> None:
    restored(rig, 3, make.guest("a"))
    assert rig.runs("b")
    assert rig.starts("b") == 1
    said = rig.server.said("b")
    assert said.state is GuestState.RUNNING
    assert "does not know" in said.told
    rig.restart(alone=True)
    rig.settle(200)
    assert rig.runs("b"), "that it is kept is in the ledger"
    assert not rig.hardware.mishaps


def test_a_kept_guest_that_goes_off_stays_off_and_is_not_removed(rig) -> None:
    restored(rig, 3, make.guest("a"))
    rig.hardware.crash(make.machine("b"))
    rig.settle(200)
    assert not rig.runs("b")
    assert make.machine("b") in rig.hardware.guests
    assert rig.server.said("b").state is GuestState.STOPPED


def test_it_is_an_ordinary_guest_again_when_it_is_named_again(rig) -> None:
    restored(rig, 3, make.guest("a"))
    restored(rig, 4, make.guest("a"), make.guest("b", ports=(), generation=2))
    assert rig.starts("b") == 1
    rig.agent.receive(of("new", make.whole(5, make.guest("a"))))
    rig.settle(200)
    assert make.machine("b") not in rig.hardware.guests, "of one database, what is missing goes"


def test_it_goes_when_it_is_taken_back_and_its_disk_stays(rig) -> None:
    restored(rig, 3, make.guest("a"))
    gone = [make.no_longer(make.guest("b"))]
    rig.agent.receive(of("new", Change(base=3, generation=4, items=gone)))
    rig.settle(200)
    assert make.machine("b") not in rig.hardware.guests
    assert make.volume("b") in rig.hardware.pools[make.POOL].volumes


def test_it_goes_when_its_disk_is_to_be_erased(rig) -> None:
    restored(rig, 3, make.guest("a"), make.scrap("b"))
    assert make.machine("b") not in rig.hardware.guests
    assert make.volume("b") not in rig.hardware.pools[make.POOL].volumes
    assert not rig.hardware.mishaps


def test_two_restored_copies_in_a_row_keep_what_neither_knows(rig) -> None:
    restored(rig, 3, make.guest("a"))
    rig.agent.receive(of("newer", make.whole(2)))
    rig.settle(200)
    assert rig.runs("a")
    assert rig.runs("b")


def test_guests_that_were_to_be_off_are_not_kept(rig) -> None:
    off = replace(make.off("b"), ports=())
    rig.agent.receive(of("old", make.whole(8, make.guest("a"), off)))
    rig.settle(200)
    restored(rig, 3, make.guest("a"))
    assert make.machine("b") not in rig.hardware.guests


def test_a_server_and_a_ledger_from_before_databases_had_names_are_understood(
    tmp_path: Path,
) -> None:
    rig = Rig()
    rig.agent.receive(make.whole(7, make.guest("a")))
    rig.settle(20)
    assert rig.agent.hello().incarnation == ""
    rig.agent.receive(of("first", Change(base=7, generation=8, items=[])))
    assert rig.agent.hello().incarnation == "first", "no reason to ask for all"
    file = tmp_path / "ledger.json"
    ledger = FileLedger(file)
    kept = {make.machine("z"): make.guest("z")}
    held = Held(
        manifest=HostManifest(make.HOST, 7, incarnation="x"),
        facts={make.machine("a"): GuestFacts(tries=1)},
        kept=kept,
    )
    ledger.save(held)
    assert ledger.load() == held
