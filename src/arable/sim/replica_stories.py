"""What becomes of replicated volumes when storage hosts are lost and come back, each as short as it can be: for `breaks.py`."""

from sqlalchemy import text

from arable.domain.ids import HostId, VolumeId
from arable.drivers.simhost import SimPool
from arable.services import deployments, power
from arable.sim.acts import ask, rows
from arable.sim.breaks import Act, Story
from arable.sim.cloud import Cloud, SimNode
from arable.sim.ground import IMAGE, REPLICATED, Room
from arable.wire.machines import DeployIn, DestroyIn

_TWO_SHARED = Room(pods=1, hosts=2, storage=2)
_RUNS = "select 1 from machine where state = 'running' and host is not null"
_POINTED = "select point from replica where state = 'following' and point > 0"
_LEFT = "select id from replica where state <> 'following'"


def _deploys(cloud: Cloud) -> None:
    wish = DeployIn(name="web", count=1, offering=REPLICATED, image=IMAGE)
    cloud.ask_batch(cloud.ground.callers[0], deployments.deploy_batch, wish, None)


def _copies(cloud: Cloud) -> list[tuple[SimNode, SimPool, VolumeId]]:
    volumes = {*rows(cloud, "select id from volume")}
    return [
        (node, pool, volume)
        for node in cloud.nodes.values()
        for pool in node.hardware.pools.values()
        for volume in sorted(pool.volumes.keys() & volumes)
    ]


def _primary(cloud: Cloud) -> tuple[SimNode, SimPool, VolumeId]:
    """The copy that the volume's row names."""
    named = {*rows(cloud, "select pool from volume")}
    (found,) = [each for each in _copies(cloud) if each[1].pool in named]
    return found


def _writes(what: str) -> Act:
    """Somebody in the machine does, and a point is taken after that."""

    def write(cloud: Cloud) -> None:
        _node, pool, volume = _primary(cloud)
        pool.contents[volume] = what

    return Act(write, lambda cloud: what in _replicated(cloud))


def _replicated(cloud: Cloud) -> list[object]:
    pools = (pool for node in cloud.nodes.values() for pool in node.hardware.pools.values())
    return [one.content for pool in pools for one in pool.replicas.values()]


def _loses_power(cloud: Cloud) -> None:
    """The storage host does, which its BMC sees."""
    node, pool, volume = _primary(cloud)
    pool.contents[volume] = "lost"
    cloud.power_off(node)
    _seen_off(cloud, node.id)


def _seen_off(cloud: Cloud, host: HostId) -> None:
    off = "update host set state = 'down', powered_off = true where id = :host"
    with cloud.database.write() as tx:
        tx.execute(text(off), {"host": host})


def _elsewhere(cloud: Cloud) -> bool:
    """Whether the volume is where there is power."""
    named = rows(
        cloud, "select h.id from volume v join pool p on p.id = v.pool join host h on h.id = p.host"
    )
    return bool(named) and all(cloud.nodes[host].powered for host in named)


def _comes_back(cloud: Cloud) -> None:
    for node in cloud.nodes.values():
        node.powered = True


def _brought_back(cloud: Cloud) -> bool:
    """It runs with what the last whole point has, in one copy, and has another replica."""
    if len(_copies(cloud)) != 1 or not rows(cloud, _RUNS) or rows(cloud, _LEFT):
        return False
    node, pool, volume = _primary(cloud)
    serves = volume in cloud.shared.shares[node.id].exports.serving
    return pool.contents.get(volume) == "kept" and serves and bool(rows(cloud, _POINTED))


def _expunged(cloud: Cloud) -> bool:
    """Nothing is left of it anywhere."""
    nothing = not rows(cloud, "select id from volume") and not rows(cloud, "select id from replica")
    return nothing and not _replicated(cloud)


def _destroys(cloud: Cloud) -> None:
    for machine in rows(cloud, "select id from machine"):
        ask(cloud, power.destroy, machine, DestroyIn())


_deployed = Act(_deploys, lambda cloud: bool(rows(cloud, "select 1 from machine")))
_runs = Act(lambda _cloud: None, lambda cloud: bool(rows(cloud, _RUNS)))
_pointed = Act(lambda _cloud: None, lambda cloud: bool(rows(cloud, _POINTED)))
_lost = Act(_loses_power, _elsewhere)
_back = Act(_comes_back, lambda cloud: all(node.powered for node in cloud.nodes.values()))

REPLICAS = (
    Story("follow a volume", (), (_deployed, _runs, _pointed, _writes("kept")), lambda cloud: bool(rows(cloud, _POINTED)), room=_TWO_SHARED),
    Story(
        "lose a storage host",
        (_deployed, _runs, _pointed, _writes("kept")),
        (_lost, _runs, _back),
        _brought_back,
        room=_TWO_SHARED,
    ),
    Story(
        "expunge what is replicated",
        (_deployed, _runs, _pointed),
        (Act(_destroys, lambda cloud: not rows(cloud, "select 1 from machine where wish = 'running'")),),
        _expunged,
        room=_TWO_SHARED,
    ),
)  # fmt: skip
