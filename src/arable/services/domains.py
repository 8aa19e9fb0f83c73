"""The tree of domains, as far as the caller sees it."""

from arable.domain.access import Permission
from arable.domain.account import DEEPEST, Domain
from arable.domain.errors import BadInput, Conflict
from arable.domain.ids import DomainId
from arable.services.asks import check_expected
from arable.services.call import Call
from arable.services.pages import paged
from arable.store import domains
from arable.wire.accounts import DomainIn, DomainOut, DomainQuery
from arable.wire.common import Page


def page(call: Call, query: DomainQuery) -> Page[DomainOut]:
    """Those that the caller sees."""
    call.caller.needs(Permission.ACCOUNT_READ)
    found = domains.page(
        call.tx,
        call.caller.scope,
        parent=query.parent,
        name=query.name,
        after=query.after,
        limit=query.limit + 1,
    )
    return paged(found, query, shown)


def get(call: Call, domain: DomainId) -> DomainOut:
    """One of them."""
    call.caller.needs(Permission.ACCOUNT_READ)
    return shown(domains.get(call.tx, call.caller.scope, domain))


def create(call: Call, ask: DomainIn) -> DomainOut:
    """Another one, below one that the caller sees."""
    call.caller.needs(Permission.ACCOUNT_WRITE)
    above = DomainId(ask.parent) if ask.parent is not None else call.caller.domain
    parent = domains.get(call.tx, call.caller.scope, above, lock=True)
    if parent.path.count("/") + 1 >= DEEPEST:
        raise BadInput(f"domains stand at most {DEEPEST} below each other", field="parent")
    domain = Domain(
        id=DomainId(call.around.ids.new("domain")),
        parent=parent.id,
        path=f"{parent.path}/{ask.name}",
        name=ask.name,
        created_at=call.around.clock.now(),
    )
    domains.add(call.tx, domain)
    return shown(domain)


def delete(call: Call, domain: DomainId) -> None:
    """Only when nothing is in it; the caller's own stays."""
    call.caller.needs(Permission.ACCOUNT_WRITE)
    found = domains.get(call.tx, call.caller.scope, domain, lock=True)
    check_expected(call, found.generation, domains.WHAT)
    if found.id == call.caller.domain or found.parent is None:
        raise Conflict("nobody removes their own domain, or the root")
    domains.remove(call.tx, found)


def shown(domain: Domain) -> DomainOut:
    """As it looks outside."""
    return DomainOut(
        id=domain.id,
        parent=domain.parent,
        path=domain.path,
        name=domain.name,
        generation=domain.generation,
        created_at=domain.created_at,
    )
