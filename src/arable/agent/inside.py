"""What machines ask at their metadata service, brought to a management server: the agent understands nothing of it.

It goes beside the channel, to any server of the configuration, with this host's certificate; a server knows by that for
whom this host may speak. Only what is on the short list of `domain/inside.py` is handed on.
"""

import logging
from collections.abc import Callable, Sequence

import httpx
import msgspec

from arable.agent.join import Identity
from arable.domain.inside import CALLS, GuestAnswer, GuestAsk
from arable.drivers.appliance.asking import unavailable

log = logging.getLogger(__name__)

_WITHIN = 5.0
_TOO_OFTEN = httpx.codes.TOO_MANY_REQUESTS
_answer = msgspec.json.Decoder(GuestAnswer)


class Inside:
    """`answer` is what the appliances are given. Any number of threads."""

    def __init__(self, servers: Sequence[str], identity: Callable[[], Identity]) -> None:
        self._servers = list(servers)
        self._identity = identity

    def answer(self, ask: GuestAsk) -> GuestAnswer:
        """What a server says; 503 when none can be reached."""
        if (ask.method, ask.path) not in CALLS:
            return GuestAnswer(status=404)
        content = msgspec.json.encode(ask)
        try:
            context = self._identity().context()
            with httpx.Client(verify=context, trust_env=False, timeout=_WITHIN) as client:
                for server in self._servers:
                    try:
                        told = client.post(f"https://{server}/agent/v1/inside", content=content)
                    except httpx.ConnectError:
                        continue  # it heard nothing of it: another one may
                    return _read(told)
        except (httpx.HTTPError, OSError) as error:  # it may have been done: whoever asked looks
            log.warning("a call from inside was lost: %s", error or type(error).__name__)
        return unavailable("the cloud can't be asked now; ask again in a moment")


def _read(told: httpx.Response) -> GuestAnswer:
    if told.is_success:
        try:
            return _answer.decode(told.content)
        except msgspec.DecodeError:
            return unavailable("the answer was not understood")
    if told.status_code == _TOO_OFTEN:
        after = told.headers.get("retry-after", "1")
        return GuestAnswer(status=429, body=told.text, after=int(after) if after.isdigit() else 1)
    log.warning("a call from inside was refused: %s", told.status_code)
    return unavailable("the cloud did not take this; ask again in a moment")
