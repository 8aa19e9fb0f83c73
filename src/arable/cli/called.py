"""Names in the place of ids in tables for people, and before them in what is shown of one thing.

It takes a call for each noun that is referred to.

What can't be looked up (it is gone, or not for one's eyes) stays the id that it was.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
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


def one_by_names(cli: "Cli", value: Any) -> Any:
    """One thing as JSON knows it, with `name (id)` in all fields that refer to something else by its id."""
    plain = msgspec.to_builtins(value)
    references: dict[str, set[str]] = {}
    for name, text in _references(plain):
        references.setdefault(name, set()).add(text)
    names: dict[str, str] = {}
    for name, ids in references.items():
        names |= _names(cli, NOUNS[name], ids)
    return _named(plain, names)


def _references(value: Any) -> Iterator[tuple[str, str]]:
    """Nouns and ids."""
    if isinstance(value, list):
        for each in value:
            yield from _references(each)
    if not isinstance(value, dict):
        return
    for field, each in value.items():
        noun = NOUNS[BY_FIELD[field]] if field in BY_FIELD else None
        if noun and isinstance(each, str) and each.startswith(f"{noun.kind}-"):
            yield noun.name, each
        else:
            yield from _references(each)


def _named(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_named(each, names) for each in value]
    if not isinstance(value, dict):
        return value
    known = {
        field: f"{names[each]} ({each})"
        for field, each in value.items()
        if field in BY_FIELD and isinstance(each, str) and each in names
    }
    return {
        field: known.get(field) or _named(each, names)
        for field, each in value.items()
        if field.removesuffix("_name") not in known.keys() - {field}  # its name was said already
    }


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
