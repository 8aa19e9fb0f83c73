"""How load balancers, their members, and what was seen of them are kept. Private keys are here sealed, or not at all."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    ColumnElement,
    Select,
    Text,
    and_,
    delete,
    exists,
    null,
    or_,
    select,
    text,
    type_coerce,
    update,
)

from arable.domain.access import Scope
from arable.domain.balancer import (
    Algorithm,
    Balancer,
    BalancerKind,
    BalancerSeen,
    Calm,
    Check,
    Member,
    Stickiness,
    Traffic,
)
from arable.domain.errors import NotFound, Stale
from arable.domain.ids import (
    AccountId,
    AddressId,
    BalancerId,
    HostId,
    MachineId,
    NetworkId,
    NicId,
)
from arable.store import schema as t
from arable.store import tier_notes
from arable.store.columns import micros, moment
from arable.store.database import Tx
from arable.store.many import among
from arable.store.rows import insert_rows, json_text, raw, save_rows, stamp
from arable.store.scope import visible

TOPIC = "load"
"""Of those who act on what is told of balancers that are watched."""

_CHANGING = (
    *("name", "algorithm", "stickiness", "cidr", "cidr6"),
    *("health", "certificate", "sealed", "generation"),
)
_FIXED = ("id", "account", "network", "kind", "address", "port", "traffic", "created_at")
_SELECT = raw(t.balancer, (*_FIXED, *_CHANGING))
_check = msgspec.json.Decoder(Check).decode
_calm = msgspec.json.Decoder(Calm | None).decode
_b, _m = t.balancer.c, t.balancer_member.c


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancerFilter:
    """Which balancers of a list."""

    account: AccountId | None = None
    network: NetworkId | None = None
    address: AddressId | None = None
    name: str = ""


class MemberRow(NamedTuple):
    """A member, as people and appliances know it."""

    balancer: BalancerId
    machine: MachineId
    machine_name: str
    nic: NicId
    to: str
    port: int
    weight: int
    draining: bool
    paused: bool = False


def get(tx: Tx, scope: Scope, id_: BalancerId) -> Balancer:
    """The balancer, if it is there and in sight."""
    row = tx.execute(_SELECT.where(_b.id == id_, *visible(_b.account, scope))).first()
    if row is None:
        raise NotFound("there is no such balancer")
    return _balancer(row)


def page(
    tx: Tx, scope: Scope, where: BalancerFilter, *, after: str | None = None, limit: int = 100
) -> list[Balancer]:
    """By key."""
    conditions = visible(_b.account, scope)
    for column, value in (
        (_b.account, where.account),
        (_b.network, where.network),
        (_b.address, where.address),
        (_b.name, where.name),
    ):
        if value:
            conditions.append(column == value)
    if after:
        conditions.append(_b.id > after)
    query = _SELECT.where(*conditions).order_by(_b.id).limit(limit)
    return [_balancer(row) for row in tx.execute(query)]


def of_networks(tx: Tx, networks: Iterable[NetworkId]) -> list[tuple[Balancer, str, Calm | None]]:
    """The balancers of these networks by age, each with its public address, empty for none, and what calm is for it."""
    query = (
        _SELECT.add_columns(t.address.c.address, type_coerce(_b.calm, Text))
        .outerjoin(t.address, t.address.c.id == _b.address)
        .where(among(tx, _b.network, networks))
        .order_by(_b.id)
    )
    return [
        (_balancer(row[:-2]), row[-2] or "", _calm(row[-1]) if row[-1] else None)
        for row in tx.execute(query)
    ]


def set_calm(tx: Tx, balancer: BalancerId, calm: Calm | None) -> bool:
    """What somebody who waits for its news takes for calm; None: nobody waits. Its appliance is told; whether it was another."""
    held = tx.execute(select(_b.network, type_coerce(_b.calm, Text)).where(_b.id == balancer))
    row = held.first()
    if row is None or (_calm(row[1]) if row[1] else None) == calm:
        return False
    kept = null() if calm is None else msgspec.to_builtins(calm)
    tx.execute(update(t.balancer).where(_b.id == balancer).values(calm=kept))
    tx.execute(update(t.network).where(t.network.c.id == row[0]).values(attention=True))
    return True


def publics(tx: Tx, addresses: Iterable[AddressId]) -> dict[AddressId, str]:
    """These public addresses as numbers."""
    c = t.address.c
    query = select(c.id, c.address).where(among(tx, c.id, addresses))
    return {AddressId(id_): text_ for id_, text_ in tx.execute(query)}


def gateways(tx: Tx, networks: Iterable[NetworkId]) -> dict[NetworkId, str]:
    """Where these networks' inner balancers are."""
    c = t.network.c
    query = select(c.id, c.gateway).where(among(tx, c.id, networks))
    return {NetworkId(id_): text_ for id_, text_ in tx.execute(query)}


