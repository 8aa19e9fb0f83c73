"""Certificates for disks' connections as QEMU wants them: a directory with files of fixed names, for either end.

QEMU reads it when a guest or a disk's server starts. It is replaced as a whole (a link leads to the newest), so a key
and the certificate of another never lie side by side. Nobody but root may read it, unless an administrator lets a
group read the directory around it: then that group may, for a QEMU that does not run as root.
"""

import os
import shutil
import stat
from pathlib import Path

from arable.drivers.storage.durable import new_file, put_in_place, sync_folder
from arable.runtime.secret import Secret

FOLDER = "disks"
"""Below an agent's directory."""
CURRENT = "current"

# The group ffdhe2048 of RFC 7919. Without it QEMU looks for a prime of its own at every start, for seconds, to offer
# a key exchange that no client of ours uses.
_DH_PARAMETERS = """\
-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""


def keep(directory: Path, key: Secret, certificate: str, authority: str, name: str) -> Path:
    """These are what `directory`/current holds when this returns. `name` is unlike those of all before. All PEM."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = directory / f"{name}.new"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(mode=0o700)
    shared = bool(directory.stat().st_mode & stat.S_IRGRP)
    if shared:
        made.chmod(0o2750)
        os.chown(made, -1, directory.stat().st_gid)
    content = {"ca-cert.pem": authority, "dh-params.pem": _DH_PARAMETERS}
    for side in ("client", "server"):
        content |= {f"{side}-cert.pem": certificate, f"{side}-key.pem": key.reveal()}
    try:
        for file, text in content.items():
            fresh = new_file(made / f".{file}", text.encode())
            if shared:
                fresh.chmod(0o640)
            put_in_place(fresh, made / file)
    except OSError:  # whoever tries again takes another name
        shutil.rmtree(made, ignore_errors=True)
        raise
    made = made.rename(directory / name)
    link = directory / f"{CURRENT}.new"
    link.unlink(missing_ok=True)
    link.symlink_to(name)
    link.replace(directory / CURRENT)
    sync_folder(directory)
    for older in directory.iterdir():
        if older.name not in {name, CURRENT}:
            shutil.rmtree(older, ignore_errors=True)
    return directory / CURRENT


def prepare(directory: Path) -> Path:
    """The place is there, empty until the first `keep`: what reads certificates later wants to see it at its start."""
    current = directory / CURRENT
    if not current.exists():
        empty = directory / "none"
        empty.mkdir(mode=0o700, parents=True, exist_ok=True)
        current.unlink(missing_ok=True)
        current.symlink_to(empty.name)
    return current


def certificate(directory: Path) -> str:
    """The newest one, or empty for none."""
    try:
        return (directory / CURRENT / "client-cert.pem").read_text()
    except FileNotFoundError:
        return ""
