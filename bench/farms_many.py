"""Thousands of farms on simulated hosts: how many come to serve in a second, and what they cost when nothing happens.

A server, its light agents (`scale_swarm.py`) and PostgreSQL, if it is asked for, are processes of their own. Every farm
is another customer's: a network with its router, a way in, and a tier that fills it. It counts when all of its
elements serve: their machines were made, placed and told to hosts, these said that they run, the router was given its
members, and said that they are well.
"""

import argparse
import http.client
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from sqlalchemy import text

from arable.store.database import Database
from bench import cloud, postgresql
from bench.cloud import OFFERING, Joined, Served
from bench.crowd import crowd
from bench.deploy_rate import told
from bench.figures import Table
from bench.profiled import Profile
from bench.quiet import await_quiet
from bench.usage import cpu_seconds, memory

SOURCE = "127.0.0.9"
"""Where agents come from: another address than the server's, so that ports of neither run out."""
_SERVING = text("select count(*) from element where state = 'serving'")
_STUCK = 120.0  # seconds without an element more that serves
_LOOK = 0.25
_PHASES = 10
_CONTROLLER = "arable_controller_"
_OWN = ("tiers", "scaling", "farms' documents", "failing elements")


@dataclass
class Found:
    """What was measured."""

    farms: int = 0
    machines: int = 0
    hosts: int = 0
    took: float = 0.0  # seconds from the first call until the last element serves
    cpu: float = 0.0  # of the server, meanwhile
    calls: list[float] = field(default_factory=list)  # seconds of each call that applies a farm
    empty: float = 0.0  # CPU seconds of the server per second, with hosts alone
    rest: float = 0.0  # the same with all farms
    own: float = 0.0  # of that in rounds that look after farms
    memory_mb: float = 0.0

    @property
    def rate(self) -> float:
        """Farms a second."""
        return self.farms / self.took

    @property
    def cpu_ms(self) -> float:
        """Of the server, for each farm."""
        return 1000 * self.cpu / self.farms

    @property
    def own_ms(self) -> float:
        """The same without what their machines' heartbeats cost: what rounds took that look after farms."""
        return 1000 * self.own / (self.farms / 1000)

    @property
    def rest_ms(self) -> float:
        """CPU of the server each second for a thousand farms at rest, without what hosts cost by themselves."""
        return 1000 * (self.rest - self.empty) / (self.farms / 1000)


