"""A real agent joins by the real port: once for each token, in the cloud that the token names, in its time."""

import asyncio
import ssl
from dataclasses import replace
from datetime import timedelta

import httpx
import msgspec
import pytest
from make_gateway import INVENTORY, rig, run

from arable.agent.join import Identity, join, renew
from arable.domain.errors import Forbidden, NotFound, Unavailable
from arable.runtime.ca import Authority, IdentityKind, new_request, peer
from arable.runtime.clock import RealClock, VirtualClock
from arable.runtime.entropy import Entropy
from arable.runtime.secret import Secret
from arable.runtime.tokens import new_join_token
from arable.services import hosts
from arable.services.agents import REPLACED
from arable.wire.hosts import JoinTokenIn

CHANCE = Entropy.system()


async def joins(one, token: str, name: str = "rack-1", directory: str = "agent") -> Identity:
    return await asyncio.to_thread(
        join,
        one.directory / directory,
        f"127.0.0.1:{one.port}",
        Secret(token),
        name,
        INVENTORY,
        entropy=CHANCE,
    )


async def asks(one, method: str, path: str, who: str | None = None, **more) -> httpx.Response:
    url = f"https://127.0.0.1:{one.port}{path}"
    async with httpx.AsyncClient(verify=one.tls(who), trust_env=False, timeout=60) as client:
        return await client.request(method, url, **more)


def known(one) -> list[str]:
    return [name for (name,) in one.rows("select name from host order by name")]


def test_a_host_joins_and_is_let_in_as_itself_from_then_on(database, tmp_path):
    async def scenario():
        async with rig(database, tmp_path) as one:
            made = await joins(one, one.token(roles=("compute",), tags=("ssd",)))
            assert one.rows("select id, name, state, memory_mib from host") == [
                (made.host, "rack-1", "joined", INVENTORY.memory_mib)
            ]
            assert one.rows("select id, host, name from pool") == [
                (made.pool, made.host, "rack-1-local")
            ]
            async with one.agent(made.host, context=made.context()) as agent:
                assert (await agent.greeted()).base is None
            assert one.rows("select state from host") == [("up",)]

    run(scenario())


def test_a_token_lets_one_host_in(database, tmp_path):
    async def scenario():
        async with rig(database, tmp_path) as one:
            token = one.token()
            await joins(one, token)
            with pytest.raises(Forbidden, match="was used"):
                await joins(one, token, "rack-2", "other")
            with pytest.raises(NotFound):
                Identity.load(one.directory / "other")
            assert known(one) == ["rack-1"]

    run(scenario())


def test_of_many_hosts_that_bring_one_token_at_once_one_gets_in(database, tmp_path):
    async def scenario():
        async with rig(database, tmp_path) as one:
            token = one.token()
            tries = [joins(one, token, f"rack-{n}", f"agent-{n}") for n in range(8)]
            ends = await asyncio.gather(*tries, return_exceptions=True)
            assert sum(isinstance(end, Identity) for end in ends) == 1
            assert sum(isinstance(end, Forbidden) for end in ends) == 7
            assert len(known(one)) == 1

    run(scenario())


def test_an_answer_that_was_lost_is_given_again_to_the_same_host(database, tmp_path):
    async def scenario():
        async with rig(database, tmp_path) as one:
            token, answers = one.token(), []
            first = one.desk.join

            def losing(ask):
                answers.append(first(ask).result(60))
                raise Unavailable("the answer got lost")

            object.__setattr__(one.desk, "join", losing)
            with pytest.raises(Unavailable):
                await joins(one, token)
            object.__delattr__(one.desk, "join")
            assert (await joins(one, token)).host == answers[0].host
            assert known(one) == ["rack-1"]

    run(scenario())


