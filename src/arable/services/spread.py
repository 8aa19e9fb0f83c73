"""How many agents should go where: evenly over the management servers, and never many at once.

Each server decides for itself, by what all of them have: one that has far more than its share asks a few of its agents
to go to those that have least, one that is about to leave asks all of them, a part at a time. Nobody has to agree with
anybody; a server that decided on figures of a moment ago moves few enough to be put right by the next look.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

BAND = 0.1
"""How far above its share a server may be, as a part of it."""
LEAST = 8
"""The same in agents: a handful more is no reason to move anybody."""
_A_FEW = 50  # of so many agents one is asked at each look
_A_PART = 10  # of those of a server that leaves, one of so many


@dataclass(frozen=True, slots=True)
class Peer:
    """Another management server that takes agents: where its gateway is, and how many it has."""

    address: str
    agents: int


def moves(mine: int, others: Mapping[str, int], *, leaving: bool = False) -> dict[str, int]:
    """How many of our agents should be asked now to go to each of the others (by how many they have)."""
    if not others or not mine:
        return {}
    if leaving:
        asked = min(mine, max(LEAST, mine // _A_PART))
    else:
        share = -(-(mine + sum(others.values())) // (len(others) + 1))
        if mine <= share + max(LEAST, BAND * share):
            return {}
        asked = min(mine - share, max(LEAST, mine // _A_FEW))
    line = [(agents, name) for name, agents in others.items()]
    heapq.heapify(line)
    found: dict[str, int] = {}
    for _ in range(asked):
        agents, name = line[0]
        found[name] = found.get(name, 0) + 1
        heapq.heapreplace(line, (agents + 1, name))
    return found


def seconds_to_return(agents: int, servers: int, rate: float) -> float:
    """Over how long agents should come back, so that so many servers, each able to take `rate` a second, can."""
    return 1.5 * agents / (rate * max(servers, 1))
