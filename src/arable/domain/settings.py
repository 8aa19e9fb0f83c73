"""What an operator may tune while the cloud runs: each setting's type, default and bounds, once.

`store/settings.py` reads a value (`get(tx, settings.EXPUNGE_SECONDS)`), the API shows and changes them. A setting that
is not stored has its default, so a new one needs no migration; what was stored by an older version and no longer fits
its bounds counts as not stored.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

from arable.domain.errors import BadInput

V = TypeVar("V", int, str)

_DAY = 86_400
_MOST = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Setting(Generic[V]):
    """One of them. Numbers have `minimum` and `maximum`, words have `choices`."""

    name: str
    default: V
    about: str
    minimum: int = 0
    maximum: int = 0
    choices: tuple[str, ...] = ()

    def check(self, value: object) -> V:
        """`value` if this setting can have it; raises `BadInput` naming the setting otherwise."""
        kind = type(self.default)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise BadInput(f"must be {_KINDS[kind]}", field=self.name)
        if isinstance(value, int) and not self.minimum <= value <= self.maximum:
            raise BadInput(f"must be from {self.minimum} to {self.maximum}", field=self.name)
        if isinstance(value, str) and value not in self.choices:
            raise BadInput(f"must be one of {', '.join(self.choices)}", field=self.name)
        return value


_KINDS: dict[type, str] = {int: "a whole number", str: "text"}


def _limit(resource: str, default: int, of: str) -> Setting[int]:
    return Setting(
        f"new_account_{resource}", default, f"Limit of a new account: {of}; -1: none", -1, _MOST
    )


EXPUNGE_SECONDS = Setting(
    "expunge_seconds", _DAY, "How long a destroyed machine can be recovered", 0, 90 * _DAY
)
APPLIANCE_IDLE_SECONDS = Setting(
    "appliance_idle_seconds",
    600,
    "How long a routing appliance stays after its network's last machine stopped",
    10,
    30 * _DAY,
)
PLACEMENT_STRATEGY = Setting(
    "placement_strategy",
    "spread",
    "Where machines go that ask for nothing else: to the emptiest or to the fullest host that fits",
    choices=("spread", "pack"),
)
HOST_SILENT_SECONDS = Setting(
    "host_silent_seconds", 30, "How long a host may be unheard before it counts as silent", 10, 3600
)
HOST_DOWN_SECONDS = Setting(
    "host_down_seconds",
    20,
    "How long a host may be unheard, and unseen by all others, before it is taken for down",
    10,
    3600,
)
HOST_BOOT_SECONDS = Setting(
    "host_boot_seconds", 600, "How long a host that was powered on may take to be heard", 30, 7200
)
REPORT_SECONDS = Setting(
    "report_seconds", 10, "How often a host reports even when nothing changed", 1, 300
)
JOIN_TOKEN_SECONDS = Setting(
    "join_token_seconds", 10_800, "How long a join token counts, where it is not said", 60, _DAY
)
START_TRIES = Setting(
    "start_tries", 3, "How often a machine is tried on another host before it is an error", 1, 20
)
IMAGE_UPLOAD_MIB = Setting(
    "image_upload_mib", 65_536, "The largest file of an image version", 1, 16 * 1024 * 1024
)
ACCOUNT_IMAGE_MIB = Setting(
    "account_image_mib", 524_288, "All image files of an account together", 1, _MOST
)
CPU_PERCENT = Setting("cpu_percent", 400, "CPU over-commit of a new host; 100: none", 100, 3200)
MEMORY_PERCENT = Setting(
    "memory_percent", 100, "Memory over-commit of a new host; 100: none", 50, 400
)
DISK_PERCENT = Setting("disk_percent", 200, "Disk over-commit of a new host; 100: none", 50, 1000)
ALERT_HOST_SECONDS = Setting(
    "alert_host_seconds", 300, "Unheard for this long, a silent host's alert is critical", 10, _DAY
)
ALERT_CAPACITY_PERCENT = Setting(
    "alert_capacity_percent", 85, "So much of a zone's capacity reserved is an alert", 1, 100
)
ALERT_CAPACITY_CRITICAL_PERCENT = Setting(
    "alert_capacity_critical_percent", 95, "So much of it reserved is a critical alert", 1, 100
)
ALERT_CERTIFICATE_DAYS = Setting(
    "alert_certificate_days", 14, "So long before a certificate's end is an alert", 1, 365
)
ALERT_IMAGES_PERCENT = Setting(
    "alert_images_percent", 90, "The image store's disk, so full, is an alert", 1, 100
)
NEW_ACCOUNT_MACHINES = _limit("machines", 100, "machines")
NEW_ACCOUNT_CPUS = _limit("cpus", 200, "CPUs")
NEW_ACCOUNT_MEMORY_MIB = _limit("memory_mib", 409_600, "MiB of memory")
NEW_ACCOUNT_VOLUMES = _limit("volumes", 200, "volumes")
NEW_ACCOUNT_STORAGE_MIB = _limit("storage_mib", 10_485_760, "MiB of volumes")
NEW_ACCOUNT_NETWORKS = _limit("networks", 20, "networks")
NEW_ACCOUNT_ADDRESSES = _limit("addresses", 20, "public addresses")
MANAGEMENT_SERVERS_MIN = Setting(
    "management_servers_min", 1, "Management servers there should be at least", 1, 100
)
MANAGEMENT_SERVERS_MAX = Setting(
    "management_servers_max",
    0,
    "Management servers there may be at most, if their number should follow the load; 0: it should not",
    0,
    100,
)

SETTINGS: dict[str, Setting[int] | Setting[str]] = {
    setting.name: setting
    for setting in (
        EXPUNGE_SECONDS,
        APPLIANCE_IDLE_SECONDS,
        PLACEMENT_STRATEGY,
        HOST_SILENT_SECONDS,
        HOST_DOWN_SECONDS,
        HOST_BOOT_SECONDS,
        REPORT_SECONDS,
        JOIN_TOKEN_SECONDS,
        START_TRIES,
        IMAGE_UPLOAD_MIB,
        ACCOUNT_IMAGE_MIB,
        CPU_PERCENT,
        MEMORY_PERCENT,
        DISK_PERCENT,
        ALERT_HOST_SECONDS,
        ALERT_CAPACITY_PERCENT,
        ALERT_CAPACITY_CRITICAL_PERCENT,
        ALERT_CERTIFICATE_DAYS,
        ALERT_IMAGES_PERCENT,
        NEW_ACCOUNT_MACHINES,
        NEW_ACCOUNT_CPUS,
        NEW_ACCOUNT_MEMORY_MIB,
        NEW_ACCOUNT_VOLUMES,
        NEW_ACCOUNT_STORAGE_MIB,
        NEW_ACCOUNT_NETWORKS,
        NEW_ACCOUNT_ADDRESSES,
        MANAGEMENT_SERVERS_MIN,
        MANAGEMENT_SERVERS_MAX,
    )
}


def named(name: str) -> Setting[int] | Setting[str]:
    """The setting of that name; raises `BadInput` naming it when there is none."""
    setting = SETTINGS.get(name)
    if setting is None:
        raise BadInput("there is no such setting", field=name)
    return setting
