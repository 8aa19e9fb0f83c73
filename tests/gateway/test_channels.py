"""Channels: what is wished reaches its host, what a host says is kept, and nobody speaks for anybody else."""

import asyncio
import threading
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest
from make_gateway import INVENTORY, rig, run, until

from arable.domain.errors import Unavailable
from arable.domain.manifest import HostManifest, HostReport
from arable.services import hosts
from arable.store import hosts as host_rows
from arable.wire.agent import Change, Hello, OpenConsole, Report, Welcome, encode


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """What happens every few seconds happens all the time."""
    monkeypatch.setattr("arable.api.gateway.channels.LOOK_EVERY", 0.1)


async def looked(one) -> None:
    """Once more after whatever is on its way."""
    await one.channels._note()
    await one.channels._compare()
    await one.channels._note()


def items(change: Change) -> dict[str, object]:
    return {
        item.id: None if item.body is None else msgspec.json.decode(item.body)
        for item in change.items
    }


def state(one, host) -> tuple[str, str]:
    ((found, server),) = one.rows("select state, server from host where id = :h", h=host)
    return found, server


def test_a_greeting_is_answered_by_a_welcome_and_the_whole_manifest(database, tmp_path):
    async def scenario():
        async with rig(database, tmp_path) as one:
            host = one.joined("h1")
            one.wish(host, "machine-a", {"name": "a"})
            async with one.agent(host) as agent:
                await agent.hello()
                welcome = await agent.hear()
                assert isinstance(welcome, Welcome)
                assert (welcome.report_seconds, welcome.image_cache_seconds) == (10, 604_800)
                change = await agent.hear()
                assert (change.base, change.generation) == (None, 1)
                assert items(change) == {"machine-a": {"name": "a"}}
                assert state(one, host) == ("up", "server-1")

    run(scenario())


def test_a_wish_reaches_its_host_as_a_difference_and_no_other(database, tmp_path):
    async def scenario():
        async with rig(database, tmp_path) as one:
            host, other = one.joined("h1"), one.joined("h2")
            async with one.agent(host) as agent, one.agent(other) as second:
                assert (await agent.greeted()).generation == 0
                await second.greeted()
                for at in range(3):
                    one.wish(host, "machine-a", {"at": at})
                    change = await agent.change()
                    assert (change.base, change.generation) == (at or None, at + 1)
                    assert items(change) == {"machine-a": {"at": at}}
                one.wish(host, "machine-a", None)
                assert items(await agent.change()) == {"machine-a": None}
                one.wish(other, "machine-b", {})
                assert items(await second.change()) == {"machine-b": {}}

    run(scenario())


def test_what_was_wished_while_a_host_was_away_is_told_when_it_comes_back(database, tmp_path):
    async def scenario():
        async with rig(database, tmp_path) as one:
            host = one.joined("h1")
            one.wish(host, "machine-a", 1)
            async with one.agent(host) as agent:
                await agent.greeted()
            one.wish(host, "machine-b", 2)
            async with one.agent(host) as agent:
                change = await agent.greeted(have=1)
                assert (change.base, change.generation) == (1, 2)
                assert items(change) == {"machine-b": 2}
            async with one.agent(host) as agent:
                assert items(await agent.greeted(have=2)) == {}

    run(scenario())


def test_an_agent_that_says_hello_again_hears_everything_again(database, tmp_path):
    async def scenario():
        async with rig(database, tmp_path) as one:
            host = one.joined("h1")
            one.wish(host, "machine-a", 1)
            async with one.agent(host) as agent:
                await agent.greeted(have=1)
                change = await agent.greeted(have=0)
                assert (change.base, items(change)) == (None, {"machine-a": 1})
                one.wish(host, "machine-a", 2)
                assert items(await agent.change()) == {"machine-a": 2}

    run(scenario())


