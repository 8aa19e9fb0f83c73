"""A region as large as one is meant to be: 10,000 hosts, 2,000 farms, 100,000 machines, on PostgreSQL.

Management servers, PostgreSQL, customers and agents are processes of their own on this machine. First every agent comes
in at once, as after a restart of everything; then every farm gets its first machine (its network and router are made
for it), then all others, one call each: how many a second come to run, and whether the last tenth costs what the first
did. Then nobody asks for anything: what do ten thousand heartbeats cost? A machine is stopped at one server whose host
is served by another: when does its agent hear of it? At last a server is killed: when are its farms served again, and
when have its agents come back? A real agent with ten machines, on simulated drivers, is weighed beside it.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from sqlalchemy import text

from arable.store.database import Database
from bench import cloud, postgresql, scale_agent
from bench.cloud import Served
from bench.crowd import crowd
from bench.deploy_rate import told
from bench.figures import Table, machine, median, percentile, result, shown
from bench.load import Outcome, Plan
from bench.profiled import Profile
from bench.quiet import await_quiet
from bench.scale_agent import until
from bench.usage import cpu_seconds, memory

SOURCE = "127.0.0.9"
"""Where agents come from: another address than the servers', which never wait for each other."""
_WITHIN = 1200.0
_LOOK = 1.0
_RUNNING = text("select count(*) from machine where state = 'running'")
_SINCE = text("""
    select changed_at from machine where state = 'running' and created_at >= :since order by changed_at
""")
_ELSEWHERE = text("""
    select m.id from machine m join host h on h.id = m.host
    where m.state = 'running' and h.server = :server order by m.id limit :count
""")
_AT = text("select server, count(*) from host where server <> '' group by server")
_NOT_SERVED = text("""
    select count(*) from farm left join segment on segment.id = farm.holder and segment.state = 'ready'
    where segment.id is null or farm.holder = :lost or farm.confirmed <> farm.epoch
""")


@dataclass(slots=True)
class Sample:
    """What had been used when so many machines ran."""

    running: int
    servers: float
    database: float


@dataclass(slots=True)
class Region:
    """All that runs, and our own eyes on its store."""

    servers: list[Served]
    store: Database
    swarm: "subprocess.Popen[bytes]"
    keys: list[str]  # of the customers
    postmaster: int = 0
    profile: Path | None = None
    samples: list[Sample] = field(default_factory=list)

    def name(self, at: int) -> str:
        """By which a server is known."""
        return (self.servers[at].data / "name").read_text().strip()

    def asked(self, what: str) -> bytes:
        """The swarm's answer."""
        assert self.swarm.stdin
        assert self.swarm.stdout
        self.swarm.stdin.write(f"{what}\n".encode())
        self.swarm.stdin.flush()
        return self.swarm.stdout.readline()

    def connected(self) -> int:
        """Agents that are welcome somewhere."""
        return int(self.asked("connected"))

    def spread(self) -> dict[str, int]:
        """How many agents each server has, as the store knows it."""
        with self.store.read() as tx:
            return {row[0]: row[1] for row in tx.execute(_AT)}

    def running(self) -> int:
        """Machines."""
        with self.store.read() as tx:
            return int(tx.execute(_RUNNING).scalar_one())

    def cpu(self) -> tuple[float, float]:
        """Seconds of the servers and of the database."""
        ours = sum(cpu_seconds(each.pid) for each in self.servers)
        return ours, sum(map(_known_cpu, _family(self.postmaster))) if self.postmaster else 0.0


@dataclass(slots=True)
class Found:
    """All that is measured. Seconds, unless the name says something else."""

    came_in: float = 0.0
    came_in_cpu_ms: float = 0.0  # of the servers, for each agent
    agent_kb: float = 0.0  # of a server's memory
    farms_rate: float = 0.0
    rate: float = 0.0
    tenths: list[tuple[float, float, float]] = field(
        default_factory=list
    )  # rate, CPU ms, database ms
    outcome: Outcome | None = None
    heartbeat_us: float = 0.0
    heartbeat_percent: float = 0.0
    heartbeat_database: float = 0.0
    memory_mb: float = 0.0
    manifest_ms: list[float] = field(default_factory=list)
    farms_served: float | None = None
    agents_back: float | None = None
    agent_cpu_percent: float = 0.0
    agent_mb: float = 0.0


