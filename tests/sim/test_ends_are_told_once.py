"""That an operation has ended is told once, by the server that ended it, however many servers look at it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from arable.domain.errors import BadInput
from arable.services import deployments
from arable.services.endings import Endings
from arable.sim.cloud import Cloud
from arable.sim.ground import IMAGE, OFFERING, Room
from arable.sim.region import Region
from arable.store import operations
from arable.store.database import Tx
from arable.store.ended import Ended
from arable.store.nudges import collected
from arable.store.writer import Writer
from arable.wire.machines import DeployIn


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    made = Region.of("told once", tmp_path, Room(pods=1, hosts=3, servers=3))
    made.live(20.0)
    yield made
    made.database.close()


def deploy(cloud: Cloud, count: int, name: str = "web") -> None:
    wish = DeployIn(name=name, count=count, offering=OFFERING, image=IMAGE)
    cloud.ask_batch(cloud.ground.callers[0], deployments.deploy_batch, wish, None)


def ended(cloud: Cloud) -> set[str]:
    with cloud.database.read() as tx:
        query = "select id from operation where state <> 'running'"
        return {row[0] for row in tx.exec_driver_sql(query)}


def test_by_one_server_of_three_though_hosts_are_at_all_of_them(region: Region) -> None:
    for count in (3, 2, 1):
        deploy(region, count, f"of{count}")
        region.live(3.0)
    region.live(60.0)
    assert len({node.wire.server for node in region.nodes.values()}) > 1
    assert len(ended(region)) == 3
    assert region.told_ends == dict.fromkeys(ended(region), 1)


def test_a_server_that_looks_late_tells_nothing_of_what_another_has_ended(region: Region) -> None:
    """It has written a step of the operation, stands still, and then sees that the operation is over."""
    told: list[tuple[str, str]] = []

    def endings(name: str) -> Endings:
        return Endings(region.database, name, lambda each: told.append((name, each.id)), True)

    one, other = endings("one"), endings("other")
    for server in region.servers.values():
        server.endings = endings("nobody")
    deploy(region, 1)
    at = region.clock.now()
    with region.database.write() as tx:
        (id_,) = tx.exec_driver_sql("select id from operation where state = 'running'").one()
        operations.advance(tx, id_, "placed: 1", at)
        steps = collected(tx)
        assert operations.topic(id_) in steps.topics
    with region.database.write() as tx:
        operations.settle_many(tx, {id_: (1, None)}, at)
        ends = collected(tx)
    for each, nudges in ((other, ends), (one, steps)):
        each.nudged(nudges.ended)
        assert each.step()
    assert told == [("other", id_)]


def test_what_was_rolled_back_is_not_told(region: Region) -> None:
    """A piece of a transaction that fails ends nothing, whatever the others of the same transaction do."""
    deploy(region, 1)
    found: list[set[str]] = []
    writer = Writer(region.database, lambda nudges: found.append(nudges.ended))

    def fails(tx: Tx) -> None:
        (id_,) = tx.exec_driver_sql("select id from operation where state = 'running'").one()
        operations.settle_many(tx, {id_: (1, None)}, region.clock.now())
        raise BadInput("after all")

    refused = writer.submit(fails)
    done = writer.submit(lambda _tx: None)
    writer.run_waiting()
    assert isinstance(refused.exception(), BadInput)
    assert done.exception() is None
    assert found == [set()]


def test_ends_wait_while_the_store_does_not_answer(region: Region) -> None:
    told: list[Ended] = []
    server = next(iter(region.servers.values()))
    endings = Endings(server.database, server.name, told.append, listening=True)
    deploy(region, 1)
    region.live(30.0)
    endings.nudged(ended(region))
    region.away = True
    assert not endings.step()
    region.away = False
    assert endings.step()
    assert [each.id for each in told] == sorted(ended(region))
