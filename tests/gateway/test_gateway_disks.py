"""A host gets a certificate for its disks by its own, and gets nowhere else by that."""

import asyncio
import ssl

import httpx
import pytest

from arable.agent import disk_identity
from arable.runtime.ca import IdentityKind, client_context, peer
from arable.runtime.clock import RealClock
from gateway.make_gateway import rig, run
from gateway.test_gateway_joining import CHANCE, joins


def test_a_host_gets_a_certificate_for_its_disks_that_is_nobodys_identity(sqlite, tmp_path) -> None:
    async def scenario() -> None:
        async with rig(sqlite, tmp_path) as one:
            made = await joins(one, one.token())
            home, server = made.file.parent, f"127.0.0.1:{one.port}"
            got = await asyncio.to_thread(disk_identity.renew, home, made, [server], CHANCE)
            assert got
            assert not disk_identity.due(home, RealClock())
            found = peer(ssl.PEM_cert_to_DER_cert(disk_identity.held(home)))
            assert found is not None
            assert (found.common_name, found.kind) == (made.host, IdentityKind.DISKS)
            folder = disk_identity.directory(home)
            context = client_context(
                made.authority, folder / "client-cert.pem", folder / "client-key.pem"
            )
            async with httpx.AsyncClient(verify=context, trust_env=False) as client:
                answer = await client.post(
                    f"https://{server}/agent/v1/renew", json={"request": "x", "disks": True}
                )
            assert answer.status_code == 403
            with pytest.raises(Exception, match="403"):
                async with one.agent(made.host, context=context) as agent:
                    await agent.greeted()

    run(scenario())
