"""How users, their roles, keys and sessions look outside. A secret goes out once, in the answer that made it."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from arable.domain.access import Permission
from arable.wire.common import Id, In, Name, Out, PageQuery, Password, Plain

Scopes = Annotated[
    tuple[Permission, ...],
    Meta(max_length=64, description="What a credential may do. Never more than its maker may."),
]
Typed = Annotated[str, Meta(min_length=1, max_length=1024, pattern=r"^[^\x00]*$(?!\n)")]
"""A password as somebody typed it: whether it is one we would accept anew is another question."""


class RoleOut(Out, frozen=True, kw_only=True):
    """A name for permissions."""

    name: str
    rank: Annotated[
        int, Meta(description="Nobody changes users or keys of a higher rank than their own.")
    ]
    permissions: list[Permission]


class RolesOut(Out, frozen=True, kw_only=True):
    """All roles, the least first."""

    items: list[RoleOut]


class UserIn(In, frozen=True, kw_only=True):
    """A new user."""

    name: Annotated[Name, Meta(description="What one signs in with: unique in the cloud.")]
    account: (
        Annotated[Id, Meta(description="Of which account; the caller's own if left out.")] | None
    ) = None
    role: Name = "customer"
    password: (
        Annotated[
            Password, Meta(description="Without one, only API keys that exist already count.")
        ]
        | None
    ) = None


class UserChange(In, frozen=True, kw_only=True):
    """What is said is changed, the rest stays."""

    role: Name | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class UserOut(Out, frozen=True, kw_only=True):
    """A user."""

    id: Annotated[str, Meta(examples=["user-0mh5z1x2k3q8w7e6r5t4"])]
    account: str
    name: str
    role: str
    enabled: bool
    has_password: bool
    generation: int
    created_at: datetime


class UserQuery(PageQuery, frozen=True, kw_only=True):
    """Which users."""

    account: Id | None = None
    name: Name | None = None
    role: Name | None = None
    enabled: bool | None = None


class PasswordIn(In, frozen=True, kw_only=True):
    """A new password. One's own needs the old one; an administrator's reset of another's does not."""

    new: Password
    old: Typed | None = None


class KeyIn(In, frozen=True, kw_only=True):
    """A new API key of the caller's own."""

    name: Annotated[Plain, Meta(min_length=1, max_length=63, examples=["backup script"])]
    scopes: Annotated[Scopes, Meta(description="Left out: all that the caller may.")] | None = None
    expires_in_days: Annotated[int, Meta(ge=1, le=3650, description="How long it counts.")] = 365


class KeyOut(Out, frozen=True, kw_only=True):
    """An API key."""

    id: Annotated[str, Meta(examples=["key-0mh5z1x2k3q8w7e6r5t4"])]
    user: str
    name: str
    scopes: list[str]
    expires_at: datetime | None
    created_at: datetime
    used_at: Annotated[datetime | None, Meta(description="To within five minutes.")]


class NewKeyOut(KeyOut, frozen=True, kw_only=True):
    """A new API key with its text, which is shown here and never again."""

    secret: Annotated[
        str | None,
        Meta(description="Null when this answer is a repetition: the text was not kept."),
    ]


class KeyQuery(PageQuery, frozen=True, kw_only=True):
    """Which keys: the caller's own, or (for administrators) a user's."""

    user: Id | None = None


class SessionIn(In, frozen=True, kw_only=True):
    """Signing in."""

    name: Annotated[str, Meta(min_length=1, max_length=63, examples=["operator"])]
    password: Typed


class SessionOut(Out, frozen=True, kw_only=True):
    """A session."""

    id: Annotated[str, Meta(examples=["session-0mh5z1x2k3q8w7e6r5t4"])]
    user: str
    expires_at: datetime
    created_at: datetime


class NewSessionOut(SessionOut, frozen=True, kw_only=True):
    """A new session with its token, which is shown here and never again."""

    token: str


class WhoamiOut(Out, frozen=True, kw_only=True):
    """What this credential is, and what it may do."""

    user: str
    name: str
    account: str
    account_name: str
    domain: str
    path: Annotated[str, Meta(description="Of the account's domain.", examples=["root/acme"])]
    role: str
    permissions: list[Permission]
    via: Annotated[str, Meta(description="The key or the session.")]
    served_by: Annotated[
        Literal["region", "grid"],
        Meta(description="Who answers: a region, or the grid manager, which has no machines."),
    ] = "region"
