"""A limit over all regions: each has a share of it, grants within that, and asks for more or gives back.

The grid manager keeps what it granted to each region, and grants no more than the limit leaves; a region never counts on
more than was granted. So the shares that are in force never come to more than the limit, whatever happens on the
way: messages that are lost, doubled, late, or overtaken.

What makes it so are numbers. A region that gives something back first holds itself to less, under its next serial, and
then says so. What is granted is granted to a serial: a region takes nothing that was granted to an earlier one, and the
grid manager believes nothing that was said under an earlier one. Under one serial shares only grow. Nothing here knows
how it is kept or sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

Amounts = Mapping[str, int]
"""By resource. What is missing is none."""

PARTS = 16
"""A region that uses anything keeps this part of the limit at hand, so that it need not ask for each machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a region may hold of an account's limits: as the region keeps it, and as the grid manager granted it."""

    serial: int = 0
    amounts: Amounts = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a region asks for: what it needs altogether, and what it would like to have at hand besides."""

    need: Amounts = field(default_factory=dict)
    spare: Amounts = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What is granted from now on; `short`: something that is needed was not there."""

    share: Share
    short: bool = False


def judge(
    granted: Share | None, said: Share, wish: Wish, limits: Amounts, others: Amounts, *, grow: bool
) -> Judged:
    """The grid manager's answer to a region that says what it has, and what it wishes.

    `others` is what all other regions were granted. Without `grow` nothing is added: it is not sure what others have.
    """
    if granted is not None and said.serial < granted.serial:
        return Judged(share=granted)  # said before something that is known already
    same = granted is not None and granted.serial == said.serial
    before = granted.amounts if granted is not None and same else {}
    amounts = {}
    short = False
    for name, limit in limits.items():
        base = max(said.amounts.get(name, 0), before.get(name, 0))
        free = max(0, limit - others.get(name, 0) - base) if grow else 0
        needed = max(0, wish.need.get(name, 0) - base)
        given = min(needed, free)
        short = short or given < needed
        over = max(0, wish.need.get(name, 0) + wish.spare.get(name, 0) - base - given)
        amounts[name] = base + given + min(over, (free - given) // 2)
    return Judged(share=Share(serial=said.serial, amounts=amounts), short=short)


def heard(own: Share, answer: Share) -> Share:
    """A region's share after an answer. One for an earlier serial changes nothing.

    A later serial than its own was never said by this store: it was set back, and what it has may be less by now.
    """
    if answer.serial < own.serial:
        return own
    if answer.serial > own.serial:
        least = {
            name: min(amount, answer.amounts.get(name, 0)) for name, amount in own.amounts.items()
        }
        return Share(serial=answer.serial + 1, amounts=least)
    most = {name: max(amount, answer.amounts.get(name, 0)) for name, amount in own.amounts.items()}
    return Share(serial=own.serial, amounts=most)


def lowered(own: Share, to: Amounts) -> Share:
    """A region holds itself to less from now on; more is never taken in this way."""
    amounts = {name: min(amount, to.get(name, amount)) for name, amount in own.amounts.items()}
    if amounts == own.amounts:
        return own
    return Share(serial=own.serial + 1, amounts=amounts)


def wish(used: Amounts, asked: Amounts, limits: Amounts, *, short: bool) -> Wish:
    """What a region wishes that uses so much, and was asked for so much more. `short`: others lack what is spare."""
    need = {}
    spare = {}
    for name, limit in limits.items():
        need[name] = min(limit, used.get(name, 0) + asked.get(name, 0))
        at_hand = 0 if short or not need[name] else max(1, limit // PARTS)
        spare[name] = min(at_hand, limit - need[name])
    return Wish(need=need, spare=spare)


def too_much(own: Share, wanted: Wish, *, short: bool) -> Amounts:
    """To what a region should hold itself; the same as it has where that is not far too much."""
    to = {}
    for name, amount in own.amounts.items():
        enough = wanted.need.get(name, 0) + wanted.spare.get(name, 0)
        room = 0 if short else wanted.spare.get(name, 0)
        to[name] = enough if amount > enough + room else amount
    return to


def lacks(own: Share, wanted: Wish) -> bool:
    """Whether it should ask at once: it has not got what it needs."""
    return any(own.amounts.get(name, 0) < amount for name, amount in wanted.need.items())


def runs_low(own: Share, wanted: Wish) -> bool:
    """Whether it may ask now and then: less than half of what it would like to have at hand is left."""
    return any(
        own.amounts.get(name, 0) < wanted.need.get(name, 0) + (amount + 1) // 2
        for name, amount in wanted.spare.items()
    )
