"""Two hosts, one of them with the router of a town, and somebody in the world outside: for all who test routers."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from arable.drivers import namespaces
from arable.drivers.appliance.namespace import (
    NamespaceAppliances,
)
from arable.drivers.network.links import Links
from arable.runtime.clock import RealClock
from drivers.emulated_hosts import (
    Host,
    cabled_hosts,
    configure,
    move,
    namespace,
)
from drivers.town import Town

WORLD = "203.0.113.200"


def runtime(host: Host, folder: Path) -> NamespaceAppliances:
    return NamespaceAppliances(folder / "appliances", host.network, RealClock(), netns=host.netns)


def dnsmasq_of(appliances: NamespaceAppliances, network) -> int:
    pid = appliances._dnsmasq(network).pid()
    assert pid, "dnsmasq does not run"
    return pid


@pytest.fixture(scope="module")
def hosts(tmp_path_factory) -> Iterator[list[Host]]:
    with cabled_hosts(tmp_path_factory.mktemp("t")) as both:
        yield both


@pytest.fixture(scope="module")
def world(hosts) -> Iterator[str]:
    """Somebody on the public VLAN, plugged into the first host's switch by the operator."""
    with namespace("world") as name:
        here = hosts[0]
        Links(here.netns).make_veth("world0", "world1")
        move(here.netns, "world1", name, "eth0")
        here.daemon.plug_access("br-int", "world0", 50)
        Links(here.netns).raise_up("world0")
        configure(name, "eth0", WORLD)
        here.network.prepare()
        yield name


@pytest.fixture
def town(hosts, world, tmp_path) -> Iterator[Town]:
    routers = runtime(hosts[1], tmp_path)
    with ExitStack() as stack:
        made = Town(hosts[0], routers, tmp_path, stack)
        made.other = hosts[1]
        stack.callback(routers.remove, made.wish.network)
        yield made
    assert not namespaces.names(routers._prefix)
