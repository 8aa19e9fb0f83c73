"""One holder of a console's socket, many viewers; the machine waits for none of them."""

import asyncio
import threading
from pathlib import Path
from typing import Self

import pytest

from agent import edge
from agent import make_agent as make
from arable.agent.console import TAIL_BYTES, Consoles
from arable.domain.errors import NotFound
from arable.drivers.hypervisor.sim import SimHypervisor

MACHINE = make.machine("a")


class FakeConsole:
    """A machine's end: takes one client at a time, as QEMU does, and remembers how many came."""

    def __init__(self, path: Path, log: bytes = b"") -> None:
        self._path = path
        path.with_suffix(".log").write_bytes(log)
        self.clients = 0
        self._writer: asyncio.StreamWriter | None = None
        self._came = asyncio.Event()
        self._left = asyncio.Event()
        self._input = asyncio.StreamReader()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, self._path)
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.hang_up()
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients += 1
        assert self._writer is None, "a second client at once"
        self._writer = writer
        self._left.clear()
        self._came.set()
        while data := await reader.read(1000):
            self._input.feed_data(data)
        self._writer = None
        self._came.clear()
        self._left.set()
        writer.close()

    async def came(self) -> None:
        async with asyncio.timeout(edge.WITHIN):
            await self._came.wait()

    async def left(self) -> None:
        async with asyncio.timeout(edge.WITHIN):
            await self._left.wait()

    def say(self, data: bytes) -> None:
        self._writer.write(data)

    async def typed(self, count: int) -> bytes:
        async with asyncio.timeout(edge.WITHIN):
            return await self._input.readexactly(count)

    def hang_up(self) -> None:
        if self._writer:
            self._writer.close()


class Talks(SimHypervisor):
    """Its machine `a` has a console in a directory."""

    def __init__(self, hardware, directory: Path) -> None:
        super().__init__(hardware)
        self._directory = directory

    def console(self, machine):
        if machine != MACHINE:
            raise NotFound(f"{machine} does not run")
        return self._directory / "a.sock"

    def console_log(self, _machine):
        return self._directory / "a.log"


def consoles(tmp_path) -> Consoles:
    return Consoles(Talks(make.Rig().hardware, tmp_path))


def test_two_viewers_share_one_socket_and_see_the_same(tmp_path) -> None:
    async def story() -> None:
        async with FakeConsole(tmp_path / "a.sock") as machine:
            shared = consoles(tmp_path)
            async with shared.view(MACHINE) as one, shared.view(MACHINE) as other:
                await machine.came()
                machine.say(b"login: ")
                assert await one.read() == await other.read() == b"login: "
                await one.write(b"ro")
                await other.write(b"ot")
                assert sorted(await machine.typed(4)) == sorted(b"root")
            await machine.left()
            async with shared.view(MACHINE):
                await machine.came()
            assert machine.clients == 2

    asyncio.run(story())


def test_a_viewer_first_gets_the_end_of_what_was_said(tmp_path) -> None:
    async def story() -> None:
        log = b"x" * 100_000 + b"the end"
        async with (
            FakeConsole(tmp_path / "a.sock", log) as machine,
            consoles(tmp_path).view(MACHINE) as viewer,
        ):
            tail = b""
            while len(tail) < TAIL_BYTES:
                tail += await viewer.read()
            assert tail == log[-TAIL_BYTES:]
            await machine.came()
            machine.say(b"now")
            assert await viewer.read() == b"now"

    asyncio.run(story())


def test_the_end_of_a_machine_ends_its_viewers(tmp_path) -> None:
    async def story() -> None:
        async with FakeConsole(tmp_path / "a.sock") as machine:
            shared = consoles(tmp_path)
            async with shared.view(MACHINE) as one, shared.view(MACHINE) as other:
                await machine.came()
                machine.hang_up()
                assert await one.read() is None
                assert await other.read() is None

    asyncio.run(story())


def test_a_machine_that_ends_while_somebody_comes_ends_them_too(tmp_path) -> None:
    async def story() -> None:
        async with FakeConsole(tmp_path / "a.sock") as machine:
            loop = asyncio.get_running_loop()

            class Slow(Talks):
                def console_log(self, _machine):
                    ended = asyncio.run_coroutine_threadsafe(self.end(), loop)
                    ended.result(edge.WITHIN)
                    return super().console_log(_machine)

                async def end(self) -> None:
                    await machine.came()
                    machine.hang_up()
                    while not slow._lines[MACHINE].over:  # noqa: ASYNC110 - nobody tells
                        await asyncio.sleep(0.01)

            slow = Consoles(Slow(make.Rig().hardware, tmp_path))
            async with slow.view(MACHINE) as viewer, asyncio.timeout(edge.WITHIN):
                assert await viewer.read() is None

    asyncio.run(story())


def test_a_viewer_that_leaves_while_it_comes_leaves_no_connection_behind(tmp_path) -> None:
    async def story() -> None:
        async with FakeConsole(tmp_path / "a.sock") as machine:
            going, go = threading.Event(), threading.Event()

            class Slow(Talks):
                def console_log(self, _machine):
                    going.set()
                    go.wait(edge.WITHIN)
                    return super().console_log(_machine)

            slow = Consoles(Slow(make.Rig().hardware, tmp_path))

            async def look() -> None:
                async with slow.view(MACHINE):
                    raise AssertionError("it was told to leave before")

            looking = asyncio.create_task(look())
            assert await asyncio.to_thread(going.wait, edge.WITHIN)
            await machine.came()
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            go.set()
            await machine.left()
            assert not slow._lines

    asyncio.run(story())


def test_a_viewer_that_does_not_read_is_dropped_and_the_others_are_not(tmp_path) -> None:
    async def story() -> None:
        async with FakeConsole(tmp_path / "a.sock") as machine:
            shared = consoles(tmp_path)
            async with shared.view(MACHINE) as lazy, shared.view(MACHINE) as keen:
                await machine.came()
                for number in range(600):
                    machine.say(b"%5d" % number)
                    got = b""
                    while len(got) < 5:
                        got += await keen.read()
                    assert got == b"%5d" % number
                seen = 0
                while await lazy.read() is not None:
                    seen += 1
                assert seen < 300

    asyncio.run(story())


def test_a_machine_without_a_console_is_told(tmp_path) -> None:
    async def story() -> None:
        with pytest.raises(NotFound):
            async with consoles(tmp_path).view(make.machine("z")):
                pass
        with pytest.raises(NotFound, match="have no consoles"):
            async with Consoles(SimHypervisor(make.Rig().hardware)).view(MACHINE):
                pass

    asyncio.run(story())