def main(argv: Sequence[str]) -> None:
    """See `--help`."""
    parser = argparse.ArgumentParser(prog="bench scale", description=__doc__)
    parser.add_argument("--hosts", type=int, default=10_000)
    parser.add_argument("--machines", type=int, default=100_000)
    parser.add_argument("--farms", type=int, default=2000)
    parser.add_argument("--servers", type=int, default=2)
    parser.add_argument("--in-flight", type=int, default=256, help="calls at once")
    parser.add_argument(
        "--quiet", type=float, default=30.0, help="seconds of nothing but heartbeats"
    )
    parser.add_argument("--changes", type=int, default=300, help="manifests that are waited for")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="postgresql")
    parser.add_argument(
        "--profile", action="store_true", help="say where the first server's time goes"
    )
    parser.add_argument(
        "--wait", type=float, default=0.0, help="seconds at most for the machine to be quiet"
    )
    options = parser.parse_args(argv)
    print(machine(), flush=True)
    found = Found()
    found.agent_cpu_percent, found.agent_mb = scale_agent.cost(options.quiet)
    with region(options, found) as made:
        spread = ", ".join(str(count) for count in made.spread().values())
        print(
            f"  {options.hosts} agents came in, {spread}, in {shown(found.came_in)} s", flush=True
        )
        await_quiet(options.wait)
        _deploy(made, options, found)
        _beat(made, options, found)
        _change(made, options, found)
        found.memory_mb = max(memory(each.pid).rss for each in made.servers)
        if len(made.servers) > 1:
            _crash(made, options, found)
    print(tenths(found).text())
    print(table(found, options).text())
    print("\n".join(results(found)))


def results(found: Found) -> list[str]:
    """The lines to be read."""
    return [
        result("deploy_rate", found.rate, "1/s", "2500"),
        result("memory_mb", found.memory_mb, "MB", "800"),
        result("agent_cpu_percent", found.agent_cpu_percent, "%", "1"),
        result("manifest_p99_ms", percentile(found.manifest_ms, 99), "ms", "100"),
    ]


def tenths(found: Found) -> Table:
    """Whether the last machine costs what the first one did."""
    made = Table(
        "Each tenth of the deployments", ("tenth", "per second", "servers' CPU ms", "database's")
    )
    for at, (rate, cpu, database) in enumerate(found.tenths, 1):
        made.add(str(at), shown(rate), shown(cpu), shown(database))
    return made


def table(found: Found, options: argparse.Namespace) -> Table:
    """Everything else."""
    made = Table(
        f"{options.hosts} hosts, {options.farms} farms, {options.machines} machines",
        ("what", "measured"),
    )
    for what, value, unit in (
        ("all agents come in at once", found.came_in, "s"),
        ("  of the servers' CPU, each", found.came_in_cpu_ms, "ms"),
        ("  of a server's memory, each", found.agent_kb, "kB"),
        ("farms with their first machine", found.farms_rate, "1/s"),
        ("machines, one a call", found.rate, "1/s"),
        ("a heartbeat, servers' CPU", found.heartbeat_us, "us"),
        ("all heartbeats, servers' CPU", found.heartbeat_percent, "% of a core"),
        ("  database's", found.heartbeat_database, "% of a core"),
        ("the largest server's memory", found.memory_mb, "MB"),
        ("a change reaches its agent, median", median(found.manifest_ms), "ms"),
        ("  worst of a hundred", percentile(found.manifest_ms, 99), "ms"),
        ("an agent with ten machines, CPU", found.agent_cpu_percent, "% of a core"),
        ("  memory", found.agent_mb, "MB"),
        ("farms served again after a crash", found.farms_served, "s"),
        ("all agents back", found.agents_back, "s"),
    ):
        made.add(what, "-" if value is None else f"{shown(value)} {unit}")
    return made


