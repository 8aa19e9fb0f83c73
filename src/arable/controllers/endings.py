"""How asks end: done, refused, failed, gone. Settles operations, tells events, gives back what was held."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from arable.domain.errors import CloudError
from arable.domain.event import Event
from arable.domain.failure import Failure, failure
from arable.domain.ids import AccountId, HostId, MachineId, OperationId
from arable.domain.machine import MACHINE, MachineEvent, MachineState, MachineWish
from arable.domain.manifest import ItemKind
from arable.domain.operation import placed as placed_step
from arable.placement.choose import Placed
from arable.store import attachments, attention, events, operations, quotas
from arable.store import wishes as manifests
from arable.store.attention import MachineRow
from arable.store.database import Tx


def settle(
    tx: Tx, ended: Iterable[tuple[OperationId | None, CloudError | None]], at: datetime
) -> None:
    """One part of each of these operations is done, or failed by an error."""
    done: dict[OperationId, int] = {}
    failed: dict[OperationId, list[Failure]] = {}
    for operation, error in ended:
        if operation is None:
            continue
        done[operation] = done.get(operation, 0) + 1
        if error is not None:
            failed.setdefault(operation, []).append(failure(error))
    operations.settle_many(
        tx, {op: (count, _one(failed.get(op, []))) for op, count in done.items()}, at
    )


def _one(failures: list[Failure]) -> Failure | None:
    distinct = list(dict.fromkeys(failures)) if _hashable(failures) else failures
    if len(distinct) <= 1:
        return distinct[0] if distinct else None
    return Failure(
        "several", "parts of this failed, for several reasons", None, tuple(distinct[:20])
    )


def _hashable(failures: list[Failure]) -> bool:
    return all(failure.why is None for failure in failures)


def refuse(tx: Tx, refused: Sequence[tuple[MachineRow, CloudError]], at: datetime) -> None:
    """These can't be started. A deployment that never had a host leaves nothing behind; any other machine stays, off."""
    if not refused:
        return
    # Nobody has changed it since it was asked for, and no host was ever told of it.
    fresh = [row for row, _error in refused if row.generation == 1 and not row.told]
    fresh_ids = {row.id for row in fresh}
    attention.change_machines(
        tx,
        (
            "state",
            "wish",
            "host",
            "attention",
            "operation",
            "why",
            "tries",
            "generation",
            "changed_at",
        ),
        [
            {
                "id": row.id,
                "state": MACHINE.next(MachineState(row.state), MachineEvent.NO_ROOM),
                "wish": MachineWish.STOPPED,
                "host": None,
                "attention": False,
                "operation": None,
                "why": msgspec.json.encode({"refused": error.public, **_facts(error)}).decode(),
                "tries": 0,
                "generation": row.generation + 1,
                "changed_at": attention.stamp(at),
            }
            for row, error in refused
            if row.id not in fresh_ids
        ],
    )
    settle(tx, [(row.operation, error) for row, error in refused], at)
    tell(tx, [(row, "machine.refused", error.public) for row, error in refused], at)
    forget(tx, fresh, at)


def _facts(error: CloudError) -> Mapping[str, Any]:
    return error.why if isinstance(error.why, Mapping) else {}


def step(
    tx: Tx, rows: Sequence[MachineRow], placed: Mapping[MachineId, Placed], at: datetime
) -> None:
    """Note in the machines' operations that they have hosts now."""
    counts: dict[OperationId, int] = {}
    for row in rows:
        if row.operation and row.id in placed:
            counts[row.operation] = counts.get(row.operation, 0) + 1
    operations.advance_many(
        tx,
        {op: placed_step(count) for op, count in counts.items()},
        at,
    )


def tell(tx: Tx, told: Sequence[tuple[MachineRow, str, str]], at: datetime) -> None:
    """Events about machines."""
    events.add_many(
        tx,
        [
            Event(at=at, account=row.account, kind=kind, subject=row.id, text=f"{row.name}: {text}")
            for row, kind, text in told
        ],
    )


def gone(tx: Tx, rows: Sequence[MachineRow], at: datetime) -> None:
    """Nothing of these is left anywhere: their rows go, and what they held is given back."""
    if not rows:
        return
    for row in rows:
        MACHINE.next(MachineState(row.state), MachineEvent.SEE_GONE)
    tell(tx, [(row, "machine.gone", "expunged") for row in rows], at)
    forget(tx, rows, at)
    settle(tx, [(row.operation, None) for row in rows], at)


def forget(tx: Tx, rows: Sequence[MachineRow], at: datetime) -> None:
    """Remove machines' rows and give their owners' limits back. Routers forget them, also those that never had a host:
    a router that was started for them was told of them.
    """
    if not rows:
        return
    ids = [row.id for row in rows]
    leases: list[tuple[HostId, str]] = [
        (host, nic.id)
        for found in attention.nics(tx, ids).values()
        for nic in found
        for host in nic.routers
    ]
    manifests.take_back(tx, ItemKind.LEASE, leases)
    attachments.alone(tx, [volume.id for volume in attachments.staying(tx, ids)])
    held: dict[AccountId, dict[str, int]] = {}
    volumes = attention.volumes(tx, ids)
    for row in rows:
        disks = volumes.get(row.id, [])
        of = held.setdefault(
            row.account,
            {"machines": 0, "cpus": 0, "memory_mib": 0, "volumes": 0, "storage_mib": 0},
        )
        of["machines"] += 1
        of["cpus"] += row.cpus
        of["memory_mib"] += row.memory_mib
        of["volumes"] += len(disks)
        of["storage_mib"] += sum(disk.mib for disk in disks)
    attention.remove_machines(tx, ids, at)
    quotas.give_many(tx, sorted(held.items()))
