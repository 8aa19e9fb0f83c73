"""What must be true after every step, whatever happened, and what must be true at rest."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from functools import cache, partial
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from sqlalchemy import text

from arable.domain.ids import HostId, MachineId
from arable.domain.rates import least
from arable.domain.settings import MACHINE_KBPS
from arable.domain.units import MIB
from arable.drivers.network.protocol import PortKind
from arable.drivers.simhost import SimHost
from arable.sim import farm_invariants, pairs, routers, six, storage_invariants, usage_invariants
from arable.store import settings
from arable.store.database import Tx


def _rows(tx: Tx, query: str) -> list[Any]:
    """Numbers and words as SQLite has them. These looks come after each step of each seed, so they go the short way."""
    raw: Any = tx.connection.driver_connection
    found: list[Any] = raw.execute(query).fetchall()
    return found


class Broken(AssertionError):
    """An invariant does not hold."""


def always(tx: Tx, hosts: Mapping[HostId, SimHost]) -> None:
    """Safety: after every step."""
    broken = [
        *_runs_once(hosts),
        *(f"{host}: {mishap}" for host, sim in hosts.items() for mishap in sim.mishaps),
        *_quotas(tx),
        *_reservations(tx),
        *_pools_of_room(tx),
        *_vlans(tx, hosts),
        *_ports(hosts),
        *_addresses(tx),
        *_volumes(tx, hosts),
        *_images(hosts),
        *farm_invariants.always(partial(_rows, tx), hosts),
        *storage_invariants.always(partial(_rows, tx), hosts),
        *usage_invariants.always(partial(_rows, tx)),
        *pairs.always(partial(_rows, tx), hosts),
        *six.always(partial(_rows, tx), hosts),
        *routers.always(partial(_rows, tx), hosts),
    ]
    if broken:
        raise Broken("; ".join(broken))


def at_rest(tx: Tx, hosts: Mapping[HostId, SimHost]) -> None:
    """Liveness: after everything was healed and had its time, the world is as the rows wish, and nothing is left over."""
    broken = [
        *_settled(tx),
        *as_wished(tx, hosts),
        *_nothing_left(tx, hosts),
        *_stands_still(hosts),
        *farm_invariants.at_rest(partial(_rows, tx)),
        *pairs.at_rest(partial(_rows, tx), hosts),
        *six.at_rest(partial(_rows, tx), hosts),
        *routers.at_rest(partial(_rows, tx), hosts),
    ]
    if broken:
        raise Broken("; ".join(broken))


_NOTED = """
    select zone, cpus, cpu_mhz, memory_mib, sum(n) from (
      select zone, cpus, cpu_mhz, memory_mib, came - went as n from pool_note
      union all select zone, cpus, cpu_mhz, memory_mib, came - went from pool_hour
      union all select zone, cpus, cpu_mhz, memory_mib, -1 from machine where host is not null) as noted
    group by zone, cpus, cpu_mhz, memory_mib having sum(n) <> 0
"""


def _pools_of_room(tx: Tx) -> Iterator[str]:
    """Those that came to a zone's idle pool and did not go are those that have a host."""
    for zone, cpus, mhz, memory, more in _rows(tx, _NOTED):
        yield f"of {cpus} CPUs, {mhz} MHz, {memory} MiB {more} more have come to {zone} than have hosts"


def _stands_still(hosts: Mapping[HostId, SimHost]) -> Iterator[str]:
    """With room in all pools no guest waits for any."""
    for sim in hosts.values():
        yield from (f"{machine} stands still" for machine, g in sim.guests.items() if g.short)


def _runs_once(hosts: Mapping[HostId, SimHost]) -> Iterator[str]:
    """Rule 1."""
    running = Counter(
        machine for sim in hosts.values() for machine, guest in sim.guests.items() if guest.awake
    )
    yield from (f"{machine} runs {n} times" for machine, n in running.items() if n > 1)


def _quotas(tx: Tx) -> Iterator[str]:
    """Rule 2, for accounts: what is held is the sum over what lives."""
    for account, name, used, most, lives in _rows(tx, _QUOTAS):
        if used != lives:
            yield f"{account} has {lives} {name}, but {used} are counted"
        if 0 <= most < used:
            yield f"{account} has {used} {name} of {most}"


