"""Several servers that place at once, each for the farms that it holds: no host is given more than it has, no ring of
locks ends a round, and nobody waits for the next timer.
"""

from dataclasses import replace

from make_cloud import Cloud, deploy_in
from test_customer_races import all_at_once
from test_farm_managers import Servers
from test_landing import MIB, routed, with_hosts

from arable.domain.errors import CloudError
from arable.domain.ids import FarmId, SegmentId
from arable.services import groups
from arable.services.call import Asked
from arable.store import holdings
from arable.store.database import Database
from arable.store.writer import Writer
from arable.wire.groups import GroupIn

NAMES = [SegmentId(f"server-{letter}") for letter in "abc"]
ROOM = MIB // 512


def spread(cloud: Cloud, servers: Servers) -> None:
    """Farms are held by the servers in turn."""
    with cloud.database.write() as tx:
        held = sorted(holdings.every(tx), key=lambda each: each.farm)
        moves = [(each.farm, each.holder, NAMES[at % 3]) for at, each in enumerate(held)]
        holdings.give(tx, moves)


def place_at_once(cloud: Cloud, servers: Servers) -> list[int]:
    """Each server with a writer and connections of its own, all at once; how many races each lost."""
    databases = (
        [cloud.database]
        if cloud.database.is_sqlite
        else [Database(cloud.database.url) for _ in NAMES]
    )
    writers = [Writer(each) for each in databases]
    loops = [servers.add(name, writer=writers[at % len(writers)]) for at, name in enumerate(NAMES)]
    spread(cloud, servers)
    for writer in writers:
        writer.start()
    waiting = "select count(*) from machine where attention"

    def work(loop):
        def run(_writer):
            for _ in range(200):
                loop.wake(held=True)
                loop.step()
                if cloud.rows(waiting) == [(0,)]:
                    break
            done = _Done()
            done.value = loop.figures.controller("machines").failures
            return done

        return run

    try:
        return all_at_once(cloud.database, [work(each) for each in loops])
    finally:
        for writer in writers:
            writer.stop()
        for each in databases:
            if each is not cloud.database:
                each.close()


class _Done:
    value = 0

    def result(self, _seconds: float) -> int:
        return self.value


def test_servers_that_place_for_their_farms_at_once_neither_overbook_nor_wait_in_a_ring(cloud):
    with_hosts(cloud, "a", "b", "c", "d", "e", "f")
    cloud.around = replace(cloud.around, land=None)
    customers = [cloud.account(f"customer-{number}") for number in range(9)]
    for each in customers:
        routed(cloud, each)
        cloud.deploy(each, name="web", count=7)
    races = place_at_once(cloud, Servers(cloud))
    assert races == [0, 0, 0]
    hosts = cloud.rows(
        """select h.machines, h.reserved_memory_mib,
           (select count(*) from machine m where m.host = h.id) from host h"""
    )
    assert hosts == [(ROOM, MIB, ROOM)] * 6, "full to the last place, and no fuller"
    assert cloud.rows("select count(*) from machine where state = 'waiting'") == [(0,)]
    told = "select count(*) from manifest_item i join machine m on m.id = i.id and m.host = i.host"
    assert cloud.rows(told) == [(6 * ROOM,)]


def test_machines_of_a_group_stay_apart_though_two_servers_place_them(cloud):
    """A group is its account's; its members may be in farms that different servers act for."""
    with_hosts(cloud, "a", "b", "c", "d", "e", "f")
    cloud.around = replace(cloud.around, land=None)
    me = cloud.account("me")
    cloud.do(me, groups.create, GroupIn(name="db", rule="apart"))
    routed(cloud, me)
    asked = [
        Asked(me, cloud.around, (deploy_in(name=f"db-{n}", group="db"), None)) for n in range(6)
    ]
    assert not any(isinstance(answer, CloudError) for answer in cloud.batch(*asked))
    for number in range(1, 3):
        cloud.run(
            "insert into farm (id, account, zone, name, created_at) values (:id, :a, 'zone-here', :id, 0)",
            id=FarmId(f"farm-{number}"),
            a=me.account,
        )
        cloud.run(
            "update machine set farm = :f where name like :n or name like :m",
            f=f"farm-{number}", n=f"db-{number}", m=f"db-{number + 3}",
        )  # fmt: skip
    place_at_once(cloud, Servers(cloud))
    hosts = cloud.rows("select host from machine where name like 'db-%'")
    assert len({host for (host,) in hosts}) == 6
