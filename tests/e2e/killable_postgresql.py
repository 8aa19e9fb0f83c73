"""A PostgreSQL within a lab, at an address that servers reach over its cables, which can be killed and started again."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from arable.drivers.namespaces import RUN
from arable.lab import living
from arable.lab.devices import environment
from arable.lab.living import Process
from arable.lab.power import Site
from arable.runtime.clock import RealClock
from e2e.patience import until
from postgres_cluster import binaries

_USER = "postgres"
_AS_USER = ["setpriv", "--reuid", _USER, "--regid", _USER, "--init-groups", "--"]
# What was committed outlives the processes; the machine below does not go down, so the disk is not waited for.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "200",
}


@dataclass
class KillablePostgresql:
    """`address` is one of the device `inside` which it lives."""

    directory: Path
    address: str
    inside: str
    site: Site | None = None
    server: "subprocess.Popen[bytes] | None" = None
    killed: list[Process] = field(default_factory=list)

    @property
    def url(self) -> str:
        """By which the lab's servers reach it."""
        return f"postgresql+psycopg://{_USER}@{self.address}/arable"

    @property
    def own_url(self) -> str:
        """The same database, past the lab's cables."""
        return f"postgresql+psycopg://{_USER}@/arable?host={self.directory}"

    def begin(self, site: Site) -> None:
        """In that lab, with an empty database."""
        self.site = site
        self.start()
        with self._administrator() as open_:
            open_.execute("create database arable")

    def start(self) -> None:
        assert self.site
        namespace = RUN / self.site.place.namespace(self.inside)
        settings = _SETTINGS | {"listen_addresses": self.address}
        words = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.directory / "log").open("ab") as log:
            self.server = subprocess.Popen(
                ["nsenter", f"--net={namespace}", "--", *_AS_USER, str(binaries() / "postgres"),
                 "-D", str(self.directory / "data"), "-k", str(self.directory), *words],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory,
                env=environment(self.site.place.id),
            )  # fmt: skip
        until(self._answers, "PostgreSQL answers")

    def kill(self) -> None:
        """All of its processes between two instructions."""
        assert self.server
        root = living.process(self.server.pid)
        assert root
        self.killed = living.family(root)
        living.end(self.killed, RealClock())
        self.server.wait()

    def _answers(self) -> bool:
        assert self.server
        assert self.server.poll() is None, (self.directory / "log").read_text()
        try:
            self._administrator().close()
        except psycopg.OperationalError:
            return False
        return True

    def _administrator(self) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(
            dbname="postgres", user=_USER, host=str(self.directory), autocommit=True
        )


@contextmanager
def killable_postgresql(address: str, inside: str) -> Iterator[KillablePostgresql]:
    """Its files are there; `begin` starts it. What is left of it ends with the block."""
    directory = Path(tempfile.mkdtemp(prefix="arable-pg-", dir="/tmp"))  # a socket's path is short
    shutil.chown(directory, _USER, _USER)
    data = directory / "data"
    initdb = [str(binaries() / "initdb"), "--auth=trust", "--no-sync", "--encoding=UTF8"]
    initdb += ["--locale=C.UTF-8", f"--username={_USER}", "-D", str(data)]
    subprocess.run(
        [*_AS_USER, *initdb], check=True, stdout=subprocess.DEVNULL, cwd=directory, env=os.environ
    )
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write(f"host all all {address}/24 trust\n")
    made = KillablePostgresql(directory, address, inside)
    try:
        yield made
    finally:
        if made.server and made.server.poll() is None:
            made.kill()
        shutil.rmtree(directory)
