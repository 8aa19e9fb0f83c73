"""How the right to run each machine with shared disks stands, as storage hosts say (docs/decisions/0007)."""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import delete, func, select

from arable.domain.ids import HostId, MachineId
from arable.domain.manifest import ExportSeen, ExportState, ItemKind
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among
from arable.store.rows import put_rows

_e = t.export.c
_COLUMNS = (
    "machine",
    "host",
    "state",
    "epoch",
    "highest",
    "holder",
    "generation",
    "told",
    "lapsed",
    "away",
)
# A storage host that has seen only earlier epochs says nothing of now: the disks are elsewhere.
_WRITTEN_OVER = (
    "(machine) do update set "
    + ", ".join(f'"{name}" = excluded."{name}"' for name in _COLUMNS[1:])
    + " where excluded.host = export.host or excluded.highest >= export.highest"
)


class ExportRow(NamedTuple):
    """As `ExportSeen`, with the storage host that said it."""

    machine: MachineId
    host: HostId
    state: ExportState
    epoch: int
    highest: int
    holder: HostId | None
    generation: int
    told: str
    lapsed: bool
    away: int


def keep(tx: Tx, seen: Sequence[tuple[HostId, ExportSeen]]) -> None:
    """What storage hosts say. The last word on a machine counts."""
    last = {
        export.machine: (
            export.machine,
            host,
            export.state.value,
            export.epoch,
            max(export.highest, export.epoch),
            export.holder,
            export.generation,
            export.told[:300],
            export.lapsed,
            export.away,
        )
        for host, export in seen
    }
    put_rows(tx, t.export, _COLUMNS, list(last.values()), _WRITTEN_OVER)


def forget(tx: Tx, gone: Iterable[tuple[HostId, MachineId]]) -> None:
    """Storage hosts that tell of these machines no longer: nobody has their lease, and nobody is to get it."""
    for host, machine in gone:
        tx.execute(delete(t.export).where(_e.machine == machine, _e.host == host))


def named_by(tx: Tx, hosts: Collection[HostId]) -> dict[HostId, set[MachineId]]:
    """The machines of which these hosts have told."""
    found: dict[HostId, set[MachineId]] = {}
    if hosts:
        for host, machine in tx.execute(
            select(_e.host, _e.machine).where(among(tx, _e.host, hosts))
        ):
            found.setdefault(host, set()).add(machine)
    return found


def some(tx: Tx, machines: Iterable[MachineId]) -> dict[MachineId, ExportRow]:
    """Of these machines those that anything is known of."""
    query = select(*(_e[name] for name in _COLUMNS)).where(among(tx, _e.machine, machines))
    found = {}
    for machine, host, state, *rest in tx.execute(query):
        found[machine] = ExportRow(machine, host, ExportState(state), *rest)
    return found


def unread_fences(tx: Tx, host: HostId) -> int:
    """How many storage hosts' wishes that call this host powerless are not in force yet.

    While there is one, the host must not get its power back: it could take a lease that is about to be given away.
    """
    m, item = t.machine.c, t.manifest_item.c
    wished = (
        select(m.id)
        .join(t.manifest_item, (item.id == m.id) & (item.kind == ItemKind.EXPORT))
        .where(m.fenced == host, item.body.is_not(None))
        .where(~select(_e.machine).where(_e.machine == m.id, _e.generation >= m.told).exists())
    )
    return tx.scalar(select(func.count()).select_from(wished.subquery())) or 0


def epochs(tx: Tx, machines: Iterable[MachineId]) -> list[tuple[MachineId, int]]:
    """The epochs that machines were given here."""
    m = t.machine.c
    query = select(m.id, m.epoch).where(among(tx, m.id, machines))
    return [(row.id, row.epoch) for row in tx.execute(query)]
