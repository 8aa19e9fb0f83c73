"""What the appliance controllers read and write: networks with all that their routing appliances are told."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    or_,
    select,
    text,
    type_coerce,
    update,
)
from sqlalchemy.types import Text

from arable.domain.ids import AccountId, FarmId, HostId, NetworkId, NicId, OperationId, ZoneId
from arable.domain.manifest import ItemKind
from arable.domain.network import ApplianceState, NetworkState
from arable.domain.pair import Pair, next_number
from arable.domain.router_runtime import RouterRuntime
from arable.store import addresses as addresses_
from arable.store import balancers, router_memory, schema, usage_records, vlans, vpns
from arable.store.database import Tx
from arable.store.many import among, among_given, given
from arable.store.rows import json_text

R = TypeVar("R", bound=tuple[Any, ...])

_n, _z = schema.network.c, schema.zone.c
_PLACES = ((_n.appliance_host, _n.appliance_state), (_n.standby_host, _n.standby_state))


class NetworkRow(NamedTuple):
    """A network, and what its zone says; `appliance_failed` and the resolvers (`own` may be null) are JSON text."""

    id: NetworkId
    account: AccountId
    farm: FarmId
    zone: ZoneId
    name: str
    cidr: str
    gateway: str
    dns_domain: str
    vlan: int
    number: int
    state: str
    appliance_host: HostId | None
    appliance_state: str
    attention: bool
    generation: int
    appliance_epoch: int
    isolated: bool
    restarts: int
    redundant: bool
    appliance_number: int
    appliance_seen: int
    standby_host: HostId | None
    standby_state: str
    standby_number: int
    standby_seen: int
    appliance_runtime: str
    appliance_failed: str
    own_resolvers: str
    resolvers: str
    underlay_mtu: int
    ipv6_cidr: str | None = None
    ipv6_gateway: str | None = None
    zone_runtime: str = RouterRuntime.NAMESPACE

    @property
    def runtime(self) -> RouterRuntime:
        """What its routers are, both of a pair alike: what the zone said when the first one started."""
        return RouterRuntime(self.appliance_runtime)

    @property
    def routers(self) -> list[tuple[HostId, Pair | None]]:
        """Where its appliances are, or are about to be, and what each of a pair is told of the two."""
        here = self.appliance_host if self.appliance_state in PRESENT else None
        there = self.standby_host if self.standby_state in PRESENT else None
        one, other = self.appliance_number if here else 0, self.standby_number if there else 0
        found: list[tuple[HostId, Pair | None]] = []
        if here:
            found.append((here, Pair(number=one, other=other) if self.redundant else None))
        if there:
            found.append((there, Pair(number=other, other=one)))
        return found


PRESENT = (ApplianceState.STARTING, ApplianceState.RUNNING)

NETWORK = select(
    *(_n[name] for name in NetworkRow._fields[:-7]),
    type_coerce(_n.appliance_failed, Text),
    type_coerce(_n.resolvers, Text),
    type_coerce(_z.resolvers, Text),
    _z.underlay_mtu,
    _n.ipv6_cidr,
    schema.ipv6_range.c.gateway,
    _z.router_runtime,
).join(schema.zone, _z.id == _n.zone)
NETWORK = NETWORK.outerjoin(schema.ipv6_range, schema.ipv6_range.c.id == _n.ipv6_range)
"""A network as `NetworkRow` has it."""


class AddressRow(NamedTuple):
    """A public address of a network, and its range."""

    network: NetworkId
    address: str
    source_nat: bool
    cidr: str
    gateway: str
    vlan: int


class RuleRow(NamedTuple):
    """A rule with the addresses it is about: the public one, and the machine's."""

    network: NetworkId
    kind: str
    direction: str
    protocol: str
    cidr: str
    first_port: int
    last_port: int
    to_port: int
    public: str | None
    to: str | None


