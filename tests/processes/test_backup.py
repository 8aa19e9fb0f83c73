"""A backup holds the whole cloud, tells when it was damaged, and comes back in an empty place only."""

import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import select, text

from arable.domain.errors import CloudError, Conflict, Corrupt, Forbidden, NotFound
from arable.domain.host import Host
from arable.domain.ids import HostId, PodId, ZoneId
from arable.domain.incarnation import is_later
from arable.lab import setup
from arable.lab.guest_image import GuestImage
from arable.processes.backup import FILES, Place, backup, restore
from arable.processes.backup_commands import next_steps
from arable.processes.backup_file import LIST
from arable.runtime.ca import Authority
from arable.runtime.clock import RealClock, VirtualClock
from arable.runtime.enclosed import PIECE, Enclosing, Opening
from arable.runtime.entropy import Entropy
from arable.runtime.secret import Secret
from arable.runtime.succession import is_genuine
from arable.store import hosts, incarnations, migrate
from arable.store import schema as t
from arable.store.database import Database
from arable.wire.accounts import AccountIn
from arable.wire.pods import PodIn
from arable.wire.zones import VlanRange, ZoneIn
from everything_kept import everything_kept
from serving import Served

CLOCK, CHANCE = RealClock(), Entropy.system()
RENEWED = ("audit", "incarnation", "host", "hearing", "network", "manifest_item", "machine")
"""What a restored copy has other than the original (`store/restore.py`)."""
LONG_AGO = datetime(1999, 1, 1, tzinfo=UTC)
_names = count(1)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request, tmp_path) -> Iterator[Place]:
    """Where nothing is yet."""
    url = ""
    if request.param == "postgresql":
        running = request.getfixturevalue("postgresql")._running
        name = f"restored_{next(_names)}"
        running.run(f"create database {name}")
        url = running.url(name)
    yield Place(data=tmp_path / "elsewhere", database=url)
    if url:
        running.run(f"drop database {name} with (force)")


@pytest.fixture
def here(tmp_path) -> Place:
    """Where nothing is yet, for what does not depend on the engine."""
    return Place(data=tmp_path / "elsewhere")


def place(served: Served, tmp_path: Path) -> Place:
    """Its tables were made without revisions, and get theirs here."""
    if migrate.current(served.database) is None:
        with served.database.write() as tx:
            tx.execute(text("create table schema_version (version_num varchar(32) primary key)"))
            for table in ("schema_version", "schema_serves"):
                tx.execute(text(f"insert into {table} values ('{migrate.newest()}')"))
    return Place(data=tmp_path, database=served.database.url)


def opened(there: Place) -> Database:
    return Database(there.database or f"sqlite:///{there.sqlite}")


def inhabit(served: Served) -> None:
    """Things of every layer: what is asked for through the API, and a host."""
    served.customer("alice")
    zone = served.operator.zones.create(ZoneIn(name="z", vlans=VlanRange(first=100, last=199), guest_cidr="10.0.0.0/16"))  # fmt: skip
    pod = served.operator.pods.create(PodIn(zone="z", name="p", cidr="172.30.0.0/24"))
    host = Host(id=HostId("host-a"), zone=ZoneId(zone.id), pod=PodId(pod.id), name="h", roles=("compute",), tags=("a\tb",), created_at=CLOCK.now())  # fmt: skip
    with served.database.write() as tx:
        hosts.add(tx, host)


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def saved(served: Served, tmp_path: Path, **but) -> Path:
    file = tmp_path / "cloud.backup"
    backup(file, place(served, tmp_path), CLOCK, CHANCE, **but)
    return file


def test_all_of_a_cloud_comes_back_on_either_database(served_both, empty, tmp_path):
    place(served_both, tmp_path)
    inhabit(served_both)
    before = everything_kept(served_both.database, but=RENEWED)
    wrong = VirtualClock(LONG_AGO)
    made = restore(saved(served_both, tmp_path), empty, wrong, CHANCE)
    found = opened(empty)
    try:
        assert everything_kept(found, but=RENEWED) == before
        assert migrate.current(found) == migrate.newest()
        with found.read() as tx:
            assert tx.execute(text("select count(*) from host where not awaited")).scalar() == 0
            assert tx.execute(text("select count(*) from host")).scalar() >= 1
            assert incarnations.current(tx) != made.contents.incarnation
            assert is_genuine(served_both.around.authority, incarnations.current(tx))
            assert is_later(incarnations.current(tx), made.contents.incarnation)
            drawn = select(t.incarnation.c.since).order_by(t.incarnation.c.number.desc())
            (at, *_) = tx.execute(drawn).scalars()
            assert (at == LONG_AGO) is found.is_sqlite, "servers on PostgreSQL go by its time"
    finally:
        found.close()
    again = Authority.load(empty.data / "authority", CLOCK, CHANCE)
    assert again.fingerprint == served_both.around.authority.fingerprint


