"""Runs tools on files that strangers gave us, where they can do no harm: `qemu-img`.

Such a tool sees its own program and libraries, the files it was given, and nothing else: no network, no other
file of this machine, no other process; memory, CPU time, file size and output are bounded. That is a second wall:
the first is that `domain/image_header.py` has refused every file that leads elsewhere. Without bubblewrap nothing
runs at all: there is no way around the jail.

`subprocess` is called with argument lists; limits come from prlimit(1), because code between fork and exec is not
safe in a process with threads.
"""

import os
import platform
import selectors
import shutil
import signal
import struct
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from arable.domain.errors import Unavailable
from arable.domain.units import GIB, MIB
from arable.runtime.clock import Clock

PROGRAMS = "/usr/bin"

_LIBRARIES = ("/lib", "/lib32", "/lib64", "/libx32")
# QEMU's loadable drivers speak network protocols (curl, ssh, rbd, iscsi, nfs): not even their code is there.
_LOADABLE = ("/usr/lib/x86_64-linux-gnu/qemu", "/usr/lib/aarch64-linux-gnu/qemu", "/usr/lib64/qemu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a tool may use."""

    seconds: int = 600  # on the wall, and of CPU
    memory_bytes: int = 2 * GIB  # of addresses; QEMU's tools reserve much more than they touch
    file_bytes: int = 64 * MIB  # largest file it may write
    output_bytes: int = 256 * 1024


@dataclass(frozen=True, slots=True)
class Done:
    """How it ended. A `code` above 128 is that much more than the signal that ended it."""

    code: int
    out: bytes
    told: str

    @property
    def ok(self) -> bool:
        return self.code == 0


class Jail:
    """`run` is all there is."""

    def __init__(self, clock: Clock, bounds: Bounds | None = None) -> None:
        self._clock = clock
        self._bounds = bounds or Bounds()

    def run(
        self,
        tool: str,
        arguments: Sequence[str],
        *,
        read: Sequence[Path] = (),
        write: Sequence[Path] = (),
        bounds: Bounds | None = None,
    ) -> Done:
        """Run `tool` with its arguments. It finds the given files and folders at their own absolute paths.

        Raises `Unavailable` when the jail can't be had, or when the tool did not end in time or said too much.
        """
        bounds = bounds or self._bounds
        inner = [f"{PROGRAMS}/{tool}", *arguments]
        filter_fd = _filter()
        try:
            outer = [*_limits(bounds), *_walls(tool, read, write, filter_fd), "--", *inner]
            return self._watch(tool, outer, bounds, filter_fd)
        finally:
            if filter_fd is not None:
                os.close(filter_fd)

    def _watch(
        self, tool: str, command: Sequence[str], bounds: Bounds, filter_fd: int | None
    ) -> Done:
        end = self._clock.monotonic() + bounds.seconds
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=() if filter_fd is None else (filter_fd,),
            start_new_session=True,
            env={"PATH": PROGRAMS, "LC_ALL": "C.UTF-8"},
        ) as process:
            assert process.stdout
            assert process.stderr
            out, told = process.stdout.fileno(), process.stderr.fileno()
            said = {out: bytearray(), told: bytearray()}
            try:
                with selectors.DefaultSelector() as pipes:
                    for pipe in said:
                        pipes.register(pipe, selectors.EVENT_READ)
                    while pipes.get_map():
                        left = end - self._clock.monotonic()
                        ready = pipes.select(left) if left > 0 else []
                        if not ready:
                            raise Unavailable(f"{tool} did not end within {bounds.seconds} s")
                        for key, _ in ready:
                            chunk = os.read(key.fd, 65536)
                            said[key.fd] += chunk
                            if not chunk:
                                pipes.unregister(key.fd)
                        if sum(map(len, said.values())) > bounds.output_bytes:
                            raise Unavailable(f"{tool} said more than it may")
            except BaseException:
                # The whole session: prlimit has become bubblewrap, whose child dies with it.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise
            code = process.wait()
        words = said[told].decode(errors="replace").strip()
        if words.startswith("bwrap: "):
            raise Unavailable("the jail for image tools can't be had", detail=words)
        return Done(code, bytes(said[out]), words)


def is_there() -> bool:
    """Whether what the jail itself needs is installed."""
    return all(shutil.which(name) for name in ("bwrap", "prlimit"))


