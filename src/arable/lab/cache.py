"""Where a machine keeps what takes long to make and is the same for every lab: guest images, QEMU's capabilities."""

import os
from pathlib import Path


def folder(name: str) -> Path:
    """The folder for one kind of thing; may be deleted at any time when no lab is being built."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "arable" / name


def publish(made: Path, place: Path) -> None:
    """Whole or not at all. Somebody who was faster made the very same."""
    try:
        made.rename(place)
    except OSError:
        if not place.exists():
            raise
