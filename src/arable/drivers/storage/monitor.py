"""What a server of a disk is told while it serves, over a socket that only root of this host reaches."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from arable.domain.errors import Unavailable
from arable.drivers import unix_sockets
from arable.drivers.storage.disk_process import DISK, IMAGE, LIMITS

_SECONDS = 10.0
_SNAPSHOT_SECONDS = 300.0  # every cluster that a volume has is counted once more, or less
_LONGEST = 256 * 1024  # of a line that it says: of each snapshot some 200 bytes, of several nodes


def set_limits(at: Path, iops: int, bytes_per_second: int) -> bool:
    """It holds its clients back to that from now on, 0 for not at all. False when nobody listens there.

    Raises `Unavailable` when it does not do it.
    """
    limits = {"iops-total": iops, "bps-total": bytes_per_second}
    said = {"path": f"/objects/{LIMITS}", "property": "limits", "value": limits}
    with _line(at, _SECONDS) as line:
        if line:
            line.ask("qom-set", said)
        return line is not None


def snapshot(at: Path, name: str, *, drop: bool = False) -> bool:
    """What it serves keeps what is on it now under that name, or no more. False when nobody listens there.

    It does one thing after the other, so what was asked before and given up is over when it says which there are.
    Raises `Unavailable` when it does not do it.
    """
    command = f"blockdev-snapshot-{'delete-' if drop else ''}internal-sync"
    with _line(at, _SNAPSHOT_SECONDS) as line:
        if line:
            nodes = line.ask("query-named-block-nodes", {"flat": True})
            (image,) = (each["image"] for each in nodes if each["node-name"] == IMAGE)
            if (name in {each["name"] for each in image.get("snapshots", ())}) == drop:
                line.ask(command, {"device": DISK, "name": name})
        return line is not None


@dataclass(frozen=True, slots=True)
class _Line:
    """To a server that listens."""

    way: socket.socket
    answers: BinaryIO

    def ask(self, command: str, arguments: dict[str, Any]) -> Any:
        """Its answer. Raises `Unavailable`."""
        self.way.sendall(_words(command, arguments))
        answer = _heard(self.answers)
        while "event" in answer:  # what it says by itself
            answer = _heard(self.answers)
        if "return" not in answer:
            raise Unavailable(f"the server of a disk did not take {command}", detail=str(answer))
        return answer["return"]


@contextmanager
def _line(at: Path, seconds: float) -> Iterator[_Line | None]:
    """To who listens there; None for nobody. Each answer may take so long."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        made.settimeout(seconds)
        if not unix_sockets.connect(made, at):
            yield None
            return
        try:
            with made.makefile("rb") as answers:
                _heard(answers)  # its greeting
                line = _Line(made, answers)
                line.ask("qmp_capabilities", {})
                yield line
        except OSError as error:
            raise Unavailable(f"the server of {at.stem} does not answer: {error}") from error


def _words(command: str, arguments: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"execute": command, "arguments": arguments}) + b"\n"


def _heard(answers: BinaryIO) -> dict[str, Any]:
    sent = answers.readline(_LONGEST)
    try:
        return msgspec.json.decode(sent, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Unavailable("the server of a disk ended", detail=str(error)) from error
