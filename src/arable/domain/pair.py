"""Two routing appliances of one network, of which one leads and the other stands by (docs/decisions/0042)."""

from dataclasses import dataclass
from ipaddress import IPv4Network

PAIRS = IPv4Network("169.254.80.0/20")
"""By which the two of a pair know each other on their guest network. No guest and nobody outside has an address of these."""
_MOST = PAIRS.num_addresses - 16  # the last few are for the one that leads


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """An appliance is one of two: its number, and the other one's; 0: there is no other one now.

    An appliance that takes another's place never has that one's number, so nobody takes the two for each other.
    """

    number: int
    other: int = 0


def next_number(taken: int, also: int = 0) -> int:
    """Another one than these, and not one that was in use lately."""
    return max(taken, also) % _MOST + 1
