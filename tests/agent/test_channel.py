"""The agent's connection over real TLS: who is let in, what is said, and that the host never waits for it."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress

import pytest
from websockets.exceptions import ConnectionClosed

from agent import edge
from agent import make_agent as make
from arable.agent.addresses import Addresses
from arable.agent.agent import Agent
from arable.agent.channel import Channel, Timing
from arable.agent.returning import Returning
from arable.domain.balancer import BalancerSeen, BalancerWish, Band, Calm, Traffic
from arable.domain.ids import BalancerId
from arable.domain.manifest import GuestState, HostReport
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy
from arable.wire.agent import VERSION, Change, Elsewhere, Hello, OpenConsole, Report, Welcome

QUICK = Timing(welcome=10.0, first_pause=0.05, longest_pause=0.2, after_a_bug=0.05)


@pytest.fixture
def authority(tmp_path):
    return edge.authority(tmp_path / "authority")


@pytest.fixture
def tls(authority, tmp_path):
    return edge.server_tls(authority, tmp_path / "server")


@pytest.fixture
def me(authority, tmp_path):
    return edge.identity(authority, tmp_path / "agent")


def agent_of(rig: make.Rig) -> Agent:
    return Agent(
        make.HOST,
        rig.ledger,
        rig.drivers,
        RealClock(),
        rig.depot.fetch,
        inventory=lambda: make.INVENTORY,
    )


def beginning_with_the_first(servers) -> Entropy:
    """Dice by which an agent tries these servers in this order."""

    def first(seed: int) -> str:
        dice = Entropy(f"channel-{seed}")
        Addresses(dice)
        return Returning(servers, dice).server()

    found = next(seed for seed in range(100) if first(seed) == servers[0])
    return Entropy(f"channel-{found}")


@asynccontextmanager
async def running(
    rig: make.Rig, me, *servers: str, timing: Timing = QUICK, agent: Agent | None = None
) -> AsyncIterator[Channel]:
    with ThreadPoolExecutor(1) as worker:
        channel = Channel(
            agent or agent_of(rig),
            servers,
            me.context,
            RealClock(),
            beginning_with_the_first(servers),
            worker=worker,
            timing=timing,
        )
        task = asyncio.create_task(channel.run())
        try:
            yield channel
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def test_an_agent_greets_reports_all_and_does_as_it_is_told(tls, me) -> None:
    async def story() -> None:
        rig = make.Rig()
        async with edge.serving(tls) as server, running(rig, me, server.address):
            visit = await server.visit()
            assert visit.host == make.HOST
            hello = await visit.welcome(make.whole(1, make.guest("a")))
            assert (hello.version, hello.have, hello.inventory) == (VERSION, 0, make.INVENTORY)
            assert (await visit.hears(Report)).report.full
            report = await visit.hears_of(make.machine("a"), GuestState.RUNNING)
            assert report.generation == 1
            await visit.says(
                Change(base=1, generation=2, items=[make.item(make.off("a", force=True))])
            )
            report = await visit.hears_of(make.machine("a"), GuestState.STOPPED)
            assert report.generation == 2
            assert not report.full

    asyncio.run(story())


def test_news_of_a_watched_balancer_does_not_wait_for_the_heartbeat(tls, me) -> None:
    watched = BalancerWish(
        id=BalancerId("balancer-0"),
        port=80,
        traffic=Traffic.TCP,
        calm=Calm(request_rate=Band(most=50)),
    )

    async def story() -> None:
        rig = make.Rig()
        async with edge.serving(tls) as server, running(rig, me, server.address):
            visit = await server.visit()
            await visit.welcome(make.whole(1, make.appliance("a", inners=(watched,))))

            async def news() -> HostReport:
                while not (found := (await visit.hears(Report)).report).balancers:
                    pass
                return found

            await news()
            rig.hardware.figures = {watched.id: BalancerSeen(id=watched.id, request_rate=51)}
            report = await news()
            assert report.balancers[0].request_rate == 51
            assert report.pools == (), "it is no heartbeat"

    asyncio.run(story())


def test_a_server_of_another_authority_is_told_nothing(tmp_path, authority, me) -> None:
    other = edge.authority(tmp_path / "other")

    async def story() -> None:
        async with (
            edge.serving(edge.server_tls(other, tmp_path / "liar")) as liar,
            edge.serving(edge.server_tls(authority, tmp_path / "server")) as server,
            running(make.Rig(), me, liar.address, server.address),
        ):
            visit = await server.visit()  # the other one was tried first
            await visit.hears(Hello)
            assert liar.visits.empty()

    asyncio.run(story())


def test_a_server_with_another_name_is_told_nothing(tmp_path, authority, me) -> None:
    async def story() -> None:
        misnamed = edge.server_tls(authority, tmp_path / "misnamed", names=("192.0.2.1",))
        async with (
            edge.serving(misnamed) as liar,
            edge.serving(edge.server_tls(authority, tmp_path / "server")) as server,
            running(make.Rig(), me, liar.address, server.address),
        ):
            await (await server.visit()).hears(Hello)
            assert liar.visits.empty()

    asyncio.run(story())


def test_a_host_with_the_certificate_of_another_authority_is_not_let_in(
    tmp_path, authority, tls
) -> None:
    other = edge.authority(tmp_path / "other")
    stranger = edge.identity(other, tmp_path / "stranger", trusts=authority.pem)

    async def story() -> None:
        rig = make.Rig()
        tried = asyncio.Event()
        agent = agent_of(rig)
        hello = agent.hello
        agent.hello = lambda **but: (tried.set(), hello(**but))[1]
        async with edge.serving(tls) as server, running(rig, stranger, server.address, agent=agent):
            # With TLS 1.3 the client hears of its refusal only after the handshake: nothing got through all the same.
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await tried.wait()
            assert server.visits.empty()

    asyncio.run(story())


def test_a_lost_connection_is_begun_anew_and_everything_is_said_again(tls, me) -> None:
    async def story() -> None:
        rig = make.Rig()
        async with edge.serving(tls) as server, running(rig, me, server.address):
            visit = await server.visit()
            await visit.welcome(make.whole(3, make.guest("a")))
            await visit.hears_of(make.machine("a"), GuestState.RUNNING)
            visit.connection.transport.abort()
            again = await server.visit()
            hello = await again.welcome()
            assert hello.have == 3
            report = (await again.hears(Report)).report
            assert report.full
            assert [seen.machine for seen in report.guests] == [make.machine("a")]
            assert rig.starts("a") == 1

    asyncio.run(story())


def test_an_agent_goes_to_another_server_when_one_stops(tls, me) -> None:
    async def story() -> None:
        rig = make.Rig()
        async with (
            edge.serving(tls) as one,
            edge.serving(tls) as other,
            running(rig, me, one.address, other.address),
        ):
            visit = await one.visit()
            await visit.welcome(make.whole(1, make.guest("a")))
            await visit.hears_of(make.machine("a"), GuestState.RUNNING)
            await visit.connection.close(1012, "this server stops")
            again = await other.visit()
            assert (await again.welcome()).have == 1

    asyncio.run(story())


def test_a_host_converges_while_no_server_can_be_reached(me) -> None:
    async def story() -> None:
        rig = make.Rig()
        rig.agent.receive(make.whole(1, make.guest("a")))
        rig.step()
        rig.hardware.crash(make.machine("a"))
        agent = agent_of(rig)
        ran = asyncio.Event()
        step, loop = agent.step, asyncio.get_running_loop()

        def watched():
            report = step()
            if rig.runs("a"):
                loop.call_soon_threadsafe(ran.set)
            return report

        agent.step = watched
        async with running(rig, me, "127.0.0.1:1", agent=agent):
            async with asyncio.timeout(edge.WITHIN):
                await ran.wait()
        assert rig.starts("a") == 2

    asyncio.run(story())


def test_a_nudge_of_a_driver_makes_the_agent_look(tls, me) -> None:
    async def story() -> None:
        rig = make.Rig()
        async with edge.serving(tls) as server, running(rig, me, server.address) as channel:
            visit = await server.visit()
            await visit.welcome(make.whole(1, make.guest("a")))
            await visit.hears_of(make.machine("a"), GuestState.RUNNING)
            rig.hardware.power_off_by_guest(make.machine("a"))
            channel.nudge()
            await visit.hears_of(make.machine("a"), GuestState.STOPPED)

    asyncio.run(story())


def test_a_change_from_elsewhere_is_answered_with_a_greeting_that_asks_for_all(tls, me) -> None:
    async def story() -> None:
        rig = make.Rig()
        async with edge.serving(tls) as server, running(rig, me, server.address):
            visit = await server.visit()
            await visit.welcome(make.whole(1, make.guest("a")))
            await visit.hears_of(make.machine("a"), GuestState.RUNNING)
            await visit.says(Change(base=7, generation=8, items=[]))
            assert (await visit.welcome(make.whole(8, make.guest("b")))).have == 0
            await visit.hears_of(make.machine("b"), GuestState.RUNNING)
            assert not rig.runs("a")

    asyncio.run(story())


@pytest.mark.parametrize(
    "rubbish",
    [
        b"{",
        b'{"type":"change","base":null,"generation":1,"items":[{"kind":"guest","id":"x","body":{}}]}',
        b'{"type":"welcome","version":99,"server":"server-z"}',
    ],
)
def test_a_server_that_talks_rubbish_is_left_and_nothing_is_done(tls, me, rubbish) -> None:
    async def story() -> None:
        rig = make.Rig()
        async with edge.serving(tls) as server, running(rig, me, server.address):
            visit = await server.visit()
            await visit.hears(Hello)
            await visit.connection.send(rubbish, text=True)
            await visit.gone()
            again = await server.visit()
            await again.welcome(make.whole(1, make.guest("a")))
            await again.hears_of(make.machine("a"), GuestState.RUNNING)

    asyncio.run(story())


def test_a_server_that_says_nothing_is_left(tls, me) -> None:
    async def story() -> None:
        hasty = Timing(welcome=0.5, first_pause=0.05, longest_pause=0.1, after_a_bug=0.05)
        async with (
            edge.serving(tls) as server,
            running(make.Rig(), me, server.address, timing=hasty),
        ):
            for _ in range(2):
                await (await server.visit()).gone()

    asyncio.run(story())


def test_a_bug_in_a_driver_does_not_end_the_agent(tls, me, caplog) -> None:
    async def story() -> None:
        rig = make.Rig()
        guests = rig.drivers.hypervisor.guests
        broken = iter([ZeroDivisionError()])

        def buggy():
            for error in broken:
                raise error
            return guests()

        rig.drivers.hypervisor.guests = buggy
        async with edge.serving(tls) as server, running(rig, me, server.address):
            visit = await server.visit()
            await visit.welcome(make.whole(1, make.guest("a")))
            await visit.hears_of(make.machine("a"), GuestState.RUNNING)

    asyncio.run(story())
    assert "a step failed" in caplog.text


def test_a_report_is_never_sent_on_a_connection_that_has_not_heard_the_full_one(tls, me) -> None:
    """Connections come and go while machines change: each begins with a greeting, then all, then differences."""

    async def story() -> None:
        rig = make.Rig()
        async with edge.serving(tls) as server, running(rig, me, server.address) as channel:
            generation = 0
            for turn in range(12):
                visit = await server.visit()
                hello = await visit.welcome()
                for _ in range(turn % 3 + 1):
                    generation += 1
                    name = "abc"[generation % 3]
                    wish = make.guest(name, generation=generation, boots=generation)
                    await visit.says(make.whole(generation, wish))
                    channel.nudge()
                first = await visit.hears(Report)
                assert first.report.full, (turn, hello)
                while first.report.generation < generation:
                    first = await visit.hears(Report)
                visit.connection.transport.abort()

    asyncio.run(story())


def test_a_console_is_opened_with_its_ticket_and_bytes_go_both_ways(tls, me, tmp_path) -> None:
    from agent.test_console import FakeConsole, Talks

    async def story() -> None:
        rig = make.Rig()
        rig.drivers = make.Drivers(
            network=rig.drivers.network,
            hypervisor=Talks(rig.hardware, tmp_path),
            pools=rig.drivers.pools,
        )
        async with (
            FakeConsole(tmp_path / "a.sock", log=b"booted\n") as machine,
            edge.serving(tls) as server,
            running(rig, me, server.address),
        ):
            visit = await server.visit()
            await visit.welcome()
            await visit.says(OpenConsole(ticket="ticket1", machine=make.machine("a")))
            ticket, far = await server.console()
            assert ticket == "ticket1"
            async with asyncio.timeout(edge.WITHIN):
                assert await far.recv() == b"booted\n"
                await far.send(b"ls\n")
                assert await machine.typed(3) == b"ls\n"
                machine.say(b"bin\n")
                assert await far.recv() == b"bin\n"
                await visit.says(OpenConsole(ticket="ticket2", machine=make.machine("z")))
                _, other = await server.console()
                assert b"does not run" in await other.recv()
                with pytest.raises(ConnectionClosed):
                    await other.recv()

    asyncio.run(story())


def test_leaving_closes_the_connection_and_stops_nothing(tls, me) -> None:
    async def story() -> None:
        rig = make.Rig()
        async with edge.serving(tls) as server:
            async with running(rig, me, server.address):
                visit = await server.visit()
                await visit.welcome(make.whole(1, make.guest("a")))
                await visit.hears_of(make.machine("a"), GuestState.RUNNING)
            await visit.gone()
        assert rig.runs("a")

    asyncio.run(story())


def test_a_welcome_says_how_often_to_report(tls, me) -> None:
    async def story() -> None:
        rig = make.Rig()
        async with edge.serving(tls) as server, running(rig, me, server.address):
            visit = await server.visit()
            await visit.hears(Hello)
            await visit.says(Welcome(server="server-a", report_seconds=1))
            await visit.says(make.whole(1, make.guest("a")))
            await visit.hears_of(make.machine("a"), GuestState.RUNNING)
            for _ in range(2):
                while not (await visit.hears(Report)).report.stats:
                    pass

    asyncio.run(story())


def test_an_agent_that_is_asked_to_go_elsewhere_is_there_before_it_leaves(tls, me) -> None:
    async def story() -> None:
        rig = make.Rig()
        async with (
            edge.serving(tls) as one,
            edge.serving(tls) as other,
            running(rig, me, one.address) as channel,
        ):
            visit = await one.visit()
            hello = await visit.welcome(make.whole(1, make.guest("a")))
            assert hello.moves
            await visit.hears_of(make.machine("a"), GuestState.RUNNING)
            await visit.says(Elsewhere(servers=(other.address,)))
            again = await other.visit()
            assert (await again.welcome()).have == 1
            assert (await again.hears(Report)).report.full
            await visit.gone()
            assert channel.connected
            assert one.visits.empty()

    asyncio.run(story())


def test_an_agent_stays_where_it_is_while_nobody_takes_it_in_elsewhere(tls, me) -> None:
    async def story() -> None:
        async with edge.serving(tls) as one, running(make.Rig(), me, one.address) as channel:
            visit = await one.visit()
            await visit.welcome()
            for _ in range(2):  # the second time, it does not even try
                await visit.says(Elsewhere(servers=("127.0.0.1:1",)))
            await visit.says(Change(base=0, generation=1, items=[make.item(make.guest("a"))]))
            await visit.hears_of(make.machine("a"), GuestState.RUNNING)
            assert channel.connected
            assert not visit.over.is_set()

    asyncio.run(story())


def test_an_agent_leaves_a_server_that_leaves_though_it_can_reach_no_other_directly(
    tls, me
) -> None:
    async def story() -> None:
        async with edge.serving(tls) as one, running(make.Rig(), me, one.address):
            visit = await one.visit()
            await visit.welcome()
            await visit.says(Elsewhere(servers=("127.0.0.1:1",), leaves=True))
            await visit.gone()
            await (await one.visit()).hears(Hello)  # by its configuration: a load balancer, say

    asyncio.run(story())


def test_an_agent_whose_only_server_died_goes_to_one_that_it_was_told_of(tls, me) -> None:
    async def story() -> None:
        async with edge.serving(tls) as other:
            async with edge.serving(tls) as one:
                rig = make.Rig()
                running_agent = running(rig, me, one.address)
                await running_agent.__aenter__()
                visit = await one.visit()
                await visit.hears(Hello)
                await visit.says(
                    Welcome(server="server-a", report_seconds=600, others=(other.address,))
                )
                await visit.hears(Report)
            try:
                await (await other.visit()).hears(Hello)
            finally:
                await running_agent.__aexit__(None, None, None)

    asyncio.run(story())


def test_an_agent_that_is_told_when_to_come_back_does_not_come_before(tls, me) -> None:
    async def story() -> None:
        clock = RealClock()
        async with edge.serving(tls) as one, running(make.Rig(), me, one.address):
            visit = await one.visit()
            await visit.welcome()
            await visit.says(Elsewhere(seconds=1.5))
            await visit.hears(Report)
            told = clock.monotonic()
            await visit.connection.close(1013, "no time")
            await one.visit()
            assert clock.monotonic() - told >= 1.4  # its usual pause would be a fiftieth of that

    asyncio.run(story())