_HELD = (
    ("machines", "count(*)", "machine"),
    ("cpus", "sum(cpus)", "machine"),
    ("memory_mib", "sum(memory_mib)", "machine"),
    ("volumes", "count(*)", "volume"),
    ("storage_mib", "sum(mib)", "volume"),
    ("snapshots", "count(*)", "snapshot"),
    ("snapshot_mib", "sum(mib)", "snapshot"),
    ("networks", "count(*)", "network"),
    ("addresses", "count(*)", "address"),
)
_QUOTAS = " union all ".join(
    f"select account, '{name}', used_{name}, max_{name},"  # noqa: S608 - our own words
    f" coalesce((select {summed} from {table} t where t.account = quota.account), 0) from quota"
    for name, summed, table in _HELD
)


def _reservations(tx: Tx) -> Iterator[str]:
    """Rule 2, for hosts: what is reserved is the sum over what is there, and never above the limit."""
    sums = """
        with there as (
            select host, cpu_mhz, memory_mib from machine union all
            select v.target, m.cpu_mhz, m.memory_mib from move v join machine m on m.id = v.id
            where v.stage <> 'over' and v.pool is null
        )
        select h.id, h.reserved_cpu_mhz, h.reserved_memory_mib, h.machines,
            (select coalesce(sum(m.cpu_mhz), 0) from there m where m.host = h.id),
            (select coalesce(sum(m.memory_mib), 0) from there m where m.host = h.id)
            + (select coalesce(sum(n.appliance_mib), 0) from network n where n.appliance_host = h.id)
            + (select coalesce(sum(n.standby_mib), 0) from network n where n.standby_host = h.id),
            (select count(*) from there m where m.host = h.id),
            h.reserved_disk_mib,
            (select coalesce(sum(v.mib), 0) from volume v join pool p on p.id = v.pool
             where p.host = h.id)
            + (select coalesce(sum(s.mib), 0) from snapshot s join volume v on v.id = s.volume
             join pool p on p.id = v.pool where p.host = h.id)
            + (select coalesce(sum(c.mib), 0) from carry c
             join pool p on p.id = coalesce(c.left_in, c.target) where p.host = h.id)
            + (select coalesce(sum(r.mib), 0) from replica r
             join pool p on p.id = r.held_in where p.host = h.id),
            h.memory_mib * h.memory_percent / 100
        from host h
    """
    for row in _rows(tx, sums):
        host, mhz, memory, count, its_mhz, its_memory, its_count, disk, its_disk, limit = row
        if (mhz, memory, count) != (its_mhz, its_memory, its_count):
            yield f"{host} reserves {mhz} MHz {memory} MiB {count}, holds {its_mhz} {its_memory} {its_count}"
        if disk != its_disk:
            yield f"{host} reserves {disk} MiB of disk, holds {its_disk}"
        if memory > limit:
            yield f"{host} is overbooked"


def _vlans(tx: Tx, hosts: Mapping[HostId, SimHost]) -> Iterator[str]:
    """Rule 3: a VLAN that is anywhere belongs to a network, and only that network's ports are in it."""
    if not any(sim.ports for sim in hosts.values()):
        return
    owner: dict[int, str] = dict(
        _rows(tx, "select tag, network from vlan where network is not null")
    )
    network_of: dict[str, str] = dict(_rows(tx, "select id, network from nic"))
    # A router's ports are of its network, but for the one to the others of the farm.
    for id_, farm in _rows(tx, "select id, farm from network"):
        key = id_.partition("-")[2]
        network_of |= {f"gw-{key}": id_, f"lnk-{key}": farm}
    public = {tag for (tag,) in _rows(tx, "select vlan from public_range")}
    barred = {tag for (tag,) in _rows(tx, "select tag from vlan where network is null and leaving")}
    # Nobody takes a VLAN before those that a restored copy awaits have said what they use.
    awaited = {host for (host,) in _rows(tx, "select id from host where awaited")}
    for host, sim in hosts.items():
        for nic, port in sim.ports.items():
            if port.vlan in public:
                continue
            if port.vlan in barred:  # of a network that a restored copy does not know
                continue
            if port.vlan not in owner:
                if host not in awaited:
                    yield f"VLAN {port.vlan} is on {host} and nobody's"
            elif nic in network_of and network_of[nic] != owner[port.vlan]:
                yield f"{nic} of {network_of[nic]} is in the VLAN of {owner[port.vlan]} on {host}"


