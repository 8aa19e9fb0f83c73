"""Management servers ask each other who they are: over mutual TLS, within a deadline, and nobody else is told."""

import asyncio
import socket
import threading

import httpx
import pytest

from arable.client.peers import Peers
from arable.domain.errors import BadInput
from arable.runtime.ca import Authority, IdentityKind, client_context, new_request
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy
from arable.wire.cluster import PING, Pong
from gateway.make_gateway import rig, run

CLOCK = RealClock()
DEADLINE = 20.0  # generous: these ask whether it answers at all


def certified(one, name="server-b", authority: Authority | None = None) -> str:
    """A server's certificate for asking."""
    return one.certified(name, IdentityKind.PEER, authority)


def peers(one, who: str, deadline: float = DEADLINE) -> Peers:
    return Peers(lambda: one.tls(who), CLOCK.monotonic, deadline)


async def asked(one, who: str | None, method: str = "GET") -> httpx.Response:
    url = f"https://127.0.0.1:{one.port}{PING}"
    async with httpx.AsyncClient(verify=one.tls(who), trust_env=False, timeout=60) as client:
        return await client.request(method, url)


def test_a_server_is_told_who_answers_and_what_it_acts_as(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            asking = peers(one, certified(one))
            address = f"127.0.0.1:{one.port}"
            for epoch in (7, 8):
                one.pong = Pong(id="server-1", incarnation=3, epoch=epoch)
                assert await asyncio.to_thread(asking.ping, address) == one.pong
            (kept,) = asking._kept.values()
            before = kept.sock.getsockname()
            assert await asyncio.to_thread(asking.ping, address) == one.pong
            assert kept.sock.getsockname() == before, "one connection for all of them"
            found = await asyncio.to_thread(asking.ping_all, [address, "127.0.0.1:1"])
            assert found == {address: one.pong, "127.0.0.1:1": None}
            asking.close()

    run(scenario())


def test_nobody_else_is_told(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            assert (await asked(one, None)).status_code == 401
            assert (await asked(one, one.certified("host-a"))).status_code == 403
            assert (await asked(one, one.certified("disks", IdentityKind.DISKS))).status_code == 403
            other = Authority.create(tmp_path / "other", CLOCK, Entropy("other"))
            with pytest.raises(httpx.HTTPError):
                await asked(one, certified(one, "server-x", other))
            assert (await asked(one, certified(one))).status_code == 200
            assert (await asked(one, "server-b", "POST")).status_code == 405

    run(scenario())


def test_what_servers_ask_with_opens_nothing_that_is_for_hosts(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            who = certified(one)
            async with httpx.AsyncClient(verify=one.tls(who), trust_env=False) as client:
                base = f"https://127.0.0.1:{one.port}/agent/v1/"
                assert (await client.post(f"{base}renew")).status_code == 403
                assert (await client.get(f"{base}images/{'0' * 64}")).status_code == 403

    run(scenario())


def test_a_server_can_not_listen_with_what_it_asks_with(tmp_path):
    authority = Authority.create(tmp_path, CLOCK, Entropy("ca"))
    made = new_request("server-a")
    with pytest.raises(BadInput):
        authority.sign(made.request, "server-a", IdentityKind.PEER, 24, ["127.0.0.1"])


def test_one_that_listens_and_says_nothing_is_given_up_at_the_deadline(tmp_path):
    """As a frozen server does: the kernel accepts for it."""
    authority = Authority.create(tmp_path, CLOCK, Entropy("ca"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        asking = Peers(lambda: client_context(authority.pem), CLOCK.monotonic, 0.3)
        begun = CLOCK.monotonic()
        assert asking.ping(address) is None
        assert 0.25 < CLOCK.monotonic() - begun < 20
        asking.close()


def test_a_connection_that_was_kept_and_died_is_made_anew(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            asking = peers(one, certified(one))
            address = f"127.0.0.1:{one.port}"
            assert await asyncio.to_thread(asking.ping, address)
            asking._kept[address].sock.shutdown(socket.SHUT_RDWR)
            assert await asyncio.to_thread(asking.ping, address) == one.pong
            asking.close()

    run(scenario())


def test_nonsense_for_an_answer_is_none(tmp_path):
    authority = Authority.create(tmp_path, CLOCK, Entropy("ca"))
    for address in ("", "nowhere", "127.0.0.1:x", "127.0.0.1:99999", "[::1"):
        asking = Peers(lambda: client_context(authority.pem), CLOCK.monotonic, 1.0)
        assert asking.ping(address) is None, address
        asking.close()
    with socket.create_server(("127.0.0.1", 0)) as door:

        def babble() -> None:
            spoken, _ = door.accept()
            with spoken:
                spoken.sendall(b"SSH-2.0-nonsense\r\n" * 9)

        thread = threading.Thread(target=babble)
        thread.start()
        asking = Peers(lambda: client_context(authority.pem), CLOCK.monotonic, DEADLINE)
        assert asking.ping(f"127.0.0.1:{door.getsockname()[1]}") is None
        thread.join()
        asking.close()


def test_one_that_hangs_up_is_noticed_at_once_and_a_bell_ends_the_wait(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            asking = peers(one, certified(one))
            address = f"127.0.0.1:{one.port}"
            assert await asyncio.to_thread(asking.ping, address)
            begun = CLOCK.monotonic()
            await asyncio.to_thread(asking.rest, address, 0.2)
            assert CLOCK.monotonic() - begun >= 0.19, "nothing happened"
            waiting = asyncio.create_task(asyncio.to_thread(asking.rest, address, 60.0))
            asking._kept[address].sock.shutdown(socket.SHUT_RDWR)
            await asyncio.wait_for(waiting, 30)
            waiting = asyncio.create_task(asyncio.to_thread(asking.rest, "nowhere:1", 60.0))
            asking.ring()
            await asyncio.wait_for(waiting, 30)
            asking.close()

    run(scenario())
