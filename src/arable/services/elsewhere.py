"""Calls for another region: passed on by the region that let the caller in, and done by the one that is meant.

The first region vouches for who asks, by its certificate of the grid's authority; it passes on no credential. The second
lets the caller be an account of its own only if its operators federated it with that region (`accounts.federate`), with
the rights of a customer at most and never more than the credential had. Nothing is federated without a word.
"""

import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from arable.domain.access import EVERYTHING, ROLES, Caller, Permission
from arable.domain.errors import BadInput, Forbidden, NotFound, Unavailable
from arable.domain.grid import PeerState
from arable.domain.ids import UserId
from arable.domain.region import FactKind, MemberState
from arable.services.call import GridDoor, GridRole, Surroundings
from arable.store import accounts, domains, grid, grid_facts, grid_members
from arable.store.database import Database, Tx
from arable.store.grid_members import Link
from arable.store.grid_own import path
from arable.wire.grid import PassIn, PassOut
from arable.wire.regions import IN_NO_GRID

_ROLE: Final = "customer"
_PASSED: Final = "region:"
_OWN: Final = {Permission.KEY_WRITE}
"""What is about users of this region: nobody of another one is any."""
_NOUNS: Final = (
    *("machines", "operations", "networks", "nics", "addresses", "rules", "balancers", "vpns"),
    *(
        "groups",
        "ssh-keys",
        "storage-zones",
        "volumes",
        "snapshots",
        "images",
        "image-parts",
        "image-uploads",
        "offerings",
        "disk-offerings",
    ),
    *("zones", "farms", "tiers", "blueprints", "image-catalogue"),
    *("events", "usage", "bills"),
)
_PATH: Final = re.compile(rf"/v1/({'|'.join(_NOUNS)})(/[0-9A-Za-z_-]+)*")
_STREAM: Final = re.compile(r"/v1/events/stream")
"""It has no end."""
_UPLOAD: Final = re.compile(r"/v1/images/[0-9A-Za-z_-]+/versions|/v1/image-parts")
_APPEND: Final = re.compile(r"/v1/image-uploads/[0-9A-Za-z_-]+")
_CONSOLE: Final = re.compile(r"/v1/machines/[0-9A-Za-z_-]+/console")
_LISTS: Final = re.compile(
    r"/v1/(machines|farms|tiers|networks|volumes|snapshots|addresses|balancers|operations|events|usage)"
)
EVERYWHERE: Final = "all"
"""Instead of a region's name: a list of all regions."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked here and is meant elsewhere, without who asks."""

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    waits: int = 0  # seconds


def own_name(database: Database) -> str:
    """What this region is called in its grid; empty: it is in none."""
    with database.read() as tx:
        link = grid_members.link(tx)
    return link.region if link else ""


def check(asked_path: str) -> None:
    """Raises `BadInput` for what can't be asked of another region."""
    if not _PATH.fullmatch(asked_path):
        raise BadInput(
            "this can't be asked of another region: ask that region itself", field="arable-region"
        )


def is_upload(method: str, asked_path: str) -> bool:
    """Whether the call brings a file, which nobody keeps on the way."""
    if method == "PATCH":
        return _APPEND.fullmatch(asked_path) is not None
    return method == "POST" and _UPLOAD.fullmatch(asked_path) is not None


def is_console(method: str, asked_path: str) -> bool:
    """Whether the call asks for a ticket to a console."""
    return method == "POST" and _CONSOLE.fullmatch(asked_path) is not None


def is_stream(method: str, asked_path: str) -> bool:
    """Whether the answer goes on until somebody ends it."""
    return method == "GET" and _STREAM.fullmatch(asked_path) is not None


@dataclass(frozen=True, slots=True)
class Near:
    """A region that may be asked for the caller's things, as it is known here. `why` is empty: it may be tried."""

    region: str
    state: str
    as_of: datetime | None
    own: bool = False
    why: str = ""


def check_everywhere(method: str, asked_path: str) -> None:
    """Raises `BadInput` for what can't be asked of all regions at once."""
    if method != "GET" or not _LISTS.fullmatch(asked_path):
        raise BadInput(
            "all regions can be asked for lists alone; say which region", field="arable-region"
        )


def near(database: Database, around: Surroundings, caller: Caller) -> list[Near]:
    """Where the caller's account may have anything: here, and in each region that said that it may be asked for.

    Those that were heard lately come first. Raises `NotFound` in no grid.
    """
    if is_from_elsewhere(caller):
        raise Forbidden("ask the region that knows you: what another one vouched for ends here")
    with database.read() as tx:
        link = grid_members.link(tx)
        if link is None or around.grid is None or around.grid_role is GridRole.GRID:
            raise NotFound(f"{IN_NO_GRID}, so there are no other regions")
        account = accounts.get(tx, EVERYTHING, caller.account)
        name = path(domains.get(tx, EVERYTHING, account.domain).path, account.name)
        with_it = {
            region
            for region, _fact in grid_facts.page(
                tx, FactKind.ACCOUNT, first=name, last=f"{name}\x01", limit=10_000
            )
        }
        members = grid_members.every(tx)
        urls = {peer.name: peer.url for peer in grid.peers(tx)}
    found = []
    for member in members:
        if member.state is MemberState.GONE:
            continue
        if member.name == link.region:
            found.append(Near(member.name, str(MemberState.REACHED), around.clock.now(), own=True))
        elif member.name in with_it:
            why = "" if urls.get(member.name) else "it has no grid port"
            found.append(Near(member.name, str(member.state), member.heard_at, why=why))
    if not any(each.own for each in found):
        found.append(Near(link.region, str(MemberState.REACHED), around.clock.now(), own=True))
    return sorted(found, key=lambda each: (not each.own, each.state != "reached", each.region))