def _ports(hosts: Mapping[HostId, SimHost]) -> Iterator[str]:
    """Rule 3 on the wire: in a VLAN, a MAC and an IP are those of one port. A machine that moves has its own on two hosts."""
    seen: dict[tuple[int, str], str] = {}
    for sim in hosts.values():
        for nic, port in sim.ports.items():
            if port.kind is not PortKind.TAP:
                continue
            for what in (port.mac, port.address):
                other = seen.setdefault((port.vlan, what), nic)
                if other != nic:
                    yield f"{nic} and {other} both have {what} in VLAN {port.vlan}"


def _addresses(tx: Tx) -> Iterator[str]:
    """Addresses are of their network; uniqueness is the table's."""
    rows = "select n.id, n.address, n.mac, n.network, w.cidr, w.gateway from nic n join network w on w.id = n.network"
    seen: set[tuple[str, str]] = set()
    for nic, address, mac, network, cidr, gateway in _rows(tx, rows):
        if not _within(address, cidr) or address == gateway:
            yield f"{nic} has {address} in {cidr}"
        for what in (address, mac):
            if (network, what) in seen:
                yield f"{what} is there twice in {network}"
            seen.add((network, what))


def _volumes(tx: Tx, hosts: Mapping[HostId, SimHost]) -> Iterator[str]:
    """No disk is in two guests that run, and none is erased that nobody asked to erase."""
    has: dict[str, str] = {}
    for host, sim in hosts.items():
        for machine, guest in sim.guests.items():
            for disk in guest.runs.disks if guest.runs and guest.awake else ():
                where = has.setdefault(disk.serial, machine)
                if where != machine and not disk.read_only:
                    yield f"disk {disk.serial} is in {where} and in {machine} on {host}"
    kept: dict[str, set[str]] = {}  # by pool: where one was before it was carried it is erased
    for id_, its_pool in _rows(tx, "select id, pool from volume where stays and not erasing"):
        kept.setdefault(its_pool or "", set()).add(id_)
    for host, sim in hosts.items() if kept else ():
        for pool in sim.pools.values():
            lost = pool.erased & kept.get(pool.pool, set())
            yield from (f"{id_} was erased on {host}" for id_ in sorted(lost))


@cache
def _within(address: str, cidr: str) -> bool:
    return ip_address(address) in _network(cidr)


@cache
def _network(cidr: str) -> IPv4Network | IPv6Network:
    return ip_network(cidr)


def held(tx: Tx) -> Iterator[str]:
    """Each farm has a holder that knows of it, and may act."""
    rows = """
        select f.id, f.holder, f.epoch, f.confirmed, s.state from farm f left join segment s on s.id = f.holder
        where coalesce(s.state, '') <> 'ready' or f.epoch <> f.confirmed
    """
    for farm, holder, epoch, confirmed, state in _rows(tx, rows):
        yield f"{farm} is held by {holder or 'nobody'} ({state}) since {epoch}, known of {confirmed}"
    yield from (
        f"the work of {farm} fails" for (farm,) in _rows(tx, "select farm from farm_trouble")
    )


def rights(tx: Tx) -> Iterator[str]:
    """Who runs has the lease of the epoch that is kept; of the others nobody has any."""
    rows = """
        select m.id, m.state, m.host, m.epoch, e.state, e.holder, e.epoch, m.recovery
        from machine m left join export e on e.machine = m.id
        where m.epoch > 0 or e.machine is not null
    """
    for id_, state, host, epoch, right, holder, given, recovery in _rows(tx, rows):
        if recovery:
            yield f"{id_} is still being brought back"
        if state == "running" and (right, holder, given) != ("held", host, epoch):
            yield f"{id_} runs on {host} by {epoch}, and {right} {given} is {holder}'s"
        if state != "running" and right not in (None, "free"):
            yield f"{id_} is {state}, and its lease {right} by {holder}"
    loose = "select machine from export where machine not in (select id from machine)"
    yield from (f"the lease of {id_} is left" for (id_,) in _rows(tx, loose))


def seeds(tx: Tx, hosts: Mapping[HostId, SimHost]) -> Iterator[str]:
    """Cloud-init data is on the machine's host alone: it may hold what nobody else should read."""
    rows = """
        select v.id, m.host from volume v join machine m on m.id = v.machine
        where v.shared and v.position = 0
    """
    where: dict[str, str] = dict(_rows(tx, rows))
    for host, sim in hosts.items():
        for pool in sim.pools.values():
            for volume in pool.seeds:
                if volume in where and where[volume] != host:
                    yield f"cloud-init data of {volume} is left on {host}"


