"""Hosts that have much more to do than others of their pod send a few machines to those (`placement/rebalance.py`).

Where anything is on its way, nothing more is proposed: what it changes is seen only when it is there. A machine that
moved, or could not, is left alone for a long while. What is proposed is placed as any other move: tags, placement
groups, room and the operator's limits count.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache

from arable.controllers.machines import asks, snapshot
from arable.controllers.setting_out import alone
from arable.controllers.shelves import Shelves
from arable.domain.ids import HostId, MachineId, ZoneId
from arable.domain.move import MoveStage, MoveWhy
from arable.domain.settings import BALANCE, BALANCE_PERCENT, BALANCE_REST_SECONDS
from arable.placement.choose import MoveAsk, passing
from arable.placement.rebalance import HostLoad, MachineLoad, Proposal, propose
from arable.store import attention, incarnations, loads, moves, settings
from arable.store.database import Tx
from arable.store.loads import HostRow, Movable
from arable.store.nudges import nudge

SECONDS = 60
_FEW = 2  # in each pod and round


def watch(tx: Tx, at: datetime) -> int:
    """One round; how many machines were asked to move."""
    if settings.get(tx, BALANCE) == "off" or incarnations.taking_stock(tx):
        return 0
    rows = loads.hosts(tx)
    threshold = settings.get(tx, BALANCE_PERCENT) / 100
    here = {row.id: _host(row) for row in rows}
    if not _uneven(here, threshold):
        return 0
    rested = attention.stamp(at - timedelta(seconds=settings.get(tx, BALANCE_REST_SECONDS)))
    mhz = {row.id: row.cpu_mhz // max(row.cpus, 1) for row in rows}

    @cache
    def machines(host: HostId) -> Sequence[MachineLoad]:
        found = loads.movable(tx, [host])
        return [_machine(one, mhz[host]) for one in found if one.moved_at < rested]

    proposals = propose(
        here.values(),
        machines,
        _judge(tx, {row.id: row.zone for row in rows}),
        threshold=threshold,
        most=_FEW,
    )
    return _ask(tx, proposals, at)


def _host(row: HostRow) -> HostLoad:
    return HostLoad(
        id=row.id,
        pod=row.pod,
        mhz=row.cpu_mhz,
        used_mhz=row.millicpus * row.cpu_mhz // max(row.cpus, 1) // 1000,
        limit_mib=row.limit_mib,
        reserved_mib=row.reserved_mib,
    )


def _machine(row: Movable, mhz: int) -> MachineLoad:
    used = row.millicpus * mhz // 1000
    return MachineLoad(id=row.id, host=row.host, used_mhz=used, memory_mib=row.memory_mib)


def _uneven(hosts: Mapping[HostId, HostLoad], threshold: float) -> bool:
    """Whether it is worth a closer look: mostly it is not."""
    by_pod: dict[str, list[float]] = {}
    for host in hosts.values():
        by_pod.setdefault(host.pod, []).append(host.load)
    return any(max(all_) - min(all_) >= threshold for all_ in by_pod.values())


def _judge(tx: Tx, zones: Mapping[HostId, ZoneId]) -> Callable[[MachineId, HostId], bool]:
    """Whether a machine may go to a host, by all rules of placement but those that `propose` reckons with."""
    kin = moves.kin(tx, zones)

    @cache
    def able(machine: MachineId) -> frozenset[HostId]:
        found = attention.machines_by_id(tx, [machine])
        if machine not in found or found[machine].host not in zones:
            return frozenset()
        row = found[machine]
        assert row.host is not None
        volumes = attention.volumes(tx, [machine])
        shelves = Shelves.of(tx, row.zone, volumes[machine])
        (ask,), _sizes = asks(tx, volumes, [row], shelves)
        alike = frozenset(host for host in kin if kin[host] and kin[host] == kin.get(row.host))
        view = snapshot(tx, row.zone, [ask])
        alone(view, row.host, [group.group for group in ask.groups])
        move = MoveAsk(source=row.host, kin=alike)
        mask, _reasons = passing(view, replace(ask, move=move, avoid=frozenset()))
        return frozenset(host.id for host, may in zip(view.hosts, mask, strict=True) if may)

    return lambda machine, host: host in able(machine)


def _ask(tx: Tx, proposals: Sequence[Proposal], at: datetime) -> int:
    rows = attention.machines_by_id(tx, [each.machine for each in proposals])
    before = moves.of(tx, rows)
    wanted = [
        moves.begun(
            machine=each.machine,
            source=each.source,
            why=MoveWhy.BALANCE,
            at=at,
            wanted=each.target,
            before=before.get(each.machine),
        )
        for each in proposals
        if each.machine in rows and rows[each.machine].host == each.source
        if each.machine not in before or before[each.machine].stage == MoveStage.OVER
    ]
    moves.put(tx, wanted)
    if wanted:
        nudge(tx, moves.TOPIC)
    return len(wanted)
