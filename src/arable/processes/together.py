"""Hosts whose agents are in one process: what one has to lend, another one reads of it without a network between.

Simulated hosts have no pod's network to answer in (`agent/peer_port.py`), so their volumes would go nowhere.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from arable.agent.carry_line import Borrowing, lent, point
from arable.agent.carrying import Lending
from arable.agent.replicating import Marking
from arable.domain.carry import CarryWish
from arable.domain.ids import HostId
from arable.domain.replica import ReplicaWish
from arable.drivers.storage.protocol import Passing


@dataclass(slots=True)
class Together:
    """Those agents, by host. Each adds itself."""

    _agents: dict[HostId, tuple[Lending, Marking]] = field(default_factory=dict)

    def add(self, host: HostId, lending: Lending, marking: Marking) -> Callable[[], None]:
        """It is here from now on, until what is returned is called."""
        self._agents[host] = (lending, marking)

        def leave() -> None:
            del self._agents[host]

        return leave

    def borrow(
        self, host: HostId, line: Borrowing, wish: CarryWish
    ) -> AbstractContextManager[Passing]:
        """For that host; by its line where the other one is somewhere else. See `Borrow`."""
        other = self._agents.get(wish.source)
        return lent(other[0], host, wish.operation) if other else line.borrow(wish)

    def ask_point(
        self, host: HostId, line: Borrowing, wish: ReplicaWish, since: int
    ) -> AbstractContextManager[Passing]:
        """The same of what changed. See `AskPoint`."""
        other = self._agents.get(wish.source) if wish.source else None
        return point(other[1], host, wish.replica, since) if other else line.ask_point(wish, since)
