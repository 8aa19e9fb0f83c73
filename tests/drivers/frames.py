"""Ethernet frames, written and read by hand, and what sends and receives them: the only way to lie on a wire."""

import fcntl
import os
import select
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address

from arable.drivers import namespaces
from arable.runtime.clock import RealClock

BROADCAST = "ff:ff:ff:ff:ff:ff"
ARP, IPV4, IPV6, VLAN, QINQ = 0x0806, 0x0800, 0x86DD, 0x8100, 0x88A8
ICMP, UDP = 1, 17

_TUNSETIFF = 0x400454CA
_IFF_TAP_NO_PI = 0x1002
_PACKET_AUXDATA = 8
_SOL_PACKET = 263
_VLAN_VALID = 0x10


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def ethernet(
    source: str, target: str, kind: int, payload: bytes, tags: tuple[int, ...] = ()
) -> bytes:
    """A frame; `tags` are 802.1Q tags, the outer one first."""
    tagged = b"".join(struct.pack(">HH", VLAN, tag) for tag in tags)
    return mac(target) + mac(source) + tagged + struct.pack(">H", kind) + payload.ljust(46, b"\0")


def arp(
    op: int, sender_mac: str, sender: str, target: str, target_mac: str = "00:00:00:00:00:00"
) -> bytes:
    return (
        struct.pack(">HHBBH", 1, IPV4, 6, 4, op)
        + mac(sender_mac)
        + IPv4Address(sender).packed
        + mac(target_mac)
        + IPv4Address(target).packed
    )


def checksum(data: bytes) -> int:
    padded = data + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(source: str, target: str, protocol: int, payload: bytes) -> bytes:
    head = struct.pack(
        ">BBHHHBBH4s4s",
        0x45,
        0,
        20 + len(payload),
        1,
        0,
        64,
        protocol,
        0,
        IPv4Address(source).packed,
        IPv4Address(target).packed,
    )
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def udp(source_port: int, target_port: int, payload: bytes) -> bytes:
    """Without a checksum, which IPv4 allows."""
    return struct.pack(">HHHH", source_port, target_port, 8 + len(payload), 0) + payload


def echo_request(note: bytes) -> bytes:
    body = struct.pack(">BBHHH", 8, 0, 0, 7, 1) + note
    return body[:2] + struct.pack(">H", checksum(body)) + body[4:]


@dataclass(frozen=True)
class Seen:
    """A frame on a wire, its tag apart."""

    tag: int | None
    target: str
    source: str
    kind: int
    payload: bytes

    @classmethod
    def parse(cls, frame: bytes, tag: int | None = None) -> "Seen":
        (kind,) = struct.unpack_from(">H", frame, 12)
        rest = frame[14:]
        if kind == VLAN:
            tci, kind = struct.unpack_from(">HH", frame, 14)
            tag, rest = tci & 0xFFF, frame[18:]
        return cls(tag, frame[:6].hex(":"), frame[6:12].hex(":"), kind, rest)


class GuestEnd:
    """What a hypervisor does with a tap: holds its other end, where the guest's frames go in and out."""

    def __init__(self, netns: str, device: str) -> None:
        def open_tap() -> int:
            tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _IFF_TAP_NO_PI))
            return tun

        self._tun = namespaces.inside(netns, open_tap)

    def send(self, frame: bytes) -> None:
        os.write(self._tun, frame)

    def receive(self, seconds: float) -> Seen | None:
        ready, _, _ = select.select([self._tun], [], [], seconds)
        return Seen.parse(os.read(self._tun, 1 << 16)) if ready else None

    def until(
        self,
        holds: Callable[[Seen], bool],
        seconds: float = 60,
        again: Callable[[], None] = lambda: None,
    ) -> list[Seen]:
        return collect(self.receive, holds, seconds, again)

    def close(self) -> None:
        os.close(self._tun)


class Wiretap:
    """Everything that passes a device, in both directions, with its tags."""

    def __init__(self, netns: str, device: str) -> None:
        def listen() -> socket.socket:
            tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            tap.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
            tap.bind((device, 0))
            return tap

        self._socket = namespaces.inside(netns, listen)

    def receive(self, seconds: float) -> Seen | None:
        ready, _, _ = select.select([self._socket], [], [], seconds)
        if not ready:
            return None
        frame, told, _, _ = self._socket.recvmsg(1 << 16, 64)
        tag = None
        for level, kind, data in told:
            if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
                status, *_, tci, _ = struct.unpack_from("=IIIHHHH", data)
                tag = tci & 0xFFF if status & _VLAN_VALID else None
        return Seen.parse(frame, tag)

    def send(self, frame: bytes) -> None:
        self._socket.send(frame)

    def until(self, holds: Callable[[Seen], bool], seconds: float = 60) -> list[Seen]:
        return collect(self.receive, holds, seconds)

    def close(self) -> None:
        self._socket.close()


def collect(
    receive: Callable[[float], Seen | None],
    holds: Callable[[Seen], bool],
    seconds: float,
    again: Callable[[], None] = lambda: None,
) -> list[Seen]:
    """All frames up to the first for which `holds` is true; fails when it never comes.

    `again` is called each second in which nothing came: Ethernet may lose frames, and a port that is new does.
    """
    clock = RealClock()
    end = clock.monotonic() + seconds
    seen: list[Seen] = []
    while (left := end - clock.monotonic()) > 0:
        frame = receive(min(left, 1.0))
        if frame is None:
            again()
            continue
        seen.append(frame)
        if holds(frame):
            return seen
    raise AssertionError(f"the frame never came; {len(seen)} others did: {seen[:10]}")
