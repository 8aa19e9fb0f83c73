"""How long a page of 100 machines and one machine take when there are 100,000 of them.

Twenty accounts, one of which has half of all machines; lists walk by cursor and are filtered by state, host and name,
by an operator who sees everything and by a customer who sees their own. One caller asks over HTTP, one call after the
other, as the server would be asked by a person or a script. The baseline is the bare query with the database's driver.
"""

import argparse
import shutil
import socket
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from sqlalchemy import make_url

from arable.client.arable import Arable
from arable.domain.ids import (
    AccountId,
    FarmId,
    HostId,
    ImageId,
    MachineId,
    NetworkId,
    NicId,
    OfferingId,
    VolumeId,
    ZoneId,
)
from arable.domain.machine import MachineState, MachineWish
from arable.domain.manifest import Seed
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy, Ids
from arable.store import machines, nics, volumes
from arable.store.attention import BootRow
from arable.store.columns import micros
from arable.store.database import Database
from arable.store.machines import NewMachine
from arable.store.nics import NewNic
from arable.store.rows import json_text
from arable.store.volumes import NewVolume
from arable.wire.networks import NetworkIn
from bench import cloud, postgresql
from bench.cloud import Place, Served
from bench.figures import Table, machine, percentile, ratio, result, shown
from bench.load import parsed
from bench.quiet import await_quiet

ACCOUNTS = 20
_BATCH = 5000
_SEED = json_text(Seed(meta_data="instance-id: bench\n", user_data=""))
_STOPPED_OF, _ERROR_OF = 10, 1000  # one in so many is off, one in so many could not be started


@dataclass
class There:
    """What was put into the store."""

    ids: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Measured:
    """Milliseconds of one kind of call."""

    store: str
    what: str
    took: list[float]


class Caller:
    """HTTP by hand over one connection: what is measured is the server, not a client library."""

    def __init__(self, url: str, key: str) -> None:
        host, _, port = url.partition("//")[2].rpartition(":")
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = f"Host: bench\r\nAuthorization: Bearer {key}\r\n\r\n".encode()

    def get(self, path: str) -> tuple[float, bytes]:
        """Milliseconds, and the body."""
        began = time.perf_counter()
        self._socket.sendall(f"GET {path} HTTP/1.1\r\n".encode() + self._head)
        data = b""
        while (answer := parsed(data)) is None:
            piece = self._socket.recv(1 << 18)
            if not piece:
                raise SystemExit(f"{path}: the server hung up")
            data += piece
        took = (time.perf_counter() - began) * 1000
        if answer[0] != 200:
            raise SystemExit(f"{path}: {answer[0]} {answer[1].decode()}")
        return took, answer[1]

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def main(argv: Sequence[str]) -> None:
    """See `--help`."""
    parser = argparse.ArgumentParser(prog="bench list-latency", description=__doc__)
    parser.add_argument("--machines", type=int, default=100_000)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--calls", type=int, default=300, help="of each kind")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), action="append")
    parser.add_argument(
        "--wait", type=float, default=0.0, help="seconds at most for the machine to be quiet"
    )
    options = parser.parse_args(argv)
    print(machine())
    found: list[Measured] = []
    bare: dict[tuple[str, str], list[float]] = {}
    for kind in options.database or ("sqlite", "postgresql"):
        with ExitStack() as stack:
            data = Path(tempfile.mkdtemp(prefix="arable-bench-"))
            stack.callback(shutil.rmtree, data)
            url = stack.enter_context(postgresql.cluster()) if kind == "postgresql" else ""
            served = stack.enter_context(cloud.server(data / "server", url))
            operator = stack.enter_context(cloud.operator(served))
            place = cloud.describe(operator, data)
            keys = cloud.customers(served, operator, ACCOUNTS)
            there = fill(served, operator, place, keys, options.machines, options.hosts)
            dice = Entropy("bench")
            largest = there.owners[0]
            with Arable(served.ready.api, keys[largest]) as customer:
                assert customer.machines.get(there.ids[0]).id == there.ids[0]
            tokens = {"operator": _token(operator), "customer": keys[largest]}
            for what, paths in kinds(there, dice):
                await_quiet(options.wait)
                for who, token in tokens.items():
                    with closing(Caller(served.ready.api, token)) as caller:
                        took = asked(caller, paths(who, largest), options.calls)
                    if took:
                        found.append(Measured(kind, f"{what}, {who}", took))
            for what, took in queries(served.database, there, options.calls, dice):
                bare[kind, what] = took
    print(table(found, bare).text())
    print("\n".join(results(found)))


