"""The power of hosts: who switches it, what is wished for it, and how it was last seen."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from urllib.parse import urlsplit

from arable.domain.errors import BadInput
from arable.domain.ids import HostId

ROOT = "/redfish/v1/"
"""Where every Redfish service begins."""


class PowerState(StrEnum):
    """Whether a machine has power."""

    ON = "on"
    OFF = "off"
    CHANGING = "changing"  # it was told to, and is neither yet


class PowerDriver(StrEnum):
    """By what a host is switched: `drivers/power`."""

    REDFISH = "redfish"


class PowerSwitch(Protocol):
    """Of one machine. Each call may be repeated; each raises `Unavailable` when it is not known what became of it, and
    another `CloudError` for what won't become better by itself (wrong password, no such machine).
    """

    def state(self) -> PowerState:
        """As it is now."""

    def off(self) -> None:
        """Cut the power at once, without asking what runs there. Already off is fine."""

    def on(self) -> None:
        """Give it power. Already on is fine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bmc:
    """The management controller that switches a host. `sealed` is its password, encrypted for this host alone.

    Whom to believe that it is this one: the authority whose PEM this is, the one certificate with this SHA-256 `fingerprint`, or,
    without both, any that the management servers' machines trust.

    `wanted` is what is to be done: it stays until it was seen to be so, or, where it is for `fencing`, until the host is
    heard again. `tries` failed since it was wished.
    """

    host: HostId
    driver: PowerDriver = PowerDriver.REDFISH
    url: str
    user: str
    sealed: str
    authority: str = ""
    fingerprint: str = ""
    wanted: PowerState | None = None
    fencing: bool = False
    wanted_at: datetime | None = None
    tries: int = 0
    next_at: datetime | None = None
    seen: PowerState | None = None
    seen_at: datetime | None = None
    told: str = ""
    generation: int = 1
    created_at: datetime


def split(url: str) -> tuple[str, str]:
    """Where the BMC is, and which of its systems is meant: empty for the only one. Raises `BadInput`."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadInput(f"not a URL: {error}", field="url") from error
    if parts.scheme != "https" or not parts.hostname:
        raise BadInput("https://HOST, with the path of a system if there are several", field="url")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise BadInput("no user, password, query or fragment in it", field="url")
    path = parts.path.rstrip("/")
    if path in ("", ROOT.rstrip("/")):
        path = ""
    elif not path.startswith(f"{ROOT}Systems/"):
        raise BadInput(f"a system's path begins with {ROOT}Systems/", field="url")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"https://{host}" + (f":{port}" if port else ""), path
