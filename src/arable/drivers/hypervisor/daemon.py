"""A private libvirtd, for an emulated host: its own configuration, sockets, state and guests.

libvirtd has its places compiled in, so each of ours sees its own directory there, in a mount namespace of its own
(`private_mounts.py`). Where somebody gave the host such places already (a device of the
lab has its own `/run` and `/etc/libvirt`), it runs in them as it is: `LibvirtDaemon.in_place`.

The processes outlive the object that started them, as on a real host; `stop` finds them by what is on disk.
QEMU's capabilities take eight seconds to find out, so they are kept in a folder that all daemons share.
"""

import hashlib
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import libvirt

from arable.domain.errors import BadInput, Conflict, Unavailable
from arable.drivers import namespaces
from arable.drivers.hypervisor import private_mounts
from arable.drivers.hypervisor.session import Session
from arable.drivers.storage.nbd import credentials
from arable.runtime.clock import Clock

_GRACE = 10.0  # seconds for a process to end when asked
_SOCKET_PATH = 107  # bytes that the kernel takes
_GROUPS = Path("/sys/fs/cgroup")

_QEMU_CONF = """\
security_driver = "none"
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
namespaces = [ ]
stdio_handler = "file"
cgroup_controllers = [ {controllers} ]
"""


@dataclass(frozen=True, slots=True)
class _Places:
    """Where libvirtd keeps what, as seen from outside."""

    etc: Path
    run: Path
    lib: Path
    log: Path
    cache: Path

    def bindings(self) -> list[tuple[Path, str]]:
        """Our directories and the places over which they are put."""
        return [
            (self.etc, "/etc/libvirt"),
            (self.run, "/run/libvirt"),
            (self.lib, "/var/lib/libvirt"),
            (self.log, "/var/log/libvirt"),
            (self.cache, "/var/cache/libvirt"),
        ]


