"""Names in the place of ids, in tables for people: a call for each noun that a table refers to, and none is needed.

What can't be looked up (it is gone, or not for one's eyes) stays the id that it was.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from arable.cli.nouns import BY_FIELD, NOUNS, PAGE, Noun, group_class, query_of

if TYPE_CHECKING:
    from arable.cli.speaking import Cli

_FEW = 3


def by_names(cli: "Cli", rows: Iterable[Any], columns: Sequence[str]) -> list[dict[str, Any]]:
    """The rows as JSON knows them, with names in the columns that refer to something else."""
    plain: list[dict[str, Any]] = msgspec.to_builtins(list(rows))
    for column in columns:
        noun = NOUNS[BY_FIELD[column]] if column in BY_FIELD else None
        if noun is None:
            continue
        ids = {str(row.get(column)) for row in plain}
        names = _names(cli, noun, {id_ for id_ in ids if id_.startswith(f"{noun.kind}-")})
        for row in plain:
            if row.get(column) in names:
                row[column] = names[row[column]]
    return plain


def _names(cli: "Cli", noun: Noun, ids: set[str]) -> dict[str, str]:
    from arable.client.errors import Refused

    group = getattr(cli.cloud, noun.group)
    found: list[Any] = []
    try:
        if len(ids) > _FEW:
            found = group.page(query_of(group_class(noun))(limit=PAGE)).items
        else:
            found = [group.get(id_) for id_ in sorted(ids)]
    except Refused:
        return {}
    return {each.id: getattr(each, noun.named) for each in found if each.id in ids}
