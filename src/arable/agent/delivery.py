"""Bytes from this host to the management servers: images that are made of snapshots.

It is asked first whether they are wanted, so that nothing large goes where it is refused, and why it is refused can be
told. Servers that can't be reached are waited for: the file is made already, and nobody is to say meanwhile that it
could not be.
"""

import logging
import threading
from collections.abc import Callable, Sequence

import httpx

from arable.agent.join import Identity
from arable.agent.patience import Waiting
from arable.domain.errors import BadInput, Unavailable
from arable.domain.ids import OperationId
from arable.drivers.storage.protocol import Flat

log = logging.getLogger(__name__)

_STALL = 60.0  # seconds without a byte
_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds between rounds of all servers
_LATER = (
    httpx.codes.REQUEST_TIMEOUT,
    httpx.codes.TOO_MANY_REQUESTS,
    httpx.codes.BAD_GATEWAY,
    httpx.codes.SERVICE_UNAVAILABLE,
    httpx.codes.GATEWAY_TIMEOUT,
)
"""Answers of one that may say otherwise in a moment."""


class Deliveries:
    """`deliver` is what the agent is given. Any number of threads."""

    def __init__(self, servers: Sequence[str], identity: Callable[[], Identity]) -> None:
        self._servers = list(servers)
        self._identity = identity
        self._closing = threading.Event()

    def close(self) -> None:
        """Nobody is waited for any more."""
        self._closing.set()

    def deliver(self, operation: OperationId, flat: Flat) -> None:
        """See `Deliver`. Raises `BadInput` for what is refused, `Unavailable` for what broke off."""
        pause, why = _PAUSE, "there are no servers"
        while not self._closing.is_set():
            for server in self._servers:
                try:
                    self._to(server, operation, flat)
                except Waiting as error:
                    why = f"{server}: {error.public}"
                else:
                    return
            log.warning("the image of %s waits: %s", operation, why)
            self._closing.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        raise Waiting("the agent is leaving")

    def _to(self, server: str, operation: OperationId, flat: Flat) -> None:
        url = f"https://{server}/agent/v1/snapshots/{operation}"
        said = {"sha256": flat.sha256, "bytes": str(flat.length)}
        context = self._identity().context()
        with httpx.Client(verify=context, trust_env=False, timeout=_STALL) as client:
            try:
                answer = client.get(url, params=said)
            except httpx.HTTPError as error:
                raise Waiting(str(error) or type(error).__name__) from error
            if answer.status_code in _LATER:
                raise Waiting(_told(answer))
            _check(answer)
            try:
                headers = {"content-length": str(flat.length)}
                answer = client.put(url, params=said, content=flat.read(), headers=headers)
            except httpx.HTTPError as error:
                told = f"{server} hung up: {error or type(error).__name__}"
                raise Unavailable(told) from error
            _check(answer)


def _check(answer: httpx.Response) -> None:
    if not answer.is_success:
        raise BadInput(f"it was refused: {_told(answer)}")


def _told(answer: httpx.Response) -> str:
    """What an RFC 9457 problem says in words."""
    try:
        detail = answer.json().get("detail")
    except (ValueError, AttributeError):
        detail = None
    return str(detail or f"status {answer.status_code}")[:500]
