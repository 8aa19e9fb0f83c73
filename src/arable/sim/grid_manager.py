"""A simulated grid manager: its store, and what it does for regions and for its operators. Nothing of it is in memory."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from arable.domain.access import ROLES, Caller
from arable.domain.errors import Unavailable
from arable.domain.ids import AccountId, DomainId, GridTokenId, UserId
from arable.runtime.ca import Authority, new_request
from arable.runtime.clock import VirtualClock
from arable.runtime.entropy import Entropy, Ids
from arable.runtime.tokens import new_join_token
from arable.services import grid_manager
from arable.services.call import Call, GridRole, Surroundings
from arable.services.grid_manager import Sender
from arable.sim.cloud import make_empty
from arable.sim.files import MemoryFiles
from arable.store import grid_members, incarnations, restore
from arable.store.database import Database
from arable.store.grid_members import GridToken, Link
from arable.wire.grid import RENEW, SYNC, GridJoinIn, GridRenewIn, SyncIn

_CALLS: dict[str, tuple[type[msgspec.Struct], Callable[..., Any]]] = {
    SYNC: (SyncIn, grid_manager.take),
    RENEW: (GridRenewIn, grid_manager.renew),
}


@dataclass
class SimManager:
    """`of` makes one. `up`: whether its process is there."""

    database: Database
    around: Surroundings
    up: bool = True
    lives: int = 1
    copy: sqlite3.Connection | None = None

    @classmethod
    def of(
        cls, directory: Path, clock: VirtualClock, entropy: Entropy, database: Database
    ) -> "SimManager":
        """One that no region knows yet."""
        make_empty(database)
        around = Surroundings(
            clock,
            entropy,
            Ids(clock, entropy.child("ids")),
            MemoryFiles(),
            Authority.create(directory, clock=clock, entropy=entropy.child("ca")),
            grid_role=GridRole.GRID,
        )
        with database.write() as tx:
            incarnations.draw(tx, "the grid's first", clock.now())
        return cls(database, around)

    def take(self, sender: Sender, path: str, body: bytes) -> bytes:
        """What a region asks at its port. Raises `Unavailable` while there is no process."""
        if not self.up:
            raise Unavailable("the grid manager does not answer")
        kind, does = _CALLS[path]
        ask = msgspec.json.decode(body, type=kind)
        with self.database.write() as tx:
            answer = does(tx, self.around, sender, ask)
        return msgspec.json.encode(answer)

    def ask(self, does: Callable[..., Any], *args: Any) -> Any:
        """What its operator asks."""
        if not self.up:
            raise Unavailable("the grid manager does not answer")
        rank, may = ROLES["operator"]
        operator = Caller(
            user=UserId("user-grid"),
            name="grid operator",
            account=AccountId("account-root"),
            domain=DomainId("domain-root"),
            path="root",
            role="operator",
            rank=rank,
            permissions=may,
            via="system",
        )
        with self.database.write() as tx:
            return does(Call(tx, operator, self.around), *args)

    def welcome(self, region: str) -> Link:
        """Let that region in: what it keeps of that."""
        made, now = new_request(region), self.around.clock.now()
        issued = new_join_token(self.around.authority.fingerprint, self.around.entropy)
        token = GridToken(
            id=GridTokenId(self.around.ids.new("gridtoken")),
            region=region,
            secret_hash=issued.digest,
            expires_at=now + timedelta(hours=1),
            created_at=now,
        )
        ask = GridJoinIn(token=issued.text.reveal(), region=region, request=made.request)
        with self.database.write() as tx:
            grid_members.add_token(tx, token)
            answer = grid_manager.join(tx, self.around, ask)
        return Link(
            region=region,
            grid="grid:1",
            authorities=answer.authorities,
            certificate=answer.certificate,
            key_sealed=made.key.reveal(),
            joined_at=now,
        )

    def epoch(self, region: str) -> int:
        """That counts."""
        with self.database.read() as tx:
            found = grid_members.by_name(tx, region)
        assert found is not None
        return found.epoch

    def back_up(self) -> None:
        """Keep a copy of the database as it is."""
        self.copy = sqlite3.connect(":memory:", check_same_thread=False)
        self._raw().backup(self.copy)

    def restore(self) -> bool:
        """The database becomes that copy; False: there is none."""
        if self.copy is None:
            return False
        self.lives += 1
        self.copy.backup(self._raw())
        with self.database.write() as tx:
            restore.renew(tx, f"the grid's after {self.lives}", self.around.clock.now())
        self.up = True
        return True

    def _raw(self) -> sqlite3.Connection:
        raw: Any = self.database.engine.raw_connection()
        found: sqlite3.Connection = raw.driver_connection
        raw.close()
        return found