def table(found: Sequence[Measured], bare: dict[tuple[str, str], list[float]]) -> Table:
    """Every kind of call."""
    made = Table(
        "Milliseconds for a page of 100, or one",
        ("store, call", "calls", "p50", "p99", "most", "bare query p50", "ratio"),
    )
    for each in found:
        base = bare[each.store, "one" if each.what.startswith("one") else "page"]
        made.add(
            f"{each.store}: {each.what}",
            str(len(each.took)),
            *(shown(percentile(each.took, p)) for p in (50, 99, 100)),
            shown(percentile(base, 50)),
            ratio(percentile(each.took, 50), percentile(base, 50)),
        )
    return made


def results(found: Sequence[Measured]) -> list[str]:
    """The worse store counts, and all kinds of pages together."""
    lines = []
    for metric, one, goal in (("page_p99_ms", False, "30"), ("get_p99_ms", True, "10")):
        worst = max(
            percentile(
                [
                    ms
                    for each in found
                    if each.store == store and each.what.startswith("one") is one
                    for ms in each.took
                ],
                99,
            )
            for store in {each.store for each in found}
        )
        lines.append(result(metric, worst, "ms", goal))
    return lines


Paths = Callable[[str, str], Iterator[str]]


def kinds(there: There, dice: Entropy) -> Iterator[tuple[str, Paths]]:
    """What is asked for, by whom: paths without end, or none where the caller may not."""
    pick = dice.random

    def own(who: str, largest: str) -> list[int]:
        every = range(len(there.ids))
        return (
            list(every) if who == "operator" else [n for n in every if there.owners[n] == largest]
        )

    def walk(_who: str, _largest: str) -> Iterator[str]:
        yield "/v1/machines?limit=100"  # `asked` follows the cursor

    def anywhere(query: str) -> Paths:
        def paths(_who: str, _largest: str) -> Iterator[str]:
            while True:
                yield f"/v1/machines?limit=100{query}&after={pick.choice(there.ids)}"

        return paths

    def by_host(who: str, _largest: str) -> Iterator[str]:
        while who == "operator":
            yield f"/v1/machines?limit=100&host={pick.choice(there.hosts)}"

    def by_name(who: str, largest: str) -> Iterator[str]:
        mine = own(who, largest)
        while True:
            yield f"/v1/machines?limit=100&name={there.names[pick.choice(mine)]}"

    def by_prefix(who: str, largest: str) -> Iterator[str]:
        mine = own(who, largest)
        while True:
            yield f"/v1/machines?limit=100&prefix={there.names[pick.choice(mine)][:-1]}"

    def by_all(_who: str, _largest: str) -> Iterator[str]:
        while True:
            yield f"/v1/machines?limit=100&state=stopped&prefix=m-{pick.randint(1, 9)}"

    def one(who: str, largest: str) -> Iterator[str]:
        mine = own(who, largest)
        while True:
            yield f"/v1/machines/{there.ids[pick.choice(mine)]}"

    yield "pages one after the other", walk
    yield "pages at any place", anywhere("")
    yield "state running", anywhere("&state=running")
    yield "state stopped, 1 in 10", anywhere("&state=stopped")
    yield "state error, 1 in 1,000", anywhere("&state=error")
    yield "host", by_host
    yield "name", by_name
    yield "beginning of the name", by_prefix
    yield "state and beginning of the name", by_all
    yield "one machine", one


def asked(caller: Caller, paths: Iterator[str], calls: int) -> list[float]:
    """Milliseconds of each call. Where there is one path only, its cursor is followed."""
    took: list[float] = []
    first = path = next(paths, "")
    while path and len(took) < calls:
        ms, body = caller.get(path)
        took.append(ms)
        path = next(paths, "")
        if not path:
            after = msgspec.json.decode(body)["next"]
            path = f"{first}&after={after}" if after else first
    return took


