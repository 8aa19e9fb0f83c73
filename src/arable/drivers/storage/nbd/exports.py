"""Serves volumes to the hosts that have their leases: a process for each, which outlives this one.

    exports/<volume>.json  how it is served        exports/<volume>.pid, .log  of its process

Which processes serve what is asked of the kernel and never believed from a file: a command line names volume, epoch
and holder, and whatever names the pidfile of a volume may write to it. So nothing is lost track of when we are killed
between starting a process and writing that down, and `cut` finds also what somebody else forgot.
"""

import os
import select
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from arable.domain.errors import NoRoom, Unavailable
from arable.domain.ids import HostId, VolumeId
from arable.drivers import namespaces, processes
from arable.drivers.processes import Running, Words
from arable.drivers.storage.durable import new_file, put_in_place
from arable.drivers.storage.nbd.daemon import PROGRAM, Serving, command, marks
from arable.drivers.storage.protocol import ExportAt, export_name

PORTS = range(10809, 11833)
_STARTS_WITHIN = 60.0
_ENDS_WITHIN = 10.0
_TRIES = 8  # ports that somebody else has


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """What must be the same again when a volume's process is replaced: its host is told the port once."""

    port: int
    iops: int = 0
    bytes_per_second: int = 0


class NbdExports:
    """`Exports` by qemu-storage-daemon. `path_of` tells a volume's file; raises `NotFound`."""

    def __init__(
        self,
        directory: Path,
        path_of: Callable[[VolumeId], Path],
        credentials: Path,
        address: str,
        *,
        ports: range = PORTS,
        netns: str | None = None,
    ) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = directory.resolve()
        self._path_of = path_of
        self._credentials = credentials
        self._address = address
        self._ports = ports
        self._netns = netns
        self._lock = (
            threading.Lock()
        )  # of what is kept in memory; never held while a process is awaited
        self._kept: dict[VolumeId, _Kept] = {}
        self._running: dict[VolumeId, tuple[tuple[bytes, bytes], Running]] = {}
        for path in self._folder.glob("*.json"):
            with suppress(msgspec.DecodeError):
                volume = VolumeId(path.stem)
                self._kept[volume] = msgspec.json.decode(path.read_bytes(), type=_Kept)
        self._wake, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def limit(self, volume: VolumeId, iops: int, bytes_per_second: int) -> None:
        """What the volume's next process allows; 0 means no limit."""
        with self._lock:
            kept = self._kept.get(volume) or _Kept(port=self._free_port(set()))
            self._keep(volume, replace(kept, iops=iops, bytes_per_second=bytes_per_second))

    def where(self, volume: VolumeId, epoch: int) -> ExportAt:
        """Where the holder of that epoch finds the volume."""
        with self._lock:
            kept = self._kept[volume]
        return ExportAt(
            volume=volume,
            address=self._address,
            port=kept.port,
            name=export_name(volume, epoch),
        )

    def open(self, epoch: int, holder: HostId, volumes: Iterable[VolumeId]) -> None:
        for volume in volumes:
            wanted = marks(volume, epoch, holder)
            if not self._serves(volume, wanted):
                self.cut([volume])
                self._start(volume, epoch, holder, wanted)

    def cut(self, volumes: Iterable[VolumeId]) -> None:
        pidfiles = {str(self._pidfile(volume)).encode(): volume for volume in volumes}
        if not pidfiles:
            return

        def serves_one(words: Words) -> bool:
            return _is_ours(words) and not pidfiles.keys().isdisjoint(words)

        for volume in pidfiles.values():
            self._let_go(volume)
        # Until none is seen: one that was just starting has become two.
        while found := list(processes.holding(serves_one)):
            try:
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
            for path in self._folder.glob(f"{volume}.*"):
                path.unlink(missing_ok=True)

    def pids(self) -> dict[VolumeId, int]:
        """The processes that serve, as far as they were looked at."""
        with self._lock:
            return {volume: one.pid for volume, (_, one) in self._running.items() if not one.ended}

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

    def _serves(self, volume: VolumeId, wanted: tuple[bytes, bytes]) -> bool:
        with self._lock:
            known = self._running.get(volume)
            if known:
                return known[0] == wanted and not known[1].ended
        pidfile = str(self._pidfile(volume)).encode()

        def fits(words: Words) -> bool:
            return _is_ours(words) and pidfile in words and set(wanted) <= set(words)

        try:
            found = processes.hold(int(self._pidfile(volume).read_text()), fits)
        except (FileNotFoundError, ValueError):
            return False
        if found:
            self._note(volume, wanted, found)
        return found is not None

    def _start(
        self, volume: VolumeId, epoch: int, holder: HostId, wanted: tuple[bytes, bytes]
    ) -> None:
        path = self._path_of(volume)
        if not shutil.which(PROGRAM):
            raise Unavailable(f"{PROGRAM} is not installed here")
        taken: set[int] = set()
        for _ in range(_TRIES):
            with self._lock:
                kept = self._kept.get(volume)
                if kept is None or kept.port in taken:
                    port = self._free_port(taken)
                    kept = replace(kept, port=port) if kept else _Kept(port=port)
                    self._keep(volume, kept)
            serving = Serving(
                volume=volume,
                epoch=epoch,
                holder=holder,
                path=path,
                address=self._address,
                port=kept.port,
                credentials=self._credentials,
                direct=_can_be_direct(path),
                iops=kept.iops,
                bytes_per_second=kept.bytes_per_second,
            )
            said = self._run(serving)
            if said is None:
                break
            if "Address already in use" not in said:
                raise Unavailable(f"{volume} can't be served", detail=said)
            taken.add(kept.port)
        if not self._serves(volume, wanted):
            raise Unavailable(f"the server of {volume} ended at once")

    def _run(self, serving: Serving) -> str | None:
        """What it said if it did not start."""
        log = self._folder / f"{serving.volume}.log"
        # It needs nothing that root may do but read files of its own.
        bare = ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--"]
        words = [*bare, *command(serving, self._pidfile(serving.volume))]
        with log.open("wb") as out:

            def run() -> int:
                return subprocess.run(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    check=False,
                    timeout=_STARTS_WITHIN,
                    cwd="/",
                    start_new_session=True,
                ).returncode

            try:
                code = namespaces.inside(self._netns, run)
            except (subprocess.TimeoutExpired, OSError) as error:
                raise Unavailable(f"{serving.volume} can't be served: {error}") from error
        return None if code == 0 else log.read_text(errors="replace")[-2000:]

    def _note(self, volume: VolumeId, wanted: tuple[bytes, bytes], found: Running) -> None:
        with self._lock:
            before = self._running.pop(volume, None)
            if before:
                before[1].close()
            self._running[volume] = (wanted, found)
        with suppress(BlockingIOError):
            os.write(self._waker, b"!")

    def _let_go(self, volume: VolumeId) -> None:
        with self._lock:
            known = self._running.pop(volume, None)
            if known:
                known[1].close()

    def _free_port(self, taken: set[int]) -> int:
        used = taken | {kept.port for kept in self._kept.values()}
        port = next((port for port in self._ports if port not in used), None)
        if port is None:
            raise NoRoom(f"all {len(self._ports)} ports for shared disks are in use here")
        return port

    def _keep(self, volume: VolumeId, kept: _Kept) -> None:
        if self._kept.get(volume) != kept:
            made = new_file(self._folder / f"{volume}.new", msgspec.json.encode(kept))
            put_in_place(made, self._folder / f"{volume}.json")
            self._kept[volume] = kept

    def _pidfile(self, volume: VolumeId) -> Path:
        return self._folder / f"{volume}.pid"


def _is_ours(words: Words) -> bool:
    """Also while `setpriv` is about to become it."""
    return PROGRAM.encode() in words


def _can_be_direct(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        return False
    return True
