"""How it looks outside in which regions an image should be."""

from typing import Annotated

from msgspec import Meta

from arable.wire.common import In, Name, Out
from arable.wire.images import VersionNumber


class ImagePolicyIn(In, frozen=True, kw_only=True):
    """In which other regions an image should be. Instead of what was said before."""

    at: Annotated[tuple[Name, ...], Meta(max_length=1000, description="Names of regions.")] = ()
    labels: Annotated[
        tuple[Name, ...],
        Meta(max_length=100, description="Labels: every region that has one of them is meant."),
    ] = ()
    versions: Annotated[
        int, Meta(ge=1, le=100, description="How many of its newest versions should be there.")
    ] = 1
    follow: Annotated[
        bool,
        Meta(description="Whether versions that come later follow; false: as of now, and no more."),
    ] = True


class PolicyPlace(Out, frozen=True, kw_only=True):
    """A region that is meant."""

    region: str
    state: Annotated[
        str, Meta(description="`reached`, `silent`, or `unknown`: the grid has none of that name.")
    ]
    here: Annotated[
        tuple[int, ...], Meta(description="Of the versions that should be there, those that are.")
    ]
    missing: Annotated[tuple[int, ...], Meta(description="And those that are not, as yet.")]


class ImagePolicyOut(Out, frozen=True, kw_only=True):
    """In which other regions an image should be, and how far that is, as this region knows."""

    image: str
    at: tuple[str, ...]
    labels: tuple[str, ...]
    versions: int
    follow: bool
    places: tuple[PolicyPlace, ...]


class PinIn(In, frozen=True, kw_only=True):
    """Which version."""

    version: VersionNumber