class LibvirtDaemon:
    """One libvirtd. Everything it needs is under `directory`, which may outlive it; nothing outside is touched.

    `netns` names the network namespace of the host. `capabilities` is a folder shared between daemons,
    `disks` one with certificates for shared disks (`drivers/storage/nbd/credentials.py`).
    """

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        netns: str | None = None,
        *,
        capabilities: Path | None = None,
        cgroups: bool = True,
        disks: Path | None = None,
    ) -> None:
        root = directory.absolute()
        parts = ("etc", "run", "lib", "log", "cache")
        self._places = _Places(*(root / part for part in parts))
        self._clock = clock
        self._netns = netns
        self._capabilities = capabilities
        self._name = str(root)
        self._private = True
        self._disks = disks
        self._controllers = '"cpu", "cpuacct"' if cgroups else ""
        if len(bytes(self._socket)) > _SOCKET_PATH:
            raise BadInput(f"{directory} is too long a path for sockets", field="directory")

    @classmethod
    def in_place(
        cls,
        name: str,
        clock: Clock,
        *,
        capabilities: Path | None = None,
        disks: Path | None = None,
    ) -> "LibvirtDaemon":
        """A daemon in libvirt's usual places, which somebody made private. `name` is unlike any other host's."""
        made = cls(Path("/"), clock, capabilities=capabilities, disks=disks)
        made._places = _Places(*(Path(place) for _, place in made._places.bindings()))
        made._name = name
        made._private = False
        return made

    @property
    def uri(self) -> str:
        """For `LibvirtHypervisor`, and for `virsh --connect`."""
        return f"qemu+unix:///system?socket={self._socket}"

    def start(self) -> str:
        """It runs and answers when this returns; one that runs already is left alone. Returns the URI."""
        if not self._private and not _is_mount(self._places.etc):
            # On a real host this would write over the administrator's own configuration.
            raise Conflict(
                f"{self._places.etc} is not this host's own, so its libvirtd is not ours"
            )
        for place, _ in self._places.bindings():
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._daemon():
            self._configure()
            self._borrow_capabilities()
            self._launch()
        self._answers()
        self._lend_capabilities()
        return self.uri

    def stop(self, *, guests: bool = True) -> None:
        """No daemon runs when this returns, and no guest of it either unless they may stay. Not running is fine.

        Guests that stayed are found again by the next `start`.
        """
        daemon = self._daemon()
        if daemon:
            _end(daemon)
        if guests:
            running = self.guests()
            for pid in running.values():
                _end(pid)
            _forget_groups(running)
        self._pidfile.unlink(missing_ok=True)

    def pids(self) -> list[int]:
        """Its processes: the daemon, then the guests."""
        daemon = self._daemon()
        return [*([daemon] if daemon else []), *self.guests().values()]

    def guests(self) -> Mapping[str, int]:
        """The processes of its running guests, by the names of their domains (ids of machines)."""
        found = {}
        for path in sorted((self._places.run / "qemu").glob("*.pid")):
            pid = _process(path, f"guest={path.stem},debug-threads=on")
            if pid:
                found[path.stem] = pid
        return found

    @property
    def _socket(self) -> Path:
        return self._places.run / "libvirt-sock"

    @property
    def _pidfile(self) -> Path:
        return self._places.run / "libvirtd.pid"

    @property
    def _conf(self) -> Path:
        return self._places.etc / "libvirtd.conf"

    def _daemon(self) -> int:
        """Its process, or 0."""
        return _process(self._pidfile, str(self._conf))

    def _configure(self) -> None:
        digits = hashlib.sha256(self._name.encode()).hexdigest()
        uuid = "-".join(
            (digits[:8], digits[8:12], f"8{digits[13:16]}", f"8{digits[17:20]}", digits[20:32])
        )
        log = self._places.log / "libvirtd.log"
        self._conf.write_text(
            'unix_sock_group = "root"\n'
            'unix_sock_rw_perms = "0700"\n'
            'auth_unix_rw = "none"\n'
            f'host_uuid = "{uuid}"\n'  # else guests can't move between two that share a machine
            f'log_outputs = "3:file:{log}"\n'
        )
        conf = _QEMU_CONF.format(controllers=self._controllers)
        if self._disks is not None:
            found = credentials.prepare(self._disks)  # libvirt does not start without it
            conf += f'nbd_tls_x509_cert_dir = "{found}"\n'
        (self._places.etc / "qemu.conf").write_text(conf)

    def _launch(self) -> None:
        program = shutil.which("libvirtd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if program is None:
            raise Unavailable("libvirtd is not installed here")
        # It detaches itself when it is ready to answer, and not before.
        command = [program, "--daemon", "--config", str(self._conf)]
        command += ["--pid-file", str(self._pidfile)]
        if self._private:
            binds = [f"{place}:{target}" for place, target in self._places.bindings()]
            helper = [sys.executable, "-I", "-S", private_mounts.__file__, *binds]
            command = [*helper, "--", *command]
        # A pipe would stay open in the daemon, and we would wait for its end for ever.
        said = self._places.log / "start.log"
        with said.open("wb") as out:

            def run() -> int:
                return subprocess.run(
                    command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False
                ).returncode

            code = namespaces.inside(self._netns, run)
        if code != 0:
            raise Unavailable("libvirtd did not start", detail=said.read_text(errors="replace"))

    def _answers(self) -> None:
        session = Session(self.uri, self._clock)
        try:
            session.run("answer", _ask_capabilities)
        finally:
            session.close()

    def _borrow_capabilities(self) -> None:
        if self._capabilities is not None:
            _copy(self._capabilities, self._known)

    def _lend_capabilities(self) -> None:
        if self._capabilities is not None:
            _copy(self._known, self._capabilities)

    @property
    def _known(self) -> Path:
        return self._places.cache / "qemu" / "capabilities"


def _is_mount(path: Path) -> bool:
    """Whether something was mounted there, be it a directory of the same disk (which `os.path.ismount` misses)."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split()[4] == str(path) for line in mounts)


def _ask_capabilities(conn: libvirt.virConnect) -> None:
    """Have QEMU's capabilities found out, unless they are known; who asks for something need not wait then."""
    conn.getCapabilities()


def _copy(source: Path, target: Path) -> None:
    """Every file of `source` that is another one in `target`, or not there. Readers see whole files only."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("*.xml")):
        there = target / path.name
        content = path.read_bytes()
        if not there.exists() or there.read_bytes() != content:
            partial = target / f"{path.name}.{os.getpid()}"
            partial.write_bytes(content)
            partial.replace(there)


def _process(pidfile: Path, word: str) -> int:
    """The process in that file if this word is in its command line, or 0: numbers are given out again."""
    try:
        pid = int(pidfile.read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return 0
    return pid if word.encode() in words else 0


def _end(pid: int) -> None:
    """Ask the process to leave, then make it; it is gone when this returns."""
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            for how in (signal.SIGTERM, signal.SIGKILL):
                signal.pidfd_send_signal(handle, how)
                if select.select([handle], [], [], _GRACE)[0]:
                    return
        finally:
            os.close(handle)
        raise Unavailable(f"process {pid} can't be ended")


def _forget_groups(guests: Iterable[str]) -> None:
    """Remove the control groups that killed guests leave, and libvirt's own above them when no one uses it."""
    for top in (*_GROUPS.glob("machine"), *_GROUPS.glob("*/machine")):
        for name in guests:
            for group in top.glob(f"qemu-*-{name}.libvirt-qemu"):
                for inner in sorted(group.glob("**/"), reverse=True):
                    with suppress(OSError):
                        inner.rmdir()
        with suppress(OSError):
            top.rmdir()
