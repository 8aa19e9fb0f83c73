"""The tables. What they mean stands in `domain`; here stands how the rules are held by the database.

Rule 2 (reserved ≤ capacity) and rule 3 (one owner for each VLAN, MAC, address) are constraints as well as code,
so that no path around the code exists. Every row that can be changed has a `generation`: each write is a
compare-and-set on it, and it is the ETag of the API.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from arable.store.columns import Json, Moment

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[str]:
    return Column("id", String, primary_key=True)


def _ref(name: str, to: str, *, null: bool = False, index: bool = False) -> Column[str]:
    return Column(name, String, ForeignKey(f"{to}.id"), nullable=null, index=index)


def _text(name: str, default: str | None = None) -> Column[str]:
    return Column(name, String, nullable=False, server_default=default)


def _count(name: str, default: int = 0) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=str(default))


def _flag(name: str, *, default: bool = False) -> Column[bool]:
    return Column(
        name, Boolean, nullable=False, server_default=text("true" if default else "false")
    )


def _json(name: str, default: str = "{}") -> Column[object]:
    return Column(name, Json, nullable=False, server_default=default)


def _generation() -> Column[int]:
    return _count("generation", 1)


def _at(name: str, *, null: bool = False) -> Column[object]:
    return Column(name, Moment, nullable=null)


# --- who ------------------------------------------------------------------------------------------------------

domain = Table(
    "domain",
    metadata,
    _id(),
    _ref("parent", "domain", null=True),
    Column("path", String, nullable=False, unique=True),  # "root/acme/labs"
    _text("name"),
    _generation(),
    _at("created_at"),
)

account = Table(
    "account",
    metadata,
    _id(),
    _ref("domain", "domain", index=True),
    _text("name"),
    _flag("enabled", default=True),
    _generation(),
    _at("created_at"),
    UniqueConstraint("domain", "name"),
)

RESOURCES = ("machines", "cpus", "memory_mib", "volumes", "storage_mib", "networks", "addresses")

# One row an account, locked by whoever takes from it: the limit holds whatever runs concurrently. Maximum -1: none.
quota = Table(
    "quota",
    metadata,
    Column("account", String, ForeignKey("account.id"), primary_key=True),
    *(_count(f"used_{name}") for name in RESOURCES),
    *(_count(f"max_{name}", -1) for name in RESOURCES),
    *(CheckConstraint(f"used_{name} >= 0", name=f"used_{name}") for name in RESOURCES),
)

role = Table(
    "role",
    metadata,
    Column("name", String, primary_key=True),
    _count("rank"),
    _json("permissions", "[]"),
)

user = Table(
    "user",
    metadata,
    _id(),
    _ref("account", "account", index=True),
    Column("name", String, nullable=False, unique=True),
    Column("role", String, ForeignKey("role.name"), nullable=False),
    _text("password_hash", ""),  # argon2id; empty: no login by password
    _flag("enabled", default=True),
    _generation(),
    _at("created_at"),
)

api_key = Table(
    "api_key",
    metadata,
    _id(),
    _ref("user", "user", index=True),
    _text("name"),
    _text("secret_hash"),
    _json("scopes", "[]"),
    _at("expires_at", null=True),
    _at("created_at"),
    _at("used_at", null=True),
)

session = Table(
    "session",
    metadata,
    _id(),
    _ref("user", "user", index=True),
    _text("secret_hash"),
    _at("expires_at"),
    _at("created_at"),
)

# --- the operator's things ------------------------------------------------------------------------------------

zone = Table(
    "zone",
    metadata,
    _id(),
    Column("name", String, nullable=False, unique=True),
    _text("region", "local"),
    _flag("enabled", default=True),
    _text("dns_domain", "internal"),
    _json("resolvers", "[]"),
    _text("guest_cidr", "10.1.1.0/24"),  # of networks made on first use
    _generation(),
    _at("created_at"),
)

# Every VLAN of the zone's guest range. `network` holds it; `leaving` until every host has said that it is gone.
vlan = Table(
    "vlan",
    metadata,
    Column("zone", String, ForeignKey("zone.id"), primary_key=True),
    Column("tag", Integer, primary_key=True),
    Column("network", String, nullable=True, unique=True),
    _flag("leaving"),
)

pod = Table(
    "pod",
    metadata,
    _id(),
    _ref("zone", "zone", index=True),
    _text("name"),
    _text("cidr"),
    _text("gateway", ""),
    _flag("enabled", default=True),
    _generation(),
    _at("created_at"),
    UniqueConstraint("zone", "name"),
)

host = Table(
    "host",
    metadata,
    _id(),
    _ref("zone", "zone", index=True),
    _ref("pod", "pod", index=True),
    Column("name", String, nullable=False, unique=True),
    _text("state"),  # HostState
    _flag("maintenance"),
    _json("roles", "[]"),
    _json("tags", "[]"),
    _json("facts"),  # drivers and versions, as the inventory told
    Column("pool", String, nullable=True),  # its local storage pool
    _count("cpus"),
    _count("cpu_mhz"),
    _count("memory_mib"),
    _count("disk_mib"),
    # over-commit in percent: 100 is none
    _count("cpu_percent", 400),
    _count("memory_percent", 100),
    _count("disk_percent", 200),
    _count("reserved_cpus"),
    _count("reserved_cpu_mhz"),
    _count("reserved_memory_mib"),
    _count("reserved_disk_mib"),
    _count("machines"),
    _count("manifest_generation"),
    _count("acked_generation"),
    _text("server", ""),  # the management server that holds its channel
    _at("seen_at", null=True),
    _count("epoch", 1),  # in its certificates: those of an earlier one are refused
    _generation(),
    _at("created_at"),
    CheckConstraint("reserved_cpu_mhz * 100 <= cpu_mhz * cpu_percent", name="cpu"),
    CheckConstraint("reserved_memory_mib * 100 <= memory_mib * memory_percent", name="memory"),
    CheckConstraint("reserved_disk_mib * 100 <= disk_mib * disk_percent", name="disk"),
    CheckConstraint(
        "reserved_memory_mib >= 0 and reserved_cpu_mhz >= 0 and reserved_disk_mib >= 0", name="sign"
    ),
)

join_token = Table(
    "join_token",
    metadata,
    _id(),
    _ref("pod", "pod"),
    _text("secret_hash"),
    _json("roles", "[]"),
    _json("tags", "[]"),
    _at("expires_at"),
    _at("used_at", null=True),
    Column("host", String, nullable=True),  # who joined by it, or who alone may
    _text("request_hash", ""),  # of the signing request that used it
    _at("created_at"),
)

pool = Table(
    "pool",
    metadata,
    _id(),
    _ref("zone", "zone", index=True),
    _ref("host", "host", null=True),  # local to this host
    _text("name"),
    _text("kind"),  # "local"
    _count("total_mib"),
    _count("used_mib"),
    _generation(),
    _at("created_at"),
)

public_range = Table(
    "public_range",
    metadata,
    _id(),
    _ref("zone", "zone", index=True),
    _text("cidr"),
    _text("gateway"),
    _text("first"),
    _text("last"),
    _count("vlan"),
    _at("created_at"),
)

# Every address of every range, so that taking one is a compare-and-set on a row.
address = Table(
    "address",
    metadata,
    _id(),
    _ref("zone", "zone"),
    _ref("range", "public_range", index=True),
    _text("address"),
    _count("number"),  # the address as a number, for order
    Column("account", String, nullable=True, index=True),
    Column("network", String, nullable=True, index=True),
    _flag("source_nat"),
    _at("taken_at", null=True),
    _generation(),
    UniqueConstraint("zone", "address"),
    Index(
        "ix_address_free",
        "zone",
        "number",
        sqlite_where=text("account is null"),
        postgresql_where=text("account is null"),
    ),
)

# --- catalogue ------------------------------------------------------------------------------------------------

offering = Table(
    "offering",
    metadata,
    _id(),
    Column("name", String, nullable=False, unique=True),
    _count("cpus"),
    _count("cpu_mhz"),  # of each CPU
    _count("memory_mib"),
    _count("root_mib"),
    _count("network_kbps"),
    _count("disk_iops"),
    _count("disk_bytes_per_second"),
    _json("tags", "[]"),
    _text("price_class", ""),
    _flag("enabled", default=True),
    _generation(),
    _at("created_at"),
)

disk_offering = Table(
    "disk_offering",
    metadata,
    _id(),
    Column("name", String, nullable=False, unique=True),
    _count("mib"),  # 0: the customer says
    _count("iops"),
    _count("bytes_per_second"),
    _json("tags", "[]"),
    _flag("enabled", default=True),
    _generation(),
    _at("created_at"),
)

image = Table(
    "image",
    metadata,
    _id(),
    _ref("account", "account", index=True),
    _text("name"),
    _flag("public"),
    _text("command_line", ""),  # for images that boot by kernel and initrd
    _count("minimum_memory_mib"),
    _count("newest"),  # the highest version number that was ever given
    _generation(),
    _at("created_at"),
    UniqueConstraint("account", "name"),
)

# Immutable once ready. `digest` is the SHA-256 of its one part, or of its parts' digests in order of role.
image_version = Table(
    "image_version",
    metadata,
    Column("image", String, ForeignKey("image.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    _text("digest"),
    _json("parts", "[]"),  # list of ImagePart
    _count("bytes"),
    _at("created_at"),
)

# A part that an account brought: only its versions may name it. The bytes are kept once, whoever brings them.
image_part = Table(
    "image_part",
    metadata,
    Column("account", String, ForeignKey("account.id"), primary_key=True),
    Column("sha256", String, primary_key=True, index=True),
    _text("role"),
    _text("format"),
    _count("bytes"),
    _count("virtual_bytes"),
    _at("created_at"),
)

# --- the customer's things ------------------------------------------------------------------------------------

farm = Table(
    "farm",
    metadata,
    _id(),
    _ref("account", "account"),
    _ref("zone", "zone"),
    _text("name"),
    _generation(),
    _at("created_at"),
    UniqueConstraint("account", "zone", "name"),
)

network = Table(
    "network",
    metadata,
    _id(),
    _ref("account", "account", index=True),
    _ref("farm", "farm"),
    _ref("zone", "zone"),
    _text("name"),
    _text("cidr"),
    _text("gateway"),
    _text("dns_domain"),
    Column("vlan", Integer, nullable=False),
    _text("state"),  # NetworkState
    _count("next_offset", 2),  # where the search for a free address begins
    # its routing appliance
    Column("appliance_host", String, ForeignKey("host.id"), nullable=True, index=True),
    _text("appliance_state", "absent"),  # ApplianceState
    _text("appliance_told", ""),
    _at("idle_since", null=True),
    _flag("attention"),  # its appliance may be out of date
    _generation(),
    _at("created_at"),
    UniqueConstraint("account", "zone", "name"),
    Index(
        "ix_network_attention",
        "id",
        sqlite_where=text("attention"),
        postgresql_where=text("attention"),
    ),
)

# Hosts that may still have something of a network: inserted before a wish goes out, removed by a report (rule 3).
network_presence = Table(
    "network_presence",
    metadata,
    Column("network", String, primary_key=True),
    Column("host", String, primary_key=True, index=True),
)

RESTING = "state in ('stopping', 'stopped', 'error', 'destroyed', 'expunging')"

machine = Table(
    "machine",
    metadata,
    _id(),
    _ref("account", "account"),
    _ref("farm", "farm", index=True),
    _ref("zone", "zone"),
    # By bytes, whatever the database's language: the beginning of a name is a range of the index.
    Column("name", String().with_variant(String(collation="C"), "postgresql"), nullable=False),
    _text("state"),
    _text("wish"),
    Column("host", String, ForeignKey("host.id"), nullable=True, index=True),
    _flag("attention"),  # the placer or the manifests have work with it
    _ref("offering", "offering"),
    _count("cpus"),
    _count("cpu_mhz"),  # of the whole machine
    _count("memory_mib"),
    _count("disk_mib"),
    _count("network_kbps"),
    _count("disk_iops"),
    _count("disk_bytes_per_second"),
    Column("image", String, nullable=True),
    Column("image_version", Integer, nullable=True),
    _json("boot"),  # kernel and initrd parts, command line
    _json("seed"),  # NoCloud data; never shown (may hold password hashes)
    _json("placement"),  # tags, affinity, strategy asked for
    _count("boots", 1),
    _flag("force"),
    _count("tries"),  # hosts that could not start it, in a row
    _count("told"),  # generation of the wish that its host was last told
    _flag("ran"),  # was ever seen running: its disks hold something
    _flag("giving_up"),  # its host could not start it and was told to stop trying
    Column("operation", String, nullable=True),
    _json("why"),  # of the last placement or failure, for `explain`
    _at("destroyed_at", null=True),
    _generation(),
    _at("created_at"),
    _at("changed_at"),
    # Names are unique in an account and zone among machines that are not on their way out.
    Index(
        "uq_machine_name",
        "account",
        "zone",
        "name",
        unique=True,
        sqlite_where=text("wish in ('running', 'stopped')"),
        postgresql_where=text("wish in ('running', 'stopped')"),
    ),
    Index("ix_machine_account_id", "account", "id"),
    Index("ix_machine_name_id", "name", "id"),
    # Few are in these states, and they are looked for; no index on the way of those that are deployed.
    Index(
        "ix_machine_resting",
        "state",
        "id",
        sqlite_where=text(RESTING),
        postgresql_where=text(RESTING),
    ),
    Index(
        "ix_machine_account_resting",
        "account",
        "state",
        "id",
        sqlite_where=text(RESTING),
        postgresql_where=text(RESTING),
    ),
    Index(
        "ix_machine_attention",
        "id",
        sqlite_where=text("attention"),
        postgresql_where=text("attention"),
    ),
    Index(
        "ix_machine_destroyed",
        "destroyed_at",
        sqlite_where=text("destroyed_at is not null"),
        postgresql_where=text("destroyed_at is not null"),
    ),
)

placement_group = Table(
    "placement_group",
    metadata,
    _id(),
    _ref("account", "account"),
    _text("name"),
    _text("rule"),  # "apart" | "together"
    _flag("strict", default=True),
    _at("created_at"),
    UniqueConstraint("account", "name"),
)

group_member = Table(
    "group_member",
    metadata,
    Column("group", String, ForeignKey("placement_group.id"), primary_key=True),
    Column(
        "machine",
        String,
        ForeignKey("machine.id", ondelete="CASCADE"),
        primary_key=True,
        index=True,
    ),
)

volume = Table(
    "volume",
    metadata,
    _id(),
    _ref("account", "account", index=True),
    _ref("zone", "zone"),
    Column("machine", String, ForeignKey("machine.id"), nullable=True, index=True),
    Column("pool", String, nullable=True, index=True),  # none until first placed
    _count("position"),
    _text("name"),
    _count("mib"),
    _count("iops"),
    _count("bytes_per_second"),
    Column("source", Json, nullable=True),  # ImagePart
    _flag("erasing"),
    _generation(),
    _at("created_at"),
)

nic = Table(
    "nic",
    metadata,
    _id(),
    Column("machine", String, ForeignKey("machine.id"), nullable=False, index=True),
    Column("network", String, ForeignKey("network.id"), nullable=False),
    _ref("account", "account"),
    _count("position"),
    _text("mac"),
    _text("address"),
    _count("offset"),  # of the address in its network
    _count("rate_kbps"),
    UniqueConstraint("network", "offset"),
    UniqueConstraint("network", "mac"),
)

rule = Table(
    "rule",
    metadata,
    _id(),
    _ref("account", "account", index=True),
    Column("network", String, ForeignKey("network.id"), nullable=False, index=True),
    Column("address", String, ForeignKey("address.id"), nullable=True, index=True),
    _text("kind"),  # "forward" | "firewall"
    _text("direction", "in"),
    _text("protocol"),
    _text("cidr", "0.0.0.0/0"),
    _count("first_port"),
    _count("last_port"),
    Column("nic", String, ForeignKey("nic.id"), nullable=True, index=True),
    _count("to_port"),
    _generation(),
    _at("created_at"),
)

# --- what is on its way, and what was ---------------------------------------------------------------------------

manifest_item = Table(
    "manifest_item",
    metadata,
    Column("host", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("id", String, primary_key=True),
    _count("generation"),
    Column(
        "body", Text, nullable=True
    ),  # JSON of the wish; null: no longer wished for, until the host has heard
    Index("ix_manifest_item_host_generation", "host", "generation"),
    Index(
        "ix_manifest_item_gone",
        "host",
        sqlite_where=text("body is null"),
        postgresql_where=text("body is null"),
    ),
)

machine_usage = Table(
    "machine_usage",
    metadata,
    Column("machine", String, primary_key=True),
    _at("at"),
    Column("counters", Text, nullable=False),  # JSON, as its host reported it last
)

operation = Table(
    "operation",
    metadata,
    _id(),
    Column("account", String, nullable=False),
    Column("user", String, nullable=False),
    _text("kind"),  # "machine.deploy"
    _text("target"),
    _text("state"),  # "running" | "done" | "failed"
    _count("total", 1),
    _count("pending", 1),
    _json("steps", "[]"),
    _json("result"),
    Column("error", Json, nullable=True),
    _at("created_at"),
    _at("changed_at"),
    Index("ix_operation_account_id", "account", "id"),
    Index(
        "ix_operation_running",
        "target",
        sqlite_where=text("state = 'running'"),
        postgresql_where=text("state = 'running'"),
    ),
)

event = Table(
    "event",
    metadata,
    Column(
        "number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    ),
    _at("at"),
    Column("account", String, nullable=True),
    _text("kind"),  # "machine.running"
    _text("subject"),
    _text("text"),
    _json("data"),
    Index("ix_event_account_number", "account", "number"),
    sqlite_autoincrement=True,
)

audit = Table(
    "audit",
    metadata,
    Column(
        "number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    ),
    _at("at"),
    _text("account"),
    _text("user"),
    _text("via"),
    _text("source"),
    _text("request"),
    _text("action"),  # "POST /v1/machines"
    _text("target"),
    _text("outcome"),
    Index("ix_audit_account_number", "account", "number"),
    sqlite_autoincrement=True,
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("user", String, primary_key=True),
    Column("key", String, primary_key=True),
    _text("fingerprint"),  # SHA-256 of method, path and body
    Column("status", Integer, nullable=False),
    _text("body"),
    _at("created_at"),
    Index("ix_idempotency_created_at", "created_at"),
)

lease = Table(
    "lease",
    metadata,
    Column("name", String, primary_key=True),
    _text("holder"),
    _count("epoch"),
    _at("until"),
)

setting = Table("setting", metadata, Column("name", String, primary_key=True), _json("value"))
