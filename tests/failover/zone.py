"""A zone of names, as an operator would keep one: dnsmasq on an address of its own, and programs that ask it."""

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from e2e.patience import until
from failover import dns_client

ADDRESS = "127.77.0.53"
_ENTER = """
import os, subprocess, sys
subprocess.run(["mount", "--bind", sys.argv[1], "/etc/resolv.conf"], check=True)
os.execvp(sys.argv[2], sys.argv[2:])
"""


@dataclass
class Zone:
    """One name, that may lead anywhere."""

    name: str
    directory: Path
    process: "subprocess.Popen[bytes]"

    def lead_to(self, *addresses: str) -> None:
        self._write(addresses)
        self.process.send_signal(signal.SIGHUP)
        self.await_led(addresses)

    def await_led(self, addresses: Sequence[str]) -> None:
        """Until that is what it answers."""
        until(lambda: dns_client.addresses(ADDRESS, self.name) == set(addresses), "the zone changes", 20)  # fmt: skip

    def _write(self, addresses: Sequence[str]) -> None:
        (self.directory / "names").write_text("".join(f"{a} {self.name}\n" for a in addresses))

    def asked_by(self) -> list[str]:
        """What goes before a command whose names are looked up here and nowhere else."""
        resolver = self.directory / "resolv.conf"
        resolver.write_text(f"nameserver {ADDRESS}\noptions timeout:1 attempts:2\n")
        return ["unshare", "--mount", "--propagation", "private", "--", sys.executable, "-c", _ENTER, str(resolver)]  # fmt: skip


@contextmanager
def zone(name: str, directory: Path, first: str) -> Iterator[Zone]:
    directory.mkdir()
    (directory / "names").write_text(f"{first} {name}\n")
    argv = [
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        f"--listen-address={ADDRESS}",
    ]
    argv += [
        "--bind-interfaces",
        "--no-resolv",
        "--no-hosts",
        f"--addn-hosts={directory / 'names'}",
    ]
    argv += ["--local-ttl=0", "--pid-file=", "--user=root"]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *argv],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        made = Zone(name, directory, process)
        made.await_led([first])
        yield made
    finally:
        process.terminate()
        process.wait(20)
