"""A host trusts the cloud that its token names, and no other; its key never leaves it."""

import asyncio
import errno
import os
from datetime import timedelta

import pytest

from agent import edge
from agent import make_agent as make
from arable.agent.join import Identity, join, renew, renewed
from arable.domain.errors import Forbidden, NotFound, Unauthenticated, Unavailable
from arable.runtime.ca import new_request
from arable.runtime.clock import RealClock, VirtualClock
from arable.runtime.secret import Secret
from arable.runtime.tokens import new_join_token


@pytest.fixture
def authority(tmp_path):
    return edge.authority(tmp_path / "authority")


@pytest.fixture
def server(authority, tmp_path):
    tls = edge.server_tls(authority, tmp_path / "server", joining=True)
    with edge.calls(edge.Calls(authority), tls) as answering:
        yield answering


@pytest.fixture
def token(authority) -> Secret:
    return new_join_token(authority.fingerprint, edge.CHANCE).text


def joined(tmp_path, server, token, name="rack-1", **more) -> Identity:
    return join(
        tmp_path / "agent", server.address, token, name, make.INVENTORY, entropy=edge.CHANCE, **more
    )


def test_a_host_joins_with_a_key_of_its_own_and_keeps_its_identity(
    tmp_path, server, token, authority
) -> None:
    made = joined(tmp_path, server, token)
    assert (made.host, made.pool, made.authority) == (make.HOST, make.POOL, authority.pem)
    assert Identity.load(tmp_path / "agent") == made
    (ask,) = server.joins
    assert (ask.name, ask.token, ask.inventory) == ("rack-1", token.reveal(), make.INVENTORY)
    assert "PRIVATE" not in ask.request
    assert "PRIVATE" in made.file.read_text()
    assert made.file.stat().st_mode & 0o077 == 0


def test_a_host_that_has_not_joined_has_no_identity(tmp_path) -> None:
    with pytest.raises(NotFound):
        Identity.load(tmp_path)


def test_a_server_of_another_cloud_is_told_nothing(tmp_path, server) -> None:
    other = edge.authority(tmp_path / "other")
    token = new_join_token(other.fingerprint, edge.CHANCE).text
    with pytest.raises(Forbidden, match="another cloud"):
        joined(tmp_path, server, token)
    assert not server.joins
    assert not (tmp_path / "agent").exists()


def test_a_server_that_only_shows_the_authority_and_is_not_of_it_is_told_nothing(
    tmp_path, authority, token
) -> None:
    """Anybody can show a public certificate; the second handshake finds out."""
    other = edge.authority(tmp_path / "other")
    edge.server_tls(other, tmp_path / "liar", joining=True)
    chain = tmp_path / "liar" / "server.pem"
    chain.write_text(chain.read_text() + authority.pem)
    tls = edge.server_context(chain, tmp_path / "liar" / "server.key", other.pem, joining=True)
    with edge.calls(edge.Calls(other), tls) as liar:
        with pytest.raises(Unavailable, match="can't be asked"):
            joined(tmp_path, liar, token)
        assert not liar.joins


def test_a_server_with_another_name_is_told_nothing(tmp_path, authority, token) -> None:
    tls = edge.server_tls(authority, tmp_path / "server", joining=True, names=("192.0.2.1",))
    with edge.calls(edge.Calls(authority), tls) as misnamed:
        with pytest.raises(Unavailable):
            joined(tmp_path, misnamed, token)
        assert not misnamed.joins


def test_a_refusal_is_told_with_its_reason_and_leaves_no_identity(tmp_path, server, token) -> None:
    server.refuse = (401, "this token was used already")
    with pytest.raises(Forbidden, match="used already"):
        joined(tmp_path, server, token)
    with pytest.raises(NotFound):
        Identity.load(tmp_path / "agent")
    server.refuse = (503, "the store is full")
    with pytest.raises(Unavailable, match="store is full"):
        joined(tmp_path, server, token)


def test_a_request_whose_answer_was_lost_is_brought_again_until_it_is_answered(
    tmp_path, server, token
) -> None:
    agent = tmp_path / "agent"
    server.refuse = (502, "somebody between us broke")  # the server may have taken the token by now
    for _ in range(2):
        with pytest.raises(Unavailable):
            joined(tmp_path, server, token)
    (waiting,) = agent.iterdir()
    assert waiting.stat().st_mode & 0o077 == 0
    request = waiting.read_text()
    server.refuse = None
    joined(tmp_path, server, token)
    (ask,) = server.joins
    assert request.endswith(ask.request)
    assert not waiting.exists()
    assert (agent / "identity.pem").read_text().startswith(request.removesuffix(ask.request))