class LinkedRow(NamedTuple):
    """A rule between two networks, as the router of one of them has it; `near` is the other one.

    `source` is what the rule says, `calls` all of the calling network; the prefixes of IPv6 are None where one has none.
    """

    network: NetworkId
    near_cidr: str
    near_number: int
    link_vlan: int
    source: str
    target: str
    protocol: str
    first_port: int
    last_port: int
    calls: str
    calls6: str | None = None
    called6: str | None = None
    near6: str | None = None


class LeaseRow(NamedTuple):
    """A NIC as DHCP and DNS tell it; the same names as `attention.NicRow` where both have them."""

    id: NicId
    network: NetworkId
    mac: str
    address: str
    name: str
    seed: str  # the machine's cloud-init data, as JSON
    is_default: bool = True
    leaving: bool = False
    ipv6_cidr: str | None = None


def networks_by_id(tx: Tx, ids: Iterable[NetworkId]) -> list[NetworkRow]:
    """These networks, locked: whoever starts an appliance is alone with it."""
    found = tx.execute(_networks_by_id(tx.dialect.name), {"some": given(tx, ids)})
    return _rows(NetworkRow, found.all())


@cache
def _networks_by_id(dialect: str) -> Select[Any]:
    query = NETWORK.where(among_given(dialect, _n.id, "some")).order_by(_n.id)
    return query.with_for_update(of=schema.network)


def networks_with_attention(
    tx: Tx, limit: int, farms: Iterable[FarmId] | None = None
) -> list[NetworkRow]:
    """Networks, of these farms or of all, that changed since their appliance was told; locked, so that a change that
    comes meanwhile is not taken for one that was told.
    """
    query = NETWORK.where(text("network.attention")).order_by(_n.id).limit(limit)
    if farms is not None:
        query = query.where(among(tx, _n.farm, farms))
    return _rows(NetworkRow, tx.execute(query.with_for_update(of=schema.network)).all())


def note_changed(tx: Tx, network: NetworkId) -> None:
    """What its appliance is told is not what it was."""
    tx.execute(update(schema.network).where(_n.id == network).values(attention=True))


def note_zone(tx: Tx, zone: ZoneId) -> None:
    """What the appliances of a zone are told is not what it was."""
    ready = (_n.zone == zone, _n.state == NetworkState.READY)
    changed = update(schema.network).where(*ready)
    tx.execute(changed.values(attention=True, generation=_n.generation + 1))


def clear_attention(tx: Tx, ids: Sequence[NetworkId]) -> None:
    """Their appliances have been told."""
    tx.execute(update(schema.network).where(among(tx, _n.id, ids)).values(attention=False))


def addresses(tx: Tx, of: Sequence[NetworkId]) -> list[AddressRow]:
    """The public addresses of these networks, in order."""
    address, ranges = schema.address.c, schema.public_range.c
    query = (
        select(
            address.network,
            address.address,
            address.source_nat,
            ranges.cidr,
            ranges.gateway,
            ranges.vlan,
        )
        .join(schema.public_range, ranges.id == address.range)
        .where(among(tx, address.network, of), address.account.is_not(None))
        .order_by(address.number)
    )
    return _rows(AddressRow, tx.execute(query).all())


def rules(tx: Tx, of: Sequence[NetworkId]) -> list[RuleRow]:
    """The rules of these networks and the world, oldest first."""
    rule, address, nic = schema.rule.c, schema.address.c, schema.nic.c
    query = (
        select(
            rule.network,
            rule.kind,
            rule.direction,
            rule.protocol,
            rule.cidr,
            rule.first_port,
            rule.last_port,
            rule.to_port,
            address.address,
            nic.address,
        )
        .select_from(
            schema.rule.outerjoin(schema.address, address.id == rule.address).outerjoin(
                schema.nic, nic.id == rule.nic
            )
        )
        .where(among(tx, rule.network, of), rule.source.is_(None))
        .order_by(rule.id)
    )
    return _rows(RuleRow, tx.execute(query).all())