def prefixes(tx: Tx, networks: Iterable[NetworkId]) -> dict[NetworkId, str]:
    """The /64 of those of these networks that have one."""
    c = t.network.c
    query = select(c.id, c.ipv6_cidr).where(among(tx, c.id, networks), c.ipv6_cidr.is_not(None))
    return {NetworkId(id_): text_ for id_, text_ in tx.execute(query)}


class NamedRow(NamedTuple):
    """An inner balancer that a network's machines may call, and the gateway that it is at."""

    network: NetworkId
    name: str
    farm_name: str
    gateway: str


def called_from(tx: Tx, networks: Sequence[NetworkId]) -> list[NamedRow]:
    """The inner balancers that the machines of these networks may call: the networks' own, and by rules; oldest first."""
    n, r, farm = t.network.c, t.rule.c, t.farm.c
    inner = _b.kind == BalancerKind.INNER.value
    to_port = and_(r.first_port <= _b.port, r.last_port >= _b.port)
    leads = and_(r.network == _b.network, r.kind == "between", r.protocol.in_(("tcp", "all")))

    def found(caller: ColumnElement[str]) -> Select[tuple[Any, ...]]:
        return (
            select(caller, _b.name, farm.name, n.gateway, _b.id)
            .select_from(t.balancer)
            .join(t.network, n.id == _b.network)
            .join(t.farm, farm.id == n.farm)
        )

    own = found(_b.network).where(inner, among(tx, _b.network, networks))
    others = (
        found(r.source)
        .join(t.rule, and_(leads, or_(r.first_port == 0, to_port)))
        .where(inner, among(tx, r.source, networks))
    )
    rows = sorted(
        {tuple(row) for row in (*tx.execute(own), *tx.execute(others))}, key=itemgetter(4)
    )
    return [NamedRow._make(row[:-1]) for row in rows]


def inner_on_port(tx: Tx, network: NetworkId, port: int) -> Balancer | None:
    """The inner balancer on that port of the network's gateway."""
    inner = _b.kind == BalancerKind.INNER.value
    row = tx.execute(_SELECT.where(_b.network == network, _b.port == port, inner)).first()
    return None if row is None else _balancer(row)


def on_port(tx: Tx, address: AddressId, first: int, last: int) -> Balancer | None:
    """A balancer on one of these ports of a public address."""
    query = _SELECT.where(_b.address == address, _b.port.between(first, last)).limit(1)
    row = tx.execute(query).first()
    return None if row is None else _balancer(row)


def members(tx: Tx, balancers: Iterable[BalancerId]) -> dict[BalancerId, list[MemberRow]]:
    """Each balancer's members, by name."""
    nic, machine = t.nic.c, t.machine.c
    query = (
        select(
            _m.balancer,
            machine.id,
            machine.name,
            nic.id,
            nic.address,
            _m.port,
            _m.weight,
            _m.draining,
            _m.paused,
        )
        .join(t.nic, nic.id == _m.nic)
        .join(t.machine, machine.id == nic.machine)
        .where(among(tx, _m.balancer, balancers))
        .order_by(machine.name, nic.id)
    )
    found: dict[BalancerId, list[MemberRow]] = {}
    for row in tx.execute(query):
        found.setdefault(row.balancer, []).append(MemberRow._make(row))
    return found


def leading_to(tx: Tx, nic: NicId) -> list[BalancerId]:
    """Balancers of which this port is a member."""
    query = select(_m.balancer).where(_m.nic == nic).order_by(_m.balancer)
    return [BalancerId(id_) for id_ in tx.scalars(query)]


def add(tx: Tx, balancer: Balancer) -> None:
    """Keep a new balancer."""
    row = (
        *(balancer.id, balancer.account, balancer.network, balancer.kind.value, balancer.address),
        balancer.port,
        *(balancer.traffic.value, stamp(balancer.created_at), *_changing(balancer)),
    )
    insert_rows(tx, t.balancer, (*_FIXED, *_CHANGING), [row])


def save(tx: Tx, balancer: Balancer) -> None:
    """Keep the next generation of it, unless somebody got there first."""
    row = (*_changing(balancer), balancer.id, balancer.generation - 1)
    if save_rows(tx, t.balancer, _CHANGING, [row]) != 1:
        raise Stale("the balancer changed meanwhile; read it again and decide anew")


