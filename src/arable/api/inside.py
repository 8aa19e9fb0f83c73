"""Calls of programs inside farms: brought by the agent of their network's router, answered by the API's own adaptor.

The agent says from which network and address somebody asks; that its host has that network's router now is looked up, so
no host speaks for others' machines. Then a request is made of it that never was on any wire, for a table of a few calls
(`routes/inside.py`), with a gate of its own: permissions, audit, errors and limits are the same code as for everybody.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Executor as Pool
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from arable.api.gate import bearer
from arable.api.incoming import Headers, Receive, Scope
from arable.api.operation import Access, Policy
from arable.domain.access import Caller
from arable.domain.errors import BadInput, TooOften
from arable.domain.ids import HostId
from arable.domain.inside import CALLS, MOST_BODY, MOST_TOKEN, GuestAnswer, GuestAsk
from arable.runtime.clock import Clock
from arable.services import inside
from arable.services.call import Surroundings
from arable.services.execution import Database
from arable.services.inside import Place

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

AT_ONCE, SECONDS = 20, 1.0
"""Calls of one address that may follow each other at once, and after how long there is one more."""
_MOST = 10_000  # addresses that are remembered
_PLACE = "arable.place"  # in a request's scope, where no header can put it


class InsideGate:
    """Lets callers from inside in, and nobody else. What is found out counts for one call."""

    def __init__(self, database: Database, around: Surroundings, pool: Pool) -> None:
        self._database = database
        self._around = around
        self._pool = pool

    async def caller(self, policy: Policy, said: Headers, scope: Scope, request: str) -> Caller:
        """Who asks; raises `Unauthenticated`, `Forbidden` or `NotFound`."""
        token = None if policy is Access.PUBLIC else bearer(said)
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._pool, self._who, scope[_PLACE], token)
        return replace(found, request=request)

    def still(self, said: Headers, scope: Scope) -> Callable[[], object]:
        """To ask on a thread, now and then: raises when who was let in may not be here any more."""
        return partial(self._who, scope[_PLACE], bearer(said))

    def _who(self, place: Place, token: str | None) -> Caller:
        with self._database.read() as tx:
            return inside.caller(tx, self._around, place, token)


@dataclass
class Inside:
    """`app` answers requests with a place in their scope. Used on one event loop."""

    app: App
    clock: Clock
    _left: "OrderedDict[tuple[str, str], tuple[float, float]]" = field(default_factory=OrderedDict)

    async def answer(self, host: HostId, epoch: int, ask: GuestAsk) -> GuestAnswer:
        """What is to be said to who asked there. Raises `BadInput` for what no router hands on, `TooOften`."""
        if (ask.method, ask.path) not in CALLS:
            raise BadInput("this is nothing that may be asked from inside", field="path")
        body = ask.body.encode() or (b"{}" if ask.method == "POST" else b"")
        if len(body) > MOST_BODY or len(ask.token) > MOST_TOKEN or not ask.token.isascii():
            raise BadInput("too long", field="body")
        self._admit(ask.network, ask.asker)
        headers = []
        if ask.token:
            headers.append((b"authorization", f"Bearer {ask.token}".encode()))
        if body:
            headers.append((b"content-type", b"application/json"))
            headers.append((b"content-length", str(len(body)).encode()))
        scope = {
            "type": "http",
            "method": ask.method,
            "path": ask.path,
            "query_string": b"",
            "headers": headers,
            "client": (ask.asker, 0),
            _PLACE: Place(host, epoch, ask.network, ask.asker),
        }
        return await self._answered(scope, body)

    async def _answered(self, scope: Scope, body: bytes) -> GuestAnswer:
        said: dict[str, Any] = {"status": 500, "after": 0, "body": b""}

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                said["status"] = message["status"]
                after = dict(message["headers"]).get(b"retry-after", b"0")
                said["after"] = int(after) if after.isdigit() else 0
            else:
                said["body"] += message.get("body", b"")

        await self.app(scope, receive, send)
        return GuestAnswer(status=said["status"], body=said["body"].decode(), after=said["after"])

    def _admit(self, network: str, asker: str) -> None:
        """Raises `TooOften`."""
        now, key = self.clock.monotonic(), (network, asker)
        left, at = self._left.get(key, (float(AT_ONCE), now))
        left = min(AT_ONCE, left + (now - at) / SECONDS)
        if left < 1:
            raise TooOften(
                "too many calls from this machine; ask again in a moment",
                why={"retry_after": int((1 - left) * SECONDS) + 1},
            )
        self._left[key] = (left - 1, now)
        self._left.move_to_end(key)
        while len(self._left) > _MOST:
            self._left.popitem(last=False)
