"""A compute host's line to a storage host's lease service: asks, and waits for the answer no longer than is useful."""

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from arable.domain.errors import BadInput, Unavailable
from arable.domain.manifest import SharedFrom
from arable.wire import leases as wire
from arable.wire.leases import Answer, Question

WITHIN_SECONDS = 4.0


class LeaseLine(Protocol):
    """To one storage host; one question at a time."""

    def ask(self, question: Question) -> Answer:
        """Raises `Unavailable`: then it may have happened all the same."""

    def close(self) -> None:
        """Hang up; the next question calls again."""


class TlsLine:
    """`LeaseLine` over mutual TLS, kept open. `context` gives this host's identity as it is now."""

    def __init__(
        self,
        place: SharedFrom,
        context: Callable[[], ssl.SSLContext],
        within: float = WITHIN_SECONDS,
    ) -> None:
        self._place = place
        self._context = context
        self._within = within
        self._open: ssl.SSLSocket | None = None
        self._heard = b""

    def ask(self, question: Question) -> Answer:
        try:
            line = self._open or self._call()
            line.sendall(wire.line(question))
            answer = wire.answer(self._hear(line))
        except (OSError, BadInput) as error:
            self.close()
            raise Unavailable(
                f"{self._place.host} does not answer about leases: {error}"
            ) from error
        if answer.refused:
            self.close()  # a newer certificate may say more
            raise Unavailable(f"{self._place.host} refused: {answer.refused}")
        return answer

    def close(self) -> None:
        if self._open:
            with suppress(OSError):
                self._open.close()
        self._open, self._heard = None, b""

    def _call(self) -> ssl.SSLSocket:
        host, _, port = self._place.address.rpartition(":")
        plain = socket.create_connection((host.strip("[]"), int(port)), self._within)
        try:
            # It is a host by its id, whatever its address is.
            self._open = self._context().wrap_socket(plain, server_hostname=self._place.host)
        except BaseException:
            plain.close()
            raise
        return self._open

    def _hear(self, line: ssl.SSLSocket) -> bytes:
        while b"\n" not in self._heard:
            part = line.recv(65536)
            if not part:
                raise ConnectionResetError("it hung up")
            self._heard += part
            if len(self._heard) > wire.LONGEST * 4:
                raise BadInput("the answer has no end")
        answer, _, self._heard = self._heard.partition(b"\n")
        return answer