def test_a_lost_nudge_costs_time_and_nothing_else(database, tmp_path):
    async def scenario():
        async with rig(database, tmp_path) as one:
            host = one.joined("h1")
            async with one.agent(host) as agent:
                await agent.greeted()
                one.writer.committed = lambda _nudges: None
                one.wish(host, "machine-a", 1)
                assert items(await agent.change()) == {"machine-a": 1}

    run(scenario())


def test_many_wishes_at_once_are_told_together(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            host = one.joined("h1")
            async with one.agent(host) as agent:
                await agent.greeted()
                futures = [asyncio.to_thread(one.wish, host, f"machine-{n}", n) for n in range(50)]
                await asyncio.gather(*futures)
                held = {}
                changes = 0
                while len(held) < 50:
                    change = await agent.change()
                    held |= items(change)
                    changes += 1
                assert held == {f"machine-{n}": n for n in range(50)}
                assert change.generation == 50
                assert changes < 50

    run(scenario())


def test_reports_come_in_order_and_what_a_host_holds_is_noted(database, tmp_path, monkeypatch):
    monkeypatch.setattr("arable.api.gateway.channels.NOTE_EVERY", 0.0)

    async def scenario():
        async with rig(database, tmp_path) as one:
            host = one.joined("h1")
            one.wish(host, "machine-a", 1)
            one.wish(host, "machine-a", None)
            async with one.agent(host) as agent:
                await agent.greeted()
                for generation in (0, 1, 2):
                    await agent.report(generation)
                await until(lambda: len(one.reports) == 3)
                assert [report.generation for report in one.reports] == [0, 1, 2]
                await until(lambda: one.rows("select acked_generation from host") == [(2,)])
                assert one.rows("select * from manifest_item") == []

    run(scenario())


def test_a_report_right_behind_the_greeting_is_not_lost(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            host = one.joined("h1")
            async with one.agent(host) as agent:
                await agent.hello()
                await agent.report(full=True)
                await until(lambda: one.reports)
                assert one.reports[0].full

    run(scenario())


def test_an_inventory_in_a_report_is_kept(database, tmp_path):
    async def scenario():
        async with rig(database, tmp_path) as one:
            host = one.joined("h1")
            async with one.agent(host) as agent:
                await agent.greeted()
                await agent.report(inventory=replace(INVENTORY, memory_mib=16_384))
                await until(lambda: one.rows("select memory_mib from host") == [(16_384,)])

    run(scenario())


def test_who_hangs_up_is_no_longer_at_this_server(database, tmp_path):
    async def scenario():
        async with rig(database, tmp_path) as one:
            host = one.joined("h1")
            async with one.agent(host) as agent:
                await agent.greeted()
            await until(lambda: state(one, host) == ("up", ""))
            assert not one.channels.hosts

    run(scenario())


def test_a_host_that_is_back_before_its_leaving_was_kept_has_not_left(database, tmp_path):
    """The writer executes what is alike together, so a greeting can be moved ahead of what came before it."""

    async def scenario():
        async with rig(database, tmp_path) as one:
            host, other = one.joined("h1"), one.joined("h2")
            hello, greeting = (Hello(host=each, inventory=INVENTORY) for each in (host, other))
            one.desk.greet(host, hello).result(60)
            held = threading.Event()
            one.writer.submit(lambda _tx: held.wait(60))
            words = [one.desk.greet(other, greeting), one.desk.left(host)]
            words += [one.desk.greet(host, hello), one.desk.left(other)]
            held.set()
            for word in words:
                word.result(60)
            assert state(one, host) == ("up", "server-1")
            assert state(one, other) == ("up", "")

    run(scenario())


def test_a_report_is_kept_whole_or_not_at_all(database, tmp_path):
    async def scenario():
        async with rig(database, tmp_path) as one:
            host = one.joined("h1")
            one.wish(host, "machine-a", 1)
            report = HostReport(
                host=host, generation=1, inventory=replace(INVENTORY, memory_mib=16_384)
            )

            def settle(_reports):
                if not one.reports:
                    one.reports.append(report)
                    raise Unavailable("not now")

            one.settle = settle
            with pytest.raises(Unavailable):
                one.desk.report([report], [host]).result(60)
            asked = "select acked_generation, memory_mib, seen_at is null from host"
            assert one.rows(asked) == [(0, INVENTORY.memory_mib, True)]
            one.desk.greet(host, Hello(host=host, inventory=INVENTORY)).result(60)
            one.desk.report([report, report], [host]).result(60)
            assert one.rows(asked) == [(1, 16_384, False)]

    run(scenario())


def test_a_silent_host_counts_as_up_again_when_it_is_heard(database, tmp_path, monkeypatch):
    monkeypatch.setattr("arable.api.gateway.channels.NOTE_EVERY", 0.0)

    async def scenario():
        async with rig(database, tmp_path) as one:
            host = one.joined("h1")
            async with one.agent(host) as agent:
                await agent.greeted()
                with database.write() as tx:
                    host_rows.measure(tx, host, {"state": "silent"})
                await agent.report()
                await until(lambda: state(one, host) == ("up", "server-1"))
                kinds = [kind for (kind,) in one.rows("select kind from event order by number")]
                assert kinds == ["host.joined", "host.up", "host.up"]

    run(scenario())


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("hello", 4403),
        ("report", 4403),
        ("report first", 4403),
        ("garbage", 4400),
        ("binary", 1003),
        ("version", 4403),
        ("negative", 4403),
        ("inventory", 4403),
        ("inventory later", 4400),
        ("deep", 4400),
    ],
)
def test_a_host_that_says_what_it_may_not_is_cut_off(sqlite, tmp_path, what, code):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            host, other = one.joined("h1"), one.joined("h2")
            async with one.agent(host) as agent:
                match what:
                    case "hello":
                        await agent.hello(host=other)
                    case "report":
                        await agent.greeted()
                        await agent.report(host=other)
                    case "report first":
                        await agent.report()
                    case "inventory":
                        await agent.hello(inventory=replace(INVENTORY, cpus=-1))
                    case "inventory later":
                        await agent.greeted()
                        await agent.report(inventory=replace(INVENTORY, version="a\nb"))
                    case "garbage":
                        await agent.wire.send('{"type": "hell')
                    case "binary":
                        await agent.wire.send(
                            encode(Report(report=HostReport(host=host, generation=0)))
                        )
                    case "version":
                        await agent.hello(version=2)
                    case "negative":
                        await agent.hello(have=-1)
                    case "deep":
                        await agent.wire.send("[" * 100_000)
                assert (await agent.closed())[0] == code
            assert one.reports == []
            assert state(one, other) == ("joined", "")

    run(scenario())


