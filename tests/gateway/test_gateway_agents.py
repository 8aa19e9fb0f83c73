"""Real agents on the real gateway: what is wished comes to be, whichever end dies, and is known in the end."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import yaml
from living_agent import living
from make_gateway import PATIENCE, rig, run, until

from agent import make_agent as make
from arable.domain.manifest import GuestState, ItemKind, Power
from arable.runtime.entropy import Entropy
from arable.services import hosts
from arable.store import wishes
from arable.store.wishes import Item

RUN = "import sys, pathlib; from arable.processes.agent import run; run(pathlib.Path(sys.argv[1]))"


def diskless(name: str, **but):
    return make.guest(name, **{"disks": (), "seed": None, "ports": ()} | but)


def wants(one, host, *names: str, generation: int = 1) -> None:
    for name in names:
        one.wish(host, make.machine(name), diskless(name, generation=generation))


def said(one, host) -> dict[str, str]:
    """What the server knows of the host's guests by its reports."""
    known: dict[str, str] = {}
    for report in list(one.reports):
        if report.host != host:
            continue
        if report.full:
            known.clear()
        known |= {seen.machine: seen.state for seen in report.guests}
        for gone in report.gone:
            known.pop(gone, None)
    return known


def all_run(one, host, *names: str) -> bool:
    return said(one, host) == {make.machine(name): GuestState.RUNNING for name in names}


def generations(one, host) -> tuple[int, int]:
    (row,) = one.rows(
        "select manifest_generation, acked_generation from host where id = :h", h=host
    )
    return row


@pytest.fixture(autouse=True)
def noted_at_once(monkeypatch) -> None:
    """What hosts hold is known with their next word, not with the first one two seconds later."""
    monkeypatch.setattr("arable.api.gateway.channels.NOTE_EVERY", 0.0)


def test_what_is_wished_comes_to_be_and_the_store_knows_that_it_is_held(database, tmp_path):
    async def scenario():
        async with rig(database, tmp_path) as one:
            host = one.joined("h1")
            async with living(host, one.port, lambda: one.tls(host)):
                wants(one, host, "a", "b")
                await until(lambda: all_run(one, host, "a", "b"))
                one.wish(host, make.machine("a"), None)
                await until(lambda: all_run(one, host, "b"))
                await until(lambda: generations(one, host) == (3, 3))
                assert one.rows("select id from manifest_item") == [(make.machine("b"),)]

    run(scenario())


@pytest.mark.parametrize("kindly", [True, False], ids=["stopped", "killed"])
def test_a_server_that_comes_back_finds_its_hosts_and_tells_them_what_they_missed(
    database, tmp_path, kindly
):
    async def scenario():
        hardware = make.Rig()
        async with rig(database, tmp_path) as one:
            host, port = one.joined("h1"), one.port
            agent = living(host, port, lambda: one.tls(host), hardware=hardware)
            await agent.__aenter__()
            wants(one, host, "a")
            await until(lambda: all_run(one, host, "a"))
            if not kindly:
                for channel in list(one.channels._all):
                    channel.abort()
        with database.write() as tx:  # as another server would
            body = msgspec.json.encode(diskless("b")).decode()
            wishes.put(tx, [Item(host, ItemKind.GUEST, make.machine("b"), body)])
        hardware.hardware.crash(make.machine("a"))  # and comes up again without any server
        async with rig(database, tmp_path, port=port) as one:
            await until(lambda: all_run(one, host, "a", "b"))
            assert one.reports[0].full
            await until(lambda: generations(one, host) == (2, 2))
            await agent.__aexit__(None, None, None)
            assert hardware.starts("b") == 1

    run(scenario())


def test_after_a_whole_manifest_comes_a_full_report(database, tmp_path):
    """Whoever lost its ledger has guests that nobody here heard of by a difference."""

    async def scenario():
        hardware = make.Rig()
        async with rig(database, tmp_path) as one:
            host = one.joined("h1")
            async with living(host, one.port, lambda: one.tls(host), hardware=hardware):
                wants(one, host, "a", "b")
                await until(lambda: all_run(one, host, "a", "b"))
            hardware.ledger.held = None
            before = len(one.reports)
            one.wish(host, make.machine("b"), None)
            async with living(host, one.port, lambda: one.tls(host), hardware=hardware):
                await until(lambda: all_run(one, host, "a"))
                fresh = one.reports[before:]
                told = next(report for report in fresh if report.generation == 3)
                assert told.full
                assert hardware.starts("a") == 1, "it was never touched"

    run(scenario())


