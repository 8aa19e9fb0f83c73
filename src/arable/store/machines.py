"""How machines are kept.

A machine's cloud-init data stays apart from its value: it may hold a password's hash, so only `seed` gives
it, and no list or answer can carry it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    Text,
    select,
    text,
    type_coerce,
    update,
)

from arable.domain.access import Scope
from arable.domain.errors import NotFound, Stale
from arable.domain.group import Placement
from arable.domain.ids import (
    AccountId,
    FarmId,
    GroupId,
    HostId,
    ImageId,
    MachineId,
    NetworkId,
    OfferingId,
    OperationId,
    ZoneId,
)
from arable.domain.machine import Machine, MachineState, MachineWish
from arable.domain.manifest import Seed
from arable.domain.usage import UsageKind
from arable.store import machine_news, usage_records
from arable.store import schema as t
from arable.store.attention import BootRow
from arable.store.columns import micros, moment
from arable.store.database import Tx
from arable.store.many import among
from arable.store.rows import insert_rows, json_text, raw, save_rows, stamp, stamped
from arable.store.scope import visible

# What controllers alone write (`ran` and its like) is read and never written here.
_FIXED = ("id", "account", "farm", "zone", "image", "image_version", "created_at")
_CHANGING = (
    *("name", "state", "wish", "host", "attention", "offering"),
    *("cpus", "cpu_mhz", "memory_mib", "disk_mib"),
    *("network_kbps", "disk_iops", "disk_bytes_per_second", "highly_available"),
    *("placement", "boots", "force", "tries", "operation", "why"),
    *("destroyed_at", "generation", "changed_at"),
)
_COLUMNS = (*_FIXED, *_CHANGING, "ran")
_SIZES = attrgetter(
    *("offering", "cpus", "cpu_mhz", "memory_mib", "disk_mib"),
    *("network_kbps", "disk_iops", "disk_bytes_per_second", "highly_available"),
)
_placement = msgspec.json.Decoder(Placement).decode
_why = msgspec.json.Decoder(dict[str, Any]).decode
_seed = msgspec.json.Decoder(Seed).decode
_PLACEMENT = Placement()
_STATES = {state.value: state for state in MachineState}
_WISHES = {wish.value: wish for wish in MachineWish}

# To the letter as the indexes have them: as an expression of SQLAlchemy's, SQLite would be given `… = 1` and not see it.
_LIVES = text("machine.wish in ('running', 'stopped')")
_SELECT = raw(t.machine, _COLUMNS)
# Made once: an alias is a copy of every column, in circles that only the collector takes apart.
_BEGIN, _OTHER = t.machine.alias("begin"), t.machine.alias("other")
# One look for each name, which no database makes a join of: for one, PostgreSQL would read every machine, by a plan that
# a session made while there were few of them and keeps.
_TAKEN = """
    select asked.value ->> 0, asked.value ->> 1, asked.value ->> 2 from {asked} as asked
    where (
        select 1 from machine m
        where m.account = asked.value ->> 0 and m.zone = asked.value ->> 1
            and m.name = asked.value ->> 2 and m.wish in ('running', 'stopped')
        limit 1
    ) is not null
