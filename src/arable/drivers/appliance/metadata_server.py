"""The process that answers http://169.254.169.254/ for all networks of a routing host.

It can reach nothing but the agent, by a line that this gave it (`asking.py`) and on which it hands on the few calls of
`domain/inside.py`; who asks, it tells by network and address: it has a network namespace of its own with nothing in it, no powers, and no files but programs. What
it serves are sockets that the agent opened inside the appliances' namespaces and handed over, with the documents of each
machine; on a socket of one network only that network's machines can ask, each at the address that is bound to its port.
It outlives the agent, as dnsmasq does, and ends when no network is left.

Orders come over a socket that only root reaches: a length of four bytes with, on `serve`, the listening socket beside it,
then JSON; the answer is framed alike.
"""

import asyncio
import json
import os
import resource
import socket
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arable.appliance.metadata import Documents, answer, call
from arable.domain.inside import MOST_BODY, MOST_TOKEN

CONTROL, PID = "control", "pid"
MOST_BYTES = 8192  # of a request
MOST_SECONDS = 5.0  # for a request and its answer
MOST_OF_ONE = 8  # connections at once, of one machine
MOST_OF_NETWORK = 128
MOST = 4096
MOST_SECONDS_ON = 20.0  # for a call that is handed on
MOST_ON_OF_ONE = 2  # calls at once, of one machine
MOST_ON = 64
_MOST_FRAME = 64 << 10

_TEXT, _JSON = "text/plain; charset=utf-8", "application/json"
_REASONS = {
    200: "OK",
    201: "Created",
    202: "Accepted",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    413: "Content Too Large",
    429: "Too Many Requests",
    503: "Service Unavailable",
    507: "Insufficient Storage",
    431: "Request Header Fields Too Large",
}


@dataclass(slots=True)
class Network:
    """What is served to one network. `netns` tells the namespace in which its socket was opened."""

    id: str
    netns: int
    digest: str
    machines: dict[str, Documents]
    server: asyncio.Server | None = None
    open: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Request:
    """What is asked. `call`: the path to be handed on, or the status with which it is refused; 0 for a document."""

    method: str
    path: str
    call: str | int
    token: str = ""
    body: str = ""


