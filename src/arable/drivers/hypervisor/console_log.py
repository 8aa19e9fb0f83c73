"""Keeps what guests say on their consoles from filling the host's disk.

QEMU appends to the log as long as the guest talks, and a guest may talk for ever. Appending means that the file may
be cut behind QEMU's back: the next line lands at the new end.
"""

import os
from pathlib import Path

MOST_BYTES = 8 << 20
KEPT_BYTES = 1 << 20


def shorten(log: Path, *, most: int = MOST_BYTES, kept: int = KEPT_BYTES) -> None:
    """Cut a log that grew too long to its last part, beginning with a whole line. One that isn't there is fine."""
    try:
        with log.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            if size <= most:
                return
            file.seek(size - kept)
            tail = file.read()
            tail = tail[tail.find(b"\n") + 1 :]
            # In place, as QEMU holds the file itself and not its name. What it adds within this moment is lost.
            file.seek(0)
            file.write(tail)
            file.truncate()
    except FileNotFoundError:
        return
