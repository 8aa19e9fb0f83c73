"""What can be the matter with hosts that is more than silence: watches for `watches.py`."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta

from arable.domain.alert import AlertKind, Finding, Severity
from arable.store import alerts, bmcs, moves
from arable.store.database import Tx

_TRIES = 2
"""Failures in a row before anybody is woken: BMCs are slow and moody."""
_MOVES = 3
"""Failures in a row; each of them took a while, and the machine runs on."""
_LATELY = timedelta(hours=1)


def hosts_down(tx: Tx, at: datetime) -> Iterator[Finding]:  # noqa: ARG001 - a watch takes the time
    """Machines with disks of their own there are off until it is back."""
    for host, name, told in alerts.hosts_down(tx):
        text = f"host {name} is down: {told}"
        yield Finding(AlertKind.HOST_DOWN, host, name, Severity.CRITICAL, text)


def lost_at_once(tx: Tx, at: datetime) -> Iterator[Finding]:  # noqa: ARG001
    """Most hosts of a pod or zone: they are left alone, and somebody has to look."""
    for pod, name, hosts in alerts.held_back(tx):
        text = (
            f"most hosts near pod {name} were lost at once, so none is taken for down by itself: {', '.join(hosts)};"
            " look at the network there, or say `arable host declare-down` of those that are down"
        )
        yield Finding(AlertKind.HOSTS_LOST_AT_ONCE, pod, name, Severity.CRITICAL, text)


def power_failing(tx: Tx, at: datetime) -> Iterator[Finding]:  # noqa: ARG001
    """A host that can't be fenced by its power: its machines wait for their leases to run out."""
    for each in bmcs.failing(tx, _TRIES):
        text = f"host {each.name} can't be powered {each.wanted}: {each.told}"
        yield Finding(AlertKind.HOST_POWER_FAILING, each.host, each.name, Severity.CRITICAL, text)


def moves_failing(tx: Tx, at: datetime) -> Iterator[Finding]:
    """Machines that were to move to other hosts while they ran, and could not. They run on."""
    for machine, name, tries, told in moves.failing(tx, _MOVES, at - _LATELY):
        text = f"machine {name} could not be moved {tries} times in a row: {told}"
        yield Finding(AlertKind.MOVE_FAILING, machine, name, Severity.WARNING, text)


HOST_WATCHES: tuple[Callable[[Tx, datetime], Iterable[Finding]], ...] = (
    hosts_down,
    lost_at_once,
    power_failing,
    moves_failing,
)
