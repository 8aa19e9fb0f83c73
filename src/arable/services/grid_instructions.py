"""Instructions to regions: given at the grid manager, signed by its authority, told to regions as facts of its own.

Here is also what a region does about them: by the same use cases that its operators have, with the same refusals.
"""

import base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from msgspec import UNSET, ValidationError, convert
from msgspec.structs import replace

from arable.domain.access import EVERYTHING, ROLES, Caller, Permission
from arable.domain.errors import BadInput, Conflict, Forbidden, NotFound
from arable.domain.event import Event
from arable.domain.ids import AccountId, DomainId, UserId
from arable.domain.instruction import Instruction, InstructionKind, InstructionState
from arable.domain.move import immovable
from arable.domain.region import MANAGER, Fact, FactKind, MemberState
from arable.services import accounts as of_accounts
from arable.services import domains as of_domains
from arable.services import grid_limits, limits
from arable.services import hosts as of_hosts
from arable.services.call import Call, GridRole, Surroundings
from arable.store import (
    accounts,
    audit,
    domains,
    drains,
    events,
    grid_facts,
    grid_members,
    hosts,
    instructions,
    zones,
)
from arable.store.database import Tx
from arable.store.schema import RESOURCES
from arable.store.zones import ZoneFilter
from arable.wire.accounts import AccountChange, AccountIn, DomainIn, LimitsChange
from arable.wire.common import Name, Page
from arable.wire.grid import ACCOUNT
from arable.wire.grid_instructions import (
    CancelInstructionIn,
    InstructedOut,
    InstructIn,
    InstructionOut,
    InstructionQuery,
)
from arable.wire.hosts import HostChange
from arable.wire.regions import FederationIn

_VIA = "grid"
_MOST_HOSTS = 100_000


def to(region: str) -> str:
    """The audience that is one region. No account's path is like it."""
    return f"@{region}"


def give(call: Call, ask: InstructIn) -> InstructionOut:
    """Tell regions. At the grid manager alone."""
    call.caller.needs(Permission.INFRA_WRITE)
    _only_grid(call)
    kind = InstructionKind(ask.kind)
    said = {name: value for name in RESOURCES if (value := getattr(ask, name)) is not UNSET}
    _check_said(kind, ask, said)
    if kind is not InstructionKind.EVACUATE and not ACCOUNT.fullmatch(ask.subject):
        raise BadInput("an account is named by its path: root/acme/acme", field="subject")
    now = call.around.clock.now()
    grid_facts.hold(call.tx)
    members = [m for m in grid_members.every(call.tx) if m.state is not MemberState.GONE]
    there = {member.name for member in members}
    for what in ("at", "origins"):
        for at, name in enumerate(getattr(ask, what)):
            if name not in there:
                raise BadInput("there is no such region in the grid", field=f"{what}.{at}")
    chosen = sorted(set(ask.at) or there)
    if not chosen:
        raise Conflict("there are no regions in the grid")
    id_ = call.around.ids.new("instruction")
    for region in chosen:
        one = Instruction(
            id=id_,
            region=region,
            number=instructions.last_number(call.tx, region) + 1,
            kind=kind,
            subject=ask.subject,
            limits={name: -1 if value is None else value for name, value in said.items()},
            origins=tuple(sorted(set(ask.origins))),
            stops=ask.stop,
            given_by=call.caller.name,
            given_at=now,
            expires_at=now + timedelta(seconds=ask.seconds),
        )
        instructions.give(call.tx, one)
        _say(call.tx, one, _body(call.around, one), now)
    text = f"{call.caller.name} told {', '.join(chosen)}: {kind} {ask.subject}"
    events.add_many(
        call.tx,
        [Event(at=now, account=None, kind="grid.instructed", subject="grid", text=text[:4000])],
    )
    return _shown(call, [id_])[0]


