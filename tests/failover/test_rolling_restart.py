"""All management servers are restarted, one after the other, behind the load balancer that we ship: nobody notices."""

import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest

from arable.client.arable import Arable
from arable.wire.accounts import AccountIn, AccountQuery
from arable.wire.control import ServerChoice
from e2e.patience import settled, until
from failover.sites import (
    ManagementServer,
    agents,
    backends,
    certificate,
    describe,
    free_port,
    haproxy,
    hosts,
    operator_key,
    patient,
    running,
    same_authority,
    up,
)
from postgres_cluster import cluster

pytestmark = pytest.mark.real
SHIPPED = Path(__file__).parents[2] / "examples/haproxy/arable.cfg"
CALLERS = 4


class Callers:
    """Customers' programs: each makes something, looks at it, lists; and remembers what went wrong."""

    def __init__(self, url: str, key: str, trust: Path) -> None:
        self.made: Counter[str] = Counter()
        self.calls = 0
        self.wrong: list[str] = []
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(url, key, trust, number))
            for number in range(CALLERS)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(60)

    def _work(self, url: str, key: str, trust: Path, number: int) -> None:
        with patient(url, key, trust) as client:
            at = 0
            while not self._ended.is_set():
                at += 1
                name = f"caller-{number}-{at}"
                try:
                    made = client.accounts.create(AccountIn(name=name))
                    assert client.accounts.get(made.id).name == name
                    client.accounts.page(AccountQuery(limit=10))
                except Exception as error:  # noqa: BLE001 - that is what is asked
                    self.wrong.append(f"{name}: {type(error).__name__}: {error}")
                else:
                    self.made[name] += 1
                    self.calls += 3


def drained(operator: Arable, server: ManagementServer, control: Path) -> None:
    """As an operator does it before a restart: others have its work, its agents and its callers."""
    name = (server.data / "name").read_text().strip()
    assert operator.control.drain(ServerChoice(server=name)).state == "draining"

    def empty() -> bool:
        found = operator.control.status()
        mine = next(each for each in found.servers if each.name == name)
        return found.master.acting and not (mine.master or mine.farms or mine.agents)

    until(empty, f"{name} is empty")
    until(lambda: server.ready() == (503, "draining"), f"{name} says so")
    backend = server.data.name
    until(lambda: backends(control)["api", backend] != "UP", "haproxy has heard it")
    until(lambda: backends(control)["gateway", backend] != "UP", "haproxy has heard it")


def test_no_call_fails_while_every_server_is_restarted(tmp_path: Path) -> None:
    chain, key, trust = certificate(tmp_path, ["127.0.0.1"])
    options = ["--certificate", str(chain), "--key", str(key), "--drain-seconds", "3"]
    front, gateway = free_port(), free_port()
    with ExitStack() as stack:
        database = stack.enter_context(cluster())
        database.run("create database arable")
        servers = [
            ManagementServer(tmp_path / name, database.url("arable"), options=options, tls=True)
            for name in ("mgmt1", "mgmt2", "mgmt3")
        ]
        for server in servers:
            if server is not servers[0]:
                same_authority(server, servers[0].data)
                (server.data / "images").symlink_to(servers[0].data / "images")
            stack.enter_context(running(server))
            server.await_ready()
        both = tmp_path / "front.pem"
        both.write_text(chain.read_text() + key.read_text())
        changed = {
            "bind :443 ": f"bind 127.0.0.1:{front} ",
            "bind :8443\n": f"bind 127.0.0.1:{gateway}\n",
            "/etc/haproxy/arable.pem": str(both),
            "/etc/haproxy/internal-ca.pem": str(trust),
        }
        for server in servers:
            name = f"{server.data.name}.example.org"
            checked = f"{name}:8443 check port 8480 "
            changed[checked] = f"127.0.0.1:{server.gateway_port} check port {server.api_port} "
            changed[f"{name}:8480 "] = f"127.0.0.1:{server.api_port} "
        control = stack.enter_context(haproxy(SHIPPED, tmp_path, changed))

        def all_up() -> bool:
            return set(backends(control).values()) == {"UP"}

        until(all_up, "haproxy sees all servers")
        url = f"https://127.0.0.1:{front}"
        token = operator_key(servers[0], str(trust))
        operator = stack.enter_context(patient(url, token, trust))
        describe(operator, tmp_path)
        below = tmp_path / "hosts"
        names = set(hosts(operator, below, [f"127.0.0.1:{gateway}"], 3))
        stack.enter_context(agents(below))
        settled(lambda: up(operator), names)
        with Callers(url, token, trust) as callers:
            for server in servers:
                until(all_up, "haproxy sees all servers")
                before = callers.calls
                drained(operator, server, control)
                assert callers.calls > before, "they went on meanwhile"
                assert server.stop() == 0, server.log[-3000:]
                server.start()
                server.await_ready()
                until(lambda before=before: callers.calls > before + 30, "callers go on")
            until(all_up, "haproxy sees all servers")
        assert callers.wrong == []
        assert callers.calls > 100
        listed = Counter(each.name for each in operator.accounts.all())
        assert {name: listed[name] for name in callers.made} == dict(callers.made)
        settled(lambda: up(operator), names)


def test_a_server_that_leaves_says_so_first_and_goes_on_meanwhile(tmp_path: Path) -> None:
    server = ManagementServer(tmp_path / "one", "", options=["--drain-seconds", "30"])
    with running(server):
        server.await_ready()
        with patient(server.url, operator_key(server)) as operator:
            assert server.process is not None
            server.process.terminate()
            settled(server.ready, (503, "draining"))
            assert operator.accounts.create(AccountIn(name="late")).name == "late"
            assert server.ended() is None
        assert server.stop() == 0, "told once more, it does not wait any longer"