def test_a_copy_of_a_copy_is_a_later_one(served, here, tmp_path):
    restore(saved(served, tmp_path), here, CLOCK, CHANCE)
    backup(tmp_path / "second", here, CLOCK, CHANCE)
    made = restore(tmp_path / "second", Place(data=tmp_path / "third"), CLOCK, CHANCE)
    with opened(Place(data=tmp_path / "third")).read() as tx:
        names = list(tx.execute(text("select id from incarnation order by number")).scalars())
    assert len(names) == 3
    assert names == sorted(names)
    assert names[1] == made.contents.incarnation


def test_servers_work_while_they_are_copied(served_both, here, tmp_path):
    ended, made = threading.Event(), []
    key = served_both.key(served_both.operator)

    def work() -> None:
        with served_both.client(key) as client:
            while not ended.is_set():
                made.append(client.accounts.create(AccountIn(name=f"n{len(made)}")).id)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        files = []
        for number in range(5):
            files.append(tmp_path / f"{number}")
            at = len(made)
            backup(files[-1], place(served_both, tmp_path), CLOCK, CHANCE)
            while len(made) < at + 3 and worker.is_alive():
                ended.wait(0.01)
    finally:
        ended.set()
        worker.join()
    for number, file in enumerate(files):
        there = Place(data=tmp_path / f"restored-{number}")
        restore(file, there, CLOCK, CHANCE)
        database = opened(there)
        with database.read() as tx:
            assert not tx.execute(text("pragma foreign_key_check")).all()
            accounts = set(tx.execute(text("select id from account")).scalars())
            assert set(tx.execute(text("select account from quota")).scalars()) == accounts
        database.close()


