"""The line on which the metadata service hands machines' calls on: the agent's end of it, and how frames look there.

The service has no network and no files, so the agent gives it one end of a pair of sockets. Each frame is a length of four
bytes, then JSON: an ask with a number, `[number, GuestAsk]`, and later its answer, `[number, GuestAnswer]`, in any order.
"""

import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from arable.domain.inside import GuestAnswer, GuestAsk

log = logging.getLogger(__name__)

Answer = Callable[[GuestAsk], GuestAnswer]
"""Blocks for some seconds at most; raises nothing."""

MOST_FRAME = 64 << 10
_THREADS = 4

_ask = msgspec.json.Decoder(tuple[int, GuestAsk])
_encode = msgspec.json.Encoder().encode


class Asking:
    """Answers what comes on one line, until either end closes it. `over` then tells so."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._near, self.far = socket.socketpair()
        self._writing = threading.Lock()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="inside")
        self.over = False

    def start(self) -> None:
        """`far` was handed over: it is nobody's here any more."""
        self.far.close()
        threading.Thread(target=self._read, name="inside-line", daemon=True).start()

    def close(self) -> None:
        """No more of it."""
        self.over = True
        with contextlib.suppress(OSError):
            self._near.shutdown(socket.SHUT_RDWR)
        self.far.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _read(self) -> None:
        try:
            with self._near, self._near.makefile("rb") as reading:
                while head := reading.read(4):
                    size = int.from_bytes(head, "big")
                    if size > MOST_FRAME:
                        raise ValueError(f"a frame of {size} bytes")
                    number, ask = _ask.decode(reading.read(size))
                    self._pool.submit(self._say, number, ask)
        except (OSError, ValueError, msgspec.DecodeError, RuntimeError) as error:
            if not self.over:
                log.warning("the line to the metadata service broke: %s", error)
        self.over = True

    def _say(self, number: int, ask: GuestAsk) -> None:
        data = _encode((number, self._answer(ask)))
        with self._writing, contextlib.suppress(OSError):  # nobody waits any more
            self._near.sendall(len(data).to_bytes(4, "big") + data)


def unavailable(why: str) -> GuestAnswer:
    """What is said while nobody can be asked."""
    said: dict[str, Any] = {
        "type": "urn:arable:problem:unavailable",
        "title": "Not available now",
        "status": 503,
        "detail": why,
    }
    return GuestAnswer(status=503, body=_encode(said).decode(), after=5)
