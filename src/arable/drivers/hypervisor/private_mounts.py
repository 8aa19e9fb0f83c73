"""Starts a program that sees its own directories in places of the system (see `daemon.py`).

    private_mounts.py SOURCE:TARGET ... -- PROGRAM ARGUMENT ...

Run by path with a bare interpreter (`python -I -S`), so it costs milliseconds and imports nothing of Arable.
What is mounted later outside is still seen inside, and what is unmounted outside goes inside too: a private copy
would hold on to file systems and namespaces that their owners have given up.
"""

import ctypes
import os
import sys
from pathlib import Path

_NEW_NS = 1 << 17
_BIND, _RECURSIVE, _SLAVE = 4096, 16384, 1 << 19

_libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> None:
    """A system call by its name in the C library."""
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}{arguments}: {os.strerror(number)}")


def main() -> None:
    end = sys.argv.index("--")
    binds, program = sys.argv[1:end], sys.argv[end + 1 :]
    call("unshare", _NEW_NS)
    call("mount", b"none", b"/", b"none", _RECURSIVE | _SLAVE, None)
    for bind in binds:
        source, _, target = bind.rpartition(":")
        Path(target).mkdir(parents=True, exist_ok=True)
        call("mount", source.encode(), target.encode(), b"none", _BIND, None)
    os.execv(program[0], program)  # noqa: S606 - no shell is what we want


if __name__ == "__main__":
    main()
