"""What all documents of the public API share: how strictly they are read, how large their parts may be, pages, problems.

Requests are read strictly: an unknown field is refused, not ignored, because it is a misspelt wish. Answers are read
leniently, so that an older client understands a newer server. Every text and number has bounds, and no text that
reaches the store holds control characters: a NUL can't be kept, and a line break is how values become commands.
"""

from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta

T = TypeVar("T")

# `$` alone would let a final line break pass in Python; `(?!\n)` closes that and changes nothing elsewhere.
_END = r"$(?!\n)"
NAME_PATTERN = rf"^[a-z0-9]([a-z0-9-]{{0,61}}[a-z0-9])?{_END}"
NAME_IN_WORDS = "small letters, digits and hyphens, no hyphen first or last, at most 63 in all"
PATH_PATTERN = rf"^[a-z0-9-]+(/[a-z0-9-]+)+{_END}"
CLOCK_PATTERN = rf"^([01][0-9]|2[0-3]):[0-5][0-9]{_END}"
_IN_WORDS = {
    NAME_PATTERN: NAME_IN_WORDS,
    PATH_PATTERN: "domains and the account, with slashes between them: root/acme/acme",
    CLOCK_PATTERN: "hours and minutes: 08:00",
}
_PLAIN = rf"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*{_END}"


def in_words(refusal: str) -> str | None:
    """What a form should be that a refusal of msgspec's says as a pattern; None: there are no words for it."""
    found = (words for pattern, words in _IN_WORDS.items() if pattern.split("$")[0] in refusal)
    return next(found, None)


MOST = 2**53 - 1
"""The largest whole number that every JSON reader keeps exact."""

DrainSeconds = Annotated[
    Annotated[int, Meta(ge=0, le=86_400)] | None,
    Meta(
        description="How long connections through balancers may take to end, while nobody new is led there. "
        "0: they are not waited for; null: as the operator's setting `farm_drain_seconds` says.",
    ),
]
"""How long is waited for what a member of a balancer is at."""

Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=63,
        pattern=NAME_PATTERN,
        description="A DNS label: 1 to 63 small letters, digits and hyphens, no hyphen first or last.",
        examples=["web-1"],
    ),
]
NamePrefix = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=63,
        pattern=rf"^[a-z0-9][a-z0-9-]*{_END}",
        description="How a name begins; it may end in a hyphen.",
        examples=["web-"],
    ),
]
Line = Annotated[
    str,
    Meta(
        max_length=255, pattern=_PLAIN, description="One line of text without control characters."
    ),
]
Plain = Annotated[str, Meta(pattern=_PLAIN)]
"""What a `Line` may consist of, to be bounded otherwise: msgspec takes each bound from one place only."""
Id = Annotated[
    str,
    Meta(
        max_length=48,
        pattern=rf"^[a-z]{{1,15}}-[0-9a-z]{{1,32}}{_END}",
        description="An id: its kind, a hyphen, letters and digits.",
        examples=["machine-0mh5z1x2k3q8w7e6r5t4"],
    ),
]
NameOrId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=63,
        pattern=NAME_PATTERN,
        description="A name, or the id, of something that the caller can see.",
        examples=["default"],
    ),
]
Cursor = Annotated[
    str,
    Meta(
        max_length=128,
        pattern=rf"^[0-9A-Za-z_-]+{_END}",
        description="Where the page before ended, as its `next` said. To be passed on, not to be understood.",
    ),
]
Password = Annotated[
    str,
    Meta(
        min_length=10,
        max_length=1024,
        pattern=rf"^[^\x00]*{_END}",
        description="At least 10 characters, none of them NUL.",
        examples=["correct horse battery staple"],
    ),
]
Address = Annotated[
    str,
    Meta(
        min_length=7,
        max_length=15,
        pattern=rf"^[0-9.]+{_END}",
        description="An IPv4 address.",
        examples=["10.1.1.20"],
    ),
]
Whole = Annotated[int, Meta(ge=0, le=MOST)]
"""A count or an amount: 0 or more. Narrow it where the noun knows better."""
Tag = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=63,
        pattern=NAME_PATTERN,
        description="A word that offerings and hosts are matched by.",
        examples=["ssd"],
    ),
]


class In(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what comes in: bodies, changes and queries."""


class Out(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what goes out."""


class PageQuery(In, frozen=True, kw_only=True):
    """Base of every list's query: filters are further fields of it."""

    limit: Annotated[int, Meta(ge=1, le=1000, description="How many at most on this page.")] = 100
    after: (
        Annotated[
            Cursor, Meta(description="`next` of the page before; without it, the first page.")
        ]
        | None
    ) = None


class Page(Out, Generic[T], frozen=True, kw_only=True):
    """Some of a list, in the order of age. Page 900 costs what page 1 costs."""

    items: list[T]
    next: (
        Annotated[str, Meta(description="Pass it as `after` for the next page; null: no more.")]
        | None
    ) = None


class FieldError(Out, frozen=True, kw_only=True):
    """Which part of the request is at fault."""

    field: Annotated[
        str,
        Meta(
            description="A dotted path into the body, or the name of a query or path parameter.",
            examples=["nics.0.address"],
        ),
    ]
    reason: str


class Problem(Out, frozen=True, kw_only=True):
    """RFC 9457: every answer that is not a success has this body, as `application/problem+json`."""

    type: Annotated[
        str,
        Meta(
            description="Which kind of problem: stable, for programs.",
            examples=["urn:arable:problem:limit-exceeded"],
        ),
    ]
    title: Annotated[str, Meta(description="The kind of problem in a few words.")]
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: Annotated[str, Meta(description="What is wrong here, and what to do.")] = ""
    instance: Annotated[
        str,
        Meta(
            description="This occurrence: the request's id, for a question to the operator.",
            examples=["urn:arable:request:3k9x2m4v7b1q-1f"],
        ),
    ] = ""
    errors: list[FieldError] = msgspec.field(default_factory=list)
    why: Annotated[
        Any, Meta(description="Further facts: refusals per host, the limit that was hit.")
    ] = None