def measured(options: argparse.Namespace) -> Found:
    """All of it."""
    found = Found(options.farms, options.machines, options.hosts)
    with ExitStack() as stack:
        data = Path(tempfile.mkdtemp(prefix="arable-bench-"))
        stack.callback(shutil.rmtree, data)
        url = ""
        if options.database == "postgresql":
            url = stack.enter_context(postgresql.cluster())
        profile = data / "profile.json" if options.profile else None
        served = stack.enter_context(cloud.server(data / "server", url, profile=profile))
        with cloud.operator(served) as operator:
            place = cloud.describe(operator, data, farms=options.farms, hosts=options.hosts)
            keys = crowd(served, operator, options.farms)
        joined = cloud.join(served, place, options.hosts, max(2, options.hosts // 20))
        store = Database(served.database)
        stack.callback(store.close)
        print(f"  {options.hosts} hosts are described", flush=True)
        stack.enter_context(_swarm(served, joined))
        print(f"  {options.hosts} hosts are there", flush=True)
        await_quiet(options.wait)
        found.empty = _share(served, options.quiet)
        with _looked_at(profile):
            _apply(served, store, keys, options, found)
        print(f"  {options.farms} farms, {found.rate:.2f}/s", flush=True)
        if profile is not None:
            print(busiest(rounds(served)).text())
        time.sleep(min(options.quiet / 2, 5.0))  # what was asked for is over
        with _looked_at(profile):
            own = _own(rounds(served))
            found.rest = _share(served, options.quiet)
            found.own = (_own(rounds(served)) - own) / options.quiet
        found.memory_mb = memory(served.pid).rss
    return found


@dataclass(frozen=True, slots=True)
class _Phase:
    """A part of the farms, while they come: it is told how fast, so that a long run can be followed and compared with itself."""

    began: float
    cpu: float
    over: int = 0  # phases before
    serving: int = 0  # elements by then

    def next(self, served: Served, serving: int) -> "_Phase":
        """With so many elements that serve it is over. Says how it went: what is asked for and what comes to serve overlap."""
        now, cpu = time.monotonic(), cpu_seconds(served.pid)
        took = now - self.began
        print(
            f"  {serving} elements serve: {took:.1f} s, {(serving - self.serving) / took:.0f} a second, "
            f"{100 * (cpu - self.cpu) / took:.0f} % of a core, {memory(served.pid).rss:.0f} MB",
            flush=True,
        )
        return _Phase(now, cpu, self.over + 1, serving)


@contextmanager
def _looked_at(profile: Path | None) -> Iterator[None]:
    """Where the server's time goes meanwhile is told, if anybody wants to know."""
    if profile is None:
        yield
        return
    profile.unlink(missing_ok=True)
    profile.with_suffix(".go").touch()
    yield
    profile.with_suffix(".go").unlink()
    while not profile.exists():
        time.sleep(_LOOK)
    time.sleep(_LOOK)
    print(told(msgspec.json.decode(profile.read_bytes(), type=Profile)))


def document(machines: int) -> dict[str, object]:
    """A farm of so many machines."""
    return {
        "name": "shop",
        "networks": [{"name": "web"}],
        "tiers": [{"name": "web", "blueprint": "page", "networks": ["web"], "least": machines}],
        "ways_in": [{"tier": "web", "port": 80}],
    }


BLUEPRINT = {
    "name": "page",
    "image": "tiny",
    "offering": OFFERING,
    "ports": [{"port": 80, "protocol": "http"}],
}


def rounds(served: Served) -> dict[str, dict[str, float]]:
    """What controllers did, as the server counts it."""
    with urllib.request.urlopen(f"{served.ready.api}/metrics") as said:
        lines = said.read().decode().splitlines()
    found: dict[str, dict[str, float]] = {}
    for line in lines:
        name, _, rest = line.partition('_total{controller="')
        if name.startswith(_CONTROLLER) and rest:
            controller, _, value = rest.partition('"} ')
            found.setdefault(controller, {})[name.removeprefix(_CONTROLLER)] = float(value)
    return found


def busiest(found: dict[str, dict[str, float]]) -> Table:
    """Those that took the most time."""
    made = Table("controllers", ("which", "rounds", "handled", "s"))
    for controller, each in sorted(found.items(), key=lambda one: -one[1]["seconds"])[:12]:
        counts = (f"{each[name]:.0f}" for name in ("rounds", "handled"))
        made.add(controller, *counts, f"{each['seconds']:.2f}")
    return made


def _own(found: dict[str, dict[str, float]]) -> float:
    """Seconds that went into farms, whether anything was to be done for them or not."""
    return sum(found.get(name, {}).get("seconds", 0.0) for name in _OWN)


@contextmanager
def _swarm(served: Served, joined: list[Joined]) -> Iterator[None]:
    """All agents are connected."""
    file = served.data / "hosts.json"
    file.write_bytes(msgspec.json.encode(joined))
    argv = [sys.executable, "-m", "bench.scale_swarm", str(file), SOURCE, served.ready.gateway]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        assert started.stdin
        assert started.stdout
        try:
            if [started.stdout.readline() for _ in range(2)] != [b"here\n", b"ready\n"]:
                raise SystemExit("the agents did not come up")
            yield
        finally:
            started.stdin.close()
            started.wait(60)


def _share(served: Served, seconds: float) -> float:
    """CPU seconds of the server a second, while nobody asks for anything."""
    cpu, began = cpu_seconds(served.pid), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds(served.pid) - cpu) / (time.monotonic() - began)


def _apply(
    served: Served, store: Database, keys: list[str], options: argparse.Namespace, found: Found
) -> None:
    """Every customer makes a blueprint and applies a farm; it is waited until all of them serve."""
    waiting = list(keys)
    refused: list[str] = []
    body = json.dumps(document(options.machines))
    name, _, port = served.ready.api.partition("//")[2].rpartition(":")

    def customers() -> None:
        line = http.client.HTTPConnection(name, int(port))
        while waiting:
            try:
                key = waiting.pop()
            except IndexError:  # another one was faster
                break
            _post(line, key, "/v1/blueprints", json.dumps(BLUEPRINT), refused)
            began = time.monotonic()
            _post(line, key, "/v1/farms", body, refused)
            found.calls.append(time.monotonic() - began)
        line.close()

    began, cpu = time.monotonic(), cpu_seconds(served.pid)
    threads = [threading.Thread(target=customers) for _ in range(options.in_flight)]
    for each in threads:
        each.start()
    wanted, most, end = len(keys) * options.machines, 0, time.monotonic() + _STUCK
    phase = _Phase(began, cpu)
    while True:
        with store.read() as tx:
            serving = int(tx.execute(_SERVING).scalar_one())
        if refused:
            raise SystemExit(f"{len(refused)} calls were refused: {refused[0]}")
        if serving >= wanted:
            break
        if serving > most:
            most, end = serving, time.monotonic() + _STUCK
        if time.monotonic() > end:
            raise SystemExit(f"of {wanted} elements, {serving} serve")
        if serving * _PHASES >= wanted * (phase.over + 1):
            phase = phase.next(served, serving)
        if options.within and time.monotonic() - began > options.within:
            if not serving:
                raise SystemExit("none serves yet")
            # Who has not asked yet does not; what was asked for counts as far as it serves.
            print(f"  the time is over: of {wanted} elements, {serving} serve", flush=True)
            waiting.clear()
            found.farms = max(serving // options.machines, 1)
            break
        time.sleep(_LOOK)
    found.took, found.cpu = time.monotonic() - began, cpu_seconds(served.pid) - cpu
    for each in threads:
        each.join()


def _post(
    line: http.client.HTTPConnection, key: str, path: str, body: str, refused: list[str]
) -> None:
    line.request(
        "POST",
        path,
        body,
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    said = line.getresponse()
    answer = said.read()
    if said.status not in (200, 201, 202):
        refused.append(f"{path}: {said.status} {answer.decode()}")
