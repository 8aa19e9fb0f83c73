"""What one may ask of orders: order a farm, look how far it is, approve it, refuse it, withdraw it.

`controllers/orders.py` brings them further; `services/order_hands.py` evaluates and provisions in the customer's name.
"""

from dataclasses import replace
from datetime import datetime

import msgspec
from msgspec import structs

from arable.domain.access import Permission
from arable.domain.errors import BadInput, CloudError, Conflict
from arable.domain.farm import DEFAULT
from arable.domain.ids import AccountId, OrderId
from arable.domain.order import Order, OrderEvent
from arable.domain.price import written
from arable.metering.rating import MONTH_HOURS
from arable.services import farm_tiers, service_plans, ssh_keys
from arable.services.asks import begin, check_expected, tell
from arable.services.call import Call
from arable.services.pages import paged
from arable.services.passwords import Password
from arable.store import operations, orders, promises
from arable.store.orders import OrderFilter
from arable.wire.common import Page
from arable.wire.farms import FarmIn
from arable.wire.orders import OrderIn, OrderMadeOut, OrderOut, OrderQuery, ReviewIn
from arable.wire.ssh_keys import SshKeyIn


def page(call: Call, query: OrderQuery) -> Page[OrderOut]:
    """Orders in sight, by age."""
    call.caller.needs(Permission.FARM_READ)
    where = OrderFilter(
        account=AccountId(query.account) if query.account else None,
        farm=query.farm,
        states=query.state,
    )
    found = orders.page(call.tx, call.caller.scope, where, after=query.after, limit=query.limit + 1)
    until = promises.until(call.tx, [each.id for each in found])
    return paged(found, query, lambda order: shown(order, until.get(order.id)))


def get(call: Call, order: OrderId) -> OrderOut:
    """One."""
    call.caller.needs(Permission.FARM_READ)
    return _shown(call, orders.get(call.tx, call.caller.scope, order))


def create(call: Call, ask: OrderIn, password: Password | None = None) -> OrderMadeOut:
    """What is ordered is parsed now, and evaluated next. Nothing is made before it was found good.

    Tried, it is evaluated at once: the answer has its price, or is what it would be refused for.
    """
    call.caller.needs(Permission.FARM_WRITE)
    document = ask.document
    if document.name == DEFAULT:
        raise BadInput("the default farm is filled by hand", field="document.name")
    for at, tier in enumerate(document.tiers):
        if tier.region is not None:  # its room is another region's to promise
            raise BadInput("an order is for one region", field=f"document.tiers.{at}.region")
    plan = None
    if ask.plan is not None:
        plan = service_plans.chosen(call, ask.plan)
        document = service_plans.applied(plan, document)
    try:
        farm_tiers.check(document.name, document)
    except BadInput as error:
        raise BadInput(error.public, field=f"document.{error.field}") from error
    order = OrderId(call.around.ids.new("order"))
    private = None
    if ask.new_key:
        name = f"{document.name[:40]}-{order[-6:]}"
        made = ssh_keys.create(call, SshKeyIn(name=name))
        document = structs.replace(document, ssh_keys=(*document.ssh_keys, name))
        private = made.private_key
    account = call.caller.account
    operation = begin(call, "order.create", order, account, done=False)
    new = Order(
        id=order,
        account=account,
        user=call.caller.user,
        name=document.name,
        document=msgspec.json.decode(msgspec.json.encode(document)),
        plan=plan.name if plan else "",
        purchase_order=ask.purchase_order,
        card=ask.card,
        keys=tuple(_short(key) for key in document.ssh_keys),
        password=password.hash if password else "",
        operation=operation.id,
        created_at=call.around.clock.now(),
    )
    orders.add(call.tx, new)
    if call.dry_run:
        new = _evaluated(call, new)
    tell(call, account, "order.queued", order, f"{document.name}: ordered")
    return OrderMadeOut(
        operation=operation.id,
        order=shown(new),
        private_key=private,
        password=password.text.reveal() if password else None,
    )