def fill(
    served: Served,
    operator: Arable,
    place: Place,
    keys: dict[str, str],
    count: int,
    hosts: int,
) -> There:
    """So many machines with a disk and a port each, in the states that a cloud has them in."""
    clock = RealClock()
    ids = Ids(clock, Entropy.system())
    rows = cloud.rows_of(place, ids, hosts, clock)
    there = There(hosts=[host.id for host, _pool in rows])
    wires = {}
    for account, key in keys.items():
        with Arable(served.ready.api, key) as customer:
            wires[account] = customer.networks.create(NetworkIn(name="bench"))
    offering = next(operator.offerings.all()).id
    image = next(operator.images.all()).id
    accounts = list(keys)
    database = Database(served.database)
    try:
        cloud.keep(database, rows)
        for first in range(0, count, _BATCH):
            made, boots, disks, ports = [], [], [], []
            for number in range(first, min(first + _BATCH, count)):
                at = number % (2 * (ACCOUNTS - 1))
                account = accounts[0 if at % 2 == 0 else 1 + at // 2]
                wire = wires[account]
                host, pool = rows[number % hosts]
                off, bad = number % _STOPPED_OF == 0, number % _ERROR_OF == 1
                state = (
                    MachineState.ERROR
                    if bad
                    else MachineState.STOPPED
                    if off
                    else MachineState.RUNNING
                )
                wish = MachineWish.STOPPED if off or bad else MachineWish.RUNNING
                now = micros(clock.now())
                made.append(
                    NewMachine(
                        id=MachineId(ids.new("machine")),
                        account=AccountId(account),
                        farm=FarmId(wire.farm),
                        zone=ZoneId(place.zone),
                        name=f"m-{number}",
                        state=state.value,
                        wish=wish.value,
                        host=None if off or bad else HostId(host.id),
                        attention=False,
                        offering=OfferingId(offering),
                        cpus=1,
                        cpu_mhz=1000,
                        memory_mib=256,
                        disk_mib=1024,
                        network_kbps=0,
                        disk_iops=0,
                        disk_bytes_per_second=0,
                        image=ImageId(image),
                        image_version=1,
                        placement="{}",
                        operation=None,
                        told=0,
                        why="{}",
                        generation=1,
                        created_at=now,
                        changed_at=now,
                    )
                )
                boots.append(BootRow(made[-1].id, "{}", _SEED))
                disks.append(
                    NewVolume(
                        id=VolumeId(ids.new("volume")),
                        account=AccountId(account),
                        zone=ZoneId(place.zone),
                        machine=made[-1].id,
                        pool=pool.id,
                        position=0,
                        name=f"m-{number}-root",
                        mib=1024,
                        iops=0,
                        bytes_per_second=0,
                        source=None,
                        created_at=now,
                    )
                )
                offset = 2 + number // 2
                ports.append(
                    NewNic(
                        id=NicId(ids.new("nic")),
                        machine=made[-1].id,
                        network=NetworkId(wire.id),
                        account=AccountId(account),
                        position=0,
                        mac=f"0a:00:{number.to_bytes(4, 'big').hex(':')}",
                        address=f"10.0.{offset >> 8 & 255}.{offset & 255}",
                        offset=offset,
                        rate_kbps=0,
                        is_default=True,
                    )
                )
            with database.write() as tx:
                machines.add_many(tx, made, boots)
                volumes.add_many(tx, disks, {each.id: each.farm for each in made})
                nics.add_many(tx, ports)
            there.ids += [each.id for each in made]
            there.names += [each.name for each in made]
            there.owners += [each.account for each in made]
        with database.engine.connect() as connection:  # as its maintenance would have done by then
            connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("ANALYZE")
    finally:
        database.close()
    return there


def queries(url: str, there: There, calls: int, dice: Entropy) -> Iterator[tuple[str, list[float]]]:
    """The bare query: all of a machine's columns, by the driver alone."""
    run = _driver(url)
    place = "?" if url.startswith("sqlite") else "%s"
    page = f"select * from machine where id > {place} order by id limit 101"
    one = f"select * from machine where id = {place}"
    for what, statement in (("page", page), ("one", one)):
        took = []
        for _ in range(calls):
            began = time.perf_counter()
            run(statement, (dice.random.choice(there.ids),))
            took.append((time.perf_counter() - began) * 1000)
        yield what, took


def _driver(url: str) -> Callable[[str, tuple[Any, ...]], Any]:
    if url.startswith("sqlite"):
        file = sqlite3.connect(url.removeprefix("sqlite:///"))
        return lambda statement, values: file.execute(statement, values).fetchall()
    parts = make_url(url)
    server = psycopg.connect(
        dbname=parts.database,
        user=parts.username,
        host=str(parts.query["host"]),
        autocommit=True,
    )
    return lambda statement, values: server.execute(statement, values).fetchall()


def _token(client: Arable) -> str:
    return client.connection.token  # the key that it was made with