def test_a_token_counts_for_its_time_only(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            token = one.token(seconds=60)
            clock = VirtualClock(RealClock().now() + timedelta(seconds=61))
            around = replace(one.around, clock=clock)
            object.__setattr__(one.desk, "around", around)
            with pytest.raises(Forbidden, match="its time is over"):
                await joins(one, token)
            assert known(one) == []

    run(scenario())


def test_a_token_of_another_cloud_sends_nothing_here(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            other = new_join_token("0" * 64, CHANCE).text.reveal()
            with pytest.raises(Forbidden, match="another cloud"):
                await joins(one, other)
            assert not (one.directory / "agent").exists()
            # Our fingerprint with a secret that nobody was given is refused by the server itself.
            made_up = new_join_token(one.around.authority.fingerprint, CHANCE).text.reveal()
            with pytest.raises(Forbidden, match="does not count"):
                await joins(one, made_up)
            assert known(one) == []

    run(scenario())


async def joins_anew(one, was: Identity) -> Identity:
    token = await asyncio.to_thread(one.do, hosts.create_token, JoinTokenIn(host="rack-1"))
    return await asyncio.to_thread(
        join,
        was.file.parent,
        f"127.0.0.1:{one.port}",
        Secret(token.token),
        "rack-1",
        INVENTORY,
        entropy=CHANCE,
        again=was.host,
    )


def as_of(one, days: float) -> None:
    """What the server signs from now on, it signs as if on another day."""
    clock = VirtualClock(RealClock().now() + timedelta(days=days))
    authority = Authority.open(one.directory / "authority", clock, CHANCE)
    object.__setattr__(one.desk, "around", replace(one.around, authority=authority))


def test_a_host_that_was_off_for_too_long_is_locked_out_until_it_joins_anew(database, tmp_path):
    async def scenario():
        async with rig(database, tmp_path) as one:
            as_of(one, -2)
            made = await joins(one, one.token())
            as_of(one, 0)
            assert made.over(RealClock())
            server = f"127.0.0.1:{one.port}"
            with pytest.raises(Unavailable):  # not even a handshake
                await asyncio.to_thread(renew, made, server, entropy=CHANCE)
            with pytest.raises(
                Forbidden, match="named rack-1"
            ):  # a token for anybody is none for it
                await asyncio.to_thread(
                    join,
                    made.file.parent,
                    server,
                    Secret(one.token()),
                    "rack-1",
                    INVENTORY,
                    entropy=CHANCE,
                )
            again = await joins_anew(one, made)
            assert (again.host, again.pool) == (made.host, made.pool)
            async with one.agent(again.host, context=again.context()) as agent:
                await agent.greeted()
            assert one.rows("select id, state, epoch from host") == [(made.host, "up", 2)]
            assert one.rows("select id from pool") == [(made.pool,)]
            renewed = await asyncio.to_thread(renew, again, server, entropy=CHANCE)
            async with one.agent(again.host, context=renewed.context()) as agent:
                await agent.greeted()

    run(scenario())


def test_once_a_host_joined_anew_its_earlier_certificate_opens_nothing(database, tmp_path):
    async def scenario():
        async with rig(database, tmp_path) as one:
            made = await joins(one, one.token())
            stolen, server = made.context(), f"127.0.0.1:{one.port}"
            renewing = msgspec.json.encode({"request": new_request("a").request})
            async with one.agent(made.host, context=stolen) as thief:
                await thief.greeted()
                again = await joins_anew(one, made)
                code, why = await thief.closed()  # without anybody else's connecting
                assert (code, why) == (4401, REPLACED[: len(why)])
            async with one.agent(again.host, context=again.context()) as agent:
                await agent.greeted()
                async with one.agent(made.host, context=stolen) as thief:
                    await thief.hello()
                    assert (await thief.closed())[0] == 4401
                async with httpx.AsyncClient(verify=stolen, trust_env=False, timeout=60) as client:
                    url = f"https://{server}/agent/v1"
                    answer = await client.post(f"{url}/renew", content=renewing)
                    assert answer.status_code == 401
                    answer = await client.get(f"{url}/images/{'0' * 64}")
                    assert answer.status_code == 401
                assert one.channels.hosts == {again.host}
                await agent.report()
            fresh = await asyncio.to_thread(renew, again, server, entropy=CHANCE)
            assert fresh.host == made.host

    run(scenario())


def test_a_host_renews_for_itself_until_it_is_removed(database, tmp_path):
    async def scenario():
        async with rig(database, tmp_path) as one:
            made = await joins(one, one.token())
            before = made.file.read_text()
            server = f"127.0.0.1:{one.port}"
            again = await asyncio.to_thread(renew, made, server, entropy=CHANCE)
            assert again.host == made.host
            assert again.file.read_text() != before
            async with one.agent(made.host, context=again.context()) as agent:
                await agent.greeted()
            await asyncio.to_thread(one.do, hosts.delete, made.host)
            with pytest.raises(Forbidden, match="not known"):
                await asyncio.to_thread(renew, again, server, entropy=CHANCE)

    run(scenario())


def test_a_certificate_says_what_the_server_knows_and_not_what_was_asked_for(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            host, other = one.joined("h1"), one.joined("h2")
            wanted = msgspec.json.encode({"request": new_request(other).request})
            answer = await asks(one, "POST", "/agent/v1/renew", host, content=wanted)
            assert answer.status_code == 200
            der = ssl.PEM_cert_to_DER_cert(answer.json()["certificate"])
            found = peer(der)
            assert (found.common_name, found.kind) == (host, IdentityKind.HOST)

    run(scenario())


GOOD = {"token": "", "name": "rack-1", "request": "", "inventory": {}}


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"", 400, "body"),
        (b"{", 400, "body"),
        (b"[" * 20_000, 400, "body"),
        (b"\xff\xfe", 400, "body"),
        (b"[]", 422, None),
        (msgspec.json.encode({"token": "t"}), 422, None),
        ({"more": 1}, 422, None),
        ({"name": 7}, 422, None),
        ({"name": "Not A Label"}, 400, "name"),
        ({"name": "a\nb"}, 400, "name"),
        ({"request": "rubbish"}, 400, "request"),
        ({"inventory": {"cpus": -1}}, 400, "inventory.cpus"),
        ({"inventory": {"memory_mib": 1 << 40}}, 400, "inventory.memory_mib"),
        ({"inventory": {"version": "a\nb"}}, 400, "inventory.version"),
        ({"token": "join.x.y"}, 401, None),
        (b"x" * (65 << 10), 413, None),
    ],
)
def test_a_bad_request_to_join_is_a_problem_and_leaves_nothing(
    sqlite, tmp_path, body, status, field
):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            content = body
            if isinstance(body, dict):
                whole = {
                    "token": one.token(),
                    "name": "rack-1",
                    "request": new_request("rack-1").request,
                    "inventory": {"cpus": 4, "cpu_mhz": 8000, "memory_mib": 8, "disk_mib": 8},
                }
                given = dict(body)
                whole["inventory"] |= given.pop("inventory", {})
                content = msgspec.json.encode(whole | given)
            answer = await asks(one, "POST", "/agent/v1/join", content=content)
            assert answer.headers["content-type"] == "application/problem+json"
            told = answer.json()
            assert answer.status_code == told["status"]
            assert answer.status_code in {status, 400 if status == 422 else status}
            if field:
                assert [each["field"] for each in told["errors"]] == [field]
            assert known(one) == []

    run(scenario())


