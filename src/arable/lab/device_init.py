"""The first process of an emulated device: what an init system and a power supply are to a real server.

Run by path with a bare interpreter (`python -I -S device_init.py …`), so it costs milliseconds and imports
nothing of Arable. It enters the device's network namespace, gives the device its own mounts, processes and host
name, and then starts, reaps and reports services, as it is told over an abstract socket in that namespace. All
processes of the device live in its process namespace: kill this one and the kernel kills every other at once,
which is exactly what losing power does.

    device_init.py NETNS-FILE NAME GROUP [SOURCE:TARGET ...]      prints its process id when it is ready

A pair binds a directory over another one, which must exist unless it is below /run: the device's disk, as it were. The device's processes
are in control groups of their own at the path GROUP, and see those as the top of the tree.
"""

import ctypes
import json
import os
import select
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Any

SOCKET = "\0arable-device"
PACKET = 1 << 16
PRIVATE = (
    "openvswitch",
    "libvirt",
    "netns",
    "lock",
    "arable",
)  # made fresh under /run at each start

GROUPS = Path("/sys/fs/cgroup")
TREES = ("cpu", "cpuacct", "unified")  # in which a hypervisor puts its guests

_NEW_NS, _NEW_CGROUP, _NEW_UTS, _NEW_IPC = (1 << bit for bit in (17, 25, 26, 27))
_NEW_PID, _NEW_NET = (1 << bit for bit in (29, 30))
_BIND, _RECURSIVE, _PRIVATE = 4096, 16384, 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> None:
    """A system call by its name in the C library."""
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}{arguments}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    call("mount", source.encode(), target.encode(), kind.encode(), flags, data.encode())


def enter(netns: str, name: str, group: str, binds: list[str]) -> None:
    """Become the device: its network, its name, its own /run and /sys, its disk. Processes follow with the fork."""
    fd = os.open(netns, os.O_RDONLY)
    call("setns", fd, _NEW_NET)
    os.close(fd)
    pairs = [(str(GROUPS), str(GROUPS)), *join(group)]
    pairs += [(source, target) for source, _, target in (pair.partition(":") for pair in binds)]
    call("unshare", _NEW_NS | _NEW_UTS | _NEW_IPC | _NEW_PID | _NEW_CGROUP)
    mount("none", "/", "none", _RECURSIVE | _PRIVATE)
    held = [
        (os.open(source, os.O_PATH), target) for source, target in pairs
    ]  # before they are hidden
    mount("tmpfs", "/run", "tmpfs", 0, "mode=755")
    for name_of_ours in PRIVATE:
        Path("/run", name_of_ours).mkdir()
    mount("sysfs", "/sys", "sysfs")
    for directory, target in held:
        if target.startswith("/run/"):
            Path(target).mkdir(parents=True, exist_ok=True)
        mount(f"/proc/self/fd/{directory}", target, "none", _BIND | _RECURSIVE)
        os.close(directory)
    socket.sethostname(name)
    know_oneself(name)


def know_oneself(name: str) -> None:
    """The device's name has an address, as on any server: libvirt asks for it at each start of a guest, and would
    wait five seconds for name servers that a data centre without an outside does not have.
    """
    hosts = Path("/run/hosts")
    hosts.write_text(f"127.0.0.1 localhost\n127.0.1.1 {name}\n")
    mount(str(hosts), "/etc/hosts", "none", _BIND)


def join(group: str) -> list[tuple[str, str]]:
    """Be in control groups of that path, and say which they are and where the device should see them."""
    joined = {}
    for tree in TREES:
        top = (GROUPS / tree).resolve()  # controllers may share a tree
        if (top / "cgroup.procs").exists():
            own = top / group
            own.mkdir(parents=True, exist_ok=True)
            (own / "cgroup.procs").write_text(str(os.getpid()))
            joined[top] = own
    return [(str(own), str(top)) for top, own in joined.items()]


