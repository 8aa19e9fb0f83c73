"""The metadata server over real sockets: who asks is who it is, and nobody can hurt the others."""

import asyncio
import socket
import threading
from contextlib import asynccontextmanager

import pytest

from arable.domain.inside import GuestAnswer, GuestAsk
from arable.drivers.appliance import metadata_server as server
from arable.drivers.appliance.asking import Asking

ME, OTHER = "127.0.0.2", "127.0.0.3"
MINE = {"meta-data/instance-id": "mine", "user-data": "é" * 3}


@asynccontextmanager
async def served(**networks):
    """A service with these networks, and the port of each."""
    service = server.Service()
    ports = {}
    for name, machines in networks.items():
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        ports[name] = listening.getsockname()[1]
        order = {"do": "serve", "network": name, "netns": 1, "digest": "1", "machines": machines}
        await service.order(order, listening)
    yield service, ports
    for name in networks:
        await service.order({"do": "drop", "network": name}, None)
    assert service.networks == {}


async def ask(port: int, path: str, *, asker: str = ME, how: str = "GET", more: str = "") -> str:
    text = f"{how} {path} HTTP/1.1\r\nHost: 169.254.169.254\r\n{more}\r\n"
    return await say(port, text.encode(), asker=asker)


async def say(port: int, data: bytes, *, asker: str = ME) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(asker, 0))
    try:
        writer.write(data)
        return (await reader.read()).decode()
    except ConnectionResetError:
        return ""
    finally:
        writer.close()


def run(story):
    asyncio.run(asyncio.wait_for(story(), 20))


def test_who_asks_reads_their_own_and_nobody_else_s():
    async def story():
        async with served(net={ME: MINE, OTHER: {"user-data": "theirs"}}) as (_, ports):
            port = ports["net"]
            told = await ask(port, "/latest/user-data?x=1")
            assert told.startswith("HTTP/1.1 200 OK\r\n")
            assert "Content-Length: 6\r\n" in told
            assert told.endswith("\r\n\r\nééé")
            assert (await ask(port, "/latest/user-data", asker=OTHER)).endswith("theirs")
            assert " 404 " in await ask(port, "/latest/meta-data/instance-id", asker=OTHER)
            assert " 404 " in await ask(port, "/latest/user-data", asker="127.0.0.4")
            assert (await ask(port, "/latest/user-data", how="HEAD")).endswith("\r\n\r\n")

    run(story)


def test_the_same_address_in_another_network_is_somebody_else():
    async def story():
        async with served(one={ME: MINE}, two={ME: {"user-data": "two"}}) as (service, ports):
            assert (await ask(ports["two"], "/latest/user-data")).endswith("two")
            changed = {"do": "serve", "network": "two", "netns": 1, "digest": "2"}
            told = await service.order(changed | {"machines": {ME: {"user-data": "new"}}}, None)
            assert told == {"one": [1, "1"], "two": [1, "2"]}
            assert (await ask(ports["two"], "/latest/user-data")).endswith("new")
            assert (await ask(ports["one"], "/latest/user-data")).endswith("é")

    run(story)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\r\n\r\n", 400),
        (b"GET /latest/user-data\r\n\r\n", 400),
        (b"GET http://other/ HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x00\r\n\r\n", 400),
        (b"PUT /latest/api/token HTTP/1.1\r\n\r\n", 405),
        (b"GET /latest/user-data HTTP/1.1\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n", 403),
        (b"GET /" + b"a" * server.MOST_BYTES + b" HTTP/1.1\r\n\r\n", 431),
    ],
)
def test_what_is_no_plain_request_is_refused(data, status):
    async def story():
        async with served(net={ME: MINE}) as (_, ports):
            assert (await say(ports["net"], data)).startswith(f"HTTP/1.1 {status} ")
            assert (await ask(ports["net"], "/latest/user-data")).startswith("HTTP/1.1 200 ")

    run(story)


def test_one_that_holds_its_connections_open_keeps_nobody_else_out():
    async def story():
        async with served(net={ME: MINE, OTHER: MINE}) as (_, ports):
            held = [
                await asyncio.open_connection("127.0.0.1", ports["net"], local_addr=(ME, 0))
                for _ in range(server.MOST_OF_ONE)
            ]
            assert await ask(ports["net"], "/latest/user-data") == ""
            assert " 200 " in await ask(ports["net"], "/latest/user-data", asker=OTHER)
            for _, writer in held:
                writer.close()
                await writer.wait_closed()

    run(story)


