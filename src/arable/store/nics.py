"""How machines' ports on networks are kept, and which of a network's addresses they hold."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Select, and_, bindparam, func, or_, select, text, update

from arable.domain.access import Scope
from arable.domain.errors import NotFound
from arable.domain.ids import AccountId, HostId, MachineId, NetworkId, NicId
from arable.domain.network import Nic
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among
from arable.store.rows import insert_rows, json_text, raw
from arable.store.scope import visible

_COLUMNS = (
    *("id", "machine", "network", "account", "position", "mac", "address", "offset", "rate_kbps"),
    *("is_default", "leaving"),
)
_SELECT = (
    raw(t.nic, _COLUMNS)
    .add_columns(t.network.c.ipv6_cidr)
    .join_from(t.nic, t.network, t.network.c.id == t.nic.c.network)
)


def get(tx: Tx, scope: Scope, id_: NicId) -> Nic:
    """The port, if it is there and in sight."""
    query = _SELECT.where(t.nic.c.id == id_, *visible(t.nic.c.account, scope))
    row = tx.execute(query).first()
    if row is None:
        raise NotFound("there is no such nic")
    return _nic(row)


@dataclass(frozen=True, slots=True, kw_only=True)
class NicFilter:
    """Which ports of a list."""

    account: AccountId | None = None
    machine: MachineId | None = None
    network: NetworkId | None = None


def page(
    tx: Tx, scope: Scope, where: NicFilter, *, after: str | None = None, limit: int = 100
) -> list[Nic]:
    """By key; those that are leaving are among them."""
    c = t.nic.c
    conditions = [*visible(c.account, scope), c.position >= 0]
    for column, value in (
        (c.account, where.account),
        (c.machine, where.machine),
        (c.network, where.network),
    ):
        if value:
            conditions.append(column == value)
    if after:
        conditions.append(c.id > after)
    query = _SELECT.where(*conditions).order_by(c.id).limit(limit)
    return [_nic(row) for row in tx.execute(query)]


def of_machine(tx: Tx, machine: MachineId) -> list[Nic]:
    """All rows of a machine in order of position, those that are leaving too."""
    query = _SELECT.where(t.nic.c.machine == machine).order_by(t.nic.c.position)
    return [_nic(row) for row in tx.execute(query)]


def of_machines(tx: Tx, machines: Iterable[MachineId]) -> dict[MachineId, list[Nic]]:
    """Each machine's ports in order of position, without those that are leaving."""
    c = t.nic.c
    there = (among(tx, c.machine, machines), ~c.leaving)
    query = _SELECT.where(*there).order_by(c.machine, c.position)
    found: dict[MachineId, list[Nic]] = {}
    for row in tx.execute(query):
        nic = _nic(row)
        found.setdefault(nic.machine, []).append(nic)
    return found


def of_network(tx: Tx, network: NetworkId) -> int:
    """How many ports a network has."""
    query = select(func.count()).select_from(t.nic).where(t.nic.c.network == network)
    return tx.execute(query).scalar_one()


def offsets(tx: Tx, network: NetworkId, first: int, last: int) -> set[int]:
    """Which addresses from `first` to `last` (distances from the network's first) are held."""
    c = t.nic.c
    query = select(c.offset).where(c.network == network, c.offset.between(first, last))
    return set(tx.execute(query).scalars())


_offsets = {
    "sqlite": text("""
        select n.network, n."offset" from json_each(:asked) as asked
        cross join nic n
        where n.network = asked.value ->> 0
            and n."offset" between asked.value ->> 1 and asked.value ->> 2
    """),
    # `offset 0`: a look at the index for each, and not one through all ports (see `machines.py`).
    "postgresql": text("""
        select asked.value ->> 0, held."offset" from jsonb_array_elements(cast(:asked as jsonb)) as asked
        cross join lateral (
            select n."offset" from nic n
            where n.network = asked.value ->> 0
                and n."offset" between cast(asked.value ->> 1 as bigint) and cast(asked.value ->> 2 as bigint)
            offset 0
        ) as held
    """),
}


