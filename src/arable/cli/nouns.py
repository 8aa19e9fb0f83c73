"""The table that `arable NOUN VERB` is made from: a row for each noun, its verbs are the calls of its client group.

A call that is added to a client group is a command the same day. A row says only what can't be seen there: the
columns of its table, and which verbs have a form of their own. Nothing here imports the client, so that
`arable --help` stays quick; a noun's group is looked up when the noun is used.
"""

from dataclasses import dataclass, field
from importlib import import_module
from inspect import signature
from typing import Any, get_args

import msgspec

PAGE = 1000
RECENT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Noun:
    """What one can do something with."""

    name: str
    group: str  # of the client
    home: str  # where the group's class is: module:class, below `arable.client`
    about: str
    columns: tuple[str, ...] = ()
    kind: str = ""  # as ids begin
    named: str = "name"  # by which field people know it; empty: by its id alone
    other: str = ""  # another field by which people know it
    own: str = ""  # the noun whose ids its calls take, if not its own
    within: str = ""  # the noun in which alone its names are unique: OUTER/NAME
    recent: bool = False  # its list has no end: only its newest are shown unless asked
    special: dict[str, str] = field(default_factory=dict)  # verb: module:function
    instead: tuple[str, ...] = ()  # calls that the special verbs make


def _noun(name: str, group: str, home: str, about: str, columns: str, **but: Any) -> Noun:
    kind = but.pop("kind", name.replace("-", ""))
    return Noun(name=name, group=group, home=home, about=about, columns=tuple(columns.split()), kind=kind, **but)  # fmt: skip


