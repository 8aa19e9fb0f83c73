"""How fast a machine's ports are: the smallest of what its offering, its account and the cloud allow.

Each is a limit, and limits hold together: an operator who turns one down sees it hold for every machine it is about,
whatever the others say. Kilobits a second, in each direction; 0 says nothing.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache


class RateSource(StrEnum):
    """Whose word holds."""

    OFFERING = "offering"
    ACCOUNT = "account"
    CLOUD = "cloud"


@dataclass(frozen=True, slots=True)
class Rate:
    """What a port is held to, and who says so. Without a source there is no limit."""

    kbps: int = 0
    source: RateSource | None = None


UNLIMITED = Rate()


@lru_cache(maxsize=1024)
def least(offering: int, account: int, cloud: int) -> Rate:
    """The smallest that is set; of equal ones the first."""
    said = (
        (offering, RateSource.OFFERING),
        (account, RateSource.ACCOUNT),
        (cloud, RateSource.CLOUD),
    )
    return min(
        (Rate(kbps, source) for kbps, source in said if kbps > 0),
        key=lambda rate: rate.kbps,
        default=UNLIMITED,
    )
