"""What the grid manager does for regions: lets them join, takes what they say, tells them what others said.

A region is who its certificate says, of the epoch that counts. What it tells is only ever of itself. Of other regions'
private things it is told only where it knows the account as its own, too (a fact of the kind `account`): nothing by
default.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import msgspec

from arable.domain.errors import BadInput, Conflict, Forbidden, Unauthenticated
from arable.domain.event import Event
from arable.domain.ids import RegionId
from arable.domain.region import (
    GRID_ONLY,
    Fact,
    FactKind,
    Member,
    MemberState,
    by_snapshot,
    news,
)
from arable.runtime import tokens
from arable.runtime.ca import IdentityKind
from arable.services import grid_evictions, grid_instructions, grid_limits
from arable.services.call import Surroundings
from arable.services.elsewhere import EVERYWHERE
from arable.store import events, evictions, grid_facts, grid_members, incarnations
from arable.store.columns import micros
from arable.store.database import Tx
from arable.store.grid_own import bill_key, image_key, policy_key
from arable.wire.grid import (
    ACCOUNT,
    BODIES,
    GRID_NAME,
    AccountBody,
    BillBody,
    EventBody,
    FactDoc,
    GridJoinIn,
    GridJoinOut,
    GridRenewIn,
    HeldBody,
    ImageBody,
    InstructedBody,
    InstructionBody,
    LimitBody,
    MemberDoc,
    PolicyBody,
    RefusedDoc,
    SyncIn,
    SyncOut,
)

CERTIFICATE_HOURS: Final = 30 * 24
GONE_KEPT: Final = timedelta(days=7)
"""For so long is known what is gone; who was away for longer hears all anew."""
AT_ONCE: Final = 2000
"""Facts in one answer, unless it is all of them."""
MOST: Final = 200_000
"""Facts of one region."""
_KEY_LENGTH: Final = 700
_SHOWN: Final = 20
_NO_ENTRY: Final = "this token does not count: it is unknown, was used, or its time is over"
_STRANGER: Final = "this region is not in the grid any more; join anew with a token"
_KINDS: Final = frozenset(str(kind) for kind in FactKind)


@dataclass(frozen=True, slots=True)
class Sender:
    """The region whose certificate was shown, and that certificate's epoch."""

    region: str
    epoch: int


def join(tx: Tx, around: Surroundings, ask: GridJoinIn) -> GridJoinOut:
    """A new region, or one that lost its certificate or was removed: its earlier certificates are worth nothing then.

    Whoever brings the very request that used the token gets its answer again: it may have been lost.
    """
    now = around.clock.now()
    try:
        said = tokens.join_token(ask.token)
    except Unauthenticated as error:
        raise Unauthenticated(_NO_ENTRY) from error
    token = grid_members.token_by_hash(tx, said.digest)
    request_hash = hashlib.sha256(ask.request.encode(errors="surrogatepass")).hexdigest()
    if token is None or now >= token.expires_at:
        raise Unauthenticated(_NO_ENTRY)
    if ask.region == GRID_NAME:
        raise BadInput(f"{GRID_NAME} is the grid manager's own name", field="region")
    if ask.region == EVERYWHERE:
        raise BadInput(
            f"no region can be called {EVERYWHERE}: it means all of them", field="region"
        )
    if token.region not in (None, ask.region):
        raise Forbidden(f"this token is for the region {token.region} alone")
    member = grid_members.by_name(tx, ask.region, lock=True)
    if token.used_at is not None:
        if member is None or token.used_by != member.id or token.request_hash != request_hash:
            raise Unauthenticated(_NO_ENTRY)
        return _welcome(around, member, ask.request)
    if member is not None and member.state is not MemberState.GONE and token.region is None:
        raise Conflict(
            f"the grid has a region named {ask.region}; if this is it, have a token made for it by name",
            field="region",
        )
    if member is None:
        member = Member(
            id=RegionId(around.ids.new("region")), name=ask.region, heard_at=now, created_at=now
        )
        answer = _welcome(around, member, ask.request)
        grid_members.add(tx, member)
    else:
        member = replace(
            member, state=MemberState.REACHED, epoch=member.epoch + 1, heard_at=now, knows=""
        )
        evictions.forget(tx, member.name)
        answer = _welcome(around, member, ask.request)
        grid_members.save(tx, member)
    if not grid_members.use_token(tx, token.id, member.id, request_hash, now):
        raise Unauthenticated(_NO_ENTRY)
    tell(tx, member, "region.joined", f"{member.name} joined the grid", now)
    return answer


def renew(tx: Tx, around: Surroundings, sender: Sender, ask: GridRenewIn) -> GridJoinOut:
    """A fresh certificate for a region that counts."""
    return _welcome(around, _member(tx, sender), ask.request)


