"""Who listens where: every TCP and UDP socket that takes what comes, as the kernel lists them."""

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv6Address
from itertools import chain
from pathlib import Path

from arable.drivers import namespaces
from arable.lab import living
from e2e.lab_cloud import LabCloud

ROOT = "this machine"
APPLIANCE = "an appliance"
_LISTENS = {"tcp": 0x0A, "tcp6": 0x0A, "udp": 0x07, "udp6": 0x07}


@dataclass(frozen=True, order=True)
class Listening:
    """A socket. `place` is a device of the lab, `ROOT` or `APPLIANCE`."""

    place: str
    protocol: str
    address: str
    port: int
    program: str


def listening(cloud: LabCloud) -> set[Listening]:
    """All of the cloud: in its namespaces every one, in this machine's own those of its processes."""
    lab = cloud.site.place.id
    places = {
        namespaces.inode(name): name.removeprefix(f"{lab}-") for name in namespaces.names(lab)
    }
    own = Path("/proc/self/ns/net").stat().st_ino
    found: set[Listening] = set()
    ours: dict[int, str] = {}
    doors: dict[int, int] = {}
    inits = [cloud.site.init(name) for name in places.values()]
    families = [living.family(init) for init in inits if init]  # appliances are in there, too
    for one in {*living.marked(lab), *chain(*families)}:
        with suppress(OSError):
            doors.setdefault(Path(f"/proc/{one.pid}/ns/net").stat().st_ino, one.pid)
            ours |= dict.fromkeys(_sockets(one.pid), _program(one.pid))
    assert set(places) <= set(doors), "every device has a process"
    for namespace, pid in doors.items():
        place = ROOT if namespace == own else places.get(namespace, APPLIANCE)
        for protocol in _LISTENS:
            for address, port, inode in _listed(pid, protocol):
                if namespace != own or inode in ours:
                    program = ours.get(inode, "?")
                    found.add(Listening(place, protocol, address, port, program))
    return found


def _listed(pid: int, protocol: str) -> Iterator[tuple[str, int, int]]:
    for line in Path(f"/proc/{pid}/net/{protocol}").read_text().splitlines()[1:]:
        words = line.split()
        if int(words[3], 16) == _LISTENS[protocol]:
            address, _, port = words[1].partition(":")
            yield _address(address), int(port, 16), int(words[9])


def _address(text: str) -> str:
    """The kernel prints 32-bit words as this processor holds them."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    return socket.inet_ntoa(packed) if len(packed) == 4 else str(IPv6Address(packed))


def _sockets(pid: int) -> Iterator[int]:
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            kind, _, rest = str(link.readlink()).partition(":[")
            if kind == "socket":
                yield int(rest.rstrip("]"))


def _program(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    if "arable.processes.main" in words:
        return f"arable {words[words.index('arable.processes.main') + 1]}"
    if any("metadata_server" in word for word in words):
        return "metadata_server"
    return Path(next((word for word in words if word.endswith(".py")), words[0])).name