"""
_taken = {
    "sqlite": text(_TAKEN.format(asked="json_each(:asked)")),
    "postgresql": text(_TAKEN.format(asked="json_array_elements(cast(:asked as json))")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFilter:
    """Which machines of a list; what is not said does not narrow."""

    account: AccountId | None = None
    zone: ZoneId | None = None
    states: Collection[MachineState] = ()
    prefix: str = ""  # of the name
    name: str = ""
    network: NetworkId | None = None
    farm: FarmId | None = None
    group: GroupId | None = None
    host: HostId | None = None


def get(tx: Tx, scope: Scope, id_: MachineId, *, lock: bool = False) -> Machine:
    """The machine, if it is there and in sight. `lock`: nobody else changes it before this transaction ends."""
    query = _SELECT.where(t.machine.c.id == id_, *visible(t.machine.c.account, scope))
    row = tx.execute(query.with_for_update(of=t.machine) if lock else query).first()
    if row is None:
        raise NotFound("there is no such machine")
    return _machine(row)


def in_sight(tx: Tx, scope: Scope, ids: Iterable[MachineId]) -> dict[MachineId, Machine]:
    """Those of these that are there and in sight."""
    here = (among(tx, t.machine.c.id, ids), *visible(t.machine.c.account, scope))
    return {machine.id: machine for machine in _read(tx, _SELECT.where(*here))}


def named(tx: Tx, account: AccountId, zone: ZoneId, name: str) -> Machine | None:
    """The living machine of this name."""
    query = _SELECT.where(
        t.machine.c.account == account,
        t.machine.c.zone == zone,
        t.machine.c.name == name,
        _LIVES,
    )
    row = tx.execute(query).first()
    return None if row is None else _machine(row)


def page(
    tx: Tx, scope: Scope, where: MachineFilter, *, after: str | None = None, limit: int = 100
) -> list[Machine]:
    """By key, not by offset: page 900 costs what page 1 costs."""
    c = t.machine.c
    if not where.prefix:
        return _read(
            tx,
            _narrowed(_SELECT, _conditions(scope, where, t.machine, c.account), c.id, after, limit),
        )
    # Few names or many may begin so. The page is found among what an index of names holds, and only then read. Account
    # and id are expressions there: by an index of theirs, databases would walk over all the other machines.
    conditions = _conditions(scope, where, _BEGIN, _BEGIN.c.account + "")
    chosen = _narrowed(select(_BEGIN.c.id), conditions, _BEGIN.c.id + "", after, limit)
    return _read(tx, _SELECT.where(c.id.in_(chosen)).order_by(c.id))


def by_ids(tx: Tx, ids: Iterable[MachineId], *, lock: bool = False) -> dict[MachineId, Machine]:
    """Those of these that are still there. For controllers: no scope narrows it."""
    query = _SELECT.where(among(tx, t.machine.c.id, ids))
    if lock:  # in order, so that two who lock many wait for each other and never in a ring
        query = query.order_by(t.machine.c.id).with_for_update(of=t.machine)
    return {machine.id: machine for machine in map(_machine, tx.execute(query))}


def names_taken(tx: Tx, account: AccountId, zone: ZoneId, names: Iterable[str]) -> set[str]:
    """Which of these names living machines have."""
    c = t.machine.c
    query = select(c.name).where(c.account == account, c.zone == zone, _LIVES)
    return set(tx.execute(query.where(among(tx, c.name, names))).scalars())


def names_taken_by(
    tx: Tx, wanted: Mapping[tuple[AccountId, ZoneId], Collection[str]]
) -> dict[tuple[AccountId, ZoneId], set[str]]:
    """The same for many accounts and zones, by one statement."""
    found: dict[tuple[AccountId, ZoneId], set[str]] = {key: set() for key in wanted}
    asked = [(account, zone, name) for (account, zone), names in wanted.items() for name in names]
    rows = tx.execute(_taken[tx.dialect.name], {"asked": json_text(asked)}).all()
    for account, zone, name in rows:
        found[account, zone].add(name)
    return found


def seed(tx: Tx, id_: MachineId) -> Seed:
    """A machine's cloud-init data."""
    boot = t.machine_boot.c
    query = select(type_coerce(boot.seed, Text)).where(boot.machine == id_)
    return _seed(tx.execute(query).scalar_one())


def save_seed(tx: Tx, id_: MachineId, told: Seed) -> None:
    """Other cloud-init data; whoever saves the machine counts the generation."""
    boot = t.machine_boot
    tx.execute(update(boot).where(boot.c.machine == id_).values(seed=told))


class NewMachine(NamedTuple):
    """A machine as its row begins, in the form of its columns; the others have their defaults."""

    id: MachineId
    account: AccountId
    farm: FarmId
    zone: ZoneId
    name: str
    state: str
    wish: str
    host: HostId | None
    attention: bool
    offering: OfferingId
    cpus: int
    cpu_mhz: int
    memory_mib: int
    disk_mib: int
    network_kbps: int
    disk_iops: int
    disk_bytes_per_second: int
    image: ImageId | None
    image_version: int | None
    placement: str
    operation: OperationId | None
    told: int
    why: str
    generation: int
    created_at: int
    changed_at: int
    highly_available: bool = False


def add_many(tx: Tx, machines: Sequence[NewMachine], boots: Sequence[BootRow]) -> None:
    """Keep new machines, and what each starts from."""
    insert_rows(tx, t.machine, NewMachine._fields, machines)
    insert_rows(tx, t.machine_boot, BootRow._fields, boots)
    if machines:
        made = [
            usage_records.Made(m.account, m.id, m.name, m.offering, m.farm, m.cpus, m.memory_mib)
            for m in machines
        ]
        usage_records.begin_made(tx, UsageKind.MACHINE, made, machines[0].created_at)


