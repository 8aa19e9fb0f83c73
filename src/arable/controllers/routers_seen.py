"""What hosts report of routing appliances: one that came up wakes who waits for it, and what it was told is in effect.

A host with many routers speaks of several of them at once, and a round of many farms' networks has each of them told. So
what follows from a batch of reports is written for all of their networks together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from arable.controllers import appliances, endings, pairs, standbys
from arable.domain.ids import HostId, NetworkId
from arable.domain.manifest import GIVE_UP, ApplianceSeen, HostReport
from arable.domain.network import ApplianceState
from arable.store import addresses, attention, router_pairs, routing, tier_notes
from arable.store.database import Tx
from arable.store.nudges import nudge
from arable.store.routing import NetworkRow


@dataclass(slots=True)
class _Batch:
    """What one batch of reports is about to write."""

    at: datetime
    runs: list[NetworkRow] = field(default_factory=list)  # as it was not known yet
    came: list[NetworkId] = field(default_factory=list)  # those that somebody may wait for
    told: list[NetworkRow] = field(default_factory=list)  # with the generations that were seen

    def write(self, tx: Tx) -> None:
        """All of it."""
        _note_running(tx, self.runs)
        if self.came:
            attention.wake_machines(tx, self.came)
            nudge(tx, "machines")
            tier_notes.of_networks(tx, self.came)
        if self.told:
            routing.note_seen(tx, self.told)
        ids = [row.id for row in self.told if _in_effect(row)]
        running = routing.operations_on(tx, ids) if ids else ()
        endings.settle(tx, [(operation, None) for operation in running], self.at)
        if running:  # one of them may have released an address
            addresses.let_go(tx, ids)
            tier_notes.of_networks(tx, ids)


def settle(tx: Tx, reports: Sequence[HostReport], at: datetime) -> None:
    """Appliances that came up wake the machines that wait for them; those that are gone may start elsewhere."""
    # Two hosts may speak of one: it was started elsewhere, and what is left of the old one is leaving.
    seen = {(a.network, r.host): a for r in reports for a in r.appliances}
    gone = {(network, r.host) for r in reports for network in r.appliances_gone}
    full = [report for report in reports if report.full]
    left = routing.left_by_appliances(tx, [report.host for report in full]) if full else ()
    for report in full:
        if report.host in left:  # what it said before may be lost, so what it does not name is gone
            named = {appliance.network for appliance in report.appliances}
            leaving = routing.leaving_appliances(tx, report.host, report.generation)
            gone |= {(network, report.host) for network in set(leaving) - named}
    if not seen and not gone:
        return
    batch, went = _Batch(at), list[NetworkRow]()
    for row in routing.networks_by_id(tx, sorted({network for network, _host in (*seen, *gone)})):
        if row.standby_host is not None:
            other = (row.id, row.standby_host)
            if other in gone and row.standby_state == ApplianceState.LEAVING:
                standbys.gone(tx, row)
            elif other in seen:
                _in_turn(tx, batch, row, seen)
                continue
        if row.appliance_host is None:
            continue
        here = (row.id, row.appliance_host)
        if here in seen:
            _appliance_seen(tx, batch, row, seen[here])
        if here in gone and row.appliance_state == ApplianceState.LEAVING:
            went.append(row)
    batch.write(tx)
    for row in went:
        appliances.gone(tx, row)


def _in_turn(
    tx: Tx,
    batch: _Batch,
    row: NetworkRow,
    seen: Mapping[tuple[NetworkId, HostId], ApplianceSeen],
) -> None:
    """What both hosts of a pair say, or one of them: whoever leads by that is looked at as the network's."""
    assert row.standby_host is not None
    after = pairs.seen(tx, row, seen[row.id, row.standby_host])
    if after.standby_host is not None and after.standby_host != row.standby_host:
        # They have changed places. What the first one said of itself in the same batch is not said again.
        first = seen.get((after.id, after.standby_host))
        if first is not None and (first.standby or not first.running):
            after = pairs.seen(tx, after, first)
    told = seen.get((after.id, after.appliance_host)) if after.appliance_host else None
    if told is not None:
        _appliance_seen(tx, batch, after, told)
    else:
        batch.told.append(after)


def _appliance_seen(tx: Tx, batch: _Batch, row: NetworkRow, seen: ApplianceSeen) -> None:
    if row.appliance_state not in (ApplianceState.STARTING, ApplianceState.RUNNING):
        return
    if not seen.running:
        if row.appliance_state == ApplianceState.STARTING and seen.tries >= GIVE_UP:
            if row.standby_state == ApplianceState.RUNNING:
                pairs.give_up(tx, router_pairs.turn(tx, row), seen.told)
            else:
                appliances.give_up(tx, row, seen.told, batch.at)
        elif seen.told:
            routing.set_appliance(
                tx, row.id, ApplianceState(row.appliance_state), row.appliance_host, seen.told
            )
        return
    row = row._replace(appliance_seen=seen.generation)
    turns = seen.standby and row.standby_state == ApplianceState.RUNNING
    if row.appliance_state == ApplianceState.STARTING:
        row = row._replace(appliance_state=ApplianceState.RUNNING)
        batch.came.append(row.id)
        if turns:  # what is written here is the other one's from the next line on
            _note_running(tx, [row])
        else:
            batch.runs.append(row)
    if turns:
        row = router_pairs.turn(tx, row)  # what the other one said of itself is not said again
    batch.told.append(row)


def _note_running(tx: Tx, rows: Sequence[NetworkRow]) -> None:
    if rows:
        routing.note_running(tx, [row.id for row in rows])
    for row in rows:
        if row.appliance_failed != "{}":
            routing.note_failed(tx, row.id, {})


def _in_effect(row: NetworkRow) -> bool:
    """What was asked for is so where the network's appliance runs; where there are two, in both.

    Also while somebody still wants to look at it: what was asked for is of this generation, and whoever looks may find
    nothing to tell, so the host would not speak of it again.
    """
    behind = row.standby_state == ApplianceState.RUNNING and row.standby_seen < row.generation
    return row.appliance_seen >= row.generation and not behind
