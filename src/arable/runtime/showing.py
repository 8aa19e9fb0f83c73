"""How somebody who knows only a token comes to trust whom it is of: the server shows its authority, and the token names it.

Nothing secret may be sent before that.
"""

import socket
import ssl

from arable.domain.errors import CloudError, Forbidden, Unavailable
from arable.runtime.ca import blind_context, pinned


def shown_by(server: str, fingerprint: str, within: float) -> str:
    """The certificate with this fingerprint among those that the server at HOST:PORT shows, as PEM.

    Raises `Unavailable` when nobody answers within so many seconds, `Forbidden` when it shows no such certificate.
    """
    host, _, port = server.rpartition(":")
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), within) as plain,
            blind_context().wrap_socket(plain, server_hostname=host.strip("[]")) as wrapped,
        ):
            sent = chain(wrapped)
    except OSError as error:
        raise Unavailable(f"{server} can't be reached: {error}") from error
    for der in sent:
        pem = ssl.DER_cert_to_PEM_cert(der)
        try:
            return pinned(pem, fingerprint)
        except CloudError:
            continue
    raise Forbidden("the server belongs to another cloud than the join token")


def chain(wrapped: ssl.SSLSocket) -> list[bytes]:
    """All certificates that the peer sent (DER). A public method has them since Python 3.13 only."""
    ask = getattr(wrapped, "get_unverified_chain", None)
    if ask is not None:
        return [bytes(der) for der in ask()]
    import _ssl

    inner = wrapped._sslobj  # type: ignore[attr-defined]  # noqa: SLF001
    return [bytes(one.public_bytes(_ssl.ENCODING_DER)) for one in inner.get_unverified_chain()]
