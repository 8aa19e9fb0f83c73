"""A management server as a member of its cluster, put together: its heartbeat, its pings, what it does as master."""

import shutil
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from ssl import SSLContext
from typing import Any

from arable.client.peers import Peers
from arable.cluster.times import Times
from arable.controllers.loop import Loop
from arable.controllers.master import Master
from arable.controllers.segment import SegmentManager
from arable.domain.errors import BadInput
from arable.domain.ids import SegmentId
from arable.domain.platform import Platform
from arable.domain.segment import Load, Segment, SegmentState
from arable.drivers.platform.none import NoPlatform
from arable.drivers.platform.subprocess import SubprocessPlatform
from arable.drivers.platform.systemd import SystemdPlatform
from arable.runtime.clock import Clock
from arable.runtime.own_load import OwnLoad
from arable.runtime.shared_clock import SharedClock
from arable.store import notices
from arable.store.database import Database, Tx
from arable.store.nudges import collected
from arable.store.writer import Writer

_AT_ONCE = 4  # platform calls


@dataclass(slots=True)
class Membership:
    """`begin` when others can reach us, `end` while the writer still runs."""

    manager: SegmentManager
    peers: Peers
    performing: ThreadPoolExecutor

    def begin(self, address: str) -> None:
        """Be a member that is reached at HOST:PORT."""
        self.manager.about = replace(self.manager.about, address=address)
        self.manager.start()

    def end(self) -> None:
        """Hand over what we hold, and be none any more."""
        self.manager.stop()
        self.performing.shutdown(cancel_futures=True)
        self.peers.close()


def membership(
    name: str,
    site: str,
    database: Database,
    writer: Writer,
    clock: Clock,
    tls: Callable[[], SSLContext],
    platform: Platform,
    times: Times,
) -> Membership:
    """`tls` makes what we ping others with. `serve_loop` has to follow."""
    me = SegmentId(name)
    transact = (
        partial(_through, writer) if database.is_sqlite else partial(_beside, database, writer)
    )
    peers = Peers(tls, clock.monotonic, times.deadline)
    performing = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="platform")
    about = Segment(
        id=me,
        seq=0,
        epoch=0,
        address="",
        site=site,
        version=metadata.version("arable"),
        state=SegmentState.READY,
        heartbeat_at=clock.now(),
    )
    master = Master(me, transact, peers.ping_all, platform, clock, times, performing)
    manager = SegmentManager(
        about,
        transact,
        clock,
        peers.ping,
        times,
        duty=master.step,
        rest=peers.rest,
        ring=peers.ring,
    )
    if isinstance(clock, SharedClock):
        manager.time = clock.heard
    return Membership(manager, peers, performing)


def serve_loop(member: Membership, loop: Loop, writers: Sequence[Writer], clock: Clock) -> None:
    """The controllers' loop is woken by a won election and by new farms; what it can't keep up with is our load."""
    own = OwnLoad(clock)

    def load() -> Load:
        return Load(
            cpu_percent=own.cpu_percent(),
            memory_mib=own.memory_mib(),
            lag_ms=round(loop.lag() * 1000),
            pending=sum(each.waiting for each in writers),
        )

    member.manager.load = load
    member.manager.elected = loop.wake
    member.manager.held = partial(loop.wake, held=True)


def chosen(platform: str, data: Path, database: str) -> Platform:
    """By its word: `none`, `systemd:UNIT` or `subprocess:DIRECTORY`. Raises `BadInput`."""
    kind, _, about = platform.partition(":")
    match kind:
        case "none" if not about:
            return NoPlatform()
        case "systemd" if about:
            return SystemdPlatform(about)
        case "subprocess" if about:
            environment = {"ARABLE_DATABASE": database} if database else {}
            return SubprocessPlatform(Path(about), partial(_sibling, data), environment)
        case _:
            raise BadInput(
                f"{platform!r} is none of none, systemd:UNIT, subprocess:DIRECTORY",
                field="platform",
            )


def _sibling(ours: Path, data: Path) -> list[str]:
    """What starts a server in that directory, with the authority that is ours."""
    authority = data / "authority"
    if not authority.exists():
        shutil.copytree(ours / "authority", authority)
    argv = [sys.executable, "-m", "arable.processes.main", "server", "--data", str(data)]
    return [*argv, "--api", "127.0.0.1:0", "--gateway", "127.0.0.1:0",
            "--platform", f"subprocess:{data.parent}"]  # fmt: skip


def _through(writer: Writer, work: Callable[[Tx], Any]) -> Any:
    """SQLite has one writer, and that is ours."""
    return writer.submit(work).result()


def _beside(database: Database, writer: Writer, work: Callable[[Tx], Any]) -> Any:
    """In a transaction of its own, so that a long batch of the writer's costs no heartbeat."""
    with database.write() as tx:
        done = work(tx)
        nudges = collected(tx)
        notices.tell(tx, database.name, nudges)
    if nudges.topics or nudges.hosts:
        writer.committed(nudges)
    return done
