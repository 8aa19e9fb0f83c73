"""PostgreSQL at two sites: a primary, and a replica that streams from it. Either may be killed and started again."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from e2e.patience import until
from postgres_cluster import binaries

_SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "fsync": "off",  # processes are killed here, never the machine
    "wal_keep_size": "256MB",
}


@dataclass
class Postgres:
    """One. Root runs it as the user `postgres`; whoever can open the directory is let in."""

    directory: Path
    user: str = field(init=False)
    _as_user: list[str] = field(init=False)
    _process: "subprocess.Popen[bytes] | None" = None

    def __post_init__(self) -> None:
        self.user, self._as_user = pwd.getpwuid(os.geteuid()).pw_name, []
        if os.geteuid() == 0:
            self.user = "postgres"
            self._as_user = ["--reuid", self.user, "--regid", self.user, "--init-groups"]
            shutil.chown(self.directory, self.user, self.user)

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://{self.user}@/arable?host={self.directory}"

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    def make(self) -> None:
        self._run("initdb", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", f"--username={self.user}", "-D", str(self.directory / "data"))  # fmt: skip
        self.start()
        with self.administrator() as open_:
            open_.execute("create database arable")

    def follow(self, primary: "Postgres") -> None:
        """Be its replica."""
        self._run("pg_basebackup", "-h", str(primary.directory), "-U", primary.user, "-D", str(self.directory / "data"), "-X", "stream", "-R", "-c", "fast", "--no-sync")  # fmt: skip
        self.start()

    def start(self) -> None:
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "INT", *self._as_user, "--", str(binaries() / "postgres"),
                 "-D", str(self.directory / "data"), "-k", str(self.directory), *settings],
                stdout=subprocess.DEVNULL, stderr=log, cwd=self.directory,
            )  # fmt: skip
        until(self._answers, f"{self.directory} answers", 90)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGQUIT: at once, without a checkpoint, as if the machine had died."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait(60)

    def administrator(self) -> psycopg.Connection:
        return psycopg.connect(
            dbname="postgres", user=self.user, host=str(self.directory), autocommit=True
        )

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        try:
            self.administrator().close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *args: str) -> None:
        argv = ["setpriv", *self._as_user, "--"] if self._as_user else []
        subprocess.run([*argv, str(binaries() / program), *args], check=True, stdout=subprocess.DEVNULL, cwd=self.directory)  # fmt: skip


@contextmanager
def two_sites() -> Iterator[tuple[Postgres, Postgres]]:
    """A primary, and a replica that is about to be made of it."""
    sites = [
        Postgres(Path(tempfile.mkdtemp(prefix=f"arable-pg-{name}-", dir="/tmp"))) for name in "ab"
    ]
    try:
        sites[0].make()
        yield sites[0], sites[1]
    finally:
        for site in reversed(sites):
            site.stop()
            shutil.rmtree(site.directory)
