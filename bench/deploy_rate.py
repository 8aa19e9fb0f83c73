"""How many machines a second come to run: 1,000 simulated hosts, one server, SQLite and PostgreSQL.

Counted are machines that the store says are running: the API has accepted them, they were placed, their hosts were
told by manifest, and the hosts' reports are durable. Server, agents, customers (and PostgreSQL) are processes of their
own and share the cores of this machine.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from sqlalchemy import text

from arable.store.database import Database
from bench import cloud, limit, postgresql
from bench.cloud import Joined, Served
from bench.figures import Table, machine, percentile, ratio, result, shown
from bench.load import Outcome, Plan
from bench.profiled import Profile
from bench.quiet import await_quiet
from bench.usage import cpu_seconds

_RUNNING = text("select count(*) from machine where state = 'running'")
_WAITS = text("""
    select changed_at - created_at from machine
    where state = 'running' and changed_at >= :since order by id desc limit 20000
""")
_SETTLED_WITHIN = 60.0  # seconds without a machine more that runs


@dataclass(frozen=True, slots=True)
class Ran:
    """One run."""

    kind: str
    count: int
    rate: float
    cpu_ms: float
    p50_ms: float  # from accepted to running
    p99_ms: float
    outcome: Outcome
    limit: float
    swarm_cpu: float  # share of a core
    server_cpu: float


def main(argv: Sequence[str]) -> None:
    """See `--help`."""
    parser = argparse.ArgumentParser(prog="bench deploy-rate", description=__doc__)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument(
        "--warm", type=float, default=3.0, help="seconds of load before anything is counted"
    )
    parser.add_argument("--in-flight", type=int, default=256, help="calls at once")
    parser.add_argument("--bulk-in-flight", type=int, default=64, help="the same, 20 a call")
    parser.add_argument("--accounts", type=int, default=16)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), action="append")
    parser.add_argument("--count", type=int, action="append", help="machines a call: 1 and 20")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each; the median counts")
    parser.add_argument("--profile", action="store_true", help="say where the server's time goes")
    parser.add_argument(
        "--wait", type=float, default=0.0, help="seconds at most for the machine to be quiet"
    )
    options = parser.parse_args(argv)
    print(machine())
    ran: list[Ran] = []
    for _ in range(options.repeat):
        for kind in options.database or ("sqlite", "postgresql"):
            for count in options.count or (1, 20):
                ran.append(_run(kind, count, options))
                print(f"  {kind}, {count} a call: {shown(ran[-1].rate)}/s", flush=True)
    print()
    print(table(ran).text())
    print("\n".join(results(ran)))


def table(ran: Sequence[Ran]) -> Table:
    """Every run, with the database's own limit beside it."""
    made = Table(
        "Deployments to running, per second",
        (
            *("store, machines a call", "per second", "limit", "ratio", "CPU ms", "server CPU"),
            *("agents CPU", "accept p50 ms", "p99", "to running p50 ms", "p99"),
        ),
    )
    for each in ran:
        made.add(
            f"{each.kind}, {each.count}",
            shown(each.rate),
            shown(each.limit),
            ratio(each.rate, each.limit),
            shown(each.cpu_ms),
            shown(each.server_cpu),
            shown(each.swarm_cpu),
            shown(each.outcome.p50_ms),
            shown(each.outcome.p99_ms),
            shown(each.p50_ms),
            shown(each.p99_ms),
        )
    return made


def results(ran: Sequence[Ran]) -> list[str]:
    """The lines to be read: medians of the runs of a kind. Bulk calls and CPU are those of the embedded store."""
    lines = []
    for metric, kind, bulk, goal in (
        ("deploy_rate_sqlite", "sqlite", False, "1500"),
        ("deploy_rate_postgresql", "postgresql", False, "1500"),
        ("deploy_rate_bulk", "sqlite", True, "5000"),
    ):
        rates = [r.rate for r in ran if r.kind == kind and (r.count > 1) is bulk]
        if rates:
            lines.append(result(metric, percentile(rates, 50), "1/s", goal))
    cpu = [r.cpu_ms for r in ran if r.kind == "sqlite" and r.count == 1]
    if cpu:  # at 1,500 a second one core is 0.67 ms each
        lines.append(result("deploy_cpu_ms", percentile(cpu, 50), "ms", "0.67"))
    return lines


def _run(kind: str, count: int, options: argparse.Namespace) -> Ran:
    with ExitStack() as stack:
        data = Path(tempfile.mkdtemp(prefix="arable-bench-"))
        stack.callback(shutil.rmtree, data)
        url = stack.enter_context(postgresql.cluster()) if kind == "postgresql" else ""
        profile = data / "profile.json" if options.profile else None
        with cloud.server(data / "server", url, profile=profile) as served:
            with cloud.operator(served) as operator:
                place = cloud.describe(operator, data)
                keys = list(cloud.customers(served, operator, options.accounts).values())
            hosts = cloud.join(served, place, options.hosts)
            database = Database(served.database)
            stack.callback(database.close)
            with swarm(served, hosts) as agents:
                _prepare(served, database, keys)
                ran = _measure(served, agents, database, keys, kind, count, options, profile)
        rows = limit.left(database, count)
        bare = url.replace("/arable?", "/bare?") or f"sqlite:///{data / 'bare.sqlite'}"
        reached = limit.write(bare, rows, min(_in_flight(options, count) * count, 2000))
        return replace(ran, limit=reached)


