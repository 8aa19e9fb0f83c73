"""Image versions on their way from other regions: wanted, claimed by a management server, done or given up.

A claim is a row's holder and a time. What a holder writes is refused once another has it; that two may fetch for a moment
does no harm, as bytes are believed by their digests alone.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, delete, exists, insert, or_, select, text, update

from arable.domain.ids import LENGTH, AccountId, ImageId, MachineId, OperationId, TransferId
from arable.domain.image import ImageVersion
from arable.domain.machine import MachineState
from arable.domain.transfer import Transfer, TransferState
from arable.store import images, kept
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among
from arable.store.nudges import nudge

TOPIC = "transfers"

_x, _w, _m, _v = t.transfer.c, t.transfer_wait.c, t.machine.c, t.image_version.c
_WAIT = text("""
    insert into transfer_wait (transfer, operation, ends) values (:transfer, :operation, :ends)
    on conflict (transfer, operation) do nothing
""")
_ANY = select(_x.id).limit(1)


class Awaited(NamedTuple):
    """A version that a machine waits for; `failed`: why it won't come, or empty."""

    machine: MachineId
    image: str  # its name
    number: int
    failed: str


class Waiting(NamedTuple):
    """An operation that waits for a transfer; `ends`: it is done with it."""

    operation: OperationId
    ends: bool


class Claimed(NamedTuple):
    """A transfer with what it is to bring, and for whom."""

    transfer: Transfer
    version: ImageVersion
    name: str
    account: AccountId
    home: str = (
        ""  # the region that told of it, beside those of which the catalogue says that they have it
    )


def begin(tx: Tx, transfer: Transfer) -> Transfer:
    """Want it: begun now, begun before (the same), or begun anew after it was given up."""
    known = of(tx, transfer.image, transfer.number)
    if known is None:
        tx.execute(insert(t.transfer).values(**asdict(transfer)))
        known = transfer
    elif known.state is TransferState.FAILED:
        values = {"state": TransferState.WANTED.value, "told": "", "tries": 0, "holder": ""}
        times = {"next_at": transfer.next_at, "moved_at": transfer.moved_at}
        tx.execute(update(t.transfer).where(_x.id == known.id).values(**values, **times))
    nudge(tx, TOPIC)
    return known


def look_again(tx: Tx, name: str, at: datetime) -> None:
    """What came from other regions counts as elsewhere until its bytes were seen here, as of a store that was set back.

    What is here counts again at once; what was let go since is brought once more. `name`: of this store from now on.
    """
    there = exists().where(t.grid_link.c.region != "")
    query = select(_v.image, _v.number, _v.bytes).where(_v.fetched, ~_v.arriving, there)
    for image, number, total in tx.execute(query.order_by(_v.image, _v.number)).all():
        key = hashlib.sha256(f"{name}/{image}/{number}".encode()).hexdigest()[:LENGTH]
        here = (_v.image == image, _v.number == number)
        tx.execute(update(t.image_version).where(*here).values(arriving=True))
        begin(
            tx,
            Transfer(
                id=TransferId(f"transfer-{key}"),
                image=image,
                number=number,
                state=TransferState.WANTED,
                total=total,
                next_at=at,
                moved_at=at,
                created_at=at,
            ),
        )
    nudge(tx, images.TOPIC)


def wait(tx: Tx, transfer: TransferId, operation: OperationId, *, ends: bool) -> None:
    """The operation is told how far it is, and ends with it or goes on."""
    tx.execute(_WAIT, {"transfer": transfer, "operation": operation, "ends": ends})


def of(tx: Tx, image: ImageId, number: int) -> Transfer | None:
    """The transfer of a version, if one was begun, locked."""
    query = select(t.transfer).where(_x.image == image, _x.number == number).with_for_update()
    row = tx.execute(query).first()
    return None if row is None else kept.value(Transfer, row)


def of_images(tx: Tx, of: Iterable[ImageId]) -> dict[tuple[ImageId, int], Transfer]:
    """All transfers of these images' versions."""
    query = select(t.transfer).where(among(tx, _x.image, of))
    found = [kept.value(Transfer, row) for row in tx.execute(query)]
    return {(each.image, each.number): each for each in found}


def forget(tx: Tx, transfer: Transfer) -> None:
    """Nobody wants that version any more."""
    tx.execute(delete(t.transfer).where(_x.id == transfer.id))


def due(tx: Tx, me: str, now: datetime, limit: int) -> list[TransferId]:
    """Those whose time has come and that nobody else fetches."""
    query = select(_x.id).where(_x.next_at <= now, text("state = 'wanted'"), _free(me, now))
    return list(tx.scalars(query.order_by(_x.next_at, _x.id).limit(limit)))


