"""A fleet: many agents in one process, each a host of its own."""

import asyncio
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from agent import edge
from agent import make_agent as make
from arable.domain.carry import CarryWish
from arable.domain.errors import BadInput, Conflict
from arable.domain.ids import OperationId
from arable.domain.manifest import GuestState, ItemKind
from arable.processes import fleet
from arable.processes.agent import live
from arable.processes.alone import only_one
from arable.runtime.clock import RealClock
from gateway.make_gateway import rig, run, until


def configured(below: Path, name: str, port: int, token: str, **more: object) -> None:
    place, simulated = below / name, {"driver": "sim"}
    place.mkdir(parents=True)
    (place / "token").write_text(token)
    written = {
        "directory": str(place / "disk"),
        "servers": [f"127.0.0.1:{port}"],
        "name": name,
        "join_token": str(place / "token"),
        "hypervisor": simulated,
        "network": simulated,
        "storage": simulated,
    }
    (place / fleet.CONFIG).write_text(yaml.safe_dump(written | more))


@contextmanager
def started(directory: Path):
    child = subprocess.Popen(
        [sys.executable, "-m", "arable.processes.fleet", str(directory)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def test_every_host_of_a_fleet_joins_runs_its_own_and_leaves_when_told(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path / "server") as one:
            for name in ("h1", "h2", "h3"):
                configured(tmp_path / "fleet", name, one.port, one.token())
            # A host that is not let in goes on asking, and holds nobody up.
            used = one.token()
            other = tmp_path / "other"
            configured(other, "first", one.port, used)
            configured(tmp_path / "fleet", "h4", one.port, used.replace("join.", "join.x")[:-1])
            with started(tmp_path / "fleet") as child:
                await until(lambda: len(one.channels.hosts) == 3)
                ids = dict(one.rows("select name, id from host"))
                assert set(ids) == {"h1", "h2", "h3"}
                for name, host in ids.items():
                    guest = make.guest(name, disks=(), seed=None, ports=())
                    await asyncio.to_thread(one.wish, host, guest.machine, guest)
                expected = {(ids[name], make.machine(name)) for name in ids}
                await until(lambda: expected <= running(one))
                assert running(one) == expected
                child.terminate()
                assert await asyncio.to_thread(child.wait, edge.WITHIN) == 0
            with started(tmp_path / "fleet"):  # identities and ledgers are on disk
                seen = len(one.reports)
                await until(
                    lambda: {r.host for r in one.reports[seen:] if r.full} == set(ids.values())
                )
                assert len(one.rows("select id from host")) == 3

    (tmp_path / "server").mkdir()
    run(scenario())


def test_a_volume_goes_from_one_host_of_a_fleet_to_another(sqlite, tmp_path):
    """There is no network between them."""

    async def scenario():
        async with rig(sqlite, tmp_path / "server") as one:
            for name in ("h1", "h2"):
                configured(tmp_path / "fleet", name, one.port, one.token())
            with started(tmp_path / "fleet"):
                await until(lambda: len(one.channels.hosts) == 2)
                ids = dict(one.rows("select name, id from host"))
                pools = dict(one.rows("select host, id from pool"))
                here, there = ids["h1"], ids["h2"]
                disk = make.disk("h1", pool=pools[here], source=None)
                guest = make.guest("h1", disks=(disk,), seed=None, ports=())
                await asyncio.to_thread(one.wish, here, guest.machine, guest)
                await until(lambda: running(one) == {(here, guest.machine)})
                await asyncio.to_thread(one.wish, here, guest.machine, None)
                carry = CarryWish(
                    operation=OperationId(make.make_drivers.fresh("operation")),
                    volume=disk.volume,
                    source=here,
                    target=there,
                    pool=pools[there],
                    bytes=disk.bytes,
                )
                for host in (here, there):
                    wish = (host, carry.operation, carry, ItemKind.CARRY)
                    await asyncio.to_thread(one.wish, *wish)
                await until(lambda: (there, carry.operation) in arrived(one))

    (tmp_path / "server").mkdir()
    run(scenario())


def arrived(one) -> set[tuple[str, str]]:
    return {(r.host, seen.operation) for r in list(one.reports) for seen in r.carries if seen.done}


def running(one) -> set[tuple[str, str]]:
    return {
        (report.host, seen.machine)
        for report in list(one.reports)
        for seen in report.guests
        if seen.state == GuestState.RUNNING
    }


def test_a_directory_without_hosts_is_told(tmp_path):
    with pytest.raises(BadInput, match="no directory"):
        fleet.hosts(tmp_path)


def test_two_hosts_on_one_disk_are_refused(tmp_path):
    configured(tmp_path, "h1", 1, "")
    configured(tmp_path, "h2", 1, "", directory=str(tmp_path / "h1" / "disk"))
    with pytest.raises(BadInput, match="same directory"):
        fleet.hosts(tmp_path)


def test_one_bad_configuration_is_named(tmp_path):
    configured(tmp_path, "h1", 1, "")
    configured(tmp_path, "h2", 1, "", tgas=[])
    with pytest.raises(BadInput, match="h2"):
        fleet.hosts(tmp_path)


def test_an_agent_that_cannot_work_takes_its_fleet_along(tmp_path):
    configured(tmp_path, "h1", 1, "")
    configured(tmp_path, "h2", 1, "")
    (disk := tmp_path / "h2" / "disk").mkdir()
    with only_one(disk), pytest.raises(Conflict, match="another"):
        asyncio.run(live(fleet.hosts(tmp_path), RealClock(), edge.CHANCE))
