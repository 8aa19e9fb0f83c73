"""Ports that were detached go when nothing of them is left on their machine's host, and with them what they held.

Most go with the operation that waited for that (`settle.py`), or at once, where no host has the machine
(`machines.py`). What is left here is what a crash, another wish or a lost host came between.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from arable.controllers import wishes
from arable.domain.ids import MachineId
from arable.domain.machine import MachineWish
from arable.domain.manifest import ItemKind
from arable.store import attention, nics
from arable.store import wishes as manifests
from arable.store.attention import MachineRow, NicRow
from arable.store.database import Tx
from arable.store.wishes import Item

MOST = 200
_LIVING = (MachineWish.RUNNING, MachineWish.STOPPED)


def collect(tx: Tx, at: datetime) -> int:  # noqa: ARG001
    """One round; how many machines had some."""
    found = nics.forsaken(tx, MOST)
    held = attention.machines_by_id(tx, found)
    let_go(tx, set(nics.forsaken(tx, MOST)) & held.keys())
    return len(found)


def let_go(tx: Tx, machines: Iterable[MachineId]) -> None:
    """The hosts of these (locked) machines have nothing of what was detached from them any more.

    Routers are told here, too: whoever would tell them next time it looks at the machine finds no port then.
    """
    going = nics.leaving_of(tx, machines)
    known = [(host, nic) for nic, hosts in going.items() for host in hosts]
    manifests.take_back(tx, ItemKind.LEASE, known)
    nics.remove(tx, going.keys())


def leases(machine: MachineRow, ports: Sequence[NicRow], seed: str) -> list[Item]:
    """What the routers of a machine's networks are told of it; of a port that is leaving, that it is not there."""
    items = []
    for nic in ports:
        for host in nic.routers:
            item = wishes.lease(machine.name, nic, host, seed)
            if nic.leaving:
                item = Item(item.host, item.kind, item.id, None)
            if nic.leaving or machine.wish in _LIVING:
                items.append(item)
    return items
