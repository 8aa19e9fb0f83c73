"""What `arable agent` puts together for shared disks: on a compute host leases and their watchdog, on a storage host
the lease service, on both the certificate for disks.
"""

import asyncio
import logging
import ssl
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from arable.agent import disk_identity, pool_marks, watch
from arable.agent.config import AgentConfig, File, Iscsi, Leased, Libvirt, Shared
from arable.agent.deadlines import FOLDER, DeadlineFiles
from arable.agent.file_pools import FilePools
from arable.agent.join import Identity
from arable.agent.lease_desk import LeaseDesk
from arable.agent.lease_line import TlsLine
from arable.agent.lease_port import LeasePort
from arable.agent.lease_threads import KeeperThreads, MoverThread, TendingThread
from arable.agent.leases import LeaseKeeper
from arable.agent.moves import Mover
from arable.agent.peer_port import own_address
from arable.agent.watch import Watch
from arable.domain.errors import Unavailable
from arable.domain.ids import HostId, PoolId
from arable.drivers.hypervisor.protocol import Gate, Hypervisor, Moves
from arable.drivers.storage.file.pool import FileStorage
from arable.drivers.storage.iscsi.pool import IscsiStorage
from arable.drivers.storage.nbd.pool import NbdStorage
from arable.drivers.storage.protocol import Shares
from arable.drivers.storage.served import ServedStorage
from arable.processes import watchdog
from arable.runtime.boottime import KernelBootTime
from arable.runtime.clock import Clock
from arable.runtime.entropy import Entropy

log = logging.getLogger(__name__)

_CERTIFICATE_SECONDS, _CERTIFICATE_SOON_SECONDS = 600.0, 3.0  # between looks whether one is due


def keeper(
    config: AgentConfig,
    context: Callable[[], ssl.SSLContext],
    entropy: Entropy,
    nudge: Callable[[], None],
    stack: ExitStack,
) -> LeaseKeeper | None:
    """Keeps this host's leases; None where guests are no processes that a watchdog could stop."""
    if not isinstance(config.hypervisor, Libvirt):
        return None
    time, home = KernelBootTime(), config.directory / watch.FOLDER
    looks = Watch(home, watchdog_command(config.hardware_watchdog), time)
    made = LeaseKeeper(
        lambda place: TlsLine(place, context),
        DeadlineFiles(home / FOLDER),
        looks.alive,
        time,
        entropy,
        nudge=nudge,
    )
    threads = KeeperThreads(made, looks, time)
    stack.callback(threads.close)
    threads.start()
    return made


def mover(
    hypervisor: Hypervisor | None,
    leases: LeaseKeeper | None,
    clock: Clock,
    nudge: Callable[[], None],
    stack: ExitStack,
) -> Mover | None:
    """Moves this host's guests; None where they can't be moved while they run."""
    if leases is None or not isinstance(hypervisor, Moves):
        return None
    made = Mover(hypervisor, hypervisor, leases, clock, nudge)
    thread = MoverThread(made, clock)
    stack.callback(thread.close)
    thread.start()
    return made


def gate(config: AgentConfig, chosen: Libvirt) -> Gate | None:
    """By what way guests come to this host while they run; None when it has no address for that."""
    address = chosen.move_address or own_address(config.servers)
    if not address:
        return None
    return Gate(
        address=address,
        credentials=disk_identity.directory(config.directory),
        ports=range(chosen.first_move_port, chosen.last_move_port + 1),
    )


def watchdog_command(hardware: Path | None = None) -> list[str]:
    """How a watchdog is started, but for its directory: without anything of ours that it does not need."""
    device = ["--hardware", str(hardware)] if hardware else []
    return [sys.executable, "-I", "-S", watchdog.__file__, *device]


