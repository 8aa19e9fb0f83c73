"""The slow check: what hosts are told must be what the rows say.

Whoever changes a wish writes its item in the same transaction, so this finds nothing, unless a bug or a hand in the
database made a difference; then it is put right, and told loudly. Each round looks at one part in 36 (by the last
letter of the id, chosen by the clock), so that no round is long and nothing needs to be remembered.
"""

import logging
from datetime import datetime

from arable.controllers import wishes
from arable.domain.ids import ALPHABET
from arable.domain.manifest import ItemKind
from arable.store import attention, told
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
    wrong = []
    for row in rows:
        disks = volumes.get(row.id, [])
        pool = next((disk.pool for disk in disks if disk.pool), None)
        if row.host is None or pool is None:
            continue
        item = wishes.guest(
            row, row.told, boots[row.id], row.host, nics.get(row.id, []), disks, pool
        )
        leases = {(e.host, row.id): e.body for e in wishes.export(row, row.told, disks)}
        there = {key: exported.pop(key, None) for key in leases}
        if bodies.pop((row.host, row.id), None) != item.body or there != leases:
            wrong.append(row.id)
    placed = {row.id: row.host for row in rows}
    strays = [
        (host, id_)
        for host, id_ in bodies
        if id_ not in told.busy(tx, [id_]) and placed.get(id_) != host
    ]
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
