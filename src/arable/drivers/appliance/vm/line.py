"""The host's end of the line to a router's machine: kept up on a thread of its own, whatever becomes of either end.

The machine is told what to be when it is heard and has not done so. What it says may be a stranger's who took it over: it
counts for its own network alone, is bounded in size and number, and is never run, shown or stored as anything but text.
"""

import logging
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from arable.domain.errors import Unavailable
from arable.domain.ids import NetworkId
from arable.domain.inside import CALLS, MOST_BODY, MOST_TOKEN, GuestAnswer, GuestAsk
from arable.domain.manifest import ApplianceWish, LeaseWish
from arable.drivers.appliance.asking import Answer, unavailable
from arable.drivers.appliance.vm import words
from arable.runtime.clock import Clock

log = logging.getLogger(__name__)

_AGAIN_SECONDS = 0.2  # between attempts to reach a machine that is about to start
_SENDS_SECONDS = 30.0
_THREADS, _MOST_ASKS = 4, 32


class Line:
    """To the machine of one network, at its socket."""

    def __init__(self, network: NetworkId, path: Path, clock: Clock) -> None:
        self._network, self._path, self._clock = network, path, clock
        self.answer: Answer | None = None  # who is asked what machines ask
        self._state = threading.Condition()
        self._order: words.Order | None = None
        self._sent = 0  # the order that went over the connection that there is
        self._news: words.News | None = None  # of that connection
        self._heard_at = 0.0
        self._closed = threading.Event()
        self._socket: socket.socket | None = None
        self._writing = threading.Lock()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="router-asks")
        self._asks = threading.BoundedSemaphore(_MOST_ASKS)
        threading.Thread(target=self._live, name=f"line {network}", daemon=True).start()

    def close(self) -> None:
        """No more of it. The machine runs on."""
        self._closed.set()
        with self._state:
            if self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
            self._state.notify_all()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def news(self) -> tuple[words.News, float] | None:
        """What was heard last of the machine that is there, and how many seconds ago."""
        with self._state:
            if self._news is None:
                return None
            return self._news, self._clock.monotonic() - self._heard_at

    def await_news(self, seconds: float) -> None:
        """Until something was heard, or for so long."""
        with self._state:
            self._state.wait_for(lambda: self._news is not None or self._closed.is_set(), seconds)

    def order(self, wish: ApplianceWish, leases: Sequence[LeaseWish]) -> int:
        """Be this, as soon as you are there; the number of the order, higher than any before on this host."""
        with self._state:
            before = self._order.number if self._order else 0
            number = max(before + 1, int(self._clock.now().timestamp() * 1e6))
            self._order = words.Order(number, wish, tuple(leases))
            there = self._news is not None
        if there:
            self._send_order()
        return number

    def obeyed(self, number: int, seconds: float) -> bool:
        """Whether the order was carried out, which is waited for. False: the machine went away, or has no time.

        Raises `Unavailable` with what kept the router from it.
        """

        def over() -> bool:
            return self._closed.is_set() or self._news is None or self._news.done >= number

        with self._state:
            self._state.wait_for(over, seconds)
            news = self._news
        if news is None or news.done != number:
            return False
        if news.failed:
            raise Unavailable(news.failed[:500], detail=news.detail[:2000])
        return True

    # -- the thread -----------------------------------------------------------------------------

    def _live(self) -> None:
        while not self._closed.is_set():
            try:
                with _connected(self._path) as line:
                    self._use(line)
            except OSError as error:
                log.debug("the line to the router of %s: %s", self._network, error)
            self._closed.wait(_AGAIN_SECONDS)

    def _use(self, line: socket.socket) -> None:
        with self._state:
            self._socket = line
        try:
            self._send(b"\n")
            for sentence in _lines(line):
                if self._closed.is_set():
                    return
                self._hear(words.heard_by_host(sentence))
        finally:
            with self._state:
                self._socket, self._news, self._sent = None, None, 0
                self._state.notify_all()

    def _hear(self, sentence: words.ToHost | None) -> None:
        match sentence:
            case words.News() as news:
                with self._state:
                    self._news, self._heard_at = news, self._clock.monotonic()
                    self._state.notify_all()
                self._send_order()
            case words.Ask(number=number, ask=ask):
                if _is_call(ask) and self._asks.acquire(blocking=False):
                    self._pool.submit(self._reply, number, replace(ask, network=self._network))
                else:
                    self._tell(number, unavailable("one after the other"))

    def _reply(self, number: int, ask: GuestAsk) -> None:
        try:
            answer = self.answer
            self._tell(number, answer(ask) if answer else unavailable("nobody can be asked now"))
        finally:
            self._asks.release()

    def _tell(self, number: int, answer: GuestAnswer) -> None:
        with suppress(OSError):  # whoever asked is gone
            self._send(words.said(words.Answer(number, answer)))

    def _send_order(self) -> None:
        """Unless it was sent already, or done before this connection was made."""
        with self._state:
            order, news = self._order, self._news
            if order is None or news is None or order.number in (self._sent, news.done):
                return
            self._sent = order.number
        with suppress(OSError):  # it is said again when there is a machine
            self._send(words.said(order))

    def _send(self, data: bytes) -> None:
        with self._writing:
            line = self._socket
            if line is None:
                raise OSError("nobody is there")
            try:
                line.sendall(data)
            except OSError:
                # Half a sentence may be there: on another line all is said anew.
                with suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)
                raise


def _is_call(ask: GuestAsk) -> bool:
    fits = len(ask.token) <= MOST_TOKEN and len(ask.body) <= MOST_BODY
    return fits and (ask.method, ask.path) in CALLS


def _connected(path: Path) -> socket.socket:
    """Through the folder's descriptor: a socket's path has room for a hundred letters only."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        line = socket.socket(socket.AF_UNIX)
        try:
            line.connect(f"/proc/self/fd/{folder}/{path.name}")
            timeout = int(_SENDS_SECONDS)
            line.setsockopt(
                socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout.to_bytes(8, "little") + bytes(8)
            )
        except OSError:
            line.close()
            raise
        return line
    finally:
        os.close(folder)


def _lines(line: socket.socket) -> Iterator[bytes]:
    rest = b""
    while data := line.recv(1 << 16):
        *whole, rest = (rest + data).split(b"\n")
        yield from whole
        if len(rest) > words.MOST_LINE:
            raise OSError("it talks without an end")
