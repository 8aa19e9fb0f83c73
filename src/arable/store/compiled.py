"""Statements compiled once for many databases of a kind.

SQLAlchemy keeps what it has compiled with each engine. Tests and simulations have a database each, a short one, and would
spend more time on compiling the same statements anew than on anything else.
"""

from typing import Any

from sqlalchemy import Dialect
from sqlalchemy.util import LRUCache

from arable.store.database import Database

_MOST = 3000  # statements: more than there are


class Compiled:
    """What was compiled for the databases of one kind that one server or library serves."""

    def __init__(self) -> None:
        self._dialect: Dialect | None = None
        self._statements: LRUCache[Any, Any] = LRUCache(_MOST)

    def serve(self, made: Database) -> Database:
        """The same database, which uses and adds to these from now on."""
        if self._dialect is None:
            with made.read():  # only then it knows whom it talks to
                self._dialect = made.engine.dialect
        made.engine.dialect = self._dialect
        made.engine.update_execution_options(compiled_cache=self._statements)
        return made
