"""Serves volumes as iSCSI targets: for each a process that has it open, and one that speaks to its clients.

Beside the files of `disk_servers.py`:

    exports/secrets.key       what the secrets of targets are made from
    exports/<volume>.disk     an empty file, in whose place those two see what is in the volume
    exports/<volume>.door.0   where the second one is told what to serve; .door.log what it said
    exports/<volume>.next.*   of those that stand in for it
"""

import os
import select
import shutil
import socket
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from arable.domain.errors import CloudError, Unavailable
from arable.domain.ids import HostId, VolumeId
from arable.drivers import namespaces, processes
from arable.drivers.processes import Words
from arable.drivers.storage import listening
from arable.drivers.storage.disk_process import Serving
from arable.drivers.storage.disk_servers import DiskServers, bare
from arable.drivers.storage.durable import new_file
from arable.drivers.storage.iscsi import names, target
from arable.drivers.storage.iscsi.daemon import TARGET, command, door, marks
from arable.drivers.storage.protocol import ExportAt, export_name
from arable.runtime.entropy import Entropy

PORTS = range(3260, 4284)
_OPENS_WITHIN = 60.0
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class IscsiExports(DiskServers):
    """`Exports`. `address` is this host's on the network for storage."""

    programs = DiskServers.programs | {TARGET.encode()}

    def __init__(
        self,
        directory: Path,
        path_of: Callable[[VolumeId], Path],
        bytes_of: Callable[[Path], int],
        entropy: Entropy,
        address: str,
        *,
        ports: range = PORTS,
        netns: str | None = None,
    ) -> None:
        super().__init__(directory, path_of, bytes_of, address, ports=ports, netns=netns)
        self._secrets = names.Secrets(self._folder, entropy)

    def where(self, volume: VolumeId, epoch: int) -> ExportAt:
        at = super().where(volume, epoch)
        return replace(at, name=names.target(at.name), secret=self._secrets.of(at.name))

    def _marks(self, volume: VolumeId, epoch: int, holder: HostId) -> tuple[bytes, bytes]:
        return marks(volume, epoch, holder)

    def _serve(self, serving: Serving, port: int, pidfile: Path) -> str | None:
        with listening.at(self._address, port, self._netns):
            pass  # nobody else does, and a target tells no reason why it can't
        disk = new_file(pidfile.with_suffix(".disk"))
        apart = ["unshare", "--mount", "--propagation", "slave", "--"]
        words = [*apart, *bare("sys_admin"), *command(serving, pidfile, disk)]  # to mount it
        said = self._run(words, pidfile.with_suffix(".log"))
        if said is not None:
            return said
        try:
            return self._open_door(serving, port, pidfile)
        except CloudError:
            self._end([pidfile])  # or it would look as if it were served
            raise

    def _open_door(self, serving: Serving, port: int, pidfile: Path) -> str | None:
        if not shutil.which(TARGET, path=_PATH):
            raise Unavailable(f"{TARGET} is not installed here")
        mark, log = self._door(pidfile), pidfile.with_suffix(".door.log")
        inside = [f"--mount=/proc/{int(pidfile.read_text())}/ns/mnt", f"--wdns={self._folder}"]
        words = ["nsenter", *inside, "--", "setsid", "--fork", *bare()]
        words += door(self._address, port, mark)
        alive, life = os.pipe2(os.O_CLOEXEC)
        with closing(namespaces.inside(self._netns, _ear)) as ear, os.fdopen(alive, "rb"):
            with os.fdopen(life, "wb"):
                environment = {
                    "PATH": _PATH,
                    "TGT_IPC_SOCKET": mark.name,
                    "NOTIFY_SOCKET": "@" + ear.getsockname()[1:].decode(),
                }
                said = self._run(words, log, keeps=(life,), environment=environment)
            if said is None and not _is_ready(ear, alive):
                said = log.read_text(errors="replace")[-2000:]
        if said is not None:
            raise Unavailable(f"{serving.volume} can't be served", detail=said)
        export = export_name(serving.volume, serving.epoch)
        target.open_to(
            self._control(mark),
            names.target(export),
            pidfile.with_suffix(".disk").name,
            names.initiator(serving.holder, serving.storage_zone),
            self._secrets.of(export),
        )
        return None

    def _serves(self, at: Path, wanted: tuple[bytes, bytes]) -> bool:
        return super()._serves(at, wanted) and self._is_open(self._door(at), wanted)

    def _is_open(self, mark: Path, wanted: tuple[bytes, bytes]) -> bool:
        """Whether the target of this serving runs, and was told all. Known to be so, it is not asked again."""
        with self._lock:
            known = self._running.get(mark)
            if known:
                return known[0] == wanted and not known[1].ended
        name = str(mark).encode()

        def fits(words: Words) -> bool:
            return words[:1] == [TARGET.encode()] and name in words

        found = next(processes.holding(fits), None)
        if found is None:
            return False
        try:
            told = target.is_told_all(self._control(mark))
        except CloudError:
            told = False
        if not told:
            found.close()
            return False
        self._note(mark, wanted, found)
        return True

    def _end(self, pidfiles: list[Path]) -> None:
        super()._end([*pidfiles, *map(self._door, pidfiles)])

    def _door(self, pidfile: Path) -> Path:
        return pidfile.with_suffix(".door")

    def _control(self, mark: Path) -> Path:
        return mark.with_suffix(".door.0")


def _ear() -> socket.socket:
    """Where a process says that it is ready, as systemd wants it. The kernel finds a name for it."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.bind("")
    return made


def _is_ready(ear: socket.socket, alive: int) -> bool:
    """Once it says so. False when it ended before that, or does not say so in time."""
    poll = select.poll()
    poll.register(ear, select.POLLIN)
    poll.register(alive, select.POLLHUP)
    return ear.fileno() in dict(poll.poll(_OPENS_WITHIN * 1000))
