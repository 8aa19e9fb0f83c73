"""The host of the router that leads loses power: pings and a connection through a port forward go on by the other router."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from arable.lab import fail
from arable.processes import up
from arable.processes.up import Wanted
from arable.runtime.clock import RealClock
from arable.wire.networks import NetworkChange
from arable.wire.rules import ForwardIn
from drivers import services
from e2e.conftest import OF_THIS_DIRECTORY, lab_cloud
from e2e.customers import READY, Customer, customer
from e2e.lab_cloud import LabCloud
from e2e.patience import until

pytestmark = pytest.mark.real
PORT, WITHIN = 7000, 240.0


@pytest.fixture
def paired(tmp_path: Path) -> Iterator[LabCloud]:
    OF_THIS_DIRECTORY.close()  # two labs at once would be slow
    topology = up.topology_of(Path(__file__).with_name("two-routers.yaml"))
    wanted = Wanted(data=tmp_path / "cloud", topology=topology, api="127.0.0.1:0")
    with lab_cloud(wanted) as made:
        yield made


class Pinger:
    """Asks a machine for an echo again and again, from the world outside, and keeps how long nobody answered."""

    def __init__(self, netns: str, port: int, address: str) -> None:
        self._netns, self._port, self._address = netns, port, address
        self.longest, self._over = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)

    def _ask(self) -> None:
        clock = RealClock()
        with services.call(self._netns, self._address, self._port, 60) as talk:
            while not self._over.is_set():
                begun = clock.monotonic()
                assert services.says_back(talk, b"ping")
                self.longest = max(self.longest, clock.monotonic() - begun)


def _leads(cloud: LabCloud, red: Customer) -> tuple[str, str]:
    """The names of the hosts of its network's routers, the one that leads first; empty: none."""
    hosts = cloud.hosts()
    seen = cloud.operator.networks.get(red.network().id)
    one, other = seen.appliance_host, seen.standby_host
    both = seen.appliance == seen.standby == "running"
    return (hosts.get(one or "", ""), hosts.get(other or "", "") if both else "")


def test_connections_go_on_when_the_router_that_leads_is_lost(paired: LabCloud) -> None:
    red = customer(paired.operator, paired.url, "red")
    red.wait(red.deploy("web"))
    red.api.networks.update(red.network().id, NetworkChange(redundant=True))
    at = red.at("web")
    at.run(READY)
    at.run(f"nc -ll -p {PORT} -e cat >/dev/null 2>&1 </dev/null & sleep 0")
    public = next(one for one in red.api.addresses.all() if one.source_nat)
    ask = ForwardIn(address=public.id, first_port=PORT, machine=red.machine("web").id, open=True)
    red.wait(red.api.rules.forward(ask).operation)
    until(lambda: all(_leads(paired, red)), "both routers run", WITHIN)
    lost, other = _leads(paired, red)
    outside = paired.netns("internet")
    router = red.network().gateway
    until(lambda: "bytes from" in at.run(f"ping -c 1 {router}; true"), "its router answers")
    clock = RealClock()
    with Pinger(outside, PORT, public.address) as pinger:
        until(lambda: pinger.longest > 0, "the connection is used")
        until(lambda: services.answers(outside, public.address, PORT), "others come in, too")
        begun = clock.monotonic()
        fail.power_off(paired.site, lost)
        until(lambda: services.answers(outside, public.address, PORT), "it is called again", 60)
        back = clock.monotonic() - begun
        until(lambda: pinger.longest > 0.5, "the connection goes on", 60)
    print(
        f"the connection stood still for {pinger.longest:.2f} s, a new one was there after {back:.2f} s"
    )
    assert "bytes from" in at.run(f"ping -c 1 {router}; true")
    until(lambda: _leads(paired, red)[0] == other, "it is known who leads", WITHIN)
    red.close()
