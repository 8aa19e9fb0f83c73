"""Storage hosts that are lost where volumes have replicas: for stories in rooms with more than one storage host."""

from sqlalchemy import text

from arable.domain.ids import HostId
from arable.runtime.entropy import Random
from arable.services import failing_over, host_health
from arable.sim.happenings import Happening
from arable.sim.region import Region
from arable.wire.pools import FailOverIn


def _lose_storage(region: Region, dice: Random) -> str:
    """One loses its power; or an operator, who has looked, says that one has none, and wants its volumes back."""
    host = dice.choice(sorted(region.ground.storage))
    node, (pool, _address) = region.nodes[host], region.ground.storage[host]
    others = [region.nodes[id_] for id_ in sorted(region.ground.storage) if id_ != host]
    if off := [other for other in others if not other.powered]:
        return region.power_on(off[0])  # of two copies one is to be had
    if node.powered:
        region.power_off(node)
        return f"the storage host {host} loses power"
    with region.database.read() as tx:
        state = tx.scalar(text("select state from host where id = :host"), {"host": host})
    if state == "silent":
        region.ask(
            region.ground.operator, lambda call: host_health.declare_down(call, HostId(host))
        )
    ask = FailOverIn(without_power=True)
    region.ask(region.ground.operator, lambda call: failing_over.fail_over(call, pool, ask))
    return f"what is on {host} is to be brought back elsewhere"


REPLICA_HAPPENINGS = (Happening("replicas", 4, _lose_storage),)
