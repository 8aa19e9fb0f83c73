"""The dnsmasq of one appliance: a process in the appliance's namespace, in a jail of its own.

It becomes a user without rights, and can get none (`jail.py`).

An address that changes hands is taken from its last holder by a DHCP release in his name: dnsmasq keeps an address
for whoever has a lease on it, even when the lease's machine is gone and the address was given to another one.
"""

import os
import pwd
import signal
import socket
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address
from itertools import takewhile
from pathlib import Path

from arable.appliance import dnsmasq as told
from arable.appliance.router import Lease, Router
from arable.drivers import namespaces
from arable.drivers.appliance import jail
from arable.drivers.appliance.jail import FOLDER
from arable.drivers.appliance.record import replace_text

PROGRAM = "dnsmasq"
CONFIGURATION = "dnsmasq.conf"

_CAPABILITIES = ("NET_ADMIN", "NET_RAW", "NET_BIND_SERVICE", "SETUID", "SETGID", "CHOWN")


class Dnsmasq:
    """DHCP and DNS in namespace `netns`, with its files in `folder`."""

    def __init__(self, netns: str, folder: Path, patience: float = 20.0) -> None:
        self._netns = netns
        self._folder = folder
        self._patience = patience

    def configuration(self, router: Router) -> str:
        """What it is started with; another text needs a restart."""
        return told.configuration(router, FOLDER, _user())

    def write_files(self, router: Router, leases: Sequence[Lease]) -> bool:
        """Its files say so; whether they said something else before.

        One that has read tags does not survive reading its files again (seen with 2.90), so it is stopped first.
        """
        self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        replace_text(self._folder / CONFIGURATION, self.configuration(router))
        hosts = self._folder / told.DHCP_HOSTS
        wanted = {
            hosts: told.dhcp_hosts(leases),
            self._folder / told.HOSTS: told.hosts(router, leases),
        }
        held = {path: path.read_text() if path.exists() else "" for path in wanted}
        if held == wanted:
            return False
        if told.has_tags(held[hosts]):
            self.stop()
        for path, text in wanted.items():
            replace_text(path, text)
        return True

    def pid(self) -> int:
        """The running process, or 0."""
        return jail.runs(self._netns, self._folder / told.PID)

    def start(self) -> None:
        """It runs and answers when this returns. It starts on an empty field: a namespace has one dnsmasq."""
        self.stop()
        words = [
            *jail.walls(self._folder, _CAPABILITIES),
            jail.program(PROGRAM),
            f"--conf-file={FOLDER / CONFIGURATION}",
        ]
        jail.launch(self._netns, words, PROGRAM, self._patience)

    def reload(self) -> None:
        """It reads its files again."""
        pid = self.pid()
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGHUP)

    def stop(self) -> None:
        """None runs in the namespace: one whose pid file was lost goes as well."""
        for pid in jail.running(self._netns, PROGRAM):
            jail.end(pid)
        (self._folder / told.PID).unlink(missing_ok=True)

    def release(self, router: Router, leases: Iterable[Lease]) -> None:
        """Nobody holds an address that is not his any more."""
        wanted = {(lease.mac, str(lease.address)) for lease in leases}
        stale = [held for held in self._held() if held[:2] not in wanted]
        if not stale:
            return

        def send() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
                mouth.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
                for mac, address, client in stale:
                    message = _release(mac, IPv4Address(address), client, router.gateway)
                    mouth.sendto(message, (str(router.gateway), 67))

        namespaces.inside(self._netns, send)

    def _held(self) -> list[tuple[str, str, str]]:
        """MAC, address and client id of every lease, as dnsmasq keeps them."""
        with suppress(FileNotFoundError):
            lines = (self._folder / told.LEASES).read_text().splitlines()
            # After the server's own DUID come those of IPv6, whose addresses never are another MAC's.
            rows = [line.split() for line in takewhile(lambda line: line[:5] != "duid ", lines)]
            return [(row[1], row[2], row[4]) for row in rows if len(row) == 5]
        return []


def _user() -> str:
    try:
        return pwd.getpwnam("dnsmasq").pw_name
    except KeyError:
        return "nobody"


def _release(mac: str, address: IPv4Address, client: str, server: IPv4Address) -> bytes:
    """DHCPRELEASE (RFC 2131), as the holder would send it."""
    head = struct.pack(
        "!BBBBIHH4s12x6s10x192x",
        1,
        1,
        6,
        0,
        int(address),  # any transaction will do
        0,
        0,
        address.packed,
        bytes.fromhex(mac.replace(":", "")),
    )
    options = b"\x63\x82\x53\x63" + b"\x35\x01\x07" + b"\x36\x04" + server.packed
    if client != "*":
        name = bytes.fromhex(client.replace(":", ""))
        options += bytes([61, len(name)]) + name
    return head + options + b"\xff"
