"""Debian's packages, fetched and read without being installed: no root, no other program's files touched.

Apt fetches them and checks their signatures; then they are read as the archives they are.
"""

import io
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from arable.domain.errors import Unavailable


def cached(folder: Path, pattern: str) -> Path | None:
    """The package of this name that was fetched into `folder` last; it counts until somebody deletes it."""
    present = sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime)
    return present[-1] if present else None


def fetch(folder: Path, named: Callable[[], str]) -> Path:
    """The package that `named` names (empty while apt knows none), put into `folder`.

    Raises `Unavailable` with what apt said.
    """
    name = named() or (_refresh() and named())
    if not name:
        raise Unavailable("apt knows no such package; try `apt-get update`")
    # Apt writes under the final name from the first byte on, so it writes elsewhere and the whole file moves.
    partial = folder / f"partial-{os.getpid()}"
    partial.mkdir(parents=True, exist_ok=True)
    try:
        run(["apt-get", "-qq", "-o", f"APT::Sandbox::User={_me()}", "download", name], cwd=partial)
        (package,) = partial.glob("*.deb")
        return package.replace(folder / package.name)
    finally:
        for rest in partial.iterdir():
            rest.unlink()
        partial.rmdir()


def files(package: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Each regular file in it, with its path below the root."""
    raw = run(["dpkg-deb", "--fsys-tarfile", str(package)])
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            if file is not None:
                yield PurePosixPath(member.name), file.read()


def run(command: list[str], *, cwd: Path | None = None, check: bool = True) -> bytes:
    """What this command says. Raises `Unavailable` if it isn't there or, with `check`, fails."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise Unavailable(f"{command[0]} is not installed here") from error
    if check and done.returncode != 0:
        told = done.stderr.decode(errors="replace").strip()
        raise Unavailable(f"{command[0]} failed: {told}", detail=" ".join(command))
    return done.stdout


def _refresh() -> bool:
    """Ask Debian what there is, when nobody has yet (fresh containers have no lists); only root may."""
    if os.geteuid() == 0:
        run(["apt-get", "-qq", "update"], check=False)
    return True


def _me() -> str:
    return "root" if os.geteuid() == 0 else ""
