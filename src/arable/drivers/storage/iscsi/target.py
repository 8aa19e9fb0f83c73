"""Tells a tgtd what to serve, and to whom, over its control socket, which only root of this host reaches.

Not by `tgtadm`: it takes secrets as arguments, which everybody on this host can read. What is said here is what it
says (tgt 1.0.60 and later, `usr/tgtadm.h` of its source): a fixed part, and words with commas between them.
"""

import socket
import struct
from enum import IntEnum
from pathlib import Path

from arable.domain.errors import Unavailable
from arable.drivers import unix_sockets
from arable.runtime.secret import Secret

LUN = 1  # 0 is the target's own
_TARGET_NUMBER = 1
_SECONDS = 10.0
_DRIVER = b"iscsi"
# mode, op, driver, length of all, target, session, unit, connection, host, type of device, direction, pack, force
_QUESTION = struct.Struct("=II64sIiQQIIIIII")
_ANSWER = struct.Struct("=II")  # what went wrong (0: nothing), length of all


class _Of(IntEnum):
    TARGET = 1
    UNIT = 2
    ACCOUNT = 7


class _Do(IntEnum):
    NEW = 0
    SHOW = 2
    BIND = 3
    UPDATE = 5


def open_to(at: Path, name: str, disk: str, initiator: str, secret: Secret) -> None:
    """The tgtd that listens there serves that file under that name, to that initiator alone. Raises `Unavailable`.

    Whom it lets in is said last: a target that was told half of it lets nobody in.
    """
    account = f"user={initiator}"
    _ask(at, _Of.TARGET, _Do.NEW, f"targetname={name}")
    _ask(at, _Of.UNIT, _Do.NEW, f"path={disk},bstype=rdwr,bsoflags=direct")
    _ask(at, _Of.UNIT, _Do.UPDATE, "targetOps thin_provisioning=1,")
    _ask(at, _Of.ACCOUNT, _Do.NEW, f"{account},password={secret.reveal()}")
    _ask(at, _Of.ACCOUNT, _Do.BIND, account)
    _ask(at, _Of.TARGET, _Do.BIND, f"initiator-name={initiator}")


def is_told_all(at: Path) -> bool:
    """Whether it lets somebody in: that was said last. Raises `Unavailable` when it does not answer."""
    _, _, listed = _ask(at, _Of.TARGET, _Do.SHOW, target=-1).partition("ACL information:")
    return "iqn." in listed


def _ask(at: Path, of: _Of, do: _Do, text: str = "", target: int = _TARGET_NUMBER) -> str:
    said = text.encode() + b"\0" if text else b""
    unit = LUN if of is _Of.UNIT else 0
    length = _QUESTION.size + len(said)
    head = _QUESTION.pack(of, do, _DRIVER, length, target, 0, unit, 0, 0, 0, 0, 0, 0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(_SECONDS)
        if not unix_sockets.connect(line, at):
            raise Unavailable(f"the target {at.stem} does not run")
        try:
            line.sendall(head + said)
            failure, size = _ANSWER.unpack(_heard(line, _ANSWER.size))
            told = _heard(line, size - _ANSWER.size)
        except OSError as error:
            raise Unavailable(f"the target {at.stem} does not answer: {error}") from error
    if failure:
        what = f"{do.name.lower()} of {of.name.lower()}"
        raise Unavailable(f"the target {at.stem} did not take {what}", detail=f"error {failure}")
    return told.decode(errors="replace")


def _heard(line: socket.socket, size: int) -> bytes:
    heard = b""
    while len(heard) < size:
        part = line.recv(size - len(heard))
        if not part:
            raise Unavailable("the target ended")
        heard += part
    return heard
