"""Of what shares a transaction each piece is kept or taken back alone, wherever it stands and however it fails."""

from concurrent.futures import Future

import pytest
from sqlalchemy import insert, select

from arable.domain.errors import Conflict
from arable.store import schema as t
from arable.store.nudges import collected, ended
from arable.store.writer import DryRun, Writer

NOTED = 20  # rows of a piece: more than SQLite is given one by one


def note(tx, name: str) -> None:
    rows = [{"name": f"{name}-{at}", "value": at} for at in range(NOTED)]
    tx.execute(insert(t.setting), rows)
    ended(tx, [name])


def good(tx) -> str:
    note(tx, "good")
    return "kept"


def refused(tx) -> str:
    note(tx, "refused")
    raise Conflict("no")


def broken(tx) -> str:
    note(tx, "broken")
    raise ZeroDivisionError


def clashing(tx) -> str:
    note(tx, "clashing")
    note(tx, "clashing")
    return "never"


def tried(tx) -> str:
    note(tx, "tried")
    raise DryRun("as if")


def batch(tx, asks):
    for ask in asks:
        note(tx, f"batch-{ask}")
        if ask == "bad":
            raise ZeroDivisionError
    return list(asks)


def kept(database) -> set[str]:
    with database.read() as tx:
        names = tx.execute(select(t.setting.c.name)).scalars().all()
    return {name.rpartition("-")[0] for name in names}


@pytest.mark.parametrize("first", [good, refused, broken, clashing, tried])
def test_each_piece_alone_everywhere(database, first):
    rest = [each for each in (good, refused, broken, clashing, tried) if each is not first]
    alone(database, [first, *rest])


def alone(database, order) -> None:
    told = []
    writer = Writer(database, committed=lambda nudges: told.append(set(nudges.ended)))
    waiting = {each.__name__: writer.submit(each) for each in order}
    assert writer.run_waiting() == len(order)
    assert waiting["good"].result(0) == "kept"
    assert waiting["tried"].result(0) == "as if"
    assert isinstance(waiting["refused"].exception(0), Conflict)
    assert isinstance(waiting["broken"].exception(0), ZeroDivisionError)
    assert isinstance(waiting["clashing"].exception(0), Conflict)
    assert kept(database) == {"good"}
    assert told == [{"good"}]


@pytest.mark.parametrize("asks", [("a", "bad", "b"), ("bad", "a"), ("a", "b")])
def test_a_batch_that_fails_is_done_piece_by_piece(database, asks):
    writer = Writer(database)
    other = writer.submit(good)
    waiting: dict[str, Future[str]] = {ask: Future() for ask in asks}
    for ask, future in waiting.items():
        writer.take_batch(future, batch, ask)
    writer.run_waiting()
    for ask, future in waiting.items():
        if ask == "bad":
            assert isinstance(future.exception(0), ZeroDivisionError)
        else:
            assert future.result(0) == ask
    assert other.result(0) == "kept"
    assert kept(database) == {"good", *(f"batch-{ask}" for ask in asks if ask != "bad")}
    with database.write() as tx:
        assert not collected(tx).ended
