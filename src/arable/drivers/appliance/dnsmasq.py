"""The dnsmasq of one appliance: a process in the appliance's namespace, in a jail of its own.

It reads packets that strangers wrote, so it sees nothing of the host but its program and its own folder, becomes a
user without rights, and can get none. It outlives the agent: whether it runs is asked of the kernel, not
remembered.

An address that changes hands is taken from its last holder by a DHCP release in his name: dnsmasq keeps an address
for whoever has a lease on it, even when the lease's machine is gone and the address was given to another one.
"""

import os
import pwd
import select
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath

from arable.appliance import dnsmasq as told
from arable.appliance.router import Lease, Router
from arable.domain.errors import Unavailable
from arable.drivers import namespaces
from arable.drivers.appliance.record import replace_text

PROGRAM = "dnsmasq"
CONFIGURATION = "dnsmasq.conf"
FOLDER = PurePosixPath("/appliance")  # what the process calls its folder

_CAPABILITIES = ("NET_ADMIN", "NET_RAW", "NET_BIND_SERVICE", "SETUID", "SETGID", "CHOWN")
_GRACE = 5.0


class Dnsmasq:
    """DHCP and DNS in namespace `netns`, with its files in `folder`."""

    def __init__(self, netns: str, folder: Path, patience: float = 20.0) -> None:
        self._netns = netns
        self._folder = folder
        self._patience = patience

    def configuration(self, router: Router) -> str:
        """What it is started with; another text needs a restart."""
        return told.configuration(router, FOLDER, _user())

    def write_files(self, router: Router, leases: Sequence[Lease]) -> bool:
        """Its files say so; whether they said something else before."""
        self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        replace_text(self._folder / CONFIGURATION, self.configuration(router))
        changed = [
            replace_text(self._folder / told.DHCP_HOSTS, told.dhcp_hosts(leases)),
            replace_text(self._folder / told.HOSTS, told.hosts(router, leases)),
        ]
        return any(changed)

    def pid(self) -> int:
        """The running process, or 0."""
        try:
            pid = int((self._folder / told.PID).read_text())
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            here = Path(f"/proc/{pid}/ns/net").stat().st_ino
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return 0
        return pid if state != "Z" and here == namespaces.inode(self._netns) else 0

    def start(self) -> None:
        """It runs and answers when this returns. It starts on an empty field: a namespace has one dnsmasq."""
        self.stop()
        command = [*_jail(self._folder), _program(), f"--conf-file={FOLDER / CONFIGURATION}"]

        def run() -> "subprocess.CompletedProcess[str]":
            return subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                stdin=subprocess.DEVNULL,
                timeout=self._patience,
                env={},
            )

        try:
            done = namespaces.inside(self._netns, run)
        except FileNotFoundError:
            raise Unavailable("bubblewrap is not installed here") from None
        except subprocess.TimeoutExpired:
            raise Unavailable("dnsmasq did not start in time") from None
        if done.returncode != 0:
            raise Unavailable("dnsmasq did not start", detail=done.stderr.strip())

    def reload(self) -> None:
        """It reads its files again."""
        pid = self.pid()
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGHUP)

    def stop(self) -> None:
        """Nothing runs in the namespace: a process whose pid file was lost goes as well."""
        for pid in namespaces.inhabitants(self._netns):
            _end(pid)
        (self._folder / told.PID).unlink(missing_ok=True)

    def release(self, router: Router, leases: Iterable[Lease]) -> None:
        """Nobody holds an address that is not his any more."""
        wanted = {(lease.mac, str(lease.address)) for lease in leases}
        stale = [held for held in self._held() if held[:2] not in wanted]
        if not stale:
            return

        def send() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
                mouth.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
                for mac, address, client in stale:
                    message = _release(mac, IPv4Address(address), client, router.gateway)
                    mouth.sendto(message, (str(router.gateway), 67))

        namespaces.inside(self._netns, send)

    def _held(self) -> list[tuple[str, str, str]]:
        """MAC, address and client id of every lease, as dnsmasq keeps them."""
        with suppress(FileNotFoundError):
            lines = (self._folder / told.LEASES).read_text().splitlines()
            rows = [line.split() for line in lines]
            return [(row[1], row[2], row[4]) for row in rows if len(row) == 5]
        return []


def _program() -> str:
    found = shutil.which(PROGRAM) or shutil.which(PROGRAM, path="/usr/sbin:/usr/local/sbin")
    if not found:
        raise Unavailable("dnsmasq is not installed here")
    return found


def _user() -> str:
    try:
        return pwd.getpwnam("dnsmasq").pw_name
    except KeyError:
        return "nobody"


def _jail(folder: Path) -> list[str]:
    """Program, libraries and the names of users; and the folder. It stays when the one who started it ends."""
    walls = [
        "bwrap",
        "--unshare-ipc",
        "--unshare-uts",
        "--new-session",
        "--ro-bind",
        "/usr",
        "/usr",
    ]
    for top in ("/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin"):
        if Path(top).is_symlink():
            walls += ["--symlink", str(Path(top).readlink()), top]
        elif Path(top).exists():
            walls += ["--ro-bind", top, top]
    for file in ("/etc/passwd", "/etc/group", "/etc/ld.so.cache"):
        walls += ["--ro-bind-try", file, file]
    walls += ["--dev", "/dev", "--bind", str(folder), str(FOLDER), "--chdir", "/"]
    for capability in _CAPABILITIES:
        walls += ["--cap-add", f"CAP_{capability}"]
    return [*walls, "--"]


def _end(pid: int) -> None:
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        for how in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, how)
            if select.select([process], [], [], _GRACE)[0]:
                return
        raise Unavailable(f"process {pid} of an appliance can't be ended")
    finally:
        os.close(process)


def _release(mac: str, address: IPv4Address, client: str, server: IPv4Address) -> bytes:
    """DHCPRELEASE (RFC 2131), as the holder would send it."""
    head = struct.pack(
        "!BBBBIHH4s12x6s10x192x",
        1,
        1,
        6,
        0,
        int(address),  # any transaction will do
        0,
        0,
        address.packed,
        bytes.fromhex(mac.replace(":", "")),
    )
    options = b"\x63\x82\x53\x63" + b"\x35\x01\x07" + b"\x36\x04" + server.packed
    if client != "*":
        name = bytes.fromhex(client.replace(":", ""))
        options += bytes([61, len(name)]) + name
    return head + options + b"\xff"
