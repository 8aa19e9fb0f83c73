"""Customers' programs that know several management servers: who does not answer soon is passed over, with the same key."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import httpx

from arable.client.arable import Arable
from arable.client.errors import Refused, Unreachable
from arable.client.patience import BUSY, Patience
from arable.runtime.clock import RealClock

Answer = TypeVar("Answer")

_CLOCK = RealClock()
_PATIENCE = 120.0
_SOON = {"connect": 1.0, "read": 4.0, "write": 4.0, "pool": 4.0}


class Hurried(httpx.HTTPTransport):
    """Gives up on an answer after seconds: a frozen server takes a connection and says nothing."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions["timeout"] = _SOON
        return super().handle_request(request)


@dataclass
class Insisting:
    """One program, for one thread at a time. `begins` is the server that it asks first."""

    urls: Sequence[str]
    token: str
    begins: int = 0

    def ask(self, what: Callable[[Arable], Answer]) -> Answer:
        """Until somebody answers; raises `Refused` for what was really refused."""
        end = _CLOCK.monotonic() + _PATIENCE
        while True:
            url = self.urls[self.begins % len(self.urls)]
            with Arable(url, self.token, transport=Hurried(), patience=Patience(tries=1)) as client:
                try:
                    return what(client)
                except Unreachable:
                    pass
                except Refused as error:
                    if error.status not in BUSY:
                        raise
            assert _CLOCK.monotonic() < end, "nobody answers"
            self.begins += 1
            _CLOCK.wait(timedelta(milliseconds=50))
