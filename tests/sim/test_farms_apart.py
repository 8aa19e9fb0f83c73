"""Computers go from one farm to another by way of the idle pool, and the farms never see each other.

The walk has seven computers, each with room for one machine. A and E run routers, that is balancers; the first farm is made
of A, B and C and grows by D; the second is made of E, F and G; then D returns to the pool, and joins the second. What is
said about it is what the computers themselves have (`arable.sim.reach`), looked at after every move of any of them.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from arable.domain.ids import HostId, MachineId, TierId
from arable.runtime.entropy import Entropy
from arable.services import tiers
from arable.sim import invariants
from arable.sim.acts import rows
from arable.sim.cloud import Cloud, SimNode
from arable.sim.farm_stories import lay_out
from arable.sim.ground import OFFERING, SHARED, SHARED_DISK, Room
from arable.sim.reach import Sight, across, look
from arable.store import schema
from arable.wire.tiers import TierChange

DATA = {"disks": [{"name": "data", "offering": SHARED_DISK, "mib": 512}], "keeps": {"volumes": True}}  # fmt: skip
SECRET = "what the first farm knows"


class Ground:
    """Computers, and the farms on them."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.owners = dict(zip(("one", "two"), cloud.ground.callers, strict=True))

    # --- what owners do

    def applies(self, farm: str, count: int, *called: str, **more: object) -> None:
        """Both owners call their farm, its tier and its elements alike, and get the same subnet."""
        usual = {"offering": SHARED, **DATA}
        self.cloud.ask(
            self.owners[farm], lambda c: lay_out(c, "shop", count, *called, **usual | more)
        )
        self.until(lambda: len(self.serving(farm)) == count + len(called))

    def scales(self, farm: str, count: int) -> None:
        owner = self.owners[farm]
        (tier,) = rows(self.cloud, f"select id from tier where name = 'web' and account = '{owner.account}'")  # fmt: skip
        change = TierChange(count=count)
        self.cloud.ask(owner, lambda call: tiers.update(call, TierId(tier), change))

    def serving(self, farm: str) -> set[MachineId]:
        of = f"e.state = 'serving' and m.account = '{self.owners[farm].account}'"
        query = f"select m.id from element e join machine m on m.id = e.machine where {of}"
        return set(rows(self.cloud, query))

    # --- what is seen

    def sight(self) -> Sight:
        cloud = self.cloud
        hosts = {id_: node.hardware for id_, node in cloud.nodes.items()}
        exports = [share.exports for share in cloud.shared.shares.values()]
        return look(hosts, exports, cloud.ground.tunnel_address)

    def farm_of(self) -> dict[MachineId, str]:
        """Whose a machine is, by the account: all else is from the computers."""
        by = {caller.account: farm for farm, caller in self.owners.items()}
        pairs = rows(self.cloud, "select id || ' ' || account from machine")
        return {MachineId(id_): by[account] for id_, _, account in (p.partition(" ") for p in pairs)}  # fmt: skip

    def holds(self, node: SimNode) -> bool:
        """Whether a computer has anything of anybody's, or is told of anything."""
        hardware, held = node.hardware, node.ledger.load()
        told = held.manifest if held else None
        pools = hardware.pools.values()
        return bool(
            hardware.guests
            or hardware.ports
            or hardware.vlans
            or hardware.tunnels
            or hardware.appliances
            or self.sight().served.get(node.id)
            or any(pool.volumes or pool.seeds or pool.kept for pool in pools)
            or (told and (told.guests or told.appliances or told.leases or told.tunnels))
        )

    def at(self, machine: MachineId) -> SimNode:
        return next(n for n in self.cloud.nodes.values() if machine in n.hardware.guests)

    def routing(self) -> set[HostId]:
        return {id_ for id_, node in self.cloud.nodes.items() if node.hardware.appliances}

    # --- time

    def goes_on(self) -> None:
        """Everybody moves once, and after each move the farms are apart."""
        cloud = self.cloud
        cloud.pass_time(timedelta(seconds=2))
        cloud.control()
        for node in cloud.nodes.values():
            for _word in range(3):
                cloud.tend(node)
                cloud.serve(node)
            self.apart()
        with cloud.database.read() as tx:
            invariants.always(tx, {id_: each.hardware for id_, each in cloud.nodes.items()})

    def apart(self) -> None:
        assert not across(self.sight(), self.farm_of())

    def until(self, true: Callable[[], bool]) -> None:
        for _ in range(80):
            if true():
                return
            self.goes_on()
        raise AssertionError("it does not become so")


