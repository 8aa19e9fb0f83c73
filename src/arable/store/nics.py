"""How machines' ports on networks are kept, and which of a network's addresses they hold."""

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

from sqlalchemy import func, select, update

from arable.domain.access import Scope
from arable.domain.errors import NotFound
from arable.domain.ids import MachineId, NetworkId, NicId
from arable.domain.network import Nic
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among
from arable.store.rows import insert_rows, raw
from arable.store.scope import visible

_COLUMNS = (
    *("id", "machine", "network", "account", "position", "mac", "address", "offset", "rate_kbps"),
)
_SELECT = raw(t.nic, _COLUMNS)
_row = attrgetter(*_COLUMNS)


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


def set_rate(tx: Tx, machine: MachineId, kbps: int) -> None:
    """How fast all ports of a machine are."""
    tx.execute(update(t.nic).where(t.nic.c.machine == machine).values(rate_kbps=kbps))


def add_many(tx: Tx, nics: Sequence[Nic]) -> None:
    """Keep new ports."""
    insert_rows(tx, t.nic, _COLUMNS, [_row(nic) for nic in nics])


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
