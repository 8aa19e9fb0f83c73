"""Where else networks with VNIs are, as the manifest says it, for the network driver.

Told apart from ports: a tunnel comes and goes with the first and the last port of its VNI here, and changes while they
stay. The driver is asked when something is wished otherwise than before, and now and then in any case: it costs a look
at each tunnel, and hardly anything changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from arable.agent.sight import NETWORK, Ground, Sight, ask
from arable.domain.tunnel import TunnelWish
from arable.drivers.network.protocol import Reach

AGAIN_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Lead:
    """Have the VNI lead there, and nowhere else."""

    reach: Reach

    def __str__(self) -> str:
        return f"lead VNI {self.reach.vni} to {len(self.reach.hosts)} other hosts"


@dataclass(frozen=True, slots=True)
class Close:
    """Have the VNI lead nowhere."""

    vni: int

    def __str__(self) -> str:
        return f"close the tunnel of VNI {self.vni}"


class HostTunnels:
    """Makes them so."""

    name = "tunnels"

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._network = ground.drivers.network
        self._made: dict[int, TunnelWish] | None = None  # as far as nothing is known to be wrong
        self._looked = 0.0

    def observe(self) -> Sight:
        return self._ground.seen

    def plan(self, seen: Sight, /) -> Sequence[Lead | Close]:
        wishes = {wish.vni: wish for wish in self._ground.wishes.manifest.tunnels.values()}
        lately = seen.now < self._looked + AGAIN_SECONDS or not wishes
        if wishes == self._made and lately:
            return []
        there = ask(self._network.reaches, NETWORK, self._ground.patience)
        if there is None:
            return []
        wanted = {vni: _reach(wish) for vni, wish in wishes.items()}
        actions: list[Lead | Close] = [Close(vni) for vni in sorted(there.keys() - wanted.keys())]
        actions += [Lead(reach) for vni, reach in sorted(wanted.items()) if there.get(vni) != reach]
        self._looked = seen.now
        self._made = None if actions else wishes
        return [action for action in actions if self._ground.patience.may(_key(action))]

    def apply(self, action: Lead | Close, /) -> None:
        with self._ground.patience.attempt(_key(action)):
            match action:
                case Lead(reach):
                    self._network.reach(reach)
                case Close(vni):
                    self._network.unreach(vni)


def _key(action: Lead | Close) -> str:
    return f"VNI {action.reach.vni if isinstance(action, Lead) else action.vni}"


def _reach(wish: TunnelWish) -> Reach:
    return Reach(wish.vni, frozenset(wish.hosts), wish.mtu)
