"""Rounds find farms by what waits in them: what a database reads for that does not grow with farms and machines at rest.

SQLite knows nothing of how many rows there are, and by itself goes through all farms and then through all that they have.
"""

import re
from datetime import UTC, datetime

import pytest
from sqlalchemy import event

from arable.domain.ids import SegmentId
from arable.sim.in_memory import in_memory
from arable.store import (
    elements,
    holdings,
    nics,
    recoveries,
    scalings,
    schema,
    volume_replicas,
)

ME, NOW = SegmentId("segment-a"), datetime(2030, 1, 1, tzinfo=UTC)
ASKS = {
    "machines": (lambda tx: holdings.wanting_machines(tx, ME, 9), "ix_machine_attention"),
    "networks": (lambda tx: holdings.wanting_networks(tx, ME, 9), "ix_network_attention"),
    "documents": (lambda tx: holdings.wanting_documents(tx, ME, 9), "ix_farm_spec_attention"),
    "expunging": (lambda tx: holdings.wanting_expunging(tx, ME, NOW, 9), "ix_machine_destroyed"),
    "tiers": (lambda tx: elements.wanting(tx, ME, NOW, 9), "ix_tier_attention"),
    "scaling": (lambda tx: scalings.wanting(tx, ME, NOW, 10, 9), "tier_scaling"),
    "ports": (lambda tx: nics.forsaken(tx, 9), "ix_nic_leaving"),
    "lost machines": (lambda tx: recoveries.run_out(tx, 9), "ix_machine_host"),
    "replicas": (lambda tx: volume_replicas.lacking(tx, 9), "ix_volume_unreplicated"),
}


@pytest.fixture(scope="module")
def database():
    made = in_memory()
    with made.write() as tx:
        schema.metadata.create_all(tx)
    yield made
    made.close()


@pytest.mark.parametrize("name", ASKS)
def test_work_is_found_by_its_index_and_farms_by_their_ids(database, name) -> None:
    ask, index = ASKS[name]
    said = []

    def note(_connection, _cursor, statement, given, *_rest) -> None:
        said.append((statement, given))

    event.listen(database.engine, "before_cursor_execute", note)
    with database.read() as tx:
        ask(tx)
        event.remove(database.engine, "before_cursor_execute", note)
        statement, given = said[-1]
        plan = [row[3] for row in tx.exec_driver_sql(f"explain query plan {statement}", given)]
    assert any(index in step for step in plan), plan
    farms = [step for step in plan if re.match(r"(SCAN|SEARCH) farm\b", step)]
    assert all("(id=?)" in step for step in farms), plan
    for table in ("machine", "volume", "nic", "element"):
        assert f"SCAN {table}" not in plan
