"""The program within a router's machine: it is told on the line what router to be, and says how that does.

The router itself is the one of `namespace.py`, in a namespace of this machine's kernel: what packets meet is the same in
both runtimes. Whatever ends this program ends the machine, and its host starts it anew.
"""

import logging
import os
import queue
import select
import sys
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Protocol

from arable.domain.errors import CloudError
from arable.domain.ids import NetworkId
from arable.domain.inside import GuestAnswer, GuestAsk
from arable.drivers.appliance.asking import unavailable
from arable.drivers.appliance.protocol import Announces, Appliances, Balances, Relays, Tunnels
from arable.drivers.appliance.vm import words

log = logging.getLogger(__name__)

NEWS_SECONDS = 2.0  # between news of a router with nothing new
_ANNOUNCE_EVERY = 5  # news; one of two does each time, as it looks then at who leads
_ASK_SECONDS = 18.0  # a little less than the metadata service waits
_PORTS = Path("/sys/class/virtio-ports")


class Line(Protocol):
    """Where bytes come and go; `read` returns nothing when there is none for a moment, and raises `EOFError` at the end."""

    def read(self) -> bytes: ...

    def write(self, data: bytes) -> None: ...


class Resident:
    """Obeys, one order after the other, and tells. `made` gives the runtime for the network that it hears of first."""

    def __init__(
        self,
        line: Line,
        made: Callable[[NetworkId], Appliances],
        *,
        news_seconds: float = NEWS_SECONDS,
    ) -> None:
        self._line = line
        self._news_seconds = news_seconds
        self._made = made
        self._orders: queue.SimpleQueue[words.Order] = queue.SimpleQueue()
        self._writing = threading.Lock()
        self._numbers = count(1)
        self._asked: dict[int, queue.SimpleQueue[GuestAnswer]] = {}
        self._appliances: Appliances | None = None
        self._network = NetworkId("")
        self._told = words.News()
        self._paired = False
        self._rounds = 0

    def start(self) -> None:
        """Hear on a thread of its own; `round` does the rest."""
        threading.Thread(target=self._hear, name="line", daemon=True).start()

    def round(self) -> None:
        """Carry out what was ordered last, within the time of news; then tell how the router does."""
        try:
            order = self._orders.get(timeout=self._news_seconds)
        except queue.Empty:
            pass
        else:
            while not self._orders.empty():  # only the last word counts
                order = self._orders.get()
            self._obey(order)
        self._rounds += 1
        if self._paired or self._rounds % _ANNOUNCE_EVERY == 0:
            self._announce()
        self.tell()

    def tell(self) -> None:
        """Say how the router does."""
        self._say(self._news())

    def _announce(self) -> None:
        if isinstance(self._appliances, Announces):
            try:
                self._appliances.announce()
            except CloudError as error:
                log.warning("could not announce the router: %s %s", error.public, error.detail)

    def _obey(self, order: words.Order) -> None:
        failed = detail = ""
        try:
            if self._appliances is None:
                self._network = order.wish.network
                self._appliances = self._made(self._network)
                if isinstance(self._appliances, Relays):
                    self._appliances.relay(self._ask)
            self._paired = order.wish.pair is not None
            self._appliances.ensure(order.wish, order.leases)
        except CloudError as error:
            failed, detail = error.public, error.detail
        except Exception as error:
            log.exception("could not carry out an order")
            failed, detail = "the router could not be programmed", repr(error)
        self._told = words.News(done=order.number, failed=failed, detail=detail)

    def _news(self) -> words.News:
        told, routers = self._told, self._appliances
        if routers is None:
            return told
        try:
            return words.News(
                seen=routers.appliances().get(self._network),
                balancers=tuple(routers.balancers()) if isinstance(routers, Balances) else (),
                vpns=tuple(routers.vpns()) if isinstance(routers, Tunnels) else (),
                done=told.done,
                failed=told.failed,
                detail=told.detail,
            )
        except CloudError as error:
            log.warning("could not look at the router: %s %s", error.public, error.detail)
            return told

    def _hear(self) -> None:
        rest = b""
        while True:
            try:
                rest += self._line.read()
            except EOFError:
                return
            *lines, rest = rest.split(b"\n")
            for line in lines:
                match words.heard_by_machine(line):
                    case words.Order() as order:
                        self._orders.put(order)
                    case words.Answer(number=number, answer=answer):
                        waiting = self._asked.get(number)
                        if waiting is not None:
                            waiting.put(answer)
            if len(rest) > words.MOST_LINE:
                rest = b""

    def _ask(self, ask: GuestAsk) -> GuestAnswer:
        """A machine's call goes on to the host; called on threads of the metadata service's line."""
        number, waiting = next(self._numbers), queue.SimpleQueue[GuestAnswer]()
        self._asked[number] = waiting
        try:
            self._say(words.Ask(number, ask))
            return waiting.get(timeout=_ASK_SECONDS)
        except queue.Empty:
            return unavailable("the router's host does not answer")
        finally:
            del self._asked[number]

    def _say(self, sentence: words.ToHost) -> None:
        with self._writing:
            self._line.write(words.said(sentence))


class SerialLine:
    """The machine's end of the virtio-serial line. What is said while nobody listens is not kept."""

    def __init__(self, device: Path) -> None:
        self._file = os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLIN)
        self._absent = threading.Event()
        self.write(b"\n")

    def read(self) -> bytes:
        events = self._poll.poll(1000)
        if events and events[0][1] & select.POLLIN:
            return os.read(self._file, 1 << 16)
        if events:  # nobody is at the other end, which the kernel says at once, again and again
            self._absent.wait(0.2)
        return b""

    def write(self, data: bytes) -> None:
        writable = select.poll()
        writable.register(self._file, select.POLLOUT)
        while data:
            events = writable.poll(5000)
            if not events or events[0][1] & select.POLLHUP:
                return
            try:
                data = data[os.write(self._file, data) :]
            except BlockingIOError:
                continue


def find() -> Path:
    """The line's device. Raises `FileNotFoundError` where there is none."""
    for port in _PORTS.iterdir():
        if (port / "name").read_text().strip() == words.CHANNEL:
            return Path("/dev") / port.name
    raise FileNotFoundError(words.CHANNEL)


def main() -> None:
    """Live as long as the machine does."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    from arable.drivers.appliance.namespace import NamespaceAppliances
    from arable.drivers.appliance.vm.own_ports import OwnPorts
    from arable.runtime.clock import RealClock

    def made(network: NetworkId) -> Appliances:
        folder = Path("/run/arable/appliances")
        return NamespaceAppliances(folder, OwnPorts(network), RealClock(), prefix="router-")

    resident = Resident(SerialLine(find()), made)
    log.info("ARABLE resident t=%s", Path("/proc/uptime").read_text().split()[0])
    resident.start()
    resident.tell()
    while True:
        resident.round()
