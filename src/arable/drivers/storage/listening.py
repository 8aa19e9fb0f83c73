"""Where a server of a disk listens: a socket that it is given, since there is something to be said of it first.

QEMU's NBD server before 8.1 leaves Nagle's algorithm on, and answers a read in two pieces: the second one, if it is
small, waits until its client has said that the first one came, which clients' kernels put off. So each read of 4 KiB took
40 ms. A socket that has it off hands that down to those of its clients.
"""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from arable.domain.errors import Unavailable
from arable.drivers import namespaces


class PortTakenError(Exception):
    """Somebody else listens there."""


@contextmanager
def at(address: str, port: int, netns: str | None) -> Iterator[socket.socket]:
    """A socket that listens there, for a child to inherit. Raises `PortTakenError`."""
    made = namespaces.inside(netns, lambda: _listener(address, port))
    try:
        yield made
    finally:
        made.close()


def _listener(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.bind((address, port))
        made.listen()
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTakenError from error
        raise Unavailable(f"disks can't be served at {address}: {error}") from error
    return made
