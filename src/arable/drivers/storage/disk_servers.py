"""Serves volumes to the hosts that have their leases: a process for each, which outlives this one.

    exports/<volume>.json  how it is served        exports/<volume>.pid, .log  of its process
    exports/<volume>.qmp   where it is told of other limits
    exports/<volume>.next.pid, .log  of the process that stands in for it while a host waits to be handed the lease

Which processes serve what is asked of the kernel and never believed from a file: a command line names volume, epoch
and holder, and whatever names the pidfile of a volume may write to it. So nothing is lost track of when we are killed
between starting a process and writing that down, and `cut` finds also what somebody else forgot.
"""

import os
import select
import shutil
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from arable.domain.errors import Forbidden, NoRoom, NotFound, Unavailable
from arable.domain.ids import HostId, VolumeId
from arable.drivers import namespaces, processes
from arable.drivers.processes import Running, Words
from arable.drivers.storage import listening, monitor, views
from arable.drivers.storage.disk_process import PROGRAM, Serving
from arable.drivers.storage.durable import new_file, put_in_place
from arable.drivers.storage.protocol import ExportAt, export_name

_STARTS_WITHIN = 60.0
_ENDS_WITHIN = 10.0
_TRIES = 8  # ports that somebody else has


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """What must be the same again when a volume's process is replaced: its host is told the port once.

    `next_port` is where `next_epoch` will be served, 0 for none. It is in the `storage_zone` since `zoned`.
    """

    port: int
    next_port: int = 0
    next_epoch: int = 0
    iops: int = 0
    bytes_per_second: int = 0
    obeyed: bool = False  # what serves it now was told of these limits, or began with them
    storage_zone: str = ""
    zoned: int = 0