def _in_flight(options: argparse.Namespace, count: int) -> int:
    return options.in_flight if count == 1 else options.bulk_in_flight


@contextmanager
def swarm(served: Served, hosts: Sequence[Joined]) -> Iterator["subprocess.Popen[bytes]"]:
    """Agents of all hosts, connected, in a process of their own."""
    file = served.data / "hosts.json"
    file.write_bytes(msgspec.json.encode(hosts))
    argv = [sys.executable, "-m", "bench.swarm", str(file), served.ready.gateway]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        assert started.stdin
        assert started.stdout
        try:
            if started.stdout.readline() != b"ready\n":
                raise SystemExit("the agents did not come up")
            yield started
        finally:
            started.stdin.close()
            started.wait(30)


def _prepare(served: Served, database: Database, keys: Sequence[str]) -> None:
    """Every customer has a machine: its network is there, and the network's router runs."""
    plan = Plan(
        url=served.ready.api,
        keys=list(keys),
        in_flight=len(keys),
        count=1,
        seconds=0.0,
        prefix="first",
    )
    _loaded(plan)
    _settle(database, len(keys))


def _measure(
    served: Served,
    agents: "subprocess.Popen[bytes]",
    database: Database,
    keys: list[str],
    kind: str,
    count: int,
    options: argparse.Namespace,
    profile: Path | None,
) -> Ran:
    plan = Plan(
        url=served.ready.api,
        keys=keys,
        in_flight=_in_flight(options, count),
        count=count,
        seconds=options.warm + options.seconds + 1,
    )
    if not await_quiet(options.wait):
        print("  (the machine is busy with something else)", flush=True)
    load = _start(plan)
    time.sleep(options.warm)
    if profile:
        profile.with_suffix(".go").touch()
    first, began, cpu, others = _look(served, agents, database)
    since = time.time_ns() // 1000
    time.sleep(options.seconds)
    last, ended, cpu_after, others_after = _look(served, agents, database)
    if profile:
        profile.with_suffix(".go").unlink()
    outcome = _finished(load)
    _settle(database, outcome.calls * count)
    with database.read() as tx:
        waits = [row[0] / 1000 for row in tx.execute(_WAITS, {"since": since})]
    if profile:
        print(told(msgspec.json.decode(profile.read_bytes(), type=Profile)))
    done, took = last - first, ended - began
    return Ran(
        kind=kind,
        count=count,
        rate=done / took,
        cpu_ms=(cpu_after - cpu) / max(done, 1) * 1000,
        p50_ms=percentile(waits, 50),
        p99_ms=percentile(waits, 99),
        outcome=outcome,
        limit=0.0,
        swarm_cpu=(others_after - others) / took,
        server_cpu=(cpu_after - cpu) / took,
    )


def _look(
    served: Served, agents: "subprocess.Popen[bytes]", database: Database
) -> tuple[int, float, float, float]:
    """Machines that run, the time, CPU of the server and of the agents: all as of one moment."""
    with database.read() as tx:
        running = int(tx.execute(_RUNNING).scalar_one())
    return running, time.monotonic(), cpu_seconds(served.pid), cpu_seconds(agents.pid)


def _settle(database: Database, wanted: int) -> None:
    """Wait until all that was accepted runs: a benchmark of a cloud that loses machines would be worth nothing."""
    most, end = 0, time.monotonic() + _SETTLED_WITHIN
    while True:
        with database.read() as tx:
            running = int(tx.execute(_RUNNING).scalar_one())
        if running >= wanted:
            return
        if running > most:
            most, end = running, time.monotonic() + _SETTLED_WITHIN
        if time.monotonic() > end:
            raise SystemExit(
                f"of {wanted} machines that were accepted, {running} run; are there too few --hosts for them?"
            )
        time.sleep(0.2)


def _start(plan: Plan) -> "subprocess.Popen[bytes]":
    started = subprocess.Popen(
        [sys.executable, "-m", "bench.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert started.stdin
    started.stdin.write(msgspec.json.encode(plan))
    started.stdin.close()
    return started


def _finished(load: "subprocess.Popen[bytes]") -> Outcome:
    assert load.stdout
    with load:
        outcome = msgspec.json.decode(load.stdout.read(), type=Outcome)
    if outcome.refused:
        raise SystemExit(f"{outcome.refused} calls were refused: {outcome.first_refusal}")
    return outcome


def _loaded(plan: Plan) -> Outcome:
    return _finished(_start(plan))


def told(profile: Profile) -> str:
    """Where the server's time went."""
    every = sum(profile.threads.values()) or 1.0
    parts = []
    for title, found, most in (
        ("CPU by thread", profile.threads, 8),
        ("by function, with all it calls", profile.within, 60),
        ("by function alone", profile.alone, 30),
        ("by statement", profile.statements, 40),
    ):
        made = Table(title, ("where", "s", "%"))
        for name, used in sorted(found.items(), key=lambda each: -each[1])[:most]:
            made.add(name, f"{used:.2f}", f"{100 * used / every:.1f}")
        parts.append(made.text())
    return "\n".join(parts)
