"""How the documents that farms are laid out by are kept, and what farms have made by them."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from sqlalchemy import delete, exists, func, insert, select, update

from arable.domain.farm import FarmDocument, FarmState, Part, PartKind
from arable.domain.ids import FarmId, OperationId
from arable.domain.machine import MachineWish
from arable.store import kept, usage_records
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among
from arable.store.nudges import nudge
from arable.store.tiers import TOPIC

DONE = "farms-done"
"""Whoever ends changes of documents listens to it."""
_d, _p = t.farm_spec.c, t.farm_part.c


def of(tx: Tx, farms: Iterable[FarmId]) -> dict[FarmId, FarmDocument]:
    """The documents of those of these farms that have one. Whoever calls has looked the farms up with a scope."""
    rows = tx.execute(select(t.farm_spec).where(among(tx, _d.farm, farms)))
    return {row.farm: kept.value(FarmDocument, row) for row in rows}


def changing(tx: Tx, farms: Iterable[FarmId]) -> dict[FarmId, OperationId]:
    """Of those of these farms whose documents were changed, who waits for it."""
    query = select(_d.farm, _d.operation).where(
        among(tx, _d.farm, farms), _d.operation.is_not(None)
    )
    return {FarmId(farm): OperationId(operation) for farm, operation in tx.execute(query)}


def leaves(tx: Tx, farm: FarmId) -> bool:
    """Whether it was deleted."""
    state = tx.execute(select(_d.state).where(_d.farm == farm)).scalar()
    return state == FarmState.LEAVING.value


def held(tx: Tx, farm: FarmId) -> FarmDocument | None:
    """The farm's document, which nobody else changes before this transaction ends; None without one."""
    return held_of(tx, [farm]).get(farm)


def held_of(tx: Tx, farms: Sequence[FarmId]) -> dict[FarmId, FarmDocument]:
    """The same of many farms, those that have one."""
    if not farms:
        return {}
    query = select(t.farm_spec).where(among(tx, _d.farm, farms)).order_by(_d.farm)
    return {row.farm: kept.value(FarmDocument, row) for row in tx.execute(query.with_for_update())}


def add(tx: Tx, document: FarmDocument) -> None:
    """A farm's first one."""
    tx.execute(insert(t.farm_spec).values(**asdict(document)))
    nudge(tx, TOPIC)


def save(tx: Tx, document: FarmDocument) -> None:
    """The next generation; raises `Stale` when somebody got there first."""
    here = (_d.farm == document.farm, _d.generation == document.generation - 1)
    if tx.execute(update(t.farm_spec).where(*here).values(**asdict(document))).rowcount != 1:
        raise kept.stale("farm")
    if document.attention:
        nudge(tx, TOPIC)


def note(tx: Tx, document: FarmDocument) -> None:
    """How far it is. That is no change of the document, and nobody who changes it next meets us there."""
    now = {"attention": document.attention, "operation": document.operation, "told": document.told}
    tx.execute(update(t.farm_spec).where(_d.farm == document.farm).values(**now))


def password(tx: Tx, farm: FarmId) -> str:
    """The hash of the password that machines of its elements are given; empty: none."""
    return str(tx.execute(select(_d.password).where(_d.farm == farm)).scalar() or "")


def set_password(tx: Tx, farm: FarmId, hashed: str) -> None:
    """For machines that are made from now on."""
    tx.execute(update(t.farm_spec).where(_d.farm == farm).values(password=hashed))


def parts(tx: Tx, farm: FarmId) -> dict[tuple[PartKind, str], str]:
    """The ids of what the farm has made, by what its document calls it."""
    rows = tx.execute(select(_p.kind, _p.name, _p.id).where(_p.farm == farm))
    return {(PartKind(kind), name): id_ for kind, name, id_ in rows}


def put_part(tx: Tx, part: Part) -> None:
    """The farm has made this."""
    tx.execute(insert(t.farm_part).values(**asdict(part)))
    if part.kind is PartKind.VOLUME:
        usage_records.give_to(tx, part.id, part.farm)


def drop_part(tx: Tx, farm: FarmId, kind: PartKind, name: str) -> None:
    """It is there no more."""
    here = (_p.farm == farm, _p.kind == kind, _p.name == name)
    tx.execute(delete(t.farm_part).where(*here))


def owner_of(tx: Tx, id_: str) -> str:
    """Whose the thing is, in words: a farm's that made it, or a tier's whose element it is; empty: nobody's."""
    farm = tx.execute(
        select(t.farm.c.name).join(t.farm_part, _p.farm == t.farm.c.id).where(_p.id == id_)
    ).scalar()
    if farm is not None:
        return f"the farm {farm}"
    element, tier = t.element.c, t.tier.c
    found = tx.execute(
        select(t.farm.c.name, tier.name)
        .join(t.tier, tier.farm == t.farm.c.id)
        .join(t.element, element.tier == tier.id)
        .where(element.machine == id_)
    ).first()
    return "" if found is None else f"the tier {found[1]} of the farm {found[0]}"


def by_hand(tx: Tx, farms: Iterable[FarmId]) -> dict[FarmId, int]:
    """How many machines of each of these farms are no element's, nor on their way out, as a replaced element's is."""
    machine, element = t.machine.c, t.element.c
    ours = exists().where(element.machine == machine.id)
    query = (
        select(machine.farm, func.count())
        .where(among(tx, machine.farm, farms), ~ours, machine.wish != MachineWish.GONE)
        .group_by(machine.farm)
    )
    return {FarmId(farm): count for farm, count in tx.execute(query)}


def strangers(tx: Tx, farm: FarmId, network: str) -> list[str]:
    """Names of machines with ports on a network that are no elements of this farm, and are to stay."""
    machine, element, nic = t.machine.c, t.element.c, t.nic.c
    ours = exists().where(element.farm == farm, element.machine == machine.id)
    query = (
        select(machine.name)
        .join(t.nic, nic.machine == machine.id)
        .where(nic.network == network, ~ours, machine.wish != MachineWish.GONE)
        .order_by(machine.name)
    )
    return list(tx.scalars(query))


def is_empty(tx: Tx, farm: FarmId) -> bool:
    """Whether nothing is left of it on any host: no machine, no network, no link between its networks' routers; nor elsewhere."""
    columns = (t.machine.c.farm, t.network.c.farm, t.tier.c.farm, t.vlan.c.network)
    for column in (*columns, t.farm_region.c.farm):
        if tx.execute(select(exists().where(column == farm))).scalar():
            return False
    return True


def forget(tx: Tx, farm: FarmId) -> None:
    """The farm itself, and what hangs on it."""
    for table in (t.farm_part, t.farm_secret, t.farm_spec, t.farm_trouble):
        tx.execute(delete(table).where(table.c.farm == farm))
    tx.execute(delete(t.farm).where(t.farm.c.id == farm))
