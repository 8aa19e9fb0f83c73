"""Network namespaces: make, remove, and act inside one.

A thread may be in another network namespace than its process, so acting inside one is a short-lived thread that
enters it: no helper process, and what it opens or starts (sockets, taps, children) belongs to that namespace.
`ip netns exec` is avoided on purpose: it mounts a fresh /sys and with that hides the cgroups from children.
"""

import ctypes
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from arable.domain.errors import Unavailable

T = TypeVar("T")

RUN = Path("/run/netns")

_CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED = 0x1000, 0x4000, 0x100000
_MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


def names(prefix: str = "") -> frozenset[str]:
    """The namespaces that have a name here."""
    if not RUN.is_dir():
        return frozenset()
    return frozenset(entry.name for entry in RUN.iterdir() if entry.name.startswith(prefix))


def inode(name: str) -> int:
    """What tells one namespace from another: equal to that of `/proc/<pid>/ns/net` of those inside. 0: none."""
    try:
        return (RUN / name).stat().st_ino
    except FileNotFoundError:
        return 0


def inhabitants(name: str) -> list[int]:
    """The processes inside."""
    wanted = inode(name)
    found = []
    for entry in Path("/proc").iterdir():
        if wanted and entry.name.isdigit():
            with suppress(OSError):  # processes end at any time
                if (entry / "ns" / "net").stat().st_ino == wanted:
                    found.append(int(entry.name))
    return found


def create(name: str) -> None:
    """A namespace of that name; there already is fine. Its loopback is still down."""
    RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
    _share()
    path = RUN / name
    if path.exists() and path.stat().st_dev != RUN.stat().st_dev:
        return
    path.touch(mode=0o400)

    def unshare() -> None:
        _check(_libc.unshare(_CLONE_NEWNET), f"unshare a network namespace for {name}")
        own = b"/proc/thread-self/ns/net"
        _check(_libc.mount(own, bytes(path), b"none", _MS_BIND, None), f"name namespace {name}")

    _in_thread(unshare)


def remove(name: str) -> None:
    """No namespace of that name any more; it goes for good when nobody is inside it."""
    path = RUN / name
    _libc.umount2(bytes(path), _MNT_DETACH)  # not mounted is what we want
    path.unlink(missing_ok=True)


def inside(name: str | None, act: Callable[[], T]) -> T:
    """What `act` returns when it runs in that namespace; without a name, in the one we are in."""
    if name is None:
        return act()

    def enter_and_act() -> T:
        try:
            door = os.open(RUN / name, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Unavailable(f"there is no network namespace {name}") from None
        try:
            _check(_libc.setns(door, _CLONE_NEWNET), f"enter namespace {name}")
        finally:
            os.close(door)
        return act()

    return _in_thread(enter_and_act)


def _in_thread(act: Callable[[], T]) -> T:
    """Namespaces are a thread's own, so what changes them runs in a thread that ends with it."""
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(act())
        except BaseException as error:  # noqa: BLE001 - carried over to the caller's thread
            failure.append(error)

    thread = threading.Thread(target=run, name="namespace")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def _share() -> None:
    """Names made here are seen in every mount namespace of this machine, as `ip netns` does it."""
    run = bytes(RUN)
    if _libc.mount(b"none", run, b"none", _MS_SHARED | _MS_REC, None) == 0:
        return
    _check(_libc.mount(run, run, b"none", _MS_BIND | _MS_REC, None), f"mount {RUN}")
    _check(_libc.mount(b"none", run, b"none", _MS_SHARED | _MS_REC, None), f"share {RUN}")


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise Unavailable(f"could not {what}: {os.strerror(code)}")
