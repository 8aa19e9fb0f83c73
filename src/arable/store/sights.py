"""What hosts' reports change besides machines: what is present where, pools' use, erased volumes."""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import text, update

from arable.domain.host_health import Verdict
from arable.domain.ids import HostId, VolumeId
from arable.domain.manifest import PoolSeen
from arable.domain.units import MIB
from arable.store import reservations, schema, tunnels
from arable.store.attention import VolumeRow, select_volumes
from arable.store.database import Tx
from arable.store.many import among
from arable.store.nudges import nudge
from arable.store.rows import json_text
from arable.store.sightings import HostRow

_GONE = """
    select p.network, p.host
    from (select value ->> 0 as host, cast(value ->> 1 as bigint) as generation, value -> 2 as vlans from {told}) as t
    join host h on h.id = t.host and h.manifest_generation <= t.generation
    join network_presence p on p.host = t.host
    join network n on n.id = p.network
    where not {has} and (n.appliance_host is null or n.appliance_host <> t.host)
    and (n.standby_host is null or n.standby_host <> t.host)
    and not exists (
        select 1 from nic join machine m on m.id = nic.machine where nic.network = n.id and m.host = t.host
    )
    and not exists (
        select 1 from nic join move v on v.id = nic.machine
        where nic.network = n.id and v.target = t.host and v.stage <> 'over'
    )
"""
# Where a farm's routers meet: wanted on the hosts of those that have something to do there.
_GONE_LINKS = """
    select p.network, p.host
    from (select value ->> 0 as host, cast(value ->> 1 as bigint) as generation, value -> 2 as vlans from {told}) as t
    join host h on h.id = t.host and h.manifest_generation <= t.generation
    join network_presence p on p.host = t.host
    join farm on farm.id = p.network
    join vlan n on n.network = farm.id
    where not {has} and not exists (
        select 1 from network w join rule r on w.id = r.network or w.id = r.source
        where w.farm = farm.id and r.source is not null
        and (w.appliance_host = t.host or w.standby_host = t.host)
    )
"""
_HAS = {
    "sqlite": {
        "told": "json_each(:told)",
        "has": "exists (select 1 from json_each(t.vlans) as v where v.value = n.{vlan})",
    },
    "postgresql": {
        "told": "jsonb_array_elements(cast(:told as jsonb))",
        "has": "t.vlans @> to_jsonb(n.{vlan})",
    },
}


def _gone(statement: str, vlan: str) -> dict[str, str]:
    return {
        dialect: statement.format(**{name: part.format(vlan=vlan) for name, part in parts.items()})
        for dialect, parts in _HAS.items()
    }


_finds = (_gone(_GONE, "vlan"), _gone(_GONE_LINKS, "tag"))
_looks = [{dialect: text(words) for dialect, words in find.items()} for find in _finds]
_FORGET = "delete from network_presence where (network, host) in ({}) returning network"
_forgets = [
    {dialect: text(_FORGET.format(words)) for dialect, words in find.items()} for find in _finds
]
# What is as it was is not written: a row that changes nothing would be a new one all the same.
_FILL = """
    update pool set total_mib = t.total, used_mib = t.used, images = t.images, image_mib = t.image_mib
    from (
        select value ->> 0 as id, value ->> 1 as host, cast(value ->> 2 as bigint) as total,
            cast(value ->> 3 as bigint) as used, cast(value ->> 4 as bigint) as images,
            cast(value ->> 5 as bigint) as image_mib
        from {told}
    ) as t
    where pool.id = t.id and pool.host = t.host and (
        pool.total_mib <> t.total or pool.used_mib <> t.used
        or pool.images <> t.images or pool.image_mib <> t.image_mib
    )
"""
_fill = {
    "sqlite": text(_FILL.format(told="json_each(:told)")),
    "postgresql": text(_FILL.format(told="jsonb_array_elements(cast(:told as jsonb))")),
}


