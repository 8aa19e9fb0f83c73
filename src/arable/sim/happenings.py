"""What the dice may do to a region. A new kind of trouble, or of work, is a row of `HAPPENINGS`.

Each does one thing to a region that may be in any state, and says what in a line; an empty line when there was nothing
to do. Whatever it leaves broken, `Region.heal` must mend.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from arable.domain.errors import NotFound
from arable.domain.ids import HostId, MachineId, SegmentId, VolumeId
from arable.domain.segment import SegmentState
from arable.domain.settings import IDLE_HOST_RESERVE, IDLE_HOSTS, MACHINE_KBPS
from arable.runtime.entropy import Random
from arable.services import host_health, host_power, hosts, limits, migrating, moving, power
from arable.services import settings as settings_service
from arable.sim.cloud import SimNode
from arable.sim.ground import Room
from arable.sim.region import STORE, Region
from arable.sim.servers import SimServer
from arable.sim.standstills import Process
from arable.store import segments, settings
from arable.wire.accounts import LimitsChange
from arable.wire.hosts import HostChange
from arable.wire.machines import MoveIn, StopIn
from arable.wire.settings import SettingsChange
from arable.wire.volumes import MigrateVolumeIn

Do = Callable[[Region, Random], str]


def _anywhere(_room: Room) -> bool:
    return True


def _with_disks(room: Room) -> bool:
    return room.storage > 0


def _with_sleepers(room: Room) -> bool:
    return room.idle


def _several(room: Room) -> bool:
    return room.servers > 1


@dataclass(frozen=True, slots=True)
class Happening:
    """`weight` says how often, against the others; `kind` is what a story has all of or nothing of."""

    kind: str
    weight: int
    do: Do
    fits: Callable[[Room], bool] = _anywhere


# --- guests


def _guest(region: Region, dice: Random) -> str:
    node = _node(region, dice)
    running = [m for m, guest in node.hardware.guests.items() if guest.runs is not None]
    if not running:
        return ""
    machine = dice.choice(sorted(running))
    match dice.randrange(3):
        case 0:
            node.hardware.crash(machine)
            return f"{machine} crashes"
        case 1:
            node.hardware.power_off_by_guest(machine)
            return f"{machine} shuts itself down"
        case _:
            node.hardware.disobey(machine)
            return f"{machine} will not shut down when asked"


# --- agents and their hosts


def _cut(region: Region, dice: Random) -> str:
    node = _node(region, dice)
    if node.wire.cut:
        node.wire.cut = False
        return f"{node.id} reaches management again"
    region.cut(node)
    return f"{node.id} is cut off from management"


def _freeze_agent(region: Region, dice: Random) -> str:
    node = _node(region, dice)
    node.frozen = not node.frozen
    return f"the agent of {node.id} {'stalls' if node.frozen else 'goes on'}"


def _kill_agent(region: Region, dice: Random) -> str:
    node = _node(region, dice)
    region.kill_agent(node)
    return f"the agent of {node.id} is killed"


def _power(region: Region, dice: Random) -> str:
    node = _node(region, dice)
    if not node.powered:
        return region.power_on(node)
    region.power_off(node)
    return f"{node.id} loses power"


def _cables(region: Region, dice: Random) -> str:
    node = _node(region, dice)
    if node.id not in region.apart:
        region.pull_cables(node.id)
        return f"all cables of {node.id} are pulled"
    region.apart.discard(node.id)
    if node.id in region.shared.runners:
        region.shared.runners[node.id].cut = False
    return f"the cables of {node.id} are back"


def _drivers(region: Region, dice: Random) -> str:
    node = _node(region, dice)
    node.faults.when = lambda _where: dice.random() < 0.1
    return f"the drivers of {node.id} begin to fail"


def _unroute(region: Region, dice: Random) -> str:
    node = _node(region, dice)
    node.hardware.unroutable = "" if node.hardware.unroutable else "dnsmasq is not installed"
    able = "starts no" if node.hardware.unroutable else "starts"
    return f"{node.id} {able} appliances"


def _fill(region: Region, dice: Random) -> str:
    """Somebody else's files fill a host's pool to the brim, and guests there want to write; or they are gone again."""
    node = _node(region, dice)
    pools = sorted(node.hardware.pools.values(), key=lambda pool: pool.pool)
    if not pools:
        return ""
    pool = dice.choice(pools)
    if pool.full:
        pool.clear()
        return f"there is room in {pool.pool} again"
    pool.clutter()
    stand = [
        machine
        for each in region.nodes.values()
        for machine, guest in sorted(each.hardware.guests.items())
        if guest.awake and not each.hardware.write(machine)
    ]
    return f"{pool.pool} is full, and {len(stand)} guests stand still"


def _troubles_end(region: Region, _dice: Random) -> str:
    for node in region.nodes.values():
        node.faults.when = lambda _where: False
    for server in region.servers.values():
        server.writer.fails = lambda _where: False
    return "drivers and commits are well"


# --- shared disks


def _storage_cut(region: Region, dice: Random) -> str:
    host = dice.choice(sorted(region.shared.runners))
    if host in region.apart:
        return ""
    runner = region.shared.runners[host]
    runner.cut = not runner.cut
    return f"{host} {'does not reach' if runner.cut else 'reaches'} its storage"


def _wrongly_down(region: Region, dice: Random) -> str:
    """Whoever judges is wrong: any host is taken for down, and whatever hangs on that is done at once."""
    host = _runner(region, dice)
    with region.database.write() as tx:
        tx.exec_driver_sql("update host set state = 'down' where id = ?", (host,))
    if dice.random() < 0.7:  # or it may be heard before anything is done about it
        region.pass_time(timedelta(seconds=2))
        region.control()
    return f"{host} is taken for down, {'rightly' if not region.nodes[host].works else 'wrongly'}"


def _declare(region: Region, dice: Random) -> str:
    """An operator says so of one that is silent."""
    with region.database.read() as tx:
        query = "select id from host where state = 'silent' order by id"
        silent = [HostId(row[0]) for row in tx.exec_driver_sql(query)]
    if not silent:
        return ""
    host = dice.choice(silent)
    region.ask(region.ground.operator, lambda call: host_health.declare_down(call, host))
    return f"{host} is declared down"


# --- machines that move


def _move(region: Region, dice: Random) -> str:
    machine = _leased(region, dice)
    to = dice.choice([None, *region.ground.hosts])
    _operate(region, moving.move, machine, MoveIn(to=to))
    return f"{machine} is to move to {to or 'any host'}"


def _stay(region: Region, dice: Random) -> str:
    machine = _leased(region, dice)
    _operate(region, moving.cancel, machine)
    return f"{machine} is to stay"


def _carry(region: Region, dice: Random) -> str:
    """A volume to another pool, or not after all."""
    query = """
        select v.id, o.id from volume v join pool p on p.id = v.pool
        join pool o on o.kind = p.kind and o.id <> p.id left join machine m on m.id = v.machine
        where m.id is null or m.state in ('stopped', 'error')
          or (m.state = 'running' and m.wish = 'running' and p.kind = 'nbd') order by v.id, o.id
    """
    with region.database.read() as tx:
        found = [(VolumeId(row[0]), row[1]) for row in tx.exec_driver_sql(query)]
    if not found:
        return _make_way(region, dice)
    volume, pool = dice.choice(found)
    if dice.random() < 0.2:
        _operate(region, migrating.cancel, volume)
        return f"{volume} is to stay"
    _operate(region, migrating.migrate, volume, MigrateVolumeIn(pool=pool))
    return f"{volume} is to go to {pool}"


def _make_way(region: Region, dice: Random) -> str:
    """A machine is stopped, so that its disks can go to other pools."""
    query = """
        select id from machine where state = 'running' and wish = 'running' and operation is null
        order by id
    """
    with region.database.read() as tx:
        found = [MachineId(row[0]) for row in tx.exec_driver_sql(query)]
    if not found:
        return ""
    machine = dice.choice(found)
    _operate(region, power.stop, machine, StopIn(force=True))
    return f"{machine} is stopped, for its disks are to go elsewhere"


def _maintain(region: Region, dice: Random) -> str:
    host = _runner(region, dice)
    on = dice.random() < 0.5
    stops = on and dice.random() < 0.3
    _operate(region, hosts.update, host, HostChange(maintenance=on, maintenance_stops=stops))
    return f"{host} is {'' if on else 'not '}in maintenance{', which stops' if stops else ''}"


def _rails(region: Region, dice: Random) -> str:
    """The wire by which memory goes to other hosts, and how much of it there is."""
    rails = region.shared.rails
    dead = dice.random() < 0.3
    rails.cut = lambda _source, _target: dead
    rails.seconds = dice.choice((0.5, 3.0, 20.0))
    return f"memory takes {rails.seconds} s, and its wire is {'cut' if dead else 'whole'}"


# --- hosts that sleep


def _idle(region: Region, dice: Random) -> str:
    policy = dice.choice(("sleep", "sleep", "awake"))
    with region.database.write() as tx:
        settings.put(tx, {IDLE_HOSTS.name: policy, IDLE_HOST_RESERVE.name: dice.randint(0, 1)})
    return f"idle hosts are to be {policy}"


def _wake(region: Region, dice: Random) -> str:
    """By an operator's hand, or sent to sleep."""
    host = _runner(region, dice)
    verb = dice.choice((host_power.wake, host_power.sleep))
    _operate(region, verb, host)
    return f"{host} is to {verb.__name__}"


