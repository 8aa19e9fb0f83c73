"""How machines' ports on networks are kept, and which of a network's addresses they hold."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import func, select, text, update

from arable.domain.access import Scope
from arable.domain.errors import NotFound
from arable.domain.ids import AccountId, MachineId, NetworkId, NicId
from arable.domain.network import Nic
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among
from arable.store.rows import insert_rows, json_text, raw
from arable.store.scope import visible

_COLUMNS = (
    *("id", "machine", "network", "account", "position", "mac", "address", "offset", "rate_kbps"),
)
_SELECT = raw(t.nic, _COLUMNS)


def get(tx: Tx, scope: Scope, id_: NicId) -> Nic:
    """The port, if it is there and in sight."""
    query = _SELECT.where(t.nic.c.id == id_, *visible(t.nic.c.account, scope))
    row = tx.execute(query).first()
    if row is None:
        raise NotFound("there is no such nic")
    return _nic(row)


def of_machines(tx: Tx, machines: Iterable[MachineId]) -> dict[MachineId, list[Nic]]:
    """Each machine's ports in order of position."""
    c = t.nic.c
    query = _SELECT.where(among(tx, c.machine, machines)).order_by(c.machine, c.position)
    found: dict[MachineId, list[Nic]] = {}
    for row in tx.execute(query):
        nic = _nic(row)
        found.setdefault(nic.machine, []).append(nic)
    return found


def of_network(tx: Tx, network: NetworkId) -> int:
    """How many ports a network has."""
    query = select(func.count()).select_from(t.nic).where(t.nic.c.network == network)
    return tx.execute(query).scalar_one()


def offsets(tx: Tx, network: NetworkId, first: int, last: int) -> set[int]:
    """Which addresses from `first` to `last` (distances from the network's first) are held."""
    c = t.nic.c
    query = select(c.offset).where(c.network == network, c.offset.between(first, last))
    return set(tx.execute(query).scalars())


_OFFSETS = """
    select n.network, n."offset" from {asked} as asked
    cross join nic n
    where n.network = asked.value ->> 0
        and n."offset" between {first} and {last}
"""
_offsets = {
    "sqlite": text(
        _OFFSETS.format(
            asked="json_each(:asked)", first="asked.value ->> 1", last="asked.value ->> 2"
        )
    ),
    "postgresql": text(
        _OFFSETS.format(
            asked="jsonb_array_elements(cast(:asked as jsonb))",
            first="cast(asked.value ->> 1 as bigint)",
            last="cast(asked.value ->> 2 as bigint)",
        )
    ),
}


def offsets_of_many(
    tx: Tx, windows: Iterable[tuple[NetworkId, int, int]]
) -> dict[NetworkId, set[int]]:
    """The same of many networks, by one statement."""
    found: dict[NetworkId, set[int]] = {}
    rows = tx.execute(_offsets[tx.dialect.name], {"asked": json_text(list(windows))})
    for network, offset in rows.all():
        found.setdefault(network, set()).add(offset)
    return found


def set_rate(tx: Tx, machine: MachineId, kbps: int) -> None:
    """How fast all ports of a machine are."""
    tx.execute(update(t.nic).where(t.nic.c.machine == machine).values(rate_kbps=kbps))


class NewNic(NamedTuple):
    """A port as its row begins."""

    id: NicId
    machine: MachineId
    network: NetworkId
    account: AccountId
    position: int
    mac: str
    address: str
    offset: int
    rate_kbps: int


def add_many(tx: Tx, nics: Sequence[NewNic]) -> None:
    """Keep new ports."""
    insert_rows(tx, t.nic, NewNic._fields, nics)


def _nic(row: Any) -> Nic:
    (id_, machine, network, account, position, mac, address, offset, rate_kbps) = row
    return Nic(
        id=id_,
        machine=machine,
        network=network,
        account=account,
        position=position,
        mac=mac,
        address=address,
        offset=offset,
        rate_kbps=rate_kbps,
    )
