"""Break the lab, and mend it: what tests do to Arable, and curious operators.

Each fault is written down before it happens, so that whoever watches over the lab can tell it from an accident,
and each may be said again. Mending brings back what was there: links, power, agents, the management server.
"""

import signal
from functools import partial
from typing import TypeVar

import msgspec

from arable.domain.errors import Conflict, NotFound
from arable.drivers import namespaces
from arable.lab import devices, living, power, servers, wires
from arable.lab.plan import Device, Kind, Wire
from arable.lab.power import AGENT, Site
from arable.lab.record import DeviceRecord, Record, with_device

Thing = TypeVar("Thing")


def wire(site: Site, name: str) -> Wire:
    """The wire of that name; raises `NotFound` that lists the names there are."""
    return _known(site.plan.wires, name, "link")


def host(site: Site, name: str) -> Device:
    """The host of that name; raises `NotFound` that lists the names there are."""
    return _known({one.name: one for one in site.plan.of(Kind.HOST)}, name, "host")


def cut(site: Site, name: str) -> None:
    """Pull a cable; both ends see it."""
    cable = wire(site, name)
    site.place.change(partial(_with_cut, name=name, is_cut=True))
    wires.plug(site.place.namespace(cable.near.device), cable.near.interface, up=False)


def mend(site: Site, name: str) -> None:
    """Put the cable back. Routes that the kernel forgot with it are set again."""
    cable = wire(site, name)
    site.place.change(partial(_with_cut, name=name, is_cut=False))
    if _off(site, cable):
        return
    wires.plug(site.place.namespace(cable.near.device), cable.near.interface, up=True)
    power.address(site, site.plan.devices[cable.near.device])


def kill_agent(site: Site, name: str) -> None:
    """The agent is gone between two instructions; what it looks after goes on."""
    _awake(site, name)
    _note(site, name, stopped=(AGENT,))
    devices.stop(site.place.namespace(name), AGENT, signal.SIGKILL)


def start_agent(site: Site, name: str) -> None:
    """The host's agent runs (again)."""
    _awake(site, name)
    power.start_agent(site, name)
    _note(site, name, stopped=())


def freeze(site: Site, name: str) -> None:
    """Every process of the host stands still, guests too, as under a hypervisor that stalls. Links stay up.

    A management server of that name stands still likewise.
    """
    if name in site.place.read().servers:
        servers.freeze(site, name)
        return
    _awake(site, name)
    _note(site, name, frozen=True)
    _signal_all(site, name, signal.SIGSTOP)


def thaw(site: Site, name: str) -> None:
    """They go on as if nothing had been; to them, nothing has."""
    if name in site.place.read().servers:
        servers.thaw(site, name)
        return
    if _record(site, name).init is None:
        raise Conflict(f"{name} has no power")
    _note(site, name, frozen=False)
    _signal_all(site, name, signal.SIGCONT)


def power_off(site: Site, name: str) -> None:
    """Everything on the host is gone at once; its disk is kept."""
    device = host(site, name)
    power.cut_power(site, device.name)
    _unwire(site, device.name)


def power_on(site: Site, name: str) -> None:
    """The host starts from its disk: daemons, then the agent, if it was ever set up. Running: nothing to do."""
    device = host(site, name)
    if site.init(name):
        return
    _unwire(site, name)
    record = site.place.read()
    power.make_room(site, device)
    for cable in site.plan.wires_of(name):
        power.cable_again(site, cable, plugged=cable.name not in record.cut)
    power.switch_on(site, device)
    if power.agent_config(site.place, name).exists():
        power.start_agent(site, name)


def kill_server(site: Site, name: str) -> None:
    """The management server of that name is gone between two instructions; a region's only one has the region's."""
    servers.stop(site, servers.known(site, name))


def start_server(site: Site, name: str) -> None:
    """The management server runs (again)."""
    servers.restart(site, servers.known(site, name))


def _unwire(site: Site, name: str) -> None:
    """The kernel takes a namespace apart when it finds time; its cables must be gone now, to be laid again."""
    for cable in site.plan.wires_of(name):
        power.uncable(site, cable)
    namespaces.remove(site.place.namespace(name))


def _signal_all(site: Site, name: str, number: int) -> None:
    """Until a look finds nobody new: what is stopped can't start others."""
    init = site.init(name)
    reached: set[living.Process] = set()
    while init and (fresh := set(living.family(init)) - reached):
        for one in fresh:
            one.signal(number)
        reached |= fresh


def _awake(site: Site, name: str) -> None:
    record = _record(site, name)
    if record.init is None or not record.init.alive:
        raise Conflict(f"{name} has no power; `arable lab mend power {name}` switches it on")
    if record.frozen:
        raise Conflict(f"{name} is frozen; `arable lab mend freeze {name}` thaws it")


def _off(site: Site, cable: Wire) -> bool:
    return any(site.init(end.device) is None for end in (cable.near, cable.far))


def _record(site: Site, name: str) -> DeviceRecord:
    return site.place.read().devices.get(host(site, name).name, DeviceRecord())


def _note(site: Site, name: str, **changes: object) -> None:
    def change(record: Record) -> Record:
        device = msgspec.structs.replace(record.devices[name], **changes)
        return with_device(record, name, device)

    site.place.change(change)


def _with_cut(record: Record, name: str, *, is_cut: bool) -> Record:
    others = tuple(cut for cut in record.cut if cut != name)
    return msgspec.structs.replace(record, cut=(*others, name) if is_cut else others)


def _known(things: dict[str, Thing], name: str, what: str) -> Thing:
    if name not in things:
        raise NotFound(f"no {what} {name!r} in this lab; there are {', '.join(sorted(things))}")
    return things[name]
