"""`arable backup` and `arable restore`: all that a cloud's management servers know, in one file, and back.

The store is read in one transaction while servers work, as text that either engine takes; with it go the authority,
without which no host would know the restored servers, and the first operator's credentials. Image files are named by
their digests and included on demand: they are large, and never change.

A restored store is another database than the one it is a copy of: agents are told so by its name, and nothing is done
to any host before all have said what they run (docs/decisions/0005).
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

from arable.domain.errors import BadInput, Conflict, Corrupt, NotFound
from arable.drivers.storage.image_store import ImageStore
from arable.processes.alone import only_one
from arable.processes.backup_file import (
    DIGEST,
    LIST,
    Contents,
    CopiedTable,
    Image,
    Reading,
    Writing,
    reading,
    writing,
)
from arable.processes.regions_time import regions_time, time_in
from arable.runtime import succession
from arable.runtime.ca import Authority, keep
from arable.runtime.clock import Clock
from arable.runtime.entropy import Entropy, Ids
from arable.runtime.secret import Secret
from arable.store import copies, images, incarnations, migrate
from arable.store import restore as renewal
from arable.store.copies import Layout
from arable.store.database import Database, Tx

SQLITE = "arable.sqlite"
AUTHORITY = "authority/authority.pem"
FILES = (AUTHORITY, "operator.json")
"""What of a data directory is kept, besides the store. The rest is made anew at a server's start."""

