"""How pods are kept."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, exists, select

from arable.domain.errors import Conflict
from arable.domain.ids import PodId, ZoneId
from arable.domain.pod import Pod
from arable.store import kept
from arable.store import schema as t
from arable.store.database import Tx

WHAT = "pod"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFilter:
    """Which pods of a list."""

    zone: ZoneId | None = None
    name: str | None = None


def add(tx: Tx, pod: Pod) -> None:
    """A new pod; its name must be free in its zone."""
    check_name(tx, pod.zone, pod.name)
    kept.add(tx, t.pod, pod)


def check_name(tx: Tx, zone: ZoneId, name: str) -> None:
    """Raises `Conflict` when a pod of the zone has that name."""
    row = t.pod.c
    if tx.execute(select(row.id).where(row.zone == zone, row.name == name)).first():
        raise Conflict(f"the zone has a pod named {name} already", field="name")


def get(tx: Tx, pod: PodId, *, lock: bool = False) -> Pod:
    """Raises `NotFound`."""
    return kept.get(tx, t.pod, Pod, WHAT, t.pod.c.id == pod, lock=lock)


def page(tx: Tx, where: PodFilter, *, after: str | None = None, limit: int = 100) -> list[Pod]:
    """Pods by age."""
    conditions: list[ColumnElement[bool]] = []
    if where.zone is not None:
        conditions.append(t.pod.c.zone == where.zone)
    if where.name is not None:
        conditions.append(t.pod.c.name == where.name)
    return kept.page(tx, t.pod, Pod, conditions, after=after, limit=limit)


def subnets(tx: Tx, zone: ZoneId) -> list[str]:
    """Management subnets of the zone's pods."""
    return list(tx.execute(select(t.pod.c.cidr).where(t.pod.c.zone == zone)).scalars())


def save(tx: Tx, pod: Pod) -> None:
    """The next generation."""
    kept.save(tx, t.pod, pod, WHAT)


def remove(tx: Tx, pod: Pod) -> None:
    """Remove a pod (locked by the caller); refused while it has hosts. Join tokens for it go with it."""
    if tx.execute(select(exists().where(t.host.c.pod == pod.id))).scalar():
        raise Conflict("the pod is not empty: there are hosts in it")
    tx.execute(t.join_token.delete().where(t.join_token.c.pod == pod.id))
    kept.forget(tx, t.pod, pod, WHAT)
