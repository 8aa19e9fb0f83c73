"""The agent's side of the metadata service: one process per routing host, told what to serve to which network.

What it serves is asked of the process itself, never remembered, so an agent that was restarted finds it as it is; and a
process that died is started again, with every network handed over anew as its appliance is found wanting.
"""

import hashlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import arable
from arable.appliance import metadata
from arable.appliance.router import Lease, Router
from arable.domain.errors import Unavailable
from arable.domain.ids import NetworkId
from arable.drivers import namespaces
from arable.drivers.appliance import metadata_server as server
from arable.drivers.appliance.asking import Answer, Asking

Serving = Mapping[str, tuple[int, str]]
"""By network: the namespace in which its socket was opened, and a digest of its documents."""

_NOBODY = 65534
_FOLDER, _CODE = "/metadata", "/code"
_PATIENCE = 20.0
_KEPT = "ARABLE_LAB"  # by which a lab finds what was started in it
_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path;"
    "from arable.drivers.appliance.metadata_server import main; main(Path(sys.argv[2]), int(sys.argv[3]))"
)


class MetadataService:
    """The process with its control socket in `folder`, which is there while a network is served."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._answer: Answer | None = None
        self._asking: Asking | None = None
        self._asked_by = 0  # the process that has the other end of it

    def relay(self, answer: Answer) -> None:
        """Machines' calls are answered by this from now on."""
        self._answer = answer

    def serving(self) -> Serving:
        """What is served; nothing when the process does not run."""
        told = self._order({"do": "list"})
        if told:
            self._line_up()
        return told or {}

    def _line_up(self) -> None:
        """The process has a line to us: again after it was started anew, or we were. It knows nobody else to ask."""
        pid = self.pid()
        kept = self._asking is not None and not self._asking.over and pid == self._asked_by
        if self._answer is None or kept:
            return
        if self._asking is not None:
            self._asking.close()
        self._asking, self._asked_by = Asking(self._answer), pid
        if self._order({"do": "line"}, self._asking.far) is None:
            self._asking.close()
            return
        self._asking.start()

    def ensure(self, netns: str, router: Router, leases: Sequence[Lease]) -> None:
        """The network's machines find their documents. Its namespace has the address already."""
        machines = metadata.by_address(router, leases)
        digest = digest_of(machines)
        inode = namespaces.inode(netns)
        held = self.serving().get(router.network)
        if held == (inode, digest):
            return
        order = {
            "do": "serve",
            "network": router.network,
            "netns": inode,
            "digest": digest,
            "machines": machines,
        }
        files = [] if held and held[0] == inode else [namespaces.inside(netns, _listen)]
        try:
            told = self._order(order, *files)
            if told is None:
                self._start()
                told = self._order(order, *files)
        finally:
            for file in files:
                file.close()
        if not told or told.get(router.network) != (inode, digest):
            raise Unavailable("the metadata service does not run")
        self._line_up()

    def drop(self, network: NetworkId) -> None:
        """Nothing is served to the network; with the last one the process ends."""
        left = self._order({"do": "drop", "network": network})
        if not left:
            if self._asking is not None:
                self._asking.close()
            for name in (server.CONTROL, server.PID):
                (self._folder / name).unlink(missing_ok=True)
            with suppress(OSError):
                self._folder.rmdir()

    def pid(self) -> int:
        """The running process, or 0."""
        try:
            pid = int((self._folder / server.PID).read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return 0
        return pid if b"metadata_server" in words else 0

    def _order(self, what: object, *files: socket.socket) -> Serving | None:
        """What is served after that; None when nobody takes orders."""
        with self._line() as line:
            if line is None:
                return None
            try:
                server.send(line, what, *files)
                told, _ = server.receive(line)
            except ConnectionError:  # it died with our question before it
                self._end()
                return None
            except OSError as error:
                self._end()
                raise Unavailable("the metadata service does not answer") from error
        return {name: (netns, digest) for name, (netns, digest) in told.items()}

    @contextmanager
    def _line(self) -> Iterator[socket.socket | None]:
        """Through the folder's descriptor: a socket's path has room for a hundred letters only."""
        try:
            folder = os.open(self._folder, os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            yield None
            return
        try:
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(_PATIENCE)
                try:
                    line.connect(f"/proc/self/fd/{folder}/{server.CONTROL}")
                except (FileNotFoundError, ConnectionRefusedError):
                    yield None
                    return
                yield line
        finally:
            os.close(folder)

    def _start(self) -> None:
        self._end()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            done = subprocess.run(
                self._words(),
                capture_output=True,
                text=True,
                check=False,
                stdin=subprocess.DEVNULL,
                timeout=_PATIENCE,
                env={name: os.environ[name] for name in (_KEPT,) if name in os.environ},
            )
        except FileNotFoundError:
            raise Unavailable("bubblewrap is not installed here") from None
        except subprocess.TimeoutExpired:
            raise Unavailable("the metadata service did not start in time") from None
        if done.returncode != 0:
            raise Unavailable("the metadata service did not start", detail=done.stderr.strip())

    def _words(self) -> list[str]:
        """Programs, our own code, its folder; no network, and no powers once it has become nobody."""
        words = ["bwrap", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--new-session"]
        for top in ("/usr", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin"):
            if Path(top).is_symlink():
                words += ["--symlink", str(Path(top).readlink()), top]
            elif Path(top).exists():
                words += ["--ro-bind", top, top]
        home = Path(sys.base_prefix).resolve()
        if not home.is_relative_to("/usr"):
            words += ["--ro-bind", str(home), str(home)]
        package = Path(arable.__file__).parent
        words += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache", "--dev", "/dev"]
        words += ["--ro-bind", str(package), f"{_CODE}/arable"]
        words += ["--bind", str(self._folder), _FOLDER, "--chdir", "/"]
        words += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--"]
        python = Path(sys.executable).resolve()
        return [*words, str(python), "-I", "-S", "-c", _START, _CODE, _FOLDER, str(_NOBODY)]

    def _end(self) -> None:
        """No such process, one that does not answer included."""
        pid = self.pid()
        if not pid:
            return
        with suppress(ProcessLookupError):
            process = os.pidfd_open(pid)
            try:
                signal.pidfd_send_signal(process, signal.SIGKILL)
                select.select([process], [], [], _PATIENCE)
            finally:
                os.close(process)


def digest_of(machines: Mapping[str, metadata.Documents]) -> str:
    """Equal for equal documents."""
    return hashlib.sha256(json.dumps(machines, sort_keys=True).encode()).hexdigest()


def _listen() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((str(metadata.ADDRESS), metadata.PORT))
    made.listen(128)
    made.setblocking(False)
    return made
