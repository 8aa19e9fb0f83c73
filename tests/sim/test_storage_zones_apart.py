"""The world's look at storage zones sees what is wrong: by rows, and by what hosts have."""

from pathlib import Path

import pytest
from sqlalchemy import text

from arable.domain.ids import StorageZoneId
from arable.services import deployments
from arable.sim import invariants
from arable.sim.cloud import Cloud
from arable.sim.ground import IMAGE, SHARED, Room
from arable.wire.machines import DeployIn


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    made = Cloud.build("zones", tmp_path, Room(pods=1, hosts=2, storage=1))
    ask = DeployIn(name="m", offering=SHARED, image=IMAGE)
    made.ask(made.ground.callers[0], lambda call: deployments.deploy(call, ask, None))
    made.settle_down(12)
    return made


def broken(cloud: Cloud) -> str:
    hosts = {id_: each.hardware for id_, each in cloud.nodes.items()}
    with cloud.database.read() as tx:
        try:
            invariants.always(tx, hosts)
        except invariants.Broken as told:
            return str(told)
    return ""


def test_disks_are_masked_by_their_farm_and_another_mask_is_seen(cloud: Cloud) -> None:
    pools = [pool for node in cloud.nodes.values() for pool in node.hardware.pools.values()]
    (masked,) = (pool for pool in pools if pool.masks)
    ((volume, (within, since)),) = masked.masks.items()
    with cloud.database.read() as tx:
        assert within == tx.execute(text("select id from farm")).scalar_one()
    assert not broken(cloud)
    masked.masks[volume] = (StorageZoneId("farm-other"), since)
    assert "reaches" in broken(cloud)
    masked.masks[volume] = (within, since)
    with cloud.database.write() as tx:
        tx.execute(text("update volume set storage_zone = 'farm-other'"))
    assert "has it" in broken(cloud)
    cloud.database.close()
