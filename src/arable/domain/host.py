"""A host as the management plane sees it."""

from enum import StrEnum


class HostState(StrEnum):
    """Whether a host can be relied on."""

    JOINED = "joined"  # has its certificate, was never heard
    UP = "up"
    SILENT = "silent"  # its channel is gone or mute; what runs there is left alone
