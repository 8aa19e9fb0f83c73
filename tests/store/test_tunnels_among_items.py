"""Whether a host is still told of a tunnel is looked up among the tunnels, not among all that all hosts are told."""

import pytest
from sqlalchemy.sql.elements import ClauseElement

from arable.sim.in_memory import in_memory
from arable.store import routing, schema, vlans


@pytest.mark.parametrize(
    "query", [vlans._free_links()[0], routing._leaving()], ids=["links", "networks"]
)
def test_no_manifest_is_read_from_end_to_end(query: ClauseElement) -> None:
    database = in_memory()
    with database.write() as tx:
        schema.metadata.create_all(tx)
        words = query.compile(dialect=tx.dialect)
        given = tuple(words.params[name] or 1 for name in words.positiontup or ())
        plan = [row[3] for row in tx.exec_driver_sql(f"explain query plan {words}", given)]
    database.close()
    (items,) = (step for step in plan if "manifest_item" in step)
    assert "ix_manifest_item_tunnel" in items
    assert items.startswith("SEARCH")
