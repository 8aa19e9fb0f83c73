"""Real management servers on one PostgreSQL, each reached by the others through a relay that can be cut or frozen."""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import text

from arable.domain.segment import Election, Mastership
from arable.runtime.clock import RealClock
from arable.store import elections, segments
from arable.store.database import Database

PATIENCE = 120.0
_PIECE = 65536
_CLOCK, _STEP = RealClock(), timedelta(milliseconds=10)


def until(condition: Callable[[], Any], told: str = "", seconds: float = PATIENCE) -> Any:
    """Poll rows and processes of others, which tell nobody; what came true."""
    end = _CLOCK.monotonic() + seconds
    while not (found := condition()):
        assert _CLOCK.monotonic() < end, told or "it did not come true"
        _CLOCK.wait(_STEP)
    return found


class Relay:
    """Connections to `door` go on to a target, both ways, until it is cut."""

    def __init__(self, door: socket.socket, target: Callable[[], socket.socket]) -> None:
        self._door, self._target = door, target
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closed = False
        self.is_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        host, port = self._door.getsockname()[:2]
        return f"{host}:{port}"

    def cut(self) -> None:
        """Nobody comes through, and who had is hung up on."""
        self.is_cut = True
        with self._lock:
            for each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self.is_cut = False

    def close(self) -> None:
        self._closed = True
        self.cut()
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                come, _ = self._door.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(come,), daemon=True).start()

    def _carry(self, come: socket.socket) -> None:
        with come:
            if self.is_cut:
                return
            try:
                gone = self._target()
            except OSError:
                return
            with gone:
                with self._lock:
                    self._open |= {come, gone}
                with suppress(OSError):
                    _pump(come, gone)
                with self._lock:
                    self._open -= {come, gone}


def _pump(one: socket.socket, other: socket.socket) -> None:
    to = {one: other, other: one}
    while True:
        for each in select.select([one, other], [], [])[0]:
            piece = each.recv(_PIECE)
            if not piece:
                return
            to[each].sendall(piece)


@dataclass
class Living:
    """One management server."""

    data: Path
    relay: Relay
    process: "subprocess.Popen[bytes] | None" = None
    ready: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return (self.data / "name").read_text().strip()

    @property
    def log(self) -> str:
        return (self.data / "log").read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        assert self.process
        self.process.send_signal(number)

    def kill(self) -> None:
        """Between two instructions."""
        assert self.process
        self.process.kill()
        self.process.wait()


@dataclass
class Servers:
    """All of them; `database` is ours, beside theirs."""

    database: Database
    url: str
    directory: Path
    all: list[Living] = field(default_factory=list)
    _farms: Iterator[int] = field(default_factory=count)

    def add(self, *options: str) -> Living:
        """One more, started but perhaps not ready."""
        data = self.directory / f"s{len(self.all) + 1}"
        data.mkdir()
        if self.all:
            shutil.copytree(self.all[0].data / "authority", data / "authority")
        made = Living(data, self._relay(data))
        self.all.append(made)
        self.start(made, *options)
        if len(self.all) == 1:
            self.await_ready(made)  # the others copy its authority
        return made

    def start(self, server: Living, *options: str) -> None:
        argv = [sys.executable, "-m", "arable.processes.main", "server", "--data", str(server.data)]
        argv += ["--api", "127.0.0.1:0", "--gateway", "127.0.0.1:0"]
        argv += ["--segment-address", server.relay.address, *options]
        with (server.data / "log").open("ab") as log:
            server.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"ARABLE_DATABASE": self.url},
            )

    def await_ready(self, server: Living) -> None:
        until(lambda: self._ready(server), f"a server does not get ready: {server.data}")

    def master(self) -> Mastership:
        with self.database.read() as tx:
            return elections.mastership(tx)

    def history(self) -> list[Election]:
        with self.database.read() as tx:
            return elections.history(tx)

    def states(self) -> dict[str, str]:
        with self.database.read() as tx:
            return {each.id: each.state.value for each in segments.members(tx)}

    def by_name(self, name: str) -> Living:
        return next(each for each in self.all if each.name == name)

    def others(self, *but: Living) -> list[Living]:
        return [each for each in self.all if each not in but]

    def elected(self, after: int = 0) -> tuple[Living, int]:
        """Who is master with an epoch beyond `after`."""
        found = until(
            lambda: (now := self.master()).epoch > after and now,
            f"nobody was elected after {after}",
        )
        return self.by_name(found.holder), found.epoch

    def farm(self) -> str:
        """A farm that nobody holds."""
        id_ = f"farm-{next(self._farms)}"
        with self.database.write() as tx:
            tx.execute(_FARM, {"id": id_})
        return id_

    def holder(self, farm: str, *, confirmed: bool = False) -> str:
        """Who holds it, if anybody does."""
        with self.database.read() as tx:
            row = tx.execute(_HOLDER, {"id": farm}).one()
        return row.holder if not confirmed or row.confirmed == row.epoch else ""

    def acts(self) -> str:
        """A master acts: it gives a new farm to somebody."""
        farm = self.farm()
        until(lambda: self.holder(farm), "no master acts")
        return farm

    def whole(self) -> None:
        """Every server runs, is reached by the others, and is ready."""
        for each in self.all:
            each.relay.mend()
            assert each.process
            if each.process.poll() is not None:
                self.start(each)
                self.await_ready(each)
        until(lambda: set(self.states().values()) == {"ready"})

    def _relay(self, data: Path) -> Relay:
        def target() -> socket.socket:
            told = json.loads((data / "server.json").read_text())["gateway"]
            host, _, port = told.rpartition(":")
            return socket.create_connection((host, int(port)), 5)

        return Relay(socket.create_server(("127.0.0.1", 0)), target)

    @staticmethod
    def _ready(server: Living) -> bool:
        assert server.process
        assert server.process.poll() is None, server.log
        try:
            server.ready = json.loads((server.data / "server.json").read_text())
        except (FileNotFoundError, ValueError):
            return False
        return server.ready["pid"] == server.process.pid


_FARM = text("""
    insert into farm (id, account, zone, name, created_at)
    select :id, (select min(id) from account), 'zone-t', :id, 0
""")
_HOLDER = text("select holder, epoch, confirmed from farm where id = :id")
_ZONE = text("insert into zone (id, name, created_at) values ('zone-t', 't', 0)")


@contextmanager
def living(url: str, directory: Path, servers: int, *options: str) -> Iterator[Servers]:
    """So many servers, and a zone for farms."""
    database = Database(url)
    made = Servers(database, url, directory)
    try:
        for _ in range(servers):
            made.add(*options)
        for each in made.all:
            made.await_ready(each)
        until(lambda: list(made.states().values()) == ["ready"] * servers, "not all are members")
        with database.write() as tx:
            tx.execute(_ZONE)
        yield made
    finally:
        for each in made.all:
            each.relay.close()
            if each.process:
                each.process.send_signal(signal.SIGCONT)
                each.process.kill()
                each.process.wait()
        database.close()
