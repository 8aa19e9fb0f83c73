"""How guest networks are kept. Their ports are in `nics`, their VLANs in `vlans`, their way out in `addresses`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, bindparam, func, select

from arable.domain.access import Scope
from arable.domain.errors import NoRoom, NotFound, Stale
from arable.domain.guest_cidr import NUMBERS
from arable.domain.ids import AccountId, FarmId, NetworkId, ZoneId
from arable.domain.network import ApplianceState, Network, NetworkState
from arable.domain.router_runtime import RouterRuntime
from arable.domain.usage import UsageKind
from arable.store import schema as t
from arable.store import usage_records
from arable.store.columns import moment
from arable.store.database import Tx
from arable.store.lookup import Lookup
from arable.store.rows import change_rows, insert_rows, json_text, raw, save_rows, stamp, stamped
from arable.store.scope import visible

_FIXED = (
    *("id", "account", "farm", "zone", "cidr", "gateway", "vlan", "number", "isolated"),
    *("created_at", "next_offset"),
)
_CHANGING = (
    *("name", "dns_domain", "resolvers", "restarts", "redundant"),
    *("state", "appliance_host", "appliance_state", "appliance_told", "attention"),
    *("idle_since", "ipv6_range", "ipv6_number", "ipv6_cidr", "generation"),
)
_COLUMNS = _FIXED + _CHANGING
# changed by `routing` alone
_STANDBY = ("standby_host", "standby_state", "standby_told", "appliance_runtime")
_fixed = attrgetter(*_FIXED[:-2])
_SELECT = raw(t.network, _COLUMNS + _STANDBY)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFilter:
    """Which networks of a list."""

    account: AccountId | None = None
    zone: ZoneId | None = None
    farm: FarmId | None = None
    state: NetworkState | None = None
    name: str = ""
    prefix: str = ""  # of the name


def get(tx: Tx, scope: Scope, id_: NetworkId, *, lock: bool = False) -> Network:
    """The network, if it is there and in sight. `lock`: nobody else changes it before this transaction ends."""
    query = _SELECT.where(t.network.c.id == id_, *visible(t.network.c.account, scope))
    row = tx.execute(query.with_for_update() if lock else query).first()
    if row is None:
        raise NotFound("there is no such network")
    return _network(row)


def page(
    tx: Tx, scope: Scope, where: NetworkFilter, *, after: str | None = None, limit: int = 100
) -> list[Network]:
    """By key."""
    c = t.network.c
    conditions = visible(c.account, scope)
    for column, value in (
        (c.account, where.account),
        (c.zone, where.zone),
        (c.farm, where.farm),
        (c.state, where.state and where.state.value),
        (c.name, where.name),
    ):
        if value:
            conditions.append(column == value)
    if where.prefix:
        conditions.append(func.substr(c.name, 1, len(where.prefix)) == where.prefix)
    if after:
        conditions.append(c.id > after)
    return _all(tx, *conditions, limit=limit)


def by_ids(tx: Tx, ids: Iterable[NetworkId], *, lock: bool = False) -> dict[NetworkId, Network]:
    """Those of these that are there. No scope narrows it: the caller compares accounts, or is a controller."""
    rows = (_held if lock else _by_id).rows(tx, ids)
    return {network.id: network for network in map(_network, rows)}


_by_id = Lookup(lambda among: _SELECT.where(among(t.network.c.id)).order_by(t.network.c.id))
_held = Lookup(
    lambda among: _SELECT.where(among(t.network.c.id)).order_by(t.network.c.id).with_for_update()
)


def of_account(tx: Tx, account: AccountId, zone: ZoneId) -> list[Network]:
    """An account's networks in a zone, those on their way out too: their hosts may still know them."""
    return _all(tx, t.network.c.account == account, t.network.c.zone == zone)


def named(tx: Tx, account: AccountId, zone: ZoneId, name: str) -> Network | None:
    """The network of this name."""
    c = t.network.c
    found = _all(tx, c.account == account, c.zone == zone, c.name == name)
    return found[0] if found else None


def named_by(
    tx: Tx, accounts: Iterable[AccountId], zone: ZoneId, name: str
) -> dict[AccountId, Network]:
    """The networks of this name of many accounts, those that have one."""
    rows = _named_by.rows(tx, accounts, zone=zone, name=name)
    return {network.account: network for network in map(_network, rows)}


