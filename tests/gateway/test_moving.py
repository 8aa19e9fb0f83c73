"""Agents among several servers: who has too many asks some to go, who leaves asks all, and who is behind lets nobody in."""

import asyncio
from datetime import timedelta

import pytest
from living_agent import living
from make_gateway import rig, run, until
from websockets.exceptions import InvalidStatus

from arable.domain.errors import Unavailable
from arable.domain.ids import SegmentId
from arable.domain.segment import Segment, SegmentState
from arable.services.spread import LEAST
from arable.store import leases, segments
from arable.wire.agent import Elsewhere, Welcome

OTHER = "server-2"


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """What happens every few seconds happens all the time."""
    monkeypatch.setattr("arable.api.gateway.channels.LOOK_EVERY", 0.05)


def there(one, name: str = OTHER, address: str = "127.0.0.1:1", age: float = 0.0) -> None:
    """Another server, as the store knows it."""

    def known(tx) -> None:
        at = leases.now(tx, one.around.clock.now()) - timedelta(seconds=age)
        said = Segment(
            id=SegmentId(name),
            seq=0,
            epoch=0,
            address=address,
            state=SegmentState.READY,
            heartbeat_at=at,
        )
        segments.register(tx, said)

    one.writer.submit(known).result(60)


async def noticed(one) -> None:
    """It knows of the other one."""
    await until(lambda: one.channels._peers)


async def elsewhere(agent) -> Elsewhere:
    while True:
        heard = await agent.hear()
        if isinstance(heard, Elsewhere):
            return heard


def test_a_welcome_names_the_other_servers_that_are_there(database, tmp_path):
    async def scenario():
        async with rig(database, tmp_path) as one:
            there(one, address="192.0.2.7:8443")
            there(one, "server-3", "192.0.2.8:8443", age=60)
            await noticed(one)
            host = one.joined("h1")
            async with one.agent(host) as agent:
                await agent.hello(moves=True)
                welcome = await agent.hear()
                assert isinstance(welcome, Welcome)
                assert welcome.others == ("192.0.2.7:8443",)
            assert one.channels.pace.first == {"192.0.2.7"}

    run(scenario())


def test_a_server_with_more_than_its_share_asks_some_and_no_more(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            hosts = [one.joined(f"h{at}") for at in range(3 * LEAST)]
            agents = [one.agent(host) for host in hosts]
            live = [await each.__aenter__() for each in agents]
            for each in live:
                await each.hello(moves=True)
                assert isinstance(await each.hear(), Welcome)
            there(one)
            await until(lambda: any(c.asked_at for c in one.channels._all))
            one.channels._peers = ()
            asked = [c for c in one.channels._all if c.asked_at]
            assert len(asked) == LEAST  # its share would be 12
            told = await asyncio.wait_for(
                elsewhere(next(each for each in live if each.host == asked[0].host)), 30
            )
            assert told == Elsewhere(servers=("127.0.0.1:1",))
            for each in agents:
                await each.__aexit__(None, None, None)

    run(scenario())


def test_a_server_that_leaves_sends_its_agents_to_the_others(database, tmp_path):
    leaving = False

    async def scenario():
        nonlocal leaving
        async with rig(database, tmp_path, leaving=lambda: leaving) as one:
            old, new = one.joined("h1"), one.joined("h2")
            there(one)
            await noticed(one)
            async with one.agent(old) as before, one.agent(new) as now:
                await before.greeted()
                await now.hello(moves=True)
                leaving = True
                assert await elsewhere(now) == Elsewhere(servers=("127.0.0.1:1",), leaves=True)
                assert (await before.closed())[0] == 1012  # it would not understand
                with pytest.raises(InvalidStatus) as refused:
                    await one.agent(old).__aenter__()
                assert refused.value.response.status_code == 429
                assert refused.value.response.headers["Retry-After"] == "1"

    run(scenario())


def test_a_server_that_leaves_keeps_its_agents_while_there_is_no_other(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path, leaving=lambda: True) as one:
            host = one.joined("h1")
            async with one.agent(host) as agent:
                await agent.greeted()
                one.wish(host, "machine-a", {})
                await agent.change()

    run(scenario())


def test_whoever_comes_while_the_store_is_behind_is_told_when_to_come_back(
    sqlite, tmp_path, monkeypatch
):
    monkeypatch.setattr("arable.api.gateway.channels.GREETINGS", 0)

    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            host = one.joined("h1")
            with pytest.raises(InvalidStatus) as refused:
                await one.agent(host).__aenter__()
            assert int(refused.value.response.headers["Retry-After"]) >= 2
            monkeypatch.setattr("arable.api.gateway.channels.GREETINGS", 1)
            async with one.agent(host) as agent:
                await agent.greeted()

    run(scenario())


def test_whoever_can_not_be_greeted_now_is_told_when_to_come_back(sqlite, tmp_path, monkeypatch):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            host = one.joined("h1")

            def away(*_args, **_more):
                raise Unavailable("the database does not answer")

            with monkeypatch.context() as broken:
                broken.setattr("arable.services.agents.greet", away)
                async with one.agent(host) as agent:
                    await agent.hello(moves=True)
                    assert (await elsewhere(agent)).seconds >= 2
                    assert (await agent.closed())[0] == 1013

    run(scenario())


def test_connections_wait_for_their_turn_and_come_through_then(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            host = one.joined("h1")
            one.channels.pace.rate = 40.0
            one.channels.pace._free = one.channels.pace.monotonic() + 0.5
            began = one.channels.pace.monotonic()
            async with one.agent(host) as agent:
                assert one.channels.pace.monotonic() - began >= 0.5
                await agent.greeted()
            one.channels.pace._free = one.channels.pace.monotonic() + 60
            with pytest.raises(OSError):
                await one.agent(host).__aenter__()

    run(scenario())


def test_real_agents_go_from_a_server_that_leaves_to_the_other_one_and_back(database, tmp_path):
    """Both are on one store, each with its own name."""
    leaving = {"server-1": False, "server-2": False}

    async def scenario():
        async with (
            rig(database, tmp_path, leaving=lambda: leaving["server-1"]) as one,
            rig(database, tmp_path, name="server-2", leaving=lambda: leaving["server-2"]) as two,
        ):
            there(one, "server-1", f"127.0.0.1:{one.port}")
            there(one, "server-2", f"127.0.0.1:{two.port}")
            hosts = [one.joined(f"h{at}") for at in range(4)]

            def at(server) -> int:
                return len([c for c in server.channels._all if c.ready])

            async with (
                living(hosts[0], one.port, lambda: one.tls(hosts[0])),
                living(hosts[1], one.port, lambda: one.tls(hosts[1])),
                living(hosts[2], one.port, lambda: one.tls(hosts[2])),
                living(hosts[3], one.port, lambda: one.tls(hosts[3])),
            ):
                await until(lambda: at(one) == 4)
                leaving["server-1"] = True
                await until(lambda: at(two) == 4)
                await until(lambda: at(one) == 0)
                rows = one.rows("select distinct server from host")
                assert rows == [("server-2",)]
                leaving.update({"server-1": False, "server-2": True})
                await until(lambda: at(one) == 4)

    run(scenario())
