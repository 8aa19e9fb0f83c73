"""What stories of customers are made of: asking, looking into the store, and the acts about VPNs."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import text

from arable.domain.ids import VpnId, VpnPeerId
from arable.services import remote_accesses, vpn_clients, vpns
from arable.sim.asks import PEER_KEY
from arable.sim.cloud import Cloud
from arable.wire.remote_accesses import RemoteAccessIn, VpnClientIn
from arable.wire.vpns import VpnIn

End = Callable[[Cloud], bool]


def says(query: str, *wanted: object) -> End:
    """Whether the rows are these."""
    return lambda cloud: rows(cloud, query) == list(wanted)


def rows(cloud: Cloud, query: str) -> list[Any]:
    """The first column of what a query gives."""
    with cloud.database.read() as tx:
        return list(tx.scalars(text(query)))


def ask(cloud: Cloud, verb: Callable[..., Any], *args: object) -> None:
    """The first customer asks for it."""
    cloud.ask(cloud.ground.callers[0], lambda call: verb(call, *args))


def some(table: str) -> End:
    """Whether the table has rows."""
    return lambda cloud: bool(rows(cloud, f"select 1 from {table}"))  # noqa: S608 - our own word


def none(table: str) -> End:
    """Whether the table has none."""
    there = some(table)
    return lambda cloud: not there(cloud)


def free_address(cloud: Cloud) -> list[Any]:
    """Taken public addresses that are nobody's way out."""
    return rows(cloud, "select id from address where account is not null and not source_nat")


def lead_away(cloud: Cloud) -> None:
    """A VPN to a gateway elsewhere."""
    (address,) = free_address(cloud)
    wish = VpnIn(name="office", address=address, peer_key=PEER_KEY, peer_cidrs=("10.9.0.0/24",))
    ask(cloud, vpns.create, wish)


def stay(cloud: Cloud) -> None:
    """No VPN any more."""
    for vpn in rows(cloud, "select id from vpn"):
        ask(cloud, vpns.delete, VpnId(vpn))


def let_in(cloud: Cloud) -> None:
    """Remote access, and a client that has it."""
    (address,) = free_address(cloud)
    wish = RemoteAccessIn(name="staff", address=address, cidr="172.29.0.0/24")
    ask(cloud, remote_accesses.create, wish)
    (access,) = rows(cloud, "select id from vpn")
    ask(cloud, vpn_clients.create, VpnClientIn(access=access, name="laptop", public_key=PEER_KEY))


def revoke(cloud: Cloud) -> None:
    """No client any more."""
    for client in rows(cloud, "select id from vpn_peer"):
        ask(cloud, vpn_clients.delete, VpnPeerId(client))


def leads_away(peers: int) -> End:
    """How many peers of VPNs a routing appliance itself has, and is heard of to have."""

    def look(cloud: Cloud) -> bool:
        has = [
            bool(vpn.key) and len(vpn.peers)
            for node in cloud.nodes.values()
            for held in node.hardware.appliances.values()
            for vpn in held.wish.vpns
        ]
        vpns_ = len(rows(cloud, "select id from vpn"))
        return has == [peers] * vpns_ and len(rows(cloud, "select peer from vpn_seen")) == peers  # fmt: skip

    return look
