"""Guests under libvirt and QEMU: the driver of real hosts, and of emulated ones with a libvirtd of their own.

libvirt keeps what must be remembered (definitions, our facts in them, why a guest is off) and finds running guests
again after any restart, its own included; so this driver holds nothing but a connection. A definition that
changes while the guest runs is stored, and libvirt keeps the running one apart: that one is given the same disks. Direct QEMU was rejected: device
addresses, re-attaching, migration and confinement would all be ours to write.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import libvirt

from arable.domain.errors import BadInput, Conflict, NoRoom, NotFound, Unavailable
from arable.domain.ids import HostId, MachineId
from arable.domain.manifest import GuestStats
from arable.drivers.hypervisor import (
    console_log,
    counters,
    domain_xml,
    lent_secrets,
    live_disks,
    live_ports,
    migration,
    mirrors,
)
from arable.drivers.hypervisor.domain_xml import Console, Definition, Facts, Tuning
from arable.drivers.hypervisor.firmware import small
from arable.drivers.hypervisor.probe import usable_kvm
from arable.drivers.hypervisor.protocol import (
    Gate,
    Guest,
    GuestDisk,
    GuestFound,
    GuestPower,
    Journey,
    Mirror,
    Passage,
    PassageState,
)
from arable.drivers.hypervisor.session import PATIENCE, Session
from arable.runtime.clock import Clock

log = logging.getLogger(__name__)

_SOCKET_PATH = 107  # bytes that the kernel takes
_NAME = 20  # characters of a machine's id after its kind

_GONE = frozenset([libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_NO_DOMAIN_METADATA])
_NO_AGENT = frozenset(
    [
        libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
        libvirt.VIR_ERR_AGENT_UNSYNCED,
        libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
    ]
)
_AGENT_SECONDS = 3  # for which a guest may keep everybody waiting
_OFF = frozenset(
    [libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_NOSTATE, libvirt.VIR_DOMAIN_CRASHED]
)
# Not among them: FAILED, a start that came to nothing. Whoever asked for the start was told.
# UNKNOWN is what a guest has that ended with its host's power: libvirt has forgotten that it ran.
_UNASKED = frozenset(
    [
        libvirt.VIR_DOMAIN_SHUTOFF_CRASHED,
        libvirt.VIR_DOMAIN_SHUTOFF_DAEMON,
        libvirt.VIR_DOMAIN_SHUTOFF_UNKNOWN,
    ]
)
_LOOKS = 5  # at a guest that comes and goes while it is looked at
_STATS = (
    libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_INTERFACE
    | libvirt.VIR_DOMAIN_STATS_BLOCK
)


class LibvirtHypervisor:
    """`Hypervisor`, `HasConsole`, `HasStats` and `Moves` on the libvirtd at `uri`.

    `directory` holds consoles, their logs and what was found out about this machine. `accelerator` is "kvm" or
    "tcg"; without one, KVM is taken if a guest really runs under it. `cap_cpu` holds guests to their MHz even when
    the host is idle; by default not under emulation, where a guest's MHz are not the host's. Without a `gate` no guest
    is received here or sent away.
    """

    def __init__(
        self,
        uri: str,
        directory: Path,
        clock: Clock,
        *,
        accelerator: str | None = None,
        cap_cpu: bool | None = None,
        patience: float = PATIENCE,
        gate: Gate | None = None,
    ) -> None:
        self._clock = clock
        self._gate = gate
        self._directory = directory.absolute()
        if len(bytes(self._directory)) + len("//.sock") + _NAME > _SOCKET_PATH:
            raise BadInput(f"{directory} is too long a path for sockets", field="directory")
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if accelerator is None:
            found = usable_kvm(self._directory / "kvm.json")
            log.info("hypervisor: %s", found.told)
            accelerator = "kvm" if found.usable else "tcg"
        if accelerator not in ("kvm", "tcg"):
            raise BadInput(f"no such accelerator: {accelerator}", field="accelerator")
        self._accelerator = accelerator
        self._live = accelerator == "kvm"  # whether guests may run while their memory is sent
        self._cap_cpu = accelerator == "kvm" if cap_cpu is None else cap_cpu
        self._tuning: Tuning | None = None
        self._found_no_room: dict[str, bool] = {}  # by name: why a disk failed last
        self._session = Session(uri, clock, patience=patience, opened=self._listen)

    @property
    def name(self) -> str:
        return f"qemu ({self._accelerator})"

    def close(self) -> None:
        """Let go of libvirt; guests run on."""
        self._session.close()

    def guests(self) -> Mapping[MachineId, GuestFound]:
        return self._session.run("list its guests", self._list)

    def ensure(self, guest: Guest) -> None:
        self._session.run(f"start {guest.machine}", lambda conn: self._ensure(conn, guest))

    def stop(self, machine: MachineId, *, force: bool) -> None:
        self._session.run(f"stop {machine}", lambda conn: _stop(conn, machine, force=force))

    def remove(self, machine: MachineId) -> None:
        def go(conn: libvirt.virConnect) -> None:
            domain = _lookup(conn, machine)
            if domain is not None:
                _plug_out(domain)
                with _unless_gone():
                    domain.undefine()
            kept = self._console(machine)
            for path in (kept.socket, kept.log):
                path.unlink(missing_ok=True)

        self._session.run(f"remove {machine}", go)

    def console(self, machine: MachineId) -> Path:
        def go(conn: libvirt.virConnect) -> Path:
            domain = _lookup(conn, machine)
            if domain is None or not domain.isActive():
                raise NotFound(f"{machine} does not run here")
            return self._console(machine).socket

        return self._session.run(f"find the console of {machine}", go)

    def console_log(self, machine: MachineId) -> Path:
        return self._console(machine).log

    def set_password(self, machine: MachineId, user: str, hashed: str) -> None:
        def go(conn: libvirt.virConnect) -> None:
            domain = _active(conn, machine)
            try:
                domain.agentSetResponseTimeout(_AGENT_SECONDS)
                domain.setUserPassword(user, hashed, libvirt.VIR_DOMAIN_PASSWORD_ENCRYPTED)
            except libvirt.libvirtError as error:
                if error.get_error_code() in _NO_AGENT:
                    raise Unavailable("its guest agent does not answer") from error
                raise Unavailable("its guest agent did not do it") from error

        self._session.run(f"set a password in {machine}", go)

    def snapshot(self, machine: MachineId, serial: str, name: str, *, drop: bool = False) -> None:
        self._session.run(
            f"{'drop' if drop else 'take'} {name} of {machine}",
            lambda conn: live_disks.snapshot(_active(conn, machine), serial, name, drop=drop),
        )

    def stats(self) -> Sequence[GuestStats]:
        for path in self._directory.glob("*.log"):
            console_log.shorten(path)
        return self._session.run("count its guests' use", self._count)

    @property
    def kin(self) -> str:
        if self._gate is None:
            return ""
        return self._session.run(
            "tell what it runs", lambda conn: migration.kin(conn, self._tuned(conn))
        )

    def passage(self, machine: MachineId) -> Passage | None:
        def go(conn: libvirt.virConnect) -> Passage | None:
            domain = _lookup(conn, machine)
            if domain is None or not domain.isActive():
                return None
            facts = _kept(domain, libvirt.VIR_DOMAIN_AFFECT_LIVE)
            state = domain.state()
            if not _arriving(state, facts):  # it runs: whatever is written, it is no copy any more
                facts = replace(facts, arrives=0)
            return migration.passage(domain, facts, still=_still(*state), live=self._live)

        return self._session.run(f"see how {machine} moves", go)

    def receive(self, guest: Guest, epoch: int, source: HostId) -> str:
        gate = self._opened()

        def go(conn: libvirt.virConnect) -> str:
            _room(conn, guest, self._accelerator)
            _present(guest)
            found = _lookup(conn, guest.machine)
            if found is not None and found.isActive():
                facts = _kept(found, libvirt.VIR_DOMAIN_AFFECT_LIVE)
                if not _arriving(found.state(), facts):
                    raise Conflict(f"{guest.machine} runs here")
                there = migration.passage(found, facts, still=True, live=self._live)
                if there and there.epoch == epoch and there.address:
                    return there.address
                _plug_out(found)
            if found is not None:
                with _unless_gone():
                    found.undefine()
            wanted = self._render(conn, guest, arrives=epoch)
            with lent_secrets.lent(conn, guest.disks):
                return migration.receive(conn, wanted, epoch, source, gate)

        return self._session.run(f"receive {guest.machine}", go)

    def send(self, machine: MachineId, journey: Journey) -> None:
        gate = self._opened()

        def go(conn: libvirt.virConnect) -> None:
            migration.send(_active(conn, machine), journey, gate, live=self._live)

        self._session.run(f"send {machine}", go)

    def go_on(self, machine: MachineId) -> None:
        def go(conn: libvirt.virConnect) -> None:
            domain = _active(conn, machine)
            migration.go_on(domain, still=_still(*domain.state()))

        self._session.run(f"have {machine} go on", go)

    def arrive(self, guest: Guest) -> None:
        def go(conn: libvirt.virConnect) -> None:
            domain = _active(conn, guest.machine)
            facts = _kept(domain, libvirt.VIR_DOMAIN_AFFECT_LIVE)
            if not facts.arrives:
                return
            if _arriving(domain.state(), facts):
                there = migration.passage(domain, facts, still=True, live=self._live)
                if there is None or there.state is not PassageState.COMPLETE:
                    raise Conflict(f"{guest.machine} has not arrived here")
                migration.arrive(domain, self._clock)
            # It runs already: until this is done it is done again, whoever was stopped in between.
            conn.defineXML(self._render(conn, guest).xml)
            migration.settle(domain, facts)

        self._session.run(f"have {guest.machine} arrive", go)

    def mirror(self, machine: MachineId, disks: Sequence[GuestDisk], bytes_per_second: int) -> None:
        def go(conn: libvirt.virConnect) -> None:
            mirrors.mirror(_active(conn, machine), disks, bytes_per_second)

        self._session.run(f"mirror the disks of {machine}", go)

    def mirrored(self, machine: MachineId, disks: Sequence[GuestDisk]) -> Mirror:
        def go(conn: libvirt.virConnect) -> Mirror:
            domain = _active(conn, machine)
            still = _still(*domain.state())  # first: what is whole then stays so
            return mirrors.mirrored(domain, disks, still=still)

        return self._session.run(f"see how the disks of {machine} are mirrored", go)

    def mirroring(self, machine: MachineId) -> bool:
        return self._session.run(
            f"see whether disks of {machine} are mirrored",
            lambda conn: mirrors.mirroring(_active(conn, machine)),
        )

    def hold(self, machine: MachineId) -> None:
        self._session.run(f"hold {machine}", lambda conn: _active(conn, machine).suspend())

    def pivot(self, machine: MachineId, disks: Sequence[GuestDisk]) -> None:
        def go(conn: libvirt.virConnect) -> None:
            domain = _active(conn, machine)
            mirrors.pivot(domain, disks)
            _wake(domain)

        self._session.run(f"have {machine} use its disks elsewhere", go)

    def unmirror(self, machine: MachineId, disks: Sequence[GuestDisk]) -> None:
        def go(conn: libvirt.virConnect) -> None:
            domain = _active(conn, machine)
            mirrors.unmirror(domain, disks)
            _wake(domain)

        self._session.run(f"mirror the disks of {machine} no more", go)

    def _opened(self) -> Gate:
        if self._gate is None:
            raise Unavailable("this host has no address for guests that move while they run")
        return self._gate

    def _list(self, conn: libvirt.virConnect) -> dict[MachineId, GuestFound]:
        found = {}
        for domain in conn.listAllDomains():
            with _unless_gone():
                seen = _seen(domain)
                if seen.stalled:
                    seen = replace(seen, short=self._short(domain))
                found[seen.machine] = seen
        for name in self._found_no_room.keys() - found.keys():
            self._found_no_room.pop(name, None)
        return found

    def _listen(self, conn: libvirt.virConnect) -> None:
        which = libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON
        conn.domainEventRegisterAny(None, which, self._disk_failed, None)

    def _disk_failed(self, _conn: Any, domain: libvirt.virDomain, *told: Any) -> None:
        """Libvirt says so, on its own thread: path, alias, what QEMU does, why; and what we gave it."""
        self._found_no_room[domain.name()] = told[3] == "enospc"

    def _short(self, domain: libvirt.virDomain) -> bool:
        """Whether there was no room for what one that is stalled wrote.

        A disk keeps the kind of its first trouble until the guest ends, so what was heard of the last one counts; what
        failed before anybody listened fails again when the guest is told to go on.
        """
        heard = self._found_no_room.get(domain.name())
        return _no_space(domain) if heard is None else heard

    def _count(self, conn: libvirt.virConnect) -> list[GuestStats]:
        # A guest whose QEMU doesn't answer just now must not hold up the numbers of the others.
        flags = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE
        flags |= libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
        made = []
        for domain, numbers in conn.getAllDomainStats(_STATS, flags):
            with _unless_gone():
                made.append(
                    counters.read(_kept(domain, libvirt.VIR_DOMAIN_AFFECT_LIVE).machine, numbers)
                )
        return made

    def _ensure(self, conn: libvirt.virConnect, guest: Guest) -> None:
        wanted = self._render(conn, guest)
        _room(conn, guest, self._accelerator)
        domain = _lookup(conn, guest.machine)
        state = domain.state()[0] if domain is not None else libvirt.VIR_DOMAIN_NOSTATE
        if domain is not None and _seen(domain).power is GuestPower.ARRIVING:
            raise Conflict(f"{guest.machine} is arriving here")
        reboot = _runs(state) and _boots(domain) < guest.boots
        changed = domain is None or _facts(domain) != wanted.facts
        if domain is not None and _runs(state) and not reboot:
            if state == libvirt.VIR_DOMAIN_PAUSED:
                _resume(domain)
            live_disks.adjust(domain, guest.disks)
            if changed:  # it asks QEMU, and one that does not answer must not hold up what is as it should be
                live_disks.fit(domain, guest.disks, self._clock)
            live_ports.adjust(domain, guest)  # these first: its generation says that they are done
        if reboot or not _runs(state):
            _present(guest)
        if domain is None or changed:
            domain = conn.defineXML(wanted.xml)
        if reboot or state == libvirt.VIR_DOMAIN_CRASHED:
            _plug_out(domain)
        if reboot or not _runs(state):
            with lent_secrets.lent(conn, guest.disks):
                self._start(conn, domain, guest, new=state == libvirt.VIR_DOMAIN_NOSTATE)

    def _start(
        self, conn: libvirt.virConnect, domain: libvirt.virDomain, guest: Guest, *, new: bool
    ) -> None:
        try:
            try:
                domain.create()
            except libvirt.libvirtError as error:
                if "cgroup" not in str(error) or not self._tuned(conn).cgroups:
                    raise
                log.warning("hypervisor: CPU time is not limited here: %s", error)
                self._tuning = replace(self._tuned(conn), cgroups=False)
                domain = conn.defineXML(self._render(conn, guest).xml)
                domain.create()
        except libvirt.libvirtError:
            if domain.isActive():
                return  # somebody was faster; what runs is what was defined
            if new:
                with _unless_gone():
                    domain.undefine()
            raise

    def _render(self, conn: libvirt.virConnect, guest: Guest, *, arrives: int = 0) -> Definition:
        console, tuning = self._console(guest.machine), self._tuned(conn)
        return domain_xml.render(guest, console, tuning, arrives=arrives)

    def _tuned(self, conn: libvirt.virConnect) -> Tuning:
        if self._tuning is None:
            mhz = int(conn.getInfo()[3]) or 2000  # some machines don't tell
            self._tuning = Tuning(
                self._accelerator, mhz, cap_cpu=self._cap_cpu, firmware=small(self._accelerator)
            )
        return self._tuning

    def _console(self, machine: MachineId) -> Console:
        name = machine.partition("-")[2][-_NAME:]
        return Console(self._directory / f"{name}.sock", self._directory / f"{name}.log")


def _lookup(conn: libvirt.virConnect, machine: MachineId) -> libvirt.virDomain | None:
    try:
        return conn.lookupByName(machine)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return None


def _active(conn: libvirt.virConnect, machine: MachineId) -> libvirt.virDomain:
    domain = _lookup(conn, machine)
    if domain is None or not domain.isActive():
        raise NotFound(f"{machine} does not run here")
    return domain


def _seen(domain: libvirt.virDomain) -> GuestFound:
    """A guest as it is. Never left out because it changes just now: that would read as gone."""
    for _ in range(_LOOKS):
        state, reason = domain.state()
        try:
            facts = _facts(domain)
            live = _kept(domain, libvirt.VIR_DOMAIN_AFFECT_LIVE) if _runs(state) else facts
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
                raise
            continue
        arriving = _arriving([state, reason], live)
        return GuestFound(
            machine=facts.machine,
            generation=facts.generation,
            boots=live.boots,
            power=GuestPower.ARRIVING if arriving else _power(state, reason),
            stalled=_stalled(state, reason),
            still=_still(state, reason) and not arriving,
        )
    raise Unavailable(f"{domain.name()} changes faster than one can look")


def _power(state: int, reason: int) -> GuestPower:
    if _runs(state):
        return GuestPower.RUNNING
    if state == libvirt.VIR_DOMAIN_CRASHED:
        return GuestPower.CRASHED
    unasked = state == libvirt.VIR_DOMAIN_SHUTOFF and reason in _UNASKED
    return GuestPower.CRASHED if unasked else GuestPower.OFF


def _runs(state: int) -> bool:
    """Whether a QEMU of this guest may touch its disks, be it paused or on its way down."""
    return state not in _OFF


def _stalled(state: int, reason: int) -> bool:
    """Whether it waits for a disk: its pool was full, or did not answer."""
    return bool(state == libvirt.VIR_DOMAIN_PAUSED and reason == libvirt.VIR_DOMAIN_PAUSED_IOERROR)


def _no_space(domain: libvirt.virDomain) -> bool:
    """Whether the first trouble of a disk was that it found no room."""
    try:
        return libvirt.VIR_DOMAIN_DISK_ERROR_NO_SPACE in domain.diskErrors().values()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
            raise
        return False  # it has ended meanwhile


def _still(state: int, reason: int) -> bool:
    """Whether it does not run, and not because of a disk: it was sent away, or waits for what is sent to it."""
    return bool(state == libvirt.VIR_DOMAIN_PAUSED and not _stalled(state, reason))


def _arriving(state: list[int], live: Facts) -> bool:
    return live.arrives > 0 and _still(*state)


def _facts(domain: libvirt.virDomain) -> Facts:
    """What counts from the next boot."""
    try:
        return _kept(domain, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
            raise
        # Somebody undefined it while it ran: it is ours all the same until it ends.
        return _kept(domain, libvirt.VIR_DOMAIN_AFFECT_LIVE)


def _boots(domain: libvirt.virDomain) -> int:
    """The count with which the running guest was started."""
    return _kept(domain, libvirt.VIR_DOMAIN_AFFECT_LIVE).boots


def _kept(domain: libvirt.virDomain, which: int) -> Facts:
    element = libvirt.VIR_DOMAIN_METADATA_ELEMENT
    return domain_xml.facts(domain.metadata(element, domain_xml.NAMESPACE, which))


def _stop(conn: libvirt.virConnect, machine: MachineId, *, force: bool) -> None:
    domain = _lookup(conn, machine)
    if domain is None:
        return
    if force:
        _plug_out(domain)
        return
    with _unless_off():
        domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)


def _plug_out(domain: libvirt.virDomain) -> None:
    with _unless_off():
        domain.destroy()


def _resume(domain: libvirt.virDomain) -> None:
    """A guest that stands still because of a disk tries again; any other pause has another owner."""
    if _stalled(*domain.state()):
        with _unless_off():
            domain.resume()


def _wake(domain: libvirt.virDomain) -> None:
    """One that stands still goes on."""
    if domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
        with _unless_off():
            domain.resume()


def _room(conn: libvirt.virConnect, guest: Guest, accelerator: str) -> None:
    """What this machine could never run. How much of it is promised already is not a driver's business."""
    kind = "kvm" if accelerator == "kvm" else "qemu"
    most = conn.getMaxVcpus(kind)
    if guest.cpus > most:
        raise BadInput(f"{guest.machine} wants {guest.cpus} CPUs; {most} is the most", field="cpus")
    memory = conn.getInfo()[1]
    if guest.memory_mib > memory:
        raise NoRoom(f"{guest.machine} needs {guest.memory_mib} MiB, this host has {memory}")


def _present(guest: Guest) -> None:
    wanted = [disk.path for disk in guest.disks if not disk.is_far]
    wanted += [path for path in (guest.kernel, guest.initrd) if path is not None]
    for path in wanted:
        if not path.exists():
            raise Unavailable(f"{guest.machine}: no such file: {path.name}", detail=str(path))


@contextmanager
def _unless_gone() -> Iterator[None]:
    """A domain that is not there (any more), or not ours, is passed over."""
    try:
        yield
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _GONE:
            raise


@contextmanager
def _unless_off() -> Iterator[None]:
    """A guest that is off already, or gone, is what was wanted."""
    try:
        yield
    except libvirt.libvirtError as error:
        if error.get_error_code() not in {*_GONE, libvirt.VIR_ERR_OPERATION_INVALID}:
            raise