class DiskServers(ABC):
    """`Exports` by qemu-storage-daemon, but for how clients reach it: that is a subclass's.

    `path_of` tells a volume's file, and raises `NotFound`; `bytes_of` its size.
    """

    programs = frozenset({PROGRAM.encode()})
    """What the processes that serve a volume run: `cut` looks for these."""

    def __init__(
        self,
        directory: Path,
        path_of: Callable[[VolumeId], Path],
        bytes_of: Callable[[Path], int],
        address: str,
        *,
        ports: range,
        netns: str | None = None,
    ) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = directory.resolve()
        self._path_of = path_of
        self._bytes_of = bytes_of
        self._address = address
        self._ports = ports
        self._netns = netns
        self._lock = (
            threading.Lock()
        )  # of what is kept in memory; never held while a process is awaited
        self._kept: dict[VolumeId, _Kept] = {}
        self._least: dict[VolumeId, int] = {}  # bytes
        self._running: dict[Path, tuple[tuple[bytes, bytes], Running]] = {}
        for path in self._folder.glob("*.json"):
            with suppress(msgspec.DecodeError):
                volume = VolumeId(path.stem)
                self._kept[volume] = msgspec.json.decode(path.read_bytes(), type=_Kept)
        self._wake, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    @abstractmethod
    def _marks(self, volume: VolumeId, epoch: int, holder: HostId) -> tuple[bytes, bytes]:
        """Words that the command line of this serving has, and no other's."""

    @abstractmethod
    def _serve(self, serving: Serving, port: int, pidfile: Path) -> str | None:
        """Serve it there; what was said if that was not to be. Raises `PortTakenError`, `Unavailable`."""

    def _is_view(self, volume: VolumeId) -> bool:
        try:
            return views.viewed(self._path_of(volume)) is not None
        except NotFound:
            return False

    def expect(self, volume: VolumeId, size: int) -> None:
        """It is there when it has so many bytes."""
        self._least[volume] = size

    def limit(self, volume: VolumeId, iops: int, bytes_per_second: int) -> None:
        """What the volume's process allows from now on, and every later one; 0 means no limit. Raises `Unavailable`."""
        with self._lock:
            kept = self._kept.get(volume) or _Kept(port=self._free_port(set()))
            wanted = replace(kept, iops=iops, bytes_per_second=bytes_per_second)
            if wanted == kept and kept.obeyed:
                return
            self._keep(volume, replace(wanted, obeyed=False))
        listens = monitor.set_limits(self._monitor(volume), iops, bytes_per_second)
        if not listens and wanted != kept and self._pidfile(volume).exists():
            self._end([self._pidfile(volume)])  # of an earlier release: what is served anew obeys
        with self._lock:
            now = self._kept.get(volume)
            if now and (now.iops, now.bytes_per_second) == (iops, bytes_per_second):
                self._keep(volume, replace(now, obeyed=True))

    def is_masked(self, volume: VolumeId, storage_zone: str, zoned: int) -> bool:
        """Whether it is in that storage zone already. Raises `Forbidden` when a later word has it in another."""
        with self._lock:
            kept = self._kept.get(volume)
        if kept is None:
            return not storage_zone
        if kept.storage_zone == storage_zone:
            return True
        if zoned <= kept.zoned:
            raise Forbidden(f"{volume} is in another storage zone since then")
        return False

    def mask(self, volume: VolumeId, storage_zone: str, zoned: int) -> None:
        """It is in that storage zone from now on. Nobody has it."""
        with self._lock:
            kept = self._kept.get(volume) or _Kept(port=self._free_port(set()))
            self._keep(volume, replace(kept, storage_zone=storage_zone, zoned=zoned))

    def snapshot(self, volume: VolumeId, name: str, *, drop: bool = False) -> bool:
        """By the volume's process, if it has one; already so is fine. Raises `Unavailable`."""
        return monitor.snapshot(self._monitor(volume), name, drop=drop)

    def where(self, volume: VolumeId, epoch: int) -> ExportAt:
        """Where the holder of that epoch finds the volume."""
        with self._lock:
            kept = self._kept[volume]
        return ExportAt(
            volume=volume,
            address=self._address,
            port=kept.next_port if kept.next_port and kept.next_epoch == epoch else kept.port,
            name=export_name(volume, epoch),
            storage_zone=kept.storage_zone,
        )

    def has(self, volume: VolumeId) -> bool:
        try:
            path = self._path_of(volume)
        except NotFound:
            return False
        return self._bytes_of(path) >= self._least.get(volume, 0)

    def open(self, epoch: int, holder: HostId, volumes: Iterable[VolumeId]) -> None:
        for volume in volumes:
            wanted = self._marks(volume, epoch, holder)
            if not self._serves(self._pidfile(volume), wanted):
                self._succeed(volume, epoch)
                self._end([self._pidfile(volume)])
                self._start(volume, epoch, holder)

    def alive(self, volumes: Iterable[VolumeId]) -> bool:
        wanted = {str(self._pidfile(volume)).encode() for volume in volumes}
        seen: set[bytes] = set()
        for one in processes.holding(
            lambda words: self._is_ours(words) and _named(words, wanted, seen)
        ):
            one.close()
        return seen >= wanted

    def cut(self, volumes: Iterable[VolumeId]) -> None:
        each = tuple(volumes)
        self._end([*map(self._pidfile, each), *map(self._next_pidfile, each)])

    def stand_in(self, epoch: int, heir: HostId, volumes: Iterable[VolumeId]) -> None:
        for volume in volumes:
            with self._lock:
                kept = self._kept.get(volume) or _Kept(port=self._free_port(set()))
                if not kept.next_port or kept.next_epoch != epoch:
                    port = kept.next_port or self._free_port({kept.port})
                    self._keep(volume, replace(kept, next_port=port, next_epoch=epoch))
            if not self._serves(self._next_pidfile(volume), self._marks(volume, epoch, heir)):
                self._end([self._next_pidfile(volume)])
                self._start(volume, epoch, heir, blank=True)

    def stand_down(self, volumes: Iterable[VolumeId]) -> None:
        for volume in volumes:
            with self._lock:
                kept = self._kept.get(volume)
            if kept and kept.next_port:
                self._end([self._next_pidfile(volume)])
                with self._lock:
                    self._keep(volume, replace(self._kept[volume], next_port=0, next_epoch=0))

    def _succeed(self, volume: VolumeId, epoch: int) -> None:
        """What stood in for this epoch is no more, and where it was, the volume will be."""
        with self._lock:
            kept = self._kept.get(volume)
            if kept is None or not kept.next_port or kept.next_epoch != epoch:
                return
        self._end([self._next_pidfile(volume)])
        with self._lock:
            self._keep(volume, replace(kept, port=kept.next_port, next_port=0, next_epoch=0))

    def _end(self, pidfiles: list[Path]) -> None:
        """The processes of these are gone, whoever started them."""
        names = {str(path).encode() for path in pidfiles}
        if not names:
            return

        def serves_one(words: Words) -> bool:
            return self._is_ours(words) and not names.isdisjoint(words)

        for path in pidfiles:
            self._let_go(path)
        # Until none is seen: one that was just starting has become two.
        while found := list(processes.holding(serves_one)):
            try:
                for one in found:  # all of them first: one may not end before another has
                    one.strike()
                for one in found:
                    one.kill(_ENDS_WITHIN)
            finally:
                for one in found:
                    one.close()

    def forget(self, volume: VolumeId) -> None:
        """The volume is no more: it is served to nobody, and its port is free for another."""
        self.cut([volume])
        with self._lock:
            self._kept.pop(volume, None)
            self._least.pop(volume, None)
            for path in self._folder.glob(f"{volume}.*"):
                path.unlink(missing_ok=True)

    def pids(self) -> dict[VolumeId, int]:
        """The processes that serve, as far as they were looked at."""
        with self._lock:
            return {
                VolumeId(path.stem): one.pid
                for path, (_, one) in self._running.items()
                if not one.ended and path == self._pidfile(VolumeId(path.stem))
            }

    def await_end(self, seconds: float) -> None:
        """Return when a process that serves has ended, or time is up, or there are others to wait for."""
        with self._lock:
            poll = select.poll()
            # Those that ended before we looked, too: nobody has seen to them yet.
            for handle in (*(one.handle for _, one in self._running.values()), self._wake):
                poll.register(handle, select.POLLIN)
        poll.poll(seconds * 1000)
        with suppress(BlockingIOError):
            while os.read(self._wake, 64):
                pass

    def _serves(self, at: Path, wanted: tuple[bytes, bytes]) -> bool:
        with self._lock:
            known = self._running.get(at)
            if known:
                return known[0] == wanted and not known[1].ended
        pidfile = str(at).encode()

        def fits(words: Words) -> bool:
            return self._is_ours(words) and pidfile in words and set(wanted) <= set(words)

        try:
            found = processes.hold(int(at.read_text()), fits)
        except (FileNotFoundError, ValueError):
            return False
        if found:
            self._note(at, wanted, found)
        return found is not None

    def _start(self, volume: VolumeId, epoch: int, holder: HostId, *, blank: bool = False) -> None:
        path = self._path_of(volume)
        pidfile = self._next_pidfile(volume) if blank else self._pidfile(volume)
        if not shutil.which(PROGRAM):
            raise Unavailable(f"{PROGRAM} is not installed here")
        taken: set[int] = set()
        for _ in range(_TRIES):
            with self._lock:
                kept = self._kept.get(volume)
                if kept is None or (not blank and kept.port in taken):
                    port = self._free_port(taken)
                    kept = replace(kept, port=port) if kept else _Kept(port=port)
                    self._keep(volume, kept)
                if blank and (not kept.next_port or kept.next_port in taken):
                    kept = replace(kept, next_port=self._free_port(taken), next_epoch=epoch)
                    self._keep(volume, kept)
            port = kept.next_port if blank else kept.port
            serving = Serving(
                volume=volume,
                epoch=epoch,
                holder=holder,
                path=path,
                direct=_can_be_direct(path),
                blank_bytes=self._bytes_of(path) if blank else 0,
                iops=kept.iops,
                bytes_per_second=kept.bytes_per_second,
                monitor="" if blank else self._monitor(volume).name,
                storage_zone=kept.storage_zone,
                read_only=self._is_view(volume),
            )
            try:
                said = self._serve(serving, port, pidfile)
            except listening.PortTakenError:
                taken.add(port)
                continue
            if said is None:
                break
            raise Unavailable(f"{volume} can't be served", detail=said)
        if not self._serves(pidfile, self._marks(volume, epoch, holder)):
            raise Unavailable(f"the server of {volume} ended at once")

    def _run(
        self,
        words: Sequence[str],
        log: Path,
        *,
        keeps: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
    ) -> str | None:
        """What it said if it did not start, or ended badly. It inherits the files `keeps`."""
        with log.open("wb") as out:

            def run() -> int:
                return subprocess.run(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    check=False,
                    timeout=_STARTS_WITHIN,
                    cwd=self._folder,
                    start_new_session=True,
                    pass_fds=keeps,
                    env=environment,
                ).returncode

            try:
                code = namespaces.inside(self._netns, run)
            except (subprocess.TimeoutExpired, OSError) as error:
                raise Unavailable(f"{log.stem} can't be served: {error}") from error
        return None if code == 0 else log.read_text(errors="replace")[-2000:]

    def _note(self, at: Path, wanted: tuple[bytes, bytes], found: Running) -> None:
        with self._lock:
            before = self._running.pop(at, None)
            if before:
                before[1].close()
            self._running[at] = (wanted, found)
        with suppress(BlockingIOError):
            os.write(self._waker, b"!")

    def _let_go(self, at: Path) -> None:
        with self._lock:
            known = self._running.pop(at, None)
            if known:
                known[1].close()

    def _free_port(self, taken: set[int]) -> int:
        used = taken | {kept.port for kept in self._kept.values()}
        used |= {kept.next_port for kept in self._kept.values()}
        port = next((port for port in self._ports if port not in used), None)
        if port is None:
            raise NoRoom(f"all {len(self._ports)} ports for shared disks are in use here")
        return port

    def _keep(self, volume: VolumeId, kept: _Kept) -> None:
        if self._kept.get(volume) != kept:
            made = new_file(self._folder / f"{volume}.new", msgspec.json.encode(kept))
            put_in_place(made, self._folder / f"{volume}.json")
            self._kept[volume] = kept

    def _is_ours(self, words: Words) -> bool:
        """Also while `setpriv` is about to become it."""
        return not self.programs.isdisjoint(words)

    def _monitor(self, volume: VolumeId) -> Path:
        return self._folder / f"{volume}.qmp"

    def _pidfile(self, volume: VolumeId) -> Path:
        return self._folder / f"{volume}.pid"

    def _next_pidfile(self, volume: VolumeId) -> Path:
        return self._folder / f"{volume}.next.pid"


def bare(*capabilities: str) -> list[str]:
    """What a server is started by, to have no power of root's but these, and to read files of its own."""
    left = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    return ["setpriv", "--no-new-privs", f"--bounding-set={left}", "--inh-caps=-all", "--"]


def _can_be_direct(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        return False
    return True


def _named(words: Words, wanted: set[bytes], seen: set[bytes]) -> bool:
    """Whether these words have one of those that are wanted, which is noted."""
    found = wanted.intersection(words)
    seen |= found
    return bool(found)