@contextmanager
def region(options: argparse.Namespace, found: Found) -> Iterator[Region]:
    """Servers, customers without machines, and every agent connected."""
    with ExitStack() as stack:
        data = Path(tempfile.mkdtemp(prefix="arable-bench-"))
        stack.callback(shutil.rmtree, data)
        url, postmaster = "", 0
        if options.database == "postgresql":
            url = stack.enter_context(postgresql.cluster())
            postmaster = _postmaster(url)
        profile = data / "profile.json" if options.profile else None
        servers = [stack.enter_context(cloud.server(data / "server-0", url, profile=profile))]
        for at in range(1, options.servers):
            there = data / f"server-{at}"
            shutil.copytree(servers[0].data / "authority", there / "authority")
            (there / "images").symlink_to(servers[0].data / "images")
            servers.append(stack.enter_context(cloud.server(there, url)))
        with cloud.operator(servers[0]) as operator:
            place = cloud.describe(operator, data, farms=options.farms, hosts=options.hosts)
            keys = crowd(servers[0], operator, options.farms)
        joined = cloud.join(servers[0], place, options.hosts, max(2, options.hosts // 20))
        store = Database(servers[0].database)
        stack.callback(store.close)
        before = max(memory(each.pid).rss for each in servers)
        file = servers[0].data / "hosts.json"
        file.write_bytes(msgspec.json.encode(joined))
        argv = [sys.executable, "-m", "bench.scale_swarm", str(file), SOURCE]
        argv += [each.ready.gateway for each in servers]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as swarm:
            try:
                made = Region(servers, store, swarm, keys, postmaster, profile)
                _said(swarm, b"here\n")
                cpu, began = made.cpu()[0], time.monotonic()
                _said(swarm, b"ready\n")
                found.came_in = time.monotonic() - began
                found.came_in_cpu_ms = (made.cpu()[0] - cpu) / options.hosts * 1000
                each = max(made.spread().values())
                after = max(memory(each.pid).rss for each in servers)
                found.agent_kb = (after - before) * 1000 / each
                yield made
            finally:
                assert swarm.stdin
                swarm.stdin.close()
                swarm.wait(60)


def _said(swarm: "subprocess.Popen[bytes]", word: bytes) -> None:
    assert swarm.stdout
    if swarm.stdout.readline() != word:
        raise SystemExit("the agents did not come up")


def _deploy(made: Region, options: argparse.Namespace, found: Found) -> None:
    """Every farm's first machine, and then all others."""
    began = time.monotonic()
    first = _plan(made, options, options.farms, "first")
    _loaded(made, first, options.farms)
    found.farms_rate = options.farms / (time.monotonic() - began)
    print(f"  {options.farms} farms, {shown(found.farms_rate)}/s", flush=True)
    rest = options.machines - options.farms
    since = time.time_ns() // 1000
    made.samples.clear()
    if made.profile:
        made.profile.with_suffix(".go").touch()
    found.outcome = _loaded(made, _plan(made, options, rest, "m"), options.machines)
    if made.profile:
        made.profile.with_suffix(".go").unlink()
        print(_profile(made.profile))
    with made.store.read() as tx:
        moments = [row[0] / 1e6 for row in tx.execute(_SINCE, {"since": since})]
    found.rate = len(moments) / (moments[-1] - since / 1e6)
    found.tenths = list(_tenths(moments, since / 1e6, made.samples, options.farms))
    print(f"  {rest} machines, {shown(found.rate)}/s", flush=True)


def _plan(made: Region, options: argparse.Namespace, calls: int, prefix: str) -> Plan:
    return Plan(
        url="",
        urls=[each.ready.api for each in made.servers],
        keys=made.keys,
        in_flight=min(options.in_flight, calls),
        count=1,
        seconds=_WITHIN,
        prefix=prefix,
        calls=calls,
    )


def _loaded(made: Region, plan: Plan, wanted: int) -> Outcome:
    """Ask for all of them, and wait until they run; what was used meanwhile is noted every so often."""
    load = subprocess.Popen(
        [sys.executable, "-m", "bench.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert load.stdin
    assert load.stdout
    load.stdin.write(msgspec.json.encode(plan))
    load.stdin.close()
    end = time.monotonic() + _WITHIN
    while True:
        running = made.running()
        made.samples.append(Sample(running, *made.cpu()))
        if running >= wanted:
            break
        if time.monotonic() > end:
            raise SystemExit(f"of {wanted} machines, {running} run")
        time.sleep(min(_LOOK, wanted / 10_000))
    with load:
        outcome = msgspec.json.decode(load.stdout.read(), type=Outcome)
    if outcome.refused:
        raise SystemExit(f"{outcome.refused} calls were refused: {outcome.first_refusal}")
    return outcome


def _tenths(
    moments: Sequence[float], since: float, samples: Sequence[Sample], before: int
) -> Iterator[tuple[float, float, float]]:
    """Rate and CPU of each tenth. What was used is known at samples; between them it grows evenly."""
    size = len(moments) / 10
    began = since
    used = _used(samples, before)
    for at in range(1, 11):
        ended = moments[round(size * at) - 1]
        now = _used(samples, before + round(size * at))
        yield (
            size / max(ended - began, 1e-6),
            *((b - a) / size * 1000 for a, b in zip(used, now, strict=True)),
        )
        began, used = ended, now


def _used(samples: Sequence[Sample], running: int) -> tuple[float, float]:
    at = bisect_left(samples, running, key=lambda each: each.running)
    if at == 0:
        return samples[0].servers, samples[0].database
    if at == len(samples):
        return samples[-1].servers, samples[-1].database
    a, b = samples[at - 1], samples[at]
    part = (running - a.running) / (b.running - a.running)
    return a.servers + part * (b.servers - a.servers), a.database + part * (b.database - a.database)


def _beat(made: Region, options: argparse.Namespace, found: Found) -> None:
    """Nobody asks for anything."""
    time.sleep(min(options.quiet / 5, 5.0))  # what was asked for is over
    began, (cpu, database) = time.monotonic(), made.cpu()
    time.sleep(options.quiet)
    took, (cpu_after, database_after) = time.monotonic() - began, made.cpu()
    found.heartbeat_percent = 100 * (cpu_after - cpu) / took
    found.heartbeat_database = 100 * (database_after - database) / took
    found.heartbeat_us = (cpu_after - cpu) / took / (options.hosts / 10.0) * 1e6


def _change(made: Region, options: argparse.Namespace, found: Found) -> None:
    """From the call at one server to the agent at another."""
    with made.store.read() as tx:
        asked = {"server": made.name(-1), "count": options.changes}
        machines = [row[0] for row in tx.execute(_ELSEWHERE, asked)]
    made.asked("marks")
    began: dict[str, float] = {}
    with cloud.operator(made.servers[0]) as operator:
        for machine_ in machines:
            began[machine_] = time.monotonic()
            operator.machines.stop(machine_)
            time.sleep(0.02)
    told: dict[str, float] = {}

    def all_told() -> bool:
        told.update(msgspec.json.decode(made.asked("marks"), type=dict[str, float]))
        return told.keys() >= began.keys()

    until(all_told, "some agents were not told", _WITHIN)
    found.manifest_ms = [(told[each] - at) * 1000 for each, at in began.items()]


def _crash(made: Region, options: argparse.Namespace, found: Found) -> None:
    """The last server is killed."""
    lost = made.name(-1)
    server = made.servers.pop()
    began = time.monotonic()
    os.kill(server.pid, signal.SIGKILL)

    def served() -> bool:
        with made.store.read() as tx:
            return not tx.execute(_NOT_SERVED, {"lost": lost}).scalar_one()

    def back() -> bool:
        return sum(count for name, count in made.spread().items() if name != lost) >= options.hosts

    until(served, "farms are not served", _WITHIN)
    found.farms_served = time.monotonic() - began
    until(back, "agents don't come back", _WITHIN)
    found.agents_back = time.monotonic() - began


def _profile(file: Path) -> str:
    until(file.exists, "there is no profile", _WITHIN)
    return told(msgspec.json.decode(file.read_bytes(), type=Profile))


def _postmaster(url: str) -> int:
    """The first process of that PostgreSQL."""
    directory = url.partition("host=")[2]
    return int(Path(directory, "data", "postmaster.pid").read_text().split()[0])


def _known_cpu(pid: int) -> float:
    """Of a process that may have ended since it was seen: a session of PostgreSQL's does so at any time."""
    try:
        return cpu_seconds(pid)
    except OSError:
        return 0.0


def _family(pid: int) -> list[int]:
    """A process and its children; one that has ended is none of them."""
    found = [pid]
    for each in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = each.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(each.parent.name))
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
