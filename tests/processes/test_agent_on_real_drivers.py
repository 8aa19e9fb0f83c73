"""The agent as a process over everything that is real: libvirt, Open vSwitch, routers in namespaces, files on disk.

The laboratory's tests show that machines reach each other; this shows that the parts fit together when a
configuration chooses them, and that an agent which dies and comes back disturbs none of what it finds.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent import edge
from agent import make_agent as make
from arable.agent.config import AgentConfig, Given, Libvirt, Local, Namespace, Ovs, written
from arable.domain.manifest import GuestState
from arable.drivers import namespaces
from arable.drivers.hypervisor.daemon import LibvirtDaemon
from arable.runtime.clock import RealClock
from arable.wire.agent import Report
from drivers.emulated_hosts import Host, cabled_hosts
from drivers.make_drivers import fresh
from guest_images import CACHE

pytestmark = pytest.mark.real

RUN = (
    "import sys, pathlib, logging; logging.basicConfig(level='INFO');"
    "from arable.processes.agent import run; run(pathlib.Path(sys.argv[1]))"
)


@pytest.fixture
def host(tmp_path) -> Iterator[Host]:
    with cabled_hosts(tmp_path / "switch", count=1) as (made,):
        yield made


@pytest.fixture
def libvirtd(tmp_path_factory, host) -> Iterator[LibvirtDaemon]:
    daemon = LibvirtDaemon(
        tmp_path_factory.mktemp("lv"),
        RealClock(),
        host.netns,
        capabilities=CACHE.parent / "capabilities",
    )
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.stop()


@contextmanager
def started(path: Path, log: Path) -> Iterator[subprocess.Popen]:
    with log.open("ab") as said:
        child = subprocess.Popen(
            [sys.executable, "-c", RUN, str(path)], stderr=said, stdin=subprocess.DEVNULL
        )
    try:
        yield child
    finally:
        child.kill()
        child.wait()


async def hears_until(visit, condition) -> None:
    """Reports, until they have said all that."""
    guests: dict[str, str] = {}
    routers: dict[str, bool] = {}
    scrapped: set[str] = set()
    async with asyncio.timeout(180):
        while not condition(guests, routers, scrapped):
            report = (await visit.hears(Report)).report
            guests |= {seen.machine: seen.state for seen in report.guests}
            routers |= {seen.network: seen.running for seen in report.appliances}
            scrapped |= set(report.scrapped)
            for gone in report.gone:
                guests.pop(gone, None)
            for gone in report.appliances_gone:
                routers.pop(gone, None)


def test_an_agent_moves_a_real_host_and_its_death_moves_nothing(
    tmp_path, tmp_path_factory, host, libvirtd
) -> None:
    authority = edge.authority(tmp_path / "authority")
    directory = tmp_path_factory.mktemp("ag")
    edge.identity(authority, directory)
    tls = edge.server_tls(authority, tmp_path / "server")
    prefix = f"art-{fresh('nic')[-8:]}-"
    name = fresh("machine").removeprefix("machine-")
    wish = make.guest(
        name,
        memory_mib=64,
        disks=(make.disk(name, source=None),),
        ports=(make.port(name),),
    )
    router = make.appliance(name)

    async def story() -> None:
        async with edge.serving(tls) as server:
            path = tmp_path / "agent.yaml"
            config = AgentConfig(
                directory=directory,
                servers=[server.address],
                name="rack-1",
                roles=["compute", "routing"],
                hypervisor=Libvirt(uri=libvirtd.uri, accelerator="tcg"),
                network=Ovs(db=host.daemon.db, bridge="br-int", uplink="up0", netns=host.netns),
                storage=Local(),
                appliances=Namespace(netns=host.netns, prefix=prefix),
                inventory=Given(memory_mib=512),
            )
            path.write_bytes(written(config))
            log = tmp_path / "agent.log"
            with started(path, log) as child:
                visit = await server.visit()
                hello = await visit.welcome(make.whole(1, wish, router))
                told = hello.inventory
                assert told.hypervisor == "qemu (tcg)"
                assert told.network.startswith("ovs")
                assert told.storage == "local (qcow2)"
                await hears_until(
                    visit,
                    lambda guests, routers, _: (
                        guests == {wish.machine: GuestState.RUNNING}
                        and routers == {router.network: True}
                    ),
                )
                os.kill(child.pid, signal.SIGKILL)
                await asyncio.to_thread(child.wait)
            running = libvirtd.guests()
            assert set(running) == {wish.machine}
            assert len(namespaces.names(prefix)) == 1
            with started(path, log) as child:
                again = await server.visit()
                assert (await again.welcome()).have == 1
                await hears_until(
                    again,
                    lambda guests, routers, _: (
                        guests == {wish.machine: GuestState.RUNNING}
                        and routers == {router.network: True}
                    ),
                )
                assert libvirtd.guests() == running, "the same process"
                await again.says(make.whole(2, make.scrap(name)))
                await hears_until(
                    again, lambda guests, routers, scrapped: make.volume(name) in scrapped
                )
                assert not libvirtd.guests()
                assert not namespaces.names(prefix)
                child.terminate()
                assert await asyncio.to_thread(child.wait) == 0

    try:
        asyncio.run(story())
    finally:
        for left in namespaces.names(prefix):
            namespaces.remove(left)