# --- limits


def _rate(region: Region, dice: Random) -> str:
    """How fast ports are: of an account's machines, or of all."""
    kbps = dice.choice((0, 10_000, 50_000))
    account = dice.choice([None, *(caller.account for caller in region.ground.callers)])
    if account is None:
        whole = SettingsChange(values={MACHINE_KBPS.name: kbps})
        _operate(region, settings_service.update, whole)
    else:
        _operate(region, limits.update, account, LimitsChange(network_kbps=kbps or None))
    return f"ports of {account or 'everybody'} are held to {kbps} kbit/s"


# --- management servers


def _kill_server(region: Region, dice: Random) -> str:
    server = _server(region, dice)
    if not server.up:
        region.start_server(server.name)
        return f"{server.name} is started"
    region.kill_server(server, after_commit=dice.random() < 0.3)
    if dice.random() < 0.5:
        region.start_server(server.name)
        return f"{server.name} is killed and started"
    return f"{server.name} is killed"


def _freeze_server(region: Region, dice: Random) -> str:
    server = _server(region, dice)
    seconds = dice.choice((2.0, 10.0, 25.0, 60.0, 120.0))
    server.stand_still(seconds)
    return f"{server.name} is frozen for {seconds:g} s"


def _link(region: Region, dice: Random) -> str:
    """A link of a server to another one, to a host or to the store."""
    server = _server(region, dice)
    ends = [STORE, *region.nodes, *(name for name in region.names if name != server.name)]
    return _toggle(region, server.name, dice.choice(ends))


