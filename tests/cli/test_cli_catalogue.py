"""`arable image where` and `image fetch`, for a person and for a program."""

import hashlib
import json

from arable.controllers.transfers import Transfers
from arable.domain.grid import CataloguedVersion, Peer
from arable.domain.manifest import ImagePart, PartFormat, PartRole
from arable.domain.units import MIB
from arable.store import grid
from cli.command_line import Arable
from grid.make_regions import Source, noise
from serving import Served

CONTENT = noise(MIB)


def told(served: Served) -> None:
    """London has web/3."""
    now = served.around.clock.now()
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    part = ImagePart(
        role=PartRole.DISK,
        sha256=sha256,
        bytes=MIB,
        format=PartFormat.RAW,
        virtual_bytes=MIB,
    )
    version = CataloguedVersion(
        region="london",
        account="root/operators",
        image="web",
        number=3,
        digest=sha256,
        parts=(part,),
        public=True,
        created_at=now,
    )
    with served.database.write() as tx:
        grid.put_peers(tx, [Peer(name="london", url="https://l:1", fingerprint="", authority="")])
        grid.replace_region(tx, "london", 1, [version], [sha256], now)


def test_an_image_is_found_fetched_and_here(served: Served, operator: Arable, tmp_path) -> None:
    told(served)
    shown = operator("image", "where", "web").out
    assert "london" in shown
    (version,) = operator.json("image", "where", "web")
    assert (version["here"], version["holders"][0]["region"]) == (False, "london")
    begun = operator.json("image", "fetch", "web", "--no-wait")
    assert begun["kind"] == "image.fetch"
    store = served.around.images
    Transfers(
        served.database,
        served.writer,
        served.around.clock,
        "server-a",
        store,
        store.chunked,
        lambda: lambda peer: Source(peer.name, CONTENT),
    ).step()
    done = operator("image", "fetch", "web", "--version", "3")
    assert "done" in done.out
    (version,) = operator.json("image", "where", "web", "--version", "3")
    assert version["here"] is True
    assert json.dumps(operator.json("image", "list")).count('"arriving": false') == 1


def test_what_nobody_has_is_said(operator: Arable) -> None:
    refused = operator("image", "fetch", "web", "--version", "9", status=None)
    assert "no other region has an image web/9" in refused.err
    assert operator.json("image", "where", "web") == []
