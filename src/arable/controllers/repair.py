"""The slow check: what hosts are told must be what the rows say.

Whoever changes a wish writes its item in the same transaction, so this finds nothing, unless a bug or a hand in the
database made a difference; then it is put right, and told loudly. Each round looks at one part in 36 (by the last
letter of the id, chosen by the clock), so that no round is long and nothing needs to be remembered.
"""

import logging
from collections.abc import Collection
from datetime import datetime

from arable.controllers import wishes
from arable.domain.ids import ALPHABET, HostId, MachineId
from arable.domain.manifest import ItemKind
from arable.store import attention, moves, told
from arable.store import wishes as manifests
from arable.store.database import Tx
from arable.store.nudges import nudge

log = logging.getLogger(__name__)

SECONDS = 10
"""Between rounds: everything is looked at every six minutes."""


def check(tx: Tx, at: datetime) -> int:
    """One round; how many differences were put right."""
    letter = ALPHABET[int(at.timestamp()) // SECONDS % len(ALPHABET)]
    rows = told.settled_machines(tx, letter)
    bodies = told.items(tx, ItemKind.GUEST, letter)
    exported = told.items(tx, ItemKind.EXPORT, letter)
    ids = [row.id for row in rows]
    nics, volumes = attention.nics(tx, ids), attention.volumes(tx, ids)
    boots = attention.boots(tx, ids)
    under_way = moves.bound(tx, [row.id for row in rows if row.epoch])
    wrong = []
    for row in rows:
        disks = volumes.get(row.id, [])
        pool = next((disk.pool for disk in disks if disk.pool), None)
        if row.host is None or row.attention or pool is None:
            continue
        ports, boot = nics.get(row.id, []), boots[row.id]
        if row.id in under_way:
            items = wishes.moving(row, boot, ports, disks, under_way[row.id])
        else:
            items = [
                wishes.guest(row, row.told, boot, row.host, ports, disks, pool),
                *wishes.export(row, row.told, disks),
            ]
        kept = {ItemKind.GUEST: bodies, ItemKind.EXPORT: exported}
        there = [kept[item.kind].pop((item.host, row.id), None) for item in items]
        if there != [item.body for item in items]:
            wrong.append(row.id)
    placed = {row.id: row.host for row in rows}
    strays = _strays(tx, {(host, id_) for host, id_ in bodies if placed.get(id_) != host})
    loose = [(host, id_) for host, id_ in exported if id_ not in told.busy(tx, [id_])]
    if wrong or strays or loose:
        told_wrong = [*strays, *loose]
        log.error("manifests differ from their rows: %s; not wished for: %s", wrong, told_wrong)
    attention.change_machines(tx, ("attention",), [{"id": id_, "attention": True} for id_ in wrong])
    manifests.take_back(tx, ItemKind.GUEST, strays)
    manifests.take_back(tx, ItemKind.EXPORT, loose)
    if wrong:
        nudge(tx, "machines")
    return len(wrong) + len(strays) + len(loose)


def _strays(
    tx: Tx, suspects: Collection[tuple[HostId, MachineId]]
) -> list[tuple[HostId, MachineId]]:
    """Wishes for machines that are not there, of these that seem so.

    The machines were looked at before the wishes, and what another server placed between the two seems to be in no
    row. So they are looked at once more, and held: whoever is there now has its wish by right.
    """
    ids = {id_ for _host, id_ in suspects}
    now = attention.machines_by_id(tx, ids) if ids else {}
    leaving = moves.bound(tx, [row.id for row in now.values() if row.epoch])
    return [
        (host, id_)
        for host, id_ in sorted(suspects)
        if (row := now.get(id_)) is None
        or (row.host != host and not row.attention and id_ not in leaving)
    ]
