"""How VPNs, their peers, and what was seen of them are kept. Private keys are here sealed, or not at all."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import delete, select, text

from arable.domain.access import Scope
from arable.domain.errors import NotFound, Stale
from arable.domain.ids import (
    AccountId,
    AddressId,
    HostId,
    NetworkId,
    VpnId,
    VpnPeerId,
)
from arable.domain.network import ApplianceState
from arable.domain.vpn import FarName, Vpn, VpnKind, VpnOpening, VpnPeer, VpnPeerSeen, VpnSeen
from arable.store import schema as t
from arable.store.columns import micros, moment
from arable.store.database import Tx
from arable.store.many import among
from arable.store.rows import insert_rows, json_text, put_rows, raw, save_rows, stamp
from arable.store.scope import visible

_CHANGING = (
    *("name", "public_key", "sealed", "next_key", "next_sealed", "keys", "openings", "generation"),
)
_FIXED = ("id", "account", "network", "address", "kind", "port", "cidr", "created_at")
_SELECT = raw(t.vpn, (*_FIXED, *_CHANGING))
_PEER = (
    *(
        "id",
        "vpn",
        "account",
        "name",
        "public_key",
        "next_key",
        "sealed",
        "endpoint",
        "cidrs",
        "names",
    ),
    "created_at",
)
_SELECT_PEER = raw(t.vpn_peer, _PEER)
_v, _p, _s = t.vpn.c, t.vpn_peer.c, t.vpn_seen.c
_openings = msgspec.json.Decoder(tuple[VpnOpening, ...]).decode
_far = msgspec.json.Decoder(tuple[FarName, ...]).decode
_cidrs = msgspec.json.Decoder(tuple[str, ...]).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class VpnFilter:
    """Which VPNs of a list."""

    kind: VpnKind
    account: AccountId | None = None
    network: NetworkId | None = None
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientFilter:
    """Which clients of a list."""

    account: AccountId | None = None
    access: VpnId | None = None
    name: str = ""


class Seen(NamedTuple):
    """What was seen of a peer last, when, and since when it has been there, or has not."""

    at: datetime
    since: datetime
    peer: VpnPeerSeen


class Turn(NamedTuple):
    """A site that came up, or went."""

    account: AccountId
    vpn: VpnId
    name: str
    up: bool


def get(tx: Tx, scope: Scope, kind: VpnKind, id_: VpnId) -> Vpn:
    """The VPN, if it is there and in sight."""
    mine = (_v.id == id_, _v.kind == kind.value, *visible(_v.account, scope))
    row = tx.execute(_SELECT.where(*mine)).first()
    if row is None:
        raise NotFound(_ABSENT[kind])
    return _vpn(row)


_ABSENT = {VpnKind.SITE: "there is no such VPN", VpnKind.ACCESS: "there is no such remote access"}


def by_ids(tx: Tx, ids: Iterable[VpnId]) -> list[Vpn]:
    """These, by age. No scope narrows it: whoever calls has found what is theirs."""
    return [_vpn(row) for row in tx.execute(_SELECT.where(among(tx, _v.id, ids)).order_by(_v.id))]


def page(
    tx: Tx, scope: Scope, where: VpnFilter, *, after: str | None = None, limit: int = 100
) -> list[Vpn]:
    """By key."""
    conditions = [*visible(_v.account, scope), _v.kind == where.kind.value]
    for column, value in (
        (_v.account, where.account),
        (_v.network, where.network),
        (_v.name, where.name),
    ):
        if value:
            conditions.append(column == value)
    if after:
        conditions.append(_v.id > after)
    query = _SELECT.where(*conditions).order_by(_v.id).limit(limit)
    return [_vpn(row) for row in tx.execute(query)]


def of_networks(tx: Tx, networks: Iterable[NetworkId]) -> list[tuple[Vpn, str]]:
    """The VPNs of these networks by age, each with its public address."""
    query = (
        _SELECT.add_columns(t.address.c.address)
        .join(t.address, t.address.c.id == _v.address)
        .where(among(tx, _v.network, networks))
        .order_by(_v.id)
    )
    return [(_vpn(row[:-1]), row[-1]) for row in tx.execute(query)]


def on_port(tx: Tx, address: AddressId, first: int, last: int) -> Vpn | None:
    """A VPN on one of these ports of a public address."""
    query = _SELECT.where(_v.address == address, _v.port.between(first, last)).limit(1)
    row = tx.execute(query).first()
    return None if row is None else _vpn(row)


def peers(tx: Tx, vpns: Iterable[VpnId]) -> dict[VpnId, list[VpnPeer]]:
    """Each VPN's peers, by age."""
    found: dict[VpnId, list[VpnPeer]] = {}
    for row in tx.execute(_SELECT_PEER.where(among(tx, _p.vpn, vpns)).order_by(_p.id)):
        peer = _peer(row)
        found.setdefault(peer.vpn, []).append(peer)
    return found


