"""The walls around an appliance's programs, and how those programs are found and ended.

They read what strangers wrote, so each sees nothing of the host but programs, the names of users and its own folder,
and has no powers but those that are said. It outlives the agent: whether one runs is asked of the kernel, not
remembered.
"""

import os
import select
import shutil
import signal
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path, PurePosixPath

from arable.domain.errors import Unavailable
from arable.drivers import namespaces

FOLDER = PurePosixPath("/appliance")  # what a program calls its folder

_GRACE = 5.0


def walls(folder: Path, capabilities: Iterable[str], further: Iterable[str] = ()) -> list[str]:
    """Before the words of a program that is started as root. It stays when the one who started it ends.

    `further` are words of bubblewrap's: what it sees besides.
    """
    made = [
        *("bwrap", "--unshare-ipc", "--unshare-uts", "--new-session"),
        *("--ro-bind", "/usr", "/usr"),
    ]
    for top in ("/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin"):
        if Path(top).is_symlink():
            made += ["--symlink", str(Path(top).readlink()), top]
        elif Path(top).exists():
            made += ["--ro-bind", top, top]
    for file in ("/etc/passwd", "/etc/group", "/etc/ld.so.cache"):
        made += ["--ro-bind-try", file, file]
    made += ["--dev", "/dev", "--bind", str(folder), str(FOLDER), "--chdir", "/"]
    made += further
    for capability in capabilities:
        made += ["--cap-add", f"CAP_{capability}"]
    return [*made, "--"]


def program(name: str) -> str:
    """Where it is; raises `Unavailable` where it is not installed."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if not found:
        raise Unavailable(f"{name} is not installed here")
    return found


def launch(
    netns: str, words: Sequence[str], what: str, patience: float, log: Path | None = None
) -> None:
    """Run it in there to its end: a daemon goes to the background by itself. Raises `Unavailable` when it fails.

    One that never lets go of its output needs a `log` for it.
    """

    def run() -> "subprocess.CompletedProcess[str]":
        with log.open("ab") if log else nullcontext(subprocess.PIPE) as out:
            return subprocess.run(
                words,
                stdout=out,
                stderr=out,
                text=True,
                check=False,
                stdin=subprocess.DEVNULL,
                timeout=patience,
                env={},
            )

    try:
        done = namespaces.inside(netns, run)
    except FileNotFoundError:
        raise Unavailable("bubblewrap is not installed here") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{what} did not start in time") from None
    if done.returncode != 0:
        raise Unavailable(f"{what} did not start", detail=(done.stderr or "").strip())


def runs(netns: str, pid_file: Path) -> int:
    """The process that the file names, if it runs in there, or 0."""
    try:
        pid = int(pid_file.read_text())
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        here = Path(f"/proc/{pid}/ns/net").stat().st_ino
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return 0
    return pid if state != "Z" and here == namespaces.inode(netns) else 0


def running(netns: str, name: str) -> list[int]:
    """The processes in there that run the program of that name, whatever they call themselves."""
    found = []
    for pid in namespaces.inhabitants(netns):
        with suppress(OSError):  # processes end at any time
            if Path(f"/proc/{pid}/exe").readlink().name == name:
                found.append(pid)
    return found


def hang_up(pid: int) -> None:
    """It reads its configuration again, if it is there."""
    if pid:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGHUP)


def end(pid: int) -> None:
    """It runs no more when this returns."""
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
