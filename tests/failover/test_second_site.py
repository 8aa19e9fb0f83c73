"""A site is lost, and the second one takes over; the first one comes back, and nobody listens to it."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from arable.client.arable import Arable
from arable.runtime.clock import RealClock
from arable.wire.accounts import AccountIn
from arable.wire.machines import DeployIn
from e2e.patience import settled, until
from failover.postgres_sites import Postgres, two_sites
from failover.sites import (
    ARABLE,
    ManagementServer,
    agents,
    connected,
    describe,
    free_port,
    hosts,
    operator_key,
    patient,
    running,
    same_authority,
    up,
)
from failover.zone import zone

pytestmark = pytest.mark.real
NAME = "mgmt.example"
CLOCK = RealClock()


@dataclass
class Sites:
    """Each with a PostgreSQL and a management server. Their gateways have the same port."""

    databases: tuple[Postgres, Postgres]
    first: ManagementServer
    second: ManagementServer
    key: str

    def fail_over(self, *more: str, old: bool = True) -> str:
        """As an operator does it at the second site; what it says."""
        argv = [*ARABLE, "failover", "--data", str(self.second.data), "--yes", *more]
        environment = os.environ | {"ARABLE_DATABASE": self.databases[1].url}
        if old:
            environment |= {"ARABLE_OLD_DATABASE": self.databases[0].url}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=240, check=False)  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr + self.second.log[-3000:]
        return done.stdout


@contextmanager
def sites(tmp_path: Path) -> Iterator[Sites]:
    """Both run, and the second one stands by."""
    with ExitStack() as stack:
        databases = stack.enter_context(two_sites())
        gateway = free_port()
        options = ["--name", NAME]
        first = ManagementServer(tmp_path / "first", databases[0].url, "127.0.0.1", [*options, "--site", "a"], gateway_port=gateway)  # fmt: skip
        second = ManagementServer(tmp_path / "second", databases[1].url, "127.0.0.2", [*options, "--site", "b"], gateway_port=gateway)  # fmt: skip
        stack.enter_context(running(first))
        first.await_ready()
        databases[1].follow(databases[0])
        same_authority(second, first.data)
        (second.data / "images").symlink_to(first.data / "images")
        stack.enter_context(running(second))
        settled(second.ready, (503, "standby"))
        yield Sites(databases, first, second, operator_key(first))


def deploy(operator: Arable, name: str, count: int = 1) -> None:
    asked = operator.machines.deploy(DeployIn(name=name, count=count, offering="tiny", image="tiny", zone="z"))  # fmt: skip
    operator.operations.wait(asked.operation, seconds=120)


def machines(operator: Arable) -> dict[str, tuple[str, str]]:
    return {each.name: (each.state, each.host or "") for each in operator.machines.all()}


def acts(below: Path) -> int:
    """How many things agents did to their hosts."""
    lines = (below / "agents.log").read_text().splitlines()
    told = (json.loads(line) for line in lines if '"made so"' in line)
    return sum(each["actions"] for each in told)


def test_hosts_follow_to_the_second_site_and_never_go_back(tmp_path: Path) -> None:
    with ExitStack() as stack:
        both = stack.enter_context(sites(tmp_path))
        names = stack.enter_context(zone(NAME, tmp_path / "zone", "127.0.0.1"))
        before = stack.enter_context(patient(both.first.url, both.key))
        describe(before, tmp_path)
        below = tmp_path / "hosts"
        every = set(hosts(before, below, [f"{NAME}:{both.first.gateway_port}"], 3))
        stack.enter_context(agents(below, names.asked_by()))
        settled(lambda: up(before), every)
        deploy(before, "m", count=6)
        settled(lambda: {state for state, _host in machines(before).values()}, {"running"})
        there = machines(before)
        with both.databases[0].administrator() as asked:
            sent = "select pg_current_wal_lsn() <= replay_lsn from pg_stat_replication"
            until(lambda: asked.execute(sent).fetchone() == (True,), "the replica has all of it")
        done = acts(below)

        both.first.stop(signal.SIGKILL)
        both.databases[0].stop(signal.SIGQUIT)
        said = both.fail_over()
        assert "does not answer" in said
        assert "serving: server-" in said
        settled(both.second.ready, (200, "ready"))
        names.lead_to("127.0.0.2")
        moved = CLOCK.monotonic()
        after = stack.enter_context(patient(both.second.url, both.key))
        settled(lambda: connected(after), every)
        took = CLOCK.monotonic() - moved
        print(f"hosts followed within {took:.1f} s of the name's change")
        assert machines(after) == there
        # Each guest that runs is noted with its new generation, which does nothing to it (tests/e2e has the proof).
        until(lambda: acts(below) == done + len(there), "hosts have heard all")
        deploy(after, "new")
        assert machines(after) == there | {"new": machines(after)["new"]}
        assert done > 0
        started = acts(below)

        # The first site comes back as it was, and names lead there again.
        both.databases[0].start()
        both.first.start()
        both.first.await_ready()
        names.lead_to("127.0.0.1")
        assert both.second.stop() == 0
        until(lambda: both.first.ended() is not None, "the first site's server ends")
        assert both.first.ended() == 1
        assert "this database was given up: incarnation-" in both.first.log
        both.first.start()
        until(lambda: both.first.ended() == 1, "it does not start any more")

        both.second.start()
        both.second.await_ready()
        names.lead_to("127.0.0.1", "127.0.0.2")
        settled(lambda: connected(after), every)
        assert {name: machines(after)[name] for name in there} == there
        assert acts(below) == started, "no host was touched"


def test_nothing_is_lost_when_the_first_site_can_still_be_shut(tmp_path: Path) -> None:
    with sites(tmp_path) as both:
        made: list[str] = []
        stop = threading.Event()

        def write() -> None:
            with patient(both.first.url, both.key) as client:
                while not stop.is_set():
                    try:
                        made.append(client.accounts.create(AccountIn(name=f"a{len(made)}")).id)
                    except Exception:  # noqa: BLE001 - it is shut down under us
                        return

        writer = threading.Thread(target=write)
        writer.start()
        try:
            until(lambda: len(made) > 20, "accounts are made")
            said = both.fail_over()
        finally:
            stop.set()
            writer.join(60)
        assert "the replica has everything" in said
        settled(both.second.ready, (200, "ready"))
        with patient(both.second.url, both.key) as after:
            assert set(made) <= {each.id for each in after.accounts.all()}
        until(lambda: both.first.ended() is not None, "the first site's server ends")
        assert "given up" in both.first.log
        again = subprocess.run([*ARABLE, "failover", "--data", str(both.second.data), "--yes", "--database", both.databases[1].url], capture_output=True, text=True, check=False)  # fmt: skip
        assert again.returncode == 1
        assert "first site's already" in again.stderr


def test_a_database_that_was_promoted_by_hand_is_another_one_too(tmp_path: Path) -> None:
    with sites(tmp_path) as both:
        both.first.stop(signal.SIGKILL)
        both.databases[0].stop(signal.SIGQUIT)
        with both.databases[1].administrator() as asked:
            asked.execute("select pg_promote()")
        both.second.await_ready()
        assert "was promoted or recovered: it is incarnation-" in both.second.log
