"""The watchdog of a compute host: kills guests whose lease is over, whatever has become of the agent.

    python -I -S watchdog.py [--hardware /dev/watchdog] DIRECTORY

Reads `DIRECTORY/deadlines/*` (`agent/deadlines.py` writes them) and nothing else: it needs no agent, no libvirt, no
network and no other module of ours, so nothing of theirs can stop it. It is locked into memory, runs before
everything else where it may, and is the last that is killed when memory is short. A guest's process is known by its
command line and held by a pidfd while that is looked at again, so no other process can be meant. A guest that appears
after its deadline is killed as well, for as long as the file is there: a start that was under way then may end later.
Killed and not merely stopped: what is stopped can be woken, and then runs twice.

`DIRECTORY/watchdog.beat` tells the agent that this works; it starts no guest with a lease otherwise. With
`--hardware`, a watchdog of the machine is petted too: if this process can't run any more, the machine restarts.
"""

# Not by pathlib, which would bring in a dozen modules: each is one more thing to go wrong.
# ruff: noqa: PTH118, PTH123, PTH208

import ctypes
import fcntl
import json
import os
import select
import signal
import sys
import time

LOOK_SECONDS = 0.25
GONE_SECONDS = 5.0  # for a killed process to be gone
_ALL = 1 | 2  # of mlockall(2): what is mapped, and what will be


class Watchdog:
    """Looks, and kills."""

    def __init__(self, directory: str) -> None:
        self._deadlines = os.path.join(directory, "deadlines")
        self._beat = os.open(
            os.path.join(directory, "watchdog.beat"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        self._known: dict[str, tuple[float, tuple[bytes, ...]]] = {}

    def look(self) -> None:
        """Once round."""
        self._read()
        over = {name: marks for name, (deadline, marks) in self._known.items() if now() >= deadline}
        if over:
            for pid, name in guests(over):
                kill(pid, name, over[name])
        os.pwrite(self._beat, b"%-20d%-20.3f\n" % (os.getpid(), now()), 0)

    def wait_seconds(self) -> float:
        """Until the next look is worth while."""
        soonest = min((deadline for deadline, _ in self._known.values()), default=float("inf"))
        return max(0.01, min(LOOK_SECONDS, soonest - now()) if soonest > now() else LOOK_SECONDS)

    def _read(self) -> None:
        try:
            names = [name for name in os.listdir(self._deadlines) if not name.startswith(".")]
        except FileNotFoundError:
            names = []
        for name in names:
            try:
                with open(os.path.join(self._deadlines, name), "rb") as file:
                    told = json.load(file)
                marks = tuple(mark.encode() for mark in told["marks"])
                if marks and all(marks):
                    self._known[name] = (float(told["deadline"]), marks)
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                pass  # what was read of it before counts on; files are replaced whole
        for name in self._known.keys() - set(names):
            del self._known[name]


def guests(over: "dict[str, tuple[bytes, ...]]") -> "list[tuple[int, str]]":
    """Processes of these, with the name by which each was found."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            line = command_line(int(entry))
            found += [(int(entry), name) for name, marks in over.items() if is_guest(line, marks)]
    return found


def command_line(pid: int) -> bytes:
    """Empty when there is no such process (any more)."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def is_guest(line: bytes, marks: "tuple[bytes, ...]") -> bool:
    """Whether this is a hypervisor's process with all of the marks."""
    program = line.partition(b"\0")[0].rpartition(b"/")[2]
    return program.startswith(b"qemu") and all(has(line, mark) for mark in marks)


def has(line: bytes, mark: bytes) -> bool:
    """Whether the mark stands there to its end: `disk.e1` is no part of `disk.e11`."""
    at = line.find(mark)
    while at >= 0:
        if not line[at + len(mark) : at + len(mark) + 1].isalnum():
            return True
        at = line.find(mark, at + 1)
    return False


def kill(pid: int, name: str, marks: "tuple[bytes, ...]") -> None:
    """It is gone when this returns, or could not be ended and is tried again."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if not is_guest(command_line(pid), marks):  # the number changed hands meanwhile
            return
        say(f"killing {name} (process {pid}): its lease is over")
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        if not select.select([handle], [], [], GONE_SECONDS)[0]:
            say(f"{name} (process {pid}) was killed and does not end")
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)


def now() -> float:
    """Seconds since the machine's start, also those it slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def say(text: str) -> None:
    """To whoever keeps our log; a full disk is no reason to end."""
    try:
        sys.stderr.write(f"watchdog {now():.3f} {text}\n")
        sys.stderr.flush()
    except OSError:
        pass


def come_first() -> None:
    """Never swapped out, never waiting behind others, last to be killed; each as far as we are allowed."""
    if ctypes.CDLL(None, use_errno=True).mlockall(_ALL):
        say("may not lock its memory")
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    except OSError:
        say("may not run before others; it gets a large share")
        _write("/proc/self/autogroup", "-20")
        try:
            os.setpriority(os.PRIO_PROCESS, 0, -20)
        except OSError:
            say("may not have a larger share either")
    _write("/proc/self/oom_score_adj", "-1000")


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w") as file:
            file.write(text)
    except OSError:
        pass


def run(directory: str, hardware: str = "") -> int:
    """Until SIGTERM. One for each directory; a second one leaves at once."""
    lock = os.open(
        os.path.join(directory, "watchdog.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
    )
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another one watches here")
        return 3
    leave = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, leave)
    come_first()
    device = os.open(hardware, os.O_WRONLY | os.O_CLOEXEC) if hardware else -1
    watchdog = Watchdog(directory)
    while True:
        try:
            watchdog.look()
        except OSError as error:  # no file descriptors, no memory: the next look may go better
            say(f"could not look: {error}")
        if device >= 0:
            os.write(device, b"\0")
        if signal.sigtimedwait(leave, watchdog.wait_seconds()):
            break
    if device >= 0:
        os.write(device, b"V")  # left on purpose: the machine need not restart
    return 0


if __name__ == "__main__":
    *options, home = sys.argv[1:]
    sys.exit(run(home, options[1] if options[:1] == ["--hardware"] else ""))