def test_strangers_may_join_and_nothing_else(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            for method, path in (
                ("POST", "/agent/v1/renew"),
                ("GET", f"/agent/v1/images/{'0' * 64}"),
                ("GET", "/agent/v1/channel"),
                ("GET", "/"),
            ):
                assert (await asks(one, method, path)).status_code == 401, path
            assert (await asks(one, "GET", "/agent/v1/join")).status_code == 405

    run(scenario())


def test_a_server_certificate_and_one_that_names_no_host_open_nothing(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            odd = one.certified("nobody")
            assert (await asks(one, "GET", "/", odd)).status_code == 403
            one.certified("server-2", IdentityKind.SERVER)
            with pytest.raises(httpx.HTTPError):  # not even a handshake: it is for servers
                await asks(one, "GET", "/", "server-2")

    run(scenario())


def test_whoever_fails_too_often_has_to_wait_and_is_told_how_long(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            statuses = []
            for _ in range(12):
                answer = await asks(one, "POST", "/agent/v1/join", content=b"{}")
                statuses.append(answer.status_code)
            assert set(statuses[:10]) == {answer_to_nonsense(statuses)}
            assert statuses[-1] == 429
            assert 0 < int(answer.headers["retry-after"]) < 60

    def answer_to_nonsense(statuses):
        assert 400 <= statuses[0] < 429
        return statuses[0]

    run(scenario())
