"""What rules are about. By itself, since wishes of several kinds have it, and each other."""

from enum import StrEnum


class Protocol(StrEnum):
    """What a rule is about."""

    TCP = "tcp"
    UDP = "udp"
    ICMP = "icmp"
    ALL = "all"
