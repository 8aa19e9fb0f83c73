"""A serial console all the way: a user's websocket, the API, the gateway, a real agent, its hypervisor's socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from living_agent import living
from make_gateway import rig, run, until
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from agent import make_agent as make
from agent.test_console import MACHINE, FakeConsole, Talks
from arable.api import console
from arable.domain.console import Visit
from arable.domain.errors import Unauthenticated
from arable.domain.ids import HostId, MachineId, UserId

SOON = 60.0
USER = UserId("user-u")


@asynccontextmanager
async def api(one) -> AsyncIterator[str]:
    """The public API's server, with the console's route and nothing else."""
    config = uvicorn.Config(
        Starlette(routes=[console.route(one.consoles)]),
        ws=console.ConsoleWebSocket,
        ws_max_size=console.MOST,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
    )
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: HttpToolsProtocol(config, state, {}), "127.0.0.1", 0
    )
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}{console.PATH}"
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
        await asyncio.gather(*state.tasks, return_exceptions=True)


@asynccontextmanager
async def host_of(one, directory, name: str = "h1") -> AsyncIterator[HostId]:
    """A real agent on its channel; its machine `a` has a console in the directory."""
    host, hardware = one.joined(name), make.Rig()
    async with living(
        host,
        one.port,
        lambda: one.tls(host),
        hardware=hardware,
        hypervisor=Talks(hardware.hardware, directory),
    ):
        await until(lambda: host in one.channels.hosts)
        yield host


def ticket(one, host: HostId, machine: MachineId = MACHINE) -> str:
    return one.around.consoles.issue(Visit(USER, machine, host))


@asynccontextmanager
async def visiting(url: str, shown: str, **more) -> AsyncIterator[ClientConnection]:
    async with connect(url + shown, proxy=None, compression=None, close_timeout=5, **more) as wire:
        yield wire


async def hears(wire: ClientConnection, count: int) -> bytes:
    heard = b""
    async with asyncio.timeout(SOON):
        while len(heard) < count:
            heard += await wire.recv()
    return heard


async def ends(wire: ClientConnection) -> tuple[int | None, bytes]:
    """How it was closed, and what was said before."""
    heard = b""
    async with asyncio.timeout(SOON):
        try:
            while True:
                heard += await wire.recv()
        except ConnectionClosed:
            return wire.close_code, heard


def test_what_is_typed_reaches_the_machine_and_what_it_says_comes_back(sqlite, tmp_path):
    async def scenario():
        async with (
            rig(sqlite, tmp_path) as one,
            FakeConsole(tmp_path / "a.sock", log=b"booted\n") as machine,
            host_of(one, tmp_path) as host,
            api(one) as url,
        ):
            async with visiting(url, ticket(one, host)) as user:
                assert await hears(user, 7) == b"booted\n"
                await user.send(b"\x00\x1b[A\xff")
                assert await machine.typed(5) == b"\x00\x1b[A\xff"
                await user.send("text is taken as its bytes ü")
                assert await machine.typed(29) == "text is taken as its bytes ü".encode()
                machine.say(b"\xfe\x00login: ")
                assert await hears(user, 9) == b"\xfe\x00login: "
            await machine.left()

    run(scenario())


def test_two_users_share_a_console_and_each_needs_a_ticket(sqlite, tmp_path):
    async def scenario():
        async with (
            rig(sqlite, tmp_path) as one,
            FakeConsole(tmp_path / "a.sock") as machine,
            host_of(one, tmp_path) as host,
            api(one) as url,
            visiting(url, ticket(one, host)) as user,
            visiting(url, ticket(one, host)) as other,
        ):
            await user.send(b"1")
            await other.send(b"2")
            assert sorted(await machine.typed(2)) == sorted(b"12")
            machine.say(b"seen by both")
            assert await hears(user, 12) == await hears(other, 12) == b"seen by both"
            assert machine.clients == 1

    run(scenario())


def test_a_ticket_opens_one_console_once(sqlite, tmp_path, caplog):
    caplog.set_level("DEBUG")

    async def scenario():
        async with (
            rig(sqlite, tmp_path) as one,
            FakeConsole(tmp_path / "a.sock"),
            host_of(one, tmp_path) as host,
            api(one) as url,
        ):
            shown = ticket(one, host)
            async with visiting(url, shown):
                for text in (shown, "nonsense", shown.upper(), "a" * 500):
                    with pytest.raises(InvalidStatus) as refused:
                        async with visiting(url, text):
                            pass
                    assert refused.value.response.status_code == 403
            return shown

    told = []

    async def remembering():
        told.append(await scenario())

    run(remembering())
    ours = [each for each in caplog.records if not each.name.startswith("websockets.client")]
    assert not any(told[0] in each.getMessage() for each in ours)


def test_a_credential_that_is_shown_must_be_of_the_user_whose_ticket_it_is(sqlite, tmp_path):
    async def scenario():
        async with (
            rig(sqlite, tmp_path) as one,
            FakeConsole(tmp_path / "a.sock"),
            host_of(one, tmp_path) as host,
            api(one) as url,
        ):

            async def identify(scope):
                said = dict(scope["headers"]).get(b"x-user")
                if said == b"bad":
                    raise Unauthenticated("no")
                return None if said is None else UserId(said.decode())

            one.consoles._identify = identify
            for who, fine in ((USER, True), ("user-v", False), ("bad", False)):
                opening = visiting(url, ticket(one, host), additional_headers={"x-user": who})
                if fine:
                    async with opening:
                        pass
                else:
                    with pytest.raises(InvalidStatus):
                        async with opening:
                            pass

    run(scenario())


def test_a_host_that_has_no_channel_here_is_told_at_once(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one, api(one) as url:
            away = one.joined("h1")
            async with visiting(url, ticket(one, away)) as user:
                assert (await ends(user))[0] == console.TRY_LATER

    run(scenario())


def test_a_machine_without_a_console_says_so_and_ends(sqlite, tmp_path):
    async def scenario():
        async with (
            rig(sqlite, tmp_path) as one,
            host_of(one, tmp_path) as host,
            api(one) as url,
            visiting(url, ticket(one, host, make.machine("z"))) as user,
        ):
            code, heard = await ends(user)
            assert code == console.ENDED
            assert b"does not run" in heard

    run(scenario())


def test_a_console_ends_with_its_machine(sqlite, tmp_path):
    async def scenario():
        async with (
            rig(sqlite, tmp_path) as one,
            FakeConsole(tmp_path / "a.sock") as machine,
            host_of(one, tmp_path) as host,
            api(one) as url,
        ):
            async with visiting(url, ticket(one, host)) as user:
                await machine.came()
                machine.hang_up()
                assert (await ends(user))[0] == console.ENDED
            await until(lambda: not one.consoles._meetings)

    run(scenario())


def test_a_console_that_nobody_uses_is_closed(sqlite, tmp_path):
    async def scenario():
        async with (
            rig(sqlite, tmp_path, console_idle=0.3) as one,
            FakeConsole(tmp_path / "a.sock") as machine,
            host_of(one, tmp_path) as host,
            api(one) as url,
        ):
            async with visiting(url, ticket(one, host)) as user:
                await machine.came()
                assert (await ends(user))[0] == console.IDLE_TOO_LONG
            await machine.left()

    run(scenario())


def test_another_host_cannot_take_a_console_that_was_asked_of_its_neighbour(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one, api(one) as url:
            host, thief = one.joined("h1"), one.joined("h2")
            async with one.agent(host) as agent:
                await agent.greeted()
                async with visiting(url, ticket(one, host)) as user:
                    asked = await agent.hear()
                    path = f"/agent/v1/console/{asked.ticket}"
                    for who, status in ((thief, 403), (None, 401)):
                        with pytest.raises(InvalidStatus) as refused:
                            async with one.agent(who, path):
                                pass
                        assert refused.value.response.status_code == status
                    async with one.agent(host, path) as far:
                        with pytest.raises(InvalidStatus):  # once is enough
                            async with one.agent(host, path):
                                pass
                        await far.wire.send(b"it is me")
                        assert await hears(user, 8) == b"it is me"

    run(scenario())


def test_a_host_that_does_not_answer_is_not_waited_for_for_ever(sqlite, tmp_path, monkeypatch):
    monkeypatch.setattr(console, "ANSWER_WITHIN", 0.3)

    async def scenario():
        async with rig(sqlite, tmp_path) as one, api(one) as url:
            host = one.joined("h1")
            async with one.agent(host) as agent:
                await agent.greeted()
                async with visiting(url, ticket(one, host)) as user:
                    asked = await agent.hear()
                    assert (await ends(user))[0] == console.TRY_LATER
                    with pytest.raises(InvalidStatus):
                        async with one.agent(host, f"/agent/v1/console/{asked.ticket}"):
                            pass

    run(scenario())


@pytest.mark.parametrize("slow", ["user", "host"])
def test_a_side_that_does_not_read_holds_the_other_one_up_and_nothing_is_lost(
    sqlite, tmp_path, slow
):
    """What is on its way is in the sockets and in one message of each side: no queue grows."""

    async def scenario():
        async with rig(sqlite, tmp_path) as one, api(one) as url:
            host = one.joined("h1")
            async with one.agent(host) as agent:
                await agent.greeted()
                async with visiting(url, ticket(one, host), max_queue=1) as user:
                    asked = await agent.hear()
                    async with one.agent(host, f"/agent/v1/console/{asked.ticket}") as far:
                        ours, theirs = (far.wire, user) if slow == "user" else (user, far.wire)
                        theirs.transport.pause_reading()
                        sent = 0
                        piece = bytes(range(256)) * 128

                        async def flood():
                            nonlocal sent
                            for _ in range(2000):  # 64 MB
                                await ours.send(piece)
                                sent += 1

                        flooding = asyncio.create_task(flood())
                        before = -1
                        while before < sent:
                            before = sent
                            await asyncio.wait({flooding}, timeout=0.5)
                        assert sent < 1500, "nothing held the fast side up"
                        theirs.transport.resume_reading()
                        for _ in range(2000):
                            async with asyncio.timeout(SOON):
                                assert await theirs.recv() == piece
                        await flooding

    run(scenario())


def test_a_message_that_is_too_large_ends_the_console(sqlite, tmp_path):
    async def scenario():
        async with (
            rig(sqlite, tmp_path) as one,
            FakeConsole(tmp_path / "a.sock"),
            host_of(one, tmp_path) as host,
            api(one) as url,
            visiting(url, ticket(one, host)) as user,
        ):
            await user.send(b"x" * (console.MOST + 1))
            assert (await ends(user))[0] == console.TOO_LARGE

    run(scenario())
