"""Where real servers share a PostgreSQL it is asked the same as the simulated world's SQLite: each look is a statement of both."""

from functools import partial

from arable.sim import farm_invariants, invariants
from arable.store.database import Database


def test_every_look_is_understood_by_either_database(database: Database) -> None:
    with database.read() as tx:
        look = partial(invariants._rows, tx)
        invariants.always(tx, {})
        for of_farms in ("_strangers", "_bounds", "_uses", "_releases", "_taken_away", "_parts"):
            assert list(getattr(farm_invariants, of_farms)(look)) == []
        assert list(farm_invariants._cut_off(look, {})) == []
        assert list(farm_invariants.at_rest(look)) == []
