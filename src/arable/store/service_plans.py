"""How service plans are kept."""

from sqlalchemy import select

from arable.domain.errors import Conflict
from arable.domain.ids import PlanId
from arable.domain.plan import ServicePlan
from arable.store import kept
from arable.store import schema as t
from arable.store.database import Tx

WHAT = "service plan"
_c = t.service_plan.c


def get(tx: Tx, plan: PlanId, *, lock: bool = False) -> ServicePlan:
    """Raises `NotFound`."""
    return kept.get(tx, t.service_plan, ServicePlan, WHAT, _c.id == plan, lock=lock)


def find(tx: Tx, ref: str) -> ServicePlan | None:
    """By id or name."""
    row = tx.execute(select(t.service_plan).where((_c.id == ref) | (_c.name == ref))).first()
    return None if row is None else kept.value(ServicePlan, row)


def page(tx: Tx, name: str | None, *, after: str | None, limit: int) -> list[ServicePlan]:
    """By age."""
    conditions = [] if name is None else [_c.name == name]
    return kept.page(tx, t.service_plan, ServicePlan, conditions, after=after, limit=limit)


def add(tx: Tx, plan: ServicePlan) -> None:
    """A new one; its name must be free."""
    if find(tx, plan.name) is not None:
        raise Conflict(f"there is a service plan named {plan.name} already", field="name")
    kept.add(tx, t.service_plan, plan)


def save(tx: Tx, plan: ServicePlan) -> None:
    """The next generation."""
    kept.save(tx, t.service_plan, plan, WHAT)


def remove(tx: Tx, plan: ServicePlan) -> None:
    """Forget one; farms that were ordered by it stay as they are."""
    kept.forget(tx, t.service_plan, plan, WHAT)