_ROWS = (
    _noun("machine", "machines", "machines:Machines", "Machines: deploy them, start and stop them, look at them.",
          "name id state offering nics.*.address/addresses image",
          special={"console": "console:console"}, instead=("console",)),
    _noun("network", "networks", "networks:Networks", "Guest networks: layer 2 of one's own, each with its router.",
          "name id cidr ipv6_cidr appliance source_nat/way_out state"),
    _noun("nic", "nics", "nics:Nics", "Machines' ports on networks: attach and detach them, also while a machine runs.",
          "id machine network address ipv6_address mac default leaving", named=""),
    _noun("address", "addresses", "addresses:Addresses", "Public addresses.",
          "address name id network source_nat taken_at", named="address", other="name"),
    _noun("rule", "rules", "rules:Rules", "What passes from outside, and between networks.",
          "id kind direction public/address protocol first_port/port last_port/to machine_name/machine to_port open cidr "
          "source_name/source network_name/network",
          named=""),
    _noun("balancer", "balancers", "balancers:Balancers", "Load balancers: an address's port, spread over machines.",
          "name id kind called_at/address port protocol algorithm members.*.machine_name/members tls"),
    _noun("vpn", "vpns", "vpns:Vpns", "VPNs: a network joined to one elsewhere, by WireGuard.",
          "name id public port public_key peer_endpoint peer_cidrs status.up/up"),
    _noun("remote-access", "remote_accesses", "remote_accesses:RemoteAccesses",
          "Remote access: a network open to people's own computers, by WireGuard.",
          "name id public port cidr clients up", kind="access"),
    _noun("vpn-client", "vpn_clients", "remote_accesses:VpnClients", "Computers that have remote access.",
          "name id access_name/access address status.up/up status.heard_at/heard_at"),
    _noun("group", "groups", "groups:Groups", "Placement groups: machines kept apart, or together.",
          "name id rule strict members"),
    _noun("ssh-key", "ssh_keys", "ssh_keys:SshKeys", "SSH keys, by which machines let their owners in.",
          "name id kind bits fingerprint created_at"),
    _noun("storage-zone", "storage_zones", "storage_zones:StorageZones",
          "Storage zones: the volumes that machines of some farms reach.", "name id zone farms machines volumes"),
    _noun("volume", "volumes", "volumes:Volumes", "Disks of machines.", "name id machine position mib placed"),
    _noun("snapshot", "snapshots", "snapshots:Snapshots", "Snapshots of volumes: take them, set volumes back to them.",
          "name id volume mib state created_at"),
    _noun("image", "images", "images:Images", "Boot images and their versions.",
          "name id public versions.*.number/versions minimum_memory_mib/memory",
          special={"upload": "uploads:upload", "where": "catalogue:where", "fetch": "catalogue:fetch"},
          instead=("upload_version", "where", "fetch")),
    _noun("image-part", "image_parts", "images:ImageParts", "Files that image versions are made of, such as kernels.",
          "", named="", special={"upload": "uploads:upload_part"}, instead=("upload",)),
    _noun("image-upload", "image_uploads", "images:ImageUploads", "Files of images on their way in: look how far they are, give them up.",
          "id image role offset bytes complete version expires_at", named="", kind="upload", instead=("create", "append")),
    _noun("offering", "offerings", "offerings:Offerings", "Sizes that machines come in.",
          "name id cpus cpu_mhz memory_mib root_mib network_kbps enabled"),
    _noun("disk-offering", "disk_offerings", "offerings:DiskOfferings", "Kinds of further disks.",
          "name id mib iops bytes_per_second enabled"),
    _noun("farm", "farms", "farms:Farms", "Farms: one's private data centres, one by default in each zone.",
          "name id zone state tiers.*.name/tiers by_hand told",
          special={"apply": "farm_files:apply", "plan": "farm_files:plan"}, instead=("create", "update")),
    _noun("tier", "tiers", "tiers:Tiers", "Tiers of farms: elements that are alike; grow and shrink them.",
          "name farm id blueprint blueprint_version/version image_version least most count serving standby ready told", within="farm"),
    _noun("rollout", "rollouts", "rollouts:Rollouts", "Rollouts: the elements of a tier are made anew, some at a time.",
          "id name state renewed count failures told created_at", named="", recent=True),
    _noun("release", "releases", "rollouts:Releases", "What elements of tiers run, and which are behind the newest.",
          "farm_name/farm name blueprint_name/blueprint blueprint_version/version newest_blueprint_version/newest "
          "image_name/image image_version newest_image_version/newest_image behind "
          "runs.*.image_version/runs rollout", named=""),
    _noun("element", "elements", "elements:Elements", "Elements of tiers: places that have a machine each; replace it.",
          "name id state machine blueprint_version/version image_version since told"),
    _noun("secret", "secrets", "secrets:Secrets", "Secrets of farms, which their elements are told and nobody is shown.",
          "name farm id given number changed_at", within="farm"),
    _noun("blueprint", "blueprints", "blueprints:Blueprints", "Blueprints: what the elements of tiers are made of.",
          "name id public versions.*.number/versions created_at"),
    _noun("order", "orders", "orders:Orders", "Orders: farms that are asked for, evaluated, approved and made.",
          "id name state plan purchase_order least_hour most_hour currency created_at told", named="",
          special={"create": "orders:create"}, instead=("create",)),
    _noun("plan", "plans", "orders:Plans", "Service plans: by which farms are ordered.",
          "name id scaling enabled about"),
    _noun("usage", "usage", "billing:Usage", "What was used, as intervals.",
          "number kind name offering farm_name/farm tier_name/tier mib since until seconds account", named=""),
    _noun("bill", "bills", "billing:Bills", "What it costs: pay as you go.",
          "account_name/account begin end total currency", named=""),
    _noun("price", "prices", "billing:Prices", "Prices: lists, each valid from its moment until the next one's.",
          "number valid_from currency prices in_force", named=""),
    _noun("credit", "credit", "billing:Credit", "What accounts have paid ahead, and how much they may owe.",
          "number at kind amount reference key account", named="", own="account"),
    _noun("operation", "operations", "operations:Operations", "What is on its way, and what became of it.",
          "id kind target state pending created_at error.detail/error", named="", recent=True,
          special={"wait": "watching:wait"}),
    _noun("event", "events", "operations:Events", "What happened, and what is happening.",
          "number at kind subject text", named="",
          special={"follow": "watching:follow"}, instead=("stream",)),
    _noun("account", "accounts", "accounts:Accounts", "Accounts: they own machines, networks and the rest.",
          "name id domain enabled created_at"),
    _noun("domain", "domains", "accounts:Domains", "The tree of domains, which holds the accounts.", "path id name"),
    _noun("limit", "limits", "accounts:Limits", "What an account holds and may hold.", "", own="account"),
    _noun("user", "users", "users:Users", "Users, their roles and passwords.", "name id account role enabled",
          special={"change-password": "signing:change_password", "whoami": "signing:whoami"},
          instead=("change_password", "whoami")),
    _noun("key", "keys", "users:Keys", "API keys, for programs.", "name id scopes expires_at used_at"),
    _noun("session", "sessions", "users:Sessions", "Where one is signed in.", "id user created_at expires_at", named="",
          special={"login": "signing:login", "logout": "signing:logout"}, instead=("create", "end")),
    _noun("zone", "zones", "zones:Zones", "Zones: isolated sets of pods, with guest VLANs and public addresses.",
          "name id region enabled isolation guest_cidr"),
    _noun("pod", "pods", "pods:Pods", "Pods: hosts behind one switch.", "name id zone cidr gateway enabled"),
    _noun("public-range", "public_ranges", "public_ranges:PublicRanges", "Ranges of public addresses of zones.",
          "cidr id zone first last addresses.free/free addresses.total/total", kind="range", named="cidr"),
    _noun("ipv6-range", "ipv6_ranges", "ipv6_ranges:Ipv6Ranges", "Ranges of IPv6 of zones: a /64 for each network that asks.",
          "cidr id zone gateway networks.free/free networks.total/total", kind="prefix", named="cidr"),
    _noun("host", "hosts", "hosts:Hosts", "Hosts: state, capacity, maintenance; how new ones join.",
          "name id state maintenance roles machines cpu_mhz.reserved/mhz_used cpu_mhz.total/mhz "
          "memory_mib.reserved/mib_used memory_mib.total/mib pod",
          special={"maintenance": "hosts:maintenance", "invite": "hosts:invite", "power": "hosts:power",
                   "declare-down": "hosts:declare_down", "remove-lost": "hosts:remove_lost"},
          instead=("power", "set_bmc", "remove_bmc", "declare_down", "remove_lost")),
    _noun("join-token", "join_tokens", "hosts:JoinTokens", "One-time tokens that let hosts join.",
          "id pod roles expires_at used_at host", named=""),
    _noun("pool", "pools", "pools:Pools", "Storage pools, and the plan of zones' idle pools.", "name id kind host fill used_mib total_mib allocated_mib reservable_mib percent",
          special={"plan": "pool_plans:plan"}, instead=("plan",)),
    _noun("alert", "alerts", "alerts:Alerts", "Alerts: what an operator should look at.",
          "severity kind name state since until acknowledged_by/by text id", named="", recent=True),
    _noun("alert-route", "alert_routes", "alerts:AlertRoutes", "Whom to tell of alerts: by mail, or by webhook.",
          "name id kind target least enabled waiting failing_since told"),
    _noun("setting", "settings", "settings:Settings", "The cloud's settings.", "name value default about", named="",
          special={"list": "settings:show_all", "show": "settings:show", "set": "settings:change"},
          instead=("get", "update")),
    _noun("control", "control", "control:Control", "The management servers: who is master, who holds what.", "",
          named="",
          special={"status": "control:status", "drain": "control:drain", "undrain": "control:undrain"}),
    _noun("region", "regions", "grid:Regions", "Regions of the grid: join it, look at what others have.",
          "name id state own as_of zones.*.name/zones alerts images told",
          special={"join": "regions:join", "show": "regions:show"}, instead=("join", "get")),
    _noun("grid", "grid", "grid:Grid", "The grid: all regions in one place.", "", named="",
          special={"status": "regions:status", "regions": "regions:regions", "bills": "grid_sums:bills",
                   "accounts": "grid_sums:accounts", "limits": "grid_sums:limits", "events": "grid_sums:events"},
          instead=("status", "bills", "accounts", "limits", "events")),
    _noun("audit", "audit", "operations:Audit", "Who did what, or was refused it.",
          "at user action target outcome source request", named="", recent=True),
)  # fmt: skip

NOUNS = {row.name: row for row in _ROWS}

_WORDS = (
    "region",
)  # nouns whose names other fields take as they are: a zone may be of a region that is not known here

BY_FIELD = {
    row.name.replace("-", "_"): row.name for row in _ROWS if row.named and row.name not in _WORDS
} | {
    "parent": "domain",
    "view_of": "volume",
    "appliance_host": "host",
    "standby_host": "host",
    "replica_pool": "pool",
    "source": "network",
    "access": "remote-access",
}
"""What a field of that name is about, where it takes an id."""


def imported(where: str, below: str) -> Any:
    """The thing at `module:name`."""
    module, _, name = where.partition(":")
    return getattr(import_module(f"{below}.{module}"), name)


def group_class(noun: Noun) -> type[Any]:
    """The client group of a noun."""
    found: type[Any] = imported(noun.home, "arable.client")
    return found


def query_of(group: type[Any]) -> type[msgspec.Struct]:
    """What narrows the list of a group."""
    annotation = signature(group.page, eval_str=True).parameters["query"].annotation
    found: type[msgspec.Struct] = next(
        each for each in get_args(annotation) if each is not type(None)
    )
    return found
