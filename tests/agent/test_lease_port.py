"""The lease service's port: hosts alone are let in, each as itself, and nothing that is sent there does harm."""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from agent.leased_world import LENGTH, SHARED, M, V, export
from arable.agent.lease_desk import LeaseDesk
from arable.agent.lease_line import TlsLine
from arable.agent.lease_port import LeasePort
from arable.domain.errors import Unavailable
from arable.domain.ids import HostId
from arable.domain.manifest import SharedFrom
from arable.drivers.simhost import SimHost
from arable.drivers.storage.lease_records import MemoryRecords
from arable.drivers.storage.leases import Right
from arable.drivers.storage.nbd.credentials import keep
from arable.drivers.storage.sim_shared import SimExports, SimSharedStorage
from arable.runtime import ca
from arable.runtime.boottime import KernelBootTime
from arable.runtime.ca import Authority, IdentityKind
from arable.runtime.clock import RealClock, VirtualClock
from arable.runtime.entropy import Entropy
from arable.wire import leases as wire
from arable.wire.leases import Ask, Question, Said, Verb, Verdict

A, B, S = HostId("host-a"), HostId("host-b"), HostId("host-s")
CHANCE = Entropy.system()
ACQUIRE = Question(asks=[Ask(verb=Verb.ACQUIRE, machine=M, epoch=1)])
RENEW = Question(asks=[Ask(verb=Verb.RENEW, machine=M, epoch=1)])