def offsets_of_many(
    tx: Tx, windows: Iterable[tuple[NetworkId, int, int]]
) -> dict[NetworkId, set[int]]:
    """The same of many networks, by one statement."""
    found: dict[NetworkId, set[int]] = {}
    rows = tx.execute(_offsets[tx.dialect.name], {"asked": json_text(list(windows))})
    for network, offset in rows.all():
        found.setdefault(network, set()).add(offset)
    return found


def holder(tx: Tx, network: NetworkId, offset: int) -> str:
    """The name of the machine that holds an address of a network."""
    query = (
        select(t.machine.c.name)
        .join(t.nic, t.nic.c.machine == t.machine.c.id)
        .where(t.nic.c.network == network, t.nic.c.offset == offset)
    )
    return tx.execute(query).scalar_one_or_none() or ""


def leave(tx: Tx, nic: NicId) -> None:
    """It was detached."""
    tx.execute(update(t.nic).where(t.nic.c.id == nic).values(leaving=True, is_default=False))


def set_default(tx: Tx, machine: MachineId, nic: NicId) -> None:
    """The machine finds its way out by this one, and by no other."""
    c = t.nic.c
    held = update(t.nic).where(c.machine == machine, c.is_default)
    tx.execute(held.values(is_default=False))
    tx.execute(update(t.nic).where(c.id == nic).values(is_default=True))


def set_address(tx: Tx, nic: NicId, address: str, offset: int) -> None:
    """It has this address from now on."""
    changed = update(t.nic).where(t.nic.c.id == nic)
    tx.execute(changed.values(address=address, offset=offset))


def leaving_of(tx: Tx, machines: Iterable[MachineId]) -> dict[NicId, list[HostId]]:
    """Rows of these machines that are to go, and where their networks' routers are."""
    c, n = t.nic.c, t.network.c
    query = (
        select(c.id, n.appliance_host, n.standby_host)
        .join_from(t.nic, t.network, n.id == c.network)
        .where(text("nic.leaving"), among(tx, c.machine, machines))
        .order_by(c.id)
    )
    return {id_: [host for host in hosts if host] for id_, *hosts in tx.execute(query)}


def forsaken(tx: Tx, limit: int) -> list[MachineId]:
    """Machines with rows that are to go, of which no host has anything any more.

    Those that are off, and those that run as they were told last and of which nobody waits for anything.
    """
    return list(tx.execute(_forsaken(), {"limit": limit}).scalars())


@cache
def _forsaken() -> Select[Any]:
    c, m = t.nic.c, t.machine.c
    at_rest = and_(m.state == "running", m.operation.is_(None), ~m.attention)
    leaving = select(c.machine).where(text("nic.leaving"))
    return (
        select(m.id)
        .where(m.id.in_(leaving), or_(m.host.is_(None), at_rest))
        .order_by(m.id)
        .limit(bindparam("limit"))
    )


def remove(tx: Tx, ids: Collection[NicId]) -> None:
    """They are gone, and what led to them."""
    tx.execute(t.rule.delete().where(among(tx, t.rule.c.nic, ids)))
    tx.execute(t.balancer_member.delete().where(among(tx, t.balancer_member.c.nic, ids)))
    tx.execute(t.nic.delete().where(among(tx, t.nic.c.id, ids)))


def set_rate(tx: Tx, machine: MachineId, kbps: int) -> None:
    """How fast all ports of a machine are."""
    tx.execute(update(t.nic).where(t.nic.c.machine == machine).values(rate_kbps=kbps))


class NewNic(NamedTuple):
    """A port as its row begins."""

    id: NicId
    machine: MachineId
    network: NetworkId
    account: AccountId
    position: int
    mac: str
    address: str
    offset: int
    rate_kbps: int
    is_default: bool
    leaving: bool = False


def add_many(tx: Tx, nics: Sequence[NewNic]) -> None:
    """Keep new ports."""
    insert_rows(tx, t.nic, NewNic._fields, nics)


def _nic(row: Any) -> Nic:
    (id_, machine, network, account, position, mac, address, offset, rate_kbps, *flags) = row
    is_default, leaving, ipv6_cidr = flags
    return Nic(
        id=id_,
        machine=machine,
        network=network,
        account=account,
        position=position,
        mac=mac,
        address=address,
        offset=offset,
        rate_kbps=rate_kbps,
        is_default=bool(is_default),
        leaving=bool(leaving),
        ipv6_cidr=ipv6_cidr,
    )
