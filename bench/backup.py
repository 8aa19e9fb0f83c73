"""How long a cloud of 100,000 machines takes to be written into one file while its server runs, and to be restored.

The store holds what such a cloud has: machines with a disk, a port and an operation each, and what their hosts were
told. The baselines are the databases' own tools, which copy a database and know nothing of a cloud: SQLite's backup
(page by page), and pg_dump with pg_restore.
"""

import argparse
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import psycopg
from sqlalchemy import make_url, text

from arable.processes.backup import Place, backup, restore
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy
from arable.runtime.secret import Secret
from arable.store.database import Database
from bench import cloud, postgresql
from bench.figures import Table, machine, result, shown
from bench.list_latency import ACCOUNTS, fill
from bench.quiet import await_quiet

_CLOCK, _CHANCE = RealClock(), Entropy.system()
_BODY = '{"machine": "%s", "image": [{"sha256": "%s", "role": "disk"}], "cpus": 1, "disks": [{"volume": "v", "mib": 1024}]}'
_TOLD = (
    "insert into manifest_item (host, kind, id, generation, body)"
    " select host, 'guest', id, 1, '{body}' from machine where host is not null on conflict do nothing"
)
_ASKED = (
    'insert into operation (id, account, "user", kind, target, state, total, pending, steps, created_at, changed_at)'
    " select 'operation-' || substr(id, 9), account, 'user-a', 'machine.deploy', id, 'done', 1, 0, '[]', created_at, created_at"
    " from machine"
)


def main(argv: Sequence[str]) -> None:
    """See `--help`."""
    parser = argparse.ArgumentParser(prog="bench backup", description=__doc__)
    parser.add_argument("--machines", type=int, default=100_000)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), action="append")
    parser.add_argument(
        "--wait", type=float, default=0.0, help="seconds at most for the machine to be quiet"
    )
    options = parser.parse_args(argv)
    print(machine())
    table = Table("Seconds", ("what", "took", "MB", "the database's own tool"))
    saved: list[float] = []
    restored: list[float] = []
    for kind in options.database or ("sqlite", "postgresql"):
        with ExitStack() as stack:
            data = Path(tempfile.mkdtemp(prefix="arable-bench-"))
            stack.callback(shutil.rmtree, data)
            url = stack.enter_context(postgresql.cluster()) if kind == "postgresql" else ""
            served = stack.enter_context(cloud.server(data / "server", url))
            operator = stack.enter_context(cloud.operator(served))
            place = cloud.describe(operator, data)
            keys = cloud.customers(served, operator, ACCOUNTS)
            fill(served, operator, place, keys, options.machines, options.hosts)
            _tell(served.database)
            await_quiet(options.wait)
            here = Place(data=served.data, database=url)
            bare_out, bare_in = _bare(served.database, data)
            for closed in (None, Secret("a passphrase")):
                file = data / "backup"
                told = f"{kind}, by a passphrase" if closed else kind
                took = _timed(partial(backup, file, here, _CLOCK, _CHANCE, passphrase=closed))
                saved.append(took)
                size = shown(file.stat().st_size / 1e6)
                table.add(f"backup of {told}", shown(took), size, shown(bare_out))
                with _elsewhere(url, data) as there:
                    took = _timed(partial(restore, file, there, _CLOCK, _CHANCE, closed))
                restored.append(took)
                table.add(f"restore of {told}", shown(took), size, shown(bare_in))
    print(table.text())
    print(result("backup_s", max(saved), "s", "5"))
    print(result("restore_s", max(restored), "s", "30"))


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _tell(url: str) -> None:
    """What hosts were told, and what was asked for, of every machine."""
    database = Database(url)
    body = _BODY % ("m" * 28, "a" * 64)
    try:
        with database.write() as tx:
            tx.execute(text(_TOLD.replace("{body}", body).replace(":", "\\:")))
            tx.execute(text(_ASKED))
    finally:
        database.close()


@contextmanager
def _elsewhere(url: str, data: Path) -> Iterator[Place]:
    """An empty place of the same kind."""
    there = data / "there"
    if url:
        with _administrator(url) as asked:
            asked.execute("drop database if exists there with (force)")
            asked.execute("create database there")
        url = url.replace("/arable?", "/there?")
    try:
        yield Place(data=there, database=url)
    finally:
        shutil.rmtree(there)


def _administrator(url: str) -> "psycopg.Connection[tuple[object, ...]]":
    parts = make_url(url)
    return psycopg.connect(
        dbname="postgres", user=parts.username, host=str(parts.query["host"]), autocommit=True
    )


def _bare(url: str, data: Path) -> tuple[float, float]:
    """The databases' own tools: out, and in again."""
    copied = data / "bare"
    if url.startswith("sqlite"):

        def copy() -> None:
            with sqlite3.connect(url.removeprefix("sqlite:///")) as one, sqlite3.connect(copied) as two:  # fmt: skip
                one.backup(two)

        took = _timed(copy)
        return took, took
    parts = make_url(url)
    at = ["-h", str(parts.query["host"]), "-U", str(parts.username)]
    out = ["pg_dump", *at, "--format=custom", "--file", str(copied), "arable"]
    back = ["pg_restore", *at, "--dbname", "bare", str(copied)]
    return _timed(lambda: subprocess.run(out, check=True)), _timed(
        lambda: subprocess.run(back, check=True)
    )
