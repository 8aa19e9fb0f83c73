"""A whole management server as a member: of a cluster of one, with SQLite, and reached by the name that it tells."""

import asyncio
import ssl
from contextlib import asynccontextmanager
from dataclasses import replace

from cryptography import x509

from arable.client.peers import Peers
from arable.domain.segment import SegmentState
from arable.processes.server import ServerConfig, assemble, serving
from arable.runtime.ca import client_context
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy
from arable.store import elections, segments
from gateway.make_gateway import run, until
from processes.test_server_doors import shown_by

CLOCK, CHANCE = RealClock(), Entropy.system()


@asynccontextmanager
async def server(directory, **but):
    directory.mkdir(exist_ok=True)
    usual = ServerConfig(data=directory, api="127.0.0.1:0", gateway="127.0.0.1:0")
    async with serving(assemble(replace(usual, **but), CLOCK, CHANCE)) as made:
        yield made


def test_a_server_alone_is_master_at_once_and_again_when_it_is_started_again(tmp_path):
    async def story() -> None:
        for life in (1, 2):
            async with server(tmp_path / "one") as made:
                manager = made.member.manager
                await until(manager.acting)
                assert manager.acting() == life
                assert made.loop.acts()
                with made.database.read() as tx:
                    (found,) = segments.members(tx)
                assert found.state is SegmentState.READY
                assert (found.id, found.epoch) == (made.loop.me, 2 * life - 1)
                assert found.address == made.ready.gateway
            assert not manager.acting()

    run(story())


def test_a_server_answers_whoever_has_a_servers_certificate_of_its_cloud(tmp_path):
    async def story() -> None:
        async with server(tmp_path / "one") as made:
            await until(made.member.manager.acting)
            own = tmp_path / "one" / "peer.pem"
            assert own.stat().st_mode & 0o077 == 0
            trusted = made.around.authority.pem
            for credential, answered in ((own, True), (None, False)):
                asking = Peers(
                    lambda credential=credential: client_context(trusted, credential),
                    CLOCK.monotonic,
                    30.0,
                )
                pong = await asyncio.to_thread(asking.ping, made.ready.gateway)
                assert (pong == made.member.manager.pong()) is answered
                asking.close()

    run(story())


def test_its_certificate_names_where_others_reach_it(tmp_path):
    async def story() -> None:
        async with server(
            tmp_path / "one", segment_address="m1.example.org:8443", site="n"
        ) as made:
            shown = await asyncio.to_thread(shown_by, made.ready.gateway)
            found = x509.load_pem_x509_certificate(
                ssl.DER_cert_to_PEM_cert(shown[0]).encode()
            ).extensions.get_extension_for_class(x509.SubjectAlternativeName)
            assert "m1.example.org" in found.value.get_values_for_type(x509.DNSName)
            await until(made.member.manager.acting)
            with made.database.read() as tx:
                (member,) = segments.members(tx)
            assert (member.address, member.site) == ("m1.example.org:8443", "n")

    run(story())


def test_one_that_leaves_in_order_leaves_no_lease_behind(tmp_path):
    async def story() -> None:
        async with server(tmp_path / "one") as made:
            await until(made.member.manager.acting)
        async with server(tmp_path / "one") as again:
            with again.database.read() as tx:
                first = elections.history(tx)[-1]
            assert first.epoch == 1
            await until(again.member.manager.acting)
            with again.database.read() as tx:
                assert elections.history(tx)[0].cause == "ended"

    run(story())
