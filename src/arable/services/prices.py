"""What one may ask of price lists. One that was made is never changed, and none holds in the past: what was used has its price."""

from collections.abc import Mapping

from arable.domain.access import Permission
from arable.domain.errors import BadInput, Conflict
from arable.domain.event import Event
from arable.domain.price import PriceList, parsed, written
from arable.domain.usage import ROOT, UsageKind
from arable.metering.rating import in_force
from arable.services.bills import number
from arable.services.call import Call
from arable.store import events, offerings, prices
from arable.wire.billing import PriceIn, PriceListIn, PriceListOut, PriceOut, PriceQuery
from arable.wire.common import Page


def page(call: Call, query: PriceQuery) -> Page[PriceListOut]:
    """All lists, by number."""
    call.caller.needs(Permission.BILLING_READ)
    found = prices.page(call.tx, after=number(query.after), limit=query.limit + 1)
    names, valid = offerings.names(call.tx), _in_force(call)
    shown = [_shape(each, names, valid) for each in found[: query.limit]]
    more = len(found) > query.limit
    return Page(items=shown, next=str(shown[-1].number) if more else None)


def put(call: Call, ask: PriceListIn) -> PriceListOut:
    """The next list."""
    call.caller.needs(Permission.BILLING_WRITE)
    now = call.around.clock.now()
    valid_from = now if ask.valid_from is None else ask.valid_from
    if valid_from < now:
        raise BadInput(
            "a list can't hold in the past: what was used then has its price", field="valid_from"
        )
    before = prices.every(call.tx)
    named = before[-1].currency if before else None
    if ask.currency is None and named is None:
        raise BadInput("the first list says in which currency", field="currency")
    if ask.currency is not None and named is not None and ask.currency != named:
        raise Conflict(f"the cloud's currency is {named}", field="currency")
    made = PriceList(
        number=prices.next_number(call.tx),
        valid_from=valid_from,
        currency=ask.currency or named or "",
        prices=_prices(call, ask),
        user=call.caller.user,
        created_at=now,
    )
    prices.add(call.tx, made)
    text = f"price list {made.number} holds from {valid_from:%Y-%m-%d %H:%M} UTC on"
    told = Event(at=now, account=None, kind="price.set", subject=str(made.number), text=text)
    events.add_many(call.tx, [told])
    return _shape(made, offerings.names(call.tx), _in_force(call))


def _prices(call: Call, ask: PriceListIn) -> Mapping[tuple[UsageKind, str], int]:
    made: dict[tuple[UsageKind, str], int] = {}
    for at, each in enumerate(ask.prices):
        key = (UsageKind(each.kind), _offering(call, each, f"prices.{at}.offering"))
        if key in made:
            raise BadInput("it has a price already, in the same list", field=f"prices.{at}")
        made[key] = parsed(each.amount, f"prices.{at}.amount")
    return made


def _offering(call: Call, ask: PriceIn, field: str) -> str:
    """Its id. One that is not for sale any more has machines, and a price, all the same."""
    if ask.offering is None:
        return ""
    kind = UsageKind(ask.kind)
    if kind in (UsageKind.ADDRESS, UsageKind.NETWORK):
        raise BadInput("public addresses and networks have no offerings", field=field)
    if kind is UsageKind.VOLUME and ask.offering == ROOT:
        return ROOT
    found = offerings.find(call.tx, ask.offering, disks=kind is UsageKind.VOLUME)
    if found is None:
        what = "disk offering" if kind is UsageKind.VOLUME else "offering"
        raise BadInput(f"there is no such {what}", field=field)
    return found


def _in_force(call: Call) -> int:
    valid = in_force(prices.every(call.tx), call.around.clock.now())
    return valid.number if valid else 0


def _shape(made: PriceList, names: Mapping[str, str], valid: int) -> PriceListOut:
    return PriceListOut(
        number=made.number,
        valid_from=made.valid_from,
        currency=made.currency,
        prices=[
            PriceOut(
                kind=kind.value,
                offering=offering,
                name=names.get(offering, offering),
                amount=written(micros),
            )
            for (kind, offering), micros in sorted(made.prices.items())
        ],
        in_force=made.number == valid,
        user=made.user,
        created_at=made.created_at,
    )
