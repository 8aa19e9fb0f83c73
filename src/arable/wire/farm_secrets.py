"""How secrets of farms look outside: everything but what is in them."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from arable.wire.common import Id, In, Name, Out, PageQuery

Contents = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=4096,
        pattern=r"^[^\x00]*$(?!\n)",
        description="At most 4096 characters, the last one no line break.",
    ),
]


class FarmSecretIn(In, frozen=True, kw_only=True):
    """A secret of a farm. Its name alone says the same as `{name: …}`."""

    name: Annotated[Name, Meta(examples=["db-password"])]
    given: Annotated[
        bool,
        Meta(description="True: its owner gives it, and elements wait for it; false: it is drawn."),
    ] = False


class RotateSecretIn(In, frozen=True, kw_only=True):
    """Another text for a secret."""

    contents: Annotated[
        Contents | None, Meta(description="null: 40 small letters and digits are drawn.")
    ] = None


class SecretOut(Out, frozen=True, kw_only=True):
    """A secret of a farm, without what is in it: that is shown to nobody."""

    id: Annotated[str, Meta(examples=["secret-0mh5z1x2k3q8w7e6r5t4"])]
    account: str
    farm: str
    name: str
    given: Annotated[bool, Meta(description="By its owner; else it was drawn.")]
    number: Annotated[
        int, Meta(description="So many texts it had. 0: its owner has not given it yet.")
    ]
    generation: int
    created_at: datetime
    changed_at: datetime


class SecretQuery(PageQuery, frozen=True, kw_only=True):
    """Which secrets."""

    farm: Id | None = None
    name: Name | None = None
    account: Id | None = None
