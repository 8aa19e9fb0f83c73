"""`arable machine console`: this terminal on a machine's serial console.

The terminal is made raw, so that Ctrl-C and the rest go to the machine, and is put back whatever happens: an error, a
signal, the machine's end. Ctrl-] leaves. Standard input may also be a pipe: it is sent as it comes, and after its end
we stay until the machine has been quiet for a while.
"""

import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arable.cli import names
from arable.cli.faults import Failed
from arable.cli.nouns import NOUNS
from arable.cli.speaking import Cli, command

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

ESCAPE = b"\x1d"  # Ctrl-]
_PIECE = 16 << 10
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class _Told(Exception):
    """A signal told us to leave."""


def _console(
    cli: Cli,
    machine: Annotated[str, typer.Argument(metavar="NAME", help="Name or id of the machine.")],
    linger: Annotated[
        float,
        typer.Option(
            help="After the end of standard input: leave when the machine was quiet for so long.",
            min=0.0,
            metavar="SECONDS",
        ),
    ] = 2.0,
) -> None:
    """Attach this terminal to a machine's serial console; Ctrl-] leaves.

    With a pipe as standard input: sends it, and prints what the machine says.
    """
    import websockets.exceptions as endings

    id_ = names.id_of(cli, NOUNS["machine"], machine)
    given = cli.cloud.machines.console(id_)
    if given.ticket is None:
        raise Failed("the server gave no ticket", todo="try again")
    try:
        with _connected(cli, given.ticket) as socket:
            if sys.stdin.isatty():
                cli.note(f"attached to {machine}; Ctrl-] leaves")
            ended = Terminal(socket, linger).run()
    except endings.InvalidStatus as error:
        raise Failed(
            f"the server refused the console ({error.response.status_code})", todo="try again"
        ) from error
    except (OSError, endings.WebSocketException) as error:
        raise Failed(f"the console can't be reached: {error}") from error
    if sys.stdin.isatty():
        cli.note(f"\nleft {machine}" if ended is None else f"\n{machine}: {ended}")
    elif ended is not None:
        raise Failed(ended)


@contextmanager
def _connected(cli: Cli, ticket: str) -> "Iterator[ClientConnection]":
    import httpx
    from websockets.sync.client import connect

    place = cli.place
    scheme, colon, rest = place.url.partition("://")
    context: Any = None
    if scheme == "https":
        context = httpx.create_ssl_context()
        if place.ca:
            context.load_verify_locations(cafile=place.ca)
    url = f"{'wss' if scheme == 'https' else 'ws'}{colon}{rest.rstrip('/')}/v1/console/{ticket}"
    headers = {"Authorization": f"Bearer {place.token}"} if place.token else {}
    with connect(
        url, ssl=context, proxy=None, additional_headers=headers, compression=None, max_size=1 << 20
    ) as socket:
        yield socket


class Terminal:
    """Standard input to the machine, the machine to standard output."""

    def __init__(self, socket: "ClientConnection", linger: float) -> None:
        self._socket = socket
        self._linger = linger
        self._stirred = threading.Event()
        self._over, self._over_said = os.pipe()
        self._ended: str | None = None
        self._failed: str | None = None

    def run(self) -> str | None:
        """Until Ctrl-], the end of the machine's side (why, if it says), or the end of a piped input."""
        reader = threading.Thread(target=self._print, daemon=True)
        try:
            with raw(sys.stdin.fileno()):
                reader.start()
                self._type()
        except _Told:
            pass
        finally:
            with suppress(Exception):
                self._socket.close()
            if reader.ident is not None:
                reader.join(10)
            os.close(self._over)
            os.close(self._over_said)
        return self._failed

    def _type(self) -> None:
        source = sys.stdin.fileno()
        while True:
            ready, _, _ = select.select([source, self._over], [], [])
            if self._over in ready:
                return
            try:
                data = os.read(source, _PIECE)
            except OSError:  # the terminal is gone
                return
            if not data:
                break
            before, escape, _ = data.partition(ESCAPE) if os.isatty(source) else (data, b"", b"")
            if before and not self._send(before):
                return
            if escape:
                return
        while self._stirred.wait(self._linger) and not self._ended:
            self._stirred.clear()

    def _send(self, data: bytes) -> bool:
        from websockets.exceptions import ConnectionClosed

        try:
            self._socket.send(data)
        except ConnectionClosed:
            select.select([self._over], [], [], 5)
            return False
        return True

    def _print(self) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            while True:
                said = self._socket.recv()
                _write(said.encode() if isinstance(said, str) else said)
                self._stirred.set()
        except ConnectionClosed as error:
            if error.rcvd is not None and error.rcvd.code != 1000:
                self._failed = error.rcvd.reason or f"closed ({error.rcvd.code})"
            elif error.rcvd is None and error.sent is None:
                self._failed = "the connection was lost"
        except OSError:
            pass  # nobody reads what we print
        finally:
            self._ended = "over"
            self._stirred.set()
            with suppress(OSError):
                os.write(self._over_said, b".")


def _write(data: bytes) -> None:
    """All of it; a terminal may take less at once."""
    while data:
        data = data[os.write(1, data) :]


@contextmanager
def raw(source: int) -> Iterator[None]:
    """The terminal passes every key on, until the end of the block; no terminal, nothing to do."""
    if not os.isatty(source):
        yield
        return
    before = termios.tcgetattr(source)
    handlers = {number: signal.signal(number, _leave) for number in _SIGNALS}
    try:
        tty.setraw(source)
        yield
    finally:
        termios.tcsetattr(source, termios.TCSADRAIN, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise _Told


console = command(_console)