def linked(tx: Tx, of: Sequence[NetworkId]) -> list[LinkedRow]:
    """The rules between these networks and others, from them and to them, oldest first."""
    rule, here, near = schema.rule.c, schema.network.alias(), schema.network.alias()
    comes, goes = here.c.id == rule.source, here.c.id == rule.network
    other = case((comes, rule.network), else_=rule.source)
    query = (
        select(
            here.c.id,
            near.c.cidr,
            near.c.number,
            schema.vlan.c.tag,
            rule.cidr,
            case((comes, near.c.cidr), else_=here.c.cidr),
            rule.protocol,
            rule.first_port,
            rule.last_port,
            case((comes, here.c.cidr), else_=near.c.cidr),
            case((comes, here.c.ipv6_cidr), else_=near.c.ipv6_cidr),
            case((comes, near.c.ipv6_cidr), else_=here.c.ipv6_cidr),
            near.c.ipv6_cidr,
        )
        .select_from(schema.rule)
        .join(here, or_(comes, goes))
        .join(near, near.c.id == other)
        .join(schema.vlan, schema.vlan.c.network == here.c.farm)
        .where(rule.source.is_not(None), among(tx, here.c.id, of))
        .order_by(rule.id)
    )
    return _rows(LinkedRow, tx.execute(query).all())


def nics(tx: Tx, of: Sequence[NetworkId]) -> list[LeaseRow]:
    """Every NIC on these networks whose machine is not on its way out; those that are leaving themselves among them."""
    nic, machine, boot = schema.nic.c, schema.machine.c, schema.machine_boot.c
    query = (
        select(
            nic.id,
            nic.network,
            nic.mac,
            nic.address,
            machine.name,
            type_coerce(boot.seed, Text),
            nic.is_default,
            nic.leaving,
            _n.ipv6_cidr,
        )
        .join(schema.machine, machine.id == nic.machine)
        .join(schema.machine_boot, boot.machine == nic.machine)
        .join(schema.network, _n.id == nic.network)
        .where(among(tx, nic.network, of), machine.wish.in_(("running", "stopped")))
        .order_by(nic.id)
    )
    return _rows(LeaseRow, tx.execute(query).all())


def nic_ids(tx: Tx, network: NetworkId) -> list[NicId]:
    """All NICs on a network, also those of machines on their way out: its routers may know of each."""
    nic = schema.nic.c
    return list(tx.scalars(select(nic.id).where(nic.network == network).order_by(nic.id)))


def left_by_appliances(tx: Tx, hosts: Iterable[HostId]) -> list[HostId]:
    """Those of these hosts from which an appliance is taken back."""
    found: set[HostId] = set()
    for host, state in _PLACES:
        found |= set(
            tx.scalars(select(host).where(state == ApplianceState.LEAVING, among(tx, host, hosts)))
        )
    return sorted(found)


def leaving_appliances(tx: Tx, host: HostId, generation: int) -> list[NetworkId]:
    """Appliances that were taken back from a host, if the manifest of that generation, which it holds, says so.

    Other changes may be on their way to it meanwhile; a tombstone is forgotten once the host has told that it has it.
    """
    item, where = schema.manifest_item.c, schema.host.c
    holds = select(where.id).where(where.id == host, where.acked_generation <= generation)
    untold = (
        select(item.id)
        .where(
            item.host == host,
            item.kind == ItemKind.APPLIANCE,
            item.id == _n.id,
            item.generation > generation,
        )
        .exists()
    )
    found: set[NetworkId] = set()
    for place, state in _PLACES:
        found |= set(
            tx.scalars(
                select(_n.id).where(place.in_(holds), state == ApplianceState.LEAVING, ~untold)
            )
        )
    return sorted(found)


def appliances_by_host(tx: Tx, hosts: Sequence[HostId]) -> dict[HostId, int]:
    """How many appliances each of these hosts has."""
    found: dict[HostId, int] = {}
    for place, _state in _PLACES:
        query = select(place, func.count()).where(among(tx, place, hosts)).group_by(place)
        for host, count in tx.execute(query):
            found[host] = found.get(host, 0) + count
    return found