def grounded(tmp_path: Path, room: Room, routers: int) -> Ground:
    """Only the first so many computers run routers, and nothing else."""
    cloud = Cloud.build("apart", tmp_path, room)
    with cloud.database.write() as tx:
        for at, host in enumerate(cloud.ground.hosts):
            roles = ["routing"] if at < routers else ["compute"]
            table = schema.host
            tx.execute(update(table).where(table.c.id == host).values(roles=roles))
    made = Ground(cloud)
    cloud.settle_down(2)
    return made


@pytest.fixture
def seven(tmp_path: Path) -> Iterator[Ground]:
    room = Room(pods=1, hosts=7, storage=1, host_memory_mib=256, machine_memory_mib=256)
    made = grounded(tmp_path, room, routers=2)
    yield made
    made.cloud.database.close()


def test_a_computer_that_goes_from_farm_to_farm_sees_the_one_it_is_in(seven: Ground) -> None:
    # Figure 5: a farm of a balancer and two web servers; all other computers are in the idle pool.
    seven.applies("one", 2)
    web = seven.serving("one")
    b, c = (seven.at(machine) for machine in sorted(web))
    (a,) = seven.routing()
    pool = {id_: node for id_, node in seven.cloud.nodes.items() if id_ in seven.cloud.ground.hosts}
    pool = {id_: node for id_, node in pool.items() if id_ not in (a, b.id, c.id)}
    assert len(pool) == 4
    assert not any(map(seven.holds, pool.values()))
    sight = seven.sight()
    for machine in web:
        assert sight.of(machine) == web - {machine}

    # Figure 6: it grows by D.
    seven.scales("one", 3)
    seven.until(lambda: len(seven.serving("one")) == 3)
    (third,) = seven.serving("one") - web
    d = pool.pop(seven.at(third).id)
    assert seven.sight().of(third) == web
    volumes = seven.sight().disks[third]
    assert len(volumes) == 2, "a disk of its own, and its data"
    assert seven.sight().served[d.id] == volumes
    d.hardware.guests[third].memory = SECRET
    for pool_ in shared_pools(seven):
        pool_.contents |= dict.fromkeys(volumes & pool_.volumes.keys(), SECRET)

    # Figure 7: another farm is made of E, F and G.
    seven.applies("two", 2)
    theirs = seven.serving("two")
    (e,) = seven.routing() - {a}
    f, g = (seven.at(machine) for machine in sorted(theirs))
    assert {e, f.id, g.id} == pool.keys()
    for machine in theirs:
        assert seven.sight().of(machine) == theirs - {machine}
    mine, its = (seven.cloud.nodes[host].hardware for host in (a, e))
    names = [{lease.name for lease in each.leases.values()} for host in (mine, its) for each in host.appliances.values()]  # fmt: skip
    assert names == [{"shop-web-1", "shop-web-2", "shop-web-3"}, {"shop-web-1", "shop-web-2"}]
    assert not mine.vlans.keys() & its.vlans.keys() - {900}, "but for the internet's"

    # Figure 8: D goes back to the pool ...
    seven.scales("one", 2)
    seven.until(lambda: not seven.holds(d))
    assert seven.serving("one") == web
    (kept,) = (volume for pool_ in shared_pools(seven) for volume in volumes & pool_.volumes.keys())
    # ... and joins the second farm, and all that it has is new to it.
    seven.scales("two", 3)
    seven.until(lambda: len(seven.serving("two")) == 3)
    (new,) = seven.serving("two") - theirs
    assert seven.at(new) is d
    sight = seven.sight()
    assert sight.of(new) == theirs
    assert all(new not in sight.of(machine) for machine in web)
    assert d.hardware.guests[new].memory is None
    assert not sight.disks[new] & volumes
    assert sight.served[d.id] == sight.disks[new]
    contents = [pool_.contents.get(volume) for pool_ in shared_pools(seven) for volume in sight.disks[new]]  # fmt: skip
    assert SECRET not in contents
    held = d.ledger.load()
    assert held
    assert third not in str(held.manifest)
    assert kept not in str(held.manifest)
    assert all(kept not in volumes for volumes in sight.served.values())


