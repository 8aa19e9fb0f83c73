"""No platform: nobody but the operator starts and stops management servers, and is told what should be done."""

from dataclasses import dataclass

from arable.domain.errors import Unavailable
from arable.domain.platform import Place

_TOLD = "no platform is configured (--platform); do it by hand"


@dataclass(frozen=True, slots=True)
class NoPlatform:
    """Refuses everything, in words that end up in an event."""

    name: str = "none"

    def restart(self, place: Place) -> None:
        raise Unavailable(_TOLD, detail=f"restart {place.segment}")

    def start(self) -> None:
        raise Unavailable(_TOLD, detail="start one more")

    def stop(self, place: Place) -> None:
        raise Unavailable(_TOLD, detail=f"stop {place.segment}")
