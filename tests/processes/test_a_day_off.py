"""A cloud, or a host of it, that was off for longer than certificates live comes back as what it was."""

import asyncio
from datetime import timedelta
from pathlib import Path

from agent import edge
from agent import make_agent as make
from arable.agent.join import Identity
from arable.domain.manifest import GuestState
from arable.lab import setup
from arable.lab.topology import load
from arable.processes import agent as process
from arable.processes import up
from arable.runtime.ca import Authority, IdentityKind, keep, new_request
from arable.runtime.clock import RealClock, VirtualClock
from arable.runtime.entropy import Entropy
from arable.runtime.secret import Secret
from arable.runtime.tokens import new_join_token
from processes.test_agent_process import configuration, ended, started

CHANCE = Entropy.system()
SMALL = Path(__file__).parents[2] / "examples" / "lab-small.yaml"


def day_before(days: float = 2) -> VirtualClock:
    return VirtualClock(RealClock().now() - timedelta(days=days))


def wear_out(home: Path, authority: Path, days: float = 2) -> Identity:
    """The identity's certificate is one of some days ago."""
    host = Identity.load(home).host
    past = Authority.load(authority, day_before(days), CHANCE)
    made = new_request(host)
    signed = past.sign(made.request, host, IdentityKind.HOST, 24)
    keep(home / "identity.pem", Secret(made.key.reveal() + signed), CHANCE)
    return Identity.load(home)


def test_an_agent_after_a_day_off_keeps_its_guests_says_what_to_do_and_joins_anew(tmp_path) -> None:
    authority = edge.authority(tmp_path / "authority")
    home, token = tmp_path / "agent", tmp_path / "token"
    edge.identity(authority, home)
    tls = edge.server_tls(authority, tmp_path / "server", joining=True)

    async def story(answering: edge.Calls) -> None:
        async with edge.serving(tls) as server:
            more = {"join_token": str(token)}
            path = configuration(tmp_path, [answering.address, server.address], **more)
            with started(path) as child:
                visit = await server.visit()
                await visit.welcome(make.whole(1, make.guest("a", disks=(), seed=None)))
                await visit.hears_of(make.machine("a"), GuestState.RUNNING)
                child.terminate()
                assert await ended(child) == 0
            assert wear_out(home, tmp_path / "authority").over(RealClock())
            with started(path) as child:
                async with asyncio.timeout(edge.WITHIN):
                    said = await asyncio.to_thread(says, child, b"arable host invite")
                assert f"--host {make.HOST}".encode() in said
                assert str(token).encode() in said
                fresh = new_join_token(authority.fingerprint, CHANCE).text.reveal()
                token.write_text(fresh)
                visit = await server.visit()
                assert (await visit.welcome()).have == 1  # from the ledger
                await visit.hears_of(make.machine("a"), GuestState.RUNNING)
                assert not token.exists()
                assert not Identity.load(home).over(RealClock())
                child.terminate()
                assert await ended(child) == 0
        (ask,) = answering.joins
        assert (ask.host, ask.token) == (make.HOST, fresh)

    with edge.calls(edge.Calls(authority), tls) as answering:
        asyncio.run(story(answering))


def says(child, what: bytes) -> bytes:
    """The line in which a process says that."""
    for line in child.stderr:
        if what in line:
            return line
    raise AssertionError(f"it ended without a word of {what!r}")


def test_joining_by_hand_renews_a_host_whose_certificate_is_over(tmp_path) -> None:
    authority = edge.authority(tmp_path / "authority")
    edge.identity(authority, tmp_path / "agent")
    wear_out(tmp_path / "agent", tmp_path / "authority")
    tls = edge.server_tls(authority, tmp_path / "server", joining=True)
    with edge.calls(edge.Calls(authority), tls) as answering:
        path = configuration(tmp_path, [answering.address])
        token = new_join_token(authority.fingerprint, CHANCE).text
        assert process.join(path, token) == make.HOST
    assert answering.joins[0].host == make.HOST


def test_a_whole_cloud_comes_up_again_after_a_day_off(tmp_path) -> None:
    wanted = up.Wanted(
        data=tmp_path / "data", topology=load(SMALL), simulated=True, api="127.0.0.1:0"
    )
    home = tmp_path / "data" / "home"
    homes = [home / "hosts" / f"zone1-{name}" for name in ("a1", "a2")]
    told: list[str] = []

    def hosts() -> dict[str, tuple[str, str | None]]:
        clock = RealClock()
        with up.cloud(wanted, clock, told.append) as cloud, cloud.operator() as operator:
            end = clock.monotonic() + edge.WITHIN
            while any(Identity.load(each).over(clock) for each in homes) or not all(
                host.server for host in operator.hosts.all()
            ):
                assert clock.monotonic() < end, "not all hosts were let in"
                clock.wait(timedelta(milliseconds=50))
            return {host.name: (host.id, host.pool) for host in operator.hosts.all()}

    first = hosts()
    assert set(first) == {"a1", "a2"}
    before = wear_out(homes[0], home / "authority")
    still_good = Identity.load(homes[1]).file.read_text()
    assert hosts() == first
    after = Identity.load(homes[0])
    assert (after.host, after.pool) == (before.host, before.pool)
    assert not after.over(RealClock())
    assert Identity.load(homes[1]).file.read_text() == still_good
    assert not any((each / setup.INVITATION).exists() for each in homes)
