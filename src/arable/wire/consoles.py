"""How the way to a machine's console looks outside."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from arable.wire.common import Out


class ConsoleOut(Out, frozen=True, kw_only=True):
    """A ticket to a machine's serial console: for one use, at once, by the user who asked."""

    machine: str
    ticket: Annotated[
        str | None,
        Meta(
            description=(
                "Shown this once. Open `/v1/console/{ticket}` as a websocket: binary messages carry the "
                "console's bytes, both ways."
            )
        ),
    ]
    expires_at: datetime
