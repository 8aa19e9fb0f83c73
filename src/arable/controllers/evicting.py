"""Lets copies go that came from other regions, nobody uses, and others have: only with the grid manager's word.

In steps, each of which can be cut off: asked for (`controllers/grid_sync.py` carries it), hidden, gone, erased, told. A
version that is hidden looks as if its bytes were elsewhere alone. So who deployed of it a moment before has time to show,
and who does now has it brought, which keeps it. When the grid manager can't be heard nothing is asked, and nothing goes.
"""

from datetime import datetime, timedelta

from arable.domain.event import Event
from arable.domain.ids import EvictionId
from arable.domain.image_policy import EvictionState, means, to_go, wanted
from arable.domain.settings import IMAGE_EVICT_PERCENT, IMAGE_EVICT_SECONDS
from arable.domain.units import MIB
from arable.runtime.entropy import Ids
from arable.store import events, evictions, grid, image_policies, images, settings
from arable.store.database import Tx
from arable.store.evictions import Eviction, Fetched
from arable.store.grid_own import image_key
from arable.wire.grid import SyncOut

SETTLES = timedelta(seconds=60)
"""For so long a version is hidden before it goes: longer than any request is under way."""
RESTS = timedelta(hours=1)
"""What was used not so long ago does not go for want of room, and what was refused is not asked for again."""
_AT_ONCE = 20
"""Copies that are looked at closely in one round: which volumes lie over them takes a look at all volumes."""


def choose(tx: Tx, ids: Ids, region: str, total: int, used: int, now: datetime) -> int:
    """Find copies that should go, and have the grid manager asked. `total` and `used`: bytes of the image store's disk."""
    evictions.forget_refused(tx, now - RESTS)
    found = evictions.look(tx, now)
    if not found:
        return 0
    percent, seconds = settings.get(tx, IMAGE_EVICT_PERCENT), settings.get(tx, IMAGE_EVICT_SECONDS)
    over = used - total * percent // 100 - evictions.open_bytes(tx) if percent < 100 else 0
    age = timedelta(seconds=seconds) if seconds else None
    known, needed = evictions.known(tx), demanded(tx, region, found)
    free = {
        (each.copy.image, each.copy.number): each
        for each in found
        if (each.copy.image, each.copy.number) not in known | needed
    }
    count = 0
    chosen = to_go((each.copy for each in free.values()), over, age, RESTS, now)
    for copy, why in chosen[:_AT_ONCE]:
        each = free[copy.image, copy.number]
        version = images.version(tx, copy.image, copy.number)
        elsewhere = {
            image_key(there.account, there.image, there.number)
            for there in grid.with_digest(tx, each.digest)
            if there.public and (there.image, there.number) == (each.image, copy.number)
        }
        if not elsewhere or evictions.used_by(tx, version):
            evictions.seen_used(tx, copy, now)
            continue
        evictions.add(
            tx,
            Eviction(
                id=EvictionId(ids.new("eviction")),
                image=copy.image,
                number=copy.number,
                key=image_key(each.account, each.image, copy.number),
                keys=tuple(sorted(elsewhere)),
                digest=each.digest,
                parts=each.parts,
                bytes=copy.bytes,
                why=why,
                state=EvictionState.ASKED,
                at=now,
            ),
        )
        count += 1
    return count


def demanded(tx: Tx, region: str, found: list[Fetched]) -> set[tuple[str, int]]:
    """Those of these versions that a policy wants here."""
    told = image_policies.told(tx)
    if not any(told.values()):
        return set()
    labels = image_policies.labels(tx, region)
    of = {(each.owner, each.image): each.copy.image for each in found}
    needed: set[tuple[str, int]] = set()
    for where, bodies in told.items():
        for body in bodies:
            image = of.get((image_policies.owner(tx, body["account"]), body["image"]))
            if image is None or not (
                where == region or means(body["at"], body["labels"], region, labels)
            ):
                continue
            here = [each.number for each in images.versions(tx, [image]).get(image, ())]
            there = [each.number for each in grid.find(tx, body["image"], account=body["account"])]
            numbers = wanted([*here, *there], body["versions"], body["upto"])
            needed |= {(image, number) for number in numbers}
    return needed


def heard(tx: Tx, incarnation: str, answer: SyncOut, at: datetime) -> list[str]:
    """What the grid manager said of copies that should go, and of those of which it now knows that they are.

    What it granted and nobody here knows any more: that is to be said, too.
    """
    if answer.incarnation != incarnation:
        evictions.give_up(tx, at)
        return []
    strange = evictions.unknown(tx, [each.id for each in answer.grants if not each.told])
    evictions.understood(tx, answer.over)
    if not answer.grants:
        return []
    said = {each.id: each.told for each in answer.grants}
    for each in evictions.asked(tx):
        if each.id not in said:
            continue
        if said[each.id]:
            evictions.become(tx, each, EvictionState.REFUSED, at)
        elif not evictions.hide(tx, each, at):
            evictions.keep(tx, each, at)
    return strange


def go(tx: Tx, region: str, now: datetime) -> int:
    """What was hidden for long enough goes, unless it is needed after all."""
    count = 0
    for each in evictions.of(tx, [EvictionState.LEAVING]):
        if now - each.at < SETTLES:
            continue
        version = evictions.leaving(tx, each)
        if version is None or evictions.used_by(tx, version):
            evictions.keep(tx, each, now)
            continue
        image = images.named_of(tx, each.image)
        evictions.let_go(tx, version)
        evictions.become(tx, each, EvictionState.DONE, now)
        text = (
            f"{image.name}/{each.number} ({each.bytes // MIB} MiB) was let go here, {region}: "
            f"{each.why}; other regions have it"
        )
        told = Event(
            at=now, account=image.account, kind="image.evicted", subject=image.id, text=text
        )
        events.add_many(tx, [told])
        count += 1
    return count
