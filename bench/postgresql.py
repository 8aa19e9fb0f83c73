"""A PostgreSQL of one's own: in a directory, on a socket there, gone afterwards. As durable as in production.

PostgreSQL refuses to run as root, so root runs it as the user `postgres` that Debian's package made.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

_SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",  # a checkpoint in the middle of a short measurement would be chance
    "max_connections": "100",
}
_WITHIN = 60.0


@contextmanager
def cluster() -> Iterator[str]:
    """The URL of an empty database in it, for as long as the block runs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name))
    if not found:
        raise SystemExit("PostgreSQL's server is not installed: apt-get install postgresql")
    directory = Path(
        tempfile.mkdtemp(prefix="arable-bench-pg-", dir="/tmp")
    )  # short: a socket is in it
    user, as_user = pwd.getpwuid(os.geteuid()).pw_name, []
    if os.geteuid() == 0:
        user = "postgres"
        as_user = ["--reuid", user, "--regid", user, "--init-groups"]
        shutil.chown(directory, user, user)
    data = directory / "data"
    initdb = [str(found[-1] / "initdb"), "--auth=trust", "--no-sync", "--encoding=UTF8"]
    initdb += ["--locale=C.UTF-8", f"--username={user}", "-D", str(data)]
    subprocess.run(
        ["setpriv", *as_user, "--", *initdb] if as_user else initdb,
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=directory,
    )
    settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
    argv = ["setpriv", "--pdeathsig", "INT", *as_user, "--", str(found[-1] / "postgres")]
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            [*argv, "-D", str(data), "-k", str(directory), *settings],
            stdout=subprocess.DEVNULL,
            stderr=log,
            cwd=directory,
        )
    try:
        _await(server, directory, user)
        with psycopg.connect(
            dbname="postgres", user=user, host=str(directory), autocommit=True
        ) as administrator:
            administrator.execute("create database arable")
            administrator.execute("create database bare")
        yield f"postgresql+psycopg://{user}@/arable?host={directory}"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)
        shutil.rmtree(directory)


def _await(server: "subprocess.Popen[bytes]", directory: Path, user: str) -> None:
    end = time.monotonic() + _WITHIN
    while True:
        try:
            psycopg.connect(dbname="postgres", user=user, host=str(directory)).close()
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > end:
                raise SystemExit((directory / "log").read_text()) from None
            time.sleep(0.05)
        else:
            return