def untold(tx: Tx, told: Mapping[str, int], some_unheard: bool) -> Iterator[str]:
    """Operations that ended, and nobody said so; unless a server died that may have been about to."""
    if some_unheard:
        return
    for id_, kind in _rows(tx, "select id, kind from operation where state <> 'running'"):
        if not told.get(id_):
            yield f"nobody told that {id_} ({kind}) ended"


def hosts_are_well(tx: Tx) -> Iterator[str]:
    """Each is up or asleep, and nobody says that it is not."""
    rows = """
        select id, state, told from host
        where not (state = 'up' and not rests or state = 'asleep' and rests) or (powered_off and not rests)
    """
    yield from (f"{id_} is {state}: {told}" for id_, state, told in _rows(tx, rows))
    lost = "select \"by\", host from sighting where kind = 'lost'"
    yield from (f"{by} says that it does not reach {host}" for by, host in _rows(tx, lost))


def _settled(tx: Tx) -> Iterator[str]:
    rows = text("""
        select id, state, wish, attention from machine
        where not (state = wish or (state = 'error' and wish = 'stopped')) or attention
    """)
    yield from (f"{i} is {state} and should be {wish}" for i, state, wish, _a in tx.execute(rows))
    moving = text("select id, stage from move where stage <> 'over'")
    yield from (f"{i} is still {stage} to another host" for i, stage in tx.execute(moving))
    volumes = text(
        "select id, change, told from volume where change <> '' or (erasing and machine is null)"
    )
    yield from (f"{i} is still in {c or 'erasing'}: {told}" for i, c, told in tx.execute(volumes))
    carried = text("select volume, source, target, told from carry")
    yield from (
        f"{i} is not whole in {t}, or is left in {s}: {told}"
        for i, s, t, told in tx.execute(carried)
    )
    snapshots = text("select id, state, told from snapshot where state <> 'available'")
    yield from (f"{i} is still {s}: {told}" for i, s, told in tx.execute(snapshots))
    stalled = text("select id from machine where why like '%\"stalled\"%'")
    yield from (f"{i} is still said to stand still" for i in tx.scalars(stalled))
    full = text("select id from host where disk_full")
    yield from (f"the pool of {i} is still said to be full" for i in tx.scalars(full))
    failed = text("select id from network where appliance_failed <> '{}'")
    yield from (f"{i} remembers hosts that failed" for i in tx.scalars(failed))
    held = text("select machine, host from maintenance_stop")
    yield from (
        f"{i} is off for a maintenance of {host} that is over" for i, host in tx.execute(held)
    )
    running = text("select id, kind, target from operation where state = 'running'")
    yield from (f"{i} ({kind} of {target}) never ended" for i, kind, target in tx.execute(running))


def as_wished(
    tx: Tx, hosts: Mapping[HostId, SimHost], strangers: Collection[str] = ()
) -> Iterator[str]:
    """What runs is what should, and `strangers`, which a restored copy does not know."""
    rows = text("select id, host, state from machine")
    wanted = {MachineId(i): host for i, host, state in tx.execute(rows) if state == "running"}
    there = {
        machine: host
        for host, sim in hosts.items()
        for machine, guest in sim.guests.items()
        if guest.awake
    }
    for machine in (wanted.keys() | there.keys()) - set(strangers):
        if wanted.get(machine) != there.get(machine):
            yield f"{machine} should run on {wanted.get(machine)} and runs on {there.get(machine)}"


def _images(hosts: Mapping[HostId, SimHost]) -> Iterator[str]:
    """What a disk stands on is there."""
    for sim in hosts.values():
        for pool in sim.pools.values():
            for volume, base in pool.bases.items():
                if base not in pool.images:
                    yield f"{volume} stands on an image that is not in {pool.pool} any more"


def _snapshots(tx: Tx, hosts: Mapping[HostId, SimHost]) -> Iterator[str]:
    """Disks keep what they are said to keep, and nothing else."""
    said = {(volume, id_) for volume, id_ in _rows(tx, "select volume, id from snapshot")}
    there = {
        (volume, snapshot)
        for sim in hosts.values()
        for pool in sim.pools.values()
        for volume, kept in pool.kept.items()
        for snapshot in kept
    }
    yield from (f"{id_} of {volume} is said and there in vain" for volume, id_ in said ^ there)


