"""The grid port for real: who gets in, what they may have, and a part that comes over it."""

import json
import ssl
import threading
from collections.abc import Iterator

import pytest
from make_regions import ENTROPY, Grid, Loop, Site, bring, noise, said, site

from arable.client.errors import Refused, Unreachable
from arable.client.regions import Region
from arable.controllers import fetching
from arable.controllers.fetching import Pace, fetch
from arable.controllers.source_looks import Looks
from arable.domain import chunks as cut
from arable.domain.chunks import CHUNK
from arable.domain.errors import Corrupt, Unavailable
from arable.domain.ids import AccountId, ImageId
from arable.domain.image import Image, ImageVersion
from arable.drivers.storage.image_store import ImageStore
from arable.runtime.ca import IdentityKind, new_request
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Ids
from arable.runtime.grid_identity import identity, keep_identity
from arable.services import bootstrap
from arable.store import images
from arable.store.database import Database
from databases import fresh_sqlite

CONTENT = noise(5 * CHUNK) + bytes(2 * CHUNK) + noise(512, 1)


@pytest.fixture(scope="module")
def grid(tmp_path_factory) -> Grid:
    return Grid(tmp_path_factory.mktemp("grid"))


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Iterator[Database]:
    with fresh_sqlite(tmp_path_factory.mktemp("database")) as made:
        bootstrap.ensure(made, RealClock(), ENTROPY, Ids(RealClock(), ENTROPY))
        yield made


@pytest.fixture(scope="module")
def london(grid, loop, database) -> Iterator[Site]:
    """Has a public image, and a private one."""
    with site(loop, grid, "london", database) as made:
        has(made, database, CONTENT, public=True)
        has(made, database, SECRET, public=False)
        yield made


SECRET = noise(2 * CHUNK, 9)
DIGEST, SECRET_DIGEST = (said(each).sha256 or "" for each in (CONTENT, SECRET))


def has(where: Site, database: Database, content: bytes, *, public: bool) -> None:
    part = bring(where.store, content)
    now = RealClock().now()
    with database.write() as tx:
        account = AccountId(tx.exec_driver_sql("select id from account").scalar_one())
        id_ = ImageId(f"image-{part.sha256[:20]}")
        name = f"image-{part.sha256[:8]}"
        images.add(tx, Image(id=id_, account=account, name=name, public=public, created_at=now))
        version = ImageVersion(
            image=id_,
            number=1,
            digest=part.sha256,
            parts=(part,),
            bytes=part.bytes,
            created_at=now,
        )
        images.add_version(tx, version)


@pytest.fixture(scope="module")
def york(grid):
    return grid.identity("york")


def listed(region: Region, sha256: str = DIGEST) -> cut.ChunkList:
    line = region.line()
    try:
        return cut.decode(line.chunk_list(sha256, 10_000))
    finally:
        line.close()


def test_a_part_comes_over_it_whole(london, york, tmp_path) -> None:
    here = ImageStore(tmp_path / "here")
    done = fetch(
        said(CONTENT),
        [london.asked_by(york)],
        here.chunked,
        Pace(RealClock()),
        threading.Event(),
    )
    assert here.path(DIGEST).read_bytes() == CONTENT
    assert done.sources == ("london",)
    assert done.progress.moved < len(CONTENT), "what is nothing does not move"


def test_only_chunks_that_were_asked_for_are_sent(london, york) -> None:
    line = london.asked_by(york).line()
    found = dict(cut.unpacked(line.chunks(DIGEST, "1,3-4"), {1, 3, 4}))
    assert found == {n: CONTENT[n * CHUNK : (n + 1) * CHUNK] for n in (1, 3, 4)}
    line.close()


def test_a_line_that_was_looked_along_is_the_one_that_is_used(london, york) -> None:
    """Who is looked at says how much it is sending; what was connected for that is not thrown away."""
    region = london.asked_by(york)
    (seen,) = Looks(RealClock()).at([region], {})
    assert (seen.region, seen.load) == ("london", 0)
    assert seen.away
    line = region.line()
    assert list(region._lines) == [line]
    packed = line.chunks(DIGEST, "0-4")
    next(packed)
    other = region.line()
    assert other is not line
    assert 0 <= other.load() <= 1
    list(packed)
    region.keep(line)
    assert region.line() is line
    region.keep(line)
    region.hang_up()
    with pytest.raises(Unreachable, match="hung up"):
        region.line()
    other.close()
    assert not region._lines


@pytest.mark.parametrize("want", ["", "7-3", "0-9", "x", "0&want=1", "0&more=1"])
def test_nonsense_is_refused_and_said(london, york, want) -> None:
    line = london.asked_by(york).line()
    with pytest.raises(Refused) as refused:
        list(line.chunks(DIGEST, want))
    assert refused.value.status in (400, 422)
    line.close()


