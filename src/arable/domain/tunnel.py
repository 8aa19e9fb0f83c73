"""Networks with a VNI are tunnelled from host to host (decisions/0020): what a host is told of the others."""

from dataclasses import dataclass

from arable.domain.ids import FarmId, NetworkId


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelWish:
    """Where else a network (or a farm's link) with a VNI is: the addresses of the other hosts that may have ports of it.

    Of use while this host has ports of it, too; told as long as it may.
    """

    network: NetworkId | FarmId
    vni: int
    mtu: int  # of guests
    hosts: tuple[str, ...] = ()
