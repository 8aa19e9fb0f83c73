"""How long nobody acts when the master dies, and until every farm is served again.

Real management servers on a PostgreSQL of their own, and many farms. In each round the master is killed, or frozen for
longer than every timeout, at a random moment. That instant a farm is added that nobody holds: the time until it has a
holder is the time without an acting master, because giving it one is a write that only an acting master can make. Then
it is waited until every farm is held by a living server that has confirmed it. Hosts are lost in a lab of their own
(`failover_hosts.py`).

A 99th percentile of fewer than a hundred rounds is the worst one, so that is how many there are unless told otherwise;
killed and frozen masters count together.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from bench import failover_hosts, postgresql
from bench.figures import Table, machine, median, percentile, result, shown

_WITHIN = 120.0
_STEP = 0.005
_FROZEN = 10.0  # seconds, at least: longer than a lease, and than it takes to be counted as lost


@dataclass
class Server:
    """One management server."""

    data: Path
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def name(self) -> str:
        return (self.data / "name").read_text().strip()

    def ready(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            raise SystemExit((self.data / "log").read_text())
        try:
            told = json.loads((self.data / "server.json").read_text())
        except (FileNotFoundError, ValueError):
            return False
        return bool(told["pid"] == self.process.pid)


@dataclass
class Cluster:
    """Several of them, and our own eyes on their database."""

    url: str
    eyes: "psycopg.Connection[tuple[object, ...]]"
    servers: list[Server] = field(default_factory=list)
    farms: int = 0

    def start(self, server: Server) -> None:
        argv = [sys.executable, "-m", "arable.processes.main", "server", "--data", str(server.data)]
        argv += ["--api", "127.0.0.1:0", "--gateway", "127.0.0.1:0"]
        with (server.data / "log").open("ab") as log:
            server.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"ARABLE_DATABASE": self.url},
            )
        until(server.ready, "a server is not ready")

    def one(self, query: str, *values: object) -> object:
        row = self.eyes.execute(query.encode(), values).fetchone()
        return row[0] if row else None

    def master(self) -> Server:
        name = until(
            lambda: self.one("select holder from lease where name = 'master' and until > extract(epoch from now()) * 1e6"),
            "there is no master",
        )  # fmt: skip
        return next(each for each in self.servers if each.name == name)

    def add_farms(self, count: int) -> str:
        """The id of the last of them."""
        for _ in range(count):
            self.farms += 1
            self.eyes.execute(_FARM, {"id": f"farm-{self.farms}"})
        return f"farm-{self.farms}"

    def served(self, but: str = "") -> bool:
        return not self.one(
            "select count(*) from farm where holder in ('', %s) or confirmed <> epoch", but
        )

    def whole(self) -> bool:
        return self.one("select count(*) from segment where state = 'ready'") == len(self.servers)


_FARM = """
    insert into farm (id, account, zone, name, created_at)
    select %(id)s, (select min(id) from account), 'zone-b', %(id)s, 0
