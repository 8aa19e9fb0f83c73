"""A small cloud for tests of services: a zone, offerings, an image, accounts with limits, and hands to ask with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from sqlalchemy import insert, text

from arable.domain.access import ROLES, Caller
from arable.domain.errors import CloudError
from arable.domain.ids import AccountId, DomainId, ImageId, OfferingId, RangeId, UserId, ZoneId
from arable.domain.image import Image, ImageVersion
from arable.domain.manifest import ImagePart, PartFormat, PartRole
from arable.domain.offering import DiskOffering, Offering
from arable.domain.public_range import PublicRange
from arable.domain.units import MIB
from arable.domain.zone import Tags, Zone
from arable.runtime.clock import VirtualClock
from arable.runtime.entropy import Entropy, Ids
from arable.services import deployments, passwords
from arable.services.call import Asked, Call, Prelude, Surroundings
from arable.store import images, offerings, public_ranges, quotas, schema, zones
from arable.store.database import Database, Tx
from arable.wire.machines import DeployIn, DeployOut

A = TypeVar("A")

DISK = ImagePart(
    role=PartRole.DISK,
    sha256="a" * 64,
    bytes=50 * MIB,
    format=PartFormat.QCOW2,
    virtual_bytes=512 * MIB,
)
KERNEL = ImagePart(role=PartRole.KERNEL, sha256="b" * 64, bytes=MIB, format=PartFormat.BLOB)
INITRD = ImagePart(role=PartRole.INITRD, sha256="c" * 64, bytes=MIB, format=PartFormat.BLOB)


@dataclass
class Cloud:
    """Everything is done in a transaction of its own unless a `tx` is given."""

    database: Database
    around: Surroundings
    callers: dict[str, Caller] = field(default_factory=dict)

    def account(self, name: str, *, role: str = "customer", **limits: int) -> Caller:
        """A new account with one user, below its own domain."""
        rank, permissions = ROLES[role]
        with self.database.write() as tx:
            domain, account = f"domain-{name}", f"account-{name}"
            now = self.around.clock.now()
            tx.execute(
                insert(schema.domain).values(
                    id=domain, parent="domain-root", path=f"root/{name}", name=name, created_at=now
                )
            )
            tx.execute(
                insert(schema.account).values(id=account, domain=domain, name=name, created_at=now)
            )
            quotas.add(tx, AccountId(account), limits)
        self.callers[name] = Caller(
            user=UserId(f"user-{name}"),
            name=name,
            account=AccountId(account),
            domain=DomainId(domain),
            path=f"root/{name}",
            role=role,
            rank=rank,
            permissions=permissions,
            via="password",
        )
        return self.callers[name]

    def do(self, caller: Caller, use_case: Callable[..., A], *args: Any, **call: Any) -> A:
        """One use case in one transaction."""
        with self.database.write() as tx:
            return use_case(Call(tx, caller, self.around, **call), *args)

    def refused(
        self, caller: Caller, use_case: Callable[..., Any], *args: Any, **call: Any
    ) -> CloudError:
        """The error of a use case that must be refused, and must have changed nothing."""
        before = self.everything()
        try:
            answer = self.do(caller, use_case, *args, **call)
        except CloudError as error:
            assert self.everything() == before, "a refusal left something behind"
            return error
        raise AssertionError(f"was not refused but answered {answer}")

    def deploy(self, caller: Caller, **ask: Any) -> DeployOut:
        """With everything usual that is not said."""
        wanted = deploy_in(**ask)
        prelude = Prelude(caller, self.around, _no_look)
        made = passwords.generate(prelude, wanted) if passwords.wanted(wanted) else None
        return self.do(caller, deployments.deploy, wanted, made)

    def batch(self, *asked: Asked) -> list[Any]:
        """A batch of deployments in one transaction."""
        with self.database.write() as tx:
            return list(deployments.deploy_batch(tx, asked))

    def asked(self, caller: Caller, **ask: Any) -> Asked:
        """One of a batch."""
        return Asked(caller, self.around, (deploy_in(**ask), None))

    def used(self, caller: Caller) -> Mapping[str, int]:
        """What the account holds, without zeros."""
        with self.database.read() as tx:
            return {k: v for k, v in quotas.get(tx, caller.account).used.items() if v}

    def rows(self, query: str, **values: Any) -> list[Any]:
        """For looking where no use case looks."""
        with self.database.read() as tx:
            return [tuple(row) for row in tx.execute(text(query), values)]

    def run(self, statement: str, **values: Any) -> None:
        """What a controller would do."""
        with self.database.write() as tx:
            tx.execute(text(statement), values)

    def everything(self) -> dict[str, list[Any]]:
        """All rows of the customer's tables, to see that nothing changed."""
        tables = ("machine", "volume", "nic", "network", "vlan", "address", "rule", "farm", "quota")
        more = ("operation", "event", "group_member", "placement_group")
        with self.database.read() as tx:
            return {
                name: sorted(map(repr, tx.execute(text(f'select * from "{name}"'))))
                for name in (*tables, *more)
            }


def deploy_in(**ask: Any) -> DeployIn:
    return DeployIn(**{"name": "web", "offering": "small", "image": "tiny", **ask})


