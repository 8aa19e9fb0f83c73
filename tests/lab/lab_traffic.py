"""Traffic in a lab, for tests: connections that succeed or don't, and single frames on a wire."""

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from arable.drivers.namespaces import inside
from arable.lab.power import Site
from arable.runtime.clock import RealClock

BROADCAST = bytes.fromhex("ffffffffffff")
SENDER = bytes.fromhex("02aabb000001")
TEST_ETHERTYPE = 0x88B5  # for local experiments


@contextmanager
def listening(site: Site, device: str, port: int, address: str = "0.0.0.0") -> Iterator[None]:
    """Somebody takes connections there; that the kernel completes them is enough."""

    def listen() -> socket.socket:
        return socket.create_server((address, port))

    with inside(site.place.namespace(device), listen):
        yield


def reaches(site: Site, device: str, address: str, port: int, patience: float = 2.0) -> str:
    """The address as whom the device got through, or empty text."""
    clock = RealClock()
    end = clock.monotonic() + patience

    def connect() -> str:
        while (left := end - clock.monotonic()) > 0:
            try:
                with socket.create_connection((address, port), timeout=left) as line:
                    return str(line.getsockname()[0])
            except OSError as error:
                # The kernel says this at once of a neighbour whom it asked in vain a moment ago.
                if error.errno != errno.EHOSTUNREACH:
                    break
        return ""

    return inside(site.place.namespace(device), connect)


def frame(text: str, vlan: int = 0) -> bytes:
    """A broadcast frame, tagged if a VLAN is given."""
    tag = struct.pack("!HH", 0x8100, vlan) if vlan else b""
    head = BROADCAST + SENDER + tag + struct.pack("!H", TEST_ETHERTYPE)
    return (head + text.encode()).ljust(60, b"\0")


@contextmanager
def wiretap(site: Site, device: str, interface: str) -> Iterator[socket.socket]:
    """All that passes an interface, as it is on the wire."""

    def tap() -> socket.socket:
        all_of_it = socket.ntohs(3)
        line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, all_of_it)
        line.bind((interface, 3))
        line.setsockopt(263, 8, 1)  # PACKET_AUXDATA: the kernel takes tags off and tells them apart
        return line

    with inside(site.place.namespace(device), tap) as line:
        yield line


def send(site: Site, device: str, interface: str, what: bytes) -> None:
    """Put a frame on the wire."""

    def go() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as line:
            line.bind((interface, 0))
            line.send(what)

    inside(site.place.namespace(device), go)


def arrivals(line: socket.socket, until: str, patience: float = 10.0) -> list[tuple[int, str]]:
    """(VLAN, text) of the test frames that arrived, up to one with that text; `TimeoutError` if it never comes."""
    seen: list[tuple[int, str]] = []
    line.settimeout(patience)
    while not seen or seen[-1][1] != until:
        data, extra, _, _ = line.recvmsg(2048, 256)
        vlan = 0
        for level, kind, aux in extra:
            if level == 263 and kind == 8:
                status, *_, tag, _ = struct.unpack("IIIHHHH", aux)
                if status & 16:  # TP_STATUS_VLAN_VALID
                    vlan = tag & 0xFFF
        kind_of_frame = struct.unpack("!H", data[12:14])[0]
        if kind_of_frame == 0x8100:
            vlan, kind_of_frame = struct.unpack("!HH", data[14:18])
            data = data[:12] + data[16:]
        if kind_of_frame == TEST_ETHERTYPE:
            seen.append((vlan & 0xFFF, data[14:].rstrip(b"\0").decode()))
    return seen