_named_by = Lookup(
    lambda among: _SELECT.where(
        among(t.network.c.account),
        t.network.c.zone == bindparam("zone"),
        t.network.c.name == bindparam("name"),
    )
)


def free_number(tx: Tx, farm: FarmId) -> int:
    """The lowest that no network of the farm has. Whoever calls holds the account's row, so nobody else takes one.

    Raises `NoRoom` when all are taken.
    """
    taken = set(tx.scalars(select(t.network.c.number).where(t.network.c.farm == farm)))
    found = next((number for number in NUMBERS if number not in taken), None)
    if found is None:
        raise NoRoom(f"a farm has at most {len(NUMBERS)} networks; take another farm")
    return found


def add(tx: Tx, network: Network) -> None:
    """Keep a new network, whose VLAN was taken already."""
    row = (*_fixed(network), stamp(network.created_at), network.next_offset, *_changing(network))
    insert_rows(tx, t.network, _COLUMNS, [row])
    usage_records.begin(tx, UsageKind.NETWORK, [network.id], network.created_at)


def save(tx: Tx, network: Network) -> None:
    """Keep the next generation of `network`, unless somebody got there first."""
    save_many(tx, [network])


def save_many(tx: Tx, networks: Sequence[Network]) -> None:
    """Keep the next generation of each, or raise `Stale`: whoever reads to change many, locks what it reads."""
    rows = [(*_changing(network), network.id, network.generation - 1) for network in networks]
    if save_rows(tx, t.network, _CHANGING, rows) != len(rows):
        raise Stale("the network changed meanwhile; read it again and decide anew")


def move_cursors(tx: Tx, cursors: Mapping[NetworkId, int]) -> None:
    """Where the next search for a free address begins. No generation: it is a hint for the allocator alone."""
    rows = [(offset, network) for network, offset in sorted(cursors.items())]
    change_rows(tx, t.network, ("next_offset",), rows)


def _all(tx: Tx, *conditions: ColumnElement[bool], limit: int | None = None) -> list[Network]:
    query = _SELECT.where(*conditions).order_by(t.network.c.id).limit(limit)
    return [_network(row) for row in tx.execute(query).all()]


def _changing(network: Network) -> tuple[Any, ...]:
    resolvers = None if network.resolvers is None else list(network.resolvers)
    return (
        network.name,
        network.dns_domain,
        json_text(resolvers),
        network.restarts,
        network.redundant,
        network.state.value,
        network.appliance_host,
        network.appliance_state.value,
        network.appliance_told,
        network.attention,
        stamp(network.idle_since),
        network.ipv6_range,
        network.ipv6_number,
        network.ipv6_cidr,
        network.generation,
    )


_resolvers = msgspec.json.Decoder(tuple[str, ...] | None).decode


def _network(row: Any) -> Network:
    (id_, account, farm, zone, cidr, gateway, vlan, number, isolated, *rest) = row
    (created_at, next_offset, name, dns_domain, resolvers, restarts, redundant, *rest) = rest
    (state, host, appliance_state, told, attention, idle_since, *rest) = rest
    (ipv6_range, ipv6_number, ipv6_cidr, generation, *rest) = rest
    (standby_host, standby_state, standby_told, runtime) = rest
    return Network(
        id=id_,
        account=account,
        farm=farm,
        zone=zone,
        name=name,
        cidr=cidr,
        gateway=gateway,
        dns_domain=dns_domain,
        vlan=vlan,
        number=number,
        isolated=bool(isolated),
        resolvers=_resolvers(resolvers),
        restarts=restarts,
        state=NetworkState(state),
        next_offset=next_offset,
        appliance_host=host,
        appliance_state=ApplianceState(appliance_state),
        appliance_told=told,
        appliance_runtime=RouterRuntime(runtime),
        ipv6_range=ipv6_range,
        ipv6_number=ipv6_number,
        ipv6_cidr=ipv6_cidr,
        redundant=bool(redundant),
        standby_host=standby_host,
        standby_state=ApplianceState(standby_state),
        standby_told=standby_told,
        idle_since=stamped(idle_since),
        attention=attention,
        generation=generation,
        created_at=moment(created_at),
    )
