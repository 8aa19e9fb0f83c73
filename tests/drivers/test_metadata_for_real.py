"""The metadata service among real frames: who asks at a port reads what is theirs, and nobody else reads anything."""

# ruff: noqa: F811 - fixtures are used by their names

import http.client
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from arable.domain.inside import GuestAnswer, GuestAsk
from arable.domain.manifest import Seed
from arable.drivers import namespaces
from drivers import make_drivers as make
from drivers.emulated_hosts import is_alive, route, run
from drivers.test_namespace_appliance import hosts, town, world  # noqa: F401 - fixtures
from drivers.town import PUBLIC

pytestmark = pytest.mark.real


def fetch(netns: str, path: str, method: str = "GET", body: str | None = None) -> str:
    """What the metadata service says to who is in there: status and text, or nothing when it does not answer."""

    def act() -> str:
        line = http.client.HTTPConnection("169.254.169.254", timeout=10 if body else 2)
        try:
            line.request(method, path, body)
            told = line.getresponse()
            return f"{told.status} {told.read().decode()}"
        except OSError:
            return ""
        finally:
            line.close()

    return namespaces.inside(netns, act)


def test_each_machine_reads_its_own_data_and_nobody_else_reads_any(town, world) -> None:
    one, other, bare = town.guest(10), town.guest(11), town.guest(12)
    for at, lease in enumerate(town.leases[:2]):
        told = Seed(meta_data=f"instance-id: m-{at}\n", user_data=f"secret of {at}")
        town.leases[at] = replace(lease, seed=told)
    town.program()
    assert town.routers.appliances()[town.wish.network].running
    assert fetch(one, "/latest/user-data") == "200 secret of 0"
    assert fetch(other, "/latest/user-data") == "200 secret of 1"
    assert fetch(one, "/nocloud/meta-data") == "200 instance-id: m-0\n"
    assert fetch(bare, "/latest/user-data").startswith("404")
    forged = ["ip", "addr", "add", "10.1.1.10/24", "dev", "eth0"]
    run(other, forged)
    run(other, ["ip", "route", "replace", "default", "via", "10.1.1.1", "src", "10.1.1.10"])
    assert fetch(other, "/latest/user-data") == ""  # its port lets no other address out
    route(world, PUBLIC)
    assert fetch(world, "/latest/user-data") == ""
    # It is nobody, and in no network.
    pid = town.routers._metadata.pid()
    status = Path(f"/proc/{pid}/status").read_text()
    assert "Uid:\t65534\t65534\t65534\t65534" in status
    assert "CapPrm:\t0000000000000000" in status
    assert Path(f"/proc/{pid}/net/dev").read_text().count(":") == 1


def test_data_that_changed_is_told_and_a_service_that_died_is_started_again(town) -> None:
    guest = town.guest(10)

    def told(text: str) -> None:
        seed = Seed(meta_data="instance-id: a\n", user_data=text)
        town.leases[0] = replace(town.leases[0], seed=seed)
        town.program()

    told("first")
    assert fetch(guest, "/latest/user-data") == "200 first"
    pid = town.routers._metadata.pid()
    told("second")
    assert fetch(guest, "/latest/user-data") == "200 second"
    assert town.routers._metadata.pid() == pid
    os.kill(pid, signal.SIGKILL)
    make.wait_until(lambda: not is_alive(pid), "the service to be gone")
    seen = town.routers.appliances()[town.wish.network]
    assert (seen.running, seen.told) == (False, "its metadata service does not run")
    town.program()
    assert town.routers.appliances()[town.wish.network].running
    assert fetch(guest, "/latest/user-data") == "200 second"
    pid = town.routers._metadata.pid()
    town.routers.remove(town.wish.network)
    make.wait_until(lambda: not is_alive(pid), "the service to end with the last network")


def test_a_machine_s_calls_are_handed_on_as_its_own_also_after_the_service_or_the_agent_died(
    town,
) -> None:
    guest = town.guest(10)
    town.leases[0] = replace(town.leases[0], seed=Seed(meta_data="instance-id: a\n", user_data=""))
    heard: list[GuestAsk] = []

    def answer(ask: GuestAsk) -> GuestAnswer:
        heard.append(ask)
        return GuestAnswer(status=202, body='{"count": 2}')

    def asks() -> str:
        return fetch(guest, "/arable/v1/self/tier", "POST", '{"more": 1}')

    town.program()
    assert asks().startswith("503 ")
    town.routers.relay(answer)
    town.routers.appliances()  # as the agent looks with each step
    assert asks() == '202 {"count": 2}'
    assert fetch(guest, "/arable/v1/users").startswith("404 ")
    os.kill(town.routers._metadata.pid(), signal.SIGKILL)
    town.program()
    assert asks() == '202 {"count": 2}'
    town.routers._metadata._asking.close()  # an agent that dies closes its end
    assert asks().startswith("503 ")
    town.routers.appliances()
    assert asks() == '202 {"count": 2}'
    place = (town.wish.network, "10.1.1.10", "/v1/self/tier", '{"more": 1}')
    assert [(ask.network, ask.asker, ask.path, ask.body) for ask in heard] == [place] * 3