def _rates(tx: Tx, hosts: Mapping[HostId, SimHost]) -> Iterator[str]:
    """Ports of machines that run are held to the smallest of all limits."""
    cloud = settings.get(tx, MACHINE_KBPS)
    rows = text("""
        select n.id, n.rate_kbps, q.max_network_kbps from nic n
        join machine m on m.id = n.machine join quota q on q.account = m.account
        where m.state = 'running'
    """)
    wanted = {i: least(kbps, account, cloud).kbps for i, kbps, account in tx.execute(rows)}
    for sim in hosts.values():
        for nic, port in sim.ports.items():
            if wanted.get(nic, port.rate_kbps) != port.rate_kbps:
                yield f"{nic} is held to {port.rate_kbps} kbit/s, not {wanted[nic]}"


def _tunnels(tx: Tx, hosts: Mapping[HostId, SimHost]) -> Iterator[str]:
    """Hosts that have a network with a VNI lead to each other, and to nobody else."""
    rows = text("""
        select v.tag, p.host, h.tunnel_address from network_presence p
        join vlan v on v.network = p.network and v.tag > 4095 join host h on h.id = p.host
    """)
    there: dict[int, dict[str, str]] = {}
    for vni, host, address in tx.execute(rows):
        there.setdefault(vni, {})[host] = address
    for id_, sim in hosts.items():
        wanted = {
            vni: frozenset(address for other, address in found.items() if other != id_)
            for vni, found in there.items()
            if id_ in found
        }
        has = {vni: reach.hosts for vni, reach in sim.tunnels.items()}
        for vni in wanted.keys() | has.keys():
            if wanted.get(vni) != has.get(vni):
                yield f"{id_} leads VNI {vni} to {has.get(vni)}, not to {wanted.get(vni)}"
    for vni in (vni for (vni,) in tx.execute(text("select network from tunnel_work"))):
        yield f"nobody was told where {vni} is"


def _plugged(tx: Tx, hosts: Mapping[HostId, SimHost]) -> Iterator[str]:
    """Machines that run have the disks that are theirs, as large and as fast as they should be, and no others."""
    rows = text("""
        select v.id, v.machine, v.mib, case when p.kind in ('local', 'file') then v.iops else 0 end from volume v
          join machine m on m.id = v.machine left join pool p on p.id = v.pool where m.state = 'running'
    """)
    wanted = {
        (i.partition("-")[2][:20], machine, mib * MIB, iops)
        for i, machine, mib, iops in tx.execute(rows)
    }
    there = {
        (disk.serial, machine, disk.bytes, disk.iops)
        for sim in hosts.values()
        for machine, guest in sim.guests.items()
        if guest.runs and guest.awake
        for disk in guest.runs.disks
        if disk.serial != "cidata"
    }
    yield from (
        f"{machine} has {serial} of {size} bytes with {iops} a second, not as wished"
        for serial, machine, size, iops in wanted ^ there
    )


def _nothing_left(tx: Tx, hosts: Mapping[HostId, SimHost]) -> Iterator[str]:
    """Every port, appliance and disk has an owner that exists."""
    nics = set(
        tx.scalars(
            text(
                "select id from nic where machine in (select id from machine where host is not null)"
                " and not leaving"
            )
        )
    )
    for nic in tx.scalars(text("select id from nic where leaving")):
        yield f"{nic} was detached, and is kept"
    networks = set(tx.scalars(text("select id from network")))
    volumes = dict(_rows(tx, "select id, pool from volume"))
    for host, sim in hosts.items():
        routed = {network.partition("-")[2] for network in sim.appliances}
        for nic in sim.ports.keys() - nics:
            if nic.partition("-")[2] not in routed:
                yield f"port {nic} is left on {host}"
        for network in sim.appliances.keys() - networks:
            yield f"the appliance of {network} is left on {host}"
        for pool in sim.pools.values():
            yield from (
                f"disk {volume} is left on {host}"
                for volume in pool.volumes
                if volumes.get(volume, "") not in (pool.pool, None)
            )
    yield from _snapshots(tx, hosts)
    yield from _plugged(tx, hosts)
    yield from _rates(tx, hosts)
    yield from _tunnels(tx, hosts)
    released = text("select id from address where account is null and network is not null")
    yield from (f"{i} was released, and nobody can take it" for i in tx.scalars(released))
    # One that sleeps forgets whom to look after when it is woken.
    tombstones = text("""
        select i.host, i.kind, i.id from manifest_item i left join host h on h.id = i.host
        where i.body is null and not (coalesce(h.rests, false) and i.kind = 'peer')
    """)
    yield from (f"{host} was told to forget {kind} {i}" for host, kind, i in tx.execute(tombstones))
