"""What hosts say ends what is under way between volumes and machines.

A volume that is plugged into a guest that runs, or taken from it, is wished for in the machine's items like everything
else (`wishes.py`), so the host says that it is done by saying that the guest is as it was last told. One on a shared
pool has then still to be cut off by its storage host, which says so by the wish that is in force there. A machine that
is off holds nothing, so whatever was under way is over.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from arable.controllers import carries, copies, endings, snapshots, volume_replicas
from arable.domain.errors import Unavailable
from arable.domain.event import Event
from arable.domain.ids import HostId, MachineId, PoolId, VolumeId
from arable.domain.manifest import ItemKind, ScrapWish
from arable.domain.units import Size
from arable.domain.volume import Change
from arable.store import attachments, attention, events, quotas, reservations, volumes, wishes
from arable.store.attachments import Alone, Pending
from arable.store.attention import MachineRow
from arable.store.database import Tx
from arable.store.nudges import nudge
from arable.store.rows import json_text

SECONDS = 15
TRIES = 9
"""Of a guest's host, each twice as long after the one before: some four minutes. Then nobody waits for it any more."""
_SAID = {
    Change.RESIZE.value: ("volume.resized", "has grown"),
    Change.LIMIT.value: ("volume.limited", "has its new limits"),
}
"""Of volumes that stay with their machines: the event, and its text."""
_IN_VAIN = {Change.RESIZE.value: "volume.not-resized", Change.LIMIT.value: "volume.not-limited"}


def watch(tx: Tx, at: datetime) -> int:
    """Machines that came to be off without a word of their host; how many there were."""
    if not attachments.any_pending(tx):
        return 0
    ids = attachments.stranded(tx)
    off = [row.id for row in attention.machines_by_id(tx, ids).values() if row.host is None]
    settle(tx, (), off, {}, at)
    return len(off)


def settle(
    tx: Tx,
    as_told: Collection[MachineId],
    off: Collection[MachineId],
    waits: Mapping[MachineId, str],
    at: datetime,
    in_vain: Collection[MachineId] = (),
) -> None:
    """These machines run as they were last told to, those are off, and of others their hosts say what they wait for.

    Some of these have waited for long. All of them are held.
    """
    ids = {*as_told, *off, *waits}
    if not ids or not attachments.any_pending(tx):
        return
    plugged: list[Pending] = []
    gone: list[Pending] = []
    other: list[Pending] = []
    cut: list[Pending] = []
    told: dict[VolumeId, str] = {}
    given_up: list[Pending] = []
    for each in attachments.pending(tx, ids):
        here = each.change == Change.RESIZE or (each.change == Change.LIMIT and not each.shared)
        if (here and each.machine in as_told) or (each.change in _SAID and each.machine in off):
            other.append(each)
        elif each.machine in off:
            (plugged if each.change == Change.ATTACH else gone).append(each)
        elif each.machine in as_told:
            if each.change == Change.ATTACH:
                plugged.append(each)
            elif each.change == Change.DETACH:
                (cut if each.shared else gone).append(each)
        elif here and each.machine in in_vain:
            given_up.append(each)
        elif (text := waits.get(each.machine, each.told)) != each.told:
            told[each.id] = text
    attachments.seen_made(tx, [each.machine for each in plugged if each.machine in as_told])
    attachments.cutting(tx, [each.id for each in cut])
    _wake(tx, {each.machine for each in cut}, at)
    attachments.tell(tx, told)
    _give_up(tx, given_up, waits, at)
    _end(tx, plugged, gone, at, other)


def cut_off(tx: Tx, in_force: Mapping[MachineId, int], at: datetime) -> None:
    """By storage hosts, or held back as is wished now, as far as wishes of these generations go."""
    if not in_force or not attachments.any_pending(tx):
        return
    waiting = [
        p
        for p in attachments.pending(tx, in_force)
        if p.change == Change.CUT or (p.change == Change.LIMIT and p.shared)
    ]
    rows = attention.machines_by_id(tx, {each.machine for each in waiting}) if waiting else {}
    done = []
    for each in waiting:
        row = rows.get(each.machine)
        if row and row.host and not row.attention and in_force[row.id] >= row.told > 0:
            done.append(each)
    cut = [each for each in done if each.change == Change.CUT]
    _end(tx, [], cut, at, [each for each in done if each.change == Change.LIMIT])


