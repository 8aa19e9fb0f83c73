"""One agent's channel: a websocket without anything in between.

The handshake and the frames are the `websockets` library's, used without its I/O. A task and a queue for each
connection, as ASGI has them, cost a fifth more for each message and three times the memory (docs/performance.md);
here a frame is handed on in the very call that brought it, and what is sent is written at once.
"""

import asyncio
import logging
from typing import Protocol, cast

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from arable.api.gateway.pace import Pace
from arable.domain.errors import BadInput
from arable.domain.ids import HostId
from arable.domain.manifest import HostReport
from arable.runtime.ca import Peer
from arable.runtime.metrics import GatewayFigures
from arable.wire.agent import Hello, Report, from_agent

MOST = 8 << 20
"""Bytes of one message: a full report of a host with thousands of guests."""

BAD_MESSAGE = 4400
EXPIRED = 4401
NOT_YOURS = 4403
REMOVED = 4404
SILENT = 4408
TAKEN_OVER = 4409
"""Close codes of ours. Whatever it is, the agent comes back after a while and says `Hello` anew."""

_quiet = logging.getLogger(f"{__name__}.protocol")
_quiet.setLevel(logging.WARNING)  # a line for each connection of ten thousand helps nobody
_SHOWN = 120  # bytes of a reason; a close frame has room for 123


class Listener(Protocol):
    """Hears what the channels bring. Never blocks."""

    figures: GatewayFigures
    pace: Pace

    def crowded(self) -> int:
        """In how many seconds somebody should come back for whom there is no time now; 0: there is."""

    def opened(self, channel: "Channel") -> None: ...

    def greeted(self, channel: "Channel", hello: Hello) -> None: ...

    def reported(self, channel: "Channel", report: HostReport) -> None: ...

    def drained(self, channel: "Channel") -> None: ...

    def closed(self, channel: "Channel") -> None: ...


class Channel(asyncio.Protocol):
    """What the listener keeps of the host is here too: `have` is the generation that was sent to it last."""

    def __init__(self, host: HostId, peer: Peer, listener: Listener) -> None:
        self.host = host
        self.peer = peer
        self.have = 0
        self.ready = False  # greeted, and kept in the store
        self.fresh = False  # is owed a change even when there is nothing new
        self.choked = False  # does not read as fast as we write
        self.open = False
        self.heard_at = 0.0
        self.said = -1  # the generation that its host held at its last report
        self.moves = False  # goes elsewhere when it is asked to ...
        self.asked_at = 0.0  # ... and when it was asked last
        self.noted_at = 0.0  # when the store was told last that this host was heard
        self.early: list[HostReport] = []  # came before the greeting was kept
        self._listener = listener
        self._conn = ServerProtocol(max_size=MOST, logger=_quiet)
        self._parts: list[bytes] = []
        self._text = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.open = True
        self._listener.opened(self)

    def data_received(self, data: bytes) -> None:
        self._conn.receive_data(data)
        for event in self._conn.events_received():
            if isinstance(event, Request):
                self._conn.send_response(self._conn.accept(event))
            elif isinstance(event, Frame) and self._conn.state is State.OPEN:
                self._frame(event)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.open = self.ready = False
        self._listener.closed(self)

    def pause_writing(self) -> None:
        self.choked = True

    def resume_writing(self) -> None:
        self.choked = False
        self._listener.drained(self)

    def send(self, message: bytes) -> None:
        """One text frame. What can't be sent any more is lost, and the next greeting tells what is missing."""
        if not self.open or self._conn.state is not State.OPEN:
            return
        figures = self._listener.figures
        figures.frames += 1
        figures.sent += len(message)
        self._conn.send_text(message)
        self._flush()

    def close(self, code: int, reason: str) -> None:
        """Say why, and hang up when the other end has heard, or does not listen."""
        self.ready = False
        if self.open and self._conn.state is State.OPEN:
            self._conn.send_close(code, _short(reason))
            self._flush()

    def abort(self) -> None:
        """Hang up."""
        self.ready = False
        if self.open:
            self._transport.abort()

    def pause(self) -> None:
        """Read no more until `resume`: the agent has to wait."""
        if self.open and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self.open and not self._transport.is_closing():
            self._transport.resume_reading()

    def shutdown(self) -> None:
        """The server stops."""
        self.close(1012, "this management server stops; come back, or go to another one")

    def _frame(self, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.TEXT | Opcode.BINARY:
                self._text = frame.opcode is Opcode.TEXT
                if frame.fin:
                    self._message(frame.data)
                else:
                    self._parts = [bytes(frame.data)]
            case Opcode.CONT:
                self._parts.append(bytes(frame.data))
                if frame.fin:
                    parts, self._parts = self._parts, []
                    self._message(b"".join(parts))
            case _:
                pass  # pings are answered by the library

    def _message(self, data: bytes | bytearray | memoryview) -> None:
        if not self._text:
            self.close(1003, "messages are text")
            return
        self._listener.figures.received += len(data)
        try:
            message = from_agent(bytes(data))
        except (BadInput, RecursionError) as error:
            self.close(BAD_MESSAGE, str(error))
            return
        match message:
            case Report(report=report):
                self._listener.reported(self, report)
            case Hello():
                self._listener.greeted(self, message)

    def _flush(self) -> None:
        for data in self._conn.data_to_send():
            if data:
                self._transport.write(data)
            else:
                self._transport.close()  # TLS has no half-closed connection


def _short(reason: str) -> str:
    return reason.encode()[:_SHOWN].decode(errors="ignore")
