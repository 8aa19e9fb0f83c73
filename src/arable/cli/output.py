"""How answers are written: tables for people, JSON and YAML for programs.

Tables are never cut to a terminal's width, so what can be seen can also be piped. A program gets exactly what the API
answered, all fields of it.
"""

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec
import typer

from arable.cli.faults import harmless

_EMPTY = "-"
_TABLES = {"lines": ("kind", "name", "farm_name/farm", "order", "reference", "quantity", "price", "amount")}  # fmt: skip
"""Of what people read one below the other, the columns: a bill's lines."""


class Format(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def write(value: Any, form: Format, columns: Sequence[str] = ()) -> None:
    """A struct, a list of them, or what JSON knows."""
    match form:
        case Format.JSON:
            text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
        case Format.YAML:
            text = _yaml(msgspec.to_builtins(value))
        case Format.TABLE:
            plain = msgspec.to_builtins(value)
            text = table(plain, columns) if isinstance(plain, list | tuple) else card(plain)
    if text:
        typer.echo(text.rstrip("\n"))


def _yaml(value: Any) -> str:
    import yaml

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=False))


def table(rows: Iterable[Any], columns: Sequence[str]) -> str:
    """A line for each, under headings."""
    found = list(rows)
    if not found:
        return ""
    names = columns or tuple(_flat(found[0]))
    lines = [[name.rpartition("/")[2].replace("_", " ").upper() for name in names]]
    lines += [[cell(_at(row, name.partition("/")[0])) for name in names] for row in found]
    widths = [max(len(line[at]) for line in lines) for at in range(len(names))]
    written = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in lines]
    if sys.stdout.isatty():
        written[0] = typer.style(written[0], bold=True)
    return "\n".join(line.rstrip() for line in written)


def card(value: Any) -> str:
    """One thing: a line for each field, those that hold several things indented below."""
    if not isinstance(value, dict):
        return "" if value is None else cell(value)
    return "\n".join(_card(value, ""))


def _card(value: dict[str, Any], indent: str) -> Iterable[str]:
    width = max((len(name) for name in value), default=0)
    for name, field in value.items():
        if isinstance(field, dict) and field and not _is_small(field):
            yield f"{indent}{name}:"
            yield from _card(field, indent + "  ")
        elif name in _TABLES and field:
            yield f"{indent}{name}:"
            yield from (f"{indent}  {line}" for line in table(field, _TABLES[name]).splitlines())
        elif isinstance(field, list | tuple) and field and isinstance(field[0], dict):
            yield f"{indent}{name}:"
            for each in field:
                yield f"{indent}  - {_inline(each)}"
        else:
            yield f"{indent}{name.ljust(width)}  {cell(field)}"


def _is_small(value: dict[str, Any]) -> bool:
    return len(value) <= 4 and not any(isinstance(each, dict | list) for each in value.values())


def _inline(value: dict[str, Any]) -> str:
    return "  ".join(f"{name}={cell(each)}" for name, each in value.items() if each is not None)


def cell(value: Any) -> str:
    """A value in one line."""
    if value is None or value in ("", [], (), {}):
        return _EMPTY
    match value:
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ",".join(cell(each) for each in value)
        case dict():
            return _inline(value)
        case str():
            return harmless(_moment(value)).replace("\n", " ")
        case _:
            return harmless(value)


def _moment(text: str) -> str:
    """A time as a person reads it; any other text as it is."""
    if len(text) >= 20 and text[4] == "-" and text[10] == "T":
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            return text
        return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
    return text


def _at(row: Any, path: str) -> Any:
    """Follow a dotted path; `*` means each of a list."""
    step, _, rest = path.partition(".")
    if step == "*":
        return [_at(each, rest) if rest else each for each in row or ()]
    value = row.get(step) if isinstance(row, dict) else None
    return _at(value, rest) if rest else value


def _flat(row: dict[str, Any]) -> Iterable[str]:
    return (name for name, value in row.items() if not isinstance(value, dict | list))