@asynccontextmanager
async def asking(service, answer):
    """The service has a line, at whose other end this answers."""
    line = Asking(answer)
    await service.order({"do": "line"}, line.far.dup())
    line.start()
    try:
        yield line
    finally:
        line.close()
        await asyncio.wait([service.line.task])


def test_calls_are_handed_on_with_the_place_from_which_they_come():
    heard = []

    def answer(ask: GuestAsk) -> GuestAnswer:
        heard.append(ask)
        return GuestAnswer(status=202, body='{"count": 2}')

    async def story():
        async with served(net={ME: MINE}) as (service, ports), asking(service, answer):
            more = "Authorization: Bearer ae_x\r\nContent-Length: 11\r\nX: y\r\n"
            data = f"POST /arable/v1/self/tier?a=b HTTP/1.1\r\n{more}\r\n" + '{"more": 1}'
            told = await say(ports["net"], data.encode())
            assert told.startswith("HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\n")
            assert told.endswith('\r\n\r\n{"count": 2}')
            await ask(ports["net"], "/arable/v1/self", asker=OTHER)
            assert " 200 " in await ask(ports["net"], "/latest/user-data")

    run(story)
    place = {"network": "net", "method": "POST", "path": "/v1/self/tier"}
    assert heard == [
        GuestAsk(**place, asker=ME, token="ae_x", body='{"more": 1}'),
        GuestAsk(**place | {"method": "GET", "path": "/v1/self"}, asker=OTHER),
    ]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /arable/v1/tiers HTTP/1.1\r\n\r\n", 404),
        (b"GET /arable/v1/self/../users HTTP/1.1\r\n\r\n", 404),
        (b"GET /arable/v1/token HTTP/1.1\r\n\r\n", 405),
        (b"DELETE /arable/v1/self HTTP/1.1\r\n\r\n", 405),
        (b"POST /arable/v1/token HTTP/1.1\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n", 403),
        (b"POST /arable/v1/token HTTP/1.1\r\nContent-Length: 5000\r\n\r\n", 413),
        (b"POST /arable/v1/token HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /arable/v1/token HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /arable/v1/self HTTP/1.1\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n", 400),
        (b"GET /arable/v1/self HTTP/1.1\r\nAuthorization: Bearer " + b"a" * 600 + b"\r\n\r\n", 413),
    ],
)  # fmt: skip
def test_nothing_else_is_handed_on(data, status):
    heard = []

    async def story():
        async with served(net={ME: MINE}) as (service, ports), asking(service, heard.append):
            assert (await say(ports["net"], data)).startswith(f"HTTP/1.1 {status} ")

    run(story)
    assert heard == []


def test_without_a_line_calls_are_told_to_come_again_and_documents_are_there():
    async def story():
        async with served(net={ME: MINE}) as (service, ports):
            assert " 503 " in await ask(ports["net"], "/arable/v1/self")
            async with asking(service, lambda _ask: GuestAnswer(status=200, body="{}")):
                assert " 200 " in await ask(ports["net"], "/arable/v1/self")
            told = await ask(ports["net"], "/arable/v1/self")
            assert told.startswith("HTTP/1.1 503 ")
            assert "Retry-After: 5\r\n" in told
            assert " 200 " in await ask(ports["net"], "/latest/user-data")

    run(story)


def test_a_machine_asks_for_few_things_at_once_and_holds_nobody_else_up():
    may_go, come = threading.Event(), threading.Semaphore(0)

    def answer(ask: GuestAsk) -> GuestAnswer:
        if ask.asker == ME:
            come.release()
            may_go.wait(20)
        return GuestAnswer(status=200, body="{}")

    async def story():
        async with served(net={ME: MINE, OTHER: MINE}) as (service, ports), asking(service, answer):
            port = ports["net"]
            slow = [asyncio.create_task(ask(port, "/arable/v1/self")) for _ in range(2)]
            for _ in slow:
                await asyncio.to_thread(come.acquire)
            assert " 429 " in await ask(port, "/arable/v1/self")
            assert " 200 " in await ask(port, "/arable/v1/self", asker=OTHER)
            may_go.set()
            assert all(" 200 " in told for told in await asyncio.gather(*slow))

    run(story)
