"""Settings as they are now: the stored value, or the default (`domain/settings.py` has the table)."""

from collections.abc import Mapping

import msgspec
from sqlalchemy import delete, select, text

from arable.domain.errors import BadInput
from arable.domain.settings import SETTINGS, Setting, V
from arable.store import schema
from arable.store.database import Tx

# In the driver's words: every round asks for some, and SQLAlchemy's way there costs more than the answer.
_GET = {
    "sqlite": "select value from setting where name = ?",
    "postgresql": "select value::text from setting where name = %s",
}
_SET = text("""
    insert into setting (name, value) values (:name, :value)
    on conflict (name) do update set value = excluded.value
""")


def get(tx: Tx, setting: Setting[V]) -> V:
    """One setting."""
    text_ = tx.exec_driver_sql(_GET[tx.dialect.name], (setting.name,)).scalar_one_or_none()
    if text_ is None:
        return setting.default
    try:
        return setting.check(msgspec.json.decode(text_))
    except BadInput:
        return setting.default


def all_of(tx: Tx) -> dict[str, int | str]:
    """Every setting by name."""
    row = schema.setting.c
    stored = {each.name: each.value for each in tx.execute(select(row.name, row.value))}
    return {name: _fitting(setting, stored.get(name)) for name, setting in SETTINGS.items()}


def put(tx: Tx, values: Mapping[str, int | str]) -> None:
    """Store values that were checked."""
    rows = [
        {"name": name, "value": msgspec.json.encode(value).decode()}
        for name, value in sorted(values.items())
    ]
    if rows:
        tx.execute(_SET, rows)


def reset(tx: Tx, name: str) -> None:
    """Back to the default."""
    tx.execute(delete(schema.setting).where(schema.setting.c.name == name))


def _fitting(setting: Setting[int] | Setting[str], value: object) -> int | str:
    try:
        return setting.check(value)
    except BadInput:
        return setting.default
