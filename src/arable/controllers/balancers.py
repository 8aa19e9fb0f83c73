"""What routing appliances are told of load balancers."""

from collections.abc import Sequence

from arable.domain.balancer import BalancerWish, MemberWish, NameWish
from arable.domain.ids import NetworkId
from arable.store import balancers, vpns
from arable.store.balancers import MemberRow
from arable.store.database import Tx


def wished(tx: Tx, networks: Sequence[NetworkId]) -> dict[NetworkId, tuple[BalancerWish, ...]]:
    """The balancers of these networks, with their keys sealed as they are kept. Inner ones have no public address."""
    found = balancers.of_networks(tx, networks)
    members = balancers.members(tx, [each.id for each, _, _ in found]) if found else {}
    made: dict[NetworkId, tuple[BalancerWish, ...]] = {}
    for each, public, calm in found:
        wish = BalancerWish(
            id=each.id,
            public=public,
            port=each.port,
            traffic=each.traffic,
            algorithm=each.algorithm,
            stickiness=each.stickiness,
            cidr=each.cidr,
            cidr6=each.cidr6,
            check=each.check,
            members=tuple(_member(row) for row in members.get(each.id, ())),
            certificate=each.certificate,
            calm=calm,
            sealed=each.sealed,
        )
        made[each.network] = (*made.get(each.network, ()), wish)
    return made


def names(tx: Tx, networks: Sequence[NetworkId]) -> dict[NetworkId, tuple[NameWish, ...]]:
    """What inner balancers are called in networks whose machines may call them: `<balancer>.<farm>`. Those in other regions too.

    What a farm makes has the farm's name before its own, which is not said twice: `shop-app` is `app.shop`.
    """
    made: dict[NetworkId, dict[str, NameWish]] = {}
    for row in balancers.called_from(tx, networks):
        name = f"{row.name.removeprefix(f'{row.farm_name}-')}.{row.farm_name}"
        made.setdefault(row.network, {}).setdefault(name, NameWish(name=name, address=row.gateway))
    for network, farm, far in vpns.far_names(tx, networks, joined=True):
        wish = NameWish(name=f"{far.tier}.{farm}", address=far.address)
        made.setdefault(network, {}).setdefault(wish.name, wish)
    return {network: tuple(found.values()) for network, found in made.items()}


def _member(row: MemberRow) -> MemberWish:
    weight = 0 if row.draining or row.paused else row.weight
    return MemberWish(nic=row.nic, to=row.to, port=row.port, weight=weight)