def claim(tx: Tx, id_: TransferId, me: str, now: datetime, until: datetime) -> Claimed | None:
    """It is ours until then; None when it is somebody else's, or over."""
    changed = update(t.transfer).where(_x.id == id_, text("state = 'wanted'"), _free(me, now))
    if tx.execute(changed.values(holder=me, held_until=until)).rowcount != 1:
        return None
    transfer = kept.value(Transfer, tx.execute(select(t.transfer).where(_x.id == id_)).one())
    row = tx.execute(
        select(t.image_version).where(_v.image == transfer.image, _v.number == transfer.number)
    ).first()
    image = t.image.c
    whose = select(image.name, image.account, image.home).where(image.id == transfer.image)
    if row is None:  # the version was deleted meanwhile: nothing to fetch
        tx.execute(delete(t.transfer).where(_x.id == id_))
        return None
    name, account, home = tx.execute(whose).one()
    return Claimed(transfer, kept.value(ImageVersion, row), name, AccountId(account), home)


def went_on(
    tx: Tx, id_: TransferId, me: str, until: datetime, done: int, sources: str, at: datetime
) -> bool:
    """So many bytes are here, and it stays ours until then. False: it is not ours any more."""
    changed = update(t.transfer).where(_ours(id_, me))
    values = {"held_until": until, "done": done, "sources": sources}
    moved = update(t.transfer).where(_ours(id_, me), _x.done < done)
    tx.execute(moved.values(moved_at=at, told=""))
    return tx.execute(changed.values(**values)).rowcount == 1


def hold(tx: Tx, id_: TransferId, me: str) -> Transfer | None:
    """It, if it is still ours, locked."""
    query = select(t.transfer).where(_ours(id_, me)).with_for_update()
    row = tx.execute(query).first()
    return None if row is None else kept.value(Transfer, row)


def release(tx: Tx, id_: TransferId, told: str, tries: int, next_at: datetime) -> None:
    """Ours no more: the next attempt is anybody's. For whoever holds it."""
    values = {"told": told, "tries": tries, "next_at": next_at, "holder": "", "held_until": None}
    tx.execute(update(t.transfer).where(_x.id == id_).values(**values))


def give_up(tx: Tx, transfer: Transfer, told: str) -> None:
    """It won't come; whoever waits for it is woken to hear why. For whoever holds it."""
    values = {"told": told, "state": TransferState.FAILED.value, "holder": "", "held_until": None}
    tx.execute(update(t.transfer).where(_x.id == transfer.id).values(**values))
    tx.execute(delete(t.transfer_wait).where(_w.transfer == transfer.id))
    _wake(tx, transfer)


def arrived(tx: Tx, transfer: Transfer) -> None:
    """The version is here; machines that wait for it are woken. For whoever holds it."""
    here = (_v.image == transfer.image, _v.number == transfer.number)
    tx.execute(update(t.image_version).where(*here).values(arriving=False))
    tx.execute(delete(t.transfer).where(_x.id == transfer.id))
    nudge(tx, images.TOPIC)
    _wake(tx, transfer)


def waiting(tx: Tx, id_: TransferId) -> list[Waiting]:
    """Operations that wait for it."""
    query = select(_w.operation, _w.ends).where(_w.transfer == id_).order_by(_w.operation)
    return [Waiting(OperationId(operation), ends) for operation, ends in tx.execute(query)]


def awaited(tx: Tx, machines: Sequence[MachineId]) -> dict[MachineId, Awaited]:
    """Of these machines, those whose image version is not here."""
    if tx.execute(_ANY).first() is None:  # almost always
        return {}
    image = t.image.c
    query = (
        select(_m.id, image.name, _x.number, _x.state, _x.told)
        .join(t.transfer, and_(_x.image == _m.image, _x.number == _m.image_version))
        .join(t.image, image.id == _x.image)
        .where(among(tx, _m.id, machines))
    )
    return {
        MachineId(id_): Awaited(
            MachineId(id_), name, number, told if state == TransferState.FAILED.value else ""
        )
        for id_, name, number, state, told in tx.execute(query)
    }


def wanted_parts(tx: Tx) -> frozenset[str]:
    """Digests of parts that versions on their way need."""
    query = select(_v.parts).where(_v.arriving)
    return frozenset(part["sha256"] for (parts,) in tx.execute(query) for part in parts)


def _wake(tx: Tx, transfer: Transfer) -> None:
    here = (_m.image == transfer.image, _m.image_version == transfer.number)
    waits = (_m.state == MachineState.WAITING.value, _m.host.is_(None))
    if tx.execute(update(t.machine).where(*here, *waits).values(attention=True)).rowcount:
        nudge(tx, "machines")
    parts = select(t.came_volume.c.farm).where(t.came_volume.c.image == transfer.image)
    of_parts = update(t.tier).where(t.tier.c.farm.in_(parts))
    if tx.execute(of_parts.values(attention=True, again_at=None)).rowcount:
        nudge(tx, "tiers")


def _ours(id_: TransferId, me: str) -> ColumnElement[bool]:
    return and_(_x.id == id_, _x.holder == me)


def _free(me: str, now: datetime) -> ColumnElement[bool]:
    return or_(_x.holder == "", _x.holder == me, _x.held_until < now)
