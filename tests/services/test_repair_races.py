"""The slow check looks several times in one transaction; what others commit between two looks is no difference."""

from collections.abc import Iterator

import pytest
from make_cloud import Cloud, make_cloud
from sqlalchemy import event
from test_landing import routed, with_hosts

from arable.controllers import repair

WISHES = "select id from manifest_item where kind = 'guest' and body is not null order by id"


@pytest.fixture(autouse=True)
def whole(monkeypatch):
    """Everything is looked at in one round."""
    monkeypatch.setattr(repair, "ALPHABET", ("",))


@pytest.fixture
def shared_cloud(postgresql) -> Iterator[Cloud]:
    """On PostgreSQL: SQLite has one writer at a time, so nobody lands in between."""
    with postgresql.one() as database:
        yield make_cloud(database)


def check(cloud: Cloud) -> int:
    with cloud.database.write() as tx:
        return repair.check(tx, cloud.around.clock.now())


@pytest.mark.parametrize("look", ["FROM machine", "FROM manifest_item"])
def test_a_machine_that_lands_between_two_looks_keeps_its_wish(shared_cloud, look):
    cloud = shared_cloud
    with_hosts(cloud, "a")
    me = cloud.account("me")
    routed(cloud, me)
    begun: list[bool] = []
    landed = [cloud.deploy(me, name="before").machines[0].id]

    def meanwhile(_tx, _cursor, statement, *_rest) -> None:
        if look in statement and not begun:
            begun.append(True)
            landed.append(cloud.deploy(me, name="meanwhile").machines[0].id)

    event.listen(cloud.database.engine, "after_cursor_execute", meanwhile)
    assert check(cloud) == 0
    assert len(landed) == 2
    assert [id_ for (id_,) in cloud.rows(WISHES)] == sorted(landed)
    assert cloud.rows("select count(*) from machine where attention") == [(0,)]


def test_a_wish_that_nobody_has_is_taken_back(cloud):
    with_hosts(cloud, "a", "b")
    me = cloud.account("me")
    routed(cloud, me)
    kept = cloud.deploy(me, name="kept").machines[0].id
    ((host,),) = cloud.rows("select host from machine where id = :id", id=kept)
    other = "host-b" if host == "host-a" else "host-a"
    for where, machine in (("host-a", "machine-0"), (other, kept)):
        cloud.run(
            "insert into manifest_item (host, kind, id, generation, body) "
            "values (:host, 'guest', :machine, 1, '{}')",
            host=where,
            machine=machine,
        )
    assert check(cloud) == 2
    assert cloud.rows(WISHES) == [(kept,)]
