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
from arable.domain.errors import BadInput, Conflict
from arable.domain.manifest import GuestState
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