def carry(
    database: Database, around: Surroundings, caller: Caller, region: str, asked: Asked
) -> PassOut:
    """Ask that region, and give its answer. Blocks for as long as that takes.

    Raises `NotFound` for a region that the grid does not have, `Unavailable` when it can't be reached from here.
    """
    by, ask = passing(database, around, caller, region, asked)
    return by.door.carry(by.link, by.url, region, ask, asked.waits)


def send(
    database: Database,
    around: Surroundings,
    caller: Caller,
    region: str,
    asked: Asked,
    pieces: Iterator[bytes],
) -> PassOut:
    """The same with a file, piece by piece as it comes. What `pieces` raises ends it, there too."""
    by, ask = passing(database, around, caller, region, asked)
    return by.door.send(by.link, by.url, region, ask, pieces)


@dataclass(frozen=True, slots=True)
class Way:
    """To another region's grid port."""

    door: GridDoor
    link: Link
    url: str


def way(tx: Tx, around: Surroundings, region: str) -> Way:
    """Raises `NotFound` for a region that the grid does not have, `Unavailable` for one that can't be asked."""
    link = grid_members.link(tx)
    if link is None or around.grid is None or around.grid_role is GridRole.GRID:
        raise NotFound(f"{IN_NO_GRID}, so there are no other regions")
    peer = grid.peer(tx, region)
    if peer.state is PeerState.GONE:
        raise NotFound(f"{region} is not in the grid any more")
    if not peer.url:
        raise Unavailable(f"{region} has no grid port, so it can't be asked from here")
    return Way(around.grid, link, peer.url)


def passing(
    database: Database, around: Surroundings, caller: Caller, region: str, asked: Asked
) -> tuple[Way, PassIn]:
    """How that region is asked, and what it is to be told. Raises as `carry` does, `Forbidden` for whom another one vouched for."""
    check(asked.path)
    if is_from_elsewhere(caller):
        raise Forbidden("ask the region that knows you: what another one vouched for ends here")
    with database.read() as tx:
        found = way(tx, around, region)
        account = accounts.get(tx, EVERYTHING, caller.account)
        domain = domains.get(tx, EVERYTHING, account.domain)
    ask = PassIn(
        account=path(domain.path, account.name),
        user=caller.name,
        permissions=tuple(sorted(map(str, caller.permissions))),
        method=asked.method,
        path=asked.path,
        query=asked.query,
        headers=asked.headers,
        body=asked.body,
    )
    return found, ask


def caller(tx: Tx, region: str, ask: PassIn) -> Caller:
    """Whom somebody of that region may be here. Raises `Forbidden` with what an operator can do about it."""
    check(ask.path)
    return vouched(tx, region, ask.account, ask.user, ask.permissions, via=f"{_PASSED}{region}")


def vouched(
    tx: Tx, region: str, path: str, user: str, permissions: Collection[str], via: str
) -> Caller:
    """Whom a user of that region's account of that path may be here. Raises `Forbidden` as `caller` does."""
    account = accounts.by_path(tx, path)
    if account is None or not account.enabled or region not in account.federated:
        raise Forbidden(
            f"the account {path} may not be asked for from {region} here; an operator of this region can"
            f" say so: arable account federate {path.rpartition('/')[2]} --origin {region}; operators' own accounts"
            " are nobody's elsewhere, so who operates several regions signs in at each"
        )
    rank, may = ROLES[_ROLE]
    mark = hashlib.sha256(f"{region}\n{path}\n{user}".encode()).hexdigest()[:20]
    said = set(permissions)
    return Caller(
        user=UserId(f"user-{mark}"),
        name=f"{user}@{region}",
        account=account.id,
        domain=account.domain,
        path="",
        role=_ROLE,
        rank=rank,
        permissions=frozenset(each for each in may - _OWN if str(each) in said),
        via=via,
        source=region,
    )


def origin(caller: Caller) -> str:
    """The region that passed on what this caller asks; empty: it was asked here."""
    return caller.via.removeprefix(_PASSED) if caller.via.startswith(_PASSED) else ""


def is_from_elsewhere(caller: Caller) -> bool:
    """Whether another region vouched for it: then this one vouches for it nowhere."""
    return caller.via.startswith((_PASSED, "sign-on:"))
