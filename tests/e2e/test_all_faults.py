"""The whole story of a cloud's worst minute: whatever becomes of its servers and database, what was accepted runs once.

A lab with three management servers on a PostgreSQL, each with a cable of its own, so that a partition is a real one: it
cuts a server off from its peers, its agents and its database, and nobody hangs up on anybody. Eight customers' programs
ask for two hundred machines meanwhile, some more than they may have. At the end the store is compared with what the
hosts themselves have, past their agents.
"""

import json
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from arable.client.arable import Arable
from arable.client.errors import Refused
from arable.domain.segment import Mastership
from arable.lab import fail, power
from arable.lab.living import Process
from arable.lab.plan import Kind
from arable.lab.power import Site
from arable.processes import children, up
from arable.processes.up import Cloud, Wanted
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy
from arable.sim import invariants
from arable.store import elections, segments
from arable.store.database import Database
from arable.wire.accounts import AccountIn, FirstUserIn, LimitsChange
from arable.wire.machines import DeployIn
from arable.wire.users import KeyIn
from e2e import telling_agent
from e2e.insisting import Insisting
from e2e.killable_postgresql import KillablePostgresql, killable_postgresql
from e2e.patience import settled, until

pytestmark = pytest.mark.real

HERE = Path(__file__).parent
CUSTOMERS, MAY_HAVE = 8, 23
EACH = 5  # that a customer asks for around each fault: two before it, two when it happens, one while it lasts


@dataclass
class Story:
    """A cloud, and our own eyes on its database."""

    made: Cloud
    site: Site
    postgresql: KillablePostgresql
    database: Database
    servers: dict[str, str]  # a server's own name: what the lab calls it

    @property
    def urls(self) -> list[str]:
        return [self.made.ready[name].api for name in self.servers.values()]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.database.read() as tx:
            return [tuple(row) for row in tx.execute(text(query))]

    def mastership(self) -> Mastership:
        with self.database.read() as tx:
            return elections.mastership(tx)

    def master(self) -> tuple[str, int]:
        """What the lab calls it, and its epoch."""
        now = self.mastership()
        return self.servers[now.holder], now.epoch

    def elected(self, after: int) -> str:
        """Who was, when somebody was."""
        until(lambda: self.mastership().epoch > after, f"somebody is elected after {after}")
        return self.master()[0]

    def whole(self) -> None:
        """All servers are members again, those first that were started anew."""
        for name in self.servers.values():
            process = self.site.place.read().servers[name].process
            assert process
            log = self.site.place.log(f"server-{name}")
            data = self.made.wanted.data / name
            children.await_ready(data, process.pid, partial(_lives, process), log, self.site.clock)

        def states() -> list[str]:
            with self.database.read() as tx:
                return [each.state.value for each in segments.members(tx)]

        settled(states, ["ready"] * len(self.servers))


def _lives(process: Process) -> bool:
    return process.alive


@dataclass
class Programs:
    """Customers' programs. Each asks in its own time, but for nothing beyond the gate that it is at."""

    story: Story
    tokens: list[str]
    rounds: int
    accepted: set[tuple[int, str]] = field(default_factory=set)
    refused: set[tuple[int, str]] = field(default_factory=set)
    answered: Counter[int] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _gates: list[threading.Event] = field(default_factory=list)

    def begin(self, pool: ThreadPoolExecutor) -> list[Future[None]]:
        self._gates = [threading.Event() for _ in range(EACH * self.rounds)]
        return [pool.submit(self._work, number) for number in range(len(self.tokens))]

    def let(self, *gates: int) -> None:
        for gate in gates:
            self._gates[gate].set()

    def all_answered(self, gate: int) -> None:
        until(
            lambda: self.answered[gate] == len(self.tokens), f"what was asked at {gate} is answered"
        )

    def _work(self, number: int) -> None:
        program = Insisting(self.story.urls, self.tokens[number], begins=number)
        for at, gate in enumerate(self._gates):
            assert gate.wait(300)
            name = f"m{at}"
            ask = DeployIn(name=name, image="tiny", offering="tiny")
            try:
                program.ask(partial(_deploy, ask=ask, key=f"{number}-{name}"))
            except Refused as error:
                if error.status != 409 or "limit" not in str(error):
                    raise
                kept = self.refused
            else:
                kept = self.accepted
            with self._lock:
                kept.add((number, name))
                self.answered[at] += 1


def _deploy(client: Arable, ask: DeployIn, key: str) -> str:
    return client.machines.deploy(ask, idempotency_key=key).operation


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Story]:
    program = (power.PROGRAM[0], telling_agent.__file__)
    monkeypatch.setattr(power, "PROGRAM", program)
    topology = up.topology_of(HERE / "three-servers.yaml")
    (region,) = topology.regions
    with ExitStack() as stack:
        postgresql = stack.enter_context(killable_postgresql(str(region.hub), region.name))
        wanted = Wanted(
            data=tmp_path, topology=topology, api="127.0.0.1:0", database=postgresql.url
        )
        made = stack.enter_context(
            up.cloud(wanted, RealClock(), lambda _line: None, postgresql.begin)
        )
        assert made.site
        database = Database(postgresql.own_url)
        stack.callback(database.close)
        names = {
            (tmp_path / s.name / "name").read_text().strip(): s.name for s in region.management
        }
        told = Story(made, made.site, postgresql, database, names)
        told.whole()
        yield told


