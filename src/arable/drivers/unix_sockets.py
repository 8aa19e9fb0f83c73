"""Sockets of this host's that have a path, which may be longer than the kernel takes for a socket's own."""

import os
import socket
from pathlib import Path

from arable.domain.errors import Unavailable


def connect(line: socket.socket, at: Path) -> bool:
    """By way of its directory. False when nobody listens there; raises `Unavailable` for anything else."""
    try:
        folder = os.open(at.parent, os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    try:
        line.connect(f"/proc/self/fd/{folder}/{at.name}")
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except OSError as error:
        raise Unavailable(f"{at.stem} can't be reached: {error}") from error
    finally:
        os.close(folder)
    return True
