"""A webhook: the notice as JSON, posted to an address that an operator gave.

Whoever receives it can tell that it is ours and fresh: `Arable-Signature: t=SECONDS,v1=HEX`, where HEX is the
HMAC-SHA256 of `SECONDS.BODY` by the secret that was shown when the route was made. `Arable-Delivery` is the notice's
id, the same each time it is sent. Redirects are not followed, and no proxy or `.netrc` of the environment is used:
what is sent goes where the operator said, or nowhere.
"""

import hashlib
import hmac
import ssl
from collections.abc import Sequence

import msgspec

from arable.domain.alert import Notice, Target
from arable.domain.errors import Conflict, Unavailable
from arable.runtime.clock import Clock
from arable.runtime.secret import Secret
from arable.runtime.sending import SECONDS

SIGNATURE, DELIVERY = "Arable-Signature", "Arable-Delivery"


class Webhooks:
    """`tls` says whom to trust; the machine's own authorities, usually."""

    most = 1

    def __init__(self, clock: Clock, tls: ssl.SSLContext | None = None) -> None:
        self._clock = clock
        self._tls = tls

    def send(self, target: Target, secret: Secret | None, notices: Sequence[Notice]) -> None:
        """See `Sender`."""
        for notice in notices:
            body = msgspec.json.encode(notice)
            headers = {"content-type": "application/json", DELIVERY: notice.id}
            if secret is not None:
                headers[SIGNATURE] = signature(secret, int(self._clock.now().timestamp()), body)
            self._post(target.url, headers, body)

    def _post(self, url: str, headers: dict[str, str], body: bytes) -> None:
        # Both late: the library and the machine's authorities are 10 MB, which a server without webhooks is spared.
        import httpx

        self._tls = self._tls or ssl.create_default_context()
        try:
            with (
                httpx.Client(
                    verify=self._tls, trust_env=False, follow_redirects=False, timeout=SECONDS
                ) as client,
                client.stream("POST", url, headers=headers, content=body) as answer,
            ):
                status = answer.status_code  # whatever else it says is not read
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise Unavailable(f"can't be reached: {error or type(error).__name__}") from error
        if not 200 <= status < 300:
            raise Conflict(f"it answered with status {status}")


def signature(secret: Secret, seconds: int, body: bytes) -> str:
    """What stands in the header."""
    said = b"%d.%s" % (seconds, body)
    return f"t={seconds},v1={hmac.new(secret.reveal().encode(), said, hashlib.sha256).hexdigest()}"
