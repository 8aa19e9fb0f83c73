"""What routers that are virtual machines take of their hosts' memory: reserved there as machines' is (rule 2).

A network's row keeps what each of its routers has reserved, so that as much is given back, whatever the host says by then.
Namespaces take a few megabytes, which nobody counts.
"""

from collections.abc import Iterable, Mapping

import msgspec
from sqlalchemy import func, select, text, update

from arable.domain.ids import HostId, NetworkId, ZoneId
from arable.domain.router_runtime import MEMORY_MIB, RouterRuntime
from arable.domain.units import Size
from arable.store import reservations, schema
from arable.store.database import Tx
from arable.store.many import among

_n = schema.network.c
_PLACES = (
    (_n.appliance_host, _n.appliance_mib),
    (_n.standby_host, _n.standby_mib),
)
_able = text("select id, facts from host where zone = :zone and facts like '%\"vm_routers\"%'")


class _Facts(msgspec.Struct):
    vm_router_mib: int = MEMORY_MIB


def of_hosts(tx: Tx, zone: ZoneId) -> dict[HostId, int]:
    """Hosts of the zone whose routers may be virtual machines, with the MiB that one takes there."""
    found = {}
    for host, facts in tx.execute(_able, {"zone": zone}):
        told = (
            msgspec.json.decode(facts, type=_Facts)
            if isinstance(facts, str)
            else msgspec.convert(facts, _Facts)
        )
        found[HostId(host)] = told.vm_router_mib
    return found


def take(tx: Tx, wanted: Mapping[HostId, int]) -> frozenset[HostId]:
    """Reserve so many MiB on each of these hosts; those that have no room, where nothing was taken."""
    return reservations.take(tx, {host: (Size(memory_mib=mib), 0) for host, mib in wanted.items()})


def give(tx: Tx, back: Iterable[tuple[HostId, int]]) -> None:
    """Give back what was taken."""
    reservations.give(tx, [(host, Size(memory_mib=mib), 0) for host, mib in back if mib])


def leave(tx: Tx, network: NetworkId, *, standby: bool, unless: HostId | None) -> None:
    """What the network's router, or the other one of its pair, has reserved where it is, is given back, unless it is
    there.
    """
    host, mib = _PLACES[standby]
    row = tx.execute(select(host, mib).where(_n.id == network, mib > 0)).first()
    if row is not None and row[0] != unless:
        give(tx, [(row[0], row[1])])
        tx.execute(update(schema.network).where(_n.id == network).values({mib: 0}))


def note(tx: Tx, network: NetworkId, mib: int, *, standby: bool = False) -> None:
    """It has taken so much where it is now."""
    if mib:
        tx.execute(
            update(schema.network).where(_n.id == network).values({_PLACES[standby][1]: mib})
        )


def found(
    tx: Tx,
    network: NetworkId,
    zone: ZoneId,
    runtime: RouterRuntime,
    host: HostId,
    *,
    standby: bool = False,
) -> None:
    """It runs there though nobody knew, so it is counted if there is room: what is there is not ended for want of it."""
    mib = of_hosts(tx, zone).get(host, 0) if runtime is RouterRuntime.VM else 0
    if mib and not take(tx, {host: mib}):
        note(tx, network, mib, standby=standby)


def become(tx: Tx, network: NetworkId, mib: Mapping[HostId, int]) -> bool:
    """Its routers, where they are, take as much from now on; of hosts that are not named nothing. False: there is no
    room on one of them, and all is as it was.
    """
    query = select(*(column for place in _PLACES for column in place)).where(_n.id == network)
    one, had, other, other_had = tx.execute(query).one()
    held = [(host, before) for host, before in ((one, had), (other, other_had)) if host]
    reservations.hold(tx, [host for host, _ in held])
    more = {host: mib.get(host, 0) - before for host, before in held}
    taken = {host: much for host, much in more.items() if much > 0}
    refused = take(tx, taken)
    if refused:
        give(tx, [(host, much) for host, much in taken.items() if host not in refused])
        return False
    give(tx, [(host, -much) for host, much in more.items() if much < 0])
    values = {"appliance_mib": mib.get(one, 0), "standby_mib": mib.get(other, 0)}
    tx.execute(update(schema.network).where(_n.id == network).values(values))
    return True


def of_zone(tx: Tx, zone: ZoneId) -> int:
    """The MiB that routers have reserved on all hosts of the zone."""
    both = func.sum(_n.appliance_mib + _n.standby_mib)
    return int(tx.execute(select(both).where(_n.zone == zone)).scalar() or 0)


def by_host(tx: Tx, hosts: Iterable[HostId]) -> dict[HostId, int]:
    """The MiB that routers have reserved on each of these hosts; those without any are left out."""
    found: dict[HostId, int] = {}
    wanted = list(hosts)
    for host, mib in _PLACES:
        query = select(host, func.sum(mib)).where(among(tx, host, wanted), mib > 0).group_by(host)
        for id_, much in tx.execute(query):
            found[id_] = found.get(id_, 0) + int(much)
    return found
