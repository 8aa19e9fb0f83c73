"""What every refusal looks like outside: the table from error classes to statuses, and RFC 9457 bodies.

An exceeded limit is 409 and not 403: the caller may do this, and the very same call succeeds once something was freed
or the limit was raised; 403 tells programs that only other permissions would help. What we did not foresee is a 500
that shows its number and nothing else, since an exception's text may hold anything; the log has it under that number.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from arable.domain import errors as e
from arable.domain.failure import kind_of
from arable.wire.common import FieldError, Problem, in_words

STATUS: dict[type[e.CloudError], int] = {
    e.BadInput: 400,
    e.Unauthenticated: 401,
    e.Forbidden: 403,
    e.NotFound: 404,
    e.Conflict: 409,
    e.WrongOffset: 409,
    e.InUse: 409,
    e.LimitExceeded: 409,
    e.Stale: 412,
    e.TooLarge: 413,
    e.Corrupt: 422,
    e.TooOften: 429,
    e.Unavailable: 503,
    e.NoRoom: 507,
}
TITLE: dict[type[e.CloudError], str] = {
    e.BadInput: "The request can't succeed as written",
    e.Unauthenticated: "Nobody we know",
    e.Forbidden: "Not allowed",
    e.NotFound: "No such thing",
    e.Conflict: "Not possible in the present state",
    e.WrongOffset: "It goes on elsewhere",
    e.InUse: "In somebody else's hand",
    e.LimitExceeded: "The account's limit is reached",
    e.Stale: "It changed meanwhile",
    e.TooLarge: "Too large",
    e.Corrupt: "The bytes are not what was said",
    e.TooOften: "Too often",
    e.Unavailable: "Not available now",
    e.NoRoom: "Not enough room",
}
MEDIA_TYPE = b"application/problem+json"
TYPE = "urn:arable:problem:"

_AT = re.compile(r"^(?P<reason>.*?)(?: - at `(?:key in )?\$(?P<path>[^`]*)`)?$", re.DOTALL)
_FIELD = re.compile(r"^Object (?P<what>contains unknown|missing required) field `(?P<name>[^`]*)`$")
_INDEX = re.compile(r"\[(\d+|\.\.\.)\]")
_LONGEST = 200


class Fault(Exception):
    """A request that HTTP itself forbids: wrong method, wrong media type. Not an error of any use case."""

    def __init__(
        self, status: int, kind: str, detail: str, headers: Mapping[bytes, bytes] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})


def status_of(error: e.CloudError) -> int:
    """By class; a class without a row of its own counts as the nearest above it."""
    return next(STATUS[each] for each in type(error).__mro__ if each in STATUS)


def of_error(error: e.CloudError, request: str) -> Problem:
    """What the user sees of an error: `public` and `why`, never `detail`."""
    kind = next(each for each in type(error).__mro__ if each in STATUS)
    return Problem(
        type=TYPE + kind_of(kind),
        title=TITLE[kind],
        status=STATUS[kind],
        detail=error.public,
        instance=instance(request),
        errors=[FieldError(field=error.field, reason=error.public)] if error.field else [],
        why=error.why,
    )


def of_fault(fault: Fault, request: str) -> Problem:
    """What the user sees of a request that HTTP forbids."""
    return Problem(
        type=TYPE + fault.kind,
        title=fault.kind.replace("-", " ").capitalize(),
        status=fault.status,
        detail=fault.detail,
        instance=instance(request),
    )


def of_bug(request: str) -> Problem:
    """What the user sees of an exception that nobody foresaw."""
    return Problem(
        type=f"{TYPE}internal",
        title="An error of ours",
        status=500,
        detail="This was not foreseen, and was logged under the request's id; tell it to the operator.",
        instance=instance(request),
    )


def instance(request: str) -> str:
    """The request as a URI."""
    return f"urn:arable:request:{request}"


def of_validation(error: msgspec.ValidationError, within: str = "") -> e.BadInput:
    """What msgspec found wrong with a document, as our error that names the field."""
    found = _AT.match(str(error))
    reason, path = (found["reason"], found["path"] or "") if found else (str(error), "")
    parts = [part for part in _INDEX.sub(r".\1", path).split(".") if part]
    if field := _FIELD.match(reason):
        parts.append(field["name"][:_LONGEST])
        known = field["what"] == "missing required"
        reason = "this field is required" if known else "there is no such field"
    reason = reason.replace("`", "")
    if words := in_words(reason):
        reason = f"expected {words}"
    reason = f"{reason[:1].lower()}{reason[1:]}"
    named = ".".join(parts) or within
    return e.BadInput(reason[:500], field=named)


def body(problem: Problem) -> bytes:
    """As it is sent."""
    return msgspec.json.encode(problem, enc_hook=_plain)


def _plain(value: Any) -> Any:
    """`why` may hold anything that a service put there; better its text than no answer."""
    return str(value)