def test_a_request_that_was_damaged_is_replaced(tmp_path, server, token) -> None:
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "joining.pem").write_text("-----BEGIN PRIV")
    assert joined(tmp_path, server, token).host == make.HOST


def test_a_host_joins_anew_with_another_key_and_says_who_it_was(tmp_path, server, token) -> None:
    made = joined(tmp_path, server, token)
    before = made.file.read_text()
    # As if it had been killed after its identity was kept: a request that was answered is of no use any more.
    key, request = before.partition("-----BEGIN CERT")[0], new_request("rack-1").request
    (tmp_path / "agent" / "joining.pem").write_text(key + request)
    again = joined(tmp_path, server, token, again=made.host)
    assert (again.host, again.pool) == (made.host, made.pool)
    first, second = server.joins
    assert (first.host, second.host) == ("", make.HOST)
    assert second.request not in {first.request, request}
    assert not again.file.read_text().startswith(key)
    again.context()


def test_a_host_is_not_made_another_one(tmp_path, server, token) -> None:
    made = joined(tmp_path, server, token)
    before = made.file.read_text()
    server.answers_as = "host-b"
    with pytest.raises(Forbidden, match="was made host-b"):
        joined(tmp_path, server, token, again=made.host)
    assert made.file.read_text() == before


def test_a_certificate_is_over_when_its_day_is(tmp_path, server, token) -> None:
    made = joined(tmp_path, server, token)
    clock = VirtualClock(RealClock().now())
    assert not made.over(clock)
    assert made.over(clock, timedelta(hours=24))
    clock.wait(timedelta(hours=23, minutes=50))
    assert not made.over(clock)
    clock.wait(timedelta(minutes=10))
    assert made.over(clock)


def test_what_is_no_token_is_refused_before_anybody_is_asked(tmp_path, server) -> None:
    with pytest.raises(Unauthenticated):
        joined(tmp_path, server, Secret("join.abc.def"))


def test_nobody_there_may_be_tried_again(tmp_path, token) -> None:
    with pytest.raises(Unavailable):
        join(tmp_path, "127.0.0.1:1", token, "a", make.INVENTORY, entropy=edge.CHANCE)


def test_a_certificate_is_renewed_with_a_fresh_key_when_half_its_life_is_over(
    tmp_path, server, token
) -> None:
    made = joined(tmp_path, server, token)
    before = made.file.read_text()
    clock = VirtualClock(RealClock().now())
    servers = ["127.0.0.1:1", server.address]
    assert asyncio.run(renewed(made, servers, clock, edge.CHANCE)) == made
    assert made.file.read_text() == before
    clock.wait(timedelta(hours=12))
    again = asyncio.run(renewed(made, servers, clock, edge.CHANCE))
    assert again.host == made.host
    assert again.file.read_text() != before
    assert again.file.read_text().partition("BEGIN CERT")[0] != before.partition("BEGIN CERT")[0]
    again.context()  # key and certificate belong together


def test_a_renewal_on_a_full_disk_is_tried_again_and_leaves_nothing_behind(
    tmp_path, server, token, monkeypatch, caplog
) -> None:
    made = joined(tmp_path, server, token)
    before = {path.name: path.read_text() for path in made.file.parent.iterdir()}
    clock = VirtualClock(RealClock().now() + timedelta(hours=12))

    def full(_file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr("arable.runtime.ca.os.fsync", full)
        assert asyncio.run(renewed(made, [server.address], clock, edge.CHANCE)) == made
    assert "the disk is full" in caplog.text
    assert {path.name: path.read_text() for path in made.file.parent.iterdir()} == before
    again = asyncio.run(renewed(made, [server.address], clock, edge.CHANCE))
    assert again.file.read_text() != before[made.file.name]


def test_a_renewal_that_fails_keeps_what_is_there(tmp_path, server, token, caplog) -> None:
    made = joined(tmp_path, server, token)
    before = made.file.read_text()
    clock = VirtualClock(RealClock().now() + timedelta(hours=13))
    assert asyncio.run(renewed(made, ["127.0.0.1:1"], clock, edge.CHANCE)) == made
    assert "not renewed" in caplog.text
    server.answers_as = "host-b"
    with pytest.raises(Forbidden):
        renew(made, server.address, entropy=edge.CHANCE)
    assert made.file.read_text() == before