def _no_look() -> Any:
    raise AssertionError("generating passwords needs no look at the store")


def make_cloud(database: Database, *, vlans: int = 50, guest_cidr: str = "10.1.0.0/16") -> Cloud:
    """Zone `here`, offerings `small`, `large` and `tagged`, disk offerings `ten` and `any`, the public image `tiny`."""
    clock = VirtualClock()
    entropy = Entropy("cloud")
    nothing: Any = None
    cloud = Cloud(
        database,
        Surroundings(clock, entropy, Ids(clock, entropy.child("ids")), nothing, nothing),
    )
    with database.write() as tx:
        _fill_again(tx, cloud, vlans, guest_cidr)
    return cloud


@dataclass
class _Filled:
    """What `_fill` made in a SQLite database: rows by table, as they are stored, and the ids it drew, with their kinds."""

    tables: dict[str, list[tuple[Any, ...]]]
    drawn: list[tuple[str, str]]


_FILLED: dict[tuple[int, str], _Filled] = {}


def _fill_again(tx: Tx, cloud: Cloud, vlans: int, guest_cidr: str) -> None:
    """Each is like the one before, to the last id, and a thousand tests want one: only the first is made by the store."""
    if tx.dialect.name != "sqlite":
        _fill(tx, cloud, vlans, guest_cidr)
        return
    filled = _FILLED.get((vlans, guest_cidr))
    if filled is None:
        assert not _all_rows(tx), "the database is empty"
        ids = _Noting(cloud.around.ids)
        around: Any = replace(cloud.around, ids=ids)  # type: ignore[arg-type]
        _fill(tx, replace(cloud, around=around), vlans, guest_cidr)
        _FILLED[(vlans, guest_cidr)] = _Filled(_all_rows(tx), ids.drawn)
        return
    for kind, id_ in filled.drawn:
        assert cloud.around.ids.new(kind) == id_
    for table, rows in filled.tables.items():
        places = ", ".join("?" * len(rows[0]))
        tx.exec_driver_sql(f'insert into "{table}" values ({places})', rows)


def _all_rows(tx: Tx) -> dict[str, list[tuple[Any, ...]]]:
    found = {
        table.name: [tuple(row) for row in tx.exec_driver_sql(f'select * from "{table.name}"')]
        for table in schema.metadata.sorted_tables
    }
    return {name: rows for name, rows in found.items() if rows}


class _Noting:
    """Ids as they come, and which came."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self.drawn: list[tuple[str, str]] = []

    def new(self, kind: str) -> str:
        self.drawn.append((kind, self._ids.new(kind)))
        return self.drawn[-1][1]


def _fill(tx: Tx, cloud: Cloud, vlans: int, guest_cidr: str) -> None:
    now = cloud.around.clock.now()
    tx.execute(
        insert(schema.domain).values(id="domain-root", path="root", name="root", created_at=now)
    )
    tx.execute(
        insert(schema.account).values(
            id="account-root", domain="domain-root", name="root", created_at=now
        )
    )
    quotas.add(tx, AccountId("account-root"), {})
    here = ZoneId("zone-here")
    zones.add(tx, Zone(id=here, name="here", guest_cidr=guest_cidr, created_at=now))
    zones.add_tags(tx, here, Tags(100, 99 + vlans))
    range_ = PublicRange(
        id=RangeId("range-a"),
        zone=here,
        cidr="198.51.100.0/24",
        gateway="198.51.100.1",
        first="198.51.100.10",
        last="198.51.100.29",
        vlan=7,
        created_at=now,
    )
    public_ranges.add(tx, range_, cloud.around.ids.new)
    for name, cpus, memory, tags in (
        ("small", 1, 512, ()),
        ("large", 4, 4096, ()),
        ("tagged", 1, 512, ("ssd",)),
    ):
        offering = Offering(
            id=OfferingId(f"offering-{name}"),
            name=name,
            cpus=cpus,
            cpu_mhz=1000,
            memory_mib=memory,
            root_mib=1024,
            network_kbps=100_000,
            disk_iops=500,
            tags=tags,
            created_at=now,
        )
        offerings.add(tx, offering)
    for name, mib in (("ten", 10 * 1024), ("any", 0)):
        offerings.add_disk(
            tx,
            DiskOffering(id=f"diskoffering-{name}", name=name, mib=mib, created_at=now),  # type: ignore[arg-type]
        )
    add_image(tx, cloud, "tiny", AccountId("account-root"), public=True)


def add_image(
    tx: Tx,
    cloud: Cloud,
    name: str,
    account: AccountId,
    *,
    public: bool = False,
    parts: tuple[ImagePart, ...] = (DISK,),
    minimum_memory_mib: int = 0,
) -> ImageId:
    now = cloud.around.clock.now()
    id_ = ImageId(f"image-{name}")
    image = Image(
        id=id_,
        account=account,
        name=name,
        public=public,
        command_line="console=ttyS0" if KERNEL in parts else "",
        minimum_memory_mib=minimum_memory_mib,
        created_at=now,
    )
    images.add(tx, image)
    version = ImageVersion(
        image=id_, number=1, digest="d" * 64, parts=parts, bytes=MIB, created_at=now
    )
    images.add_version(tx, version)
    return id_