class Device:
    """The services of a device and those who ask about them."""

    def __init__(self) -> None:
        self.pids: dict[str, int] = {}
        self.ended: dict[str, int] = {}
        self.stopping: list[tuple[str, socket.socket]] = []
        self.watching: list[socket.socket] = []

    def serve(self) -> None:
        """For ever; nothing but SIGKILL from outside ends it."""
        wake, woken = os.pipe()
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
            door.bind(SOCKET)
            door.listen(16)
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            os.dup2(os.open(os.devnull, os.O_RDWR), 1)
            poll = select.poll()
            poll.register(wake, select.POLLIN)
            poll.register(door, select.POLLIN)
            while True:
                for fd, _ in poll.poll():
                    if fd == wake:
                        os.read(wake, 512)
                        self.reap()
                    else:
                        self.answer(door.accept()[0])

    def answer(self, asker: socket.socket) -> None:
        """One question on each connection. A bad one must not end the device."""
        asker.settimeout(5)
        try:
            credentials = asker.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            if struct.unpack("3i", credentials)[1] != 0:
                asker.close()
                return
            question = json.loads(asker.recv(PACKET))
            told = getattr(self, f"do_{question.pop('do')}")(asker, **question)
        except Exception as error:  # noqa: BLE001 - told to the one who asked
            told = {"error": f"{type(error).__name__}: {error}"}
        if told is not None:
            self.tell(asker, told)

    def tell(self, asker: socket.socket, told: dict[str, Any]) -> None:
        try:
            asker.send(json.dumps(told).encode())
        except OSError:
            pass  # whoever asked is gone
        finally:
            asker.close()

    def do_start(
        self, _: socket.socket, name: str, argv: list[str], env: dict[str, str], log: str
    ) -> dict[str, Any]:
        """Start a service, unless it runs. What it says goes to the log."""
        if name not in self.pids:
            self.ended.pop(name, None)
            appending = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            self.pids[name] = os.posix_spawnp(
                argv[0],
                argv,
                env,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, log, appending, 0o600),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
                setsid=True,
            )
        return {"pid": self.pids[name]}

    def do_stop(self, asker: socket.socket, name: str, number: int) -> dict[str, Any] | None:
        """Signal a service; the answer comes when it has ended."""
        if name not in self.pids:
            return {"ended": self.ended.get(name)}
        os.kill(self.pids[name], number)
        self.stopping.append((name, asker))
        return None

    def do_wait(self, asker: socket.socket, name: str) -> dict[str, Any] | None:
        """The answer comes when the service has ended."""
        if name not in self.pids:
            return {"ended": self.ended.get(name)}
        self.stopping.append((name, asker))
        return None

    def do_status(self, _: socket.socket) -> dict[str, Any]:
        """What runs, what has ended and how."""
        return {"running": self.pids, "ended": self.ended}

    def do_watch(self, asker: socket.socket) -> None:
        """The answer comes when any service ends."""
        self.watching.append(asker)

    def reap(self) -> None:
        """Orphans end up here too; a device without this fills with zombies."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            for name in [name for name, known in self.pids.items() if known == pid]:
                del self.pids[name]
                self.ended[name] = code
                for waiting in [entry for entry in self.stopping if entry[0] == name]:
                    self.stopping.remove(waiting)
                    self.tell(waiting[1], {"ended": code})
                for watcher in self.watching:
                    self.tell(watcher, {"name": name, "ended": code})
                self.watching.clear()


def main() -> None:
    netns, name, group, *binds = sys.argv[1:]
    enter(netns, name, group, binds)
    ready, telling = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ready)
        os.setsid()
        mount("proc", "/proc", "proc")
        os.dup2(telling, 1)
        os.close(telling)
        Device().serve()
    os.close(telling)
    if os.read(ready, 16) != b"ready\n":
        os.waitpid(child, 0)
        sys.exit(1)
    sys.stdout.write(f"{child}\n")


if __name__ == "__main__":
    main()
