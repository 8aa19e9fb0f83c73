"""Connections to libvirt: opened when needed, watched, opened anew after they broke; its errors made ours.

libvirt's calls block, and one about a guest whose QEMU is frozen blocks for ever. So each verb of the driver runs
on a thread of its own and is given up after a while; the thread ends when that QEMU does. Meanwhile it has its
connection to itself: threads may share one, says libvirt, but beside a call that is stuck the answers to others get
lost (seen with 9.0). A dead or frozen libvirtd is found by keep-alive messages, which need libvirt's event loop.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import libvirt

from arable.domain.errors import BadInput, CloudError, NoRoom, Unavailable
from arable.runtime.clock import Clock

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE = 120.0  # seconds for one verb; a start takes one, or ten on a machine that is busy
_KEEPALIVE = (5, 6)  # a question every five seconds; six without an answer are enough
_PAUSE = 1.0  # seconds between attempts to connect

_BROKEN = frozenset(
    [
        libvirt.VIR_ERR_RPC,
        libvirt.VIR_ERR_NO_CONNECT,
        libvirt.VIR_ERR_INVALID_CONN,
        libvirt.VIR_ERR_AUTH_FAILED,
    ]
)
_REFUSED = frozenset(
    [
        libvirt.VIR_ERR_XML_ERROR,
        libvirt.VIR_ERR_XML_DETAIL,
        libvirt.VIR_ERR_XML_INVALID_SCHEMA,
        libvirt.VIR_ERR_INVALID_ARG,
        libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
        libvirt.VIR_ERR_INVALID_MAC,
    ]
)

_events_start = threading.Lock()
_events_run = False


class Session:
    """A way to one libvirtd; as many connections as there are verbs at the same time."""

    def __init__(
        self,
        uri: str,
        clock: Clock,
        *,
        patience: float = PATIENCE,
        opened: Callable[[libvirt.virConnect], None] = lambda _connection: None,
    ) -> None:
        """`opened` is called with each new connection, before it is used."""
        self._uri = uri
        self._opened = opened
        self._clock = clock
        self._patience = patience
        self._lock = threading.Lock()
        self._idle: list[libvirt.virConnect] = []
        self._failed_at: float | None = None

    def run(self, what: str, verb: Callable[[libvirt.virConnect], T]) -> T:
        """What `verb` returns; `what` says to people what was tried. Raises errors of ours only."""
        outcome: list[T] = []
        failure: list[BaseException] = []

        def attempt() -> None:
            try:
                outcome.append(self._with_connection(what, verb))
            except BaseException as error:  # noqa: BLE001 - carried over to the caller's thread
                failure.append(error)

        thread = threading.Thread(target=attempt, name=f"libvirt: {what}", daemon=True)
        thread.start()
        thread.join(self._patience)
        if failure:
            raise failure[0]
        if not outcome:
            raise Unavailable(
                f"the hypervisor could not {what}: no answer for {self._patience:g} s"
            )
        return outcome[0]

    def close(self) -> None:
        """Let go of libvirt; guests are not touched."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            _close(connection)

    def _with_connection(self, what: str, verb: Callable[[libvirt.virConnect], T]) -> T:
        connection = self._take()
        try:
            return verb(connection)
        except libvirt.libvirtError as error:
            raise _translated(what, error, alive=bool(connection.isAlive())) from error
        finally:
            if connection.isAlive():
                with self._lock:
                    self._idle.append(connection)
            else:
                _close(connection)

    def _take(self) -> libvirt.virConnect:
        """A connection of one's own."""
        while True:
            with self._lock:
                if not self._idle:
                    break
                connection = self._idle.pop()
            if connection.isAlive():
                return connection
            _close(connection)
        now = self._clock.monotonic()
        if self._failed_at is not None and now - self._failed_at < _PAUSE:
            raise Unavailable("the hypervisor does not answer")
        try:
            run_events()
            connection = libvirt.open(self._uri)
            connection.setKeepAlive(*_KEEPALIVE)
            self._opened(connection)
        except libvirt.libvirtError as error:
            self._failed_at = now
            raise Unavailable("the hypervisor does not answer", detail=str(error)) from error
        self._failed_at = None
        return connection


def _close(connection: libvirt.virConnect) -> None:
    try:
        connection.close()
    except libvirt.libvirtError as error:
        log.debug("closing a broken connection: %s", error)


def _translated(what: str, error: Any, *, alive: bool) -> CloudError:
    """The class by which a caller acts differently; libvirt's own words go to operators."""
    code, told = error.get_error_code(), str(error)
    if code in _BROKEN or not alive:
        return Unavailable(f"the hypervisor could not {what}: it went away", detail=told)
    if code == libvirt.VIR_ERR_NO_MEMORY or "Cannot allocate memory" in told:
        return NoRoom(f"the hypervisor could not {what}: no memory is left", detail=told)
    if code in _REFUSED:
        return BadInput(f"the hypervisor will not {what}", detail=told)
    return Unavailable(f"the hypervisor could not {what}", detail=told)


def run_events() -> None:
    """The event loop of libvirt runs; it must before the first connection, is the whole process's, and never ends."""
    global _events_run
    with _events_start:
        if _events_run:
            return
        libvirt.registerErrorHandler(_quiet, None)
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=_turn, name="libvirt events", daemon=True).start()
        _events_run = True


def _turn() -> None:
    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError as error:
            log.warning("libvirt's event loop stumbled: %s", error)


def _quiet(_context: object, error: tuple[Any, ...]) -> None:
    """The library prints every error as well as raising it; one telling is enough."""
    log.debug("libvirt: %s", error[2])
