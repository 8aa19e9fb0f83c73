"""How machines are kept.

A machine's cloud-init data stays apart from its value: it may hold a password's hash, so only `seed` gives
it, and no list or answer can carry it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Text,
    TextClause,
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
    MachineId,
    NetworkId,
    ZoneId,
)
from arable.domain.machine import Boot, Machine, MachineState, MachineWish
from arable.domain.manifest import Seed
from arable.store import schema as t
from arable.store.columns import moment
from arable.store.database import Tx
from arable.store.many import among
from arable.store.rows import insert_rows, json_text, raw, save_rows, stamp, stamped
from arable.store.scope import visible

# What controllers alone write (`ran` and its like) is read and never written here.
_FIXED = ("id", "account", "farm", "zone", "image", "image_version", "boot", "created_at")
_CHANGING = (
    *("name", "state", "wish", "host", "attention", "offering"),
    *("cpus", "cpu_mhz", "memory_mib", "disk_mib"),
    *("network_kbps", "disk_iops", "disk_bytes_per_second"),
    *("placement", "boots", "force", "tries", "operation", "why"),
    *("destroyed_at", "generation", "changed_at"),
)
_COLUMNS = (*_FIXED, *_CHANGING, "ran")
_ADDED = (*_FIXED, *_CHANGING, "seed")
_FIRST = attrgetter("id", "account", "farm", "zone", "image", "image_version")
_SIZES = attrgetter(
    *("offering", "cpus", "cpu_mhz", "memory_mib", "disk_mib"),
    *("network_kbps", "disk_iops", "disk_bytes_per_second"),
)
_boot = msgspec.json.Decoder(Boot).decode
_placement = msgspec.json.Decoder(Placement).decode
_why = msgspec.json.Decoder(dict[str, Any]).decode
_seed = msgspec.json.Decoder(Seed).decode
_BOOT, _PLACEMENT = Boot(), Placement()
_STATES = {state.value: state for state in MachineState}
_WISHES = {wish.value: wish for wish in MachineWish}

# To the letter as the indexes have them: as an expression of SQLAlchemy's, SQLite would be given `… = 1` and not see it.
_LIVES = text("machine.wish in ('running', 'stopped')")
_SELECT = raw(t.machine, _COLUMNS)
_TAKEN = """
    select m.account, m.zone, m.name from {asked} as asked
    cross join machine m
    where m.account = asked.value ->> 0 and m.zone = asked.value ->> 1
        and m.name = asked.value ->> 2 and m.wish in ('running', 'stopped')
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
    living: bool = False  # without those that are on their way out


def get(tx: Tx, scope: Scope, id_: MachineId, *, lock: bool = False) -> Machine:
    """The machine, if it is there and in sight. `lock`: nobody else changes it before this transaction ends."""
    query = _SELECT.where(t.machine.c.id == id_, *visible(t.machine.c.account, scope))
    row = tx.execute(query.with_for_update(of=t.machine) if lock else query).first()
    if row is None:
        raise NotFound("there is no such machine")
    return _machine(row)


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
    query = _SELECT.where(*_conditions(scope, where)).order_by(t.machine.c.id).limit(limit)
    if after:
        query = query.where(t.machine.c.id > after)
    return [_machine(row) for row in tx.execute(query)]


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
    query = select(type_coerce(t.machine.c.seed, Text)).where(t.machine.c.id == id_)
    return _seed(tx.execute(query).scalar_one())


def save_seed(tx: Tx, id_: MachineId, told: Seed) -> None:
    """Other cloud-init data; whoever saves the machine counts the generation."""
    tx.execute(update(t.machine).where(t.machine.c.id == id_).values(seed=told))


def add_many(tx: Tx, machines: Sequence[Machine], seeds: Mapping[MachineId, Seed]) -> None:
    """Keep new machines."""
    texts: dict[int, str] = {}  # by identity: the machines of one call share these values

    def once(value: Any) -> str:
        found = texts.get(id(value))
        if found is None:
            found = texts[id(value)] = json_text(value)
        return found

    rows = [
        (
            *_FIRST(machine),
            once(machine.boot),
            stamp(machine.created_at),
            *_changing(machine, once),
            json_text(seeds[machine.id]),
        )
        for machine in machines
    ]
    insert_rows(tx, t.machine, _ADDED, rows)


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


_RESTS = text(f"machine.{t.RESTING}")
_RESTING = frozenset(
    {
        MachineState.STOPPING,
        MachineState.STOPPED,
        MachineState.ERROR,
        MachineState.DESTROYED,
        MachineState.EXPUNGING,
    }
)


def _conditions(scope: Scope, where: MachineFilter) -> list[ColumnElement[bool] | TextClause]:
    c = t.machine.c
    found: list[ColumnElement[bool] | TextClause] = [*visible(c.account, scope)]
    for column, value in (
        (c.account, where.account),
        (c.zone, where.zone),
        (c.farm, where.farm),
        (c.host, where.host),
    ):
        if value:
            found.append(column == value)
    # Names are looked up on their own: few machines have one, and a list in order of id would otherwise walk over all
    # the others, as databases like to when they don't know how few.
    other = t.machine.alias("other")
    if where.states:
        states = sorted(where.states)
        # One alone as an equation: only then does an index by state and id also give the order.
        found.append(c.state.in_(states) if len(states) > 1 else c.state == states[0])
        if _RESTING.issuperset(where.states):
            found.append(_RESTS)
    if where.living:
        found.append(_LIVES)
    if where.name:
        found.append(c.id.in_(select(other.c.id).where(other.c.name == where.name)))
    if where.prefix:
        after = where.prefix[:-1] + chr(ord(where.prefix[-1]) + 1)
        named = select(other.c.id).where(other.c.name >= where.prefix, other.c.name < after)
        found.append(c.id.in_(named))
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
    boot, placement, why = values["boot"], values["placement"], values["why"]
    values["state"] = _STATES[values["state"]]
    values["wish"] = _WISHES[values["wish"]]
    values["boot"] = _BOOT if boot == "{}" else _boot(boot)
    values["placement"] = _PLACEMENT if placement == "{}" else _placement(placement)
    values["why"] = {} if why == "{}" else _why(why)
    values["destroyed_at"] = stamped(values["destroyed_at"])
    values["created_at"] = moment(values["created_at"])
    values["changed_at"] = moment(values["changed_at"])
    machine = object.__new__(Machine)
    machine.__dict__.update(values)
    return machine
