"""A volume from one host to another: what is asked at the other one's peer port, and how it is answered.

Within mutual TLS of two hosts: `V`, the operation's id and a line's end; or `R`, a replica's id, a space, the last point
that is had of it, and a line's end, for what changed since. The answer is a line of JSON: that it is refused,
whether for now or for good, or how much comes; then so many bytes, and their SHA-256 in hex.
"""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import msgspec

from arable.agent.carrying import Lending
from arable.agent.patience import Waiting
from arable.agent.replicating import Marking
from arable.domain.carry import CarryWish
from arable.domain.errors import CloudError, Conflict, NotFound, Unavailable
from arable.domain.ids import HostId, OperationId, ReplicaId
from arable.domain.replica import ReplicaWish
from arable.drivers.storage.protocol import InUse, Passing

ASKED, ASKED_POINT = b"V", b"R"
LONGEST = 4096  # of a line
DIGEST = 64  # hex digits
_PIECE = 1 << 20
_WITHIN = 10.0  # seconds for a connection
_STALL = 60.0  # seconds without a byte


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What comes first."""

    length: int = 0
    room: int = 0
    refused: str = ""
    later: bool = False  # it may be otherwise in a moment


@contextmanager
def lent(lending: Lending, asker: HostId, operation: OperationId) -> Iterator[Passing]:
    """What is lent to that host. Raises `Waiting` for what may be lent later."""
    try:
        with lending.lend(asker, operation) as passing:
            yield passing
    except InUse as error:
        raise Waiting(error.public) from error


@contextmanager
def point(marking: Marking, asker: HostId, replica: ReplicaId, since: int) -> Iterator[Passing]:
    """What changed, for that host. Raises `Waiting` for what may be read later."""
    try:
        with marking.lend(asker, replica, since) as passing:
            yield passing
    except (Conflict, Unavailable) as error:
        raise Waiting(error.public) from error


class Borrowing:
    """`borrow` and `ask_point` are what the agent is given: it blocks, in a thread of its own. `context` gives this host's identity."""

    def __init__(self, context: Callable[[], ssl.SSLContext]) -> None:
        self._context = context

    @contextmanager
    def borrow(self, wish: CarryWish) -> Iterator[Passing]:
        """See `Borrow`."""
        asked = ASKED + wish.operation.encode() + b"\n"
        with self._told(wish, asked) as passing:
            yield passing

    @contextmanager
    def ask_point(self, wish: ReplicaWish, since: int) -> Iterator[Passing]:
        """See `AskPoint`."""
        asked = ASKED_POINT + f"{wish.replica} {since}\n".encode()
        with self._told(wish, asked) as passing:
            yield passing

    @contextmanager
    def _told(self, wish: CarryWish | ReplicaWish, asked: bytes) -> Iterator[Passing]:
        host, _, port = wish.address.rpartition(":")
        if not host or wish.source is None:
            raise Waiting(f"it is not known where {wish.source} can be reached")
        with ExitStack() as open_ones:
            with _answering(wish):
                plain = socket.create_connection((host.strip("[]"), int(port)), _WITHIN)
                open_ones.enter_context(plain)
                # It is a host by its id, whatever its address is.
                line = self._context().wrap_socket(plain, server_hostname=wish.source)
                open_ones.enter_context(line)
                line.settimeout(_STALL)
                passing = _asked(line, wish, asked)
            yield passing


@contextmanager
def _answering(wish: CarryWish | ReplicaWish) -> Iterator[None]:
    """What the network says of the other host is waited for to change."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise Unavailable(f"{wish.address} is not {wish.source}", detail=str(error)) from error
    except (OSError, ValueError) as error:
        raise Waiting(f"{wish.source} at {wish.address}: {error}") from error


def _asked(line: ssl.SSLSocket, wish: CarryWish | ReplicaWish, asked: bytes) -> Passing:
    line.sendall(asked)
    said = b""
    while not said.endswith(b"\n"):
        byte = line.recv(1)
        if not byte or len(said) > LONGEST:
            raise Waiting(f"{wish.source} hung up")
        said += byte
    answer = msgspec.json.decode(said, type=Answer)
    if answer.refused:
        raise Waiting(answer.refused) if answer.later else NotFound(answer.refused)
    passing = Passing(answer.length, answer.room, iter(()))
    passing.pieces = _pieces(line, passing, wish)
    return passing


def _pieces(
    line: ssl.SSLSocket, passing: Passing, wish: CarryWish | ReplicaWish
) -> Iterator[bytes]:
    left = passing.length
    while left:
        with _answering(wish):
            piece = line.recv(min(_PIECE, left))
        if not piece:
            raise Waiting(f"{wish.source} hung up with {left} bytes left")
        left -= len(piece)
        yield piece
    digest = b""
    while len(digest) < DIGEST:
        with _answering(wish):
            piece = line.recv(DIGEST - len(digest))
        if not piece:
            raise Waiting(f"{wish.source} hung up before it said the digest")
        digest += piece
    passing.sha256 = digest.decode("ascii", "replace")


def refusal(error: CloudError) -> bytes:
    """The line for what is not lent."""
    later = isinstance(error, Waiting)
    return line_of(Answer(refused=error.public or "refused", later=later))


def line_of(answer: Answer) -> bytes:
    """A line."""
    return msgspec.json.encode(answer) + b"\n"
