"""Whether a region may let its copy of an image version go: the grid manager's word, and nobody else's.

What it grants counts as gone in the same transaction, so of two regions that ask at once for the last two copies one is
refused. Only regions count that can be reached and whose last message was for this very store: one that may still act on
the word of an earlier one does not.
"""

from collections.abc import Sequence
from datetime import datetime

from arable.domain.image_policy import refusal
from arable.domain.region import Member, MemberState
from arable.domain.settings import GRID_IMAGE_COPIES
from arable.store import evictions, grid_facts, grid_members, incarnations, settings
from arable.store.database import Tx
from arable.wire.grid import EvictDoc, GrantDoc

MOST = 1000
"""Questions of one message; the others are asked again."""
_KEYS = 10  # names of one version


def judge(tx: Tx, member: Member, asks: Sequence[EvictDoc], now: datetime) -> tuple[GrantDoc, ...]:
    """An answer to each. The same question has the same answer while it is not over.

    What was granted before and is not over is said once more, for a question may have come late: whoever does not know
    what it is says that it is over.
    """
    name = incarnations.current(tx)
    if member.knows != name:
        return ()  # it asks again once it knows whom
    before = evictions.grants(tx, member.name, MOST)
    if not asks:
        return tuple(GrantDoc(id=each) for each in before)
    grid_facts.hold(tx)  # one message at a time, whatever regions they are of
    least = settings.get(tx, GRID_IMAGE_COPIES)
    count = [
        each.name
        for each in grid_members.every(tx)
        if each.state_at(now) is MemberState.REACHED and each.knows == name
    ]
    asked = {ask.id for ask in asks}
    answers = [GrantDoc(id=each) for each in before if each not in asked]
    for ask in asks[:MOST]:
        if not evictions.granted(tx, member.name, ask.id):
            keys = {ask.key, *ask.keys[:_KEYS]}
            others = evictions.holders(tx, count, keys, ask.digest)
            told = refusal(member.name, others, least)
            if told:
                answers.append(GrantDoc(id=ask.id, told=told))
                continue
            evictions.grant(tx, member.name, ask.id, ask.key, ask.digest, now)
        answers.append(GrantDoc(id=ask.id))
    return tuple(answers)