def set_appliance(
    tx: Tx, network: NetworkId, state: ApplianceState, host: HostId | None, told: str
) -> None:
    """How far a network's appliance is, and where. Of one on another host nothing was seen yet, and where it was, what
    it had reserved is given back.
    """
    router_memory.leave(tx, network, standby=False, unless=host)
    seen = case((_n.appliance_host == host, _n.appliance_seen), else_=0)
    tx.execute(
        update(schema.network)
        .where(_n.id == network)
        .values(
            appliance_state=state, appliance_host=host, appliance_told=told, appliance_seen=seen
        )
    )


def run_as(tx: Tx, network: NetworkId, runtime: RouterRuntime) -> None:
    """What its appliance is from now on, wherever it is."""
    tx.execute(update(schema.network).where(_n.id == network).values(appliance_runtime=runtime))


def set_standby(
    tx: Tx, network: NetworkId, state: ApplianceState, host: HostId | None, told: str
) -> None:
    """The same of the other one of its pair."""
    router_memory.leave(tx, network, standby=True, unless=host)
    tx.execute(
        update(schema.network)
        .where(_n.id == network)
        .values(standby_state=state, standby_host=host, standby_told=told, standby_seen=0)
    )


def note_standby(tx: Tx, network: NetworkId, told: str) -> None:
    """What is the matter with it; costs nothing where it is known."""
    changed = update(schema.network).where(_n.id == network, _n.standby_told != told)
    tx.execute(changed.values(standby_told=told))


def numbered(tx: Tx, row: NetworkRow, *, standby: bool = False) -> NetworkRow:
    """One of the (locked) network's pair is another one from now on, by another number."""
    number = next_number(row.appliance_number, row.standby_number)
    one, other = (row.appliance_number, number) if standby else (number, row.standby_number)
    values = {"appliance_number": one, "standby_number": other}
    tx.execute(update(schema.network).where(_n.id == row.id).values(values))
    return row._replace(appliance_number=one, standby_number=other)


def note_running(tx: Tx, networks: Sequence[NetworkId]) -> None:
    """The appliances of these (locked) networks run where they were started."""
    came = update(schema.network).where(among(tx, _n.id, networks))
    tx.execute(came.values(appliance_state=ApplianceState.RUNNING, appliance_told=""))


def note_seen(tx: Tx, rows: Sequence[NetworkRow]) -> None:
    """Of which generations (locked) networks' appliances are; costs nothing where it is known."""
    given = json_text([(row.id, row.appliance_seen, row.standby_seen) for row in rows])
    tx.execute(_note_seen[tx.dialect.name], {"given": given})


_NOTE_SEEN = """
    update network set appliance_seen = given.one, standby_seen = given.other from (
        select value ->> 0 as id, cast(value ->> 1 as bigint) as one, cast(value ->> 2 as bigint) as other
        from {given}) as given
    where network.id = given.id
      and (network.appliance_seen <> given.one or network.standby_seen <> given.other)
"""
_GIVEN = {
    "sqlite": "json_each(:given)",
    "postgresql": "jsonb_array_elements(cast(:given as jsonb))",
}
_note_seen = {name: text(_NOTE_SEEN.format(given=given)) for name, given in _GIVEN.items()}


def next_epoch(tx: Tx, network: NetworkId) -> int:
    """The (locked) network's appliance is another host's from now on, and the one before may still run."""
    changed = (
        update(schema.network)
        .where(_n.id == network)
        .values(appliance_epoch=_n.appliance_epoch + 1)
        .returning(_n.appliance_epoch)
    )
    return int(tx.execute(changed).scalar_one())


