"""The process that answers http://169.254.169.254/ for all networks of a routing host.

It can reach nothing: it has a network namespace of its own with nothing in it, no powers, and no files but programs. What
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

from arable.appliance.metadata import Documents, answer

CONTROL, PID = "control", "pid"
MOST_BYTES = 8192  # of a request
MOST_SECONDS = 5.0  # for a request and its answer
MOST_OF_ONE = 8  # connections at once, of one machine
MOST_OF_NETWORK = 128
MOST = 4096

_REASONS = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
}


@dataclass(slots=True)
class Network:
    """What is served to one network. `netns` tells the namespace in which its socket was opened."""

    netns: int
    digest: str
    machines: dict[str, Documents]
    server: asyncio.Server | None = None
    open: Counter[str] = field(default_factory=Counter)


class Service:
    """All networks; used by the event loop's thread alone."""

    def __init__(self) -> None:
        self.networks: dict[str, Network] = {}
        self._open = 0

    async def order(self, ask: dict[str, Any], listening: socket.socket | None) -> dict[str, Any]:
        """Do what the agent says; the answer is what is served now."""
        held = self.networks.get(ask.get("network", ""))
        match ask["do"]:
            case "serve" if listening is not None:
                made = Network(ask["netns"], ask["digest"], ask["machines"])
                made.server = await asyncio.start_server(
                    lambda r, w: self._asked(made, r, w), sock=listening, limit=MOST_BYTES
                )
                self._close(held)
                self.networks[ask["network"]] = made
            case "serve" if held is not None:
                held.machines, held.digest = ask["machines"], ask["digest"]
            case "drop":
                self._close(self.networks.pop(ask["network"], None))
        return {name: [each.netns, each.digest] for name, each in self.networks.items()}

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
            async with asyncio.timeout(MOST_SECONDS):
                writer.write(await _answered(reader, network.machines.get(asker, {})))
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


async def _answered(reader: asyncio.StreamReader, found: Documents) -> bytes:
    """The whole answer to one request."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        return _page(431, b"too long\n")
    except asyncio.IncompleteReadError:
        return _page(400, b"not a request\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[1].startswith("/") or not words[2].startswith("HTTP/1."):
        return _page(400, b"not a request\n")
    if any(line.lower().startswith("x-forwarded-for:") for line in lines):
        # A proxy within the machine may be asking for somebody outside of it.
        return _page(403, b"not through a proxy\n")
    if words[0] not in ("GET", "HEAD"):
        return _page(405, b"only GET\n")
    text = answer(found, words[1].partition("?")[0])
    if text is None:
        return _page(404, b"there is nothing here\n")
    return _page(200, text.encode(), only_head=words[0] == "HEAD")


def _page(status: int, body: bytes, *, only_head: bool = False) -> bytes:
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n"
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
