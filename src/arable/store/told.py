"""What hosts have been told, for the slow check that compares it with what they should have been."""

from collections.abc import Iterable, Mapping

from sqlalchemy import select

from arable.domain.ids import HostId, MachineId, VolumeId
from arable.domain.manifest import ItemKind
from arable.store import attention, schema
from arable.store.attention import MachineRow
from arable.store.database import Tx
from arable.store.many import among


def settled_machines(tx: Tx, letter: str) -> list[MachineRow]:
    """Machines with a host, about which nothing is waiting to be told, whose id ends with a letter."""
    machine = schema.machine.c
    query = select(machine.id).where(
        machine.host.is_not(None), ~machine.attention, machine.id.endswith(letter)
    )
    return list(attention.machines_by_id(tx, list(tx.scalars(query))).values())


def items(tx: Tx, kind: ItemKind, letter: str) -> dict[tuple[HostId, MachineId], str]:
    """The bodies of items of one kind whose machine's id ends with a letter."""
    item = schema.manifest_item.c
    query = select(item.host, item.id, item.body).where(
        item.kind == kind, item.body.is_not(None), item.id.endswith(letter)
    )
    return {(host, id_): body for host, id_, body in tx.execute(query) if body}


def read_scraps(
    tx: Tx, reported: Mapping[tuple[HostId, VolumeId], int]
) -> set[tuple[HostId, VolumeId]]:
    """Of these volumes that hosts have erased, holding those manifests, the ones whose wish they had read."""
    item = schema.manifest_item.c
    query = select(item.host, item.id, item.generation).where(
        item.kind == ItemKind.SCRAP, among(tx, item.id, {volume for _, volume in reported})
    )
    return {
        (host, id_)
        for host, id_, generation in tx.execute(query)
        if reported.get((host, id_), -1) >= generation
    }


def busy(tx: Tx, machines: Iterable[MachineId]) -> frozenset[MachineId]:
    """Those among these machines about which something is waiting to be told."""
    machine = schema.machine.c
    return frozenset(
        tx.scalars(select(machine.id).where(among(tx, machine.id, machines), machine.attention))
    )


def machines_on(tx: Tx, host: HostId) -> list[MachineId]:
    """The machines that a host has."""
    machine = schema.machine.c
    return list(tx.scalars(select(machine.id).where(machine.host == host)))


def name_is_taken(tx: Tx, machine: MachineId) -> bool:
    """Whether another living machine has the name of this one, which is on its way out."""
    mine, other = schema.machine.c, schema.machine.alias("other").c
    query = select(other.id).where(
        mine.id == machine,
        mine.wish.not_in(("running", "stopped")),
        other.account == mine.account,
        other.zone == mine.zone,
        other.name == mine.name,
        other.wish.in_(("running", "stopped")),
    )
    return tx.execute(query.limit(1)).first() is not None
