"""What hosts are told: the writing side of manifests (decisions/0003)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import update

from arable.domain.ids import FarmId, HostId, NetworkId
from arable.domain.manifest import ItemKind
from arable.store import incarnations, reservations, schema, tunnels
from arable.store.database import Tx
from arable.store.lookup import Lookup
from arable.store.manifests import Difference
from arable.store.nudges import collected, nudge_hosts
from arable.store.rows import insert_rows, put_rows

_ITEM = ("host", "kind", "id", "generation", "body")
_WRITTEN_OVER = (
    "(host, kind, id) do update set generation = excluded.generation, body = excluded.body"
)


@dataclass(frozen=True, slots=True)
class Item:
    """One wish for one host, as JSON; without a body it is taken back."""

    host: HostId
    kind: ItemKind
    id: str
    body: str | None


_h = schema.host.c
_bump = Lookup(
    lambda among: (
        update(schema.host)
        .where(among(_h.id))
        .values(manifest_generation=_h.manifest_generation + 1)
        .returning(_h.id, _h.manifest_generation)
    )
)


def put(
    tx: Tx,
    items: Sequence[Item],
    begun: Mapping[HostId, int] | None = None,
    *,
    first: bool = False,
) -> None:
    """Write wishes: one new manifest generation for each host that is touched, whatever the number of items.

    `begun` has those that were counted on already in this transaction. `first`: no host was ever told of any of them.
    """
    if not items:
        return
    generations: dict[HostId, int] = dict(begun or {})
    hosts = {item.host for item in items}
    rest = sorted(hosts - generations.keys())
    if rest:
        if len(rest) > 1:
            reservations.hold(tx, rest)
        generations |= dict(_bump.rows(tx, rest))
    # The last word counts: an item can stand only once in a statement.
    last = {(item.host, item.kind.value, item.id): item.body for item in items}
    rows = [(*key, generations[key[0]], body) for key, body in last.items()]
    if first:
        insert_rows(tx, schema.manifest_item, _ITEM, rows)
    else:
        put_rows(tx, schema.manifest_item, _ITEM, rows, _WRITTEN_OVER)
    _tell(tx, rows)


def _tell(tx: Tx, rows: Iterable[tuple[HostId, str, str, int, str | None]]) -> None:
    """The hosts' channels get it from memory. A generation is whole here: its host's row is held since it began.

    What this transaction wrote earlier for a host is one difference with it, unless a generation lies between: whoever
    holds an older one than the difference begins with is looked up in the store.
    """
    nudges = collected(tx)
    if not nudges.told:
        nudges.incarnation = incarnations.trusted(tx)
    by_host: dict[HostId, Difference] = {}
    for host, kind, id_, generation, body in rows:
        difference = by_host.get(host)
        if difference is None:
            difference = by_host[host] = Difference(generation, generation - 1)
        difference.items.append((kind, id_, body))
    before = {host: nudges.told[host] for host in by_host.keys() & nudges.told.keys()}
    nudge_hosts(tx, set(by_host))
    if not nudges.incarnation:
        return
    for host, now in by_host.items():
        known = before.get(host)
        if known is not None and now.generation - known.generation in (0, 1):
            now.base = known.base
            now.items = _last([*known.items, *now.items])
        nudges.told[host] = now


def _last(items: Iterable[tuple[str, str, str | None]]) -> list[tuple[str, str, str | None]]:
    """Of each only what was said last."""
    return [(*key, body) for key, body in {(kind, id_): body for kind, id_, body in items}.items()]


def take_back(tx: Tx, kind: ItemKind, wanted: Iterable[tuple[HostId, str]]) -> None:
    """Items that are no longer wished for; those that never were are no harm."""
    put(tx, [Item(host, kind, id_, None) for host, id_ in wanted])


def note_presence(tx: Tx, pairs: Iterable[tuple[NetworkId | FarmId, HostId]]) -> None:
    """These hosts may have something of these networks, or farms' links, from now on (rule 3). Before the wish goes out."""
    rows = sorted(set(pairs))
    tunnels.note_present(tx, rows)
    put_rows(tx, schema.network_presence, ("network", "host"), rows, "do nothing")