def release(tx: Tx, machines: Iterable[MachineId], at: datetime) -> None:
    """Volumes that stay are of no machine any more: theirs are off, and about to go."""
    staying = attachments.staying(tx, machines)
    if not staying:
        return
    snapshots.let_be(tx, [each.id for each in staying], at)
    attachments.alone(tx, [each.id for each in staying])
    endings.settle(tx, [(each.operation, None) for each in staying], at)
    _tell(tx, staying, "volume.detached", "its machine is gone; it stays", at)


def erased(tx: Tx, ids: Collection[VolumeId], at: datetime) -> None:
    """These are nowhere any more. Those that were to be erased by themselves are gone."""
    _gone(tx, attachments.erased(tx, sorted(ids)), at)


def lost(tx: Tx, host: HostId, pool: PoolId | None, at: datetime) -> None:
    """The host's own pool is given up, with the volumes of no machine that are in it."""
    if pool:
        copies.lost(tx, pool, at)
        carries.lost(tx, pool, at)
        volume_replicas.lost(tx, pool)
    found = attachments.lost(tx, pool) if pool else []
    snapshots.lost(tx, [each.id for each in found], at)
    reservations.give(tx, [(host, Size(disk_mib=each.mib), 0) for each in found])
    _gone(tx, [each for each in found if each.erasing], at)
    left = [each for each in found if not each.erasing]
    _tell(tx, left, "volume.lost", "was lost with its host; what is there now is blank", at)


def _gone(tx: Tx, found: Collection[Alone], at: datetime) -> None:
    if not found:
        return
    volumes.remove(tx, [each.id for each in found], at)
    quotas.give_many(
        tx, [(each.account, {"volumes": 1, "storage_mib": each.mib}) for each in found]
    )
    endings.settle(tx, [(each.operation, None) for each in found], at)
    _tell(tx, found, "volume.gone", "erased", at)


def _end(
    tx: Tx, plugged: list[Pending], gone: list[Pending], at: datetime, other: Sequence[Pending] = ()
) -> None:
    attachments.plugged(tx, [each.id for each in (*plugged, *other)])
    attachments.alone(tx, [each.id for each in gone if not each.view])
    views = attachments.let_go(tx, [each.id for each in gone if each.view])
    wishes.put(
        tx,
        [
            wishes.Item(host, ItemKind.SCRAP, id_, json_text(ScrapWish(volume=id_, pool=pool)))
            for host, pool, id_ in views
        ],
    )
    endings.settle(tx, [(each.operation, None) for each in (*plugged, *gone, *other)], at)
    said = [(each, "volume.attached", f"attached to {each.machine_name}") for each in plugged]
    said += [(each, "volume.detached", f"detached from {each.machine_name}") for each in gone]
    said += [(each, *_SAID[each.change]) for each in other]
    for each, kind, text in said:
        _tell(tx, [each], kind, text, at)


def _give_up(tx: Tx, rows: Sequence[Pending], waits: Mapping[MachineId, str], at: datetime) -> None:
    """Nobody waits for these any more. They stay as is wished: their hosts go on trying, and the next start has it so."""
    attachments.plugged(tx, [each.id for each in rows])
    for each in rows:
        why = (
            f"{each.machine_name} does not see it yet ({waits[each.machine]}); "
            "it does at its next start, at the latest"
        )
        failed = (each.operation, Unavailable(f"{each.name or each.id}: {why}"))
        endings.settle(tx, [failed], at)
        _tell(tx, [each], _IN_VAIN[each.change], why, at)


def _wake(tx: Tx, machines: Collection[MachineId], at: datetime) -> None:
    """Have what is told of these said anew."""
    rows: list[MachineRow] = list(attention.machines_by_id(tx, machines).values())
    attention.change_machines(
        tx,
        ("attention", "generation", "changed_at"),
        [
            {
                "id": row.id,
                "attention": True,
                "generation": row.generation + 1,
                "changed_at": attention.stamp(at),
            }
            for row in rows
        ],
    )
    if rows:
        nudge(tx, "machines")


def _tell(tx: Tx, about: Iterable[Alone | Pending], kind: str, text: str, at: datetime) -> None:
    events.add_many(
        tx,
        [
            Event(
                at=at, account=each.account, kind=kind, subject=each.id, text=f"{each.name}: {text}"
            )
            for each in about
        ],
    )
