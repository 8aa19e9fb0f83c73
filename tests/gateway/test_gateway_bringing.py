"""Images of snapshots over the real port: the bytes that are waited for, of the host that is asked, and no others."""

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from make_gateway import Rig, rig, run
from sqlalchemy import insert

from arable.agent.delivery import Deliveries
from arable.agent.join import Identity
from arable.domain.errors import BadInput, Unavailable
from arable.domain.ids import HostId, OperationId, PoolId
from arable.domain.manifest import ItemKind
from arable.domain.operation import OperationState
from arable.domain.units import MIB
from arable.drivers.storage.protocol import Flat
from arable.drivers.storage.sim import flat_file
from arable.store import schema as t
from arable.store import wishes

OPERATION = OperationId("operation-bring")
CONTENT = flat_file(64 * MIB, "x" * 3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def waits(one: Rig, host: HostId) -> None:
    """An image is to be made of a snapshot of a volume in that host's pool."""
    now = one.around.clock.now()
    (zone,) = one.rows("select id from zone limit 1")[0]
    own = {"account": "account-o", "created_at": now}
    rows = (
        (t.domain, {"id": "domain-o", "path": "root", "name": "o", "created_at": now}),
        (t.account, {"id": "account-o", "domain": "domain-o", "name": "o", "created_at": now}),
        (t.pool, {"id": "pool-w", "zone": zone, "host": host, "name": "p", "kind": "local", "created_at": now}),
        (t.volume, {"id": "volume-w", "zone": zone, "pool": "pool-w", "name": "v", "mib": 64} | own),
        (t.snapshot, {"id": "snapshot-w", "zone": zone, "volume": "volume-w", "name": "s", "mib": 64, "state": "available"} | own),
        (t.operation, {"id": OPERATION, "user": "user-o", "kind": "image.create", "target": "image-w", "state": OperationState.RUNNING.value, "pending": 1, "changed_at": now} | own),
        (t.image, {"id": "image-w", "name": "mould", "snapshot": "snapshot-w", "operation": OPERATION} | own),
    )  # fmt: skip
    with one.database.write() as tx:
        for table, values in rows:
            tx.execute(insert(table).values(**values))
        wishes.put(tx, [wishes.Item(host, ItemKind.SNAPSHOT, OPERATION, "{}")])


def sender(one: Rig, host: str) -> Deliveries:
    both = one.directory / f"{host}.both"
    both.write_text(
        (one.directory / f"{host}.key").read_text() + (one.directory / f"{host}.pem").read_text()
    )
    who = Identity(HostId(host), PoolId(""), one.around.authority.pem, both)
    return Deliveries(["127.0.0.1:1", f"127.0.0.1:{one.port}"], lambda: who)


def flat(content: bytes = CONTENT, **but) -> Flat:
    pieces = [content[at : at + 100_000] for at in range(0, len(content), 100_000)]
    made = Flat(sha256=SHA256, length=len(CONTENT), read=lambda: iter(pieces))
    return replace(made, **but)


def made(one: Rig) -> list[tuple[int, str]]:
    return one.rows("select number, digest from image_version where image = 'image-w'")


def left(one: Rig) -> list[Path]:
    return [*(one.directory / "images").iterdir()]


def test_the_host_that_is_asked_brings_the_bytes_and_no_other_can(database, tmp_path):
    async def scenario():
        async with rig(database, tmp_path) as one:
            host, other = one.joined("h1"), one.joined("h2")
            await asyncio.to_thread(waits, one, host)
            with pytest.raises(BadInput, match="no image is to be made of that"):
                await asyncio.to_thread(sender(one, other).deliver, OPERATION, flat())
            assert not left(one)
            await asyncio.to_thread(sender(one, host).deliver, OPERATION, flat())
            assert made(one) == [(1, SHA256)]
            assert one.around.images.path(SHA256).read_bytes() == CONTENT
            assert one.rows("select state from operation") == [("done",)]
            assert one.rows("select body from manifest_item") == [(None,)]
            with pytest.raises(BadInput, match="no image is to be made of that"):
                await asyncio.to_thread(sender(one, host).deliver, OPERATION, flat())
            assert len(made(one)) == 1

    run(scenario())


def _breaks() -> Iterator[bytes]:
    yield CONTENT[:500_000]
    raise httpx.ReadError("the disk is gone")


def test_bytes_that_are_others_or_break_off_leave_nothing_behind(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            host = one.joined("h1")
            await asyncio.to_thread(waits, one, host)
            send = sender(one, host).deliver
            with pytest.raises(BadInput, match="not what was said"):
                await asyncio.to_thread(send, OPERATION, flat(CONTENT[:-1] + b"?"))
            with pytest.raises(Unavailable, match="hung up"):
                await asyncio.to_thread(send, OPERATION, flat(read=_breaks))
            with pytest.raises(BadInput, match="expected str"):
                await asyncio.to_thread(send, OPERATION, flat(sha256="../../etc"))
            with pytest.raises(BadInput, match="larger than"):
                await asyncio.to_thread(send, OPERATION, flat(length=1 << 50))
            async with httpx.AsyncClient(verify=one.tls(host), trust_env=False) as client:
                url = f"https://127.0.0.1:{one.port}/agent/v1/snapshots/{OPERATION}"
                answers = [
                    await client.put(url, content=CONTENT),
                    await client.post(url, params={"sha256": SHA256, "bytes": "1"}),
                    await client.get(f"{url}..%2f..", params={"sha256": SHA256, "bytes": "1"}),
                ]
                assert [answer.status_code for answer in answers] == [400, 405, 404]
            assert not left(one)
            assert not made(one)
            await asyncio.to_thread(send, OPERATION, flat())
            assert len(made(one)) == 1

    run(scenario())


def test_a_store_without_room_refuses_and_is_not_waited_for(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            host = one.joined("h1")
            await asyncio.to_thread(waits, one, host)
            one.around.images._room.capacity = 1 * MIB
            with pytest.raises(BadInput, match="not enough room"):
                await asyncio.to_thread(sender(one, host).deliver, OPERATION, flat())
            assert not left(one)

    run(scenario())


def test_who_waits_for_a_server_stops_when_it_is_closed(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            sends = sender(one, one.joined("h1"))
            sends.close()
            with pytest.raises(Unavailable, match="leaving"):
                await asyncio.to_thread(sends.deliver, OPERATION, flat())

    run(scenario())
