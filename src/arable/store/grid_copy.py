"""A region's copy of what the grid manager told it of others: written as it comes, in the grid manager's order.

The order is that of its numbers, and each answer is applied once: the cursor that was asked from must still be the one
that is kept. So nothing here compares versions; that was done where all of it is known.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import delete, select, tuple_

from arable.domain.grid import CatalogueChange, CataloguedVersion, Peer, PeerState, VersionKey
from arable.domain.manifest import ImagePart
from arable.domain.region import MANAGER, Fact, FactKind, Member, MemberState
from arable.store import grid, grid_facts, grid_members, shares
from arable.store import schema as t
from arable.store.database import Tx

_v, _f = t.grid_version.c, t.grid_fact.c
_STATES = {
    MemberState.REACHED: PeerState.REACHED,
    MemberState.SILENT: PeerState.SILENT,
    MemberState.GONE: PeerState.GONE,
}


def members(tx: Tx, own: str, told: Sequence[Member], authority: str, fingerprint: str) -> None:
    """Who is in the grid. What regions said that are gone is forgotten."""
    grid_members.replace_all(tx, told)
    known = {peer.name: peer for peer in grid.peers(tx)}
    changed = []
    for member in told:
        if member.name == own:
            continue
        old = known.get(member.name)
        state = _STATES[member.state]
        if state is PeerState.GONE and (old is None or old.state is not PeerState.GONE):
            _forget(tx, member.name)
        now = Peer(
            name=member.name,
            url=f"https://{member.url}" if member.url else "",
            fingerprint=fingerprint,
            authority=authority,
            state=state,
            seen_at=member.heard_at if old is None else old.seen_at,
        )
        if now != old:
            changed.append(now)
    if changed:
        grid.put_peers(tx, changed)
    for name in known.keys() - {member.name for member in told}:
        grid.forget_peer(tx, name)
        grid_facts.forget(tx, name)


def tell(tx: Tx, own: str, told: Mapping[str, Sequence[Fact]], at: datetime, *, full: bool) -> None:
    """What regions said, by region. `full`: and nothing else is the case."""
    known = grid.known(tx)
    if full:
        tx.execute(delete(t.grid_fact).where(_f.region != own))
        for region in (known.keys() | told.keys()) - {own, MANAGER}:
            _all_images(tx, region, known, told.get(region, ()), at)
    if full and MANAGER not in told:
        shares.told(tx, None)
    for region, facts in told.items():
        if region == own:
            continue
        others = [fact for fact in facts if fact.kind is not FactKind.IMAGE]
        grid_facts.put(tx, region, [fact for fact in others if fact.body is not None])
        gone = [fact for fact in others if fact.body is None]
        for fact in gone:
            tx.execute(
                delete(t.grid_fact).where(
                    _f.region == region, _f.kind == str(fact.kind), _f.key == fact.key
                )
            )
        if region == MANAGER:
            shares.told(tx, None if full else [f.key for f in facts if f.kind is FactKind.LIMIT])
        elif not full:
            _images(tx, region, known, [f for f in facts if f.kind is FactKind.IMAGE], at)


def _forget(tx: Tx, region: str) -> None:
    """It holds nothing any more; that there was such a region stays known."""
    known = grid.known(tx)
    grid_facts.forget(tx, region)
    if region in known:
        grid.replace_region(tx, region, known[region][0] + 1, (), (), known[region][1])


def _all_images(
    tx: Tx,
    region: str,
    known: Mapping[str, tuple[int, datetime]],
    facts: Iterable[Fact],
    at: datetime,
) -> None:
    versions = [_version(region, fact.body) for fact in facts if fact.kind is FactKind.IMAGE]
    number = known[region][0] + 1 if region in known else 1
    grid.replace_region(tx, region, number, versions, _parts(versions), at)


def _images(
    tx: Tx,
    region: str,
    known: Mapping[str, tuple[int, datetime]],
    facts: Sequence[Fact],
    at: datetime,
) -> None:
    """The number is counted here: it says that one change follows another, which the cursor has made sure of."""
    if not facts:
        return
    put = [_version(region, fact.body) for fact in facts if fact.body is not None]
    if region not in known:
        grid.replace_region(tx, region, 1, put, _parts(put), at)
        return
    dropped = [_key(fact.key) for fact in facts if fact.body is None]
    touched = [
        *dropped,
        *(VersionKey(account=v.account, image=v.image, number=v.number) for v in put),
    ]
    before = _held(tx, region, touched)
    change = CatalogueChange(
        region=region,
        number=known[region][0] + 1,
        put=tuple(put),
        dropped=tuple(dropped),
        parts=tuple(sorted(_parts(put))),
    )
    grid.apply(tx, change, at)
    left = before - _parts(put)
    if left:
        left -= _held(tx, region)
    if left:
        gone = CatalogueChange(
            region=region, number=known[region][0] + 2, parts_gone=tuple(sorted(left))
        )
        grid.apply(tx, gone, at)


def _held(tx: Tx, region: str, keys: Sequence[VersionKey] | None = None) -> set[str]:
    """Parts of these versions of a region, or of all."""
    query = select(_v.parts).where(_v.region == region)
    if keys is not None:
        if not keys:
            return set()
        wanted = [(key.account, key.image, key.number) for key in keys]
        query = query.where(tuple_(_v.account, _v.image, _v.number).in_(wanted))
    return {part["sha256"] for parts in tx.execute(query).scalars() for part in parts}


def _parts(versions: Iterable[CataloguedVersion]) -> set[str]:
    return {part.sha256 for version in versions for part in version.parts}


def _key(text: str) -> VersionKey:
    account, image, number = text.rsplit("|", 2)
    return VersionKey(account=account, image=image, number=int(number))


def _version(region: str, body: Any) -> CataloguedVersion:
    return CataloguedVersion(
        region=region,
        account=body["account"],
        image=body["image"],
        number=body["number"],
        digest=body["digest"],
        parts=msgspec.convert(body["parts"], tuple[ImagePart, ...]),
        public=body["public"],
        command_line=body["command_line"],
        minimum_memory_mib=body["minimum_memory_mib"],
        created_at=datetime.fromisoformat(body["created_at"]),
    )
