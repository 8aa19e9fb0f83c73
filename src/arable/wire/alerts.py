"""How alerts look outside, and the routes by which operators are told of them."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from arable.wire.common import In, Line, Name, Out, PageQuery

SeverityName = Annotated[
    Literal["warning", "critical"], Meta(description="During the day, or now.")
]
AlertKindName = Annotated[
    str, Meta(max_length=63, pattern=r"^[a-z-]+$(?!\n)", examples=["host-silent"])
]
Mailbox = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=254,
        pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$(?!\n)",
        description="A mail address, without a name.",
        examples=["operators@example.org"],
    ),
]
ServerName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=253,
        pattern=r"^[A-Za-z0-9:]([A-Za-z0-9.:-]*[A-Za-z0-9])?$(?!\n)",
        description="The mail server's name or address.",
        examples=["mail.example.org"],
    ),
]


class AlertOut(Out, frozen=True, kw_only=True):
    """Something that an operator should look at."""

    id: Annotated[str, Meta(examples=["alert-0mh5z1x2k3q8w7e6r5t4"])]
    kind: Annotated[str, Meta(examples=["host-silent"])]
    subject: Annotated[str, Meta(description="The id of what it is about, or a server's name.")]
    name: Annotated[str, Meta(description="What people call the subject.")]
    severity: str
    state: Annotated[Literal["open", "ended"], Meta(description="Whether it is still the case.")]
    text: str
    since: Annotated[datetime, Meta(description="When its cause was first seen.")]
    until: datetime | None
    flaps: Annotated[int, Meta(description="How often its cause went and came back meanwhile.")]
    acknowledged_at: datetime | None
    acknowledged_by: Annotated[str, Meta(description="The user who looks after it.")]


class AlertQuery(PageQuery, frozen=True, kw_only=True):
    """Which alerts, the newest first."""

    state: Literal["open", "ended"] | None = None
    kind: AlertKindName | None = None
    severity: SeverityName | None = None
    subject: Annotated[Line, Meta(description="The id of what it is about.")] | None = None


class MailIn(In, frozen=True, kw_only=True):
    """By mail."""

    server: ServerName
    port: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=65535,
                description="Left out: 587 with STARTTLS, 465 with TLS, else 25.",
            ),
        ]
        | None
    ) = None
    security: Annotated[
        Literal["starttls", "tls", "none"],
        Meta(description="`none` only to a server on the same machine."),
    ] = "starttls"
    user: Annotated[Line, Meta(description="To sign in with; left out: not at all.")] | None = None
    password: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=1024,
                pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)",
                description="Of that user. Kept encrypted, and never shown.",
            ),
        ]
        | None
    ) = None
    sender: Mailbox
    recipients: Annotated[tuple[Mailbox, ...], Meta(min_length=1, max_length=20)]


class WebhookIn(In, frozen=True, kw_only=True):
    """By a POST to an address."""

    url: Annotated[
        str,
        Meta(
            max_length=2000,
            pattern=r"^https?://[!-~]+$(?!\n)",
            description="`https://…`; plain `http://` only to the same machine.",
            examples=["https://pager.example.org/arable"],
        ),
    ]


class AlertRouteIn(In, frozen=True, kw_only=True):
    """A new route: either `mail` or `webhook`."""

    name: Name
    least: Annotated[
        SeverityName, Meta(description="Alerts less severe than this are not told here.")
    ] = "warning"
    mail: MailIn | None = None
    webhook: WebhookIn | None = None


class AlertRouteChange(In, frozen=True, kw_only=True):
    """What is said is changed, the rest stays. Another target is another route."""

    least: SeverityName | UnsetType = UNSET
    enabled: Annotated[
        bool | UnsetType, Meta(description="False: it is told nothing; what waits is kept.")
    ] = UNSET


class AlertRouteOut(Out, frozen=True, kw_only=True):
    """A route."""

    id: Annotated[str, Meta(examples=["alertroute-0mh5z1x2k3q8w7e6r5t4"])]
    name: str
    kind: Literal["mail", "webhook"]
    target: Annotated[str, Meta(description="Where it leads.")]
    least: str
    enabled: bool
    waiting: Annotated[int, Meta(description="How many notices were not taken yet.")]
    failing_since: Annotated[
        datetime | None, Meta(description="Since when nothing was taken; null: it works.")
    ]
    told: Annotated[str, Meta(description="What went wrong last.")]
    delivered_at: Annotated[datetime | None, Meta(description="When it was last told something.")]
    generation: int
    created_at: datetime


class NewAlertRouteOut(AlertRouteOut, frozen=True, kw_only=True):
    """A route that was just made."""

    secret: Annotated[
        str | None,
        Meta(description="What a webhook's notices are signed with, shown this once."),
    ] = None


class AlertRouteQuery(PageQuery, frozen=True, kw_only=True):
    """Which routes."""

    name: Annotated[Name | None, Meta(description="Exactly this name.")] = None
