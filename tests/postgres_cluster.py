"""A PostgreSQL server for tests: its own cluster in a directory of its own, on a socket there, gone afterwards.

PostgreSQL refuses to run as root, so root runs it as the user `postgres` that Debian's package made. It is told to
die with its parent, so a test run that is killed leaves no server behind.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

_QUICK = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "listen_addresses": "",
    "shared_buffers": "64MB",
    "max_connections": "300",
    "autovacuum": "off",
}


@dataclass(frozen=True)
class Cluster:
    """One that runs. Whoever can open the directory is let in."""

    directory: Path
    user: str

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://{self.user}@/{database}?host={self.directory}"

    def run(self, statement: str) -> None:
        """As administrator, outside of any transaction."""
        with self.connection() as open_:
            open_.execute(statement)

    def connection(self, database: str = "postgres") -> psycopg.Connection:
        """As administrator; each statement is a transaction unless one is begun."""
        return psycopg.connect(
            dbname=database, user=self.user, host=str(self.directory), autocommit=True
        )

    def answers(self) -> bool:
        try:
            self.connection().close()
        except psycopg.OperationalError:
            return False
        return True


def binaries() -> Path:
    """Of the newest version that is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name))
    assert found, "PostgreSQL's server is not installed"
    return found[-1]


@contextmanager
def cluster() -> Iterator[Cluster]:
    directory = Path(tempfile.mkdtemp(prefix="arable-pg-", dir="/tmp"))  # a socket's path is short
    as_user: list[str] = []
    user = pwd.getpwuid(os.geteuid()).pw_name
    if os.geteuid() == 0:
        user = "postgres"
        as_user = ["setpriv", "--reuid", user, "--regid", user, "--init-groups"]
        shutil.chown(directory, user, user)
    data = directory / "data"
    quiet = {"stdout": subprocess.DEVNULL, "cwd": directory}
    subprocess.run(
        [*as_user, str(binaries() / "initdb"), "--auth=trust", "--no-sync", "--encoding=UTF8",
         "--locale=C.UTF-8", f"--username={user}", "-D", str(data)],
        check=True, **quiet,
    )  # fmt: skip
    settings = [part for name, value in _QUICK.items() for part in ("-c", f"{name}={value}")]
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            ["setpriv", "--pdeathsig", "INT", *as_user[1:], "--", str(binaries() / "postgres"),
             "-D", str(data), "-k", str(directory), *settings],
            stderr=log, **quiet,
        )  # fmt: skip
    made = Cluster(directory, user)
    try:
        deadline = time.monotonic() + 60  # noqa: TID251 - a real server takes real time
        while not made.answers():
            assert server.poll() is None, (directory / "log").read_text()
            assert time.monotonic() < deadline, "PostgreSQL does not start"  # noqa: TID251
            time.sleep(0.05)  # noqa: TID251
        yield made
    finally:
        server.send_signal(subprocess.signal.SIGINT)
        server.wait(60)
        shutil.rmtree(directory)