def stranded(tx: Tx, hosts: Iterable[HostId], limit: int) -> list[NetworkRow]:
    """Networks whose appliances are on these hosts, locked; those that are busy are left for the next time."""
    hosts = list(hosts)
    query = NETWORK.where(
        or_(among(tx, _n.appliance_host, hosts), among(tx, _n.standby_host, hosts)),
        _n.appliance_state != ApplianceState.ABSENT,
    )
    locked = query.order_by(_n.id).limit(limit).with_for_update(of=schema.network, skip_locked=True)
    return _rows(NetworkRow, tx.execute(locked).all())


def note_told(tx: Tx, networks: Sequence[NetworkId], told: str) -> None:
    """What is the matter with these networks' appliances; costs nothing where it is known."""
    news = (among(tx, _n.id, networks), _n.appliance_told != told)
    tx.execute(update(schema.network).where(*news).values(appliance_told=told))


def note_failed(tx: Tx, network: NetworkId, told: Mapping[HostId, str]) -> None:
    """Which hosts could not start a network's appliance, and why; empty: all of them count again."""
    tx.execute(update(schema.network).where(_n.id == network).values(appliance_failed=dict(told)))


def operations_on(tx: Tx, networks: Sequence[NetworkId]) -> list[OperationId]:
    """Operations that wait for something to be in effect on these networks, and for nothing else.

    One between two networks is left out while the router of either has not said that it knows.
    """
    operation = schema.operation.c
    runs = operation.state == "running"
    of_one = select(operation.id).where(among(tx, operation.target, networks), runs)
    late = exists(
        select(_n.id).where(_n.id.in_((operation.target, operation.also)), _is_late())
    ).correlate(schema.operation)
    of_two = select(operation.id).where(
        or_(among(tx, operation.target, networks), among(tx, operation.also, networks)),
        text("state = 'running' and also <> ''"),
        ~late,
    )
    return [*tx.scalars(of_one.where(operation.also == "")), *tx.scalars(of_two)]


def _is_late() -> ColumnElement[bool]:
    """Whether a router of the network that is there, or one of two, is not known to be as it should be."""
    runs = _n.standby_state == ApplianceState.RUNNING
    behind = or_(
        text("network.attention"),
        _n.appliance_seen < _n.generation,
        and_(runs, _n.standby_seen < _n.generation),
    )
    return and_(_n.appliance_state.in_(PRESENT), behind)


def wait_also(tx: Tx, operation: OperationId, network: NetworkId) -> None:
    """It is done when that network's router knows, too."""
    row = schema.operation
    tx.execute(update(row).where(row.c.id == operation).values(also=network))


def leaving_networks(tx: Tx, limit: int) -> list[NetworkRow]:
    """Deleted networks of which nothing is left on any host (rule 3)."""
    return _rows(NetworkRow, tx.execute(_leaving(), {"limit": limit}).all())


@cache
def _leaving() -> Select[Any]:
    presence = schema.network_presence.c
    return (
        NETWORK.where(
            _n.state == NetworkState.LEAVING,
            _n.appliance_state == ApplianceState.ABSENT,
            _n.standby_host.is_(None),
            ~exists(select(presence.host).where(presence.network == _n.id)),
            ~vlans.still_told(_n.id),
        )
        .order_by(_n.id)
        .limit(bindparam("limit"))
    )


def remove_network(tx: Tx, row: NetworkRow, at: datetime) -> None:
    """The network's row goes and its VLAN may be taken by another."""
    usage_records.network_gone(tx, row.id, at)
    vlan = schema.vlan
    tx.execute(update(vlan).where(vlan.c.network == row.id).values(network=None, leaving=False))
    tx.execute(schema.rule.delete().where(schema.rule.c.network == row.id))
    balancers.remove_of_network(tx, row.id)
    vpns.remove_of_network(tx, row.id)
    addresses_.let_go(tx, [row.id])
    tx.execute(schema.network.delete().where(_n.id == row.id))


def _rows(kind: type[R], rows: Sequence[Any]) -> list[R]:
    made: Any = kind
    return [made._make(row) for row in rows]
