"""Connects to unix sockets whatever the length of their path."""

import os
import socket
from pathlib import Path

_LONGEST_PATH = 100  # of the 107 bytes that the kernel takes


def connect(path: Path, patience: float) -> socket.socket:
    """A connected socket, for its user to close. It waits up to `patience` seconds at a time; raises `OSError`.

    Paths of unix sockets are short by design; longer ones are reached through their folder.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.settimeout(patience)
    try:
        if len(bytes(path)) <= _LONGEST_PATH:
            made.connect(str(path))
            return made
        folder = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
        try:
            made.connect(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
    except BaseException:
        made.close()
        raise
    return made
