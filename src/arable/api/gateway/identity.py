"""Who is at the other end of the agents' port: the one place where that is decided.

The handshake has verified whatever certificate was shown: of our authority, in its time, for a client. But it lets
those in too who show none, because a host that joins has none yet. So everything but `/agent/v1/join` asks `host_of`,
and there is no other way to a host's id. Whether the host still exists is for the store to say.
"""

import ssl
from typing import Any

from arable.domain import ids
from arable.domain.errors import BadInput, Forbidden, Unauthenticated
from arable.domain.ids import HostId
from arable.runtime.ca import IdentityKind, Peer, peer
from arable.runtime.clock import Clock


def shown(transport: Any) -> Peer | None:
    """Who the connection's certificate names; None for nobody. Raises `Forbidden` for one not of our making."""
    connection: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    if connection is None:
        return None
    return peer(connection.getpeercert(binary_form=True))


def host_of(found: Peer | None, clock: Clock) -> HostId:
    """The host whose certificate was shown. Raises `Unauthenticated` or `Forbidden`.

    The time is checked again, because a connection may outlive the certificate that it began with.
    """
    if found is None:
        raise Unauthenticated("show a host's certificate; only joining goes without one")
    if found.kind is not IdentityKind.HOST:
        raise Forbidden("this is not the certificate of a host")
    if found.until <= clock.now():
        raise Unauthenticated("this certificate's time is over; join anew")
    try:
        return HostId(ids.check("host", found.common_name))
    except BadInput as error:
        raise Forbidden("this certificate names no host") from error


def server_of(found: Peer | None, clock: Clock) -> str:
    """The management server whose certificate was shown. Raises `Unauthenticated` or `Forbidden`."""
    if found is None:
        raise Unauthenticated("show a management server's certificate")
    if found.kind is not IdentityKind.PEER:
        raise Forbidden("this is for management servers alone")
    if found.until <= clock.now():
        raise Unauthenticated("this certificate's time is over")
    return found.common_name
