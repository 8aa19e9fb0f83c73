"""Notices when something of a lab ends that nobody ended on purpose.

Faults are written into the lab's record before they happen (`fail.py`), so whoever finds a process gone looks there
before calling it an accident. Nothing is polled but the record's age: the kernel tells when a process ends, and a
device tells when a service does.
"""

import json
import os
import select
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from socket import socket

from arable.domain.errors import CloudError, NotFound
from arable.lab import devices
from arable.lab.living import Process
from arable.lab.plan import Kind
from arable.lab.power import AGENT, Site
from arable.lab.record import DeviceRecord, Record
from arable.lab.topology import GRID

_LOOK = 500  # milliseconds between looks whether the record changed


@dataclass(frozen=True, slots=True)
class Accident:
    """What ended, and the name of its log."""

    what: str
    log: str


def accidents(site: Site) -> Iterator[Accident | None]:
    """What ended by itself, one after the other; None now and then, so that the caller may do something else."""
    while True:
        try:
            record = site.place.read()
        except NotFound:
            return
        with ExitStack() as stack:
            watched = _watched(site, record, stack)
            poll = select.poll()
            for fd in watched:
                poll.register(fd, select.POLLIN)
            yield from _lost_agents(site, record)
            ended: list[int] = []
            while not ended and _unchanged(site, record):
                ended = [fd for fd, _ in poll.poll(_LOOK)]
                yield from filter(None, (watched[fd].accident(site) for fd in ended))
                yield None


def _lost_agents(site: Site, record: Record) -> Iterator[Accident]:
    """Agents that ended while nobody looked."""
    for name, device in record.devices.items():
        host = site.plan.devices[name].kind is Kind.HOST
        if host and device.init and not device.frozen and AGENT not in device.stopped:
            with suppress(CloudError):  # the power went just now: the next look tells
                namespace = site.place.namespace(name)
                if AGENT in devices.ended(namespace) and AGENT not in devices.running(namespace):
                    yield _lost_agent(name)


def _lost_agent(host: str) -> Accident:
    return Accident(f"the agent of {host}", f"agent-{host}")


@dataclass(frozen=True, slots=True)
class _Device:
    name: str
    init: Process

    def accident(self, site: Site) -> Accident | None:
        """A device ended: on purpose if the record has another first process, or none."""
        now = site.place.read().devices.get(self.name, DeviceRecord())
        return Accident(f"the device {self.name}", self.name) if now.init == self.init else None


@dataclass(frozen=True, slots=True)
class _Server:
    name: str
    process: Process

    def accident(self, site: Site) -> Accident | None:
        now = site.place.read().servers.get(self.name)
        if now is None or now.process != self.process:
            return None
        what = "the grid manager" if self.name == GRID else f"the management server of {self.name}"
        return Accident(what, f"server-{self.name}")


@dataclass(frozen=True, slots=True)
class _Services:
    device: str
    line: socket

    def accident(self, site: Site) -> Accident | None:
        """A service of a device ended. Without power there is nothing to read; that is the device's own story."""
        told = b""
        with suppress(ConnectionResetError):  # the power went before it had read our question
            told = self.line.recv(1 << 16)
        ended = json.loads(told)["name"] if told else ""
        now = site.place.read().devices.get(self.device, DeviceRecord())
        if ended != AGENT or AGENT in now.stopped or now.init is None:
            return None
        return _lost_agent(self.device)


_Watched = _Device | _Server | _Services


def _watched(site: Site, record: Record, stack: ExitStack) -> dict[int, _Watched]:
    found: dict[int, _Watched] = {}
    for name, device in record.devices.items():
        if device.init:
            found |= _ends(device.init, _Device(name, device.init), stack)
            if site.plan.devices[name].kind is Kind.HOST:
                with suppress(CloudError):  # it may just have lost its power
                    line = stack.enter_context(devices.watch(site.place.namespace(name)))
                    found[line.fileno()] = _Services(name, line)
    for name, server in record.servers.items():
        if server.process:
            found |= _ends(server.process, _Server(name, server.process), stack)
    return found


def _ends(process: Process, watched: _Watched, stack: ExitStack) -> dict[int, _Watched]:
    """A descriptor that tells of the process's end, be it long past."""
    fd = -1
    if process.alive:
        with suppress(ProcessLookupError):
            fd = os.pidfd_open(process.pid)
    if fd < 0:
        fd, write = os.pipe()
        os.close(write)
    stack.callback(os.close, fd)
    return {fd: watched}


def _unchanged(site: Site, record: Record) -> bool:
    try:
        return site.place.read() == record
    except NotFound:
        return False
