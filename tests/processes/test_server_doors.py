"""A whole management server, put together as in production: what its gateway shows, and whom its consoles believe."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from agent import edge
from arable.client.arable import Arable
from arable.domain.console import Visit
from arable.domain.ids import HostId, MachineId, UserId
from arable.processes.ready import credentials
from arable.processes.server import Server, ServerConfig, assemble, serving
from arable.runtime.ca import Authority, blind_context, peer
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy
from arable.runtime.showing import chain
from gateway.make_gateway import run

CHANCE = Entropy.system()
NOBODY_THERE = 1013
"""What a console is closed with whose host has no channel: its user was let in."""


@asynccontextmanager
async def server(directory: Path) -> AsyncIterator[Server]:
    config = ServerConfig(data=directory, api="127.0.0.1:0", gateway="127.0.0.1:0")
    async with serving(assemble(config, RealClock(), CHANCE)) as made:
        yield made


def shown_by(address: str) -> list[bytes]:
    """The certificates that the other end sends, in order."""
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), edge.WITHIN) as plain,
        blind_context().wrap_socket(plain, server_hostname=host) as wrapped,
    ):
        return chain(wrapped)


def test_the_gateway_shows_its_certificate_and_then_its_authority(tmp_path) -> None:
    async def story() -> None:
        async with server(tmp_path) as made:
            shown = await asyncio.to_thread(shown_by, made.ready.gateway)
            authority = ssl.PEM_cert_to_DER_cert(made.around.authority.pem)
            assert len(shown) == 2
            assert peer(shown[0]).common_name == "server"
            assert shown[1] == authority
            # Both are said by us: what TLS does of itself with an authority that it trusts is not relied on.
            kept = (tmp_path / "gateway.pem").read_text()
            assert kept.count("BEGIN CERTIFICATE") == 2
            assert kept.endswith(Authority.load(tmp_path / "authority", RealClock(), CHANCE).pem)

    run(story())


async def visits(made: Server, user: UserId, authorization: str | None) -> int:
    """With a ticket of the user: 403, or the code with which the console ends."""
    ticket = made.around.consoles.issue(Visit(user, MachineId("machine-a"), HostId("host-a")))
    headers = {"Authorization": authorization} if authorization is not None else {}
    url = made.ready.api.replace("http", "ws", 1) + f"/v1/console/{ticket}"
    try:
        async with connect(url, proxy=None, additional_headers=headers) as wire:
            await wire.recv()
    except InvalidStatus as refused:
        return refused.response.status_code
    except ConnectionClosed as closed:
        return closed.rcvd.code
    pytest.fail("a console without a host said something")


def test_a_console_opens_by_ticket_alone_and_to_no_credential_of_anybody_else(tmp_path) -> None:
    async def story() -> None:
        async with server(tmp_path) as made:
            first = credentials(tmp_path)

            def signed_in() -> tuple[Arable, UserId]:
                client = Arable(made.ready.api)
                client.sign_in(first.name, first.password)
                return client, UserId(client.users.whoami().user)

            client, user = await asyncio.to_thread(signed_in)
            token = client.connection.token
            other = UserId("user-other")
            assert await visits(made, user, None) == NOBODY_THERE
            assert await visits(made, user, f"Bearer {token}") == NOBODY_THERE
            assert await visits(made, other, None) == NOBODY_THERE
            assert await visits(made, other, f"Bearer {token}") == 403
            for nonsense in ("Bearer x", "Bearer ", "Basic YTpi", f"Bearer {token}x", f"{token}"):
                assert await visits(made, user, nonsense) == 403, nonsense
            await asyncio.to_thread(client.sessions.end)
            assert await visits(made, user, f"Bearer {token}") == 403
            client.close()

    run(story())
