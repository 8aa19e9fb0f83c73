"""What can go wrong with a call, as exceptions that carry the server's own words (RFC 9457).

One class for each kind of problem that a program treats differently; any other is `Refused` itself.
"""

from typing import ClassVar

from arable.wire.common import Problem
from arable.wire.operations import OperationOut


class CallError(Exception):
    """Any failure of a call."""


class Unreachable(CallError):
    """No answer. What was asked may have been done: repeat it with the same key, or look."""


class NotArable(CallError):
    """An answer that is not one of ours: something else listens there, or stands in between."""


class Refused(CallError):
    """The server answered with a problem."""

    kind: ClassVar[str] = ""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail or problem.title)
        self.problem = problem

    @property
    def status(self) -> int:
        """HTTP's."""
        return self.problem.status

    @property
    def request(self) -> str:
        """The request's id, for a question to the operator."""
        return self.problem.instance.rpartition(":")[2]

    @property
    def fields(self) -> dict[str, str]:
        """What is wrong with which field."""
        return {error.field: error.reason for error in self.problem.errors}


class BadInput(Refused):
    """The request can never succeed as written."""

    kind = "bad-input"


class Unauthenticated(Refused):
    """The credential is missing or does not count."""

    kind = "unauthenticated"


class Forbidden(Refused):
    """Not allowed."""

    kind = "forbidden"


class NotFound(Refused):
    """No such thing, or none that the caller may know of."""

    kind = "not-found"


class Conflict(Refused):
    """Not possible in the present state."""

    kind = "conflict"


class WrongOffset(Refused):
    """An upload is further than that, or not so far."""

    kind = "wrong-offset"


class InUse(Refused):
    """Another connection has it in hand; ask again when that is over."""

    kind = "in-use"


class LimitExceeded(Refused):
    """The account's own limit."""

    kind = "limit-exceeded"


class Stale(Refused):
    """It changed since it was read."""

    kind = "stale"


class TooLarge(Refused):
    """More than this call takes."""

    kind = "too-large"


class Corrupt(Refused):
    """The bytes are not what was said."""

    kind = "corrupt"


class TooOften(Refused):
    """Ask again later."""

    kind = "too-often"


class Unavailable(Refused):
    """Not available now; the same call may succeed later."""

    kind = "unavailable"


class NoRoom(Refused):
    """The cloud has not enough of something."""

    kind = "no-room"


class OperationFailed(CallError):
    """The call was accepted, and what it asked for could not be done."""

    def __init__(self, operation: OperationOut) -> None:
        super().__init__(operation.error.detail if operation.error else f"{operation.id} failed")
        self.operation = operation


class StillRunning(CallError):
    """The operation goes on; only the waiting is over."""

    def __init__(self, operation: OperationOut) -> None:
        super().__init__(f"{operation.id} is not done yet: {operation.pending} pending")
        self.operation = operation


_BY_KIND = {each.kind: each for each in Refused.__subclasses__()}


def refused(problem: Problem) -> Refused:
    """The exception for a problem."""
    return _BY_KIND.get(problem.type.rpartition(":")[2], Refused)(problem)