@pytest.mark.parametrize("closed", [False, True])
def test_a_damaged_file_is_noticed_wherever_it_is_damaged(served, here, tmp_path, closed):
    secret = Secret("a passphrase") if closed else None
    whole = saved(served, tmp_path, passphrase=secret).read_bytes()
    dice = Entropy("damage").random
    damaged = [whole[:cut] for cut in (0, 1, 511, 512, len(whole) // 2, len(whole) - 10_240 * 2)]
    used = len(whole.rstrip(b"\0"))
    for _ in range(12):
        at = dice.randrange(used)
        damaged.append(whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :])
    file = tmp_path / "damaged"
    for number, data in enumerate(damaged):
        if data == whole:
            continue
        file.write_bytes(data)
        try:
            restore(file, here, CLOCK, CHANCE, secret)
        except CloudError:
            assert not here.data.exists() or names(here.data) <= {"lock"}
        else:  # a byte that means nothing: a tar's padding, a time
            assert not closed, number
            found = opened(here)
            assert everything_kept(found, but=RENEWED) == everything_kept(served.database, but=RENEWED)  # fmt: skip
            found.close()
            for path in sorted(here.data.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()


def test_a_closed_backup_opens_by_its_passphrase_alone_and_shows_nothing(served, here, tmp_path):
    key = (tmp_path / "authority/authority.pem").read_bytes().splitlines()[1]
    assert key in saved(served, tmp_path).read_bytes()
    file = saved(served, tmp_path, passphrase=Secret("right"))
    assert key not in file.read_bytes()
    for wrong in (Secret("wrong"), Secret("")):
        with pytest.raises(Forbidden):
            restore(file, here, CLOCK, CHANCE, wrong)
    with pytest.raises(Corrupt):
        restore(file, here, CLOCK, CHANCE)
    restore(file, here, CLOCK, CHANCE, Secret("right"))


def test_nothing_is_overwritten(served, empty, tmp_path):
    file = saved(served, tmp_path)
    restore(file, empty, CLOCK, CHANCE)
    before = names(empty.data)
    with pytest.raises(Conflict, match="not empty"):
        restore(file, empty, CLOCK, CHANCE)
    assert names(empty.data) == before
    if empty.database:
        with pytest.raises(Conflict, match="database is not empty"):
            restore(file, Place(data=tmp_path / "x", database=empty.database), CLOCK, CHANCE)
        assert names(tmp_path / "x") == {"lock"}


def test_it_is_for_its_owner_alone_and_there_when_complete(served, tmp_path, monkeypatch):
    file = saved(served, tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_bytes()
    monkeypatch.setattr("arable.processes.backup.images.known_parts", lambda _tx: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        saved(served, tmp_path)
    assert file.read_bytes() == before
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".cloud")] == []


def test_image_files_come_along_when_asked_for(served, here, tmp_path):
    data = b"\x7fELF of a simulated machine"
    for name in ("kernel", "initrd"):
        (tmp_path / name).write_bytes(data + name.encode())
    (tmp_path / "initrd").write_bytes(b"070701 of a simulated machine")
    setup.publish(served.operator, GuestImage("sim", tmp_path / "kernel", tmp_path / "initrd"))
    without = restore(saved(served, tmp_path), Place(data=tmp_path / "w"), CLOCK, CHANCE)
    assert len(without.missing) == 2
    assert "copy 2 image files" in next_steps(without, here)
    made = restore(saved(served, tmp_path, with_images=True), here, CLOCK, CHANCE)
    assert not made.missing
    kept = {path.read_bytes() for path in (here.data / "images").iterdir()}
    assert kept == {path.read_bytes() for path in (tmp_path / "images").iterdir()}


def test_a_newer_schema_is_left_alone(served, here, tmp_path):
    place(served, tmp_path)
    with served.database.write() as tx:
        tx.execute(text("update schema_version set version_num = 'r9999'"))
    with pytest.raises(Conflict, match="r9999"):
        saved(served, tmp_path)


def test_where_no_cloud_is_there_is_nothing_to_back_up(tmp_path):
    (tmp_path / "home/authority").mkdir(parents=True)
    (tmp_path / "home" / FILES[0]).touch()
    with pytest.raises(NotFound, match=f"--data {tmp_path}/home"):
        backup(tmp_path / "x", Place(data=tmp_path), CLOCK, CHANCE)


def test_pieces_of_a_closed_stream_can_not_change_places(tmp_path):
    file = tmp_path / "closed"
    with file.open("wb") as into:
        closing = Enclosing(into, Secret("p"), CHANCE)
        closing.write(bytes(3 * PIECE))
        closing.close()
    whole = file.read_bytes()
    size = PIECE + 16
    head = len(whole) - 3 * size
    swapped = whole[:head] + whole[head + size : head + 2 * size] + whole[head : head + size]
    for data in (swapped + whole[head + 2 * size :], whole[: head + 2 * size], whole + b"x"):
        file.write_bytes(data)
        with file.open("rb") as again, pytest.raises(Corrupt):
            Opening(again, Secret("p")).read()
    file.write_bytes(whole)
    with file.open("rb") as again:
        assert Opening(again, Secret("p")).read() == bytes(3 * PIECE)


def test_the_commands_take_a_passphrase_from_a_descriptor_and_say_what_is_next(served, tmp_path):
    arable = [sys.executable, "-m", "arable.processes.main"]
    file, there = tmp_path / "b", tmp_path / "there"
    place(served, tmp_path)
    argv = [*arable, "backup", str(file), "--data", str(tmp_path), "--passphrase-fd", "0"]
    argv += ["--database", served.database.url]
    done = subprocess.run(argv, input="secret\n", capture_output=True, text=True, check=True)
    assert "1 accounts" in done.stdout
    assert LIST.encode() not in file.read_bytes()
    argv = [*arable, "restore", str(file), "--data", str(there)]
    refused = subprocess.run(argv, input="", capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "--passphrase-fd" in refused.stderr
    argv += ["--passphrase-fd", "0"]
    done = subprocess.run(argv, input="secret\n", capture_output=True, text=True, check=True)
    assert f"arable server --data {there}" in done.stdout
