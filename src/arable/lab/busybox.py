"""Debian's busybox that needs no libraries, for guests: an emulated processor starts it in a third of the time.

It comes from a package that no machine can have beside the usual busybox, so it is taken out of it and not installed.
"""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from arable.domain.errors import Corrupt
from arable.lab import debian_package

PACKAGE = "busybox-static"


def program(cache: Path, say: Callable[[str], None]) -> Path:
    """The program in `cache`, fetched first if it isn't there; `say` hears of that."""
    folder = cache / "busybox"
    package = debian_package.cached(folder, f"{PACKAGE}_*.deb")
    if package is None:
        say("fetching Debian's busybox without libraries")
        package = debian_package.fetch(folder, _named)
    path = folder / package.stem
    if not path.exists():
        partial = folder / f"partial-{os.getpid()}-{path.name}"
        partial.write_bytes(_taken_out(package))
        partial.chmod(0o755)
        partial.replace(path)
    return path


def applets(busybox: Path) -> list[str]:
    """The names by which it is other programs."""
    told = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    return [name for name in told.stdout.split() if name != "busybox"]


def _taken_out(package: Path) -> bytes:
    for path, data in debian_package.files(package):
        if path.name == "busybox" and path.parent.name == "bin":
            return data
    raise Corrupt(f"{package.name} holds no busybox")


def _named() -> str:
    told = debian_package.run(["apt-cache", "show", PACKAGE], check=False)
    return PACKAGE if told else ""
