"""What is known of other regions: told twice, late or in the wrong order, it is what was told last."""

from datetime import UTC, datetime

import pytest

from arable.domain.errors import NotFound
from arable.domain.grid import (
    Applied,
    CatalogueChange,
    CataloguedVersion,
    Peer,
    PeerState,
    VersionKey,
)
from arable.domain.manifest import ImagePart, PartFormat, PartRole
from arable.store import grid

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LATER = datetime(2030, 1, 2, tzinfo=UTC)


def part(letter: str) -> ImagePart:
    return ImagePart(role=PartRole.DISK, sha256=letter * 64, bytes=5, format=PartFormat.RAW)


def version(number: int = 1, letter: str = "a", **but) -> CataloguedVersion:
    usual = {"region": "london", "account": "root/a", "image": "web", "created_at": NOW}
    return CataloguedVersion(
        **usual | but, number=number, digest=letter * 64, parts=(part(letter),)
    )


def peer(name: str = "london", **but) -> Peer:
    return Peer(name=name, url=f"https://{name}:8444", fingerprint="f", authority="pem", **but)


def test_peers_are_as_they_were_told_last_and_seen_last(database) -> None:
    with database.write() as tx:
        grid.put_peers(tx, [peer("york"), peer()])
        grid.put_peers(tx, [peer("york", state=PeerState.SILENT, seen_at=NOW)])
        assert [each.name for each in grid.peers(tx)] == ["london", "york"]
        assert grid.peer(tx, "york") == peer("york", state=PeerState.SILENT, seen_at=NOW)
        grid.peer_seen(tx, "york", PeerState.REACHED, LATER)
        grid.peer_seen(tx, "york", PeerState.SILENT, datetime(2031, 1, 1, tzinfo=UTC))
        assert grid.peer(tx, "york") == peer("york", state=PeerState.SILENT, seen_at=LATER)
        with pytest.raises(NotFound):
            grid.peer(tx, "oslo")


def test_changes_are_applied_once_and_in_their_order(database) -> None:
    with database.write() as tx:
        first = CatalogueChange(
            region="london", number=2, put=(version(2, "b"),), parts=("b" * 64,)
        )
        assert grid.apply(tx, first, NOW) is Applied.GAP, "there was no snapshot"
        assert grid.replace_region(tx, "london", 1, [version()], ["a" * 64], NOW) is Applied.NEW
        assert grid.apply(tx, first, NOW) is Applied.NEW
        assert grid.apply(tx, first, NOW) is Applied.KNOWN
        assert [each.number for each in grid.find(tx, "web", account="root/a")] == [2, 1]
        gone = CatalogueChange(
            region="london",
            number=4,
            dropped=(VersionKey(account="root/a", image="web", number=1),),
            parts_gone=("a" * 64,),
        )
        assert grid.apply(tx, gone, LATER) is Applied.GAP
        changed = CatalogueChange(region="london", number=3, put=(version(2, "b", public=True),))
        assert grid.apply(tx, changed, LATER) is Applied.NEW
        assert grid.apply(tx, gone, LATER) is Applied.NEW
        assert grid.find(tx, "web") == [version(2, "b", public=True)]
        assert grid.holders(tx, ["a" * 64, "b" * 64]) == {"b" * 64: ("london",)}
        assert grid.known(tx) == {"london": (4, LATER)}


def test_a_snapshot_replaces_one_region_and_no_older_one_does(database) -> None:
    with database.write() as tx:
        grid.replace_region(tx, "york", 9, [version(region="york")], ["a" * 64], NOW)
        grid.replace_region(
            tx, "london", 5, [version(), version(2, "b")], ["a" * 64, "b" * 64], NOW
        )
        assert grid.holders(tx, ["a" * 64]) == {"a" * 64: ("london", "york")}
        assert grid.replace_region(tx, "london", 4, [], [], NOW) is Applied.KNOWN
        assert (
            grid.replace_region(tx, "london", 5, [version(3, "c")], ["c" * 64], NOW) is Applied.NEW
        )
        found = grid.find(tx, "web", account="root/a")
        assert [(each.region, each.number) for each in found] == [("london", 3), ("york", 1)]
        assert [each.region for each in grid.with_digest(tx, "a" * 64)] == ["york"]
        grid.forget_peer(tx, "york")
        assert grid.with_digest(tx, "a" * 64) == []
        assert set(grid.known(tx)) == {"london"}


def test_nobody_finds_private_versions_of_others(sqlite) -> None:
    with sqlite.write() as tx:
        told = [version(), version(2, "b", public=True), version(3, "c", account="root/b")]
        grid.replace_region(tx, "london", 1, told, [], NOW)
        assert [each.number for each in grid.find(tx, "web")] == [2]
        assert [each.number for each in grid.find(tx, "web", account="root/a")] == [2, 1]
        assert [each.number for each in grid.find(tx, "web", account="root/b")] == [3, 2]
        assert grid.find(tx, "web", account="root/a", number=3) == []
        assert grid.find(tx, "web", digest="b" * 64)[0].number == 2