def _split(region: Region, dice: Random) -> str:
    """Half of the servers lose the other half, and perhaps some hosts, and perhaps the store."""
    names = dice.sample(region.names, dice.randint(1, len(region.names)))
    others = [name for name in region.names if name not in names]
    ends = [*others, *(host for host in region.nodes if dice.random() < 0.4)]
    ends += [STORE] if dice.random() < 0.3 else []
    region.cuts |= {frozenset((name, end)) for name in names for end in ends}
    return f"{names} do not reach {ends}"


def _links_well(region: Region, _dice: Random) -> str:
    region.cuts.clear()
    region.away = False
    return "all links are well"


def _store(region: Region, dice: Random) -> str:
    """Away from everybody, or slow to one."""
    if dice.random() < 0.5:
        region.away = not region.away
        return f"the database is {'away' if region.away else 'back'}"
    server = _server(region, dice)
    server.writer.fails = lambda _where: dice.random() < 0.1
    return f"the commits of {server.name} begin to fail"


def _slow(region: Region, dice: Random) -> str:
    """What a server commits takes its time: callers give up, and it happens all the same."""
    server = _server(region, dice)
    seconds = dice.choice((3.0, 20.0, 60.0, 200.0))
    server.slow_until = server.clock.monotonic() + seconds
    return f"the database is slow for {server.name}, for {seconds:g} s"


def _drain(region: Region, dice: Random) -> str:
    """A server is to leave: it is told so, told to stay after all, or ends as it should."""
    server = _server(region, dice)
    if not server.works:
        return ""
    if server.segment.draining and dice.random() < 0.6:
        region.stop_server(server)
        region.start_server(server.name)
        return f"{server.name} has left, and comes back"
    state = SegmentState.READY if server.segment.draining else SegmentState.DRAINING
    with region.database.write() as tx:
        segments.become(tx, SegmentId(server.name), state)
    return f"{server.name} is to be {state}"


def _stop(region: Region, dice: Random) -> str:
    server = _server(region, dice)
    if not server.works:
        return ""
    region.stop_server(server)
    return f"{server.name} ends as it should"


# --- pauses


_PLACES = 40  # among so many a process comes to the one where it stops


def _pause_server(region: Region, dice: Random) -> str:
    """Somewhere between two of its steps."""
    server = _server(region, dice)
    return _pause(region, dice, server, server.name)


def _pause_master(region: Region, dice: Random) -> str:
    acting = [server for server in region.up() if server.segment.acting()]
    return _pause(region, dice, acting[0], f"the master {acting[0].name}") if acting else ""