def shared_pool(
    config: AgentConfig, chosen: Leased, pool: PoolId, clock: Clock, entropy: Entropy
) -> ServedStorage:
    """The pool that this storage host shares."""
    home = chosen.directory or config.directory / "volumes"
    if isinstance(chosen, File):
        _keeps_no_other(home, pool)
    pool_marks.recognise(config.directory, home, pool)
    if isinstance(chosen, File):
        return FileStorage(
            home,
            pool,
            clock,
            KernelBootTime(),
            lease_seconds=chosen.lease_seconds,
            capacity_bytes=chosen.capacity_bytes,
            reserve_bytes=chosen.reserve_bytes,
        )
    assert isinstance(chosen, Shared), "there are no others"
    if isinstance(chosen, Iscsi):
        return IscsiStorage(
            home,
            pool,
            clock,
            KernelBootTime(),
            entropy,
            address=chosen.address,
            lease_seconds=chosen.lease_seconds,
            ports=range(chosen.first_port, chosen.last_port + 1),
            capacity_bytes=chosen.capacity_bytes,
            reserve_bytes=chosen.reserve_bytes,
        )
    return NbdStorage(
        home,
        pool,
        clock,
        KernelBootTime(),
        address=chosen.address,
        credentials=disk_identity.directory(config.directory),
        lease_seconds=chosen.lease_seconds,
        ports=range(chosen.first_port, chosen.last_port + 1),
        capacity_bytes=chosen.capacity_bytes,
        reserve_bytes=chosen.reserve_bytes,
    )


def _keeps_no_other(home: Path, pool: PoolId) -> None:
    """A directory that others have mounted, too, may be another host's pool: nobody sets his own mark on that."""
    mark = home / pool_marks.MARK
    kept = mark.read_text() if mark.exists() else pool
    if kept != pool:
        raise Unavailable(
            f"{home} is {kept}, which another host keeps, or kept: let its keeper in anew as the same host"
            " (`arable host invite --host`), or name an empty directory"
        )


def mounted(
    config: AgentConfig, clock: Clock, nudge: Callable[[], None], stack: ExitStack
) -> FilePools | None:
    """Looks after the pools of files that are mounted on this host; None for none."""
    if not config.file_pools:
        return None
    made = FilePools(config.file_pools, clock, nudge)
    stack.callback(made.close)
    made.start()
    return made


async def certified(
    config: AgentConfig, identity: Callable[[], Identity], clock: Clock, entropy: Entropy
) -> None:
    """There is a certificate for disks, and it is renewed in its time."""
    while True:
        pause = _CERTIFICATE_SECONDS
        if disk_identity.due(config.directory, clock):
            got = await asyncio.to_thread(
                disk_identity.renew, config.directory, identity(), config.servers, entropy
            )
            if not got:
                pause = _CERTIFICATE_SOON_SECONDS
        await asyncio.sleep(pause)


async def served(
    config: AgentConfig,
    chosen: Leased,
    pool: Shares,
    identity: Callable[[], Identity],
    clock: Clock,
    nudge: Callable[[], None],
    asked: Callable[[HostId], None],
) -> None:
    """Leases are given out and disks looked after, until cancelled; as soon as there is a certificate to show."""
    credentials = disk_identity.directory(config.directory)
    pool.leases.changed = nudge
    tending = TendingThread(pool, KernelBootTime())
    tending.start()
    port: LeasePort | None = None
    shown = ""
    try:
        while True:
            newest = disk_identity.held(config.directory)
            if newest and port is None:
                port = await _opened(
                    chosen, LeaseDesk(pool), identity().authority, credentials, clock, asked
                )
            elif port and newest != shown:
                port.certified_anew()
            shown = newest
            await asyncio.sleep(_CERTIFICATE_SOON_SECONDS if newest else 0.2)
    finally:
        if port:
            await port.close()
        await asyncio.to_thread(tending.close)


async def _opened(
    chosen: Leased,
    desk: LeaseDesk,
    authority: str,
    credentials: Path,
    clock: Clock,
    asked: Callable[[HostId], None],
) -> LeasePort | None:
    """None while that can't be: the address may come later, and the host has other work."""
    port = LeasePort(desk, authority, credentials, clock, asked)
    try:
        await port.open(chosen.address, chosen.port)
    except OSError as error:
        log.error("leases can't be given out at %s:%d: %s", chosen.address, chosen.port, error)  # noqa: TRY400
        await port.close()
        return None
    log.info("leases are given out at %s:%d", chosen.address, chosen.port)
    return port