def save(tx: Tx, machine: Machine) -> None:
    """Keep the next generation of `machine`, unless somebody got there first."""
    save_many(tx, [machine])


def save_many(tx: Tx, machines: Sequence[Machine]) -> None:
    """Keep the next generation of each, or raise `Stale`: whoever reads to change many, locks what it reads."""
    rows = [
        (*_changing(machine, json_text), machine.id, machine.generation - 1) for machine in machines
    ]
    done = save_rows(tx, t.machine, _CHANGING, rows)
    if done != len(rows):
        raise Stale(
            "the machine changed meanwhile; read it again and decide anew",
            detail=f"{len(rows) - done} of {len(rows)} machines had another generation",
        )
    machine_news.changed(
        tx, [(each.id, each.state.value, micros(each.changed_at)) for each in machines]
    )


_RESTING = frozenset(
    {
        MachineState.STOPPING,
        MachineState.STOPPED,
        MachineState.ERROR,
        MachineState.DESTROYED,
        MachineState.EXPUNGING,
    }
)


def _narrowed(
    query: Select[Any],
    conditions: list[ColumnElement[bool]],
    key: ColumnElement[str],
    after: str | None,
    limit: int,
) -> Select[Any]:
    found = query.where(*conditions).order_by(key).limit(limit)
    return found.where(key > after) if after else found


def _read(tx: Tx, query: Select[Any]) -> list[Machine]:
    return [_machine(row) for row in tx.execute(query)]


def _conditions(
    scope: Scope, where: MachineFilter, of: FromClause, account: ColumnElement[str]
) -> list[ColumnElement[bool]]:
    c = of.c
    found: list[ColumnElement[bool]] = [*visible(account, scope)]
    for column, value in (
        (account, where.account),
        (c.zone, where.zone),
        (c.farm, where.farm),
        (c.host, where.host),
    ):
        if value:
            found.append(column == value)
    if where.states:
        states = sorted(where.states)
        # One alone as an equation: only then does an index by state and id also give the order.
        state = c.resting if _RESTING.issuperset(where.states) else c.state
        found.append(state.in_(states) if len(states) > 1 else state == states[0])
    if where.name:
        # Looked up on its own: few machines have it, and a list in order of id would otherwise walk over all the
        # others, as databases like to when they don't know how few.
        found.append(c.id.in_(select(_OTHER.c.id).where(_OTHER.c.name == where.name)))
    if where.prefix:
        after = where.prefix[:-1] + chr(ord(where.prefix[-1]) + 1)
        found += [c.name >= where.prefix, c.name < after]
    if where.network:
        members = select(t.nic.c.machine).where(t.nic.c.network == where.network)
        found.append(c.id.in_(members))
    if where.group:
        inside = select(t.group_member.c.machine).where(t.group_member.c.group == where.group)
        found.append(c.id.in_(inside))
    return found


def _changing(machine: Machine, as_json: Any) -> tuple[Any, ...]:
    return (
        machine.name,
        machine.state.value,
        machine.wish.value,
        machine.host,
        machine.attention,
        *_SIZES(machine),
        as_json(machine.placement),
        machine.boots,
        machine.force,
        machine.tries,
        machine.operation,
        as_json(machine.why) if machine.why else "{}",
        stamp(machine.destroyed_at),
        machine.generation,
        stamp(machine.changed_at),
    )


def _machine(row: Any) -> Machine:
    """Fields and columns have the same names. Past `__init__`: of a frozen value it costs as much as the query."""
    values = dict(zip(_COLUMNS, row, strict=True))
    placement, why = values["placement"], values["why"]
    values["state"] = _STATES[values["state"]]
    values["wish"] = _WISHES[values["wish"]]
    values["placement"] = _PLACEMENT if placement == "{}" else _placement(placement)
    values["why"] = {} if why == "{}" else _why(why)
    values["destroyed_at"] = stamped(values["destroyed_at"])
    values["created_at"] = moment(values["created_at"])
    values["changed_at"] = moment(values["changed_at"])
    machine = object.__new__(Machine)
    machine.__dict__.update(values)
    return machine
