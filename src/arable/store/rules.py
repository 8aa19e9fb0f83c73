"""How the rules of routing appliances are kept."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import delete, select

from arable.domain.access import Scope
from arable.domain.errors import NotFound
from arable.domain.ids import AccountId, AddressId, MachineId, NetworkId, NicId, RuleId
from arable.domain.manifest import Direction, Protocol
from arable.domain.network import Rule, RuleKind
from arable.store import schema as t
from arable.store.columns import moment
from arable.store.database import Tx
from arable.store.many import among
from arable.store.rows import insert_rows, raw, stamp
from arable.store.scope import visible

_COLUMNS = (
    *("id", "account", "network", "address", "kind", "direction", "protocol", "cidr"),
    *("first_port", "last_port", "nic", "to_port", "source", "generation", "created_at"),
)
_SELECT = raw(t.rule, _COLUMNS)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFilter:
    """Which rules of a list."""

    account: AccountId | None = None
    network: NetworkId | None = None
    address: AddressId | None = None
    nic: NicId | None = None
    source: NetworkId | None = None
    kind: RuleKind | None = None


def get(tx: Tx, scope: Scope, id_: RuleId) -> Rule:
    """The rule, if it is there and in sight."""
    query = _SELECT.where(t.rule.c.id == id_, *visible(t.rule.c.account, scope))
    row = tx.execute(query).first()
    if row is None:
        raise NotFound("there is no such rule")
    return _rule(row)


def page(
    tx: Tx, scope: Scope, where: RuleFilter, *, after: str | None = None, limit: int | None = None
) -> list[Rule]:
    """By key."""
    c = t.rule.c
    conditions = visible(c.account, scope)
    for column, value in (
        (c.account, where.account),
        (c.network, where.network),
        (c.address, where.address),
        (c.nic, where.nic),
        (c.source, where.source),
        (c.kind, where.kind and where.kind.value),
    ):
        if value:
            conditions.append(column == value)
    if after:
        conditions.append(c.id > after)
    query = _SELECT.where(*conditions).order_by(c.id).limit(limit)
    return [_rule(row) for row in tx.execute(query)]


class Ends(NamedTuple):
    """What a rule is about, as people know it."""

    public: str | None  # the public address
    machine: MachineId | None
    machine_name: str | None
    network_name: str
    source_name: str | None  # of the network that connections come from


def ends(tx: Tx, ids: Iterable[RuleId]) -> dict[RuleId, Ends]:
    """The ends of these rules."""
    rule, address, nic, machine = t.rule.c, t.address.c, t.nic.c, t.machine.c
    here, source = t.network.alias(), t.network.alias()
    query = (
        select(rule.id, address.address, machine.id, machine.name, here.c.name, source.c.name)
        .select_from(
            t.rule.outerjoin(t.address, address.id == rule.address)
            .outerjoin(t.nic, nic.id == rule.nic)
            .outerjoin(t.machine, machine.id == nic.machine)
            .join(here, here.c.id == rule.network)
            .outerjoin(source, source.c.id == rule.source)
        )
        .where(among(tx, rule.id, ids))
    )
    return {id_: Ends(*rest) for id_, *rest in tx.execute(query)}


def any_of_address(tx: Tx, address: AddressId) -> bool:
    """Whether rules use a public address."""
    query = select(t.rule.c.id).where(t.rule.c.address == address).limit(1)
    return tx.execute(query).first() is not None


def whole(tx: Tx, network: NetworkId) -> frozenset[AddressId]:
    """The public addresses of a network that are one machine's each."""
    query = select(t.rule.c.address).where(
        t.rule.c.network == network, t.rule.c.kind == RuleKind.STATIC_NAT.value
    )
    return frozenset(AddressId(id_) for id_ in tx.scalars(query) if id_)


def from_network(tx: Tx, network: NetworkId) -> list[RuleId]:
    """The rules by which a network's machines may call those of others."""
    query = select(t.rule.c.id).where(t.rule.c.source == network).order_by(t.rule.c.id)
    return list(tx.scalars(query))


def callers(tx: Tx, network: NetworkId) -> set[NetworkId]:
    """The networks whose machines may call those of this one."""
    c = t.rule.c
    query = select(c.source).where(c.network == network, c.source.is_not(None)).distinct()
    return set(tx.scalars(query))


def joined(tx: Tx, network: NetworkId) -> set[NetworkId]:
    """The networks with which there are rules, of whichever direction."""
    c = t.rule.c
    called = select(c.network).where(c.source == network).distinct()
    return callers(tx, network) | set(tx.scalars(called))


def add(tx: Tx, rule: Rule) -> None:
    """Keep a new rule."""
    row = (
        *(rule.id, rule.account, rule.network, rule.address, rule.kind.value),
        *(rule.direction.value, rule.protocol.value, rule.cidr, rule.first_port, rule.last_port),
        *(rule.nic, rule.to_port, rule.source, rule.generation, stamp(rule.created_at)),
    )
    insert_rows(tx, t.rule, _COLUMNS, [row])


def remove(tx: Tx, id_: RuleId) -> None:
    """Forget a rule."""
    tx.execute(delete(t.rule).where(t.rule.c.id == id_))


def remove_of_network(tx: Tx, network: NetworkId) -> None:
    """Forget all of a network's rules."""
    tx.execute(delete(t.rule).where(t.rule.c.network == network))


def _rule(row: Any) -> Rule:
    (id_, account, network, address, kind, direction, protocol, cidr) = row[:8]
    (first_port, last_port, nic, to_port, source, generation, created_at) = row[8:]
    return Rule(
        id=id_,
        account=account,
        network=network,
        address=address,
        kind=RuleKind(kind),
        direction=Direction(direction),
        protocol=Protocol(protocol),
        cidr=cidr,
        first_port=first_port,
        last_port=last_port,
        nic=nic,
        to_port=to_port,
        source=source,
        generation=generation,
        created_at=moment(created_at),
    )
