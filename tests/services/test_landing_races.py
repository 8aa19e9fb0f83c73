"""Several servers that place at once, each by what it remembers of the hosts: no host is given more than it has."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from make_cloud import deploy_in, make_cloud
from test_customer_races import all_at_once
from test_landing import MIB, attend, routed, with_hosts

from arable.controllers import machines as placer
from arable.controllers.landing import Landing
from arable.domain.errors import CloudError
from arable.services import deployments
from arable.services.call import Asked
from arable.store import reservations
from arable.store.database import Database
from databases import fresh

ROOM = MIB // 512


def test_servers_that_land_machines_at_once_never_overbook_a_host(cloud):
    with_hosts(cloud, "a", "b", "c")
    me, you = cloud.account("me"), cloud.account("you")
    for who in (me, you):
        routed(cloud, who)
    servers = [replace(cloud.around, land=Landing(lambda _tx, farms: farms)) for _ in range(4)]

    def deploying(number: int):
        who = (me, you)[number // 4 % 2]
        ask = deploy_in(name=f"m-{number}", count=1 + number % 3)
        asked = Asked(who, servers[number % 4], (ask, None))
        return lambda writer: writer.submit_batch(deployments.deploy_batch, asked)

    def placing(_number: int):
        now = cloud.around.clock.now()
        return lambda writer: writer.submit(lambda tx: placer.attend(tx, now))

    asks = [(placing if number % 7 == 6 else deploying)(number) for number in range(40)]
    answers = all_at_once(cloud.database, asks)
    assert not [answer for answer in answers if isinstance(answer, CloudError)]
    attend(cloud)
    hosts = cloud.rows(
        """select h.machines, h.reserved_memory_mib,
           (select count(*) from machine m where m.host = h.id) from host h"""
    )
    assert [(count, used) for count, used, _there in hosts] == [(ROOM, MIB)] * 3
    assert [there for _count, _used, there in hosts] == [ROOM] * 3
    assert cloud.rows("select count(*) from machine where state = 'waiting'") == [(0,)]
    told = cloud.rows(
        "select count(*) from manifest_item i join machine m on m.id = i.id and m.host = i.host"
    )
    assert told == [(3 * ROOM,)]
    late = "select count(*) from manifest_item i join host h on h.id = i.host where i.generation > h.manifest_generation"  # fmt: skip
    assert cloud.rows(late) == [(0,)]


@pytest.fixture
def postgresql_database(tmp_path, request) -> Iterator[Database]:
    with fresh("postgresql", tmp_path, request) as made:
        yield made


def test_where_somebody_holds_the_chosen_host_another_is_chosen(postgresql_database):
    cloud = make_cloud(postgresql_database)
    with_hosts(cloud, "a", "b", "c", "d")
    me = cloud.account("me")
    routed(cloud, me)
    held = {"host-b", "host-c"}
    with cloud.database.write() as theirs:
        reservations.hold(theirs, held)
        cloud.deploy(me, name="web", count=ROOM + 1)
        placed = cloud.rows(
            "select host, count(*) from machine where host is not null group by host"
        )
        assert sum(count for _host, count in placed) == ROOM + 1
        assert {host for host, _count in placed} == {"host-a", "host-d"}
    cloud.deploy(me, name="more", count=ROOM)
    after = cloud.rows("select host from machine where host is not null")
    assert {host for (host,) in after} > held, "they are closed for that one batch"
