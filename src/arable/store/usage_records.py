"""Usage records: intervals in which an account had something.

They are written by the statements below alone, which other modules of the store call where they write the rows that
an interval is of; so both are kept together or not at all. Each may be executed again: what has begun begins no second
time (an index sees to that), and what has ended stays ended when it did. A server whose clock is behind that of the one
before it ends an interval no earlier than it began, and begins the next no earlier than the last one ended.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import TextClause, func, select, text

from arable.domain.access import Scope
from arable.domain.ids import AccountId, FarmId, MachineId, NetworkId, VolumeId
from arable.domain.usage import UsageKind, UsageRecord, Used
from arable.store import kept
from arable.store import schema as t
from arable.store.columns import micros
from arable.store.database import Tx
from arable.store.lookup import Lookup
from arable.store.many import among
from arable.store.rows import insert_rows, json_text, raw
from arable.store.scope import visible

_c = t.usage_record.c

_BEGIN = """
    insert into usage_record
        (account, kind, thing, name, offering, farm, farm_name, tier, tier_name, cpus, mib, since)
    select o.account, '{kind}', o.id, {name}, {offering}, coalesce(f.id, ''), coalesce(f.name, ''),
        coalesce(t.id, ''), coalesce(t.name, ''), {cpus}, {mib}, {later}(
            :at, coalesce((
                select max(u.until) from usage_record u
                where u.thing = o.id and u.kind = '{kind}' and u.until is not null
            ), 0)
        )
    from {asked} join {table} o on o.id = asked.value {joins}
    where true
    on conflict do nothing
"""
_ELEMENT = "left join element e on e.machine = {machine}.id left join tier t on t.id = e.tier"
_NO_TIER = "left join tier t on t.id = ''"
_FORMS = {
    UsageKind.MACHINE: {
        "table": "machine",
        "joins": f"left join farm f on f.id = o.farm {_ELEMENT.format(machine='o')}",
        "name": "o.name",
        "offering": "o.offering",
        "cpus": "o.cpus",
        "mib": "o.memory_mib",
    },
    UsageKind.VOLUME: {
        "table": "volume",
        "joins": f"""
            left join machine m on m.id = o.machine
            left join farm_part p on p.id = o.id
            left join farm f on f.id = coalesce(m.farm, p.farm) {_ELEMENT.format(machine="m")}
        """,
        "name": "o.name",
        "offering": "case when o.offering = '' and o.position = 0 and o.machine is not null then 'root' else o.offering end",
        "cpus": "0",
        "mib": "o.mib",
    },
    UsageKind.ADDRESS: {
        "table": "address",
        "joins": f"""
            left join network n on n.id = o.network left join farm f on f.id = n.farm {_NO_TIER}
        """,
        "name": "o.address",
        "offering": "''",
        "cpus": "0",
        "mib": "0",
    },
    UsageKind.NETWORK: {
        "table": "network",
        "joins": f"left join farm f on f.id = o.farm {_NO_TIER}",
        "name": "o.name",
        "offering": "''",
        "cpus": "0",
        "mib": "0",
    },
}
_FORMS[UsageKind.RUNNING] = _FORMS[UsageKind.MACHINE]
_END = """
    update usage_record set until = {later}(since, :at)
    where until is null and kind = '{kind}' and thing in ({those})
"""
# From what was given to the records, by an index: a condition with "or" would be looked for in all that is open.
_PLACE = """
    with given as (select value ->> 0 as machine, value ->> 1 as tier from {rows} as given),
    things as (
        select machine as thing, tier from given
        union all select v.id, given.tier from given join volume v on v.machine = given.machine
    )
    update usage_record set farm = f.id, farm_name = f.name, tier = t.id, tier_name = t.name
    from things join tier t on t.id = things.tier join farm f on f.id = t.farm
    where usage_record.thing = things.thing and usage_record.kind in ('machine', 'running', 'volume')
        and usage_record.until is null and usage_record.tier = ''
"""
_place = {
    "sqlite": text(_PLACE.format(rows="json_each(:rows)")),
    "postgresql": text(_PLACE.format(rows="jsonb_array_elements(cast(:rows as jsonb))")),
}
_give = text("""
    update usage_record set farm = cast(:farm as text), farm_name = (select name from farm where id = :farm)
    where until is null and kind = 'volume' and thing = :volume
