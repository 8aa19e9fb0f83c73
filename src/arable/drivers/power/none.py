"""A host that nobody but its operator can switch."""

from dataclasses import dataclass

from arable.domain.errors import Unavailable
from arable.domain.power import PowerState

_TOLD = "nothing that switches this host's power is known; set it with `arable host power`"


@dataclass(frozen=True, slots=True)
class NoPower:
    """Refuses everything, in words that end up with an operator."""

    def state(self) -> PowerState:
        raise Unavailable(_TOLD)

    def off(self) -> None:
        raise Unavailable(_TOLD)

    def on(self) -> None:
        raise Unavailable(_TOLD)
