"""Image parts over the real port: those that a host's manifest names, every byte, and nothing else."""

import asyncio
import hashlib
import threading

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_gateway import rig, run

from arable.agent.download import Downloads
from arable.agent.join import Identity
from arable.agent.patience import Waiting
from arable.api import problems
from arable.api.gateway import calls
from arable.api.gateway.calls import _wanted
from arable.domain.errors import CloudError, Unavailable
from arable.domain.ids import PoolId
from arable.domain.image_files import PartSaid
from arable.domain.manifest import ImagePart, PartFormat, PartRole
from arable.drivers.storage.local import LocalStorage
from arable.runtime.clock import RealClock
from arable.services import hosts

CONTENT = b"\x7fELF" + bytes(range(256)) * 6000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def admitted(one, content: bytes = CONTENT) -> str:
    """A part in the server's store."""
    upload = one.around.images.begin(PartSaid(role=PartRole.KERNEL, format=PartFormat.BLOB))
    upload.write(content)
    return upload.finish().sha256


def wants(one, host, sha256: str = DIGEST) -> None:
    one.wish(host, "machine-a", {"boot": {"kernel": sha256}})


async def asks(one, who, sha256: str = DIGEST, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(verify=one.tls(who), trust_env=False, timeout=60) as client:
        url = f"https://127.0.0.1:{one.port}/agent/v1/images/{sha256}"
        return await client.get(url, headers=headers)


class Fetching:
    """A host's real downloads."""

    def __init__(self, one, host) -> None:
        pem = (one.directory / f"{host}.key").read_text()
        both = one.directory / f"{host}.both"
        both.write_text(pem + (one.directory / f"{host}.pem").read_text())
        who = Identity(host, PoolId(""), one.around.authority.pem, both)
        self._came = threading.Semaphore(0)
        self.directory = one.directory / f"downloads-{host}"
        self.downloads = Downloads(
            self.directory, [f"127.0.0.1:{one.port}"], lambda: who, self._came.release
        )

    async def fetch(self, sha256: str = DIGEST) -> bytes:
        """Wait for one try to end; raises as the storage driver would hear it."""
        with pytest.raises(Waiting):
            self.downloads(sha256)
        assert await asyncio.to_thread(self._came.acquire, timeout=60)
        return b"".join(self.downloads(sha256))

    async def close(self) -> None:
        await asyncio.to_thread(self.downloads.close)


def test_a_host_gets_the_part_that_it_is_to_run_and_no_other_host_does(database, tmp_path):
    async def scenario():
        async with rig(database, tmp_path) as one:
            host, other = one.joined("h1"), one.joined("h2")
            assert admitted(one) == DIGEST
            assert (await asks(one, host)).status_code == 404
            wants(one, host)
            mine, theirs = Fetching(one, host), Fetching(one, other)
            assert await mine.fetch() == CONTENT
            with pytest.raises(Unavailable, match="404"):
                await theirs.fetch()
            one.wish(host, "machine-a", None)
            assert (await asks(one, host)).status_code == 404, "it is no longer wished for"
            for each in (mine, theirs):
                await each.close()

    run(scenario())


def test_strangers_cannot_tell_an_absent_part_from_one_that_they_may_not_have(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            host = one.joined("h1")
            admitted(one)
            foreign, absent = await asks(one, host), await asks(one, host, "0" * 64)
            assert (foreign.status_code, foreign.content) == (404, absent.content)
            for odd in ("A" * 64, "0" * 63, "..%2f..%2fserver.key", "%00"):
                assert (await asks(one, host, odd)).status_code == 404
            wants(one, host)
            assert (await asks(one, host)).status_code == 200

    run(scenario())


def test_a_removed_host_gets_no_parts(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            host = one.joined("h1")
            admitted(one)
            await asyncio.to_thread(one.do, hosts.delete, host)
            assert (await asks(one, host)).status_code == 403

    run(scenario())


def test_a_part_that_breaks_off_is_continued_and_comes_out_whole(sqlite, tmp_path, monkeypatch):
    monkeypatch.setattr("arable.api.gateway.calls._PIECE", 64 << 10)

    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            host = one.joined("h1")
            admitted(one)
            wants(one, host)
            path = one.around.images.path(DIGEST)
            content = path.read_bytes()
            fetching = Fetching(one, host)
            # The server's file loses its end after its length was told: as a full disk or a broken one would do it.
            real = calls._opened

            def short(found):
                file, size = real(found)
                path.chmod(0o600)
                path.write_bytes(content[:500_000])
                return file, size

            monkeypatch.setattr(calls, "_opened", short)
            with pytest.raises(Unavailable):
                await fetching.fetch()
            monkeypatch.setattr(calls, "_opened", real)
            path.write_bytes(content)
            (kept,) = fetching.directory.iterdir()
            assert 0 < kept.stat().st_size < len(content)
            assert await fetching.fetch() == CONTENT
            await fetching.close()

    run(scenario())


def test_a_part_that_was_damaged_on_its_way_is_not_admitted_and_comes_again(sqlite, tmp_path):
    async def scenario():
        async with rig(sqlite, tmp_path) as one:
            host = one.joined("h1")
            admitted(one)
            wants(one, host)
            path = one.around.images.path(DIGEST)
            path.chmod(0o600)
            path.write_bytes(CONTENT[:-1] + b"?")
            fetching = Fetching(one, host)
            pool = LocalStorage(tmp_path / "pool", PoolId("pool-a"), RealClock())
            part = ImagePart(
                role=PartRole.KERNEL, sha256=DIGEST, bytes=len(CONTENT), format=PartFormat.BLOB
            )

            async def admit():
                content = await fetching.fetch()
                await asyncio.to_thread(pool.admit, part, lambda _sha256: iter([content]))

            with pytest.raises(CloudError):
                await admit()
            assert DIGEST not in pool.images()
            path.write_bytes(CONTENT)
            await admit()
            assert DIGEST in pool.images()
            await fetching.close()

    run(scenario())


@settings(deadline=None)
@given(
    size=st.integers(1, 40),
    first=st.integers(0, 50),
    last=st.none() | st.integers(0, 50),
)
def test_a_range_is_what_it_says_or_refused(size, first, last):
    content = bytes(range(size))
    asked = f"bytes={first}-{'' if last is None else last}".encode()
    scope = {"headers": [(b"range", asked)]}
    end = size if last is None else last + 1
    if first >= size or end <= first:
        with pytest.raises(problems.Fault) as refused:
            _wanted(scope, size)
        assert refused.value.status == 416
    else:
        one, other = _wanted(scope, size)
        assert content[one : other + 1] == content[first:end]


@given(st.binary(max_size=30))
def test_a_range_that_nobody_understands_is_the_whole_part(asked):
    if not asked.startswith(b"bytes="):
        assert _wanted({"headers": [(b"range", asked)]}, 7) == (0, 6)
