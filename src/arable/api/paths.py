"""From a method and a path to a row, in a few dictionary look-ups: a list of patterns would cost more than the call."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from arable.api.problems import Fault
from arable.domain import ids
from arable.domain.errors import NotFound

R = TypeVar("R")


@dataclass
class _Node(Generic[R]):
    words: "dict[str, _Node[R]]" = field(default_factory=dict)
    kind: str = ""  # the kind of id that may stand here
    below: "_Node[R] | None" = None  # after an id
    rows: dict[str, R] = field(default_factory=dict)  # by method


class Paths(Generic[R]):
    """Rows by method and path template. A word goes before an id where both may stand."""

    def __init__(self, rows: Iterable[tuple[str, str, R]]) -> None:
        self._root: _Node[R] = _Node()
        for method, path, row in rows:
            node = self._place(path)
            if method in node.rows:
                raise ValueError(f"{method} {path} is there twice")
            node.rows[method] = row

    def find(self, method: str, path: str) -> tuple[R, tuple[str, ...]]:
        """The row, and the ids in its path. Raises `NotFound`, `BadInput` for a text that is no id, or `Fault` 405."""
        node = self._root
        found: list[tuple[str, str]] = []
        for part in path.split("/")[1:]:
            after = node.words.get(part)
            if after is None:
                after = node.below
                if after is None:
                    raise NotFound("there is nothing at this path")
                found.append((node.kind, part))
            node = after
        row = node.rows.get(method)
        if row is None:
            raise self._refused(node.rows, method)
        return row, tuple(ids.check(kind, part, field=kind) for kind, part in found)

    def _place(self, path: str) -> _Node[R]:
        node = self._root
        for part in path.split("/")[1:]:
            if not part.startswith("{"):
                node = node.words.setdefault(part, _Node())
                continue
            kind = part[1:-1]
            if node.below is None:
                node.kind, node.below = kind, _Node()
            if node.kind != kind:
                raise ValueError(f"{path}: here stands the id of a {node.kind} elsewhere")
            node = node.below
        return node

    @staticmethod
    def _refused(rows: Mapping[str, R], method: str) -> Exception:
        if not rows:
            return NotFound("there is nothing at this path")
        allowed = ", ".join(sorted(rows))
        return Fault(
            405,
            "method-not-allowed",
            f"{method} does not work here; these do: {allowed}",
            {b"allow": allowed.encode()},
        )
