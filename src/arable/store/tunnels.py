"""Networks with VNIs, which hosts may have ports of them, and what these were told (`controllers/tunnels.py`).

Whoever changes which hosts may have a network notes it here in the same transaction: a row of `tunnel_work`.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import delete, select

from arable.domain.ids import FarmId, HostId, NetworkId, ZoneId
from arable.domain.layer2 import FIRST_VNI
from arable.domain.manifest import ItemKind
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.lookup import Lookup
from arable.store.many import among
from arable.store.nudges import nudge
from arable.store.rows import insert_rows

TOPIC = "tunnels"

_v, _z, _p, _h = t.vlan.c, t.zone.c, t.network_presence.c, t.host.c
_w = t.tunnel_work.c


class Present(NamedTuple):
    """A host that may have ports of a network with a VNI."""

    network: NetworkId | FarmId
    vni: int
    underlay_mtu: int
    host: HostId
    address: str  # where its tunnels end; empty: nowhere


def note_present(tx: Tx, pairs: Collection[tuple[NetworkId | FarmId, HostId]]) -> None:
    """These hosts may have something of these networks from now on; said before that is kept, with the hosts held."""
    with_vni = set(_with_vni(tx, {network for network, _ in pairs}))
    if not with_vni:
        return
    known = select(_p.network, _p.host).where(
        among(tx, _p.network, with_vni), among(tx, _p.host, {host for _, host in pairs})
    )
    there = {(network, host) for network, host in tx.execute(known)}
    _note(tx, {pair[0] for pair in pairs if pair[0] in with_vni and pair not in there})


def note_networks(tx: Tx, networks: Collection[str]) -> None:
    """Other hosts than before may have something of these."""
    _note(tx, _with_vni(tx, networks))


def note_hosts(tx: Tx, hosts: Collection[HostId]) -> None:
    """Tunnels to these hosts end elsewhere, or nowhere."""
    if hosts:
        note_networks(tx, set(tx.scalars(select(_p.network).where(among(tx, _p.host, hosts)))))


def note_zone(tx: Tx, zone: ZoneId) -> None:
    """What goes between its hosts has changed."""
    of_zone = select(_v.network).where(_v.zone == zone, _v.network.is_not(None))
    note_networks(tx, set(tx.scalars(of_zone)))


def _with_vni(tx: Tx, networks: Collection[str]) -> Sequence[str]:
    return [network for (network,) in _tunnelled.rows(tx, networks)] if networks else ()


_tunnelled = Lookup(lambda among: select(_v.network).where(among(_v.network), _v.tag >= FIRST_VNI))


def _note(tx: Tx, networks: Collection[str]) -> None:
    if networks:
        rows = [(network,) for network in sorted(networks)]
        insert_rows(tx, t.tunnel_work, ("network",), rows)
        nudge(tx, TOPIC)


def wanting(tx: Tx, limit: int) -> tuple[set[str], int]:
    """Networks of which other hosts are to be told, and by how many notes, which are the caller's from now on."""
    query = select(_w.number, _w.network).order_by(_w.number).limit(limit)
    found = tx.execute(query.with_for_update(skip_locked=True)).all()
    if found:
        tx.execute(delete(t.tunnel_work).where(_w.number.in_([row.number for row in found])))
    return {row.network for row in found}, len(found)


def present(tx: Tx, networks: Iterable[str]) -> list[Present]:
    """Where these networks may be, those that have a VNI."""
    query = (
        select(_p.network, _v.tag, _z.underlay_mtu, _p.host, _h.tunnel_address)
        .join(t.vlan, _v.network == _p.network)
        .join(t.zone, _z.id == _v.zone)
        .join(t.host, _h.id == _p.host)
        .where(among(tx, _p.network, networks), _v.tag >= FIRST_VNI)
        .order_by(_p.network, _p.host)
    )
    return [Present(*row) for row in tx.execute(query)]


def told(tx: Tx, networks: Iterable[str]) -> dict[tuple[HostId, str], str]:
    """What hosts are told of these networks' tunnels."""
    item = t.manifest_item.c
    query = select(item.host, item.id, item.body).where(
        item.kind == ItemKind.TUNNEL, among(tx, item.id, networks), item.body.is_not(None)
    )
    return {(host, id_): body for host, id_, body in tx.execute(query)}
