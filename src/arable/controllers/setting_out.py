"""Hosts for machines that are to move while they run: placed as any other, with the room held at once on both (rule 2).

Refused are those for which no host would do, whoever else moves; the others wait for their turn.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from arable.controllers.machines import asks, snapshot
from arable.controllers.shelves import Shelves
from arable.controllers.turns import Turns
from arable.domain.errors import NoRoom
from arable.domain.ids import HostId, MachineId
from arable.domain.move import MoveWhy
from arable.placement.choose import BUSY, MoveAsk, Placed, PlacementAsk, choose, why_not
from arable.placement.view import ZoneView
from arable.store import moves
from arable.store.attention import MachineRow, VolumeRow
from arable.store.database import Tx
from arable.store.moves import MoveRow

_RANK = {MoveWhy.ASKED: 0, MoveWhy.MAINTENANCE: 1, MoveWhy.BALANCE: 2}

Ready = Sequence[tuple[MachineRow, MoveRow]]


def find(
    tx: Tx, ready: Ready, volumes: Mapping[MachineId, list[VolumeRow]]
) -> dict[MachineId, HostId | NoRoom]:
    """Where each of those whose turn it is goes to; or why it goes nowhere."""
    found: dict[MachineId, HostId | NoRoom] = {}
    ready = sorted(
        ready, key=lambda each: (_RANK[MoveWhy(each[1].why)], each[1].begun_at, each[0].id)
    )
    for zone in sorted({row.zone for row, _ in ready}):
        those = [(row, move) for row, move in ready if row.zone == zone]
        rows = [row for row, _ in those]
        shelves = Shelves.of(tx, zone, [v for row in rows for v in volumes[row.id]])
        asked, _sizes = asks(tx, dict(volumes), rows, shelves)
        view = snapshot(tx, zone, asked)
        hosts = [host.id for host in view.hosts]
        turns, kin = Turns.of(tx, hosts), moves.kin(tx, hosts)
        for (row, move), ask in zip(those, asked, strict=True):
            if not turns.free(move.source):
                continue
            answer = _one(view, turns, kin, move, ask)
            if answer is not None:
                found[row.id] = answer
            if isinstance(answer, str):
                turns.take(move.source, answer)
    return found


def _one(
    view: ZoneView, turns: Turns, kin: Mapping[HostId, str], move: MoveRow, ask: PlacementAsk
) -> HostId | NoRoom | None:
    """Placed, refused, or None: it waits."""
    word = kin.get(move.source, "")
    going = MoveAsk(
        source=move.source,
        kin=frozenset(host for host in kin if word and kin[host] == word),
        to=move.wanted,
        busy=frozenset(host.id for host in view.hosts if not turns.free(host.id)),
    )
    ask = replace(ask, move=going, avoid=frozenset())
    groups = [group.group for group in ask.groups]
    before = {group: dict(view.groups.get(group, {})) for group in groups}
    alone(view, move.source, groups)
    (answer,) = choose(view, [ask])
    here = view.index.get(move.source)
    for group in groups:  # and it is in the others' way there until it has left
        if here is not None and here in before[group]:
            view.groups[group][here] = before[group][here]
    if isinstance(answer, Placed):
        return answer.host
    if BUSY in answer.reasons:
        return None
    told = answer.told()
    if move.wanted is not None:
        name = next((host.name for host in view.hosts if host.id == move.wanted), move.wanted)
        told = f"{name} can't take it: {why_not(view, ask).get(name, 'it runs no machines')}"
    return NoRoom(told, why={"reasons": answer.reasons, "hosts": answer.by_host})


def alone(view: ZoneView, host: HostId, groups: Iterable[str]) -> None:
    """A machine on that host is no neighbour of its own: without it in its placement groups."""
    here = view.index.get(host)
    for members in (view.groups.get(group, {}) for group in groups):
        if here is None or here not in members:
            continue
        members[here] -= 1
        if not members[here]:
            del members[here]
