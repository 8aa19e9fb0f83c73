"""The management server is killed in the middle of fifty deployments, and of as many farewells: all end right."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from arable.client.arable import Arable
from arable.client.errors import Unreachable
from arable.runtime.clock import RealClock
from arable.wire.machines import DeployIn, DestroyIn, MachineOut
from e2e.customers import DEPLOYED_WITHIN, Customer, customer
from e2e.patience import settled
from e2e.simulated_hosts import SimulatedCloud, simulated_cloud

pytestmark = pytest.mark.real

LAB = Path(__file__).parents[2] / "examples" / "lab.yaml"
EACH = 25
KILLED_AFTER = (10, 35)  # answers
PATIENCE = 120.0
CLOCK = RealClock()
Answer = TypeVar("Answer")


@pytest.fixture
def sims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedCloud]:
    with simulated_cloud(tmp_path, LAB, monkeypatch) as made:
        yield made


@pytest.fixture
def customers(sims: SimulatedCloud) -> Iterator[list[Customer]]:
    with ExitStack() as stack:
        made = [customer(sims.operator, sims.url, name) for name in ("red", "blue")]
        for one in made:
            stack.callback(one.close)
        yield made


def insist(who: Customer, ask: Callable[[Arable], Answer]) -> Answer:
    """Ask until somebody answers, as a program does that was told an idempotency key."""
    end = CLOCK.monotonic() + PATIENCE
    with Arable(who.url, who.token) as client:
        while True:
            try:
                return ask(client)
            except Unreachable:
                assert CLOCK.monotonic() < end, "nobody answers"
                CLOCK.wait(timedelta(milliseconds=20))


def deploy(who: Customer, number: int) -> str:
    ask = DeployIn(name=f"m{number}", image="tiny", offering="tiny")
    key = f"{who.name}-{number}"
    return insist(who, lambda client: client.machines.deploy(ask, idempotency_key=key).operation)


def destroy(who: Customer, machine: MachineOut) -> str:
    ask = DestroyIn(force=True, expunge=True)
    key = f"{who.name}-{machine.name}-goes"
    return insist(
        who, lambda client: client.machines.destroy(machine.id, ask, idempotency_key=key).id
    )


def ends(who: Customer, operation: str) -> str:
    """How it ended."""
    return insist(who, lambda c: c.operations.wait(operation, seconds=DEPLOYED_WITHIN).state)


class Murder:
    """The server is killed as soon as certain answers were given, while seven others wait for theirs."""

    def __init__(self, sims: SimulatedCloud) -> None:
        self._sims = sims
        self._counting = threading.Lock()
        self._answers = 0
        self._due = threading.Semaphore(0)

    def after(self, ask: Callable[..., str], *about: object) -> str:
        """What `ask` says; it counts as an answer."""
        operation = ask(*about)
        with self._counting:
            self._answers += 1
            if self._answers in KILLED_AFTER:
                self._due.release()
        return operation

    def commit(self) -> None:
        """By this thread: the kernel ends a server whose starter has ended."""
        for _ in KILLED_AFTER:
            assert self._due.acquire(timeout=PATIENCE), "nobody answers"
            self._sims.kill_server()
            self._sims.start_server()


def test_fifty_deployments_end_right_whenever_the_server_is_killed(
    sims: SimulatedCloud, customers: list[Customer]
) -> None:
    owners = customers * EACH
    numbers = [number for number in range(EACH) for _ in customers]
    with ThreadPoolExecutor(8) as pool:
        murder = Murder(sims)
        answers = pool.map(partial(murder.after, deploy), owners, numbers)
        murder.commit()
        operations = list(answers)
        assert list(pool.map(ends, owners, operations)) == ["done"] * (2 * EACH)
    assert len(set(operations)) == 2 * EACH
    assert sims.killed == len(KILLED_AFTER)
    nothing_twice_and_nothing_lost(sims, customers)
    farewells = [(who, m) for who in customers for m in who.machines().values()]
    owners = [who for who, _ in farewells]
    with ThreadPoolExecutor(8) as pool:
        murder = Murder(sims)
        machines = [machine for _, machine in farewells]
        answers = pool.map(partial(murder.after, destroy), owners, machines)
        murder.commit()
        operations = list(answers)
        assert list(pool.map(ends, owners, operations)) == ["done"] * (2 * EACH)
    nothing_left_over(sims, customers)


def nothing_twice_and_nothing_lost(sims: SimulatedCloud, customers: list[Customer]) -> None:
    machines = list(sims.operator.machines.all())
    for who in customers:
        assert sorted(who.machines()) == sorted(f"m{n}" for n in range(EACH))
    assert Counter(m.state for m in machines) == {"running": 2 * EACH}
    ids = Counter(m.id for m in machines)
    vlans = {network.id: network.vlan for network in sims.operator.networks.all()}
    assert len(set(vlans.values())) == len(vlans) == len(customers)
    assert sims.guests() == ids
    assert sims.starts() == ids  # each was started once
    assert sims.taps() == Counter((n.id, vlans[n.network]) for m in machines for n in m.nics)
    assert sims.volumes() == Counter(v.id for v in sims.operator.volumes.all())
    addresses = Counter((n.network, n.address) for m in machines for n in m.nics)
    assert set(addresses.values()) == {1}
    hosts = {host.id: host for host in sims.operator.hosts.all()}
    for id_, host in hosts.items():
        here = [m for m in machines if m.host == id_]
        assert {str(m) for m in sims.hardware[host.name].guests} == {m.id for m in here}
        assert host.memory_mib.reserved == sum(m.memory_mib for m in here)
    assert sims.mishaps() == []


def nothing_left_over(sims: SimulatedCloud, customers: list[Customer]) -> None:
    settled(sims.guests, Counter())
    settled(sims.taps, Counter())
    settled(sims.volumes, Counter())
    assert list(sims.operator.machines.all()) == []
    assert list(sims.operator.volumes.all()) == []
    assert {host.memory_mib.reserved for host in sims.operator.hosts.all()} == {0}
    for who in customers:
        limits = who.api.limits.get(who.account)
        assert {limits.machines.used, limits.cpus.used, limits.volumes.used} == {0}
    assert sims.mishaps() == []