""")


class _Words(NamedTuple):
    """As each database says it."""

    later: str
    asked: str
    those: str

    def begin(self, kind: UsageKind) -> TextClause:
        said = _FORMS[kind]
        return text(_BEGIN.format(kind=kind, later=self.later, asked=self.asked, **said))

    def end(self, kind: UsageKind) -> TextClause:
        return text(_END.format(kind=kind, later=self.later, those=self.those))


_WORDS = {
    "sqlite": _Words("max", "json_each(:ids) as asked", "select value from json_each(:ids)"),
    "postgresql": _Words(
        "greatest",
        "jsonb_array_elements_text(cast(:ids as jsonb)) as asked(value)",
        "select * from jsonb_array_elements_text(cast(:ids as jsonb))",
    ),
}
_begin = {(d, kind): words.begin(kind) for d, words in _WORDS.items() for kind in UsageKind}
_end = {(d, kind): words.end(kind) for d, words in _WORDS.items() for kind in UsageKind}


# --- for those who write the rows


def begin(tx: Tx, kind: UsageKind, ids: Iterable[str], at: datetime | int) -> None:
    """These are their accounts' from now on; those that are it already stay so since then. `at` may be in microseconds."""
    _run(tx, _begin[tx.dialect.name, kind], ids, at)


class Made(NamedTuple):
    """A thing that was made just now: nothing of it was counted before, and no tier has it yet."""

    account: str
    thing: str
    name: str
    offering: str
    farm: str
    cpus: int
    mib: int


def begin_made(tx: Tx, kind: UsageKind, made: Sequence[Made], at: int) -> None:
    """`begin`, for thousands of new things: of each all is known already, but for what its farm is called."""
    called = dict(_farms.rows(tx, {each.farm for each in made}))
    rows = [
        (kind.value, each.farm and called.get(each.farm, ""), "", "", at, *each) for each in made
    ]
    insert_rows(tx, t.usage_record, _MADE, rows)


_MADE = ("kind", "farm_name", "tier", "tier_name", "since", *Made._fields)
_farms = Lookup(lambda among: raw(t.farm, ("id", "name")).where(among(t.farm.c.id)))


def end(tx: Tx, kind: UsageKind, ids: Iterable[str], at: datetime | int) -> None:
    """They are no more. Those that are not, or never were, stay as they are."""
    _run(tx, _end[tx.dialect.name, kind], ids, at)


def renew(tx: Tx, kind: UsageKind, ids: Sequence[str], at: datetime | int) -> None:
    """They are others than they were: larger, of another offering, of another farm."""
    end(tx, kind, ids, at)
    begin(tx, kind, ids, at)


def place(tx: Tx, made: Iterable[tuple[str, str]]) -> None:
    """Machines that were made for elements, and their volumes, are their tiers' from the beginning."""
    if rows := list(made):
        tx.execute(_place[tx.dialect.name], {"rows": json_text(rows)})


def give_to(tx: Tx, volume: str, farm: FarmId) -> None:
    """A volume that was made for a farm is the farm's from the beginning."""
    tx.execute(_give, {"volume": volume, "farm": farm})


def machines_change(tx: Tx, states: Iterable[tuple[MachineId, str, int]]) -> None:
    """Machines have these states from these moments on. One that is stopping runs on until it was seen off."""
    began: dict[int, list[str]] = {}
    ended: dict[int, list[str]] = {}
    for id_, state, at in states:
        if state == "running":
            began.setdefault(at, []).append(id_)
        elif state != "stopping":
            ended.setdefault(at, []).append(id_)
    for at, ids in began.items():
        begin(tx, UsageKind.RUNNING, ids, at)
    for at, ids in ended.items():
        end(tx, UsageKind.RUNNING, ids, at)


def machines_gone(
    tx: Tx, machines: Sequence[MachineId], volumes: Sequence[VolumeId], at: datetime
) -> None:
    """Nothing of these is left."""
    end(tx, UsageKind.RUNNING, machines, at)
    end(tx, UsageKind.MACHINE, machines, at)
    end(tx, UsageKind.VOLUME, volumes, at)


