"""Hosts that ask each other whether they are there: real TLS on the loopback, and who gets an answer from whom."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from arable.agent.peer_calls import PeerCalls
from arable.agent.peer_port import ANSWER, QUESTION, PeerPort, own_address
from arable.agent.witness import Witness
from arable.domain.ids import HostId
from arable.domain.manifest import PeerWish
from arable.drivers.storage.nbd.credentials import keep
from arable.runtime import ca
from arable.runtime.ca import Authority, IdentityKind
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy

A, B = HostId("host-a"), HostId("host-b")
CHANCE = Entropy.system()


class Hall:
    """Host `a`'s port, and certificates of everybody."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority.create(folder / "authority", RealClock(), CHANCE)
        self.stranger = Authority.create(folder / "stranger", RealClock(), CHANCE)
        self.certify(A)
        self.port = PeerPort(self.authority.pem, folder / "disks/current")

    def certify(self, name: HostId) -> None:
        request = ca.new_request(name)
        signed = self.authority.sign(request.request, name, IdentityKind.DISKS, 24)
        keep(self.folder / "disks", request.key, signed, self.authority.pem, CHANCE.letters(6))

    def context(
        self, name: str = B, kind=IdentityKind.HOST, of: Authority | None = None
    ) -> ssl.SSLContext:
        request = ca.new_request(name)
        names = ("localhost",) if kind is IdentityKind.SERVER else ()
        signed = (of or self.authority).sign(request.request, name, kind, 1, names)
        path = self.folder / f"{CHANCE.letters(8)}.pem"
        path.write_text(request.key.reveal() + signed)
        return ca.client_context(self.authority.pem, path, path)

    async def ask(self, context: ssl.SSLContext, host: HostId = A, sent: bytes = QUESTION) -> bytes:
        """What comes back for that, to the end or to as many bytes."""
        where, _, port = self.port.address.rpartition(":")
        try:
            reader, writer = await asyncio.open_connection(
                where, int(port), ssl=context, server_hostname=host
            )
        except (ssl.SSLError, ConnectionError):
            return b""
        heard = b""
        with suppress(ssl.SSLError, ConnectionError):
            writer.write(sent)
            while len(heard) < len(sent) and (part := await reader.read(64)):
                heard += part
        writer.close()
        return heard


def in_hall(folder: Path, story: Callable[[Hall], Awaitable[None]]) -> None:
    async def play() -> None:
        made = Hall(folder)
        await made.port.open("127.0.0.1", 0)
        try:
            await story(made)
        finally:
            await made.port.close()

    asyncio.run(asyncio.wait_for(play(), 60))


def test_a_host_is_answered_as_often_as_it_asks(tmp_path):
    async def story(hall: Hall) -> None:
        assert await hall.ask(hall.context(), sent=QUESTION * 50) == ANSWER * 50

    in_hall(tmp_path, story)


def test_nobody_but_a_host_of_this_cloud_is_answered(tmp_path):
    async def story(hall: Hall) -> None:
        for context in (
            ca.client_context(hall.authority.pem),
            hall.context(of=hall.stranger),
            hall.context("server", IdentityKind.SERVER),
            hall.context("server-a", IdentityKind.PEER),
            hall.context(A, IdentityKind.DISKS),
            hall.context("nobody"),
        ):
            assert await hall.ask(context) == b""
        assert await hall.ask(hall.context()) == ANSWER

    in_hall(tmp_path, story)


def test_another_host_at_that_address_is_not_believed(tmp_path):
    async def story(hall: Hall) -> None:
        assert await hall.ask(hall.context(), host=B) == b""

    in_hall(tmp_path, story)


def test_what_is_no_question_ends_the_connection(tmp_path):
    async def story(hall: Hall) -> None:
        assert await hall.ask(hall.context(), sent=b"GET / HTTP/1.1\r\n\r\n") == b""

    in_hall(tmp_path, story)


def test_one_host_that_connects_ever_again_keeps_no_other_one_out(tmp_path):
    async def story(hall: Hall) -> None:
        where, _, port = hall.port.address.rpartition(":")
        context = hall.context()
        held = [
            await asyncio.open_connection(where, int(port), ssl=context, server_hostname=A)
            for _ in range(20)
        ]
        assert await hall.ask(hall.context("host-c")) == ANSWER
        assert await hall.ask(context) == ANSWER
        assert len(hall.port._talking) <= 4
        for _, writer in held:
            writer.close()

    in_hall(tmp_path, story)


async def until(what: Callable[[], bool]) -> None:
    """Within the story's time."""
    while not what():  # noqa: ASYNC110 - what is waited for is in another task
        await asyncio.sleep(0.01)


def calling(hall: Hall, peer: PeerWish) -> tuple[Witness, "asyncio.Task[None]", list[str]]:
    """Host `b` asks; what it notes, in order, once for each change."""
    heard: list[str] = []

    class Listening(Witness):
        def reached(self, host: HostId) -> None:
            heard.append("reached")

        def failed(self, host: HostId) -> None:
            heard.append("failed")

    made = Listening(RealClock())
    made.want({peer.host: peer})
    context = hall.context()
    calls = PeerCalls(made, lambda: context, CHANCE, every=0.02, within=1.0)
    return made, asyncio.create_task(calls.run()), heard


def test_a_peer_is_reached_again_when_its_agent_was_replaced(tmp_path):
    async def story(hall: Hall) -> None:
        _, task, heard = calling(hall, PeerWish(host=A, address=hall.port.address))
        await until(lambda: heard.count("reached") > 3)
        number = int(hall.port.address.rpartition(":")[2])
        await hall.port.close()
        hall.port = PeerPort(hall.authority.pem, hall.folder / "disks/current")
        await hall.port.open("127.0.0.1", number)
        before = len(heard)
        await until(lambda: len(heard) > before + 3)
        assert "failed" not in heard
        task.cancel()

    in_hall(tmp_path, story)


def test_a_machine_that_says_that_nothing_listens_is_there(tmp_path):
    async def story(hall: Hall) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        _, task, heard = calling(hall, PeerWish(host=A, address=f"127.0.0.1:{port}"))
        await until(lambda: len(heard) > 3)
        assert set(heard) == {"reached"}
        task.cancel()

    in_hall(tmp_path, story)


def test_one_that_takes_the_connection_and_says_nothing_is_not(tmp_path):
    """As a frozen agent does: its kernel lets callers in."""

    async def story(hall: Hall) -> None:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            address = f"127.0.0.1:{mute.getsockname()[1]}"
            _, task, heard = calling(hall, PeerWish(host=A, address=address))
            await until(lambda: len(heard) > 1)
            assert set(heard) == {"failed"}
            task.cancel()

    in_hall(tmp_path, story)


def test_somebody_else_at_its_address_is_not_the_peer(tmp_path):
    async def story(hall: Hall) -> None:
        _, task, heard = calling(hall, PeerWish(host=B, address=hall.port.address))
        await until(lambda: len(heard) > 3)
        assert set(heard) == {"failed"}
        task.cancel()

    in_hall(tmp_path, story)


def test_who_is_not_to_be_asked_any_more_is_not(tmp_path):
    async def story(hall: Hall) -> None:
        made, task, heard = calling(hall, PeerWish(host=A, address=hall.port.address))
        await until(lambda: bool(heard))
        made.want({})
        await until(lambda: not hall.port._talking)
        task.cancel()

    in_hall(tmp_path, story)


def test_an_address_that_only_this_machine_has_is_nobody_elses_business():
    assert own_address(["127.0.0.1:8443", "[::1]:8443"]) == ""
