"""Snapshots of volumes: taken, dropped, and volumes set back to them, for `SnapshotWish`es (docs/decisions/0018).

Who has a volume's file open does it: a local one's guest, by the hypervisor; a shared one's server, by its pool; nobody,
by the pool. Of a pool of files two hosts are told: its keeper, and the one where a guest has the file open; the other one waits. How long they take for it is not ours to say, so it is done aside, one at a time. To set one back needs that
nobody has it, nor may have it by another item: that is looked at here, refused by the pool, and kept out by QEMU's lock
on the file.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from arable.agent.aside import Aside, Errands, at_once
from arable.agent.copies import COPYING
from arable.agent.sight import Ground, Sight
from arable.agent.storage import held_by_guests, serial
from arable.domain.errors import CloudError, NotFound
from arable.domain.ids import MachineId, OperationId, VolumeId
from arable.domain.manifest import GIVE_UP
from arable.domain.snapshot import SnapshotAct, SnapshotSeen, SnapshotWish
from arable.drivers.hypervisor.protocol import GuestPower, KeepsDisks
from arable.drivers.storage.protocol import InUse, KeepsSnapshots, Shares

log = logging.getLogger(__name__)
_OPEN_SECONDS = 2.0
"""After which a keeper looks again whether a file is still open elsewhere."""


@dataclass(frozen=True, slots=True)
class Do:
    """Have it as wished."""

    wish: SnapshotWish

    def __str__(self) -> str:
        return f"{self.wish.act} {self.wish.snapshot} of {self.wish.volume}"


class Snapshots:
    """What is wished of snapshots on this host. What was done is forgotten with the agent, and found done then."""

    name = "snapshots"

    def __init__(
        self, ground: Ground, shared: Callable[[], set[VolumeId]] = set, aside: Aside = at_once
    ) -> None:
        self._ground = ground
        self._errands: Errands[SnapshotWish, None] = Errands(aside)
        self._shared = shared  # volumes of this host that others may be using
        self._done: dict[OperationId, SnapshotWish] = {}
        self._given_up: dict[OperationId, SnapshotSeen] = {}

    def observe(self) -> Sight:
        error = self._ended()
        if error is not None:
            log.warning("%s: %s", self.name, error.public)
        return self._ground.seen

    def plan(self, seen: Sight, /) -> Sequence[Do]:
        wished = self._ground.wishes.manifest.snapshots
        self._done = {key: wish for key, wish in self._done.items() if wished.get(key) == wish}
        self._given_up = {key: said for key, said in self._given_up.items() if key in wished}
        if not wished or (seen.guests is None and self._ground.drivers.hypervisor):
            return []
        return [
            Do(wish)
            for key, wish in sorted(wished.items())
            if key not in self._done
            and wish.act not in COPYING
            and (wish.pool in seen.shelves or self._is_open(wish))
            and self._may(wish, seen)
        ]

    def apply(self, action: Do, /) -> None:
        wish = action.wish
        if wish.act is not SnapshotAct.RESTORE:
            have = partial(self._have, wish, self._user(wish))
            self._errands.begin(wish, have, "it could not be done")
            error = self._ended()
            if error is not None:
                raise error
            return
        with self._ground.patience.attempt(wish.operation):
            shelf = self._ground.seen.shelves[wish.pool]
            shelf.volumes[wish.volume] = self._pool(wish).restore(
                wish.volume, wish.snapshot, wish.bytes, wish.operation
            )
        self._done[wish.operation] = wish

    def busy(self) -> set[VolumeId]:
        """Volumes of which one is being taken or dropped: nothing else is to be done with them."""
        wish = self._errands.under_way
        return {wish.volume} if wish else set()

    def tell(self) -> dict[OperationId, SnapshotSeen]:
        """How each that is wished for stands."""
        found = {}
        for key, wish in self._ground.wishes.manifest.snapshots.items():
            if wish.act in COPYING:
                continue  # `copies.py`
            if key in self._given_up:
                found[key] = self._given_up[key]
                continue
            trouble = self._ground.patience.of(key)
            done = self._done.get(key) == wish
            found[key] = SnapshotSeen(
                operation=key,
                act=wish.act,
                done=done,
                told=trouble.told if trouble and not done else "",
                tries=trouble.tries if trouble and not done else 0,
            )
            if wish.act is SnapshotAct.RESTORE and found[key].tries >= GIVE_UP:
                self._given_up[key] = found[key]  # whoever asked for it is told that it failed
        return found

    def _may(self, wish: SnapshotWish, seen: Sight) -> bool:
        patience = self._ground.patience
        if self._user(wish):
            if self._goes(wish):
                patience.waits(wish.operation, "its machine is on its way to another host")
                return False
            return self._errands.under_way is None and patience.may(wish.operation)
        if wish.act is SnapshotAct.TAKE and wish.volume not in seen.shelves[wish.pool].volumes:
            if self._comes(wish.volume):
                patience.waits(wish.operation, f"{wish.volume} is not made yet")
            elif patience.may(wish.operation):  # who makes it may be wished for a moment later
                patience.failed(wish.operation, f"{wish.volume} was never made: nothing is on it")
            return False
        if wish.act is not SnapshotAct.RESTORE:
            return self._errands.under_way is None and patience.may(wish.operation)
        if wish.operation in self._given_up:
            return False
        if wish.volume in self.busy():
            patience.waits(wish.operation, "another snapshot is being taken or dropped")
            return False
        held = held_by_guests(self._ground, seen)
        if held is None or wish.volume in held | self._shared():
            patience.waits(wish.operation, "its machine is not off yet")
            return False
        return patience.may(wish.operation)

    def _comes(self, volume: VolumeId) -> bool:
        """Whether a machine is to have it here, so that it will be made."""
        wished = self._ground.wishes.manifest
        users = [each.disks for each in wished.guests.values()]
        users += [each.disks for each in wished.exports.values()]
        return any(disk.volume == volume for disks in users for disk in disks)

    def _ended(self) -> CloudError | None:
        """Take in what became of what was begun, if it is over; the error if it failed."""
        errand = self._errands.ended()
        if errand is None:
            return None
        key = errand.what.operation
        if isinstance(errand.error, InUse):  # another host has it open, and is told, too
            self._ground.patience.waits(key, errand.error.public, _OPEN_SECONDS)
            return None
        if errand.error is not None:
            self._ground.failed(key, errand.error, errand.what.pool)
            return errand.error
        self._ground.patience.fine(key)
        self._done[key] = errand.what
        return None

    def _have(self, wish: SnapshotWish, user: MachineId | None) -> None:
        """Take or drop it, whoever has the file; already so is fine. Not in the agent's own thread, perhaps."""
        if user:
            self._by_guest(user, wish)
            return
        pool = self._pool(wish)
        if wish.act is SnapshotAct.TAKE:
            pool.take(wish.volume, wish.snapshot)
        else:
            try:
                pool.drop(wish.volume, wish.snapshot)
            except NotFound:
                return  # it went with its volume

    def _user(self, wish: SnapshotWish) -> MachineId | None:
        """The guest that has the volume's file open."""
        pool = self._ground.drivers.pool(wish.pool)
        if wish.act is SnapshotAct.RESTORE or (isinstance(pool, Shares) and not pool.by_mount):
            return None  # a server has it open, if anybody
        for machine, found in (self._ground.seen.guests or {}).items():
            runs = found.power is GuestPower.RUNNING
            if runs and wish.volume in self._ground.facts_of(machine).volumes:
                return machine
        return None

    def _is_open(self, wish: SnapshotWish) -> bool:
        """Whether it is of a pool of another host, and a guest has it open here."""
        return self._ground.drivers.pool(wish.pool) is None and self._user(wish) is not None

    def _goes(self, wish: SnapshotWish) -> bool:
        """Whether who has it open here is to be elsewhere in a moment."""
        user = self._user(wish)
        told = self._ground.wishes.manifest.guests.get(user) if user else None
        return told is not None and told.move is not None

    def _by_guest(self, machine: MachineId, wish: SnapshotWish) -> None:
        hypervisor = self._ground.drivers.hypervisor
        if not isinstance(hypervisor, KeepsDisks):
            raise NotFound("this host's hypervisor takes no snapshots of guests that run")
        drop = wish.act is SnapshotAct.DROP
        hypervisor.snapshot(machine, serial(wish.volume), wish.snapshot, drop=drop)

    def _pool(self, wish: SnapshotWish) -> KeepsSnapshots:
        pool = self._ground.drivers.pool(wish.pool)
        if not isinstance(pool, KeepsSnapshots):
            raise NotFound(f"{wish.pool} keeps no snapshots")
        return pool
