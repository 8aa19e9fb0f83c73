"""How long is waited for elements of tiers: as blueprints say, or as the operator set it for those that say nothing."""

from dataclasses import dataclass

from arable.domain.blueprint import Body
from arable.domain.settings import (
    FARM_DRAIN_SECONDS,
    FARM_HEAL_SECONDS,
    FARM_READY_SECONDS,
    FARM_RETRY_SECONDS,
    FARM_STOP_SECONDS,
)
from arable.domain.tier_acts import Pace
from arable.store import settings
from arable.store.database import Tx


@dataclass(frozen=True, slots=True)
class Paces:
    """What holds where a blueprint says nothing."""

    usual: Pace

    @classmethod
    def of(cls, tx: Tx) -> "Paces":
        return cls(
            Pace(
                ready=settings.get(tx, FARM_READY_SECONDS),
                heal=settings.get(tx, FARM_HEAL_SECONDS),
                drain=settings.get(tx, FARM_DRAIN_SECONDS),
                stop=settings.get(tx, FARM_STOP_SECONDS),
                longest=settings.get(tx, FARM_RETRY_SECONDS),
            )
        )

    @property
    def longest(self) -> float:
        return self.usual.longest

    def pace(self, body: Body) -> Pace:
        """A tier's."""
        usual = self.usual
        return Pace(
            ready=usual.ready if body.ready_seconds is None else body.ready_seconds,
            heal=usual.heal,
            drain=usual.drain if body.drain_seconds is None else body.drain_seconds,
            stop=usual.stop,
            longest=usual.longest,
        )
