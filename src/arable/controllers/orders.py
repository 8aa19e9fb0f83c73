"""Orders go their way: evaluated, held for review or passed, their credit checked, provisioned, answered.

The master does it, fenced as all it does is. What is next follows from the order's row, which is held meanwhile, and each
step is one transaction with all that comes of it; so one that was broken off is taken again, and none is taken twice.
What is asked in the customer's name is asked of `Hands`, and a refusal there undoes what was begun.
"""

import logging
from datetime import datetime, timedelta
from typing import Any, Protocol

from arable.domain.access import EVERYTHING
from arable.domain.errors import CloudError, Conflict, Unavailable
from arable.domain.event import Event
from arable.domain.ids import FarmId, OperationId
from arable.domain.operation import OperationState
from arable.domain.order import Estimate, Order, OrderEvent, OrderState, Promise, Room
from arable.domain.price import written
from arable.domain.settings import ORDER_HOLD_HOURS, ORDER_REVIEW
from arable.store import events, incarnations, operations, orders, promises, settings
from arable.store.database import Tx

log = logging.getLogger(__name__)

MOST = 20
"""Orders of one round: each is tried for real, which takes a while."""
SECONDS = 10
TOPIC = orders.TOPIC

_E, _S = OrderEvent, OrderState


class Hands(Protocol):
    """What can be asked in the name of who ordered."""

    def evaluate(self, tx: Tx, order: Order) -> tuple[Estimate, Room]:
        """What it costs, and takes. Raises what it is refused for, and leaves nothing behind."""

    def credit(self, tx: Tx, order: Order) -> str:
        """Why there is not enough credit; empty: there is."""

    def provision(self, tx: Tx, order: Order) -> tuple[FarmId, OperationId]:
        """Apply its farm: which one, and the operation that is done when it serves. Raises what is refused."""


def attend(hands: Hands, tx: Tx, at: datetime) -> int:
    """One step of each order that can go on; how many did."""
    if incarnations.taking_stock(tx):
        return 0
    promises.forget(tx, at)
    found = orders.waiting(tx, MOST)
    for order in found:
        try:
            with tx.begin_nested():
                _step(hands, tx, order, at)
        except CloudError as error:
            _refuse(tx, order, at, error)
    return len(found)


def _step(hands: Hands, tx: Tx, order: Order, at: datetime) -> None:
    match order.state:
        case _S.QUEUED:
            _evaluated(tx, order, *hands.evaluate(tx, order), at)
        case _S.APPROVED:
            if reason := hands.credit(tx, order):
                raise Conflict(reason)
            if promises.get(tx, order.id, at) is None:  # it ran out: is there room still?
                _promise(tx, order, hands.evaluate(tx, order)[1], at)
            farm, work = hands.provision(tx, order)
            promises.assign(tx, order.id, farm, _until(tx, at))
            after = order.after(_E.BEGIN, at, farm=farm, work=work, told="")
            _keep(tx, after, at, "its farm is being made")
        case _S.PROVISIONING:
            _provisioned(tx, order, at)
        case _:
            log.error("order %s is %s, which is nobody's to change", order.id, order.state)


def _until(tx: Tx, at: datetime) -> datetime:
    """For how long room is kept from now on."""
    return at + timedelta(hours=settings.get(tx, ORDER_HOLD_HOURS))


def _promise(tx: Tx, order: Order, room: Room, at: datetime) -> None:
    """Room is kept for it, if the operator wants so."""
    until = _until(tx, at)
    if until > at:
        promise = Promise(
            order=order.id,
            account=order.account,
            until=until,
            zone=room.zone,
            machines=room.machines,
            cpus=room.cpus,
            cpu_mhz=room.cpu_mhz,
            memory_mib=room.memory_mib,
        )
        promises.put(tx, promise)


def _evaluated(tx: Tx, order: Order, estimate: Estimate, room: Room, at: datetime) -> None:
    _promise(tx, order, room, at)
    review = settings.get(tx, ORDER_REVIEW) == "all"
    event, told = (_E.HOLD, "waits for somebody to review it") if review else (_E.CLEAR, "")
    after = order.after(event, at, estimate=estimate, told=told)
    cost = f"{written(estimate.least)} to {written(estimate.most)} {estimate.currency} an hour"
    _keep(tx, after, at, f"found good, {cost.strip()}")


def _provisioned(tx: Tx, order: Order, at: datetime) -> None:
    """The farm's operation is over, or was forgotten."""
    assert order.work, "it was begun"
    promises.remove(tx, order.id)
    ended = operations.get(tx, EVERYTHING, order.work)
    if ended.state is OperationState.DONE:
        after = order.after(_E.FINISH, at, told="")
        orders.save(tx, after)
        result: dict[str, Any] = {
            "order": order.id,
            "farm": order.farm,
            "ssh_keys": list(order.keys),
        }
        operations.finish(tx, order.operation, at, result)
        _tell(tx, after, at, "all of it serves")
        return
    why = ended.error.text if ended.error else "its farm could not be made"
    after = order.after(_E.FAIL, at, told=why)
    orders.save(tx, after)
    operations.fail(tx, order.operation, at, ended.error or Unavailable(why))
    _tell(tx, after, at, why)


def _refuse(tx: Tx, order: Order, at: datetime, error: CloudError) -> None:
    """Nothing of it was made."""
    promises.remove(tx, order.id)
    told = f"document.{error.field}: {error.public}" if error.field else error.public
    after = order.after(_E.REFUSE, at, told=told)
    orders.save(tx, after)
    operations.fail(tx, order.operation, at, error)
    _tell(tx, after, at, told)


def _keep(tx: Tx, order: Order, at: datetime, text: str) -> None:
    orders.save(tx, order)
    operations.advance(tx, order.operation, text, at)
    _tell(tx, order, at, text)


def _tell(tx: Tx, order: Order, at: datetime, text: str) -> None:
    data: dict[str, Any] = {"order": order.id, "purchase_order": order.purchase_order}
    told = Event(
        at=at,
        account=order.account,
        kind=f"order.{order.state}",
        subject=order.id,
        text=f"{order.name}: {text}"[:1000],
        data=data,
    )
    events.add_many(tx, [told])