def _check_said(kind: InstructionKind, ask: InstructIn, said: dict[str, Any]) -> None:
    """What is said belongs to what is to be done."""
    if kind is InstructionKind.CAP and not said:
        raise BadInput("say which limits", field="machines")
    if said and kind not in (InstructionKind.CAP, InstructionKind.OPEN):
        raise BadInput(f"{kind} has no limits", field="machines")
    if (kind is InstructionKind.OPEN) != bool(ask.origins):
        told = f"{kind} has none" if ask.origins else "say from which regions it may be asked for"
        raise BadInput(told, field="origins")
    if kind is InstructionKind.OPEN:
        for part in ask.subject.split("/"):
            _name(part)
    if ask.stop and kind is not InstructionKind.EVACUATE:
        raise BadInput(f"{kind} stops nothing", field="stop")


def cancel(call: Call, ask: CancelInstructionIn) -> InstructionOut:
    """Take it back. At the grid manager alone."""
    call.caller.needs(Permission.INFRA_WRITE)
    _only_grid(call)
    now = call.around.clock.now()
    grid_facts.hold(call.tx)
    rows = instructions.given(call.tx, [ask.id])
    if not rows:
        raise NotFound("no such instruction")
    (before,) = _shown(call, [ask.id])
    if not any(instructions.is_open(each.state) for each in before.regions):
        raise Conflict("it is over in all regions that were told; what was done is not undone")
    instructions.cancel(call.tx, ask.id, now)
    for row in rows:
        _say(call.tx, instructions.one(row, row.region), None, now)
    text = f"{call.caller.name} took back: {rows[0].kind} {rows[0].subject}"
    events.add_many(
        call.tx,
        [Event(at=now, account=None, kind="grid.instruction-cancelled", subject="grid", text=text)],
    )
    return _shown(call, [ask.id])[0]


def page(call: Call, query: InstructionQuery) -> Page[InstructionOut]:
    """What was given, by age; at a region what it was told."""
    call.caller.needs(Permission.INFRA_READ)
    after, limit = query.after or "", query.limit
    if call.around.grid_role is GridRole.GRID:
        ids = instructions.page(call.tx, query.id, after=after, limit=limit + 1)
        shown = _shown(call, ids[:limit])
        return Page(items=shown, next=shown[-1].id if len(ids) > limit else None)
    link = grid_members.link(call.tx)
    rows = instructions.page_here(call.tx, query.id, after=after, limit=limit + 1)
    shown = [
        _out(
            row,
            [
                InstructedOut(
                    region=link.region if link else "",
                    number=row.number,
                    state=row.state,
                    told=row.told,
                    as_of=row.changed_at,
                )
            ],
            None,
        )
        for row in rows[:limit]
    ]
    return Page(items=shown, next=shown[-1].id if len(rows) > limit else None)


def heard(tx: Tx, region: str, facts: Iterable[Fact], now: datetime) -> None:
    """What a region has done with is told no more."""
    over = [
        fact.key
        for fact in facts
        if fact.kind is FactKind.INSTRUCTED
        and fact.body is not None
        and not instructions.is_open(fact.body["state"])
    ]
    told = grid_facts.some(tx, MANAGER, FactKind.INSTRUCTION, [_key(region, id_) for id_ in over])
    for row in instructions.given(tx, over) if told else ():
        if row.region == region and _key(region, row.id) in told:
            _say(tx, instructions.one(row, region), None, now)


def forget(tx: Tx, region: str, now: datetime) -> None:
    """A region that is removed is told nothing more."""
    for fact in grid_facts.of(tx, MANAGER, FactKind.INSTRUCTION):
        if fact.body["region"] == region:
            grid_limits.own(tx, FactKind.INSTRUCTION, fact.key, None, now, to(region))