def take(tx: Tx, around: Surroundings, sender: Sender, ask: SyncIn) -> SyncOut:
    """Keep what is new of the sender, and tell it what is new of others. The same again does no harm."""
    now = around.clock.now()
    member = _member(tx, sender, lock=True)
    had = member.seen
    facts, refused = _checked(ask.facts)
    kept = _kept(tx, member, ask.snapshot, facts, [(each.kind, each.key) for each in refused])
    _set_aside(tx, member, refused, facts, ask.snapshot is not None, now)
    if kept:
        first = grid_facts.numbers(tx, len(kept))
        grid_facts.put(tx, member.name, kept, first)
    seen = max((doc.version for doc in ask.facts), default=0)
    member = replace(
        member,
        url=ask.url,
        software=ask.software,
        state=MemberState.REACHED,
        heard_at=now,
        seen=max(member.seen, seen, ask.snapshot or 0),
        floor=max(member.floor, ask.snapshot or 0),
        knows=ask.incarnation,
    )
    last, _ = grid_facts.counted(tx)
    if any(fact.kind is FactKind.ACCOUNT for fact in kept):
        member = replace(member, resync=last)
    if ask.snapshot is not None and kept is not None:
        _sweep(tx, member, now)
    grid_members.save(tx, member)
    evictions.end(tx, member.name, ask.over)
    grants = grid_evictions.judge(tx, member, ask.evict, now)
    grid_instructions.heard(tx, member.name, kept, now)
    shares = grid_limits.judge(tx, member, ask.shares, now)
    answer = _answer(tx, member, had, ask, now)
    return msgspec.structs.replace(
        answer,
        grants=grants,
        over=ask.over,
        refused=tuple(refused[:_SHOWN]),
        shares=shares,
        short=grid_limits.short(tx, now),
    )


def _kept(
    tx: Tx,
    member: Member,
    snapshot: int | None,
    facts: list[Fact],
    unread: Sequence[tuple[str, str]],
) -> list[Fact]:
    if snapshot is None:
        known = grid_facts.known(tx, member.name, (fact.at for fact in facts))
        return news(known.versions, member.floor, facts)
    if snapshot <= member.floor:
        return []
    known = grid_facts.known(tx, member.name)
    return by_snapshot(known.versions, known.live, snapshot, facts, frozenset(unread))


def _set_aside(
    tx: Tx,
    member: Member,
    refused: Sequence[RefusedDoc],
    facts: Sequence[Fact],
    whole: bool,
    now: datetime,
) -> None:
    """One fact that nobody can read is no reason to hear nothing else of a region: it is put aside, and told."""
    if not refused and not whole and not grid_facts.any_aside(tx, member.name):
        return
    before = grid_facts.aside(tx, member.name)
    new = [each for each in refused if before.get((each.kind, each.key), "") != each.told]
    good = None if whole else [fact.at for fact in facts]
    grid_facts.put_aside(tx, member.name, refused, good, now)
    for each in new[:_SHOWN]:
        text = f"{member.name} said of {each.kind} {each.key} what can't be read: {each.told}"
        tell(tx, member, "region.fact-refused", text, now)


def label(tx: Tx, member: Member, labels: Iterable[str]) -> Member:
    """It has these labels from now on, by which policies may mean it."""
    member = replace(member, labels=tuple(sorted(set(labels))))
    grid_members.save(tx, member)
    return member


def _answer(tx: Tx, member: Member, had: int, ask: SyncIn, now: datetime) -> SyncOut:
    name = incarnations.current(tx)
    last, swept = grid_facts.counted(tx)
    cursor = ask.cursor if ask.incarnation == name and ask.cursor <= last else 0
    if cursor < max(swept, member.resync):
        cursor = 0
    accounts = grid_facts.keys(tx, member.name, FactKind.ACCOUNT) | {
        grid_instructions.to(member.name)
    }
    full = cursor == 0
    found = grid_facts.since(tx, member.name, cursor, accounts, None if full else AT_ONCE + 1)
    more = not full and len(found) > AT_ONCE
    found = found[:AT_ONCE] if more else found
    return SyncOut(
        incarnation=name,
        had=had,
        seen=member.seen,
        cursor=found[-1].seq if more else last,
        at=now,
        members=tuple(member_doc(each, now) for each in grid_members.every(tx)),
        facts=tuple(fact_doc(each.fact, each.region) for each in found),
        full=full,
        more=more,
    )


def remove(tx: Tx, member: Member, now: datetime) -> None:
    """It is in the grid no more: nothing that it says counts, and others forget what it said."""
    grid_facts.forget(tx, member.name)
    grid_facts.put_aside(tx, member.name, (), None, now)
    evictions.forget(tx, member.name)
    grid_limits.forget(tx, member.name)
    grid_instructions.forget(tx, member.name, now)
    grid_facts.swept(tx, grid_facts.numbers(tx, 1))  # others hear all anew, whatever they missed
    gone = replace(member, state=MemberState.GONE, epoch=member.epoch + 1, seen=0, floor=0)
    grid_members.save(tx, gone)
    tell(tx, member, "region.removed", f"{member.name} was removed from the grid", now)