class Hall:
    """A storage host's lease service on the loopback, and certificates of everybody."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = VirtualClock(RealClock().now())
        self.authority = Authority.create(folder / "authority", RealClock(), CHANCE)
        self.stranger = Authority.create(folder / "stranger", RealClock(), CHANCE)
        self.exports = SimExports("127.0.0.1")
        self.pool = SimSharedStorage(
            SimHost(), SHARED, MemoryRecords(), self.exports, KernelBootTime(), LENGTH
        )
        self.pool.ensure(V, 1 << 20, None)
        wish = export(1, A)
        self.pool.leases.allow(Right(machine=wish.machine, holder=A, epoch=1, volumes=(V,)))
        self.certify()
        self.port = LeasePort(
            LeaseDesk(self.pool), self.authority.pem, folder / "disks/current", self.clock
        )

    def certify(self, name: HostId = S) -> None:
        request = ca.new_request(name)
        signed = self.authority.sign(request.request, name, IdentityKind.DISKS, 24)
        keep(self.folder / "disks", request.key, signed, self.authority.pem, CHANCE.letters(6))

    def identity(
        self, name: str = A, kind=IdentityKind.HOST, of: Authority | None = None, epoch: int = 1
    ) -> Path:
        request = ca.new_request(name)
        names = ("localhost",) if kind is IdentityKind.SERVER else ()
        signed = (of or self.authority).sign(request.request, name, kind, 1, names, epoch=epoch)
        path = self.folder / f"{CHANCE.letters(8)}.pem"
        path.write_text(request.key.reveal() + signed)
        return path

    def line(self, identity: Path | None, storage: HostId = S) -> TlsLine:
        place = SharedFrom(host=storage, address=f"127.0.0.1:{self.number}")
        return TlsLine(
            place, lambda: ca.client_context(self.authority.pem, identity, identity), within=5.0
        )

    def ask(self, question: Question, identity: Path | None, storage: HostId = S) -> list[Said]:
        line = self.line(identity, storage)
        try:
            return line.ask(question).said
        finally:
            line.close()

    def raw(self, sent: bytes, identity: Path) -> bytes:
        """What comes back, to the end."""
        context = ca.client_context(self.authority.pem, identity, identity)
        with (
            socket.create_connection(("127.0.0.1", self.number), 5) as plain,
            context.wrap_socket(plain, server_hostname=S) as tls,
        ):
            heard = b""
            with suppress(ConnectionError, ssl.SSLError, BrokenPipeError):
                tls.sendall(sent)
                while part := tls.recv(65536):
                    heard += part
            return heard


@asynccontextmanager
async def hall(folder: Path) -> AsyncIterator[Hall]:
    made = Hall(folder)
    made.number = await made.port.open("127.0.0.1", 0)
    try:
        yield made
    finally:
        await made.port.close()


def in_hall(folder: Path, story: Callable[[Hall], Awaitable[None]]) -> None:
    async def play() -> None:
        async with hall(folder) as made:
            await story(made)

    asyncio.run(asyncio.wait_for(play(), 60))


def blocking(story: Callable[[Hall], None]) -> Callable[[Path], None]:
    """A story of clients that wait, told in a thread."""
    return lambda folder: in_hall(folder, lambda made: asyncio.to_thread(story, made))


def test_a_host_acquires_renews_and_lets_go_as_itself(tmp_path) -> None:
    def story(one: Hall) -> None:
        line = one.line(one.identity())
        (said,) = line.ask(ACQUIRE).said
        assert (said.verdict, said.seconds) == (Verdict.HELD, LENGTH)
        assert [disk.name for disk in said.disks] == [f"{V}.e1"]
        assert one.exports.serving == {V: (1, A)}
        (said,) = line.ask(RENEW).said
        assert said.verdict is Verdict.HELD
        (said,) = line.ask(Question(asks=[Ask(verb=Verb.RELEASE, machine=M, epoch=1)])).said
        assert said.verdict is Verdict.FREE
        assert not one.exports.serving
        line.close()

    blocking(story)(tmp_path)


def test_another_host_gets_nothing_by_asking(tmp_path) -> None:
    def story(one: Hall) -> None:
        one.ask(ACQUIRE, one.identity())
        other = one.identity(B)
        assert one.ask(ACQUIRE, other)[0].verdict is Verdict.REFUSED
        assert one.ask(RENEW, other)[0].verdict is Verdict.LOST
        release = Question(asks=[Ask(verb=Verb.RELEASE, machine=M, epoch=1)])
        one.ask(release, other)
        assert one.exports.serving == {V: (1, A)}

    blocking(story)(tmp_path)


@pytest.mark.parametrize(
    "who",
    [
        lambda one: None,
        lambda one: one.identity(of=one.stranger),
        lambda one: one.identity(kind=IdentityKind.SERVER),
        lambda one: one.identity(kind=IdentityKind.DISKS),
        lambda one: one.identity(kind=IdentityKind.PEER),
        lambda one: one.identity("someone"),
    ],
    ids=[
        "no certificate",
        "another authority",
        "a server",
        "a disks' certificate",
        "a server as a client",
        "not a host's id",
    ],
)
def test_nobody_else_is_answered(tmp_path, who) -> None:
    def story(one: Hall) -> None:
        with pytest.raises(Unavailable):
            one.ask(ACQUIRE, who(one))
        assert not one.exports.serving

    blocking(story)(tmp_path)


def test_a_certificate_whose_time_is_over_counts_no_more_on_an_open_connection(tmp_path) -> None:
    def story(one: Hall) -> None:
        line = one.line(one.identity())
        line.ask(ACQUIRE)
        one.clock.jump(timedelta(hours=2))
        with pytest.raises(Unavailable, match="over"):
            line.ask(RENEW)

    blocking(story)(tmp_path)


def test_an_earlier_certificate_of_a_host_that_joined_anew_counts_no_more(tmp_path) -> None:
    def story(one: Hall) -> None:
        before, after = one.identity(), one.identity(epoch=2)
        one.ask(ACQUIRE, before)
        one.ask(RENEW, after)
        with pytest.raises(Unavailable, match="anew"):
            one.ask(RENEW, before)

    blocking(story)(tmp_path)


def test_one_storage_host_can_not_stand_in_for_another(tmp_path) -> None:
    def story(one: Hall) -> None:
        with pytest.raises(Unavailable):
            one.ask(ACQUIRE, one.identity(), HostId("host-t"))
        assert not one.exports.serving

    blocking(story)(tmp_path)


@pytest.mark.parametrize(
    "sent",
    [
        b"\n",
        b"{}\n",
        b"\xff\xfe\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b'{"asks":[]}\n',
        b'{"asks":[{"verb":"acquire","machine":"machine-m","epoch":0}]}\n',
        b'{"asks":[{"verb":"acquire","machine":"../../etc","epoch":1}]}\n',
        b'{"asks":[{"verb":"acquire","machine":"machine-m\\n","epoch":1}]}\n',
        b'{"asks":[{"verb":"acquire","machine":"machine-m","epoch":1,"holder":"host-b"}]}\n',
        b'{"asks":[{"verb":"acquire","machine":"machine-m","epoch":1}],"as":"host-b"}\n',
        b"x" * (wire.LONGEST + 2) + b"\n",
        wire.line(Question(asks=ACQUIRE.asks * (wire.MOST + 1))),
        b"no end",
    ],
)
def test_what_is_no_question_ends_the_connection_and_nothing_else(tmp_path, sent) -> None:
    def story(one: Hall) -> None:
        identity = one.identity()
        if sent.endswith(b"\n"):
            assert one.raw(sent, identity) == b""
        assert not one.exports.serving
        assert one.ask(ACQUIRE, identity)[0].verdict is Verdict.HELD

    blocking(story)(tmp_path)


def test_one_host_can_not_take_all_connections(tmp_path) -> None:
    def story(one: Hall) -> None:
        greedy = [one.line(one.identity(B)) for _ in range(20)]
        for line in greedy:
            assert line.ask(RENEW).said, "the newest is heard"
        assert len(one.port._talking) <= 5
        with pytest.raises(Unavailable):
            greedy[0].ask(RENEW)
        assert one.ask(ACQUIRE, one.identity())[0].verdict is Verdict.HELD
        for line in greedy:
            line.close()

    blocking(story)(tmp_path)


def test_a_renewal_does_not_wait_for_disks_of_others(tmp_path) -> None:
    async def story(one: Hall) -> None:
        line = one.line(one.identity())
        await asyncio.to_thread(line.ask, ACQUIRE)
        begun, may_end = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def slow(_where: str) -> bool:
            loop.call_soon_threadsafe(begun.set)
            may_end.wait(30)
            return False

        others = [f"machine-{n}" for n in range(20)]
        for n, name in enumerate(others):
            one.pool.ensure(f"volume-{n}", 1 << 20, None)  # type: ignore[arg-type]
            wish = Right(machine=M, holder=B, epoch=1, volumes=(f"volume-{n}",))  # type: ignore[arg-type]
            one.pool.leases.allow(replace(wish, machine=name))  # type: ignore[arg-type]
        one.exports.faults.when = slow
        asks = [Ask(verb=Verb.ACQUIRE, machine=name, epoch=1) for name in others]
        waiting = asyncio.create_task(
            asyncio.to_thread(one.ask, Question(asks=asks), one.identity(B))
        )
        await asyncio.wait_for(begun.wait(), 20)
        (said,) = (await asyncio.to_thread(line.ask, RENEW)).said
        assert said.verdict is Verdict.HELD
        assert not waiting.done()
        may_end.set()
        one.exports.faults.when = lambda _where: False
        with suppress(Unavailable):
            await waiting
        line.close()

    in_hall(tmp_path, story)


def test_a_new_certificate_is_shown_to_those_who_call_from_then_on(tmp_path) -> None:
    def story(one: Hall) -> None:
        identity = one.identity()
        one.certify(HostId("host-t"))
        one.port.certified_anew()
        with pytest.raises(Unavailable):
            one.ask(ACQUIRE, identity)
        assert one.ask(ACQUIRE, identity, HostId("host-t"))

    blocking(story)(tmp_path)