@dataclass(frozen=True, slots=True)
class InstructionHands:
    """Does what a region was told, as an operator of that region would."""

    around: Callable[[], Surroundings]

    def begin(self, tx: Tx, one: Instruction) -> tuple[InstructionState, str]:
        """Do it. Raises what it is refused for."""
        call = self._call(tx, one)
        match one.kind:
            case InstructionKind.EVACUATE:
                zone = _zone(tx, one.subject)
                every = _hosts(tx, zone)
                for host in every:
                    if not host.maintenance or one.stops > host.maintenance_stops:
                        change = HostChange(maintenance=True, maintenance_stops=one.stops or UNSET)
                        of_hosts.update(call, host.id, change)
                answer = self.progress(tx, one)
            case InstructionKind.CAP:
                said = {name: None if most < 0 else most for name, most in one.limits.items()}
                limits.update(call, self._account(call, one).id, LimitsChange(**said))
                answer = InstructionState.DONE, "its limits are changed"
            case InstructionKind.SUSPEND | InstructionKind.RESUME:
                enabled = one.kind is InstructionKind.RESUME
                of_accounts.update(
                    call, self._account(call, one).id, AccountChange(enabled=enabled)
                )
                answer = InstructionState.DONE, f"its users are {'' if enabled else 'not '}let in"
            case InstructionKind.OPEN:
                answer = InstructionState.DONE, self._open(call, one)
        self._audit(call, one)
        return answer

    def progress(self, tx: Tx, one: Instruction) -> tuple[InstructionState, str]:
        """How far it is. Of those that can't leave is said so, and nobody waits for them."""
        try:
            every = _hosts(tx, _zone(tx, one.subject))
        except NotFound as error:
            return InstructionState.FAILED, error.public
        there = drains.left(tx, [host.id for host in every])
        left = [each for some in there.values() for each in some]
        stay = [each for each in left if immovable(each.stores)]
        told = f"{len(every)} hosts are to be empty; {len(left)} machines are still there"
        if stay:
            fate = "are stopped" if one.stops else "can't be moved while they run"
            told += f", {len(stay)} of them {fate}"
        if len(left) > (0 if one.stops else len(stay)):
            return InstructionState.RUNNING, told
        return InstructionState.DONE, told

    def _call(self, tx: Tx, one: Instruction) -> Call:
        rank, may = ROLES["operator"]
        own = accounts.get(tx, EVERYTHING, accounts.eldest(tx))
        caller = Caller(
            user=UserId(""),
            name=f"{one.given_by}@grid",
            account=own.id,
            domain=own.domain,
            path="root",
            role="operator",
            rank=rank,
            permissions=may,
            via=_VIA,
            source=MANAGER,
        )
        return Call(tx, caller, self.around())

    def _open(self, call: Call, one: Instruction) -> str:
        """Have the account, and let it be asked for from those regions besides those that may already."""
        found = accounts.by_path(call.tx, one.subject)
        if found is None:
            path, _, name = one.subject.rpartition("/")
            said = {what: None if most < 0 else most for what, most in one.limits.items()}
            ask = AccountIn(name=_name(name), domain=_domain(call, path))
            made = of_accounts.create(call, replace(ask, limits=LimitsChange(**said)), "")
            told, id_, origins = "it is made", AccountId(made.id), set(one.origins)
        else:
            told, id_ = "it was there, with its own limits", self._account(call, one).id
            origins = {*one.origins, *found.federated}
        origins.discard(one.region)
        of_accounts.federate(call, id_, FederationIn(origins=tuple(sorted(origins))))
        return f"{told}; it may be asked for from {', '.join(sorted(origins)) or 'nowhere else'}"

    @staticmethod
    def _account(call: Call, one: Instruction) -> Any:
        found = accounts.by_path(call.tx, one.subject)
        if found is None:
            raise NotFound(f"there is no account {one.subject} here")
        if found.id == call.caller.account:
            raise Forbidden("this region's operators' own account is nobody else's to change")
        return found

    def _audit(self, call: Call, one: Instruction) -> None:
        caller = call.caller
        entry = audit.Entry(
            at=call.around.clock.now(),
            account=caller.account,
            user=caller.name,
            via=caller.via,
            source=caller.source,
            request=one.id,
            action=f"grid.{one.kind}",
            target=one.subject,
            outcome="ok",
        )
        audit.add_many(call.tx, [entry])