# A pool is full from so many percent on, and no more once it is a little below that: it does not flap.
_FULL = """
    update host set disk_full = (t.used * 100 >= t.total * :percent)
    from (
        select value ->> 0 as id, value ->> 1 as host, cast(value ->> 2 as bigint) as total,
            cast(value ->> 3 as bigint) as used
        from {told}
    ) as t
    where host.id = t.host and host.pool = t.id and t.total > 0 and (
        (not host.disk_full and t.used * 100 >= t.total * :percent)
        or (host.disk_full and t.used * 100 < t.total * (:percent - 2))
    )
"""
_full = {
    "sqlite": text(_FULL.format(told="json_each(:told)")),
    "postgresql": text(_FULL.format(told="jsonb_array_elements(cast(:told as jsonb))")),
}


def forget_presence(tx: Tx, reported: Mapping[HostId, tuple[int, Sequence[int]]]) -> None:
    """Networks that these hosts (by the generation that each holds, and the VLANs it has) have nothing of any more.

    Only of hosts that hold their newest manifest, and never a network for which there is a wish on them (rule 3). All
    at once: ten thousand hosts say this every few seconds, and mostly nothing has changed.
    """
    if not reported:
        return
    dialect = tx.dialect.name
    told = {"told": json_text([(host, *said) for host, said in reported.items()])}
    hosts = {HostId(row.host) for look in _looks for row in tx.execute(look[dialect], told)}
    if not hosts:
        return
    # Somebody may be placing there at this moment what needs the network. Who is left out now says it again soon.
    held = reservations.hold_free(tx, hosts)
    told = {"told": json_text([(host, *reported[host]) for host in sorted(held)])}
    gone = {network for forget in _forgets for network in tx.scalars(forget[dialect], told)}
    if gone:
        tunnels.note_networks(tx, gone)
        nudge(tx, "networks")


def judged(tx: Tx, row: HostRow, verdict: Verdict) -> bool:
    """What was found out about a host; False when it was heard, or said to be down, since, and nothing is noted."""
    h = schema.host.c
    same = h.seen_at.is_(None) if row.seen_at is None else h.seen_at == row.seen_at
    changed = update(schema.host).where(h.id == row.id, h.state == row.state, same)
    done = tx.execute(
        changed.values(state=verdict.state, told=verdict.told, held_back=verdict.held)
    )
    return done.rowcount == 1


def pools(tx: Tx, seen: Iterable[tuple[HostId, PoolSeen]], full_percent: int) -> None:
    """How full hosts' own pools are, and whether they get further disks; what they say of others' is nothing."""
    rows = {
        (host, pool.pool): (
            *(pool.pool, host, pool.total_bytes // MIB, pool.used_bytes // MIB),
            *(pool.images, pool.image_bytes // MIB),
        )
        for host, pool in seen
    }
    if rows:
        told = json_text(list(rows.values()))
        tx.execute(_fill[tx.dialect.name], {"told": told})
        judged = tx.execute(_full[tx.dialect.name], {"told": told, "percent": full_percent})
        if judged.rowcount > 0:
            nudge(tx, "machines")  # some may wait for just this room


def erasing(tx: Tx, reported: Sequence[tuple[HostId, VolumeId]]) -> list[VolumeRow]:
    """The volumes among these that were to be erased, each on the host that reports it."""
    volume = schema.volume.c
    query = select_volumes().where(
        among(tx, volume.id, {id_ for _host, id_ in reported}), volume.erasing
    )
    told = set(reported)
    rows = [VolumeRow._make(row) for row in tx.execute(query).all()]
    return [row for row in rows if row.host and (row.host, row.id) in told]


def unpool(tx: Tx, volumes: Sequence[VolumeId]) -> None:
    """These volumes are on no pool any more."""
    if volumes:
        changed = update(schema.volume).where(among(tx, schema.volume.c.id, volumes))
        tx.execute(changed.values(pool=None, erasing=False, made=0))