class Line:
    """To the agent, who can ask the cloud. Answers come in any order, each with the number of its ask."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._of: Counter[tuple[str, str]] = Counter()
        self._number = 0
        self.task = asyncio.get_running_loop().create_task(self._hear())

    async def ask(self, said: dict[str, Any]) -> dict[str, Any]:
        """What the cloud says; `status` and `body`, as it may be shown."""
        who = (said["network"], said["asker"])
        if self.task.done():
            return {"status": 503, "body": "nobody can be asked now\n", "after": 5}
        if self._of[who] >= MOST_ON_OF_ONE or len(self._waiting) >= MOST_ON:
            return {"status": 429, "body": "one after the other\n", "after": 1}
        self._number += 1
        number = self._number
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._of[who] += 1
        try:
            data = json.dumps([number, said]).encode()
            self._writer.write(len(data).to_bytes(4, "big") + data)
            told: dict[str, Any] = await answer
        finally:
            del self._waiting[number]
            self._of[who] -= 1
            if not self._of[who]:
                del self._of[who]
        return told

    def close(self) -> None:
        """Whoever waits is told that nobody answers."""
        self.task.cancel()
        self._writer.close()

    async def _hear(self) -> None:
        try:
            while True:
                size = int.from_bytes(await self._reader.readexactly(4), "big")
                if size > _MOST_FRAME:
                    return
                number, told = json.loads(await self._reader.readexactly(size))
                answer = self._waiting.get(number)
                if answer is not None and not answer.done():
                    answer.set_result(told)
        except (OSError, ValueError, asyncio.IncompleteReadError):
            pass  # the agent went away; it hands over another line when it is back
        finally:
            self._writer.close()
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_result({"status": 503, "body": "", "after": 5})


class Service:
    """All networks; used by the event loop's thread alone."""

    def __init__(self) -> None:
        self.networks: dict[str, Network] = {}
        self.line: Line | None = None
        self._open = 0

    async def order(self, ask: dict[str, Any], listening: socket.socket | None) -> dict[str, Any]:
        """Do what the agent says; the answer is what is served now."""
        held = self.networks.get(ask.get("network", ""))
        match ask["do"]:
            case "serve" if listening is not None:
                made = Network(ask["network"], ask["netns"], ask["digest"], ask["machines"])
                made.server = await asyncio.start_server(
                    lambda r, w: self._asked(made, r, w), sock=listening, limit=MOST_BYTES
                )
                self._close(held)
                self.networks[ask["network"]] = made
            case "serve" if held is not None:
                held.machines, held.digest = ask["machines"], ask["digest"]
            case "line" if listening is not None:
                before, self.line = self.line, Line(*await asyncio.open_connection(sock=listening))
                if before is not None:
                    before.close()
            case "drop":
                self._close(self.networks.pop(ask["network"], None))
        return {name: [each.netns, each.digest] for name, each in self.networks.items()}

    async def _handed_on(self, network: Network, asker: str, request: Request) -> bytes:
        """What the cloud says to it. A machine is known by the port from which it asks, not by what it says."""
        if self.line is None:
            return _page(503, b"nobody can be asked now\n", after=5)
        told = await self.line.ask(
            {
                "network": network.id,
                "asker": asker,
                "method": request.method,
                "path": request.call,
                "token": request.token,
                "body": request.body,
            }
        )
        body = str(told["body"]).encode()
        kind = _JSON if body.startswith(b"{") else _TEXT
        return _page(int(told["status"]), body, kind=kind, after=int(told.get("after", 0)))

    @staticmethod
    def _close(network: Network | None) -> None:
        if network is not None and network.server is not None:
            network.server.close()

    async def _asked(
        self, network: Network, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        asker = writer.get_extra_info("peername")[0]
        crowded = (
            self._open >= MOST
            or network.open.total() >= MOST_OF_NETWORK
            or network.open[asker] >= MOST_OF_ONE
        )
        if crowded:
            writer.transport.abort()
            return
        self._open += 1
        network.open[asker] += 1
        try:
            async with asyncio.timeout(MOST_SECONDS) as patience:
                request = await _read(reader)
                if isinstance(request, Request) and isinstance(request.call, str):
                    patience.reschedule(asyncio.get_running_loop().time() + MOST_SECONDS_ON)
                    writer.write(await self._handed_on(network, asker, request))
                else:
                    writer.write(_answered(request, network.machines.get(asker, {})))
                await writer.drain()
                writer.write_eof()
                await reader.read(1)  # the other end closes first, so that nothing is cut off
        except (OSError, TimeoutError):
            pass  # whoever asked went away, or takes too long
        finally:
            self._open -= 1
            network.open[asker] -= 1
            if not network.open[asker]:
                del network.open[asker]
            writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> Request | bytes:
    """A request, or the answer to what is none."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        return _page(431, b"too long\n")
    except asyncio.IncompleteReadError:
        return _page(400, b"not a request\n")
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[1].startswith("/") or not words[2].startswith("HTTP/1."):
        return _page(400, b"not a request\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name = name.strip().lower()
        if name in headers and name in ("authorization", "content-length"):
            return _page(400, b"a header is there twice\n")
        headers[name] = value.strip()
    if "x-forwarded-for" in headers:
        # A proxy within the machine may be asking for somebody outside of it.
        return _page(403, b"not through a proxy\n")
    path = words[1].partition("?")[0]
    made = Request(words[0], path, call(words[0], path))
    if isinstance(made.call, str):
        scheme, _, token = headers.get("authorization", "").partition(" ")
        made.token = token if scheme.lower() == "bearer" else ""
        length = headers.get("content-length", "0")
        if not length.isdecimal() or "transfer-encoding" in headers:
            return _page(400, b"say how long the body is\n")
        if len(length) > 5 or int(length) > MOST_BODY or len(made.token) > MOST_TOKEN:
            return _page(413, b"too long\n")
        try:
            made.body = (await reader.readexactly(int(length))).decode()
        except (UnicodeDecodeError, asyncio.IncompleteReadError):
            return _page(400, b"not a request\n")
    return made


def _answered(request: Request | bytes, found: Documents) -> bytes:
    """The whole answer to a request that is not handed on."""
    if isinstance(request, bytes):
        return request
    if isinstance(request.call, int) and request.call:
        return _page(request.call, b"there is no such call\n")
    if request.method not in ("GET", "HEAD"):
        return _page(405, b"only GET\n")
    text = answer(found, request.path)
    if text is None:
        return _page(404, b"there is nothing here\n")
    return _page(200, text.encode(), only_head=request.method == "HEAD")


def _page(
    status: int, body: bytes, *, only_head: bool = False, kind: str = _TEXT, after: int = 0
) -> bytes:
    later = f"Retry-After: {after}\r\n" if after else ""
    head = (
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Other')}\r\n"
        f"Content-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\n{later}"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "Connection: close\r\n\r\n"
    ).encode()
    return head if only_head else head + body


def send(to: socket.socket, what: object, *files: socket.socket) -> None:
    """One framed document."""
    data = json.dumps(what).encode()
    size = len(data).to_bytes(4, "big")
    if files:
        socket.send_fds(to, [size], [file.fileno() for file in files])
        to.sendall(data)
    else:
        to.sendall(size + data)


def receive(source: socket.socket) -> tuple[Any, list[int]]:
    """One framed document, and the files that came with it. Raises `ConnectionError` when the other end went away."""
    head, files, _, _ = socket.recv_fds(source, 4, 4)
    while len(head) < 4:
        head += _some(source, 4 - len(head))
    left = int.from_bytes(head, "big")
    parts = []
    while left:
        parts.append(_some(source, min(left, 1 << 20)))
        left -= len(parts[-1])
    return json.loads(b"".join(parts)), files


def _some(source: socket.socket, most: int) -> bytes:
    data = source.recv(most)
    if not data:
        raise ConnectionResetError("the other end went away")
    return data


def _take_orders(control: socket.socket, loop: asyncio.AbstractEventLoop, service: Service) -> None:
    """In a thread of its own, so that nobody waits while the agent writes."""
    while True:
        door, _ = control.accept()
        with door:
            door.settimeout(MOST_SECONDS)
            try:
                ask, files = receive(door)
                listening = socket.socket(fileno=files[0]) if files else None
                told = asyncio.run_coroutine_threadsafe(service.order(ask, listening), loop)
                served = told.result()
                send(door, served)
            except (OSError, ValueError, KeyError) as error:
                print(f"an order was not understood: {error!r}", file=sys.stderr)
                continue
        if not served and ask["do"] == "drop":
            loop.call_soon_threadsafe(loop.stop)
            return


def main(folder: Path, user: int) -> None:
    """Go to the background once orders are taken, and give up all rights."""
    control = socket.socket(socket.AF_UNIX)
    (folder / CONTROL).unlink(missing_ok=True)
    control.bind(str(folder / CONTROL))
    control.listen(16)
    if os.fork():
        os._exit(0)
    os.setsid()
    (folder / PID).write_text(str(os.getpid()))
    nowhere = os.open("/dev/null", os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * MOST, 2 * MOST))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it holds what others must not read
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    loop = asyncio.new_event_loop()
    service = Service()
    threading.Thread(target=_take_orders, args=(control, loop, service), daemon=True).start()
    loop.run_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
