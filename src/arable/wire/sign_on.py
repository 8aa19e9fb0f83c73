"""How signing on at another region looks outside."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from arable.wire.common import In, Name, Out


class SignOnIn(In, frozen=True, kw_only=True):
    """At which region."""

    region: Annotated[
        Name, Meta(description="The region that the token is for. No other takes it.")
    ]


class SignOnOut(Out, frozen=True, kw_only=True):
    """A token for that region, by which one is there who one is here, as far as it federated one's account."""

    region: str
    address: Annotated[
        str, Meta(description="Where its API is, as it said; empty: it did not say.")
    ]
    expires_at: datetime
    token: Annotated[
        str | None, Meta(description="For `Authorization: Bearer …` there. It is not kept here.")
    ]


class RotatedOut(Out, frozen=True, kw_only=True):
    """That a region's keys were replaced."""

    region: str
    keys: Annotated[int, Meta(description="How many were dropped.")]
