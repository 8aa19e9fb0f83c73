"""Addresses of one guest network, given out in bulk: to be used by whoever holds the network's row.

The search begins where the last one ended, so in a network that was never full the addresses ahead are free and one
query tells so for a whole batch; an address that was given back is used again only after all others.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from arable.domain.errors import Conflict, NoRoom
from arable.domain.guest_cidr import FIRST_OFFSET, Subnet, subnet_of
from arable.domain.network import Network
from arable.store import nics
from arable.store.database import Tx

_WINDOW = 64


@dataclass(slots=True)
class GuestAddresses:
    """Offsets that are free; `need` is how many will be asked for in all."""

    tx: Tx
    network: Network
    need: int
    subnet: Subnet = field(init=False)
    cursor: int = field(init=False)
    _left: int = field(init=False)  # offsets not looked at yet
    _held: set[int] = field(default_factory=set)  # of the window, and those given out
    _window_end: int = -1
    _returned: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.subnet = subnet_of(self.network.cidr)
        last = self.subnet.last_offset
        self.cursor = self.network.next_offset
        if not FIRST_OFFSET <= self.cursor <= last:
            self.cursor = FIRST_OFFSET
        self._left = self.subnet.room

    def take(self, count: int) -> list[int]:
        """So many, or `NoRoom` and none."""
        taken: list[int] = []
        while len(taken) < count:
            offset = self._returned.pop() if self._returned else self._next()
            if offset is None:
                self._returned += taken
                raise NoRoom(
                    f"{self.network.name} ({self.network.cidr}) has no {count} free addresses left; "
                    "expunge machines, or use a larger network"
                )
            taken.append(offset)
        self._held.update(taken)
        return taken

    def take_one(self, offset: int, field: str) -> list[int]:
        """The one that was asked for, or `Conflict` naming who has it: whoever may use a network may see its machines."""
        if offset in self._returned:
            self._returned.remove(offset)
        elif offset in self._held or nics.offsets(self.tx, self.network.id, offset, offset):
            address = self.subnet.address(offset)
            by = nics.holder(self.tx, self.network.id, offset)
            who = f" by {by}" if by else ""
            raise Conflict(f"{address} is taken in {self.network.name}{who}", field=field)
        self._held.add(offset)
        return [offset]

    def give_back(self, offsets: list[int]) -> None:
        """They were not needed after all."""
        self._returned += offsets

    def _next(self) -> int | None:
        while self._left:
            if self.cursor > self._window_end:
                self._look_ahead()
            offset = self.cursor
            self.cursor += 1
            self._left -= 1
            if self.cursor > self.subnet.last_offset:
                self.cursor = FIRST_OFFSET
                self._window_end = -1
            if offset not in self._held:
                return offset
        return None

    def _look_ahead(self) -> None:
        first, end = self.window
        self.saw(nics.offsets(self.tx, self.network.id, first, end), end)

    @property
    def window(self) -> tuple[int, int]:
        """Where to look next."""
        return self.cursor, min(self.cursor + max(self.need, _WINDOW), self.subnet.last_offset)

    def saw(self, held: Iterable[int], end: int) -> None:
        """These are held, of those from the cursor to the end."""
        self._held.update(held)
        self._window_end = end


def look_ahead(tx: Tx, pools: Iterable[GuestAddresses]) -> None:
    """The first look of many of them, by one statement."""
    windows = [(pool, *pool.window) for pool in pools]
    held = nics.offsets_of_many(tx, [(pool.network.id, first, end) for pool, first, end in windows])
    for pool, _first, end in windows:
        pool.saw(held.get(pool.network.id, ()), end)
