"""A mail server for tests: real SMTP with STARTTLS and AUTH on a port of this machine, that can go away and come back."""

import asyncio
import base64
import ssl
import threading
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from typing import Self


@dataclass
class MailServer:
    """`mails` are those it took. `fails` breaks the connection after the mail was taken, before that is said."""

    tls: ssl.SSLContext
    password: str = ""
    port: int = 0
    mails: list[Message] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    fails: bool = False
    taken: threading.Condition = field(default_factory=threading.Condition)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def up(self) -> None:
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self.port = self._server.sockets[0].getsockname()[1]

    def down(self) -> None:
        """As killed: open connections break."""
        if self._server is not None:
            self._do(self._kill())
            self._server = None

    def subjects(self) -> list[str]:
        with self.taken:
            return [str(mail["Subject"]) for mail in self.mails]

    def _do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _kill(self) -> None:
        assert self._server
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(text: str) -> None:
            writer.write(text.encode() + b"\r\n")

        say("220 test")
        encrypted = False
        known = not self.password
        while line := (await reader.readline()).decode().strip():
            word = line.partition(" ")[0].upper()
            self.commands.append(word)
            match word:
                case "EHLO":
                    say("250-test")
                    say("250 AUTH PLAIN" if encrypted else "250 STARTTLS")
                case "STARTTLS":
                    say("220 go on")
                    await writer.drain()
                    await writer.start_tls(self.tls)
                    encrypted = True
                case "AUTH":
                    said = base64.b64decode(line.split(" ")[2]).split(b"\0")[2].decode()
                    known = encrypted and said == self.password
                    say("235 welcome" if known else "535 no")
                case "MAIL" | "RCPT" if known:
                    say("250 ok")
                case "DATA" if known:
                    say("354 go on")
                    await self._take(reader)
                    if self.fails:
                        writer.transport.abort()
                        return
                    say("250 ok")
                case "QUIT":
                    say("221 bye")
                    return
                case _:
                    say("530 no")
            await writer.drain()

    async def _take(self, reader: asyncio.StreamReader) -> None:
        raw = await reader.readuntil(b"\r\n.\r\n")
        with self.taken:
            self.mails.append(message_from_bytes(raw[:-3]))
            self.taken.notify_all()
