"""A machine whose console shouts back, in place of a host's agent: the API, its websocket and the meeting are the real ones."""

import asyncio

from arable.api import console


class Shouting:
    """A machine whose console says everything again, louder; `bye` ends it."""

    def __init__(self) -> None:
        self.heard = b""
        self.consoles: console.Consoles | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def routes(self, around):
        self.consoles = console.Consoles(around.consoles, self.ask, around.entropy)
        return [console.route(self.consoles)]

    def ask(self, host: str, ticket: str, _machine: str) -> bool:
        self._tasks.append(asyncio.get_running_loop().create_task(self._answer(host, ticket)))
        return True

    async def _answer(self, host: str, ticket: str) -> None:
        words: asyncio.Queue[dict] = asyncio.Queue()
        words.put_nowait({"type": "websocket.connect"})

        async def send(message) -> None:
            if message["type"] == "websocket.accept":
                words.put_nowait({"type": "websocket.receive", "bytes": b"booted\r\n"})
            elif message["type"] == "websocket.send":
                self.heard += message["bytes"]
                again = message["bytes"].upper()
                words.put_nowait({"type": "websocket.receive", "bytes": again})
                if b"bye" in self.heard:
                    words.put_nowait({"type": "websocket.disconnect", "code": 1000})

        await self.consoles.agent(host, ticket, words.get, send)
