"""Copies of image versions that this region would let go, and at the grid manager those that regions may.

What was granted counts as gone until the region says that it is over. So whatever is lost, late or asked twice, of all
copies that count nobody may let go.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import and_, delete, exists, func, insert, select, true, update

from arable.domain.ids import AccountId, EvictionId, ImageId
from arable.domain.image import ImageVersion
from arable.domain.image_policy import Copy, EvictionState
from arable.domain.region import FactKind
from arable.store import images, kept
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.grid_members import TOPIC
from arable.store.many import among
from arable.store.nudges import nudge

_e, _v, _i, _g, _x = t.eviction.c, t.image_version.c, t.image.c, t.grid_eviction.c, t.transfer.c
_OPEN = (EvictionState.ASKED, EvictionState.LEAVING)
_OVER = (EvictionState.DONE, EvictionState.KEPT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Eviction:
    """A copy that is to be let go. `version`: of the facts with which its end is told."""

    id: EvictionId
    image: ImageId
    number: int
    key: str
    keys: tuple[str, ...]
    digest: str
    parts: tuple[str, ...]
    bytes: int
    why: str
    state: EvictionState
    version: int = 0
    erased: bool = False
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A public version that came from another region. `account` is its path."""

    copy: Copy
    owner: AccountId
    account: str
    image: str
    digest: str
    parts: tuple[str, ...]


def look(tx: Tx, now: datetime) -> list[Fetched]:
    """Public fetched versions that nothing here uses, since when each; which of them are used is noted besides.

    What is private is its account's, which pays for it and may delete it.
    """
    free = (_v.fetched, ~_v.pinned, ~_v.arriving, _i.public)
    query = (
        select(t.image_version, _i.account, _i.name, t.account.c.name, t.domain.c.path)
        .join(t.image, _i.id == _v.image)
        .join(t.account, t.account.c.id == _i.account)
        .join(t.domain, t.domain.c.id == t.account.c.domain)
        .where(*free)
    )
    rows = tx.execute(query).all()
    if not rows:
        return []
    used = _used(tx, {row.image for row in rows})
    found = []
    for row in rows:
        free_now = (row.image, row.number) not in used
        since = (row.unused_since or now) if free_now else None
        if since != row.unused_since:
            here = (_v.image == row.image, _v.number == row.number)
            tx.execute(update(t.image_version).where(*here).values(unused_since=since))
        if since is not None:
            copy = Copy(image=row.image, number=row.number, bytes=row.bytes, since=since)
            found.append(
                Fetched(
                    copy=copy,
                    owner=AccountId(row.account),
                    account=f"{row.path}/{row[-2]}",
                    image=row[-3],
                    digest=row.digest,
                    parts=tuple(part["sha256"] for part in row.parts),
                )
            )
    return found


def seen_used(tx: Tx, copy: Copy, at: datetime) -> None:
    """Something needs it, or nobody else has it: others are looked at before it is again."""
    here = (_v.image == copy.image, _v.number == copy.number)
    tx.execute(update(t.image_version).where(*here).values(unused_since=at))


def _used(tx: Tx, of: Collection[str]) -> set[tuple[str, int]]:
    """Versions of these images of which there are machines; disks and tiers are looked at before one goes."""
    machine = t.machine.c
    query = select(machine.image, machine.image_version).where(among(tx, machine.image, of))
    return {(image, number) for image, number in tx.execute(query.distinct())}


def add(tx: Tx, eviction: Eviction) -> None:
    """It is to be asked for."""
    tx.execute(insert(t.eviction).values(**asdict(eviction)))
    nudge(tx, TOPIC)


def of(tx: Tx, states: Iterable[EvictionState]) -> list[Eviction]:
    """Those in these states, the oldest first."""
    query = select(t.eviction).where(among(tx, _e.state, [str(each) for each in states]))
    return [kept.value(Eviction, row) for row in tx.execute(query.order_by(_e.id))]


def known(tx: Tx) -> set[tuple[ImageId, int]]:
    """Versions about which there is one, in whatever state."""
    return {(ImageId(image), number) for image, number in tx.execute(select(_e.image, _e.number))}