def _pause_agent(region: Region, dice: Random) -> str:
    node = _node(region, dice)
    return _pause(region, dice, node, f"the agent of {node.id}")


def _pause(region: Region, dice: Random, process: Process, name: str) -> str:
    seconds = _while(dice)
    region.pauses.arm(process, dice.randint(1, _PLACES), seconds)
    return f"{name} will stop for {seconds:g} s in the middle of something"


def _halt(region: Region, dice: Random) -> str:
    """A whole host, with its guests and its watchdog."""
    node, seconds = _node(region, dice), _while(dice)
    if not node.powered or node.hardware.halted:
        return ""
    region.halt(node, seconds)
    return f"{node.id} stands still for {seconds:g} s"


def _while(dice: Random) -> float:
    """From a moment to longer than every timeout of leases, elections and hosts."""
    return dice.choice((0.5, 3.0, 10.0, 25.0, 40.0, 90.0))


# --- clocks


def _clock(region: Region, dice: Random) -> str:
    """The wall clock of a server or host is set: a little, or far, forward or back."""
    owner, clock = dice.choice([*region.clocks.items(), *region.host_clocks()])
    seconds = _jump(dice)
    clock.offset += timedelta(seconds=seconds)
    return f"the clock of {owner} is set by {seconds:+.1f} s"


def _database_clock(region: Region, dice: Random) -> str:
    """The one that counts."""
    seconds = _jump(dice)
    region.database_clock.offset += timedelta(seconds=seconds)
    return f"the clock of the database is set by {seconds:+.1f} s"


def _jump(dice: Random) -> float:
    return dice.choice((-1, 1)) * dice.choice((0.2, 3.0, 20.0, 90.0, 600.0))


HAPPENINGS = (
    Happening("guests", 4, _guest),
    Happening("agents", 2, _cut),
    Happening("agents", 2, _freeze_agent),
    Happening("agents", 2, _kill_agent),
    Happening("power", 3, _power),
    Happening("power", 2, _cables),
    Happening("drivers", 2, _drivers),
    Happening("drivers", 2, _troubles_end),
    Happening("pools", 2, _fill),
    Happening("routers", 2, _unroute),
    Happening("disks", 3, _storage_cut, _with_disks),
    Happening("judges", 3, _wrongly_down, _with_disks),
    Happening("judges", 2, _declare),
    Happening("moves", 6, _move, _with_disks),
    Happening("moves", 1, _stay, _with_disks),
    Happening("moves", 1, _maintain, _with_disks),
    Happening("moves", 1, _rails, _with_disks),
    Happening("carries", 25, _carry),
    Happening("idle", 2, _idle, _with_sleepers),
    Happening("idle", 2, _wake, _with_sleepers),
    Happening("limits", 2, _rate),
    Happening("servers", 3, _kill_server),
    Happening("servers", 3, _freeze_server),
    Happening("links", 4, _link),
    Happening("links", 2, _split, _several),
    Happening("links", 3, _links_well),
    Happening("store", 3, _store),
    Happening("store", 2, _slow),
    Happening("store", 2, _troubles_end),
    Happening("pauses", 3, _pause_server),
    Happening("pauses", 2, _pause_master),
    Happening("pauses", 4, _pause_agent),
    Happening("pauses", 3, _halt),
    Happening("clocks", 2, _clock),
    Happening("clocks", 2, _database_clock),
    Happening("drains", 2, _drain, _several),
    Happening("drains", 1, _stop, _several),
)
"""Everything. `World` draws kinds for each story, so that quiet stories and single troubles are told as well."""


def _node(region: Region, dice: Random) -> SimNode:
    return dice.choice(list(region.nodes.values()))


def _runner(region: Region, dice: Random) -> HostId:
    return dice.choice(list(region.ground.hosts))


def _leased(region: Region, dice: Random) -> MachineId:
    """A machine with shared disks. Raises `NotFound` when there is none."""
    with region.database.read() as tx:
        found = list(tx.exec_driver_sql("select id from machine where epoch > 0 order by id"))
    if not found:
        raise NotFound("machine")
    return MachineId(dice.choice(found)[0])


def _operate(region: Region, verb: Callable[..., Any], *about: object) -> None:
    region.ask(region.ground.operator, lambda call: verb(call, *about))


def _server(region: Region, dice: Random) -> SimServer:
    return dice.choice(list(region.servers.values()))


def _toggle(region: Region, one: str, other: str) -> str:
    link = frozenset((one, other))
    region.cuts ^= {link}
    return f"{one} {'does not reach' if link in region.cuts else 'reaches'} {other}"