def _evaluated(call: Call, order: Order) -> Order:
    """With its price. Raises what it would be refused for, of the document's fields."""
    from arable.services.order_hands import OrderHands  # which stands on this module

    try:
        cost, _room = OrderHands(lambda: call.around).evaluate(call.tx, order)
    except CloudError as error:
        error.field = f"document.{error.field}" if error.field else ""
        raise
    return replace(order, estimate=cost)


def approve(call: Call, order: OrderId, ask: ReviewIn) -> OrderOut:
    """Somebody has looked at it; its credit is checked next."""
    return _reviewed(call, order, ask, OrderEvent.APPROVE, "approved")


def refuse(call: Call, order: OrderId, ask: ReviewIn) -> OrderOut:
    """Somebody has looked at it, and nothing is made."""
    return _reviewed(call, order, ask, OrderEvent.REFUSE, "refused")


def withdraw(call: Call, order: OrderId) -> OrderOut:
    """Whoever ordered wants it no more. What is being provisioned already is changed as a farm."""
    call.caller.needs(Permission.FARM_WRITE)
    found = orders.get(call.tx, call.caller.scope, order, lock=True)
    check_expected(call, found.generation, orders.WHAT)
    now = call.around.clock.now()
    after = found.after(OrderEvent.WITHDRAW, now, told="withdrawn")
    orders.save(call.tx, after)
    promises.remove(call.tx, order)
    operations.fail(
        call.tx, found.operation, now, Conflict(f"the order of {found.name} was withdrawn")
    )
    tell(call, found.account, "order.withdrawn", order, f"{found.name}: withdrawn")
    return shown(after)


def _reviewed(call: Call, order: OrderId, ask: ReviewIn, event: OrderEvent, word: str) -> OrderOut:
    call.caller.needs(Permission.BILLING_WRITE)
    found = orders.get(call.tx, call.caller.scope, order, lock=True)
    check_expected(call, found.generation, orders.WHAT)
    if found.state != "reviewing":
        raise Conflict(f"the order is {found.state}; only one that is reviewed is {word} by hand")
    now = call.around.clock.now()
    after = found.after(event, now, told=ask.reason, reviewer=call.caller.name)
    orders.save(call.tx, after)
    text = f"{word}: {ask.reason}" if ask.reason else word
    if after.ended_at is None:
        operations.advance(call.tx, found.operation, text, now)
    else:
        promises.remove(call.tx, order)
        error = Conflict(f"the order of {found.name} was {text}")
        operations.fail(call.tx, found.operation, now, error)
    tell(call, found.account, f"order.{word}", order, f"{found.name}: {text}")
    return _shown(call, after)


def document_of(order: Order) -> FarmIn:
    """What is ordered."""
    return msgspec.convert(order.document, FarmIn)


def _short(key: str) -> str:
    """A key by its name, or by its comment: the answer is no place for the key itself."""
    return key if " " not in key else (key.split(None, 2)[2:] or ["a key"])[0]


def _shown(call: Call, order: Order) -> OrderOut:
    return shown(order, promises.until(call.tx, [order.id]).get(order.id))


def shown(order: Order, promised_until: datetime | None = None) -> OrderOut:
    """As it looks outside."""
    least, most = order.estimate.least, order.estimate.most
    return OrderOut(
        id=order.id,
        account=order.account,
        user=order.user,
        name=order.name,
        state=order.state.value,
        plan=order.plan,
        purchase_order=order.purchase_order,
        card=order.card,
        currency=order.estimate.currency,
        least_hour=written(least),
        most_hour=written(most),
        least_month=written(least * MONTH_HOURS),
        most_month=written(most * MONTH_HOURS),
        document=dict(order.document),
        farm=order.farm,
        operation=order.operation,
        told=order.told,
        reviewer=order.reviewer,
        keys=list(order.keys),
        has_password=bool(order.password),
        promised_until=promised_until,
        generation=order.generation,
        created_at=order.created_at,
        ended_at=order.ended_at,
    )