def put_members(tx: Tx, balancer: BalancerId, members: Sequence[Member]) -> None:
    """Keep these members of a balancer, as they are now."""
    drop_members(tx, balancer, [each.nic for each in members])
    names = ("balancer", "nic", "port", "weight", "draining", "paused")
    rows = [tuple(getattr(each, name) for name in names) for each in members]
    insert_rows(tx, t.balancer_member, names, rows)


def drop_members(tx: Tx, balancer: BalancerId, nics: Iterable[NicId]) -> None:
    """They are none any more."""
    tx.execute(delete(t.balancer_member).where(_m.balancer == balancer, among(tx, _m.nic, nics)))


def remove(tx: Tx, ids: Sequence[BalancerId]) -> None:
    """Forget balancers with all that hangs on them."""
    for table in (t.balancer_member, t.balancer_seen):
        tx.execute(delete(table).where(among(tx, table.c.balancer, ids)))
    tx.execute(delete(t.balancer).where(among(tx, _b.id, ids)))


def remove_of_network(tx: Tx, network: NetworkId) -> None:
    """Forget all of a network's balancers."""
    remove(tx, list(tx.scalars(select(_b.id).where(_b.network == network))))


def leave(tx: Tx, machines: Sequence[MachineId]) -> bool:
    """Machines that are about to go are no members; their networks' appliances are to hear of it, if there are any."""
    nics = select(t.nic.c.id).where(among(tx, t.nic.c.machine, machines))
    led = select(_b.network).where(exists().where(_m.balancer == _b.id, _m.nic.in_(nics)))
    network = t.network
    told = tx.execute(update(network).where(network.c.id.in_(led)).values(attention=True)).rowcount
    if told:
        tx.execute(delete(t.balancer_member).where(_m.nic.in_(nics)))
    return bool(told)


# Only what the host says counts that has the network's appliance now.
_KEEP = """
    insert into balancer_seen (balancer, at, seen, ill)
    select b.id, :at, e.value ->> 2, cast(e.value ->> 3 as integer)
    from {told} as e join balancer b on b.id = e.value ->> 0
        join network n on n.id = b.network and n.appliance_host = e.value ->> 1
    where true
    on conflict (balancer) do update set at = excluded.at, seen = excluded.seen, ill = excluded.ill
"""
_keep = {
    "sqlite": text(_KEEP.format(told="json_each(:told)")),
    "postgresql": text(_KEEP.format(told="json_array_elements(cast(:told as json))")),
}


def keep_seen(tx: Tx, told: Iterable[tuple[HostId, BalancerSeen]], at: datetime) -> bool:
    """What hosts said of balancers, each host the latest last. Whether somebody waits for news of one of them."""
    rows = {(one.id, host): (one.id, host, one, one.ill) for host, one in told}
    if not rows:
        return False
    given = {"told": json_text(list(rows.values())), "at": micros(at)}
    tx.execute(_keep[tx.dialect.name], given)
    tier_notes.of_balancers(tx, [(one.id, one.ill) for _, _, one, _ in rows.values()])
    watched = select(_b.id).where(among(tx, _b.id, {id_ for id_, _ in rows}), _b.calm.is_not(None))
    return tx.execute(watched.limit(1)).first() is not None


def seen(
    tx: Tx, balancers: Iterable[BalancerId]
) -> dict[BalancerId, tuple[datetime, BalancerSeen]]:
    """What was seen last of each, and when it was told."""
    c = t.balancer_seen.c
    query = raw(t.balancer_seen, ("balancer", "at", "seen")).where(among(tx, c.balancer, balancers))
    return {
        BalancerId(id_): (moment(at), msgspec.json.decode(told, type=BalancerSeen))
        for id_, at, told in tx.execute(query)
    }


def _changing(balancer: Balancer) -> tuple[Any, ...]:
    return (
        *(balancer.name, balancer.algorithm.value, balancer.stickiness.value, balancer.cidr),
        balancer.cidr6,
        *(json_text(balancer.check), balancer.certificate, balancer.sealed, balancer.generation),
    )


def _balancer(row: Any) -> Balancer:
    (id_, account, network, kind, address, port, traffic, created_at) = row[:8]
    (name, algorithm, stickiness, cidr, cidr6, check, certificate, sealed, generation) = row[8:]
    return Balancer(
        id=id_,
        account=account,
        network=network,
        kind=BalancerKind(kind),
        address=address,
        name=name,
        port=port,
        traffic=Traffic(traffic),
        algorithm=Algorithm(algorithm),
        stickiness=Stickiness(stickiness),
        cidr=cidr,
        cidr6=cidr6,
        check=_check(check),
        certificate=certificate,
        sealed=sealed,
        generation=generation,
        created_at=moment(created_at),
    )
