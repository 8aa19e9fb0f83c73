"""What a process writes to its log: text for people, or JSON for machines, one line for each unit of work.

A unit of work (a call, a controller's round, an operation's end, what an agent did) is told once, when it is over, with
its facts: ids, counts, how long it took. As JSON all of them are there; as text they would bury what people look for,
so they are left out unless asked for (`verbose`). Facts are ids, names and numbers, and never what somebody sent: that
holds secrets.
"""

import logging
import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec

TEXT = "%(asctime)s %(name)s %(levelname)s %(message)s"
UNITS = "arable.units"
"""Above all loggers of units of work."""

_LOUD = {
    "websockets": logging.INFO,
    "httpx": logging.WARNING,  # a line for each request, with its URL
    "httpcore": logging.INFO,
    "asyncio": logging.INFO,
    "alembic": logging.INFO,
    "sqlalchemy": logging.WARNING,  # from INFO on, each statement
}
"""Others' libraries, and from where on they are heard: below it they tell every byte, passwords among them."""
_FACTS = "arable_facts"


class Form(StrEnum):
    """How lines look."""

    TEXT = "text"
    JSON = "json"


def configure(form: Form, who: str, *, verbose: bool = False) -> None:
    """All of this process goes to standard error. `who` says in JSON which: `server` or `agent`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(who) if form is Form.JSON else _Text(TEXT))
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True
    )
    # What no line of ours says need not be found out for each: half the cost of a line.
    logging._srcfile = None  # noqa: SLF001 - as the documentation of `logging` advises
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    told = verbose or form is Form.JSON
    logging.getLogger(UNITS).setLevel(logging.INFO if told else logging.WARNING)
    for name, level in _LOUD.items():
        logging.getLogger(name).setLevel(level)


def units(of: str) -> logging.Logger:
    """Where units of this sort are told: `calls`, `rounds`."""
    return logging.getLogger(f"{UNITS}.{of}")


def tell(log: logging.Logger, text: str, /, level: int = logging.INFO, **facts: Any) -> None:
    """One line. Facts that are empty text or None are left out."""
    if log.isEnabledFor(level):
        known = {name: value for name, value in facts.items() if value not in ("", None)}
        log.log(level, "%s", text, extra={_FACTS: known})


def milliseconds(seconds: float) -> float:
    """As durations are told."""
    return round(seconds * 1000, 1)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        facts = getattr(record, _FACTS, {})
        line = super().format(record)
        return f"{line} {' '.join(f'{n}={v}' for n, v in facts.items())}" if facts else line


class _Json(logging.Formatter):
    """One object a line: nothing in it can begin a line of its own."""

    def __init__(self, who: str) -> None:
        super().__init__()
        self._who = who

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "at": at.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._who,
            "logger": record.name,
            "text": record.getMessage(),
            **getattr(record, _FACTS, {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()
