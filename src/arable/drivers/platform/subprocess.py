"""Management servers as processes of this machine, each with a data directory below one: for labs.

A server is found by the name in its directory, and its process by what it wrote into `server.json` and the lock that
only a living one holds. Those that are started here are in a session of their own and outlive us, as they must: the
master that starts one may be the next to go.
"""

import fcntl
import json
import os
import select
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from arable.domain.errors import Unavailable
from arable.domain.ids import SegmentId
from arable.domain.platform import Place

_ENDS_WITHIN = 15_000  # ms
_LOG = "server.log"


@dataclass(slots=True, repr=False)
class SubprocessPlatform:
    """`argv` starts a server in a data directory, with `environment` added to ours. `root` holds the directories."""

    root: Path
    argv: Callable[[Path], Sequence[str]]
    environment: Mapping[str, str] = field(
        default_factory=dict
    )  # may hold a secret, so nobody shows it
    name: str = "subprocess"
    _children: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def restart(self, place: Place) -> None:
        data = self._directory(place.segment)
        self._end(data, signal.SIGKILL)
        self._start(data)

    def start(self) -> None:
        number = 1 + max((int(each.name[1:]) for each in self.root.glob("s[0-9]*")), default=0)
        data = self.root / f"s{number}"
        data.mkdir(mode=0o700)
        self._start(data)

    def stop(self, place: Place) -> None:
        data = self._directory(place.segment)
        if not self._end(data, signal.SIGTERM):
            raise Unavailable(f"{place.segment} does not end")

    def pid(self, segment: SegmentId) -> int | None:
        """Of its process, if it runs."""
        return _pid(self._directory(segment))

    def _directory(self, segment: SegmentId) -> Path:
        for path in sorted(self.root.glob("*/name")):
            if path.read_text().strip() == segment:
                return path.parent
        raise Unavailable(f"{segment} does not run on this machine")

    def _start(self, data: Path) -> None:
        self._children = [child for child in self._children if child.poll() is None]
        with (data / _LOG).open("ab") as log:
            child = subprocess.Popen(
                [*self.argv(data)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | dict(self.environment),
                start_new_session=True,
            )
        self._children.append(child)

    @staticmethod
    def _end(data: Path, how: signal.Signals) -> bool:
        pid = _pid(data)
        if pid is None:
            return True
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        try:
            if _pid(data) != pid:  # it ended before we held it, and the number may be another's
                return True
            signal.pidfd_send_signal(handle, how)
            ended, _, _ = select.select([handle], [], [], _ENDS_WITHIN / 1000)
            return bool(ended)
        finally:
            os.close(handle)


def _pid(data: Path) -> int | None:
    """Of the process that holds the directory."""
    try:
        lock = os.open(data / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        try:
            return int(json.loads((data / "server.json").read_text())["pid"])
        except (FileNotFoundError, ValueError, KeyError):
            return None
    finally:
        os.close(lock)
    return None