def become(tx: Tx, eviction: Eviction, state: EvictionState, at: datetime) -> bool:
    """The next state, unless it is in another one by now."""
    here = (_e.id == eviction.id, _e.state == eviction.state.value)
    values = {"state": state.value, "at": at, "version": 0}
    if state in _OVER:
        nudge(tx, TOPIC)
    return tx.execute(update(t.eviction).where(*here).values(**values)).rowcount == 1


def asked(tx: Tx) -> list[Eviction]:
    """What the grid manager is to be asked."""
    return of(tx, [EvictionState.ASKED])


def told_until(tx: Tx, version: int) -> list[EvictionId]:
    """Those that are over, as the grid manager knows once it has our facts up to that version."""
    states = among(tx, _e.state, [str(each) for each in _OVER])
    query = select(_e.id).where(states, _e.version > 0, _e.version <= version)
    return [EvictionId(id_) for id_ in tx.scalars(query.order_by(_e.id))]


def looked(tx: Tx, version: int) -> None:
    """What is over shows in our facts up to that version: images were looked at since."""
    states = among(tx, _e.state, [str(each) for each in _OVER])
    tx.execute(update(t.eviction).where(states, _e.version == 0).values(version=max(version, 1)))


def unlooked(tx: Tx) -> bool:
    """Whether something is over since images were looked at last."""
    states = among(tx, _e.state, [str(each) for each in _OVER])
    return tx.execute(select(_e.id).where(states, _e.version == 0).limit(1)).first() is not None


def understood(tx: Tx, ids: Sequence[str]) -> None:
    """The grid manager knows that these are over."""
    over = among(tx, _e.id, ids)
    tx.execute(delete(t.eviction).where(over, _e.state == EvictionState.KEPT.value))
    tx.execute(
        delete(t.eviction).where(over, _e.state == EvictionState.DONE.value, _e.erased == true())
    )
    tx.execute(update(t.eviction).where(over).values(version=-1))  # told, and not erased yet


def erased(tx: Tx, eviction: Eviction) -> None:
    """Its bytes are gone, too."""
    tx.execute(update(t.eviction).where(_e.id == eviction.id).values(erased=True))
    tx.execute(delete(t.eviction).where(_e.id == eviction.id, _e.version < 0))


def unknown(tx: Tx, ids: Iterable[str]) -> list[str]:
    """Those of these that are not here: they are over and told, and were asked for once more by a message that was late."""
    wanted = sorted(ids)
    known = set(tx.scalars(select(_e.id).where(among(tx, _e.id, wanted)))) if wanted else set()
    return [each for each in wanted if each not in known]


def forget_refused(tx: Tx, before: datetime) -> None:
    """They may be asked for again."""
    refused = (_e.state == EvictionState.REFUSED.value, _e.at < before)
    tx.execute(delete(t.eviction).where(*refused))


def give_up(tx: Tx, at: datetime) -> None:
    """Another store of the grid manager's than that which was asked: nothing that it granted counts.

    What is asked for is forgotten; what is leaving stays.
    """
    tx.execute(delete(t.eviction).where(_e.state == EvictionState.ASKED.value))
    for each in of(tx, [EvictionState.LEAVING]):
        keep(tx, each, at)


def hide(tx: Tx, eviction: Eviction, at: datetime) -> bool:
    """From now on nobody gets it: as if its bytes were elsewhere alone. False: it is not to go any more."""
    here = (_v.image == eviction.image, _v.number == eviction.number, _v.digest == eviction.digest)
    free = (_v.fetched, ~_v.pinned, ~_v.arriving)
    values = {"arriving": True}
    if tx.execute(update(t.image_version).where(*here, *free).values(**values)).rowcount != 1:
        return False
    nudge(tx, images.TOPIC)
    return become(tx, eviction, EvictionState.LEAVING, at)