_CLIENTS = _SELECT_PEER.join(t.vpn, _v.id == _p.vpn).where(_v.kind == VpnKind.ACCESS.value)


def get_client(tx: Tx, scope: Scope, id_: VpnPeerId) -> VpnPeer:
    """A client of remote access, if it is there and in sight."""
    row = tx.execute(_CLIENTS.where(_p.id == id_, *visible(_p.account, scope))).first()
    if row is None:
        raise NotFound("there is no such client of remote access")
    return _peer(row)


def clients(
    tx: Tx, scope: Scope, where: ClientFilter, *, after: str | None = None, limit: int = 100
) -> list[VpnPeer]:
    """Clients of remote access by key."""
    conditions = visible(_p.account, scope)
    for column, value in (
        (_p.account, where.account),
        (_p.vpn, where.access),
        (_p.name, where.name),
    ):
        if value:
            conditions.append(column == value)
    if after:
        conditions.append(_p.id > after)
    query = _CLIENTS.where(*conditions).order_by(_p.id).limit(limit)
    return [_peer(row) for row in tx.execute(query)]


def waiting(tx: Tx, networks: Iterable[NetworkId]) -> set[NetworkId]:
    """Those of these networks where a change is not yet in effect: their routers have not all said that they know."""
    operation = t.operation.c
    query = select(operation.target).where(
        among(tx, operation.target, networks), operation.state == "running"
    )
    return {NetworkId(target) for target in tx.scalars(query)}


def far_names(
    tx: Tx, networks: Iterable[NetworkId], *, joined: bool = False
) -> list[tuple[NetworkId, str, FarName]]:
    """The tiers that are called behind these networks' tunnels: the network, its farm's name, and the tier; by age.

    `joined`: only where the other end is known, so that something leads there.
    """
    conditions = (_p.public_key != "",) if joined else ()
    query = (
        raw(t.vpn_peer, ("names",))
        .add_columns(_v.network, t.farm.c.name.label("farm_name"))
        .join(t.vpn, _v.id == _p.vpn)
        .join(t.network, t.network.c.id == _v.network)
        .join(t.farm, t.farm.c.id == t.network.c.farm)
        .where(among(tx, _v.network, networks), _v.kind == VpnKind.SITE.value, *conditions)
        .order_by(_p.id)
    )
    return [
        (NetworkId(network), farm, name)
        for told, network, farm in tx.execute(query)
        for name in _far(told)
    ]


def names(tx: Tx, vpns: Iterable[VpnId]) -> dict[VpnId, str]:
    """What these are called."""
    query = select(_v.id, _v.name).where(among(tx, _v.id, vpns))
    return {VpnId(id_): name for id_, name in tx.execute(query)}


def add(tx: Tx, vpn: Vpn) -> None:
    """Keep a new VPN."""
    row = (
        *(vpn.id, vpn.account, vpn.network, vpn.address, vpn.kind.value, vpn.port, vpn.cidr),
        *(stamp(vpn.created_at), *_changing(vpn)),
    )
    insert_rows(tx, t.vpn, (*_FIXED, *_CHANGING), [row])


def save(tx: Tx, vpn: Vpn) -> None:
    """Keep the next generation of it, unless somebody got there first."""
    row = (*_changing(vpn), vpn.id, vpn.generation - 1)
    if save_rows(tx, t.vpn, _CHANGING, [row]) != 1:
        raise Stale("the VPN changed meanwhile; read it again and decide anew")


def put_peer(tx: Tx, peer: VpnPeer) -> None:
    """Keep a peer as it is now. What was seen of one with another key is forgotten."""
    hold_peers(tx, [peer.id])
    was = tx.execute(select(_p.public_key, _p.next_key).where(_p.id == peer.id)).first()
    if was is None or peer.public_key not in was:
        tx.execute(delete(t.vpn_seen).where(_s.peer == peer.id))
    row = (
        *(peer.id, peer.vpn, peer.account, peer.name, peer.public_key, peer.next_key, peer.sealed),
        *(peer.endpoint, json_text(peer.cidrs), json_text(peer.names), stamp(peer.created_at)),
    )
    same = ", ".join(f"{name} = excluded.{name}" for name in _PEER[3:])
    put_rows(tx, t.vpn_peer, _PEER, [row], f"(id) do update set {same}")


def hold_peers(tx: Tx, ids: Iterable[VpnPeerId]) -> None:
    """Nobody keeps what is seen of them meanwhile (`keep_seen`, which takes them first, too)."""
    tx.execute(select(_p.id).where(among(tx, _p.id, ids)).order_by(_p.id).with_for_update()).all()


