"""Customers in a hurry: `python -m bench.load`, a plan as JSON on its input, what came of it as JSON on its output.

One connection for each request in flight, each asking again as soon as it was answered. HTTP is written and read here
by hand, since a client library's work for each call would be as much as the server's.
"""

import asyncio
import sys
import time
from typing import cast

import msgspec
import uvloop

from bench.cloud import OFFERING
from bench.figures import percentile


class Plan(msgspec.Struct, frozen=True):
    """What to do."""

    url: str
    keys: list[str]  # of customers, taken in turn
    in_flight: int
    count: int  # machines in each call
    seconds: float
    prefix: str = "m"  # of the machines' names
    calls: int = 0  # at most; 0: as many as there is time for
    urls: list[str] = []  # of several servers, instead of one


class Outcome(msgspec.Struct, frozen=True):
    """What came of it. Times are of this machine's monotonic clock."""

    calls: int
    refused: int
    first_refusal: str
    p50_ms: float
    p99_ms: float
    cpu_seconds: float


class _Caller(asyncio.Protocol):
    """One connection."""

    def __init__(self, load: "_Load", number: int) -> None:
        self._load = load
        self._number = number
        self._buffer = b""
        self._began = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        answer = parsed(self._buffer)
        if answer is None:
            return
        self._buffer = b""
        status, body = answer
        load = self._load
        load.took.append(time.perf_counter() - self._began)
        if status != 202:
            load.refused += 1
            load.why = load.why or body.decode()
        if time.monotonic() < load.until and not 0 < load.plan.calls <= load.asked:
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.left(exc)

    def _ask(self) -> None:
        load = self._load
        # With a number of calls to make each customer has as many of them; else each connection is one's own.
        keys, turn = load.plan.keys, load.asked if load.plan.calls else self._number
        key = keys[turn % len(keys)]
        load.asked += 1
        body = b'{"name":"%s-%d","count":%d,"offering":"%s","image":"tiny"}' % (
            load.plan.prefix.encode(),
            load.asked,
            load.plan.count,
            OFFERING.encode(),
        )
        self._began = time.perf_counter()
        self._transport.write(
            b"POST /v1/machines HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %s\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (key.encode(), len(body), body)
        )


class _Load:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.asked = self.refused = 0
        self.why = ""
        self.took: list[float] = []
        self.until = time.monotonic() + plan.seconds
        self.over = asyncio.get_running_loop().create_future()
        self._here = plan.in_flight

    def left(self, error: Exception | None) -> None:
        """A caller has hung up, or was hung up on."""
        if error is not None and not self.over.done():
            self.over.set_exception(error)
        self._here -= 1
        if not self._here and not self.over.done():
            self.over.set_result(None)


def parsed(data: bytes) -> tuple[int, bytes] | None:
    """Status and body of a whole answer; None when there is more to come."""
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return None
    at = head.lower().index(b"\r\ncontent-length:") + 17
    length = int(head[at:].partition(b"\r\n")[0])
    if len(body) < length:
        return None
    return int(head[9:12]), body


async def run(plan: Plan) -> Outcome:
    """Ask for as long as the plan says, and wait for the last answers."""
    loop = asyncio.get_running_loop()
    load = _Load(plan)
    urls = plan.urls or [plan.url]
    for number in range(plan.in_flight):
        host, _, port = urls[number % len(urls)].partition("//")[2].rpartition(":")
        await loop.create_connection(lambda at=number: _Caller(load, at), host, int(port))
    await load.over
    return Outcome(
        calls=len(load.took),
        refused=load.refused,
        first_refusal=load.why,
        p50_ms=percentile(load.took, 50) * 1000,
        p99_ms=percentile(load.took, 99) * 1000,
        cpu_seconds=time.process_time(),
    )


def main() -> None:
    """Plan in, outcome out."""
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(run(plan))))


if __name__ == "__main__":
    main()