_PIECE = 1 << 20
_MAY_BE_THERE = {"images", "inbox", "lock"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A management server's: its data directory, and its database's URL (empty: SQLite in there)."""

    data: Path
    database: str = ""

    @property
    def sqlite(self) -> Path:
        """Where SQLite is, if it is."""
        return self.data / SQLITE


@dataclass(frozen=True, slots=True)
class Restored:
    """What came out of a backup, and which image files have to come from elsewhere."""

    contents: Contents
    missing: list[str]


def backup(
    path: Path,
    place: Place,
    clock: Clock,
    entropy: Entropy,
    *,
    with_images: bool = False,
    passphrase: Secret | None = None,
) -> Contents:
    """Write the file. Servers may work meanwhile; what they commit after our first look is not in it."""
    _check_there(place)
    authority = Authority.load(place.data / "authority", clock, entropy)
    database = Database(place.database or f"sqlite:///{place.sqlite}")
    try:
        now = regions_time(database, clock).now()
        revision = migrate.current(database)
        if revision != migrate.newest():
            raise Conflict(
                f"the store has schema {revision}, and this version of Arable {migrate.newest()}:"
                " back it up with the version that works with it"
            )
        with writing(path, now, entropy, passphrase) as file:
            with copies.moment(database) as tx:
                numbers = copies.numbers(tx)
                tables = [_copied(tx, layout, file) for layout in copies.layouts()]
                incarnation = incarnations.current(tx)
                digests = sorted(images.known_parts(tx))
            for name in FILES:
                if (place.data / name).exists():
                    file.add(name, (place.data / name).read_bytes())
            store = ImageStore(place.data / "images")
            found = [_image(file, store, digest, included=with_images) for digest in digests]
            contents = Contents(
                version=metadata.version("arable"),
                revision=revision,
                taken_at=now,
                store="sqlite" if database.is_sqlite else "postgresql",
                incarnation=incarnation,
                fingerprint=authority.fingerprint,
                tables=tables,
                numbers=numbers,
                images=found,
                parts=file.parts,
            )
            file.finish(contents)
    finally:
        database.close()
    return contents


def restore(
    path: Path, place: Place, clock: Clock, entropy: Entropy, passphrase: Secret | None = None
) -> Restored:
    """Put it where nothing is yet: all of it, or nothing. Nothing is believed before every byte was compared."""
    with reading(path) as opened:
        contents = Reading(opened, passphrase).verify()
        place.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        with only_one(place.data), ExitStack() as undo:
            _check_empty(place.data)
            made = place.data / f".{SQLITE}.restoring"
            if not place.database:
                undo.callback(_remove_sqlite, made)
                _remove_sqlite(made)
            database = Database(place.database or f"sqlite:///{made}")
            undo.callback(database.close)
            with database.write() as tx:
                if not copies.is_empty(tx):
                    raise Conflict("the database is not empty: restore into one that is")
                migrate.build(tx, contents.revision)
                undone = undo.enter_context(_undone(place.data, entropy))
                with copies.taking(tx):
                    _put(tx, contents, Reading(opened, passphrase), undone)
                migrate.finish(tx)
                authority = Authority.load(place.data / "authority", clock, entropy)
                if authority.fingerprint != contents.fingerprint:
                    raise Corrupt("the authority in it is not the one that it was made with")
                here = time_in(tx, clock)
                name = succession.drawn(authority, Ids(here, entropy), after=contents.incarnation)
                renewal.renew(tx, name, here.now())
            database.close()
            if not place.database:
                made.replace(place.sqlite)
            undone.keep()
    store = ImageStore(place.data / "images")
    there = store.parts()
    return Restored(contents, [each.sha256 for each in contents.images if each.sha256 not in there])


def _check_there(place: Place) -> None:
    if not (place.data / AUTHORITY).exists():
        below = sorted(each.parent.parent for each in place.data.glob(f"*/{AUTHORITY}"))
        hint = f"; did you mean --data {below[0]}?" if below else ""
        raise NotFound(f"no management server has its data in {place.data}{hint}")
    if not place.database and not place.sqlite.exists():
        raise BadInput(
            f"there is no {SQLITE} in {place.data}: say where the database is with --database, or in ARABLE_DATABASE",
            field="database",
        )


def _check_empty(data: Path) -> None:
    there = sorted(
        {each.name for each in data.iterdir()} - _MAY_BE_THERE - {f".{SQLITE}.restoring"}
    )
    if there:
        raise Conflict(
            f"{data} is not empty, there is {', '.join(there[:4])}: restore into a directory without a cloud"
        )


def _remove_sqlite(path: Path) -> None:
    for end in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + end).unlink(missing_ok=True)


def _copied(tx: Tx, layout: Layout, file: Writing) -> CopiedTable:
    rows = 0
    for number, piece in enumerate(copies.out(tx, layout), 1):
        file.add(f"store/{layout.table}/{number:06}", piece)
        rows += piece.count(b"\n")
    return CopiedTable(layout.table, layout.columns, layout.flags, rows)


def _image(file: Writing, store: ImageStore, digest: str, *, included: bool) -> Image:
    if included:
        try:
            file.add_file(f"images/{digest}", store.path(digest))
        except (NotFound, FileNotFoundError):  # it was removed since
            included = False
    return Image(digest, included)


@dataclass(slots=True)
class _Files:
    """What was put into a data directory; taken out again unless all went well."""

    data: Path
    entropy: Entropy
    made: list[Path]

    def put(self, name: str, text: str) -> None:
        path = self.data / name
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700)
            self.made.append(path.parent)
        keep(path, text, self.entropy)
        self.made.append(path)

    def keep(self) -> None:
        self.made.clear()


@contextmanager
def _undone(data: Path, entropy: Entropy) -> Iterator[_Files]:
    files = _Files(data, entropy, [])
    try:
        yield files
    finally:
        for path in reversed(files.made):
            path.rmdir() if path.is_dir() else path.unlink()


def _put(tx: Tx, contents: Contents, file: Reading, files: _Files) -> None:
    tables = {each.name: each for each in contents.tables}
    done: dict[str, int] = {}
    for kind, parts in groupby(file.parts(), key=lambda part: _kind(part[0])):
        if kind.startswith("store/"):
            table = tables[kind.removeprefix("store/")]
            layout = Layout(table.name, table.columns, table.flags)
            done[table.name] = copies.take(tx, layout, (opened.read() for _name, opened in parts))
        else:
            _put_files(files, parts)
    for table in contents.tables:
        if done.get(table.name, 0) != table.rows:
            raise Corrupt(f"{table.name} has {done.get(table.name, 0)} rows, and {table.rows} were written")  # fmt: skip
    copies.go_on(tx, contents.numbers)


def _kind(name: str) -> str:
    return name.rpartition("/")[0] if name.startswith("store/") else ""


def _put_files(files: _Files, parts: Iterable[tuple[str, Any]]) -> None:
    for name, opened in parts:
        if name in FILES:
            files.put(name, opened.read().decode())
        elif name.startswith("images/"):
            _put_image(files.data, name.removeprefix("images/"), opened, files.entropy)
        elif name not in (LIST, DIGEST):
            raise Corrupt(f"nobody knows what {name} is")


def _put_image(data: Path, digest: str, opened: BinaryIO, entropy: Entropy) -> None:
    """Under its name when it is complete, and only if that is its digest."""
    folder = data / "images"
    folder.mkdir(mode=0o711, exist_ok=True)
    made = folder / f".{entropy.letters(12)}"
    try:
        sha256 = hashlib.sha256()
        with made.open("xb") as file:
            while piece := opened.read(_PIECE):
                sha256.update(piece)
                file.write(piece)
            os.fchmod(file.fileno(), 0o444)
            file.flush()
            os.fsync(file.fileno())
        if sha256.hexdigest() != digest:
            raise Corrupt(f"the image file {digest} is another one")
        made.replace(folder / digest)
    finally:
        made.unlink(missing_ok=True)