"""


@dataclass(frozen=True)
class Round:
    """What one failure cost, in seconds."""

    gap: float
    served: float


def main(argv: Sequence[str]) -> None:
    """See `--help`."""
    parser = argparse.ArgumentParser(prog="bench failover", description=__doc__)
    parser.add_argument("--servers", type=int, default=3)
    parser.add_argument("--farms", type=int, default=300)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--freezes", type=int, default=20)
    parser.add_argument(
        "--hosts", type=int, default=3, help="hosts to lose in a lab, which takes root; 0: none"
    )
    parser.add_argument("--machines", type=int, default=4, help="in the lab, on two hosts")
    options = parser.parse_args(argv)
    print(machine())
    if options.kills or options.freezes:
        _servers(options)
    if options.hosts:
        rounds = failover_hosts.measured(options.hosts, options.machines)
        print(hosts_table(rounds).text())
        print(result("hosts_back_s", max(back for _, back in rounds), "s", "60"))


def _servers(options: argparse.Namespace) -> None:
    """Management servers fail."""
    with cluster(options.servers) as made:
        made.add_farms(options.farms)
        until(made.served, "the farms are not served")
        killed = [failed(made, _kill, _revive) for _ in range(options.kills)]
        frozen = [failed(made, _freeze, _thaw) for _ in range(options.freezes)]
    print(table(killed, frozen).text())
    every = [*killed, *frozen]
    print(result("master_gap_p99_s", percentile([each.gap for each in every], 99), "s", "3"))
    print(result("farms_served_s", percentile([each.served for each in every], 99), "s", "10"))


def hosts_table(rounds: Sequence[tuple[float, float]]) -> Table:
    """Of lost hosts."""
    made = Table(
        "A host is lost: seconds until its machines are given to others, and until all run",
        ("times", "given median", "given worst", "back median", "back worst"),
    )
    given, back = [one for one, _ in rounds], [one for _, one in rounds]
    figures = (median(given), max(given), median(back), max(back))
    made.add(str(len(rounds)), *(shown(each) for each in figures))
    return made


def table(killed: Sequence[Round], frozen: Sequence[Round]) -> Table:
    """All that was measured."""
    made = Table(
        "The master fails: seconds until there is one again, and until all farms are served",
        ("failure", "times", *(f"{what} {which}" for what in ("gap", "served") for which in _OF)),
    )
    for name, rounds in (("killed", killed), ("frozen", frozen)):
        if rounds:
            gaps, served = [r.gap for r in rounds], [r.served for r in rounds]
            figures = [of(each) for each in (gaps, served) for of in _OF.values()]
            made.add(name, str(len(rounds)), *(shown(each) for each in figures))
    return made


_OF: dict[str, Callable[[list[float]], float]] = {
    "median": median,
    "p99": lambda values: percentile(values, 99),
    "worst": max,
}


def failed(
    made: Cluster, fail: Callable[[Server], None], mend: Callable[[Cluster, Server, float], None]
) -> Round:
    """One round; everything is well before and after it."""
    until(made.whole, "a server is missing")
    until(made.served, "the farms are not served")
    time.sleep(random.uniform(0.0, 2.0))  # wherever in its second the master is
    master = made.master()
    begun = time.monotonic()
    fail(master)
    farm = made.add_farms(1)
    until(lambda: made.one("select holder from farm where id = %s", farm), "no master acts")
    gap = time.monotonic() - begun
    until(lambda: made.served(master.name), "the farms are not served")
    served = time.monotonic() - begun
    mend(made, master, begun)
    return Round(gap, served)


def _kill(server: Server) -> None:
    assert server.process
    server.process.kill()


def _revive(made: Cluster, server: Server, _begun: float) -> None:
    assert server.process
    server.process.wait()
    made.start(server)


def _freeze(server: Server) -> None:
    assert server.process
    server.process.send_signal(signal.SIGSTOP)


def _thaw(_made: Cluster, server: Server, begun: float) -> None:
    assert server.process
    time.sleep(max(0.0, begun + _FROZEN - time.monotonic()))
    server.process.send_signal(signal.SIGCONT)


def until(condition: Callable[[], object], told: str) -> object:
    """What came true."""
    end = time.monotonic() + _WITHIN
    while not (found := condition()):
        if time.monotonic() > end:
            raise SystemExit(told)
        time.sleep(_STEP)
    return found


@contextmanager
def cluster(count: int) -> Iterator[Cluster]:
    """So many servers that are ready; none of it is left afterwards."""
    with postgresql.cluster() as url, tempfile.TemporaryDirectory(prefix="arable-bench-") as folder:
        plain = url.replace("postgresql+psycopg", "postgresql")
        with psycopg.connect(plain, autocommit=True) as eyes:
            made = Cluster(url, eyes)
            try:
                for number in range(count):
                    data = Path(folder, f"s{number}")
                    data.mkdir()
                    if made.servers:
                        shutil.copytree(made.servers[0].data / "authority", data / "authority")
                    made.servers.append(Server(data))
                    made.start(made.servers[-1])
                    if number == 0:
                        until(made.servers[0].ready, "the first server does not get ready")
                until(made.whole, "not all servers get ready")
                eyes.execute("insert into zone (id, name, created_at) values ('zone-b', 'b', 0)")
                yield made
            finally:
                for each in made.servers:
                    if each.process:
                        each.process.kill()
                        each.process.wait()
