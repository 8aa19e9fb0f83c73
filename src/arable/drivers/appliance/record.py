"""What a namespace appliance can't be asked itself: of which wish it was last made, and from which texts.

One small file per appliance, replaced as a whole. It is written last, so it never claims what is not done; losing
it costs one reprogramming and no connection.
"""

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """`rules`, `process` and `guard` are digests of what the packet filter and dnsmasq were started with."""

    generation: int = 0
    public: bool = False
    link: bool = False
    rules: str = ""
    process: str = ""
    balancers: str = ""  # of what haproxy was started with; empty: there is none
    epoch: int = 0
    guard: str = ""  # of what makes it give way to a later one
    restarts: int = 0  # how often it was to be made anew by then
    pair: bool = False  # it is one of two
    leads: bool = False  # it did when it was looked at last, and was given a term then
    term: int = 0  # one more each time that it begins to lead
    made_at: str = ""  # for people


def read(path: Path) -> Record:
    """The record; an empty one when there is none that can be read."""
    try:
        told = json.loads(path.read_text())
        return Record(**{field.name: told[field.name] for field in fields(Record)})
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return Record()


def write(path: Path, record: Record) -> None:
    """The record is this one."""
    replace_text(path, json.dumps(asdict(record)))


def replace_text(path: Path, text: str) -> bool:
    """The file has this text, wholly or not at all. Whether it was another one before."""
    if path.exists() and path.read_text() == text:
        return False
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.chmod(0o644)
    fresh.rename(path)
    return True