def test_what_is_private_reads_like_what_is_not_there(london, york, database) -> None:
    """Deny by default: only an account that was federated with that very region opens it."""
    for sha256 in (SECRET_DIGEST, "00" * 32):
        with pytest.raises(Refused) as refused:
            listed(london.asked_by(york), sha256)
        assert (refused.value.status, str(refused.value)) == (
            404,
            "there is no such part for this region",
        )
    federate = "update account set federated = '[%s]'"
    for regions, may in (('"bristol"', False), ('"york"', True), ("", False)):
        with database.write() as tx:
            tx.exec_driver_sql(federate % regions)
        if may:
            assert listed(london.asked_by(york), SECRET_DIGEST).size == len(SECRET)
        else:
            with pytest.raises(Refused):
                listed(london.asked_by(york), SECRET_DIGEST)


def test_nobody_gets_in_without_a_certificate_of_the_grid(london, grid, tmp_path) -> None:
    other = Grid(tmp_path)
    stranger = other.identity("york")
    mixed = keep_identity(
        tmp_path / "mixed",
        "york",
        [grid.authority.pem],
        stranger.certificate,
        stranger.key,
        ENTROPY,
    )
    nobody = ssl.create_default_context(cadata=grid.authority.pem)
    for tls in (mixed.asking, lambda: nobody):
        with pytest.raises(Unreachable):
            listed(Region("london", london.url, tls, 5.0))


def test_a_host_of_that_authority_is_no_region(london, grid) -> None:
    """What an authority certifies as something else does not get in here."""
    asked = new_request("host-a")
    signed = grid.authority.sign(asked.request, "host-a", IdentityKind.HOST, 1)
    folder = grid.folder / "odd"
    odd = keep_identity(folder, "host-a", [grid.authority.pem], signed, asked.key, ENTROPY)
    with pytest.raises((Unreachable, Refused)):
        listed(london.asked_by(odd))


def test_the_grid_manager_gets_no_parts(london, grid) -> None:
    manager = grid.identity("manager", IdentityKind.GRID)
    with pytest.raises(Refused) as refused:
        listed(london.asked_by(manager))
    assert refused.value.status == 403


def test_whoever_answers_must_be_the_region_that_was_meant(london, york) -> None:
    with pytest.raises(Unreachable, match="paris"):
        listed(Region("paris", london.url, york.asking, 5.0))


def test_a_port_where_nobody_listens_is_told(york) -> None:
    for url in ("https://127.0.0.1:1", "http://127.0.0.1:1", "nonsense"):
        with pytest.raises(Unreachable, match="london"):
            listed(Region("london", url, york.asking, 5.0))


def test_a_part_that_is_damaged_where_it_lies_is_refused_here(
    grid, loop, database, york, tmp_path
) -> None:
    content = noise(3 * CHUNK, 21)
    with site(loop, grid, "bristol", database) as bristol:
        has(bristol, database, content, public=True)
        sha256 = said(content).sha256 or ""
        bristol.store.chunked.chunks(sha256)  # made while it was well
        path = bristol.store.path(sha256)
        path.chmod(0o600)
        with path.open("r+b") as file:
            file.seek(CHUNK)
            file.write(b"rotten")
        here = ImageStore(tmp_path / "here")
        with pytest.raises(Corrupt, match="bristol"):
            fetch(
                said(content),
                [bristol.asked_by(york)],
                here.chunked,
                Pace(RealClock()),
                threading.Event(),
            )
        assert not here.parts()


def test_a_sender_that_dies_and_comes_back_is_gone_on_with(
    grid, loop, database, york, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(fetching, "_AGAIN", 0.01)
    content = noise(4 * CHUNK, 22)
    here = ImageStore(tmp_path / "here")
    pace, stop = Pace(RealClock()), threading.Event()
    with site(loop, grid, "leeds", database) as leeds:
        has(leeds, database, content, public=True)
        chunks = listed(leeds.asked_by(york), said(content).sha256 or "")
        arrival = here.chunked.receive(said(content), chunks)
        arrival.put(2, content[2 * CHUNK : 3 * CHUNK])
        arrival.close()
        gone = leeds.asked_by(york)
    with pytest.raises(Unavailable, match="leeds"):
        fetch(said(content), [gone], here.chunked, pace, stop)
    with site(loop, grid, "leeds", database) as leeds:
        done = fetch(said(content), [leeds.asked_by(york)], here.chunked, pace, stop)
    assert done.progress.moved < 3 * CHUNK + 1000
    assert here.path(done.part.sha256).read_bytes() == content


def test_who_we_are_in_the_grid_is_kept_and_damage_is_told(grid, tmp_path) -> None:
    assert identity(tmp_path, ENTROPY) is None
    asked = new_request("oslo")
    signed = grid.authority.sign(asked.request, "oslo", IdentityKind.REGION, 24)
    kept = keep_identity(tmp_path, "oslo", [grid.authority.pem], signed, asked.key, ENTROPY)
    found = identity(tmp_path, ENTROPY)
    assert found is not None
    assert (found.region, found.key.reveal()) == ("oslo", asked.key.reveal())
    assert kept.until > RealClock().now()
    file = tmp_path / "grid" / "identity.json"
    assert file.stat().st_mode & 0o077 == 0
    assert json.loads(file.read_text())["region"] == "oslo"
    file.write_text("{}")
    with pytest.raises(Corrupt):
        identity(tmp_path, ENTROPY)