def drop_peers(tx: Tx, ids: Iterable[VpnPeerId]) -> None:
    """They are none any more."""
    ids = list(ids)
    hold_peers(tx, ids)
    tx.execute(delete(t.vpn_seen).where(among(tx, _s.peer, ids)))
    tx.execute(delete(t.vpn_peer).where(among(tx, _p.id, ids)))


def remove(tx: Tx, ids: Sequence[VpnId]) -> None:
    """Forget VPNs with all that hangs on them."""
    drop_peers(tx, tx.scalars(select(_p.id).where(among(tx, _p.vpn, ids))))
    tx.execute(delete(t.vpn).where(among(tx, _v.id, ids)))


def remove_of_network(tx: Tx, network: NetworkId) -> None:
    """Forget all of a network's VPNs."""
    remove(tx, list(tx.scalars(select(_v.id).where(_v.network == network))))


_KEEP = text(
    """
    insert into vpn_seen (peer, at, up, since, seen) values (:peer, :at, :up, :at, :seen)
    on conflict (peer) do update set at = excluded.at, seen = excluded.seen, up = excluded.up,
        since = case when vpn_seen.up = excluded.up then vpn_seen.since else excluded.at end
    """
)


def keep_seen(tx: Tx, told: Iterable[tuple[HostId, VpnSeen]], at: datetime) -> list[Turn]:
    """What hosts said of VPNs, each the latest last; the sites that came up by that, or went.

    Only what the host says counts that has the network's appliance now.
    """
    said = {peer.id: (host, peer) for host, vpn in told for peer in vpn.peers}
    if not said:
        return []
    query = (
        select(_p.id, _p.account, _v.id, _v.name, _v.kind, t.network.c.appliance_host, _s.up)
        .join(t.vpn, _v.id == _p.vpn)
        .join(t.network, t.network.c.id == _v.network)
        .outerjoin(t.vpn_seen, _s.peer == _p.id)
        .where(among(tx, _p.id, said))
        .order_by(_p.id)
        .with_for_update(read=True, key_share=True, of=t.vpn_peer)  # nobody removes one meanwhile
    )
    turns: list[Turn] = []
    news: list[dict[str, Any]] = []
    for id_, account, vpn, name, kind, where, was_up in tx.execute(query).all():
        host, peer = said[id_]
        if host != where:
            continue
        news.append({"peer": id_, "at": micros(at), "up": peer.up, "seen": json_text(peer)})
        if kind == VpnKind.SITE and bool(was_up) != peer.up:
            turns.append(Turn(AccountId(account), VpnId(vpn), name, peer.up))
    if news:
        tx.execute(_KEEP, news)
    return turns


def seen(tx: Tx, peers_: Iterable[VpnPeerId]) -> dict[VpnPeerId, Seen]:
    """What was seen last of each. While the network's router does not run, nobody is there."""
    query = (
        raw(t.vpn_seen, ("peer", "at", "since", "seen"))
        .add_columns(t.network.c.appliance_state)
        .join(t.vpn_peer, _p.id == _s.peer)
        .join(t.vpn, _v.id == _p.vpn)
        .join(t.network, t.network.c.id == _v.network)
        .where(among(tx, _s.peer, peers_))
    )
    return {
        VpnPeerId(id_): Seen(moment(at), moment(since), _there(told, state))
        for id_, at, since, told, state in tx.execute(query)
    }


def _there(told: str, state: str) -> VpnPeerSeen:
    peer = msgspec.json.decode(told, type=VpnPeerSeen)
    return peer if state == ApplianceState.RUNNING else replace(peer, up=False)


def _changing(vpn: Vpn) -> tuple[Any, ...]:
    return (
        *(vpn.name, vpn.public_key, vpn.sealed, vpn.next_key, vpn.next_sealed, vpn.keys),
        *(json_text(vpn.openings), vpn.generation),
    )


def _vpn(row: Any) -> Vpn:
    (id_, account, network, address, kind, port, cidr, created_at) = row[:8]
    (name, public_key, sealed, next_key, next_sealed, keys, openings, generation) = row[8:]
    return Vpn(
        id=id_,
        account=account,
        network=network,
        address=address,
        kind=VpnKind(kind),
        port=port,
        cidr=cidr,
        name=name,
        public_key=public_key,
        sealed=sealed,
        next_key=next_key,
        next_sealed=next_sealed,
        keys=keys,
        openings=_openings(openings),
        generation=generation,
        created_at=moment(created_at),
    )


def _peer(row: Any) -> VpnPeer:
    (id_, vpn, account, name, public_key, next_key, sealed, endpoint, cidrs, names, created_at) = (
        row
    )
    return VpnPeer(
        id=id_,
        vpn=vpn,
        account=account,
        name=name,
        public_key=public_key,
        next_key=next_key,
        sealed=sealed,
        endpoint=endpoint,
        cidrs=_cidrs(cidrs),
        names=_far(names),
        created_at=moment(created_at),
    )
