"""Talks to an ovsdb-server: one connection, transactions, and waiting until the switch has followed.

Over the unix socket in JSON-RPC (RFC 7047) instead of forking `ovs-vsctl`: a transaction costs a millisecond, is
atomic with the conditions it was decided on, and waiting is a subscription instead of a poll.
"""

import json
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from arable.domain.errors import Stale, Unavailable
from arable.drivers.network import unix_socket
from arable.runtime.clock import Clock

Row = Mapping[str, Any]
Operation = Mapping[str, Any]

DATABASE = "Open_vSwitch"


class Ovsdb:
    """A conversation. Use as a context manager; make a new one for each piece of work."""

    def __init__(self, db: str, clock: Clock, patience: float = 20.0) -> None:
        self._path = Path(db.removeprefix("unix:"))
        self._clock = clock
        self._patience = patience
        self._buffer = b""
        self._serial = 0
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        try:
            self._socket = unix_socket.connect(self._path, self._patience)
        except OSError as error:
            raise Unavailable(f"the switch's database does not answer: {error.strerror}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._socket:
            self._socket.close()

    def transact(self, *operations: Operation) -> list[dict[str, Any]]:
        """All of them or none. Raises `Stale` when a `wait` among them did not hold."""
        answer = self._ask("transact", [DATABASE, *operations])
        for result in answer:
            if result and result.get("error"):
                if result["error"] == "timed out":
                    raise Stale("the switch's configuration changed meanwhile")
                told = f"{result['error']}: {result.get('details', '')}"
                raise Unavailable("the switch's database refused a change", detail=told)
        return [result or {} for result in answer]

    def change(self, *operations: Operation) -> None:
        """Transact, and return when the switch has taken it over."""
        *_, counted = self.transact(
            *operations,
            {
                "op": "mutate",
                "table": "Open_vSwitch",
                "where": [],
                "mutations": [["next_cfg", "+=", 1]],
            },
            {"op": "select", "table": "Open_vSwitch", "where": [], "columns": ["next_cfg"]},
        )
        wanted = counted["rows"][0]["next_cfg"]
        self.until("Open_vSwitch", [], ["cur_cfg"], lambda row: bool(row["cur_cfg"] >= wanted))

    def until(
        self,
        table: str,
        where: Sequence[Any],
        columns: Sequence[str],
        holds: Callable[[Row], bool],
    ) -> None:
        """Return when `holds` is true of a row. Told by the server at each change; nothing is polled."""
        end = self._clock.monotonic() + self._patience
        request = {"columns": list(columns), "where": list(where)}
        monitor = f"m{self._serial}"
        first = self._ask("monitor_cond", [DATABASE, monitor, {table: [request]}])
        rows: dict[str, dict[str, Any]] = {}
        update: dict[str, Any] = first.get(table, {})
        while True:
            for key, change in update.items():
                new = change.get("initial") or change.get("insert") or change.get("modify")
                if new is None:
                    rows.pop(key, None)
                else:
                    rows[key] = {**dict.fromkeys(columns, EMPTY), **rows.get(key, {}), **new}
            if any(holds(row) for row in rows.values()):
                self._ask("monitor_cancel", [monitor])
                return
            message = self._receive(end)
            update = {}
            if message.get("method") == "update2" and message["params"][0] == monitor:
                update = message["params"][1].get(table, {})

    def _ask(self, method: str, params: list[Any]) -> Any:
        self._serial += 1
        serial = self._serial
        self._send({"method": method, "params": params, "id": serial})
        end = self._clock.monotonic() + self._patience
        while True:
            message = self._receive(end)
            if message.get("id") == serial and "method" not in message:
                if message.get("error"):
                    raise Unavailable(
                        "the switch's database refused a request", detail=str(message["error"])
                    )
                return message["result"]

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._socket, "used outside of its with block"
        self._socket.sendall(json.dumps(message).encode())

    def _receive(self, end: float) -> dict[str, Any]:
        assert self._socket, "used outside of its with block"
        while True:
            message = self._next_message()
            if message is not None:
                if message.get("method") == "echo":
                    self._send({"result": message["params"], "error": None, "id": message["id"]})
                    continue
                return message
            left = end - self._clock.monotonic()
            if left <= 0:
                raise Unavailable("the switch does not follow its configuration")
            self._socket.settimeout(left)
            try:
                chunk = self._socket.recv(1 << 16)
            except TimeoutError:
                continue
            if not chunk:
                raise Unavailable("the switch's database hung up")
            self._buffer += chunk

    def _next_message(self) -> dict[str, Any] | None:
        """Messages follow one another without a separator; a message is complete when it parses."""
        try:
            text = self._buffer.decode()
            message, used = json.JSONDecoder().raw_decode(text)
        except ValueError:
            return None
        self._buffer = text[used:].lstrip().encode()
        return dict(message)


EMPTY: list[Any] = ["set", []]


def to_set(items: Sequence[Any] | frozenset[Any]) -> list[Any]:
    """A set as the protocol writes it."""
    return ["set", sorted(items)]


def to_map(items: Mapping[str, str]) -> list[Any]:
    """A map as the protocol writes it."""
    return ["map", sorted([key, value] for key, value in items.items())]


def from_set(value: Any) -> list[Any]:
    """The members of what is a set, or one value standing for a set of one; ids as their text."""
    members = value[1] if isinstance(value, list) and value[0] == "set" else [value]
    return [m[1] if isinstance(m, list) and m[0] == "uuid" else m for m in members]


def from_map(value: Any) -> dict[str, str]:
    """A map as a dictionary."""
    return {str(key): str(item) for key, item in value[1]}


def first(value: Any) -> Any:
    """The one member of an optional column, or None."""
    members = from_set(value)
    return members[0] if members else None