def network_gone(tx: Tx, network: NetworkId, at: datetime) -> None:
    """It is no more."""
    end(tx, UsageKind.NETWORK, [network], at)


def _run(tx: Tx, words: TextClause, ids: Iterable[str], at: datetime | int) -> None:
    listed = list(ids)
    if listed:
        moment = at if isinstance(at, int) else micros(at)
        tx.execute(words, {"ids": json_text(listed), "at": moment})


# --- for those who ask


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageFilter:
    """Which records: those with a part in the period."""

    since: datetime
    until: datetime
    account: AccountId | None = None
    farm: FarmId | None = None
    kind: UsageKind | None = None


def page(
    tx: Tx, scope: Scope, where: UsageFilter, *, after: int = 0, limit: int = 100
) -> list[UsageRecord]:
    """In the order in which they began to be counted."""
    query = select(t.usage_record).where(
        _c.number > after,
        _c.since < where.until,
        _c.until.is_(None) | (_c.until > where.since),
        *visible(_c.account, scope),
    )
    for column, wanted in (
        (_c.account, where.account),
        (_c.farm, where.farm),
        (_c.kind, where.kind),
    ):
        if wanted is not None:
            query = query.where(column == wanted)
    rows = tx.execute(query.order_by(_c.number).limit(limit))
    return [kept.value(UsageRecord, row) for row in rows]


_USED = """
    select kind, offering, farm, max(farm_name), mib,
        sum({earlier}(coalesce(until, :until), :until) - {later}(since, :since))
    from usage_record
    where account = :account and since < :until and (until is null or until > :since)
    group by kind, offering, farm, mib
    order by kind, offering, farm, mib
"""
_used = {
    "sqlite": text(_USED.format(earlier="min", later="max")),
    "postgresql": text(_USED.format(earlier="least", later="greatest")),
}


def used(tx: Tx, account: AccountId, since: datetime, until: datetime) -> list[Used]:
    """How much of everything an account had in a period. What it has still counts to the period's end."""
    given = {"account": account, "since": micros(since), "until": micros(until)}
    return [
        Used(UsageKind(kind), offering, farm, farm_name, mib, int(summed))
        for kind, offering, farm, farm_name, mib, summed in tx.execute(
            _used[tx.dialect.name], given
        )
    ]


def accounts(
    tx: Tx, scope: Scope, since: datetime, until: datetime, *, after: str = "", limit: int = 100
) -> list[tuple[AccountId, str]]:
    """Those in sight that had anything in a period, with their names, by age."""
    account = t.account.c
    had = (
        select(_c.number)
        .where(_c.account == account.id, _c.since < until, _c.until.is_(None) | (_c.until > since))
        .exists()
    )
    query = select(account.id, account.name).where(
        account.id > after, had, *visible(account.id, scope)
    )
    rows = tx.execute(query.order_by(account.id).limit(limit))
    return [(AccountId(id_), name) for id_, name in rows]


def first(tx: Tx, account: AccountId) -> datetime | None:
    """When an account had anything first."""
    found: datetime | None = tx.execute(
        select(func.min(_c.since)).where(_c.account == account)
    ).scalar()
    return found


def orders(tx: Tx, farms: Iterable[FarmId]) -> dict[str, tuple[str, str]]:
    """By which order each of these farms was made, and whose purchase order that is."""
    row = t.farm_order.c
    query = (
        select(row.farm, row.id, row.purchase_order)
        .where(among(tx, row.farm, sorted(farms)))
        .order_by(row.id.desc())  # the first one made it
    )
    return {farm: (order, reference) for farm, order, reference in tx.execute(query)}


def open_now(tx: Tx, account: AccountId) -> dict[tuple[UsageKind, str], int]:
    """How much of everything an account has now, by kind and offering. Volumes are counted in MiB."""
    query = (
        select(_c.kind, _c.offering, func.count(), func.sum(_c.mib))
        .where(_c.account == account, _c.until.is_(None))
        .group_by(_c.kind, _c.offering)
    )
    return {
        (UsageKind(kind), offering): int(mib) if kind == UsageKind.VOLUME else int(count)
        for kind, offering, count, mib in tx.execute(query)
    }
