"""Databases of simulated clouds: in memory, for one thread, and compiled for once."""

from arable.store.compiled import Compiled
from arable.store.database import Database

_COMPILED = Compiled()


def in_memory() -> Database:
    """An empty one, without tables."""
    return _COMPILED.serve(Database("sqlite://"))
