"""Packets of IPv6, written by hand beside those of `frames.py`."""

import struct
from ipaddress import IPv6Address

from drivers.frames import checksum, mac

ICMP6, UDP = 58, 17
ALL_NODES, ALL_NODES_MAC = "ff02::1", "33:33:00:00:00:01"


def ipv6(source: str, target: str, kind: int, payload: bytes, hops: int = 255) -> bytes:
    """A packet; the checksum of an ICMPv6 or UDP payload is filled in."""
    ends = IPv6Address(source).packed + IPv6Address(target).packed
    at = 2 if kind == ICMP6 else 6
    pseudo = ends + struct.pack(">IHBB", len(payload), 0, 0, kind)
    told = checksum(pseudo + payload[:at] + b"\0\0" + payload[at + 2 :])
    summed = payload[:at] + struct.pack(">H", told or 0xFFFF) + payload[at + 2 :]
    return struct.pack(">IHBB", 6 << 28, len(payload), kind, hops) + ends + summed


def udp(source_port: int, target_port: int, payload: bytes = b"") -> bytes:
    return struct.pack(">HHHH", source_port, target_port, 8 + len(payload), 0) + payload


def echo_request(note: bytes) -> bytes:
    return struct.pack(">BBHHH", 128, 0, 0, 7, 1) + note


def neighbour_question(about: str, from_mac: str = "") -> bytes:
    """Who has `about`? With the asker's MAC, if it is to be told."""
    named = b"\x01\x01" + mac(from_mac) if from_mac else b""
    return struct.pack(">BBHI", 135, 0, 0, 0) + IPv6Address(about).packed + named


def neighbour_answer(about: str, at_mac: str) -> bytes:
    """`about` is at that MAC, whatever was known before."""
    told = struct.pack(">BBHI", 136, 0, 0, 0x20000000) + IPv6Address(about).packed
    return told + b"\x02\x01" + mac(at_mac)


def advertisement_of_a_router(prefix: str, from_mac: str) -> bytes:
    """I am the way for half an hour, and these addresses are on this link."""
    head = struct.pack(">BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    option = struct.pack(">BBBBIII", 3, 4, 64, 0xC0, 86400, 14400, 0)
    return head + option + IPv6Address(prefix).packed + b"\x01\x01" + mac(from_mac)
