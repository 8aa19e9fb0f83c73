"""What faults do to a host of a lab, and that mending brings it back."""

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from lab_traffic import arrivals, frame, listening, reaches, send, wiretap

from arable.domain.errors import Conflict, NotFound
from arable.drivers import namespaces
from arable.lab import devices, fail, living, look
from arable.lab.devices import Service
from arable.lab.living import Process
from arable.lab.look import State
from arable.lab.power import AGENT, Site
from arable.lab.topology import GATEWAY_PORT

pytestmark = pytest.mark.real

SERVER = "172.31.255.10"
# Like real services it has children, and some of them leave home.
FAMILY = "setsid -f sleep 3601; sleep 3602 & exec sleep 3600"


@pytest.fixture
def a1(two_pods: Site) -> Iterator[Site]:
    """A lab whose host a1 runs something that stands in for an agent and its guests."""
    start_stand_in(two_pods)
    yield two_pods
    fail.power_on(two_pods, "a1")
    fail.thaw(two_pods, "a1")
    devices.stop(two_pods.place.namespace("a1"), AGENT)


def start_stand_in(site: Site) -> None:
    service = Service(AGENT, ["sh", "-c", FAMILY], site.place.log("stand-in"))
    devices.start(site.place.id, site.place.namespace("a1"), service)
    until(site, lambda: {"3600", "3601", "3602"} <= set(sleepers(site)))


def until(site: Site, holds, patience: float = 30.0) -> None:
    end = site.clock.monotonic() + patience
    while not holds():
        assert site.clock.monotonic() < end, "waited in vain"
        site.clock.wait(timedelta(milliseconds=5))


def processes(site: Site) -> list[Process]:
    init = site.init("a1")
    return living.family(init) if init else []


def said_of(site: Site, what: str) -> Iterator[str]:
    """A file below /proc of each process on a1; those that end while we look have none."""
    for one in processes(site):
        with suppress(OSError):
            yield Path(f"/proc/{one.pid}", what).read_text()


def sleepers(site: Site) -> list[str]:
    """What the stand-ins on a1 wait for: the last word of their command lines."""
    words = [line.split("\0") for line in said_of(site, "cmdline")]
    return [line[1] for line in words if line[0] == "sleep"]


def states(site: Site) -> set[str]:
    return {stat.rpartition(")")[2].split()[0] for stat in said_of(site, "stat")}


def seen(site: Site) -> look.DeviceSeen:
    return next(device for device in look.lab(site).devices if device.name == "a1")


def test_a_killed_agent_is_gone_and_its_neighbours_are_not(a1: Site) -> None:
    assert seen(a1).agent == "running"
    fail.kill_agent(a1, "a1")
    assert seen(a1).agent == "stopped"
    assert seen(a1).state is State.ON
    assert devices.ended(a1.place.namespace("a1"))[AGENT] == -9
    assert {"3601", "3602"} <= set(sleepers(a1))
    fail.kill_agent(a1, "a1")


def test_a_watcher_is_told_when_a_service_ends(a1: Site) -> None:
    with devices.watch(a1.place.namespace("a1")) as told:
        fail.kill_agent(a1, "a1")
        assert b'"agent"' in told.recv(1000)


def test_a_watcher_is_told_when_the_power_goes(a1: Site) -> None:
    with devices.watch(a1.place.namespace("a1")) as told:
        fail.power_off(a1, "a1")
        with suppress(ConnectionResetError):  # it may go before it has read the question
            assert told.recv(1000) == b""


def test_a_frozen_host_does_nothing_at_all_until_it_is_thawed(a1: Site) -> None:
    count = len(processes(a1))
    assert count >= 6
    for _ in range(2):
        fail.freeze(a1, "a1") if seen(a1).state is State.ON else None
        assert states(a1) == {"T"}
        assert seen(a1).state is State.FROZEN
    with pytest.raises(Conflict, match="frozen"):
        fail.kill_agent(a1, "a1")
    fail.thaw(a1, "a1")
    until(a1, lambda: "T" not in states(a1))
    assert seen(a1).state is State.ON
    assert len(processes(a1)) == count


def test_a_frozen_host_does_not_pass_frames_and_a_thawed_one_does(a1: Site) -> None:
    with listening(a1, "a1", 99):
        fail.freeze(a1, "a1")
        assert not reaches(a1, "a2", "172.30.1.11", 99, patience=1)
        fail.thaw(a1, "a1")
        assert reaches(a1, "a2", "172.30.1.11", 99, patience=30)


@pytest.mark.parametrize("before", ["running", "frozen"])
def test_a_host_without_power_has_nothing_left_but_its_disk(a1: Site, before: str) -> None:
    if before == "frozen":
        fail.freeze(a1, "a1")
    disk = a1.place.device("a1") / "precious"
    disk.write_text("data")
    alive = processes(a1)
    for _ in range(2):
        fail.power_off(a1, "a1")
    assert not [one for one in alive if one.alive]
    assert a1.place.namespace("a1") not in namespaces.names()
    assert seen(a1).state is State.OFF
    assert disk.read_text() == "data"
    for refused in (fail.kill_agent, fail.freeze, fail.thaw, fail.start_agent):
        with pytest.raises(Conflict, match="no power"):
            refused(a1, "a1")


def test_a_host_that_gets_power_again_is_on_all_its_networks(a1: Site) -> None:
    fail.power_off(a1, "a1")
    for _ in range(2):
        fail.power_on(a1, "a1")
    assert seen(a1).state is State.ON
    with listening(a1, "home", GATEWAY_PORT, SERVER):
        assert reaches(a1, "a1", SERVER, GATEWAY_PORT, patience=30)
    with wiretap(a1, "b1", "up0") as far:
        send(a1, "a1", "up0", frame("back", vlan=120))
        assert arrivals(far, "back") == [(120, "back")]
    assert sleepers(a1) == []


def test_a_cable_that_is_cut_stays_cut_when_the_host_gets_power(a1: Site) -> None:
    fail.cut(a1, "a1")
    try:
        fail.power_off(a1, "a1")
        fail.power_on(a1, "a1")
        with listening(a1, "home", GATEWAY_PORT, SERVER):
            assert not reaches(a1, "a1", SERVER, GATEWAY_PORT)
    finally:
        fail.mend(a1, "a1")
    with listening(a1, "home", GATEWAY_PORT, SERVER):
        assert reaches(a1, "a1", SERVER, GATEWAY_PORT, patience=30)


def test_a_host_reaps_what_its_services_leave(a1: Site) -> None:
    init = a1.init("a1")
    assert init
    devices.run(a1.place.id, init, ["sh", "-c", "for i in 1 2 3; do setsid -f true; done"])
    until(a1, lambda: "Z" not in states(a1))


def test_a_host_sees_only_itself(a1: Site) -> None:
    init = a1.init("a1")
    assert init

    def on_it(*argv: str) -> str:
        return devices.run(a1.place.id, init, argv)

    assert on_it("hostname") == "a1\n"
    assert str(os.getpid()) not in on_it("ls", "/proc").split()
    assert set(on_it("ls", "/sys/class/net").split()) >= {"lo", "up0", "mgmt0"}
    assert on_it("ls", "/run/netns") == ""
    assert "up0" in on_it("ovs-vsctl", "list-ports", "br-int").split()


@pytest.mark.parametrize("fault", [fail.cut, fail.mend, fail.freeze, fail.power_off])
def test_a_name_that_is_not_there_is_refused_with_those_that_are(two_pods: Site, fault) -> None:
    with pytest.raises(NotFound, match="a1, a2, b1, b2"):
        fault(two_pods, "c1")
