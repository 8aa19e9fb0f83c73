"""Routers that are values, plugged into the host's network driver as real ones are."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from arable.appliance.metadata import answer, by_address, call
from arable.appliance.router import leases, router
from arable.domain.balancer import BalancerSeen, MemberSeen, MemberWish
from arable.domain.errors import Unavailable
from arable.domain.ids import NetworkId, NicId
from arable.domain.inside import GuestAnswer, GuestAsk
from arable.domain.manifest import ApplianceSeen, ApplianceWish, LeaseWish
from arable.domain.router_runtime import RouterRuntime
from arable.domain.vpn import VpnPeerSeen, VpnSeen
from arable.drivers.faults import Faults
from arable.drivers.network.protocol import Network, Port, PortKind
from arable.drivers.simhost import SimAppliance, SimHost


class SimAppliances:
    """`Appliances` over a `SimHost` and its network driver."""

    name = "sim"

    def __init__(self, hardware: SimHost, network: Network, faults: Faults | None = None) -> None:
        self._hardware = hardware
        self._network = network
        self._faults = faults or Faults()
        self._relay: Callable[[GuestAsk], GuestAnswer] | None = None

    def appliances(self) -> Mapping[NetworkId, ApplianceSeen]:
        return {
            network: replace(held.seen, standby=True) if self._stands_by(held) else held.seen
            for network, held in self._hardware.appliances.items()
        }

    def ensure(self, wish: ApplianceWish, leases: Sequence[LeaseWish]) -> None:
        router(wish)  # refused as a real one refuses, before anything is touched
        before = self._hardware.appliances.get(wish.network)
        begun = ApplianceSeen(network=wish.network, generation=0, running=False, told="half made")
        # As with a real one, there is something to see, and to remove, from the first step on.
        self._hardware.appliances.setdefault(wish.network, SimAppliance(wish, {}, begun))
        kind = PortKind.ROUTER if wish.runtime is RouterRuntime.VM else PortKind.VETH
        self._network.ensure(_port(wish.network, "gw", wish.vlan, kind))
        if wish.public:
            self._network.ensure(_port(wish.network, "pub", wish.public.vlan, kind))
        else:
            self._network.remove(_nic(wish.network, "pub"))
        if wish.link:
            self._network.ensure(_port(wish.network, "lnk", wish.link.vlan, kind))
        else:
            self._network.remove(_nic(wish.network, "lnk"))
        held = SimAppliance(
            wish,
            {lease.nic: lease for lease in leases},
            ApplianceSeen(network=wish.network, generation=wish.generation, running=True),
            before.made + (_life(before.wish) != _life(wish)) if before else 1,
        )
        if self._hardware.appliances.get(wish.network) != held:
            if self._hardware.unroutable:
                raise Unavailable(self._hardware.unroutable)
            with self._faults.around(f"ensure {wish.network}"):
                self._hardware.appliances[wish.network] = held

    def answer(self, network: NetworkId, asker: str, path: str) -> str | None:
        """What the metadata service says to who asks from that address."""
        held = self._hardware.appliances[network]
        made = router(held.wish)
        told = by_address(made, leases(made, held.leases.values()))
        return answer(told.get(asker, {}), path)

    def relay(self, answer: Callable[[GuestAsk], GuestAnswer]) -> None:
        self._relay = answer

    def asked(
        self,
        network: NetworkId,
        asker: str,
        method: str,
        path: str,
        token: str = "",
        body: str = "",
    ) -> GuestAnswer:
        """What a machine at that address hears that asks for more than documents."""
        wanted = call(method, path)
        if not isinstance(wanted, str):
            return GuestAnswer(status=wanted or 404)
        if self._relay is None or network not in self._hardware.appliances:
            return GuestAnswer(status=503)
        ask = GuestAsk(
            network=network, asker=asker, method=method, path=wanted, token=token, body=body
        )
        return self._relay(ask)

    def balancers(self, of: Collection[NetworkId] | None = None) -> Sequence[BalancerSeen]:
        """Members of a simulated balancer are checked all the time, and have the sessions that the world gives them."""
        figures = self._hardware.figures
        return [
            replace(
                figures.get(wish.id, BalancerSeen(id=wish.id)),
                members=tuple(map(self._member, wish.members)),
            )
            for held in self._hardware.appliances.values()
            if (of is None or held.wish.network in of) and not self._stands_by(held)
            for wish in (*held.wish.balancers, *held.wish.inners)
        ]

    def _member(self, member: MemberWish) -> MemberSeen:
        well = self._hardware.answers(member.nic)
        return MemberSeen(
            nic=member.nic,
            up=well,
            told="simulated",
            weight=member.weight,
            well=well,
            sessions=self._hardware.sessions.get(member.nic, 0),
        )

    def vpns(self) -> Sequence[VpnSeen]:
        """Peers of a simulated VPN are always there."""
        return [
            VpnSeen(
                id=wish.id,
                peers=tuple(VpnPeerSeen(id=peer.id, up=True) for peer in wish.peers),
            )
            for held in self._hardware.appliances.values()
            if not self._stands_by(held)
            for wish in held.wish.vpns
        ]

    def _stands_by(self, held: SimAppliance) -> bool:
        return held.wish.pair is not None and not self._hardware.leads(held.wish)

    def remove(self, network: NetworkId) -> None:
        if network in self._hardware.appliances:
            with self._faults.around(f"remove {network}"):
                for end in ("gw", "pub", "lnk"):
                    self._network.remove(_nic(network, end))
                del self._hardware.appliances[network]


def _nic(network: NetworkId, end: str) -> NicId:
    return NicId(f"{end}-{network.partition('-')[2]}")


def _life(wish: ApplianceWish) -> tuple[int, RouterRuntime]:
    """Another one is another router, made anew."""
    return wish.restarts, wish.runtime


def _port(network: NetworkId, end: str, vlan: int, kind: PortKind) -> Port:
    tail = network[-11:]
    return Port(
        nic=_nic(network, end),
        kind=kind,
        vlan=vlan,
        device=f"{end[0]}h{tail}",
        peer=f"{end[0]}p{tail}",
    )
