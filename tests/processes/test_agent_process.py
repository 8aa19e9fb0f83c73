"""The agent as a process: joins with its token, does as it is told, leaves at SIGTERM, is one of a kind."""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from agent import edge
from agent import make_agent as make
from arable.domain.errors import Conflict
from arable.domain.manifest import GuestState
from arable.processes import agent as process
from arable.runtime.secret import Secret
from arable.runtime.tokens import new_join_token
from arable.wire.agent import Report

RUN = "import sys, pathlib; from arable.processes.agent import run; run(pathlib.Path(sys.argv[1]))"


@pytest.fixture
def authority(tmp_path):
    return edge.authority(tmp_path / "authority")


def configuration(tmp_path: Path, servers: list[str], **more: object) -> Path:
    path = tmp_path / "agent.yaml"
    written = {
        "directory": str(tmp_path / "agent"),
        "servers": servers,
        "name": "rack-1",
        "roles": ["compute", "routing"],
        "hypervisor": {"driver": "sim"},
        "network": {"driver": "sim"},
        "storage": {"driver": "sim"},
        "appliances": {"driver": "sim"},
        "inventory": {"cpus": 4, "cpu_mhz": 8000, "memory_mib": 4096, "disk_mib": 10240},
    }
    path.write_text(yaml.safe_dump(written | more))
    return path


@contextmanager
def started(path: Path):
    child = subprocess.Popen(
        [sys.executable, "-c", RUN, str(path)], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


async def ended(child: subprocess.Popen) -> int:
    async with asyncio.timeout(edge.WITHIN):
        return await asyncio.to_thread(child.wait)


def test_an_agent_runs_what_it_is_told_and_leaves_when_asked(tmp_path, authority) -> None:
    edge.identity(authority, tmp_path / "agent")
    tls = edge.server_tls(authority, tmp_path / "server")

    async def story() -> None:
        async with edge.serving(tls) as server:
            path = configuration(tmp_path, [server.address])
            with started(path) as child:
                visit = await server.visit()
                hello = await visit.welcome(make.whole(1, make.guest("a", disks=(), seed=None)))
                assert hello.inventory.hypervisor == "sim"
                assert hello.inventory.roles == ("compute", "routing")
                await visit.hears_of(make.machine("a"), GuestState.RUNNING)
                child.send_signal(signal.SIGTERM)
                await visit.gone()
                assert await ended(child) == 0
            with started(path):
                again = await server.visit()
                assert (await again.welcome()).have == 1  # from the ledger
                assert (await again.hears(Report)).report.full

    asyncio.run(story())


def test_an_agent_killed_in_the_middle_comes_back_with_its_ledger(tmp_path, authority) -> None:
    edge.identity(authority, tmp_path / "agent")
    tls = edge.server_tls(authority, tmp_path / "server")

    async def story() -> None:
        async with edge.serving(tls) as server:
            path = configuration(tmp_path, [server.address])
            for generation in range(1, 4):
                with started(path) as child:
                    visit = await server.visit()
                    assert (await visit.welcome()).have == generation - 1
                    await visit.says(make.whole(generation, make.guest("a", disks=(), seed=None)))
                    report = await visit.hears_of(make.machine("a"), GuestState.RUNNING)
                    while report.generation < generation:
                        report = (await visit.hears(Report)).report
                    os.kill(child.pid, signal.SIGKILL)
                    await ended(child)

    asyncio.run(story())


def test_a_host_without_an_identity_joins_with_the_token_of_its_configuration(
    tmp_path, authority
) -> None:
    token = tmp_path / "token"
    token.write_text(new_join_token(authority.fingerprint, edge.CHANCE).text.reveal() + "\n")
    tls = edge.server_tls(authority, tmp_path / "server", joining=True)
    with edge.calls(edge.Calls(authority), tls) as answering:

        async def story() -> None:
            async with edge.serving(tls) as server:
                path = configuration(
                    tmp_path, [answering.address, server.address], join_token=str(token)
                )
                with started(path) as child:
                    visit = await server.visit()
                    assert visit.host == make.HOST
                    assert not token.exists()
                    child.terminate()
                    assert await ended(child) == 0

        asyncio.run(story())
    (ask,) = answering.joins
    assert (ask.name, ask.inventory.memory_mib) == ("rack-1", 4096)


def test_joining_by_hand_gives_the_host_its_id_once(tmp_path, authority) -> None:
    tls = edge.server_tls(authority, tmp_path / "server", joining=True)
    with edge.calls(edge.Calls(authority), tls) as answering:
        path = configuration(tmp_path, ["127.0.0.1:1", answering.address])
        token = Secret(new_join_token(authority.fingerprint, edge.CHANCE).text.reveal())
        assert process.join(path, token) == make.HOST
        with pytest.raises(Conflict, match="already"):
            process.join(path, token)


def test_a_second_agent_in_the_same_directory_is_refused(tmp_path) -> None:
    with process.only_one(tmp_path), pytest.raises(Conflict), process.only_one(tmp_path):
        pass
    with process.only_one(tmp_path):
        pass


def test_a_host_that_has_not_joined_says_so_and_ends(tmp_path) -> None:
    with started(configuration(tmp_path, ["127.0.0.1:1"])) as child:
        _, said = child.communicate(timeout=edge.WITHIN)
        assert child.returncode != 0
        assert b"has not joined" in said