def test_a_message_that_is_too_long_ends_the_channel(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            host = one.joined("h1")
            async with one.agent(host) as agent:
                await agent.greeted()
                await agent.wire.send("x" * (9 << 20))
                assert (await agent.closed())[0] == 1009

    run(scenario())


def test_a_message_in_pieces_is_one_message(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            host = one.joined("h1")
            async with one.agent(host) as agent:
                await agent.greeted()
                said = encode(
                    Report(report=HostReport(host=host, generation=0, full=True))
                ).decode()
                await agent.wire.send([said[:10], said[10:20], said[20:]])
                await until(lambda: one.reports)
                assert one.reports[0].full

    run(scenario())


def test_a_removed_host_is_cut_off_and_not_let_in_again(database, tmp_path):
    async def scenario():
        async with rig(database, tmp_path) as one:
            host = one.joined("h1")
            async with one.agent(host) as agent:
                await agent.greeted()
                await asyncio.to_thread(one.do, hosts.delete, host)
                assert (await agent.closed())[0] == 4404
            async with one.agent(host) as agent:
                await agent.hello()
                assert (await agent.closed())[0] == 4404
            await agent.wire.wait_closed()
            assert not one.channels.hosts

    run(scenario())


def test_of_two_channels_of_a_host_the_newer_one_stays(database, tmp_path):
    async def scenario():
        async with rig(database, tmp_path) as one:
            host = one.joined("h1")
            async with one.agent(host) as old:
                await old.greeted()
                async with one.agent(host) as new:
                    await new.greeted()
                    assert (await old.closed())[0] == 4409
                    one.wish(host, "machine-a", 1)
                    assert items(await new.change()) == {"machine-a": 1}
                    await looked(one)  # the old one's leaving must not be taken for the host's
                    assert state(one, host) == ("up", "server-1")

    run(scenario())


def test_a_host_that_went_to_another_server_is_let_go(database, tmp_path):
    async def scenario():
        async with rig(database, tmp_path) as one:
            host = one.joined("h1")
            async with one.agent(host) as agent:
                await agent.greeted()
                with database.write() as tx:
                    host_rows.connected(tx, [host], "server-2", one.around.clock.now())
                assert (await agent.closed())[0] == 4409
            await until(lambda: not one.channels.hosts)
            await looked(one)
            assert state(one, host) == ("up", "server-2"), "its leaving concerns this server alone"

    run(scenario())


def test_reports_wait_while_the_store_does_not_answer(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            host = one.joined("h1")
            failures = [Unavailable("not now"), Unavailable("not now")]

            def settle(_reports):
                if failures:
                    raise failures.pop()

            one.settle = settle
            async with one.agent(host) as agent:
                await agent.greeted()
                await agent.report(full=True)
                await until(lambda: one.reports)
                assert not failures
                await agent.report()
                await until(lambda: len(one.reports) == 2)

    run(scenario())


def test_one_report_that_cannot_be_kept_costs_its_host_the_channel_and_nobody_else(
    sqlite, tmp_path
):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            good, bad = one.joined("h1"), one.joined("h2")
            held = threading.Event()

            def settle(reports):
                held.wait(60)
                if any(report.host == bad for report in reports):
                    raise ZeroDivisionError

            one.settle = settle
            async with one.agent(good) as fine, one.agent(bad) as broken:
                await fine.greeted()
                await broken.greeted()
                await fine.report()  # holds the queue up, so that the others come in one batch
                await until(lambda: one.batches)
                await fine.report()
                await broken.report()
                await fine.report()
                await until(lambda: len(one.channels._reports) == 3)
                held.set()
                assert (await broken.closed())[0] == 1011
                await until(lambda: len(one.reports) == 3)
                assert {report.host for report in one.reports} == {good}
                assert max(one.batches) == 3
                await fine.report()
                await until(lambda: len(one.reports) == 4)

    run(scenario())


def test_hosts_that_report_faster_than_the_store_keeps_have_to_wait(sqlite, tmp_path, monkeypatch):
    monkeypatch.setattr("arable.api.gateway.channels.QUEUE", 50)
    monkeypatch.setattr("arable.api.gateway.channels.REPORTS_AT_ONCE", 20)

    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            host = one.joined("h1")
            held = threading.Event()

            def settle(_reports):
                held.wait(60)

            one.settle = settle
            async with one.agent(host) as agent:
                await agent.greeted()
                big = {"guests": (), "gone": tuple(f"machine-{n:030}" for n in range(2000))}
                flood = asyncio.ensure_future(_flood(agent, 400, big))
                await until(lambda: len(one.channels._reports) >= 50)
                done, _ = await asyncio.wait({flood}, timeout=1)
                assert not done, "nothing held the agent back"
                assert len(one.channels._reports) < 100
                held.set()
                await until(lambda: len(one.reports) == 400)
                await flood

    async def _flood(agent, count, big):
        for generation in range(count):
            await agent.report(generation, **big)

    run(scenario())


def test_an_agent_that_does_not_read_costs_no_memory_and_gets_the_newest_in_the_end(
    sqlite, tmp_path
):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            host = one.joined("h1")
            async with one.agent(host) as agent:
                await agent.greeted()
                agent.wire.transport.pause_reading()
                big = "x" * 1_000_000
                (channel,) = one.channels._connected.values()
                for at in range(40):
                    await asyncio.to_thread(one.wish, host, "machine-a", [at, big])
                    await until(lambda: not one.channels._behind)
                    for _ in range(3):  # the look-up that may be on its way, and what came of it
                        await asyncio.get_running_loop().run_in_executor(
                            one.channels._threads, len, ()
                        )
                await until(lambda: channel.choked)
                assert channel._transport.get_write_buffer_size() < 5_000_000
                agent.wire.transport.resume_reading()
                held = HostManifest(host)
                while held.generation < 40:
                    change = await agent.change()
                    assert (change.base or 0) == held.generation
                    held = HostManifest(host, change.generation)
                assert items(change)["machine-a"][0] == 39

    run(scenario())


def test_a_stopped_server_says_so(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            host = one.joined("h1")
            async with one.agent(host) as agent:
                await agent.greeted()
                stopping = asyncio.ensure_future(one.channels.stop())
                assert (await agent.closed())[0] == 1012
                await stopping
            assert state(one, host) == ("up", "")

    run(scenario())


def test_a_channel_ends_with_the_certificate_that_it_began_with(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            host = one.joined("h1")
            async with one.agent(host) as agent:
                await agent.greeted()
                late = one.around.clock.now() + timedelta(hours=25)
                one.channels._clock = type("Late", (), {"now": lambda _self: late})()
                assert (await agent.closed())[0] == 4401

    run(scenario())


def test_a_connection_that_says_nothing_is_dropped(sqlite, tmp_path, monkeypatch):
    monkeypatch.setattr("arable.api.gateway.channels.HELLO_WITHIN", 0.5)
    monkeypatch.setattr("arable.api.gateway.channels.UNHEARD_REPORTS", 0.05)
    monkeypatch.setattr("arable.api.gateway.channels.LOOK_EVERY", 0.2)

    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            host = one.joined("h1")
            async with one.agent(host) as agent:
                assert (await agent.closed())[0] == 4408
            async with one.agent(host) as agent:
                await agent.greeted()
                await agent.closed()  # no report came: taken for dead
            await until(lambda: state(one, host) == ("up", ""))

    run(scenario())


def test_a_console_is_asked_for_on_the_channel_of_a_connected_host_only(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            host = one.joined("h1")
            assert not one.channels.open_console(host, "t", "machine-a")
            async with one.agent(host) as agent:
                await agent.greeted()
                assert one.channels.open_console(host, "t", "machine-a")
                assert await agent.hear() == OpenConsole(ticket="t", machine="machine-a")

    run(scenario())


def test_many_hosts_come_back_at_once_and_are_all_told(database, tmp_path):
    async def scenario():
        async with rig(database, tmp_path) as one:
            names = [await asyncio.to_thread(one.joined, f"h{n}") for n in range(120)]
            told = {}

            async def host(name):
                async with one.agent(name) as agent:
                    await agent.greeted()
                    await agent.report(full=True)
                    told[name] = items(await agent.change())
                    await until(lambda: len(told) == 120)

            crowd = [asyncio.ensure_future(host(name)) for name in names]
            await until(lambda: len(one.channels.hosts) == 120)
            await until(lambda: len(one.reports) == 120)
            for at, name in enumerate(names):
                await asyncio.to_thread(one.wish, name, "machine-a", at)
            await asyncio.gather(*crowd)
            assert told == {name: {"machine-a": at} for at, name in enumerate(names)}
            assert len(one.batches) < 120, "reports were not kept in batches"

    run(scenario())
