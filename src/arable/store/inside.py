"""Who asks from inside a farm: the element that has an address on a network now."""

from typing import Any

from sqlalchemy import Select, select

from arable.domain.blueprint import BlueprintVersion
from arable.domain.element import Element, ElementState
from arable.domain.ids import ElementId, HostId, MachineId, NetworkId
from arable.domain.machine import MachineState, MachineWish
from arable.store import blueprints, kept
from arable.store import schema as t
from arable.store.database import Tx

_LIVES = [state.value for state in ElementState if state not in (ElementState.DROPPING, ElementState.GONE)]  # fmt: skip
_e, _m, _nic, _net = t.element.c, t.machine.c, t.nic.c, t.network.c


def at(tx: Tx, host: HostId, network: NetworkId, address: str) -> Element | None:
    """The element whose machine runs and is there, if `host` has that network's router. No other host speaks for it."""
    query = (
        _living()
        .join(t.nic, _nic.machine == _m.id)
        .join(t.network, _net.id == _nic.network)
        .where(
            _nic.network == network,
            _nic.address == address,
            _nic.leaving.is_(False),
            _net.appliance_host == host,
        )
    )
    row = tx.execute(query).first()
    return None if row is None else kept.value(Element, row)


def living(tx: Tx, element: ElementId, machine: MachineId) -> Element | None:
    """The element, while it has that very machine and this runs."""
    row = tx.execute(_living().where(_e.id == element, _m.id == machine)).first()
    return None if row is None else kept.value(Element, row)


def made_of(tx: Tx, element: Element) -> BlueprintVersion:
    """The version of the blueprint that its machine was made of: its rights are those."""
    tier = t.tier.c
    blueprint = tx.execute(select(tier.blueprint).where(tier.id == element.tier)).scalar_one()
    return blueprints.version(tx, blueprint, element.blueprint_number)


def _living() -> Select[Any]:
    return (
        select(t.element)
        .join(t.machine, _m.id == _e.machine)
        .where(
            _e.state.in_(_LIVES),
            _m.state == MachineState.RUNNING.value,
            _m.wish == MachineWish.RUNNING.value,
        )
    )
