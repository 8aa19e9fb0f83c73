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
    Computed,
    ForeignKey,
    ForeignKeyConstraint,
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


def _pool_counts() -> tuple[Column[int], ...]:
    """Of machines: got a host, of those anew after one could not start them; found none; gave theirs back."""
    return _count("came"), _count("again"), _count("refused"), _count("went")


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


# PostgreSQL writes a row anew with each change. With room for that on the row's own page, and no indexed column changed,
# the indexes stay as they are.
_ROOM = {"fillfactor": 50}

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
    _json("federated", "[]"),  # names of regions whose account of the same path may act here
    _generation(),
    _at("created_at"),
    UniqueConstraint("domain", "name"),
)

RESOURCES = (
    *("machines", "cpus", "memory_mib", "volumes", "storage_mib"),
    *("snapshots", "snapshot_mib", "networks", "addresses"),
)

# One row an account, locked by whoever takes from it: the limit holds whatever runs concurrently. Maximum -1: none.
quota = Table(
    "quota",
    metadata,
    Column("account", String, ForeignKey("account.id"), primary_key=True),
    *(_count(f"used_{name}") for name in RESOURCES),
    *(_count(f"max_{name}", -1) for name in RESOURCES),
    *(
        _count(f"share_{name}", -1) for name in RESOURCES
    ),  # of a limit over all regions; -1: there is none
    _count("max_network_kbps"),  # of each port of its machines; 0: no limit of the account's
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
    _text("isolation", "vlan"),  # Isolation
    _count("underlay_mtu", 1500),
    _text("router_runtime", "namespace"),  # RouterRuntime, of appliances that start
    _generation(),
    _at("created_at"),
)

# Every VLAN of the zone's guest range. `network` holds it; `leaving` until every host has said that it is gone.
vlan = Table(
    "vlan",
    metadata,
    Column("zone", String, ForeignKey("zone.id"), primary_key=True),
    Column("tag", Integer, primary_key=True),  # or a VNI (domain/layer2.py)
    # Its network, or the farm whose networks' routers meet there.
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
    _text(
        "circle", ""
    ),  # of the circle in which its hosts were last told to ask for each other: a digest
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
    _flag("maintenance_stops"),  # what can't leave it is stopped, until it is over
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
    _flag("disk_full"),  # its pool gets no further disks, however much of it could be reserved
    _flag("powered_off"),  # seen without power, and kept so until somebody powers it on
    _text("told", ""),  # why it is silent or down
    _flag("held_back"),  # would be down, had not most others been lost with it
    _at("excused_until", null=True),  # it has just been powered on: until then nobody misses it
    _text("peer_address", ""),  # where other hosts may ask whether it is there
    _text("tunnel_address", ""),  # where its tunnels to other hosts end; empty: it has none
    _flag("rests"),  # it is to be without power until it is needed
    _at("rests_since", null=True),  # when that was last changed
    _at("idle_since", null=True),  # since when it has had nothing to do, where that matters
    _count("epoch", 1),  # in its certificates: those of an earlier one are refused
    _flag("removing"),  # it will never come back
    _flag("awaited"),  # has to say what it runs before it, or anybody, is told what to run
    _generation(),
    _at("created_at"),
    Index("ix_host_awaited", "id", sqlite_where=text("awaited"), postgresql_where=text("awaited")),
    CheckConstraint("reserved_cpu_mhz * 100 <= cpu_mhz * cpu_percent", name="cpu"),
    CheckConstraint("reserved_memory_mib * 100 <= memory_mib * memory_percent", name="memory"),
    CheckConstraint("reserved_disk_mib * 100 <= disk_mib * disk_percent", name="disk"),
    CheckConstraint(
        "reserved_memory_mib >= 0 and reserved_cpu_mhz >= 0 and reserved_disk_mib >= 0", name="sign"
    ),
    postgresql_with=_ROOM,
)

