"""What blueprints may let programs in their elements do."""

from typing import Annotated, Literal

from msgspec import Meta

RightName = Annotated[
    Literal["read", "scale", "grow"],
    Meta(
        description="`read`: its own element, tier and farm, and their load; `scale`: so many elements in its own tier; "
        "`grow`: its own further disks."
    ),
]
