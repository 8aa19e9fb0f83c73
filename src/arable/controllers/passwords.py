"""A host says that a guest has its new password, or can't get it: it is wiped, and whoever waits hears of it."""

from collections.abc import Sequence
from datetime import datetime

from arable.controllers import endings
from arable.domain.errors import CloudError, Conflict, Unavailable
from arable.domain.event import Event
from arable.domain.ids import OperationId
from arable.domain.manifest import GuestState, HostReport
from arable.store import events, passwords
from arable.store.database import Tx
from arable.store.nudges import nudge


def settle(tx: Tx, reports: Sequence[HostReport], at: datetime) -> None:
    """Each number is of one ask, so a late report of an earlier one changes nothing."""
    _off(tx, reports, at)
    said = {seen.machine: seen for report in reports for seen in report.guests if seen.password}
    if not said:
        return
    over = {
        machine: kept
        for machine, kept in passwords.waiting(tx, said).items()
        if kept.number == said[machine].password
    }
    if not over:
        return
    ended: list[tuple[OperationId | None, CloudError | None]] = []
    told = []
    for machine, kept in over.items():
        why = said[machine].password_told
        error = Unavailable(f"the password was not set: {why}") if why else None
        ended.append((kept.operation, error))
        kind = "machine.password-failed" if why else "machine.password-set"
        text = f"{kept.name}: {error.public if error else 'has its new password'}"
        told.append(Event(at=at, account=kept.account, kind=kind, subject=machine, text=text))
    passwords.wipe(tx, over)
    endings.settle(tx, ended, at)
    events.add_many(tx, told)
    nudge(tx, "machines")


def _off(tx: Tx, reports: Sequence[HostReport], at: datetime) -> None:
    """Nobody waits for a machine that went off before it had its password. It still gets it, once it runs again."""
    off = {
        seen.machine
        for report in reports
        for seen in report.guests
        if seen.state is GuestState.STOPPED
    }
    if not off:
        return
    error = Conflict("the machine went off before its password was set; it is set once it runs")
    kept = passwords.waiting(tx, off)
    waited = {machine: each.operation for machine, each in kept.items() if each.operation}
    if waited:
        passwords.wait_no_more(tx, waited)
        endings.settle(tx, [(operation, error) for operation in waited.values()], at)
