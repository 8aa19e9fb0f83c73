"""How the global image catalogue looks from a region: which region holds which version, and how to have one brought here."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from arable.wire.common import In, Name, Out
from arable.wire.images import VersionNumber


class WhereQuery(In, frozen=True, kw_only=True):
    """Of which image."""

    image: Annotated[Name, Meta(description="Its name.")]
    version: Annotated[
        VersionNumber | None, Meta(description="This version alone; null: the newest ones.")
    ] = None


class HolderOut(Out, frozen=True, kw_only=True):
    """A region that holds a version."""

    region: str
    state: Annotated[str, Meta(description="`reached` or `silent`, as the region was seen last.")]
    seen_at: Annotated[
        datetime | None,
        Meta(description="When it last answered; null: not that anybody here knows."),
    ] = None
    known_at: Annotated[
        datetime | None,
        Meta(description="Of when this region's knowledge of what that one holds is."),
    ] = None


class WhereVersionOut(Out, frozen=True, kw_only=True):
    """A version, and where it is."""

    account: Annotated[
        str,
        Meta(description="Its account, as all regions know it: the domain's path, and its name."),
    ]
    number: int
    digest: str
    bytes: int
    public: bool
    here: Annotated[bool, Meta(description="Machines of this region boot it at once.")]
    told: Annotated[
        str, Meta(description="While it is fetched: how far it is, or why that does not go on.")
    ] = ""
    holders: Annotated[tuple[HolderOut, ...], Meta(description="Other regions that have it.")] = ()


class WhereOut(Out, frozen=True, kw_only=True):
    """An image's versions as the grid's catalogue has them; newest first, at most a hundred."""

    image: str
    versions: tuple[WhereVersionOut, ...]


class FetchIn(In, frozen=True, kw_only=True):
    """Which image to bring here."""

    image: Annotated[Name, Meta(description="Its name, as the grid's catalogue has it.")]
    version: Annotated[
        VersionNumber | None,
        Meta(description="This version; null: the newest one of the catalogue."),
    ] = None
