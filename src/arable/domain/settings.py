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
    15,
    "How long a host may be unheard, and unseen by all others, before it is taken for down",
    10,
    3600,
)
HOST_BOOT_SECONDS = Setting(
    "host_boot_seconds", 600, "How long a host that was powered on may take to be heard", 30, 7200
)
IDLE_HOSTS = Setting(
    "idle_hosts",
    "awake",
    "Whether hosts with nothing to do are powered down until they are needed",
    choices=("awake", "sleep"),
)
IDLE_HOST_SECONDS = Setting(
    "idle_host_seconds",
    1800,
    "How long a host has nothing to do before it sleeps, and stays awake once it was woken",
    60,
    30 * _DAY,
)
IDLE_HOST_RESERVE = Setting(
    "idle_host_reserve", 1, "How many hosts with nothing to do stay awake in each pod", 0, 1000
)
REPORT_SECONDS = Setting(
    "report_seconds", 10, "How often a host reports even when nothing changed", 1, 300
)
USAGE_SECONDS = Setting(
    "usage_seconds",
    60,
    "How often it is kept what machines use that no policy goes by; hosts tell it with each report",
    1,
    3600,
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
IMAGE_UPLOAD_SECONDS = Setting(
    "image_upload_seconds",
    _DAY,
    "How long what came of an image's file is kept when nobody goes on with it",
    60,
    90 * _DAY,
)
ACCOUNT_IMAGE_MIB = Setting(
    "account_image_mib", 524_288, "All image files of an account together", 1, _MOST
)
IMAGE_CACHE_SECONDS = Setting(
    "image_cache_seconds",
    7 * _DAY,
    "How long an image that nothing uses is kept in a storage pool. Hosts learn of it when they connect",
    60,
    365 * _DAY,
)
IMAGE_FETCH_MIB_PER_SECOND = Setting(
    "image_fetch_mib_per_second",
    0,
    "What each management server may take of the network to fetch images from other regions; 0: no limit",
    0,
    100_000,
)
IMAGE_FETCH_SECONDS = Setting(
    "image_fetch_seconds",
    3600,
    "How long an image that is fetched from other regions may stand still before that is given up",
    10,
    30 * _DAY,
)
IMAGE_POLICIES = Setting(
    "image_policies",
    "follow",
    "Whether images are brought here by themselves where policies of other regions say so",
    choices=("follow", "ignore"),
)
IMAGE_EVICT_PERCENT = Setting(
    "image_evict_percent",
    85,
    "Images that came from other regions and that nothing uses go while the image store's disk is so full; 100: never",
    10,
    100,
)
IMAGE_EVICT_SECONDS = Setting(
    "image_evict_seconds",
    0,
    "Images that came from other regions go when nothing used them for so long; 0: however long",
    0,
    365 * _DAY,
)
GRID_IMAGE_COPIES = Setting(
    "grid_image_copies",
    1,
    "How many other regions must have an image version before one may let its copy go. Of the grid manager",
    1,
    100,
)
ALERT_GRID_SECONDS = Setting(
    "alert_grid_seconds",
    300,
    "Unheard for this long, the grid manager's silence is an alert in each region",
    30,
    _DAY,
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
ALERT_POOL_PERCENT = Setting(
    "alert_pool_percent", 80, "So much of a storage pool in use is an alert", 1, 100
)
ALERT_POOL_CRITICAL_PERCENT = Setting(
    "alert_pool_critical_percent", 90, "So much of it in use is a critical alert", 1, 100
)
POOL_FULL_PERCENT = Setting(
    "pool_full_percent",
    95,
    "A storage pool with so much of it in use is full: it gets no further disks",
    50,
    100,
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
NEW_ACCOUNT_SNAPSHOTS = _limit("snapshots", 200, "snapshots")
NEW_ACCOUNT_SNAPSHOT_MIB = _limit("snapshot_mib", 10_485_760, "MiB that snapshots count")
NEW_ACCOUNT_NETWORKS = _limit("networks", 20, "networks")
NEW_ACCOUNT_ADDRESSES = _limit("addresses", 20, "public addresses")
MACHINE_KBPS = Setting(
    "machine_kbps",
    0,
    "What any port of a machine may send, and receive, at most in kbit/s; 0: no limit but others'",
    0,
    400_000_000,
)
MACHINE_NICS = Setting("machine_nics", 8, "How many ports a machine may have", 1, 8)
MOVES_PER_HOST = Setting(
    "moves_per_host", 2, "Machines that move to or from one host at a time, while they run", 1, 64
)
MOVES_PER_POD = Setting("moves_per_pod", 8, "The same, within one pod", 1, 1000)
MOVES_PER_ZONE = Setting("moves_per_zone", 32, "The same, within one zone", 1, 10_000)
REPLICATE_SECONDS = Setting(
    "replicate_seconds",
    300,
    "How often a replicated volume's changes are brought to its replica; that much may be lost with a storage host",
    10,
    _DAY,
)
MOVE_MIB_PER_SECOND = Setting(
    "move_mib_per_second",
    0,
    "What one move, carried volume or replica may take of the network; 0: no limit",
    0,
    100_000,
)
MOVE_DOWNTIME_MS = Setting(
    "move_downtime_ms",
    300,
    "How long a machine may stand still while the last of its memory goes over",
    10,
    60_000,
)
MOVE_SECONDS = Setting("move_seconds", 600, "After which a move is given up", 10, _DAY)
BALANCE = Setting(
    "balance",
    "on",
    "Whether machines with shared disks move from hosts that have most to do to those with least",
    choices=("on", "off"),
)
BALANCE_PERCENT = Setting(
    "balance_percent",
    30,
    "How much more loaded one host must be than another one of its pod, for machines to move",
    5,
    100,
)
BALANCE_REST_SECONDS = Setting(
    "balance_rest_seconds",
    3600,
    "How long a machine that moved, or could not, is left where it is",
    60,
    30 * _DAY,
)
FARM_READY_SECONDS = Setting(
    "farm_ready_seconds",
    600,
    "How long an element of a farm may take until it serves, where its blueprint does not say",
    10,
    _DAY,
)
FARM_DRAIN_SECONDS = Setting(
    "farm_drain_seconds",
    60,
    "How long the sessions of an element that leaves are waited for, where its blueprint does not say",
    0,
    _DAY,
)
FARM_STOP_SECONDS = Setting(
    "farm_stop_seconds",
    60,
    "How long an element that leaves may take to shut down, before its plug is pulled",
    1,
    3600,
)
FARM_HEAL_SECONDS = Setting(
    "farm_heal_seconds", 30, "How long an element may be ill before it is replaced", 1, _DAY
)
FARM_RETRY_SECONDS = Setting(
    "farm_retry_seconds",
    300,
    "The longest pause after something that a farm needs was refused",
    5,
    _DAY,
)
FARM_KEY_DAYS = Setting(
    "farm_key_days",
    30,
    "After how many days the links between regions of a farm get other keys; 0: never",
    0,
    3650,
)
LOAD_STALE_SECONDS = Setting(
    "load_stale_seconds", 30, "Figures of a farm's load that are older decide nothing", 5, 3600
)
POOL_TARGET_PERMILLE = Setting(
    "pool_target_permille",
    10,
    "The chance of an empty pool that a plan of its size aims at, in thousandths",
    1,
    500,
)
ORDER_REVIEW = Setting(
    "order_review",
    "none",
    "Which orders a person has to approve before their farms are made",
    choices=("none", "all"),
)
ORDER_CREDIT = Setting(
    "order_credit",
    "none",
    "Whether an order needs credit: none, or what was paid ahead together with the account's limit",
    choices=("none", "prepaid"),
)
ORDER_CREDIT_HOURS = Setting(
    "order_credit_hours",
    24,
    "For how many hours of all that an account has and ordered there has to be credit",
    1,
    8760,
)
ORDER_HOLD_HOURS = Setting(
    "order_hold_hours",
    24,
    "For how many hours room is kept for an order that was found good; 0: it is not",
    0,
    8760,
)
GRID_SECONDS = Setting(
    "grid_seconds",
    5,
    "How often a region tells the grid manager what is new, and hears what is new elsewhere",
    1,
    3600,
)
GRID_ACCOUNTS = Setting(
    "grid_accounts",
    "federated",
    "Of which accounts the grid manager is told what they hold and what it costs: of those that may be asked for from "
    "elsewhere, of all, or of none",
    choices=("federated", "all", "none"),
)
GRID_EVENTS = Setting(
    "grid_events",
    "no",
    "Whether the grid manager is told of the newest events of this region's operators",
    choices=("no", "yes"),
)
GRID_MAY_EVACUATE = Setting(
    "grid_may_evacuate",
    "no",
    "Whether operators of the grid may have zones of this region evacuated",
    choices=("no", "yes"),
)
GRID_MAY_CHANGE_ACCOUNTS = Setting(
    "grid_may_change_accounts",
    "no",
    "Whether operators of the grid may change limits of this region's accounts, suspend and resume them",
    choices=("no", "yes"),
)
GRID_MAY_OPEN_ACCOUNTS = Setting(
    "grid_may_open_accounts",
    "no",
    "Whether operators of the grid may make accounts in this region, and say from which regions they may be asked for",
    choices=("no", "yes"),
)
GRID_BILL_SECONDS = Setting(
    "grid_bill_seconds",
    300,
    "How long a region rests before it reckons anew what it tells the grid manager of accounts' bills",
    1,
    _DAY,
)
GRID_SNAPSHOT_SECONDS = Setting(
    "grid_snapshot_seconds",
    600,
    "How often a region tells the grid manager all of it, in case something was missed",
    10,
    _DAY,
)
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
        IDLE_HOSTS,
        IDLE_HOST_SECONDS,
        IDLE_HOST_RESERVE,
        REPORT_SECONDS,
        USAGE_SECONDS,
        JOIN_TOKEN_SECONDS,
        START_TRIES,
        IMAGE_UPLOAD_MIB,
        IMAGE_UPLOAD_SECONDS,
        ACCOUNT_IMAGE_MIB,
        IMAGE_CACHE_SECONDS,
        IMAGE_FETCH_MIB_PER_SECOND,
        IMAGE_FETCH_SECONDS,
        IMAGE_POLICIES,
        IMAGE_EVICT_PERCENT,
        IMAGE_EVICT_SECONDS,
        GRID_IMAGE_COPIES,
        ALERT_GRID_SECONDS,
        CPU_PERCENT,
        MEMORY_PERCENT,
        DISK_PERCENT,
        ALERT_HOST_SECONDS,
        ALERT_CAPACITY_PERCENT,
        ALERT_CAPACITY_CRITICAL_PERCENT,
        ALERT_POOL_PERCENT,
        ALERT_POOL_CRITICAL_PERCENT,
        POOL_FULL_PERCENT,
        ALERT_CERTIFICATE_DAYS,
        ALERT_IMAGES_PERCENT,
        NEW_ACCOUNT_MACHINES,
        NEW_ACCOUNT_CPUS,
        NEW_ACCOUNT_MEMORY_MIB,
        NEW_ACCOUNT_VOLUMES,
        NEW_ACCOUNT_STORAGE_MIB,
        NEW_ACCOUNT_SNAPSHOTS,
        NEW_ACCOUNT_SNAPSHOT_MIB,
        NEW_ACCOUNT_NETWORKS,
        NEW_ACCOUNT_ADDRESSES,
        MACHINE_KBPS,
        MACHINE_NICS,
        MOVES_PER_HOST,
        MOVES_PER_POD,
        MOVES_PER_ZONE,
        REPLICATE_SECONDS,
        MOVE_MIB_PER_SECOND,
        MOVE_DOWNTIME_MS,
        MOVE_SECONDS,
        BALANCE,
        BALANCE_PERCENT,
        BALANCE_REST_SECONDS,
        FARM_READY_SECONDS,
        FARM_DRAIN_SECONDS,
        FARM_STOP_SECONDS,
        FARM_HEAL_SECONDS,
        FARM_RETRY_SECONDS,
        FARM_KEY_DAYS,
        LOAD_STALE_SECONDS,
        POOL_TARGET_PERMILLE,
        ORDER_REVIEW,
        ORDER_CREDIT,
        ORDER_CREDIT_HOURS,
        ORDER_HOLD_HOURS,
        GRID_SECONDS,
        GRID_ACCOUNTS,
        GRID_BILL_SECONDS,
        GRID_EVENTS,
        GRID_MAY_EVACUATE,
        GRID_MAY_CHANGE_ACCOUNTS,
        GRID_SNAPSHOT_SECONDS,
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