def customers(story: Story) -> list[str]:
    """Their keys."""
    found = []
    with story.made.operator() as operator:
        for number in range(CUSTOMERS):
            name, password = f"customer-{number}", Entropy.system().secret(24)
            user = FirstUserIn(name=name, password=password)
            limits = LimitsChange(machines=MAY_HAVE)
            operator.accounts.create(AccountIn(name=name, user=user, limits=limits))
            with Arable(story.made.url) as visitor:
                visitor.sign_in(name, password)
                key = visitor.keys.create(KeyIn(name="e2e")).secret
            assert key
            found.append(key)
    return found


# Each fault: what happens, what has to be true while it lasts, how it is mended.


def master_killed(story: Story) -> Callable[[], None]:
    master, epoch = story.master()
    fail.kill_server(story.site, master)
    assert story.elected(epoch) != master
    return lambda: fail.start_server(story.site, master)


def master_frozen(story: Story) -> Callable[[], None]:
    master, epoch = story.master()
    fail.freeze(story.site, master)
    assert story.elected(epoch) != master
    return lambda: fail.thaw(story.site, master)


def master_cut_off(story: Story) -> Callable[[], None]:
    master, epoch = story.master()
    fail.cut(story.site, master)
    assert story.elected(epoch) != master
    return lambda: fail.mend(story.site, master)


def two_killed(story: Story) -> Callable[[], None]:
    master, epoch = story.master()
    other = next(name for name in story.servers.values() if name != master)
    for name in (master, other):
        fail.kill_server(story.site, name)
    assert story.elected(epoch) not in (master, other)

    def mend() -> None:
        for name in (master, other):
            fail.start_server(story.site, name)

    return mend


def database_killed(story: Story) -> Callable[[], None]:
    story.postgresql.kill()
    return story.postgresql.start


FAULTS: Sequence[Callable[[Story], Callable[[], None]]] = (
    master_killed,
    master_frozen,
    master_cut_off,
    two_killed,
    database_killed,
)


def test_nothing_is_lost_doubled_or_stuck_whatever_becomes_of_servers_and_database(
    story: Story,
) -> None:
    programs = Programs(story, customers(story), len(FAULTS))
    with ThreadPoolExecutor(CUSTOMERS) as pool:
        working = programs.begin(pool)
        for at, fault in enumerate(FAULTS):
            first = at * EACH
            programs.let(first, first + 1)
            programs.all_answered(first)
            programs.let(first + 2, first + 3)
            mend = fault(story)
            programs.let(first + 4)
            mend()
            story.database.engine.dispose()
            story.whole()
        for each in working:
            each.result(300)
    assert len(programs.accepted) == CUSTOMERS * MAY_HAVE
    assert len(programs.refused) == CUSTOMERS * (EACH * len(FAULTS) - MAY_HAVE)
    settled(
        lambda: story.rows("select id, kind, target from operation where state = 'running'"), []
    )
    check(story, programs)


def check(story: Story, programs: Programs) -> None:
    """The store says what was answered, agrees with itself, and the hosts have what it says; nothing else is there."""
    states = Counter(state for (state,) in story.rows("select state from operation"))
    assert set(states) == {"done"}, states
    there = {
        (int(account.removeprefix("customer-")), name)
        for account, name in story.rows(
            "select a.name, m.name from machine m join account a on a.id = m.account"
            " where m.state = 'running'"
        )
    }
    assert there == programs.accepted
    assert story.rows("select count(*) from machine") == [(len(programs.accepted),)]
    assert story.rows("select count(*) from nic") == [(len(programs.accepted),)]
    assert story.rows("select count(*) from volume") == [(len(programs.accepted),)]
    assert story.rows("select farm from farm_trouble") == []
    with story.database.read() as tx:
        invariants.always(tx, {})
    wanted = believed(story)
    settled(lambda: {host: true(story, host) for host in wanted}, wanted, 60)


def believed(story: Story) -> dict[str, dict[str, object]]:
    """What hosts should have, by the store; each machine was started once."""
    made: dict[str, dict[str, Any]] = {
        name: {
            "runs": {},
            "defined": [],
            "ports": {},
            "volumes": [],
            "routers": [],
            "mishaps": [],
        }
        for (name,) in story.rows("select name from host")
    }
    for host, machine in story.rows(
        "select h.name, m.id from machine m join host h on h.id = m.host order by m.id"
    ):
        made[host]["runs"][machine] = 1
        made[host]["defined"].append(machine)
    for host, nic, vlan in story.rows(
        "select h.name, n.id, w.vlan from nic n join machine m on m.id = n.machine"
        " join host h on h.id = m.host join network w on w.id = n.network"
    ):
        made[host]["ports"][nic] = vlan
    for host, volume in story.rows(
        "select h.name, v.id from volume v join pool p on p.id = v.pool"
        " join host h on h.id = p.host order by v.id"
    ):
        made[host]["volumes"].append(volume)
    for host, network in story.rows(
        "select h.name, n.id from network n join host h on h.id = n.appliance_host order by n.id"
    ):
        made[host]["routers"].append(network)
    return made


def true(story: Story, host: str) -> dict[str, object]:
    """What a host has, as its hardware says."""
    assert host in {device.name for device in story.site.plan.of(Kind.HOST)}
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(power.agent_disk(story.site.place, host) / telling_agent.SOCKET))
        told = b"".join(iter(lambda: line.recv(1 << 16), b""))
    found: dict[str, object] = json.loads(told)
    return found
