"""Calls of programs inside farms over the agents' real port: as the host whose certificate brings them, and as nobody else."""

import asyncio

import httpx
import msgspec
from make_gateway import rig, run

from arable.agent.inside import Inside as Bringing
from arable.agent.join import Identity
from arable.api.inside import Inside
from arable.domain.ids import NetworkId, PoolId
from arable.domain.inside import GuestAsk
from arable.runtime.clock import RealClock

ASK = GuestAsk(
    network=NetworkId("network-a"),
    asker="10.1.1.10",
    method="POST",
    path="/v1/self/tier",
    token="ae_x",
    body='{"more": 1}',
)


class App:
    """Stands in for the API."""

    def __init__(self) -> None:
        self.asked = []

    async def __call__(self, scope, receive, send) -> None:
        self.asked.append((scope, (await receive())["body"]))
        headers = [(b"retry-after", b"7")]
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"count": 2}'})


def bringing(one, host, *more: str) -> Bringing:
    """The agent's end of it."""
    both = one.directory / f"{host}.both"
    key = (one.directory / f"{host}.key").read_text()
    both.write_text(key + (one.directory / f"{host}.pem").read_text())
    who = Identity(host, PoolId(""), one.around.authority.pem, both)
    return Bringing([*more, f"127.0.0.1:{one.port}"], lambda: who)


def test_an_agent_brings_a_call_and_a_server_that_does_not_listen_is_passed_over(sqlite, tmp_path):
    async def story() -> None:
        app = App()
        async with rig(sqlite, tmp_path, inside=Inside(app, RealClock())) as one:
            host = one.joined("a")
            told = await asyncio.to_thread(bringing(one, host, "127.0.0.1:1").answer, ASK)
            assert (told.status, told.body, told.after) == (202, '{"count": 2}', 7)
            ((scope, body),) = app.asked
            place = scope["arable.place"]
            assert (place.host, place.network, place.address) == (host, "network-a", "10.1.1.10")
            assert (scope["method"], scope["path"], body) == ("POST", ASK.path, b'{"more": 1}')
            assert (b"authorization", b"Bearer ae_x") in scope["headers"]
            elsewhere = GuestAsk(
                network=ASK.network, asker="10.1.1.10", method="GET", path="/v1/users"
            )
            assert (await asyncio.to_thread(bringing(one, host).answer, elsewhere)).status == 404
            for who, status in ((None, 401), (host, 400)):
                answer = await _post(one, who, elsewhere)
                assert answer.status_code == status
            assert (await _post(one, None, ASK)).status_code == 401
            assert len(app.asked) == 1

    run(story())


def test_without_a_server_that_answers_it_is_to_be_asked_again(sqlite, tmp_path):
    async def story() -> None:
        async with rig(sqlite, tmp_path) as one:
            agent = bringing(one, one.joined("a"))
            told = await asyncio.to_thread(agent.answer, ASK)
            assert (told.status, told.after) == (503, 5)

    run(story())


async def _post(one, who, ask: GuestAsk) -> httpx.Response:
    async with httpx.AsyncClient(verify=one.tls(who), trust_env=False, timeout=60) as client:
        url = f"https://127.0.0.1:{one.port}/agent/v1/inside"
        return await client.post(url, content=msgspec.json.encode(ask))
