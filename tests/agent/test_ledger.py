"""The ledger is whole or it is not there, whatever happens to the file or the process."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from agent import make_agent as make
from arable.agent.ledger import FileLedger, GuestFacts, Held
from arable.domain.manifest import HostManifest


def held(generation: int = 7) -> Held:
    manifest = HostManifest(
        make.HOST,
        generation,
        guests={make.machine("a"): make.guest("a")},
        appliances={make.network("a"): make.appliance("a")},
        leases={make.nic("a"): make.lease("a")},
        scraps={make.volume("z"): make.scrap("z")},
    )
    facts = GuestFacts(ran=(1, 1), tries=3, volumes=(make.volume("a"),), nics=(make.nic("a"),))
    return Held(manifest=manifest, facts={make.machine("a"): facts})


@pytest.fixture
def ledger(tmp_path) -> FileLedger:
    return FileLedger(tmp_path / "ledger.json")


def test_a_ledger_gives_back_what_was_saved(ledger) -> None:
    assert ledger.load() is None
    ledger.save(held())
    assert ledger.load() == held()
    ledger.save(held(8))
    assert ledger.load() == held(8)


def test_nobody_else_may_read_it(ledger, tmp_path) -> None:
    ledger.save(held())
    assert (tmp_path / "ledger.json").stat().st_mode & 0o077 == 0


def test_a_torn_write_is_refused_loudly_and_counts_as_none(ledger, tmp_path, caplog) -> None:
    ledger.save(held())
    path = tmp_path / "ledger.json"
    content = path.read_bytes()
    for length in range(0, len(content), 17):
        path.write_bytes(content[:length])
        caplog.clear()
        assert ledger.load() is None
        assert "damaged" in caplog.text


@settings(deadline=None, max_examples=200)
@given(at=st.integers(0), bit=st.integers(0, 7))
def test_a_flipped_bit_is_never_believed(tmp_path_factory, at, bit) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.json"
    ledger = FileLedger(path)
    ledger.save(held())
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= 1 << bit
    path.write_bytes(content)
    assert ledger.load() is None


def test_a_ledger_of_another_kind_counts_as_none(ledger, tmp_path, caplog) -> None:
    from arable.agent.ledger import _digest

    body = b'{"manifest": 5}'
    (tmp_path / "ledger.json").write_bytes(_digest(body) + b"\n" + body)
    assert ledger.load() is None
    assert "another kind" in caplog.text


def test_a_death_while_writing_leaves_the_earlier_ledger(ledger, tmp_path, monkeypatch) -> None:
    """Killed at any system call of the second save: the first or the second is there, never anything else."""
    import os

    class Dies(BaseException):
        """The process is gone."""

    ledger.save(held(1))
    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:

            def die(*_args: object) -> None:
                raise Dies

            patch.setattr(os, name, die)
            with pytest.raises(Dies):
                ledger.save(held(2))
        assert FileLedger(tmp_path / "ledger.json").load() in (held(1), held(2))
    ledger.save(held(3))
    assert ledger.load() == held(3)


def test_a_full_disk_leaves_the_earlier_ledger_and_no_litter(ledger, tmp_path, monkeypatch) -> None:
    import os

    ledger.save(held(1))

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            ledger.save(held(2))
    assert ledger.load() == held(1)
    assert {path.name for path in tmp_path.iterdir()} == {"ledger.json", ".ledger.json.spare"}


def test_an_agent_acts_on_nothing_that_it_could_not_write_down(caplog) -> None:
    rig = make.Rig()
    rig.wish(make.guest("a"))
    rig.step()
    save = rig.ledger.save

    def full(_held: Held) -> None:
        raise OSError(28, "No space left on device")

    rig.ledger.save = full
    rig.wish(make.guest("b"), no=[make.guest("a")])
    rig.settle(30)
    assert rig.runs("a")
    assert make.machine("b") not in rig.hardware.guests
    assert rig.server.reports[-1].generation == 1
    assert "can't be written" in caplog.text
    rig.ledger.save = save
    rig.settle(30)
    assert rig.runs("b")
    assert make.machine("a") not in rig.hardware.guests
    assert rig.server.reports[-1].generation == 2


def test_a_real_ledger_carries_an_agent_over_its_death(tmp_path) -> None:
    rig = make.Rig()
    rig.ledger = FileLedger(tmp_path / "ledger.json")
    rig.restart(alone=True)
    rig.wish(make.guest("a"), make.appliance("a"), make.lease("a"))
    rig.step()
    rig.hardware.lose_power()
    assert rig.restart(alone=True).hello().have == 1
    rig.settle(30)
    assert rig.runs("a")
    assert make.network("a") in rig.hardware.appliances


def test_an_agent_with_a_damaged_ledger_removes_nothing_until_a_server_speaks(tmp_path) -> None:
    rig = make.Rig()
    path = tmp_path / "ledger.json"
    rig.ledger = FileLedger(path)
    rig.restart(alone=True)
    rig.wish(make.guest("a"), make.guest("b"))
    rig.step()
    path.write_bytes(path.read_bytes()[:-1])
    assert rig.restart(alone=True).hello().have == 0
    rig.settle(60)
    assert rig.runs("a")
    assert rig.runs("b")
    rig.agent.receive(make.whole(9, make.guest("a")))
    rig.step()
    assert rig.runs("a")
    assert rig.starts("a") == 1
    assert make.machine("b") not in rig.hardware.guests