def shared_pools(ground: Ground) -> list:
    storage = ground.cloud.ground.storage
    return [ground.cloud.nodes[host].hardware.pools[pool] for host, (pool, _at) in storage.items()]


@pytest.mark.parametrize("vnis", [False, True], ids=["VLANs", "VXLAN"])
def test_wherever_elements_wander_they_see_their_own_farm_alone(tmp_path: Path, vnis: bool) -> None:
    room = Room(pods=1, hosts=4, host_memory_mib=768, machine_memory_mib=256, vnis=vnis)
    ground, dice = grounded(tmp_path, room, routers=1), Entropy(f"wander {vnis}").random
    cloud, was = ground.cloud, dict[HostId, set[str]]()
    for farm in ground.owners:
        ground.applies(farm, 1, "db", offering=OFFERING, disks=[], keeps={})
    for _ in range(5):
        for farm in ground.owners:
            ground.scales(farm, dice.randint(1, 4))
        if dice.random() < 0.5:
            cloud.kill_agent(dice.choice([*cloud.nodes.values()]))
        for _round in range(dice.randint(1, 4)):
            ground.goes_on()
            of = ground.farm_of()
            for id_, node in cloud.nodes.items():
                was.setdefault(id_, set()).update(of[machine] for machine in node.hardware.guests)
    assert sum(len(farms) == 2 for farms in was.values()) > 1, "elements of both were there"
    _is_not_blind(ground)


def _is_not_blind(ground: Ground) -> None:
    """Web servers are led to their database, not back. A port in the other farm's VLAN, its disk, or its name at a router, would have been seen."""
    names = dict(row.split() for row in rows(ground.cloud, "select id || ' ' || name from machine"))
    led = {(names[a].split("-")[1], names[b].split("-")[1]) for a, b in ground.sight().led}
    assert led == {("web", "db")}
    (mine, its) = (min(ground.serving(farm)) for farm in ground.owners)
    here, there = ground.at(mine).hardware, ground.at(its).hardware
    ends = {machine: next(n for n, p in sim.ports.items() if p.device == sim.guests[machine].guest.ports[0].device) for machine, sim in ((mine, here), (its, there))}  # fmt: skip
    port, other = here.ports[ends[mine]], there.ports[ends[its]]
    here.ports[ends[mine]] = replace(port, vlan=other.vlan)
    assert {(mine, its), (its, mine)} & across(ground.sight(), ground.farm_of())
    here.ports[ends[mine]] = port
    ground.apart()
    (router,) = (a for n in ground.cloud.nodes.values() for a in n.hardware.appliances.values() if ends[its] in a.leases)  # fmt: skip
    router.leases[ends[mine]] = router.leases[ends[its]]
    assert (its, mine) in ground.sight().named
    del router.leases[ends[mine]]
    run = here.guests[mine]
    assert run.runs
    disks = run.runs.disks
    run.runs = replace(run.runs, disks=there.guests[its].guest.disks)
    there.pools |= here.pools | there.pools
    here.pools |= there.pools
    assert (mine, its) in across(ground.sight(), ground.farm_of())
    run.runs = replace(run.runs, disks=disks)
