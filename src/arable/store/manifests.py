"""The reading side of manifests (decisions/0003): what hosts have not got yet, and what they have got for good.

Many hosts are looked up by one statement, and the items' bodies are handed on as the text that they are.
`wishes.py` writes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
from sqlalchemy import delete, select, text

from arable.domain.ids import HostId
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among

# What a host that holds `have` needs. From nothing when it holds nothing, when it holds more than there is (an older
# database was restored), or less than it once said (it lost its ledger, and tombstones since then may be forgotten).
_CHANGES = """
    with asked as ({asked}),
    from_where as (
        select h.id, h.manifest_generation as generation,
               case when a.have > h.manifest_generation or a.have < h.acked_generation
                    then 0 else a.have end as base
        from asked a join host h on h.id = a.host
    )
    select f.id, f.generation, f.base, i.kind, i.id, i.body
    from from_where f
    left join {items} on {such}
"""
_SUCH = "i.host = f.id and i.generation > f.base and (f.base > 0 or i.body is not null)"
_ASKED = {
    "sqlite": "select key as host, value as have from json_each(:asked)",
    "postgresql": "select key as host, value::bigint as have from json_each_text(cast(:asked as json))",
}
# `offset 0`: PostgreSQL looks up each host's items and does not read all there are (see `machines.py`).
_changes = {
    "sqlite": text(_CHANGES.format(asked=_ASKED["sqlite"], items="manifest_item i", such=_SUCH)),
    "postgresql": text(
        _CHANGES.format(
            asked=_ASKED["postgresql"],
            items=f"lateral (select * from manifest_item i where {_SUCH} offset 0) i",  # noqa: S608
            such="true",
        )
    ),
}

_ACKED = """
    with told as ({asked}),
    grown as (
        select h.id, t.have from told t join host h on h.id = t.host
        where h.acked_generation < t.have and t.have <= h.manifest_generation
        {lock}
    )
    update host set acked_generation = grown.have from grown where host.id = grown.id
    returning host.id
"""
_acked = {
    "sqlite": text(_ACKED.format(asked=_ASKED["sqlite"], lock="")),
    "postgresql": text(
        _ACKED.format(asked=_ASKED["postgresql"], lock="for update of h skip locked")
    ),
}


@dataclass(slots=True)
class Difference:
    """From manifest generation `base` (0: from nothing) to `generation`: (kind, id, body), without a body no more."""

    generation: int
    base: int
    items: list[tuple[str, str, str | None]] = field(default_factory=list)


def changes(tx: Tx, have: Mapping[HostId, int]) -> dict[HostId, Difference]:
    """What these hosts need that hold these generations. A host that does not exist is not in the answer."""
    asked = msgspec.json.encode(have).decode()
    found: dict[HostId, Difference] = {}
    for row in tx.execute(_changes[tx.dialect.name], {"asked": asked}).all():
        host, generation, base, kind, id_, body = row
        difference = found.get(host)
        if difference is None:
            difference = found[host] = Difference(generation, base)
        if kind is not None:
            difference.items.append((kind, id_, body))
    return found


def whole(tx: Tx, host: HostId) -> Difference | None:
    """All that a host should run; None for one that does not exist."""
    return changes(tx, {host: 0}).get(host)


def acked(tx: Tx, generations: Mapping[HostId, int]) -> frozenset[HostId]:
    """These hosts hold these generations for good, so tombstones up to them are forgotten.

    Nothing depends on it soon: rows that somebody else holds are passed over, and come again with the next report.
    """
    if not generations:
        return frozenset()
    told = msgspec.json.encode(generations).decode()
    grown = frozenset(tx.execute(_acked[tx.dialect.name], {"asked": told}).scalars())
    if grown:
        item, host = t.manifest_item.c, t.host.c
        known = select(host.acked_generation).where(host.id == item.host).scalar_subquery()
        tx.execute(
            delete(t.manifest_item).where(
                among(tx, item.host, sorted(grown)), item.body.is_(None), item.generation <= known
            )
        )
    return grown


def names_part(tx: Tx, host: HostId, sha256: str) -> bool:
    """Whether anything that this host should run needs the image part of that (well-formed) digest."""
    item = t.manifest_item.c
    query = (
        select(item.id)
        .where(item.host == host, item.body.contains(f'"{sha256}"', autoescape=True))
        .limit(1)
    )
    return tx.execute(query).first() is not None
