"""What must be true after every step, whatever happened, and what must be true at rest."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from ipaddress import ip_address, ip_network

from sqlalchemy import text

from arable.domain.ids import HostId, MachineId
from arable.drivers.simhost import SimHost
from arable.store.database import Tx


class Broken(AssertionError):
    """An invariant does not hold."""


def always(tx: Tx, hosts: Mapping[HostId, SimHost]) -> None:
    """Safety: after every step."""
    broken = [
        *_runs_once(hosts),
        *(f"{host}: {mishap}" for host, sim in hosts.items() for mishap in sim.mishaps),
        *_quotas(tx),
        *_reservations(tx),
        *_vlans(tx, hosts),
        *_addresses(tx),
    ]
    if broken:
        raise Broken("; ".join(broken))


def at_rest(tx: Tx, hosts: Mapping[HostId, SimHost]) -> None:
    """Liveness: after everything was healed and had its time, the world is as the rows wish, and nothing is left over."""
    broken = [*_settled(tx), *as_wished(tx, hosts), *_nothing_left(tx, hosts)]
    if broken:
        raise Broken("; ".join(broken))


def _runs_once(hosts: Mapping[HostId, SimHost]) -> Iterator[str]:
    """Rule 1."""
    running = Counter(
        machine for sim in hosts.values() for machine, guest in sim.guests.items() if guest.awake
    )
    yield from (f"{machine} runs {n} times" for machine, n in running.items() if n > 1)


def _quotas(tx: Tx) -> Iterator[str]:
    """Rule 2, for accounts: what is held is the sum over what lives."""
    for name, query in (
        ("machines", "select account, count(*) from machine group by account"),
        ("cpus", "select account, sum(cpus) from machine group by account"),
        ("memory_mib", "select account, sum(memory_mib) from machine group by account"),
        ("volumes", "select account, count(*) from volume group by account"),
        ("storage_mib", "select account, sum(mib) from volume group by account"),
        ("networks", "select account, count(*) from network group by account"),
        (
            "addresses",
            "select account, count(*) from address where account is not null group by account",
        ),
    ):
        lives: dict[str, int] = dict(tx.execute(text(query)).all())
        quota = text(f"select account, used_{name}, max_{name} from quota")  # noqa: S608 - our names
        for account, used, most in tx.execute(quota):
            if used != lives.get(account, 0):
                yield f"{account} has {lives.get(account, 0)} {name}, but {used} are counted"
            if 0 <= most < used:
                yield f"{account} has {used} {name} of {most}"


def _reservations(tx: Tx) -> Iterator[str]:
    """Rule 2, for hosts: what is reserved is the sum over what is there, and never above the limit."""
    sums = text("""
        select h.id, h.reserved_cpu_mhz, h.reserved_memory_mib, h.machines,
            (select coalesce(sum(m.cpu_mhz), 0) from machine m where m.host = h.id),
            (select coalesce(sum(m.memory_mib), 0) from machine m where m.host = h.id),
            (select count(*) from machine m where m.host = h.id),
            h.reserved_disk_mib,
            (select coalesce(sum(v.mib), 0) from volume v join pool p on p.id = v.pool
             where p.host = h.id),
            h.memory_mib * h.memory_percent / 100
        from host h
    """)
    for row in tx.execute(sums):
        host, mhz, memory, count, its_mhz, its_memory, its_count, disk, its_disk, limit = row
        if (mhz, memory, count) != (its_mhz, its_memory, its_count):
            yield f"{host} reserves {mhz} MHz {memory} MiB {count}, holds {its_mhz} {its_memory} {its_count}"
        if disk != its_disk:
            yield f"{host} reserves {disk} MiB of disk, holds {its_disk}"
        if memory > limit:
            yield f"{host} is overbooked"


def _vlans(tx: Tx, hosts: Mapping[HostId, SimHost]) -> Iterator[str]:
    """Rule 3: a VLAN that is anywhere belongs to a network, and only that network's ports are in it."""
    owner: dict[int, str] = dict(
        tx.execute(text("select tag, network from vlan where network is not null")).all()
    )
    network_of: dict[str, str] = dict(tx.execute(text("select id, network from nic")).all())
    public = set(tx.scalars(text("select vlan from public_range")))
    barred = set(tx.scalars(text("select tag from vlan where network is null and leaving")))
    for host, sim in hosts.items():
        for nic, port in sim.ports.items():
            if port.vlan in public:
                continue
            if port.vlan in barred:  # of a network that a restored copy does not know
                continue
            if port.vlan not in owner:
                yield f"VLAN {port.vlan} is on {host} and nobody's"
            elif nic in network_of and network_of[nic] != owner[port.vlan]:
                yield f"{nic} of {network_of[nic]} is in the VLAN of {owner[port.vlan]} on {host}"


def _addresses(tx: Tx) -> Iterator[str]:
    """Addresses are of their network; uniqueness is the table's."""
    rows = text(
        "select n.id, n.address, w.cidr, w.gateway from nic n join network w on w.id = n.network"
    )
    for nic, address, cidr, gateway in tx.execute(rows):
        if ip_address(address) not in ip_network(cidr) or address == gateway:
            yield f"{nic} has {address} in {cidr}"


def _settled(tx: Tx) -> Iterator[str]:
    rows = text("""
        select id, state, wish, attention from machine
        where not (state = wish or (state = 'error' and wish = 'stopped')) or attention
    """)
    yield from (f"{i} is {state} and should be {wish}" for i, state, wish, _a in tx.execute(rows))
    failed = text("select id from network where appliance_failed <> '{}'")
    yield from (f"{i} remembers hosts that failed" for i in tx.scalars(failed))
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


def _nothing_left(tx: Tx, hosts: Mapping[HostId, SimHost]) -> Iterator[str]:
    """Every port, appliance and disk has an owner that exists."""
    nics = set(
        tx.scalars(
            text(
                "select id from nic where machine in (select id from machine where host is not null)"
            )
        )
    )
    networks = set(tx.scalars(text("select id from network")))
    volumes = set(tx.scalars(text("select id from volume")))
    for host, sim in hosts.items():
        routed = {network.partition("-")[2] for network in sim.appliances}
        for nic in sim.ports.keys() - nics:
            if nic.partition("-")[2] not in routed:
                yield f"port {nic} is left on {host}"
        for network in sim.appliances.keys() - networks:
            yield f"the appliance of {network} is left on {host}"
        for pool in sim.pools.values():
            yield from (
                f"disk {volume} is left on {host}" for volume in pool.volumes.keys() - volumes
            )
    released = text("select id from address where account is null and network is not null")
    yield from (f"{i} was released, and nobody can take it" for i in tx.scalars(released))
    tombstones = text("select host, kind, id from manifest_item where body is null")
    yield from (f"{host} was told to forget {kind} {i}" for host, kind, i in tx.execute(tombstones))