def tell(tx: Tx, member: Member, kind: str, text: str, at: datetime) -> None:
    """An event, for operators."""
    events.add_many(tx, [Event(at=at, account=None, kind=kind, subject=member.id, text=text)])


def fact_doc(fact: Fact, region: str = "") -> FactDoc:
    """As it is said."""
    return FactDoc(
        kind=str(fact.kind),
        key=fact.key,
        version=fact.version,
        body=fact.body,
        audience=fact.audience,
        region=region,
    )


def member_doc(member: Member, now: datetime) -> MemberDoc:
    """As it is said."""
    return MemberDoc(
        id=member.id,
        name=member.name,
        url=member.url,
        software=member.software,
        state=str(member.state_at(now)),
        epoch=member.epoch,
        heard_at=member.heard_at,
        created_at=member.created_at,
        labels=member.labels,
    )


def facts_of(docs: Iterable[FactDoc]) -> list[Fact]:
    """Of kinds that we know."""
    return [
        Fact(
            kind=FactKind(doc.kind),
            key=doc.key,
            version=doc.version,
            body=doc.body,
            audience=doc.audience,
        )
        for doc in docs
        if doc.kind in _KINDS
    ]


def _checked(docs: tuple[FactDoc, ...]) -> tuple[list[Fact], list[RefusedDoc]]:
    """Those that can be read, and what is wrong with the others. Raises `BadInput` for versions that can't be."""
    if len(docs) > MOST:
        raise BadInput(f"a region says at most {MOST} facts", field="facts")
    good: list[FactDoc] = []
    refused: list[RefusedDoc] = []
    for at, doc in enumerate(docs):
        if doc.version < 1 or doc.version >= 1 << 62:
            raise BadInput("a fact has a version above 0", field=f"facts.{at}")
        told = _fault(doc)
        if told:
            kind, key = _plain(doc.kind, 63), _plain(doc.key, _KEY_LENGTH)
            refused.append(RefusedDoc(kind, key, doc.version, _plain(told, 255)))
        else:
            good.append(doc)
    return facts_of(good), refused


def _fault(doc: FactDoc) -> str:
    """What is wrong with a fact; empty: nothing."""
    if not 0 < len(doc.key) <= _KEY_LENGTH or not doc.key.isprintable():
        return f"a fact has a key of 1 to {_KEY_LENGTH} characters"
    kind = BODIES.get(doc.kind)
    if kind is None or doc.body is None:
        return ""
    try:
        body = msgspec.convert(doc.body, kind)
    except msgspec.ValidationError as error:
        return str(error)
    # What is not public is told to those alone who know the account.
    match body:
        case ImageBody():
            key, audience = image_key(body.account, body.image, body.number), body.account
        case PolicyBody():
            key, audience = policy_key(body.account, body.image), body.account
        case BillBody():
            if doc.key != bill_key(body.month, body.account):
                return "the key says another bill than the body"
            return _own_audience(doc, body.account)
        case LimitBody() | InstructionBody():
            return "this is the grid manager's to say"
        case InstructedBody() | EventBody():
            return "" if doc.audience == GRID_ONLY else "this is the grid manager's alone"
        case AccountBody():
            good = ACCOUNT.fullmatch(doc.key) and not doc.audience
            return "" if good else "an account is told by its path, to everybody"
        case HeldBody():
            return _own_audience(doc, doc.key)
        case _:
            return "only images are told to some alone" if doc.audience else ""
    if doc.key != key:
        return "the key says another image than the body"
    if doc.audience != ("" if body.public else audience):
        return "what is not public is its account's alone"
    return ""


def _own_audience(doc: FactDoc, account: str) -> str:
    """What is wrong with whom it is for, of what is an account's and never everybody's."""
    if doc.audience == GRID_ONLY or (account and doc.audience == account):
        return ""
    return "what accounts hold and owe is theirs, and the grid manager's"


def _plain(text: str, most: int) -> str:
    return "".join(each if each.isprintable() else " " for each in text)[:most]


def _sweep(tx: Tx, member: Member, now: datetime) -> None:
    newest = grid_facts.forget_gone(tx, member.name, min(member.floor, micros(now - GONE_KEPT)))
    if newest:
        grid_facts.swept(tx, newest)


def _member(tx: Tx, sender: Sender, *, lock: bool = False) -> Member:
    found = grid_members.by_name(tx, sender.region, lock=lock)
    if found is None or found.state is MemberState.GONE or found.epoch != sender.epoch:
        raise Forbidden(_STRANGER)
    return found


def _welcome(around: Surroundings, member: Member, request: str) -> GridJoinOut:
    certificate = around.authority.sign(
        request, member.name, IdentityKind.REGION, CERTIFICATE_HOURS, epoch=member.epoch
    )
    return GridJoinOut(
        id=member.id,
        region=member.name,
        certificate=certificate,
        authorities=(around.authority.pem,),
    )