def test_a_removed_host_is_cut_off_and_not_listened_to_any_more(sqlite, tmp_path):
    async def scenario():
        hardware = make.Rig()
        async with rig(sqlite, tmp_path) as one:
            host = one.joined("h1")
            async with living(host, one.port, lambda: one.tls(host), hardware=hardware) as channel:
                wants(one, host, "a")
                await until(lambda: all_run(one, host, "a"))
                one.wish(host, make.machine("a"), None)
                await until(lambda: all_run(one, host))
                await until(lambda: generations(one, host) == (2, 2))
                await asyncio.to_thread(one.do, hosts.delete, host)
                await until(lambda: not channel.connected)
                count = len(one.reports)
                await until(lambda: not one.channels.hosts)
                assert len(one.reports) == count

    run(scenario())


def written(directory: Path, port: int, token: str) -> Path:
    path, invitation = directory / "agent.yaml", directory / "token"
    invitation.write_text(token)
    simulated = {"driver": "sim"}
    config = {
        "directory": str(directory / "agent"),
        "servers": [f"127.0.0.1:{port}"],
        "name": "rack-1",
        "join_token": str(invitation),
        "hypervisor": simulated,
        "network": simulated,
        "storage": simulated,
        "inventory": {"cpus": 64, "cpu_mhz": 64_000, "memory_mib": 65_536, "disk_mib": 10_240},
    }
    path.write_text(yaml.safe_dump(config))
    return path


def killing(child: subprocess.Popen, after: int, killed: asyncio.Event):
    """For the gateway's `settle`: the first report of a newer generation is the agent's last."""
    loop = asyncio.get_running_loop()

    def settle(reports) -> None:
        if any(report.generation > after for report in reports):
            os.kill(child.pid, signal.SIGKILL)
            loop.call_soon_threadsafe(killed.set)

    return settle


def test_an_agent_killed_in_the_middle_of_a_manifest_ends_right(database, tmp_path):
    names = [f"m{n}" for n in range(40)]

    async def scenario():
        async with rig(database, tmp_path) as one:
            path = written(tmp_path, one.port, one.token())

            def started() -> subprocess.Popen:
                return subprocess.Popen(
                    [sys.executable, "-c", RUN, str(path)],
                    stdin=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )

            child = started()
            try:
                await until(lambda: one.channels.hosts)
                (host,) = one.channels.hosts
                for times in range(3):
                    killed = asyncio.Event()
                    one.settle = killing(child, 40 * times, killed)
                    filling = asyncio.to_thread(wants, one, host, *names, generation=times + 1)
                    filled = asyncio.ensure_future(filling)
                    async with asyncio.timeout(PATIENCE):
                        await killed.wait()
                    await asyncio.to_thread(child.wait, PATIENCE)
                    one.settle = None
                    await filled
                    assert generations(one, host)[1] < 40 * (times + 1), "it was killed too late"
                    count, child = len(one.reports), started()
                    await until(lambda count=count: any(r.full for r in one.reports[count:]))
                await until(lambda: all_run(one, host, *names))
                await until(lambda: generations(one, host) == (120, 120))
                assert len(one.rows("select id from host")) == 1
                child.terminate()
                assert await asyncio.to_thread(child.wait, PATIENCE) == 0
            finally:
                child.kill()
                child.wait()

    run(scenario())


@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_whatever_breaks_in_between_store_and_host_agree_in_the_end(sqlite, tmp_path, seed):
    """Machines come, change and go while connections break, ledgers get lost and agents die."""

    async def scenario():
        dice = Entropy(seed).random
        hardware = make.Rig()
        wished: dict[str, bool] = {}
        async with rig(sqlite, tmp_path) as one:
            host = one.joined("h1")

            def alive():
                return living(host, one.port, lambda: one.tls(host), hardware=hardware)

            agent = alive()
            await agent.__aenter__()
            for generation in range(1, 61):
                match dice.randrange(10):
                    case 0:
                        for channel in list(one.channels._all):
                            channel.abort()
                    case 1:
                        await agent.__aexit__(None, None, None)
                        if dice.random() < 0.3:
                            hardware.ledger.held = None
                        agent = alive()
                        await agent.__aenter__()
                    case 2:
                        await until(lambda: generations(one, host)[0] == generations(one, host)[1])
                    case 3 | 4 if wished:
                        name = dice.choice(sorted(wished))
                        del wished[name]
                        await asyncio.to_thread(one.wish, host, make.machine(name), None)
                    case _:
                        name = dice.choice("abcdefgh")
                        wished[name] = dice.random() < 0.7
                        power = Power.ON if wished[name] else Power.OFF
                        wish = diskless(name, generation=generation, power=power, force=True)
                        await asyncio.to_thread(one.wish, host, make.machine(name), wish)
                await asyncio.sleep(dice.random() * 0.05)
            truth = {
                make.machine(name): GuestState.RUNNING if runs else GuestState.STOPPED
                for name, runs in wished.items()
            }
            newest = generations(one, host)[0]
            await until(lambda: generations(one, host) == (newest, newest))
            await until(lambda: said(one, host) == truth)
            assert {n for n in "abcdefgh" if hardware.runs(n)} == {n for n in wished if wished[n]}
            await agent.__aexit__(None, None, None)

    run(scenario())
