"""Management servers on one PostgreSQL: who acts, and what becomes of it when the one who does is killed, frozen, cut off."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import text

from arable.domain.ids import SegmentId
from arable.domain.platform import Place
from arable.domain.segment import Cause
from arable.drivers.platform.subprocess import SubprocessPlatform
from databases import EmptyDatabases
from processes.living_servers import Relay, Servers, living, until

pytestmark = pytest.mark.real


@contextmanager
def blank(postgresql: EmptyDatabases) -> Iterator[str]:
    """The URL of a database without tables: servers make their own."""
    with postgresql.one() as database:
        with database.write() as tx:
            tx.exec_driver_sql("drop schema public cascade")
            tx.exec_driver_sql("create schema public")
        yield database.url


@pytest.fixture
def url(postgresql) -> Iterator[str]:
    with blank(postgresql) as made:
        yield made


@pytest.fixture(scope="module")
def cluster_of_three(postgresql, tmp_path_factory) -> Iterator[Servers]:
    """Starting them costs more than what is done to them, so all tests of three have the same."""
    with blank(postgresql) as url, living(url, tmp_path_factory.mktemp("three"), 3) as made:
        yield made


@pytest.fixture
def three(cluster_of_three) -> Servers:
    """All of them live and can reach each other, and one of them acts."""
    cluster_of_three.whole()
    cluster_of_three.acts()
    return cluster_of_three


def test_the_first_start_elects_one_and_farms_are_held_and_confirmed(three):
    master, epoch = three.elected()
    assert (epoch, master) == (1, three.all[0])
    farms = [three.farm() for _ in range(6)]
    names = {each.name for each in three.all}
    until(lambda: {three.holder(farm, confirmed=True) for farm in farms} == names)
    assert three.history()[0].cause is Cause.FIRST
    assert three.master().epoch == 1, "and it stays so"


def test_a_master_that_is_killed_is_replaced_and_its_farms_are_served_by_others(three):
    farms = [three.farm() for _ in range(6)]
    until(lambda: all(three.holder(farm, confirmed=True) for farm in farms))
    master, epoch = three.elected()
    lost = master.name
    master.kill()
    three.acts()
    other, now = three.elected(epoch)
    assert other is not master
    until(lambda: all(three.holder(farm, confirmed=True) not in ("", lost) for farm in farms))
    assert three.states()[lost] == "gone"
    three.start(master)
    three.await_ready(master)
    until(lambda: three.states()[lost] == "ready")
    three.acts()
    assert three.master().epoch == now, "it comes back as one of the others"


_WATCH = """
    create table written (who text);
    create function watch() returns trigger language plpgsql as $$
      begin insert into written values (current_setting('application_name')); return new; end $$;
    create trigger watch after update of holder on farm for each row execute function watch();
"""


def test_a_frozen_master_finds_itself_replaced_and_writes_nothing(three):
    master, epoch = three.elected()
    three.acts()
    with three.database.write() as tx:
        tx.execute(text(_WATCH))
    master.signal(signal.SIGSTOP)
    three.acts()
    other, now = three.elected(epoch)
    assert other is not master
    until(lambda: three.states()[master.name] == "gone")
    before = len(three.history())
    master.signal(signal.SIGCONT)
    until(lambda: three.states()[master.name] == "ready", "it did not come back")
    until(lambda: f"no longer master of epoch {epoch}" in master.log)
    three.acts()
    assert three.master().epoch == now
    assert len(three.history()) == before
    with three.database.read() as tx:
        wrote = set(tx.execute(text("select distinct who from written")).scalars())
    assert wrote == {other.name}, "only the new one gave farms to anybody since"


def test_a_master_cut_off_from_its_peers_is_thrown_over_by_both(three):
    three.acts()
    master, epoch = three.elected()
    master.relay.cut()
    other, _now = three.elected(epoch)
    won = three.history()[0]
    assert won.cause is Cause.SUSPECTED
    assert set(won.agreed) == {each.name for each in three.others(master)}
    assert other is not master
    until(lambda: f"no longer master of epoch {epoch}" in master.log, "it did not step down")
    three.acts()


def test_a_master_that_leaves_in_order_is_missed_by_nobody(three):
    master, epoch = three.elected()
    three.acts()
    master.signal(signal.SIGTERM)
    three.acts()
    assert three.elected(epoch)[0] is not master
    assert three.history()[0].cause is Cause.ENDED
    assert master.process.wait(60) == 0


def test_of_two_servers_neither_throws_over_one_that_beats_but_one_that_is_dead(url, tmp_path):
    with living(url, tmp_path, 2) as two:
        master, epoch = two.elected()
        master.relay.cut()
        other = two.others(master)[0]
        until(lambda: "no master" in other.log)
        began = two.master().until
        until(lambda: (two.master().until - began).total_seconds() > 6)
        assert two.master().epoch == epoch
        master.kill()
        two.acts()
        assert two.elected(epoch)[0] is other
        assert two.history()[0].cause is Cause.ENDED


def away(url: str, directory: Path) -> tuple[str, Relay]:
    """The database behind a relay of its own."""
    parts = urlsplit(url)
    (real,) = parse_qs(parts.query)["host"]
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(directory / ".s.PGSQL.5432"))
    door.listen(64)

    def target() -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.connect(f"{real}/.s.PGSQL.5432")
        return made

    return url.replace(real, str(directory)), Relay(door, target)


def test_without_its_database_nobody_acts_and_all_goes_on_when_it_is_back(url, tmp_path_factory):
    directory = tmp_path_factory.mktemp("pg")  # short: a socket's path
    through, relay = away(url, directory)
    with living(through, directory, 2) as two:
        two.acts()
        master, epoch = two.elected()
        relay.cut()
        until(lambda: all("no heartbeat" in each.log for each in two.all))
        relay.mend()
        two.database.engine.dispose()
        two.elected(epoch - 1)
        two.acts()
        assert two.master().epoch >= epoch
        assert all(each.process.poll() is None for each in two.all)
        until(lambda: set(two.states().values()) == {"ready"})
        assert master in two.all
    relay.close()


def test_a_lost_server_is_restarted_through_its_platform(url, tmp_path):
    root = tmp_path / "servers"
    root.mkdir()
    try:
        with living(url, root, 2, "--platform", f"subprocess:{root}") as two:
            master, _epoch = two.elected()
            (other,) = two.others(master)
            name = other.name
            other.kill()
            until(lambda: two.states()[name] == "gone")
            until(lambda: two.states()[name] == "ready", "it was not restarted")
            SubprocessPlatform(root, lambda _data: []).stop(Place(SegmentId(name)))
    finally:
        # Only when nobody is left who starts others; one that is just starting has no name yet.
        until(lambda: not ended_below(root), "what the platform started ends")


def ended_below(root: Path) -> list[int]:
    """Processes that work in that folder. They are killed."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if os.fsencode(root) in path.read_bytes():
                found.append(int(path.parent.name))
                os.kill(found[-1], signal.SIGKILL)
    return found
