"""One question to one name server: which addresses does a name have?"""

import socket
import struct


def addresses(server: str, name: str) -> set[str]:
    """IPv4 ones; none when nobody answers."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    question = struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.settimeout(2)
        asked.sendto(question, (server, 53))
        try:
            said = asked.recv(2048)
        except OSError:
            return set()
    (count,) = struct.unpack(">H", said[6:8])
    found, at = set(), len(question)
    for _ in range(count):
        at += 2  # the name, as a pointer
        kind, _class, _ttl, length = struct.unpack(">2HIH", said[at : at + 10])
        at += 10
        if kind == 1:
            found.add(socket.inet_ntoa(said[at : at + length]))
        at += length
    return found
