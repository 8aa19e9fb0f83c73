"""Disks that go to another pool under a machine that runs (docs/decisions/0055), each story as short as it can be: for `breaks.py`."""

from sqlalchemy import text

from arable.sim.breaks import Act, Story
from arable.sim.carry_stories import (
    CALLED_OFF,
    ENDS,
    GOING,
    POOL,
    ROOM,
    SHARED,
    START,
    STOP,
    disks,
    goes,
    reads,
    rows,
    waits,
)
from arable.sim.cloud import Cloud, SimNode

_STATE = "select state from machine"
_HOST = "select host from machine"


def _goes_again(cloud: Cloud) -> None:
    """It is to go, and again when something broke on the way: the machine has gone on with what it had."""
    if rows(cloud, ENDS) not in (["running"], ["done"]):
        goes(cloud)


def _puts(what: str) -> Act:
    """A program in the machine writes, again and again until it is told that it is written."""

    def ask(cloud: Cloud) -> None:
        for node in cloud.nodes.values():
            for machine in list(node.hardware.guests):
                node.hardware.put(machine, what)

    return Act(ask, lambda cloud: what in reads(cloud))


def _runs_on(cloud: Cloud) -> bool:
    """In one place, which is the one that its row says, with what was written last; and its machine runs."""
    where = [pool.pool for pool, _volume in disks(cloud)]
    there = rows(cloud, _STATE) == ["running"] and where == rows(cloud, POOL)
    return reads(cloud) == ["second"] and there


def _arrived(cloud: Cloud) -> bool:
    return _runs_on(cloud) and rows(cloud, ENDS) == ["done"]


def _host(cloud: Cloud) -> SimNode:
    (host,) = rows(cloud, _HOST)
    return cloud.nodes[host]


def _copying(cloud: Cloud) -> bool:
    return any(guest.mirrors for guest in _host(cloud).hardware.guests.values())


def _away(cloud: Cloud) -> bool:
    """Whether its storage host has given it away."""
    shares = cloud.shared.shares.values()
    return any(record.away for share in shares for record in share.records.load().values())


def _unheard(cloud: Cloud) -> None:
    """No host says anything to the control plane."""
    for node in cloud.nodes.values():
        cloud.cut(node)


def _lost(cloud: Cloud) -> None:
    """The machine's host has no power, which its BMC sees; all others are heard again."""
    node = _host(cloud)
    cloud.power_off(node)
    off = "update host set state = 'down', powered_off = true where id = :host"
    with cloud.database.write() as tx:
        tx.execute(text(off), {"host": node.id})
    for other in cloud.nodes.values():
        other.wire.cut = False


def _powered(cloud: Cloud) -> None:
    for node in cloud.nodes.values():
        node.powered = True


_begun = Act(_goes_again, lambda cloud: bool(rows(cloud, ENDS)))
_over = Act(_goes_again, lambda cloud: rows(cloud, ENDS) == ["done"])

SHIFTS = (
    Story(
        "carry a disk under a machine that runs",
        SHARED,
        (_begun, _puts("second"), _over),
        _arrived,
        room=ROOM,
    ),
    Story(
        "call off what is carried under a machine that runs",
        (*SHARED, _puts("second")),
        (GOING, CALLED_OFF),
        _runs_on,
        room=ROOM,
    ),
    Story(
        "stop a machine whose disk is carried",
        (*SHARED, _puts("second")),
        (GOING, *STOP, START),
        _runs_on,
        room=ROOM,
    ),
    Story(
        "lose a machine's host before it is heard that its disk went",
        SHARED,
        (
            GOING,
            Act(lambda _cloud: None, _copying),
            Act(_unheard, _away),
            _puts("second"),
            Act(_lost, lambda cloud: not all(node.powered for node in cloud.nodes.values())),
            Act(lambda _cloud: None, lambda cloud: _host(cloud).powered),
            waits(_STATE, "running"),
            Act(_powered, lambda cloud: all(node.powered for node in cloud.nodes.values())),
        ),
        _arrived,
        room=ROOM,
    ),
)  # fmt: skip