def _domain(call: Call, path: str) -> DomainId:
    """The domain of that path, made with those above it if it is not there."""
    found = domains.by_path(call.tx, path)
    if found is not None:
        return found.id
    above, _, name = path.rpartition("/")
    if not above:
        raise NotFound(f"the root of all domains here is not {path}")
    ask = DomainIn(name=_name(name), parent=_domain(call, above))
    return DomainId(of_domains.create(call, ask).id)


def _name(text: str) -> str:
    """One part of a path, as it has to be for something new."""
    try:
        return convert(text, Name)
    except ValidationError as error:
        raise BadInput(f"{text!r} can't be a name: {error}", field="subject") from error


def _zone(tx: Tx, name: str) -> str:
    found = zones.page(tx, ZoneFilter(name=name), limit=1)
    if not found:
        raise NotFound(f"there is no zone named {name} here")
    return found[0].id


def _hosts(tx: Tx, zone: str) -> list[Any]:
    return hosts.page(tx, hosts.HostFilter(zone=zone), limit=_MOST_HOSTS)  # type: ignore[arg-type]


def _key(region: str, id_: str) -> str:
    return f"{region}|{id_}"


def _say(tx: Tx, one: Instruction, body: object, now: datetime) -> None:
    key = _key(one.region, one.id)
    grid_limits.own(tx, FactKind.INSTRUCTION, key, body, now, to(one.region))


def _body(around: Surroundings, one: Instruction) -> dict[str, Any]:
    return {
        "id": one.id,
        "region": one.region,
        "number": one.number,
        "kind": str(one.kind),
        "subject": one.subject,
        "limits": dict(one.limits),
        "origins": list(one.origins),
        "stops": one.stops,
        "given_by": one.given_by,
        "given_at": one.given_at.isoformat(),
        "expires_at": one.expires_at.isoformat(),
        "signature": base64.b64encode(around.authority.signature(one.signed())).decode(),
    }


def _shown(call: Call, ids: Sequence[str]) -> list[InstructionOut]:
    by: dict[str, list[Any]] = {}
    for row in instructions.given(call.tx, ids):
        by.setdefault(row.id, []).append(row)
    now = call.around.clock.now()
    said = {
        (region, fact.key): fact.body
        for id_ in ids
        for region, fact in grid_facts.page(
            call.tx, FactKind.INSTRUCTED, first=id_, last=f"{id_}\x01", limit=1000
        )
    }
    return [
        _out(
            rows[0],
            [_instructed(row, said.get((row.region, id_)), now) for row in rows],
            rows[0].cancelled_at,
        )
        for id_, rows in by.items()
    ]


def _instructed(row: Any, body: Any, now: datetime) -> InstructedOut:
    state, told, as_of = str(InstructionState.WAITING), "", None
    if body is not None:
        state, told, as_of = body["state"], body["told"], datetime.fromisoformat(body["at"])
    elif row.cancelled_at is not None:
        told = "taken back; the region has not said yet whether it had begun"
        state = str(InstructionState.CANCELLED)
    elif now >= row.expires_at:
        state, told = str(InstructionState.EXPIRED), "the region was not heard of it in time"
    return InstructedOut(region=row.region, number=row.number, state=state, told=told, as_of=as_of)


def _out(row: Any, regions: Sequence[InstructedOut], cancelled: datetime | None) -> InstructionOut:
    return InstructionOut(
        id=row.id,
        kind=row.kind,
        subject=row.subject,
        limits={name: None if most < 0 else most for name, most in row.limits.items()},
        origins=tuple(row.origins),
        stop=row.stops,
        given_by=row.given_by,
        given_at=row.given_at,
        expires_at=row.expires_at,
        cancelled_at=cancelled,
        regions=tuple(regions),
    )


def _only_grid(call: Call) -> None:
    if call.around.grid_role is not GridRole.GRID:
        raise Conflict("only the grid manager can instruct regions: ask it")