# What hosts say of others, as long as they say it (`domain/host_health.py`).
sighting = Table(
    "sighting",
    metadata,
    Column("by", String, ForeignKey("host.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", String, primary_key=True),  # SightingKind
    Column("host", String, ForeignKey("host.id", ondelete="CASCADE"), primary_key=True, index=True),
    _at("since"),
)

# How a host's power is switched (`drivers/power`), what is wished for it, and how it was last seen.
bmc = Table(
    "bmc",
    metadata,
    Column("host", String, ForeignKey("host.id", ondelete="CASCADE"), primary_key=True),
    _text("driver"),  # "redfish"
    _text("url"),
    _text("user"),
    _text("sealed"),  # its password, encrypted
    _text("authority", ""),  # PEM; empty: the machine's own authorities
    _text("fingerprint", ""),  # of its certificate, instead of any authority
    Column("wanted", String, nullable=True, index=True),  # PowerWish, until it was seen to be so
    _flag("fencing"),  # it is wished because the host is down
    _at("wanted_at", null=True),
    _count("tries"),
    _at("next_at", null=True),
    Column("seen", String, nullable=True),  # PowerState
    _at("seen_at", null=True),
    _text("told", ""),  # what went wrong last
    _generation(),
    _at("created_at"),
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
    _text("kind"),  # "local" | "nbd" | "iscsi"
    _text(
        "address", ""
    ),  # of a shared one: HOST:PORT where leases of machines with disks there are asked for
    _count("total_mib"),
    _count("used_mib"),
    _count("images"),  # parts that are cached there
    _count("image_mib"),
    Column("fail_over", String, nullable=True),  # the operation by which an operator asked for it
    _generation(),
    _at("created_at"),
    Index(
        "ix_pool_fail_over",
        "fail_over",
        sqlite_where=text("fail_over is not null"),
        postgresql_where=text("fail_over is not null"),
    ),
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

# Ranges of IPv6, of which each guest network of the zone may have a /64.
ipv6_range = Table(
    "ipv6_range",
    metadata,
    _id(),
    _ref("zone", "zone", index=True),
    _text("cidr"),
    _text("gateway", ""),  # empty: none
    _count("cursor", 1),  # where the search for a free /64 begins
    _at("created_at"),
)

# A /64 that a host had when an older copy of this database came back, and that no network has: nobody gets it.
ipv6_barred = Table(
    "ipv6_barred",
    metadata,
    Column("range", String, ForeignKey("ipv6_range.id"), primary_key=True),
    Column("number", BigInteger, primary_key=True),
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
    Column("name", String, nullable=True),  # as its owner calls it, if at all
    _flag("source_nat"),
    _at("taken_at", null=True),
    _generation(),
    UniqueConstraint("zone", "address"),
    UniqueConstraint("account", "zone", "name"),
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
    _text("storage", "local"),  # "local" | "shared"
    _flag("highly_available"),
    _flag("replicated"),
    _text("price_class", ""),
    _flag("enabled", default=True),
    _generation(),
    _at("created_at"),
    CheckConstraint("storage = 'shared' or not highly_available", name="available"),
    CheckConstraint("storage = 'shared' or not replicated", name="replicated"),
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
    _text("storage", "local"),
    _flag("replicated"),
    _flag("enabled", default=True),
    _generation(),
    _at("created_at"),
    CheckConstraint("storage = 'shared' or not replicated", name="replicated"),
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
    Column("snapshot", String, nullable=True),  # its first version is made of; it may be gone later
    _json("beside", "[]"),  # list of ImagePart that this version has besides
    Column("operation", String, nullable=True, index=True),  # that waits for it
    _text("told", ""),
    # The region of the shared volumes whose contents its versions are (docs/decisions/0052); empty: an image as any.
    _text("home", ""),
    _generation(),
    _at("created_at"),
    UniqueConstraint("account", "name"),
    Index(
        "ix_image_home",
        "home",
        sqlite_where=text("home <> ''"),
        postgresql_where=text("home <> ''"),
    ),
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
    _flag(
        "arriving"
    ),  # its bytes are on their way from another region (`transfer`), or about to go (`eviction`)
    _flag("fetched"),  # from another region, so it may be let go when nobody uses it
    _flag("pinned"),  # and this one may not
    _at("unused_since", null=True),  # of a fetched one, as it was looked at
    _at("created_at"),
    Index(
        "ix_image_version_fetched",
        "image",
        sqlite_where=text("fetched"),
        postgresql_where=text("fetched"),
    ),
)

# Which versions have which part: the same as `image_version.parts`, to be found by the part.
image_version_part = Table(
    "image_version_part",
    metadata,
    Column("sha256", String, primary_key=True),
    Column("image", String, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    ForeignKeyConstraint(
        ["image", "number"], ["image_version.image", "image_version.number"], ondelete="CASCADE"
    ),
)

# In which other regions an image's newest versions should be.
image_policy = Table(
    "image_policy",
    metadata,
    Column("image", String, ForeignKey("image.id", ondelete="CASCADE"), primary_key=True),
    _json("at", "[]"),  # regions
    _json("labels", "[]"),  # of regions
    _count("versions", 1),  # how many of the newest
    _count("upto"),  # none newer than this; 0: newer ones follow
    _at("created_at"),
)

# A fetched version that this region would let go. What the grid manager granted it never takes back: it is over when
# this region says so.
eviction = Table(
    "eviction",
    metadata,
    _id(),
    _text("image"),
    _count("number"),
    _text("key"),  # of the fact about it
    _json("keys", "[]"),  # of others' facts about the same
    _text("digest"),
    _json("parts", "[]"),  # digests
    _count("bytes"),
    _text("why"),
    _text("state"),  # EvictionState
    _count(
        "version"
    ),  # of the facts with which its end is to be told; 0: they were not looked at yet
    _flag("erased"),
    _at("at"),  # it is in its state
    UniqueConstraint("image", "number"),
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

# A file on its way in, over as many connections as it takes. Its bytes are beside those of the parts, under the upload's id.
image_upload = Table(
    "image_upload",
    metadata,
    _id(),
    _ref("account", "account", index=True),
    Column(
        "image", String, ForeignKey("image.id", ondelete="CASCADE"), nullable=True, index=True
    ),  # null: it becomes a part of the account
    _text("role"),
    _text("format"),
    _text("sha256"),
    _count("bytes"),
    _count("received"),
    Column("server", String, nullable=True),
    _flag("complete"),
    _count("version"),
    Column("touched_at", Moment, nullable=False, index=True),
    _generation(),
    _at("created_at"),
)

# --- other regions ---------------------------------------------------------------------------------------------

# Written by what the grid manager pushes (`store/grid.py`); all of it may be old, and none of it is needed to run.
grid_peer = Table(
    "grid_peer",
    metadata,
    Column("name", String, primary_key=True),
    _text("url"),
    _text("fingerprint"),
    _text("authority"),  # PEM
    _text("state"),
    _at("seen_at", null=True),
)

# How new what is known of a region's holdings is: the number of the last change that was applied.
grid_region = Table(
    "grid_region",
    metadata,
    Column("region", String, primary_key=True),
    _count("number"),
    _at("at"),
)

grid_version = Table(
    "grid_version",
    metadata,
    Column("region", String, primary_key=True),
    Column("account", String, primary_key=True),  # "path/of/domain/name"
    Column("image", String, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    _text("digest"),
    _json("parts", "[]"),  # list of ImagePart
    _flag("public"),
    _text("command_line", ""),
    _count("minimum_memory_mib"),
    _at("created_at"),
    Index("ix_grid_version_image", "image", "account", "number"),
    Index("ix_grid_version_digest", "digest"),
)

# A version that is being fetched from other regions; gone when it is here. Whoever holds it fetches; what it writes with
# another holder in the row is refused.
transfer = Table(
    "transfer",
    metadata,
    _id(),
    Column("image", String, ForeignKey("image.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    _text("state"),  # TransferState
    _text("holder", ""),  # management server
    _at("held_until", null=True),
    _count("done"),  # bytes that are here
    _count("total"),
    _text("sources", ""),  # regions that bring it, or brought something last
    _text("told", ""),  # why it does not go on
    _count("tries"),
    _at("next_at"),
    _at("moved_at"),  # when something last came
    _at("created_at"),
    UniqueConstraint("image", "number"),
    Index(
        "ix_transfer_wanted",
        "next_at",
        sqlite_where=text("state = 'wanted'"),
        postgresql_where=text("state = 'wanted'"),
    ),
)

# Operations that wait for a transfer; `ends`: they are done with it.
transfer_wait = Table(
    "transfer_wait",
    metadata,
    Column("transfer", String, ForeignKey("transfer.id", ondelete="CASCADE"), primary_key=True),
    Column("operation", String, primary_key=True),
    _flag("ends"),
)

grid_holding = Table(
    "grid_holding",
    metadata,
    Column("sha256", String, primary_key=True),
    Column("region", String, primary_key=True, index=True),
)

# Regions as the grid manager knows them, which has the truth; a region has a copy, with itself in it.
grid_member = Table(
    "grid_member",
    metadata,
    _id(),
    Column("name", String, nullable=False, unique=True),
    _text("url", ""),
    _text("software", ""),
    _text("state"),
    _count("epoch", 1),
    _count("seen"),
    _count("floor"),
    _count("resync"),
    _text("knows", ""),  # which store of the grid manager its last message was for
    _json("labels", "[]"),
    _at("heard_at", null=True),
    _at("created_at"),
)

# What regions say of themselves: in the grid manager's store all, in a region's its own and what it was told.
grid_fact = Table(
    "grid_fact",
    metadata,
    Column("region", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column(
        "key", String().with_variant(String(collation="C"), "postgresql"), primary_key=True
    ),  # by bytes: ranges of it are read
    _count("version"),
    _count("seq"),  # of the grid manager's: in which order it learned of them
    Column("body", Json, nullable=True),  # null: no more
    _text("audience", ""),
    Index("ix_grid_fact_seq", "seq"),
    Index("ix_grid_fact_version", "region", "version"),
    Index("ix_grid_fact_kind", "kind", "region"),
    Index("ix_grid_fact_key", "kind", "key", "region"),
)

# Of the grid manager: one row, held by whoever numbers facts. A cursor before `swept` misses what is gone.
grid_counter = Table("grid_counter", metadata, _id(), _count("seq"), _count("swept"))

# Of the grid manager: copies that regions may let go, and count as gone from then on.
grid_eviction = Table(
    "grid_eviction",
    metadata,
    _id(),  # as the region calls it
    _text("region"),
    _text("key"),
    _text("digest"),
    _at("at"),
    Index("ix_grid_eviction_key", "key", "region"),
)

# Of the grid manager: facts that it could make nothing of. What was told before of the same things stays.
grid_quarantine = Table(
    "grid_quarantine",
    metadata,
    Column("region", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("key", String, primary_key=True),
    _count("version"),
    _text("told"),
    _at("at"),
)

# Of the grid manager: what accounts may hold in all regions together, and what of it each region was granted.
grid_limit = Table(
    "grid_limit",
    metadata,
    Column("account", String, primary_key=True),  # its path
    _json("limits", "{}"),  # by resource
    _at("short_at", null=True),  # when last something that a region needs was lacking
    _at("changed_at"),
    _text("changed_by", ""),
    Index("ix_grid_limit_short", "short_at"),
)

grid_grant = Table(
    "grid_grant",
    metadata,
    Column("region", String, primary_key=True),
    Column("account", String, primary_key=True),
    _count("serial"),
    _json("amounts", "{}"),
    _at("at"),
    Index("ix_grid_grant_account", "account"),
)

# Of a region: what it has of such a limit is in `quota`; here is under which serial, and what was asked for.
grid_share = Table(
    "grid_share",
    metadata,
    Column("account", String, ForeignKey("account.id", ondelete="CASCADE"), primary_key=True),
    _text("path"),
    _count("serial"),
    _count("acked", -1),  # the serial that the grid manager has answered
    _text("incarnation", ""),  # which store of the grid manager did
    _json("limits", "{}"),  # by resource; none: there is no limit over all regions
    _json("asked", "{}"),  # what would be used if what was refused for want of a share had not been
    _flag("wants"),  # that is so
    _at("wanted_at", null=True),  # since when it is asked for; null: it is not yet
    _at("asked_at", null=True),  # when the grid manager was last asked
    _at("short_at", null=True),  # when it last said that something is lacking
    _flag("lacking"),  # not all that this region needs was granted
    Index(
        "ix_grid_share_wants",
        "account",
        sqlite_where=text("wants"),
        postgresql_where=text("wants"),
    ),
)

# Of the grid manager: what its operators told regions to do. How far that is each region says (`grid_fact`).
grid_instruction = Table(
    "grid_instruction",
    metadata,
    _id(),
    Column("region", String, primary_key=True),
    _count("number"),  # the how-manieth to that region
    _text("kind"),
    _text("subject"),
    _json("limits", "{}"),
    _json("origins", "[]"),
    _flag("stops"),
    _text("given_by"),
    _at("given_at"),
    _at("expires_at"),
    _at("cancelled_at", null=True),
    Index("ix_grid_instruction_region", "region", "number"),
)

# Of a region: what it was told to do. The row is written with what is done: there is one, so it is done once.
instruction = Table(
    "instruction",
    metadata,
    _id(),
    _count("number"),
    _text("kind"),
    _text("subject"),
    _json("limits", "{}"),
    _json("origins", "[]"),
    _flag("stops"),
    _text("given_by"),
    _at("given_at"),
    _at("expires_at"),
    _text("state"),
    _text("told", ""),
    _at("taken_at"),
    _at("changed_at"),
    Index("ix_instruction_state", "state"),
    Index("ix_instruction_changed_at", "changed_at"),
)

grid_token = Table(
    "grid_token",
    metadata,
    _id(),
    Column("region", String, nullable=True),  # who alone may join by it
    Column("secret_hash", String, nullable=False, unique=True),
    _text("request_hash", ""),
    Column("used_by", String, nullable=True),
    _at("expires_at"),
    _at("used_at", null=True),
    _at("created_at"),
)

# Of a region: its place in the grid, one row. The key is sealed; the region's other servers take it from here.
grid_link = Table(
    "grid_link",
    metadata,
    _id(),
    _text("region"),
    _text("grid"),  # HOST:PORT of the grid manager
    _json("authorities", "[]"),
    _text("certificate"),
    _text("key_sealed"),
    _text("incarnation", ""),  # of the grid manager's store, as heard last
    _count("acked"),
    _count("cursor"),
    _text("told", ""),  # what is wrong, by the last try
    _json("refused", "[]"),  # facts that could not be read, there or here, as text
    _at("tried_at", null=True),
    _at("heard_at", null=True),
    _at("snapshot_at", null=True),
    _at("joined_at", null=True),
)

# By which this region signs for whom it let in; the private key is sealed.
sign_key = Table("sign_key", metadata, _id(), _text("public"), _text("sealed"), _at("created_at"))

# Of whom nothing that was signed until then counts; told to others for as long as it could.
sign_revocation = Table(
    "sign_revocation", metadata, Column("mark", String, primary_key=True), _at("before")
)

# --- the customer's things ------------------------------------------------------------------------------------

# Those that farms share; a farm that names none has one of its own, which has no row.
storage_zone = Table(
    "storage_zone",
    metadata,
    _id(),
    _ref("account", "account"),
    _ref("zone", "zone"),
    _text("name"),
    _generation(),
    _at("created_at"),
    UniqueConstraint("account", "zone", "name"),
)

farm = Table(
    "farm",
    metadata,
    _id(),
    _ref("account", "account"),
    _ref("zone", "zone"),
    _text("name"),
    _ref("storage_zone", "storage_zone", null=True, index=True),
    # The segment that acts for it, and the number of times that changed; `confirmed`: of the last one that knows.
    _text("holder", ""),
    _count("epoch"),
    _count("confirmed"),
    _count("load"),  # how much it has to do
    _generation(),
    _at("created_at"),
    UniqueConstraint("account", "zone", "name"),
    Index("ix_farm_holder", "holder"),
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
    Column("vlan", Integer, nullable=False),  # or a VNI (domain/layer2.py)
    _count("number"),  # of it in its farm: routers of a farm know each other by these
    _text("state"),  # NetworkState
    _count("next_offset", 2),  # where the search for a free address begins
    # its routing appliance
    Column("appliance_host", String, ForeignKey("host.id"), nullable=True, index=True),
    _text("appliance_state", "absent"),  # ApplianceState
    _text("appliance_told", ""),
    _count(
        "appliance_epoch"
    ),  # grows when it is given to another host while the one before may still run it
    _text("appliance_runtime", "namespace"),  # RouterRuntime, as it was when it started
    _count("appliance_mib"),  # memory that is reserved for it on its host (store/router_memory.py)
    _json("appliance_failed"),  # host: why it could not start it, of those that were tried
    # the other one of a pair (decisions/0042): which of the two is which follows who leads
    _flag("redundant"),  # there are to be two
    _count("appliance_number"),  # by which they know each other
    _count("appliance_seen"),  # the generation that it was last seen to be of
    Column("standby_host", String, ForeignKey("host.id"), nullable=True, index=True),
    _text("standby_state", "absent"),  # ApplianceState
    _text("standby_told", ""),
    _count("standby_number"),
    _count("standby_seen"),
    _count("standby_mib"),
    _count("restarts"),  # how often it was to be made anew
    _flag("isolated"),  # no way out, and none offered
    _json("resolvers", "null"),  # list of addresses; null: its zone's
    # its /64, if it has one: kept until the row goes
    _ref("ipv6_range", "ipv6_range", null=True),
    Column("ipv6_number", Integer, nullable=True),
    Column("ipv6_cidr", String, nullable=True),
    _at("idle_since", null=True),
    _flag("attention"),  # its appliance may be out of date
    _generation(),
    _at("created_at"),
    UniqueConstraint("account", "zone", "name"),
    UniqueConstraint("farm", "number"),
    UniqueConstraint("ipv6_range", "ipv6_number"),
    Index(
        "ix_network_attention",
        "id",
        sqlite_where=text("attention"),
        postgresql_where=text("attention"),
    ),
    Index(
        "ix_network_alone",
        "id",
        sqlite_where=text("redundant and standby_host is null"),
        postgresql_where=text("redundant and standby_host is null"),
    ),
    Index(
        "ix_network_unpaired",
        "id",
        sqlite_where=text("redundant and standby_state <> 'running'"),
        postgresql_where=text("redundant and standby_state <> 'running'"),
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
    _text("account"),  # this and the zone are the farm's: one look for another row is enough
    _ref("farm", "farm", index=True),
    _text("zone"),
    # By bytes, whatever the database's language: the beginning of a name is a range of the index.
    Column("name", String().with_variant(String(collation="C"), "postgresql"), nullable=False),
    _text("state"),
    # The states that few are in and that are looked for: no index names `state`, so none is touched (and PostgreSQL
    # writes the row only) when a machine that is deployed goes from one to the next.
    Column("resting", String, Computed(f"case when {RESTING} then state end", persisted=True)),
    _text("wish"),
    Column("host", String, ForeignKey("host.id"), nullable=True),
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
    _json("placement"),  # tags, affinity, strategy asked for
    _count("boots", 1),
    _flag("force"),
    _count("tries"),  # hosts that could not start it, in a row
    _count("told"),  # generation of the wish that its host was last told
    # What its host was last told when it was first seen running: from then on its disks hold something. 0: never.
    _count("ran"),
    _flag("giving_up"),  # its host could not start it and was told to stop trying
    # Of the right to run one with shared disks (docs/decisions/0007); 0: never had any.
    _count("epoch"),
    Column("fenced", String, nullable=True),  # who had it before this epoch, and was without power
    _count("uprooted"),  # the epoch with which its disks came to another pool by a fail-over
    _flag("highly_available"),
    Column("recovery", String, nullable=True),  # the operation that brings it back from a lost host
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
    Index("ix_machine_name", "name", "account", "id"),
    Index(
        "ix_machine_host",
        "host",
        sqlite_where=text("host is not null"),
        postgresql_where=text("host is not null"),
    ),
    Index(
        "ix_machine_resting",
        "resting",
        "id",
        sqlite_where=text("resting is not null"),
        postgresql_where=text("resting is not null"),
    ),
    Index(
        "ix_machine_resting_name",
        "resting",
        "name",
        "account",
        "id",
        sqlite_where=text("resting is not null"),
        postgresql_where=text("resting is not null"),
    ),
    Index(
        "ix_machine_account_resting",
        "account",
        "resting",
        "id",
        sqlite_where=text("resting is not null"),
        postgresql_where=text("resting is not null"),
    ),
    Index(
        "ix_machine_attention",
        "id",
        sqlite_where=text("attention"),
        postgresql_where=text("attention"),
    ),
    Index(
        "ix_machine_recovery",
        "id",
        sqlite_where=text("recovery is not null"),
        postgresql_where=text("recovery is not null"),
    ),
    Index(
        "ix_machine_destroyed",
        "destroyed_at",
        sqlite_where=text("destroyed_at is not null"),
        postgresql_where=text("destroyed_at is not null"),
    ),
    postgresql_with=_ROOM,
)

# Machines that were stopped because of their host's maintenance: they start again when it is over.
maintenance_stop = Table(
    "maintenance_stop",
    metadata,
    Column("machine", String, ForeignKey("machine.id", ondelete="CASCADE"), primary_key=True),
    Column("host", String, ForeignKey("host.id", ondelete="CASCADE"), nullable=False, index=True),
)

# What a machine starts from: constant, and wider than all else of it, so it is not written again with each change of
# its state. Read when its host is told.
machine_boot = Table(
    "machine_boot",
    metadata,
    Column("machine", String, primary_key=True),
    _json("boot"),  # kernel and initrd parts, command line
    _json("seed"),  # NoCloud data; never shown (may hold password hashes)
    _text(
        "password", ""
    ),  # passwords.Kept as JSON, a hash sealed within; wiped when the guest has it
    Column("resetting", String, ForeignKey("operation.id")),  # what waits for that
    sqlite_with_rowid=False,
)

ssh_key = Table(
    "ssh_key",
    metadata,
    _id(),
    _ref("account", "account"),
    _text("name"),
    _text("kind"),  # as OpenSSH calls it
    _count("bits"),
    _text("fingerprint"),
    _text("line"),  # the public key; there is no private one
    _at("created_at"),
    UniqueConstraint("account", "name"),
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
    _flag("shared"),  # wants a pool that several hosts reach
    _flag("stays"),  # when its machine is erased
    _json("tags", "[]"),  # of the host on which it is first placed
    _text("change", ""),  # domain.volume.Change
    Column("operation", String, nullable=True),
    _text("told", ""),
    _flag("erasing"),
    Column("copied_from", String, nullable=True),  # the snapshot that it was made of
    _text(
        "offering", ""
    ),  # the disk offering that it was made by, or has its limits of; empty: root disks
    # Of a farm by its id, or one that farms share; none: that of the machine which has it first.
    Column("storage_zone", String, nullable=True, index=True),
    _count("zoned"),  # when that was said last, in microseconds
    _count("made"),  # of those that stay: domain.volume.is_made
    _flag("read_only"),  # many machines may have it, by views
    Column("view_of", String, nullable=True, index=True),  # a machine's view of that one
    _flag("replicated"),  # a second pool is to have a copy
    Column("replica", String, nullable=True),  # which one is its own
    _generation(),
    _at("created_at"),
    # Volumes that stand by themselves are known by their names; those made with machines are called after them.
    Index(
        "uq_volume_name",
        "account",
        "zone",
        "name",
        unique=True,
        sqlite_where=text("stays and not erasing"),
        postgresql_where=text("stays and not erasing"),
    ),
    # Only of those that have one: else SQLite would look there, too, for those that have none, which are nearly all.
    Index(
        "ix_volume_replica",
        "replica",
        sqlite_where=text("replica is not null"),
        postgresql_where=text("replica is not null"),
    ),
    Index(
        "ix_volume_unreplicated",
        "id",
        sqlite_where=text("replicated and replica is null"),
        postgresql_where=text("replicated and replica is null"),
    ),
    Index(
        "ix_volume_change",
        "machine",
        sqlite_where=text("change <> ''"),
        postgresql_where=text("change <> ''"),
    ),
)

# Volumes on their way to another pool; also those that were, until what is left of them elsewhere is erased.
carry = Table(
    "carry",
    metadata,
    Column("volume", String, primary_key=True),  # which may be gone before the row is
    Column("operation", String, nullable=False, index=True),
    _text("account"),
    _text("name"),
    _text("source"),  # pools
    _text("target"),
    Column("left_in", String, nullable=True, index=True),  # the pool where it is to be erased
    Column("machine", String, nullable=True),  # that runs with it meanwhile
    _count("mib"),  # with its snapshots: what it holds there, or while it is on its way in `target`
    _count("copied_mib"),
    _text("told", ""),
    _at("begun_at"),
)

# A volume's second copy in another pool, and what is left of such copies (docs/decisions/0051).
replica = Table(
    "replica",
    metadata,
    _id(),
    Column("volume", String, nullable=False, index=True),  # which may be gone before the row is
    _text("account"),
    _text("name"),
    Column("source", String, nullable=True, index=True),  # pools
    Column("target", String, nullable=False, index=True),
    _text("state"),  # domain.replica.ReplicaState
    Column("held_in", String, nullable=False, index=True),  # the pool where it holds room
    _count("mib"),
    _count("point"),  # the last whole one; 0: none yet
    _at("point_at", null=True),
    _text("told", ""),
    _at("begun_at"),
    Index("ix_replica_state", "state", "point_at"),
)

# What is under way is in the state; its operation is the id of the wish that the host of the volume's pool has.
snapshot = Table(
    "snapshot",
    metadata,
    _id(),
    _ref("account", "account", index=True),
    _ref("zone", "zone"),
    _ref("volume", "volume", index=True),
    _text("name"),
    _count("mib"),
    _text("state"),  # domain.snapshot.SnapshotState
    Column("operation", String, nullable=True, index=True),
    Column("by", String, nullable=True),  # a host that is told of it beside its pool's
    _text("told", ""),
    _generation(),
    _at("created_at"),
    UniqueConstraint("account", "zone", "name"),
)

nic = Table(
    "nic",
    metadata,
    _id(),
    Column("machine", String, ForeignKey("machine.id"), nullable=False),
    Column("network", String, ForeignKey("network.id"), nullable=False),
    _text("account"),  # the machine's
    _count("position"),
    _text("mac"),
    _text("address"),
    _count("offset"),  # of the address in its network
    _count("rate_kbps"),
    _flag("is_default"),  # by which the machine finds its way out
    _flag("leaving"),  # detached: it goes when its machine's host has nothing of it any more
    UniqueConstraint("network", "offset"),
    UniqueConstraint("network", "mac"),
    UniqueConstraint("machine", "position"),
    Index(
        "ix_nic_default",
        "machine",
        unique=True,
        sqlite_where=text("is_default"),
        postgresql_where=text("is_default"),
    ),
    Index(
        "ix_nic_leaving",
        "id",
        sqlite_where=text("leaving"),
        postgresql_where=text("leaving"),
    ),
)

rule = Table(
    "rule",
    metadata,
    _id(),
    _ref("account", "account", index=True),
    Column("network", String, ForeignKey("network.id"), nullable=False, index=True),
    Column("address", String, ForeignKey("address.id"), nullable=True, index=True),
    _text("kind"),  # RuleKind
    _text("direction", "in"),
    _text("protocol"),
    _text("cidr", "0.0.0.0/0"),
    _count("first_port"),
    _count("last_port"),
    Column("nic", String, ForeignKey("nic.id"), nullable=True, index=True),
    _count("to_port"),
    # Between networks: where connections come from.
    Column("source", String, ForeignKey("network.id"), nullable=True, index=True),
    _generation(),
    _at("created_at"),
)

balancer = Table(
    "balancer",
    metadata,
    _id(),
    _ref("account", "account"),
    Column("network", String, ForeignKey("network.id"), nullable=False, index=True),
    _text("kind", "public"),  # BalancerKind
    Column("address", String, ForeignKey("address.id"), nullable=True),  # of a public one
    _text("name"),
    _count("port"),  # 0 of a probe
    _text("traffic"),  # Traffic
    _text("algorithm"),
    _text("stickiness"),
    _text("cidr", "0.0.0.0/0"),
    _text("cidr6", ""),  # who may use it by IPv6; empty: nobody
    _json("health"),  # how members are checked
    _text("certificate", ""),
    _text("sealed", ""),  # its private key, encrypted
    Column("calm", Json, nullable=True),  # domain.balancer.Calm, while somebody waits for news
    _generation(),
    _at("created_at"),
    UniqueConstraint("account", "name"),
    UniqueConstraint("address", "port"),
    CheckConstraint("(kind = 'public') = (address is not null)", name="kind"),
    Index(
        "uq_balancer_inner",
        "network",
        "port",
        unique=True,
        sqlite_where=text("kind = 'inner'"),
        postgresql_where=text("kind = 'inner'"),
    ),
)

balancer_member = Table(
    "balancer_member",
    metadata,
    Column("balancer", String, ForeignKey("balancer.id"), primary_key=True),
    Column("nic", String, ForeignKey("nic.id"), primary_key=True, index=True),
    _count("port"),
    _count("weight", 1),
    _flag("draining"),
    _flag("paused"),  # drained for its machine's stop, until that is started again
)

# Operations that wait until nobody is at a member any more: one that is to be removed from a balancer, or all of a machine
# that is to stop (`balancer` is null).
member_drain = Table(
    "member_drain",
    metadata,
    Column("operation", String, ForeignKey("operation.id", ondelete="CASCADE"), primary_key=True),
    Column("machine", String, nullable=False, index=True),
    Column("balancer", String, nullable=True),
    _at("since"),
    _at("until"),
    _text("told", ""),
)

# As its appliance told last, written over.
balancer_seen = Table(
    "balancer_seen",
    metadata,
    Column("balancer", String, ForeignKey("balancer.id"), primary_key=True),
    _at("at"),
    _json("seen"),
    _count("ill"),  # members whose checks fail
    Index(
        "ix_balancer_seen_ill",
        "balancer",
        sqlite_where=text("ill > 0"),
        postgresql_where=text("ill > 0"),
    ),
)

# Of a site, with one peer of the same id; or of remote access, with a peer for each client.
vpn = Table(
    "vpn",
    metadata,
    _id(),
    _ref("account", "account"),
    Column("network", String, ForeignKey("network.id"), nullable=False),
    Column("address", String, ForeignKey("address.id"), nullable=False, index=True),
    _text("kind"),  # VpnKind
    _count("port"),
    _text("cidr", ""),  # of its clients
    _text("name"),
    _text("public_key"),
    _text("sealed"),  # its private key, encrypted
    _text("next_key", ""),  # public; it turns to that when its peer knows it
    _text("next_sealed", ""),
    _count("keys"),  # as it was asked for
    _json("openings", "[]"),
    _generation(),
    _at("created_at"),
    UniqueConstraint("account", "kind", "name"),
    UniqueConstraint("network", "port"),
)

vpn_peer = Table(
    "vpn_peer",
    metadata,
    _id(),
    _ref("vpn", "vpn"),
    _ref("account", "account"),
    _text("name"),
    _text("public_key"),  # empty: nobody yet
    _text("next_key", ""),  # that it is about to have
    _text("sealed", ""),  # a key that both have, encrypted
    _text("endpoint", ""),
    _json("cidrs", "[]"),
    _json("names", "[]"),  # tiers of the same farm that are called there
    _at("created_at"),
    UniqueConstraint("vpn", "public_key"),
    UniqueConstraint("account", "name", "vpn"),
)

# As its appliance told last, written over.
vpn_seen = Table(
    "vpn_seen",
    metadata,
    Column("peer", String, ForeignKey("vpn_peer.id"), primary_key=True),
    _at("at"),
    _flag("up"),
    _at("since"),  # it has been up, or not
    _json("seen"),
)

# --- farms that are laid out by a document ----------------------------------------------------------------------

blueprint = Table(
    "blueprint",
    metadata,
    _id(),
    _ref("account", "account"),
    _text("name"),
    _flag("public"),
    _count("newest"),  # the highest version number that was ever given
    _text("home", ""),  # the region with whose farms it came; empty: it was made here
    _text("home_id", ""),  # what it is called there
    _generation(),
    _at("created_at"),
    UniqueConstraint("account", "name"),
)

blueprint_version = Table(  # never changes
    "blueprint_version",
    metadata,
    Column("blueprint", String, ForeignKey("blueprint.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    _json("body"),  # domain.blueprint.Body
    _text("origin", ""),  # of one that came: the digest of what it is at home
    _at("created_at"),
)

# Beside the farm's row, which its holder holds `for share` all the time. Default farms, and those by hand, have none.
farm_spec = Table(
    "farm_spec",
    metadata,
    Column("farm", String, ForeignKey("farm.id", ondelete="CASCADE"), primary_key=True),
    _json("spec"),  # as it was asked for
    _text("state"),  # FarmState
    Column("operation", String, nullable=True),  # done when all tiers are as wished
    _flag("attention"),
    _text("told", ""),
    _text("password", ""),  # of its elements' machines, hashed
    _generation(),
    _at("changed_at"),
    Index(
        "ix_farm_spec_attention",
        "farm",
        sqlite_where=text("attention"),
        postgresql_where=text("attention"),
    ),
)

# What a farm has made, by what its document calls it.
farm_part = Table(
    "farm_part",
    metadata,
    Column("farm", String, ForeignKey("farm.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", String, primary_key=True),  # PartKind
    Column("name", String, primary_key=True),
    Column("id", String, nullable=False, unique=True),
)

# What a farm should be in another region, and what that one told of it last.
farm_region = Table(
    "farm_region",
    metadata,
    Column("farm", String, ForeignKey("farm.id", ondelete="CASCADE"), primary_key=True),
    Column("region", String, primary_key=True),
    Column("account", String, nullable=False, index=True),
    _count("version"),  # of what it should be: grows with each change
    _json("spec"),
    _flag("gone"),  # it is to go
    _count("acked"),  # the version that is known there
    _json("seen"),  # as it was told last
    _text("state"),  # PartState
    _text("told", ""),
    _count("tries"),  # in vain, in a row
    _at("due_at"),
    _at("heard_at", null=True),
    _at("keyed_at", null=True),  # its links were given other keys; null: it has none
    Index("ix_farm_region_due_at", "due_at"),
    Index("ix_farm_region_keyed_at", "keyed_at"),
)

# Which farms here are parts of other regions' farms. Those that went are remembered for a while, so that a call that
# comes late does not bring them back.
farm_partner = Table(
    "farm_partner",
    metadata,
    Column("region", String, primary_key=True),  # home
    Column("home", String, primary_key=True),  # the farm's id there
    Column("account", String, nullable=False, index=True),
    Column("farm", String, nullable=True, unique=True),  # its id here
    _count("version"),
    _flag("gone"),  # it was let go, as of that version
    _at("changed_at"),
)

# Shared volumes of this region that parts of farms in others read, and the image versions that have what is on them.
sent_volume = Table(
    "sent_volume",
    metadata,
    Column("volume", String, primary_key=True),
    Column("account", String, nullable=False, index=True),
    _count("shares", 1),  # grows each time that the volume is shared anew
    _count("taken"),  # as of which the snapshot is, or is being taken
    _count("made"),  # as of which `number` is; 0: there is none yet
    Column("image", String, nullable=True),
    _count("number"),
    Column("snapshot", String, nullable=True),  # while a version is being made
    Column("operation", String, nullable=True),  # that waits for the version
    _text("told", ""),  # why there is none yet
    _count("tries"),  # in vain, in a row
    _at("due_at", null=True),  # when it is to be looked at; none: nothing is to be done
    Index("ix_sent_volume_due_at", "due_at"),
)

# Volumes of a home region that parts of its farms here read, by what blueprints call them, and which version of which
# image has what is on them.
came_volume = Table(
    "came_volume",
    metadata,
    Column("farm", String, ForeignKey("farm.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String, primary_key=True),  # NAME@REGION
    Column("image", String, nullable=True, index=True),  # none: home has no copy of it yet
    _count("number"),
    _count("before"),  # the version that was here before that one; 0: none
    _text("told", ""),  # what home says of one that it has no copy of
)

farm_secret = Table(
    "farm_secret",
    metadata,
    _id(),
    Column("farm", String, ForeignKey("farm.id", ondelete="CASCADE"), nullable=False),
    Column("account", String, nullable=False, index=True),
    _text("name"),
    _text("sealed", ""),  # its text, encrypted; empty until its owner gives it
    _flag("given"),
    _count("number"),  # so many texts it had
    _generation(),
    _at("created_at"),
    _at("changed_at"),
    UniqueConstraint("farm", "name"),
)

tier = Table(
    "tier",
    metadata,
    _id(),
    _ref("farm", "farm"),
    _text("account"),
    _text("zone"),
    _text("name"),
    # What its elements should be made of.
    _ref("blueprint", "blueprint", index=True),
    _count("blueprint_number"),
    _text("image"),
    _count("image_version"),
    _count("least"),
    _count("most"),
    _count("count"),  # how many there should be now
    _json("body"),  # domain.tier.Body
    _flag("automatic"),
    _flag("attention"),
    _flag("leaving"),
    _at("again_at", null=True),  # not before, after something was refused
    _at("due_at", null=True),  # looked at whatever happens; null: when something happens
    _count("tries"),
    _text("told", ""),
    _generation(),
    _at("created_at"),
    UniqueConstraint("farm", "name"),
    CheckConstraint("least >= 0 and least <= most", name="bounds"),
    CheckConstraint("count >= 0 and count <= most", name="count"),
    Index(
        "ix_tier_attention",
        "id",
        sqlite_where=text("attention"),
        postgresql_where=text("attention"),
    ),
    Index(
        "ix_tier_due",
        "due_at",
        sqlite_where=text("due_at is not null"),
        postgresql_where=text("due_at is not null"),
    ),
    Index(
        "ix_tier_automatic",
        "image",
        sqlite_where=text("automatic"),
        postgresql_where=text("automatic"),
    ),
)

element = Table(
    "element",
    metadata,
    _id(),
    _ref("tier", "tier"),
    _text("farm"),
    _text("account"),
    _count("number"),
    _text("state"),  # ElementState
    Column("machine", String, nullable=True, unique=True),  # whose row goes by itself
    _count("blueprint_number"),  # of what its machine is made
    _count("image_version"),
    _json("kept"),  # network: address
    _flag("surplus"),  # of a rollout, with which it ends
    _count("tries"),
    _text("told", ""),
    Column("replaces", String, nullable=True),  # a machine of its that somebody wants replaced
    _flag("by_force"),  # even if fewer serve then than always should
    Column("operation", String, nullable=True),  # that waits for this
    _at("since"),  # it is in its state
    _generation(),
    UniqueConstraint("tier", "number"),
    Index("ix_element_account_id", "account", "id"),
    Index(
        "ix_element_unrest",
        "tier",
        sqlite_where=text("state <> 'serving'"),
        postgresql_where=text("state <> 'serving'"),
    ),
    postgresql_with=_ROOM,
)

# That something happened which may matter to a tier. Only added, so that nobody waits for whoever holds the tier's row;
# whoever looks at it removes them.
tier_note = Table(
    "tier_note",
    metadata,
    Column(
        "number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    ),
    Column("tier", String, nullable=False, index=True),
)

tier_load = Table(  # written over
    "tier_load",
    metadata,
    Column("tier", String, ForeignKey("tier.id", ondelete="CASCADE"), primary_key=True),
    _at("at"),
    _json("load"),
)

tier_scaling = Table(  # what its policy remembers
    "tier_scaling",
    metadata,
    Column("tier", String, ForeignKey("tier.id", ondelete="CASCADE"), primary_key=True),
    _json("memory"),
    _text("told", ""),  # why it changed the count last
    _at("looked_at"),
)

rollout = Table(
    "rollout",
    metadata,
    _id(),
    Column("tier", String, ForeignKey("tier.id", ondelete="CASCADE"), nullable=False, index=True),
    _text("farm"),
    _text("account"),
    _text("state"),  # RolloutState
    _json("before"),  # domain.tier.Release, the goal too
    _json("goal"),
    _json("policy"),  # domain.blueprint.Update
    _count("failures"),
    _count("renewed"),
    Column("cause", String, nullable=True),  # Cause
    _at("due_at", null=True),
    _text("told", ""),
    Column("operation", String, nullable=True),
    _generation(),
    _at("created_at"),
    _at("ended_at", null=True),
    Index(
        "uq_rollout_open",
        "tier",
        unique=True,
        sqlite_where=text("ended_at is null"),
        postgresql_where=text("ended_at is null"),
    ),
    Index(
        "ix_rollout_failures",
        "id",
        sqlite_where=text("cause = 'failures'"),
        postgresql_where=text("cause = 'failures'"),
    ),
)

# Once a machine of an element: from when it ran until it stopped (rule 8).
# Machines that found room in a zone, found none, or gave theirs back: what one transaction did of one size. Only added,
# so that nobody who deploys waits for anybody; soon they are summed up in `pool_hour`, and go.
pool_note = Table(
    "pool_note",
    metadata,
    Column(
        "number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    ),
    _at("at"),
    _text("zone"),
    _count("cpus"),
    _count("cpu_mhz"),
    _count("memory_mib"),
    *_pool_counts(),
    sqlite_autoincrement=True,
)

# The same of an hour, from which the size that a zone's pool should have is reckoned.
pool_hour = Table(
    "pool_hour",
    metadata,
    Column("zone", String, primary_key=True),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),  # since 1970
    Column("cpus", BigInteger, primary_key=True, autoincrement=False),
    Column("cpu_mhz", BigInteger, primary_key=True, autoincrement=False),
    Column("memory_mib", BigInteger, primary_key=True, autoincrement=False),
    *_pool_counts(),
    _count("held_us"),
)

pool_cursor = Table(  # how far events were counted
    "pool_cursor",
    metadata,
    Column("name", String, primary_key=True),
    _count("event"),
    _at("at"),
)

# --- what is on its way, and what was ---------------------------------------------------------------------------

tunnel_work = Table(
    "tunnel_work",
    metadata,
    # Each note is a row of its own: one that met another would be lost with it when that is taken meanwhile.
    Column(
        "number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    ),
    Column("network", String, nullable=False),  # has a VNI; other hosts have it than were told
    sqlite_autoincrement=True,
)
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
        "ix_manifest_item_tunnel",
        "id",
        sqlite_where=text("kind = 'tunnel'"),
        postgresql_where=text("kind = 'tunnel'"),
    ),
    Index(
        "ix_manifest_item_gone",
        "host",
        sqlite_where=text("body is null"),
        postgresql_where=text("body is null"),
    ),
)

# How the right to run each machine with shared disks stands, as the storage host that keeps it said last.
export = Table(
    "export",
    metadata,
    Column("machine", String, primary_key=True),
    Column("host", String, nullable=False, index=True),
    _text("state"),  # ExportState
    _count("epoch"),  # given last, to `holder`
    _count("highest"),  # that was ever heard of there
    Column("holder", String, nullable=True),
    _count("generation"),  # of the wish in force
    _text("told", ""),
    _flag("lapsed"),  # not renewed by `holder` in its time
    _count("away"),  # the attempt by which the disks went to another storage host
    sqlite_with_rowid=False,
)

# The last move of each machine to another host while it runs (docs/decisions/0008, 0010): what is wished, how far it
# is, and what its two hosts say of it.
move = Table(
    "move",
    metadata,
    _id(),  # the machine's
    _text("stage"),  # MoveStage
    _text("why"),  # MoveWhy
    _text("source"),
    Column("target", String, nullable=True),  # none while it waits for its turn
    Column("wanted", String, nullable=True),  # the host that was asked for; none: any
    Column("pool", String, nullable=True),  # its disks go there, on the host `wanted`; it stays
    Column("operation", String, nullable=True),
    _count("epoch"),  # that it has there; never offered again, whatever becomes of it
    _count("generation"),  # of the wish that takes it back
    _text("address", ""),  # that the source was told
    _count("bytes_per_second"),
    _count("downtime_ms"),
    _count("seconds"),
    _text("offered", ""),  # the address that the target tells
    _flag("failing"),  # says the source
    _flag("off"),  # it shut itself down on the way
    _flag("cancelled"),
    _count("sent_bytes"),
    _count("left_bytes"),
    _text("told", ""),
    _count("tries"),  # failures in a row
    _at("begun_at"),
    _at("changed_at"),  # of its stage
    Index(
        "ix_move_stage",
        "id",
        sqlite_where=text("stage <> 'over'"),
        postgresql_where=text("stage <> 'over'"),
    ),
    sqlite_with_rowid=False,
)

machine_usage = Table(
    "machine_usage",
    metadata,
    Column("machine", String, primary_key=True),
    _at("at"),
    Column("counters", Text, nullable=False),  # JSON, as its host reported it last
    _count("cpu_ns"),  # of them, to reckon with
    _count("millicpus"),  # what it used lately: an average over a minute or so
    _count("net_bytes"),  # received and sent, to reckon with
    _count("kbps"),  # of them lately, as with millicpus
    Column("memory_mib", BigInteger, nullable=True),  # as the guest says itself; null: it does not
)

operation = Table(
    "operation",
    metadata,
    _id(),
    Column("account", String, nullable=False),
    Column("user", String, nullable=False),
    _text("kind"),  # "machine.deploy"
    _text("target"),
    _text("also", ""),  # another network whose router has to know, too, before it is done
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
    Index(
        "ix_operation_also",
        "also",
        sqlite_where=text("state = 'running' and also <> ''"),
        postgresql_where=text("state = 'running' and also <> ''"),
    ),
    # Few, and counted on every look at the metrics.
    Index(
        "ix_operation_failed",
        "id",
        sqlite_where=text("state = 'failed'"),
        postgresql_where=text("state = 'failed'"),
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

# The management servers, one row each. `epoch` is a server's right to act: what it writes with an older one is refused.
segment = Table(
    "segment",
    metadata,
    _id(),
    Column("seq", BigInteger, nullable=False, unique=True),
    _count("epoch"),
    _text("address"),
    _text("site", ""),
    _text("version", ""),
    _text("state"),
    _at("heartbeat_at"),
    _count("cpu_percent"),
    _count("memory_mib"),
    _count("lag_ms"),
    _count("pending"),
    _text("asked", ""),  # what the master asks of the platform for it, and what came of it
    _at("asked_at", null=True),
    _text("told", ""),
)

# Farms whose work failed when it was last tried: everybody else's goes on without them. Gone when it works again.
farm_trouble = Table(
    "farm_trouble",
    metadata,
    Column("farm", String, ForeignKey("farm.id", ondelete="CASCADE"), primary_key=True),
    _text("server"),  # that tried
    _count("tries"),  # in a row
    _text("told"),  # what came of the last one
    _at("since"),
    _at("tried_at"),
)

# Who finds no master of an epoch; a server says it once, and again and again.
suspicion = Table(
    "suspicion",
    metadata,
    Column("by", String, ForeignKey("segment.id", ondelete="CASCADE"), primary_key=True),
    _count("epoch"),
    _at("since"),
    _at("at"),
    _text("why", ""),
)

election = Table(
    "election",
    metadata,
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    _text("holder"),
    _at("at"),
    _text("cause"),
    _json("agreed", "[]"),
)

# --- what operators are woken for -------------------------------------------------------------------------------

alert = Table(
    "alert",
    metadata,
    _id(),
    _text("kind"),  # AlertKind
    _text("subject"),
    _text("name"),  # of the subject, for people
    _text("severity"),
    _text("text"),
    _at("since"),
    _at("opened_at", null=True),  # none: not for long enough to be told
    _at("gone_at", null=True),  # its cause was not seen since, and may come back
    _at("until", null=True),
    _count("flaps"),
    _at("acknowledged_at", null=True),
    _text("acknowledged_by", ""),
    Index(
        "uq_alert_open",
        "kind",
        "subject",
        unique=True,
        sqlite_where=text("until is null"),
        postgresql_where=text("until is null"),
    ),
)

# What one server's own process found; nothing here counts when its server has fallen silent.
alert_signal = Table(
    "alert_signal",
    metadata,
    Column("server", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("subject", String, primary_key=True),
    _text("name"),
    _text("severity"),
    _text("text"),
    _at("at"),
)

alert_route = Table(
    "alert_route",
    metadata,
    _id(),
    Column("name", String, nullable=False, unique=True),
    _text("kind"),  # "mail" | "webhook"
    _json("target"),  # MailTarget or WebhookTarget
    _text("sealed", ""),  # its password or signing secret, encrypted
    _text("least"),  # severity
    _flag("enabled", default=True),
    _text("told", ""),  # what went wrong last
    _at("failing_since", null=True),
    _at("delivered_at", null=True),
    _generation(),
    _at("created_at"),
)

# What a route has not been told yet, or not for sure.
alert_delivery = Table(
    "alert_delivery",
    metadata,
    _id(),
    Column(
        "route",
        String,
        ForeignKey("alert_route.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    _json("notice"),
    _count("tries"),
    _at("next_at"),
    _at("created_at"),
    Index("ix_alert_delivery_next_at", "next_at"),
)

# Which database this is; the last row counts. A restored copy has another one than what it is a copy of.
incarnation = Table(
    "incarnation",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    _text("id"),
    _at("since"),
    _text("place", ""),  # the PostgreSQL cluster and timeline that it was named on
    _text("superseded_by", ""),  # the name of the one that took its place elsewhere
)

# One row: since when hosts could be heard without a long break, and when that was noted last.
hearing = Table(
    "hearing", metadata, Column("name", String, primary_key=True), _at("since"), _at("last")
)

setting = Table("setting", metadata, Column("name", String, primary_key=True), _json("value"))

# One row, beside Alembic's: the oldest revision whose version of Arable may work with this schema (`migrate.py`).
schema_serves = Table("schema_serves", metadata, Column("revision", String, primary_key=True))

# --- what is used, what it costs, and who pays -------------------------------------------------------------------

# An interval in which an account had something: the account's machines that run, machines, volumes, public addresses
# and networks. Begun and ended in the transactions that begin and end what it is of (docs/decisions/0029).
usage_record = Table(
    "usage_record",
    metadata,
    Column(
        "number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    ),
    _text("account"),
    _text("kind"),  # UsageKind
    _text("thing"),  # its id
    _text("name"),  # its name when it began
    _text("offering", ""),
    _text("farm", ""),
    _text("farm_name", ""),
    _text("tier", ""),
    _text("tier_name", ""),
    _count("cpus"),
    _count("mib"),  # of memory, or of a volume
    _at("since"),
    _at("until", null=True),
    CheckConstraint("until is null or until >= since", name="order"),
    Index(
        "uq_usage_record_open",
        "thing",
        "kind",
        unique=True,
        sqlite_where=text("until is null"),
        postgresql_where=text("until is null"),
    ),
    Index(
        "ix_usage_record_ended",
        "thing",
        "kind",
        sqlite_where=text("until is not null"),
        postgresql_where=text("until is not null"),
    ),
    Index("ix_usage_record_account_until", "account", "until"),
    Index("ix_usage_record_account_number", "account", "number"),
    sqlite_autoincrement=True,
)

price_list = Table(
    "price_list",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    _at("valid_from"),
    _text("currency"),
    _json("prices", "[]"),  # [kind, offering or "", micro-units]
    _text("user"),
    _at("created_at"),
)

# Who pays ahead: how far below nothing the account may go, and up to when its use was booked.
credit = Table(
    "credit",
    metadata,
    Column("account", String, ForeignKey("account.id", ondelete="CASCADE"), primary_key=True),
    _count("most"),  # micro-units
    _at("booked_until", null=True),  # none: nothing of it yet
    Index("ix_credit_booked_until", "booked_until"),
)

# What was paid and booked; never changed. A key is used once in an account, whatever is sent again.
credit_entry = Table(
    "credit_entry",
    metadata,
    Column(
        "number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    ),
    _text("account"),
    _text("key"),
    _text("kind"),  # EntryKind
    _count("micros"),  # more than nothing: to the account's favour
    _text("reference", ""),
    _text("user"),
    _at("at"),
    UniqueConstraint("account", "key"),
    Index("ix_credit_entry_account_number", "account", "number"),
    sqlite_autoincrement=True,
)

# What an operator offers to whoever orders a farm.
service_plan = Table(
    "service_plan",
    metadata,
    _id(),
    Column("name", String, nullable=False, unique=True),
    _text("kind"),  # PlanKind
    _json("rules"),  # domain.plan.Rules
    _text("about", ""),
    _flag("enabled", default=True),
    _generation(),
    _at("created_at"),
)

# So much of a zone's room is kept for the machines of an order's farm.
promise = Table(
    "promise",
    metadata,
    Column("order", String, primary_key=True),
    Column("account", String, nullable=False, index=True),
    Column("zone", String, nullable=False, index=True),
    Column("farm", String, nullable=True),  # whose machines take it, once they are made
    _count("machines"),
    _count("cpus"),
    _count("cpu_mhz"),
    _count("memory_mib"),
    _at("until"),
)

farm_order = Table(
    "farm_order",
    metadata,
    _id(),
    Column("account", String, nullable=False, index=True),  # it may be gone; what it ordered stays
    _text("user"),
    _text("name"),  # of the farm
    _text("state"),  # OrderState
    _json("document"),  # wire.farms.FarmIn, as its plan has it
    _text("plan", ""),  # its name when it was ordered
    _text("purchase_order", ""),
    _text("card", ""),  # a token that means a card elsewhere
    _json("estimate"),  # domain.order.Estimate
    Column("farm", String, nullable=True, index=True),
    Column("work", String, nullable=True),  # the farm's operation that provisions it
    _text("told", ""),
    _text("reviewer", ""),
    _json("keys", "[]"),  # fingerprints of the SSH keys that log in
    _text("password", ""),  # of its machines, hashed; empty: none was asked for
    Column("operation", String, nullable=False),
    _generation(),
    _at("created_at"),
    _at("ended_at", null=True),
    Index(
        "ix_farm_order_open",
        "id",
        sqlite_where=text("ended_at is null"),
        postgresql_where=text("ended_at is null"),
    ),
)