def keep(tx: Tx, eviction: Eviction, at: datetime) -> None:
    """It stays: whoever wants it gets it again, unless somebody has it brought already."""
    under_way = exists().where(_x.image == eviction.image, _x.number == eviction.number)
    here = (_v.image == eviction.image, _v.number == eviction.number, _v.digest == eviction.digest)
    if eviction.state is EvictionState.LEAVING:
        changed = update(t.image_version).where(*here, ~under_way).values(arriving=False)
        tx.execute(changed)
        nudge(tx, images.TOPIC)
    become(tx, eviction, EvictionState.KEPT, at)


def leaving(tx: Tx, eviction: Eviction) -> ImageVersion | None:
    """That version, locked, if it is still hidden and nobody has it brought; None otherwise."""
    under_way = exists().where(_x.image == eviction.image, _x.number == eviction.number)
    query = select(t.image_version).where(
        *(_v.image == eviction.image, _v.number == eviction.number),
        *(_v.digest == eviction.digest, _v.arriving, _v.fetched, ~_v.pinned, ~under_way),
    )
    row = tx.execute(query.with_for_update()).first()
    return None if row is None else kept.value(ImageVersion, row)


def used_by(tx: Tx, version: ImageVersion) -> str:
    """What needs a version that would go; empty: nothing."""
    told = images.used_by(tx, version)
    body = t.blueprint_version.c.body
    if not told and tx.execute(select(exists().where(body.contains(version.image)))).scalar():
        return "blueprints name its image"
    return told


def let_go(tx: Tx, version: ImageVersion) -> None:
    """It is not here any more, and neither are its parts the account's that no other version of it has."""
    images.remove_version(tx, version)
    account = tx.execute(select(_i.account).where(_i.id == version.image)).scalar()
    part, image = t.image_version_part.c, t.image.c
    mine = t.image_part.c
    digests = [each.sha256 for each in version.parts]
    tx.execute(
        delete(t.image_part).where(
            mine.account == account,
            among(tx, mine.sha256, digests),
            ~exists().where(
                and_(part.sha256 == mine.sha256, part.image == image.id, image.account == account)
            ),
        )
    )


# --- at the grid manager


def granted(tx: Tx, region: str, id_: str) -> bool:
    """Whether that was granted before."""
    query = select(_g.id).where(_g.id == id_, _g.region == region)
    return tx.execute(query).first() is not None


def grants(tx: Tx, region: str, limit: int) -> list[str]:
    """What that region was granted, and of which it has not said that it is over."""
    query = select(_g.id).where(_g.region == region).order_by(_g.id).limit(limit)
    return list(tx.scalars(query))


def grant(tx: Tx, region: str, id_: str, key: str, digest: str, at: datetime) -> None:
    """It may go, and counts as gone."""
    values = {"id": id_, "region": region, "key": key, "digest": digest, "at": at}
    tx.execute(insert(t.grid_eviction).values(**values))


def end(tx: Tx, region: str, ids: Sequence[str]) -> None:
    """These are over: what the region says of itself is right again."""
    tx.execute(delete(t.grid_eviction).where(_g.region == region, among(tx, _g.id, ids)))


def forget(tx: Tx, region: str) -> None:
    """Nothing counts that this region was granted: it is another one now, or gone."""
    tx.execute(delete(t.grid_eviction).where(_g.region == region))


def holders(tx: Tx, regions: Iterable[str], keys: Iterable[str], digest: str) -> list[str]:
    """Those of these regions that said that they have it by one of these names, and were not granted to let it go."""
    f = t.grid_fact.c
    gone = exists().where(_g.region == f.region, _g.key == f.key)
    query = select(f.region, f.body).where(
        among(tx, f.region, regions),
        f.kind == str(FactKind.IMAGE),
        among(tx, f.key, keys),
        f.body.is_not(None),
        ~gone,
    )
    return sorted({r for r, body in tx.execute(query) if body.get("digest") == digest})


def open_bytes(tx: Tx) -> int:
    """Of all that is on its way out, and not erased."""
    states = among(tx, _e.state, [str(each) for each in (*_OPEN, EvictionState.DONE)])
    found = tx.execute(select(func.sum(_e.bytes)).where(states, _e.erased != true())).scalar()
    return int(found or 0)