def _limits(bounds: Bounds) -> list[str]:
    prlimit = shutil.which("prlimit")
    if not prlimit:
        raise Unavailable("prlimit is missing (package util-linux), so image tools are not run")
    return [
        prlimit,
        f"--as={bounds.memory_bytes}",
        f"--cpu={bounds.seconds}",
        f"--fsize={bounds.file_bytes}",
        "--core=0",
        "--nofile=256",
        "--",
    ]


def _walls(
    tool: str, read: Sequence[Path], write: Sequence[Path], filter_fd: int | None
) -> list[str]:
    bwrap = shutil.which("bwrap")
    if not bwrap:
        raise Unavailable(
            "bubblewrap is missing (package bubblewrap), and image tools are never run outside it"
        )
    if not Path(PROGRAMS, tool).exists():
        raise Unavailable(f"{tool} is not installed in {PROGRAMS}")
    walls = [
        bwrap,
        "--unshare-all",
        "--die-with-parent",
        "--new-session",
        "--clearenv",
        *("--setenv", "LC_ALL", "C.UTF-8"),
        *("--cap-drop", "ALL"),
        *("--ro-bind", f"{PROGRAMS}/{tool}", f"{PROGRAMS}/{tool}"),
    ]
    for library in _LIBRARIES:
        if Path(library).is_symlink():
            walls += ["--symlink", str(Path(library).readlink()), library]
            library = f"/usr{library}"  # noqa: PLW2901 - where the link leads
        if Path(library).exists():
            walls += ["--ro-bind", library, library]
    if Path("/etc/ld.so.cache").exists():
        walls += ["--ro-bind", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    for folder in _LOADABLE:
        if Path(folder).is_dir():
            walls += ["--tmpfs", folder]
    walls += ["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]  # noqa: S108 - in the jail
    for path in read:
        walls += ["--ro-bind", *_twice(path)]
    for path in write:
        walls += ["--bind", *_twice(path)]
    if filter_fd is not None:
        walls += ["--seccomp", str(filter_fd)]
    return [*walls, "--chdir", "/"]


def _twice(path: Path) -> tuple[str, str]:
    if not path.is_absolute():
        raise ValueError(f"{path} is not absolute")
    return (str(path), str(path))


# System calls that no image tool needs and that kernels have had holes in. The namespaces already keep what they
# reach for away; this keeps the code behind them away as well. Numbers on x86-64 and arm64.
_REFUSED = (
    ("socket", 41, 198),
    ("connect", 42, 203),
    ("ptrace", 101, 117),
    ("mount", 165, 40),
    ("umount2", 166, 39),
    ("pivot_root", 155, 41),
    ("chroot", 161, 51),
    ("kexec_load", 246, 104),
    ("init_module", 175, 105),
    ("finit_module", 313, 273),
    ("delete_module", 176, 106),
    ("add_key", 248, 217),
    ("request_key", 249, 218),
    ("keyctl", 250, 219),
    ("unshare", 272, 97),
    ("setns", 308, 268),
    ("perf_event_open", 298, 241),
    ("bpf", 321, 280),
    ("userfaultfd", 323, 282),
    ("io_uring_setup", 425, 425),
    ("io_uring_enter", 426, 426),
    ("io_uring_register", 427, 427),
)
_MACHINES = {"x86_64": (0xC000003E, 1), "aarch64": (0xC00000B7, 2)}
_X32 = 0x40000000  # the second set of numbers that x86-64 has


def _filter() -> int | None:
    """A file with the seccomp program, for bubblewrap to load; None on machines whose numbers we don't know."""
    known = _MACHINES.get(platform.machine())
    if known is None:
        return None
    architecture, column = known
    opened = os.memfd_create("seccomp", 0)
    os.write(opened, _program(architecture, [int(row[column]) for row in _REFUSED]))
    os.lseek(opened, 0, os.SEEK_SET)
    return opened


def _program(architecture: int, refused: Sequence[int]) -> bytes:
    """Classic BPF: another architecture's numbers end the process; a refused call answers EPERM."""
    load, equal, at_least, answer = 0x20, 0x15, 0x35, 0x06
    end, refuse, allow = 0x80000000, 0x00050001, 0x7FFF0000
    count = len(refused)
    lines = [
        (load, 0, 0, 4),
        (equal, 1, 0, architecture),
        (answer, 0, 0, end),
        (load, 0, 0, 0),
        (at_least, count + 1, 0, _X32),
        *((equal, count - at, 0, number) for at, number in enumerate(refused)),
        (answer, 0, 0, allow),
        (answer, 0, 0, refuse),
    ]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)
