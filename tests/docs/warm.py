"""`arable` for pages that type it a hundred times: one process has imported everything, and each command is a fork of it.

To start Python and import the client takes several times what most commands take. A command has its own words,
environment and folder, its caller's standard input and output, and ends as `arable` ends. Who is typed is a small program that hands
all that over a socket and passes on what would end it. It can't be noticed here if a command lacks an import that
another one makes: so one page is typed with the program itself.
"""

import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO

NOWHERE = "http://127.0.0.1:1"
_LENGTH = 4  # bytes of a number on the wire
_TYPED = """\
#!{python} -IS
import json, os, signal, socket, sys
to = socket.socket(socket.AF_UNIX)
to.connect({address!r})
said = json.dumps([sys.argv, os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(to, [len(said).to_bytes(4, "big")], [0, 1, 2])
to.sendall(said)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, _frame: to.sendall(bytes([number])))
os.closerange(0, 3)
code = int.from_bytes(to.recv(4), "big", signed=True)
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@contextmanager
def warm(directory: Path) -> Iterator[Path]:
    """The folder to have on PATH. `directory` is empty, and its path is short enough for a socket's."""
    address = directory / "socket"
    typed = directory / "bin" / "arable"
    typed.parent.mkdir()
    typed.write_text(_TYPED.format(python=sys.executable, address=str(address)))
    typed.chmod(0o755)
    server = subprocess.Popen(
        [sys.executable, __file__, str(address)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert server.stdout
        assert server.stdout.readline() == b"warm\n"
        yield typed.parent
    finally:
        server.communicate()


class _Commands:
    """Those that run, by their callers. `begin` returns in the process of each command, and never in this one."""

    def __init__(self, address: str, until: IO[bytes]) -> None:
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(address)
        self._door.listen()
        self._until = until
        self._ready = selectors.DefaultSelector()
        self._ready.register(self._door, selectors.EVENT_READ)
        self._ready.register(until, selectors.EVENT_READ)

    def begin(self) -> None:
        while True:
            for key, _ in self._ready.select():
                if key.fileobj is self._until:
                    sys.exit()
                if key.fileobj is self._door:
                    if self._forked():
                        return
                elif isinstance(key.fileobj, socket.socket):
                    self._pass_on(key.fileobj, key.data)
                else:
                    self._ended(key.fd, *key.data)

    def _forked(self) -> bool:
        """Whether this is the process of the command."""
        caller, _ = self._door.accept()
        head, files, _, _ = socket.recv_fds(caller, _LENGTH, 3)
        said = caller.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
        command = os.fork()
        if not command:
            self._ready.close()
            self._door.close()
            caller.close()
            _become(files, *json.loads(said))
            return True
        for each in files:
            os.close(each)
        self._ready.register(caller, selectors.EVENT_READ, command)
        self._ready.register(os.pidfd_open(command), selectors.EVENT_READ, (command, caller))
        return False

    def _pass_on(self, caller: socket.socket, command: int) -> None:
        """A signal that the caller got; nobody is there any more when it was killed."""
        number = caller.recv(1)
        os.kill(command, number[0] if number else signal.SIGKILL)
        if not number:
            self._ready.unregister(caller)

    def _ended(self, watched: int, command: int, caller: socket.socket) -> None:
        self._ready.unregister(watched)
        os.close(watched)
        code = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
        if caller in self._ready.get_map():
            self._ready.unregister(caller)
            caller.sendall(code.to_bytes(_LENGTH, "big", signed=True))
        caller.close()


def _become(files: list[int], argv: list[str], folder: str, environment: dict[str, str]) -> None:
    """The process that was to be started."""
    for number, each in enumerate(files):
        os.dup2(each, number)
        os.close(each)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.argv = argv
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)


if __name__ == "__main__":
    import arable.cli

    for _module in sorted(Path(arable.cli.__file__).parent.glob("[!_]*.py")):
        import_module(f"arable.cli.{_module.stem}")
    from arable.client.arable import Arable
    from arable.processes.main import main

    Arable(NOWHERE).close()  # the first one imports what it sends with
    gc.freeze()
    _commands = _Commands(sys.argv[1], sys.stdin.buffer)
    print("warm", flush=True)
    _commands.begin()
    main()
