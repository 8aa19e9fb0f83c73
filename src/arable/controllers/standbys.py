"""The one of a pair of routing appliances that does not lead (`pairs.py`): as it is wished, and how it goes."""

from arable.domain.ids import HostId, NetworkId
from arable.domain.manifest import ItemKind
from arable.domain.network import ApplianceState
from arable.store import routing
from arable.store import wishes as manifests
from arable.store.database import Tx
from arable.store.routing import NetworkRow


def as_wished(tx: Tx, row: NetworkRow) -> NetworkRow:
    """A network whose appliance is there, after its owner may have said whether it should be one of two."""
    if row.redundant and not row.appliance_number:
        return routing.numbered(tx, row)
    if not row.redundant and row.standby_state in routing.PRESENT:
        # Should it not hear that it is to go, and lead one day, it gives way.
        return take_down(tx, row)._replace(appliance_epoch=routing.next_epoch(tx, row.id))
    return row


def take_down(tx: Tx, row: NetworkRow, told: str = "") -> NetworkRow:
    """Its host is told that it is to go. The network as it is by that; the one that leads has to be told."""
    if row.standby_host is None or row.standby_state not in routing.PRESENT:
        return row
    take_back(tx, row.id, row.standby_host)
    routing.set_standby(tx, row.id, ApplianceState.LEAVING, row.standby_host, told)
    return row._replace(standby_state=ApplianceState.LEAVING)


def lost(tx: Tx, row: NetworkRow) -> NetworkRow:
    """Its host is down, and what it was is over. It may run on there, so the next epoch begins."""
    if row.standby_host is not None:
        take_back(tx, row.id, row.standby_host)
    routing.set_standby(tx, row.id, ApplianceState.ABSENT, None, "its host is down")
    return row._replace(
        standby_host=None,
        standby_state=ApplianceState.ABSENT,
        appliance_epoch=routing.next_epoch(tx, row.id),
    )


def gone(tx: Tx, row: NetworkRow) -> None:
    """Nothing of it is left on its host."""
    routing.set_standby(tx, row.id, ApplianceState.ABSENT, None, "")


def take_back(tx: Tx, network: NetworkId, host: HostId) -> None:
    """That host is to have no router of this network, and to know none of its machines, whatever becomes of these.

    What it knew of one that is being expunged would be nobody's to take back later, and it may have a router again.
    """
    leases = [(host, nic) for nic in routing.nic_ids(tx, network)]
    manifests.take_back(tx, ItemKind.APPLIANCE, [(host, network)])
    manifests.take_back(tx, ItemKind.LEASE, leases)
