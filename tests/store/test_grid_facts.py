"""Facts, members and a region's link as rows, on both databases."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import insert

from arable.domain.errors import Conflict, Forbidden, NotFound
from arable.domain.ids import RegionId
from arable.domain.region import Fact, FactKind, Member, MemberState
from arable.store import grid_facts, grid_members, grid_own
from arable.store import schema as t
from arable.store.grid_members import Link

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def fact(key: str, version: int, body: object = 1, audience: str = "") -> Fact:
    return Fact(kind=FactKind.IMAGE, key=key, version=version, body=body, audience=audience)


def test_facts_are_numbered_told_on_and_forgotten(database) -> None:
    with database.write() as tx:
        first = grid_facts.numbers(tx, 3)
        facts = [fact("a", 5), fact("b", 6, audience="root/acme/acme"), fact("c", 7, None)]
        grid_facts.put(tx, "eu", facts, first)
        assert grid_facts.counted(tx) == (3, 0)
    with database.write() as tx:
        grid_facts.put(tx, "eu", [fact("a", 9, {"x": [1]})], grid_facts.numbers(tx, 1))
        known = grid_facts.known(tx, "eu")
        assert known.versions == {("image", "a"): 9, ("image", "b"): 6, ("image", "c"): 7}
        assert known.live == {("image", "a"), ("image", "b")}
        assert grid_facts.known(tx, "eu", [("image", "b")]).versions == {("image", "b"): 6}
        told = grid_facts.since(tx, "us", 1, [], None)
        assert [(t.seq, t.fact.key, t.fact.body) for t in told] == [(3, "c", None), (4, "a", {"x": [1]})]  # fmt: skip
        told = grid_facts.since(tx, "us", 0, ["root/acme/acme"], 10)
        assert [t.fact.key for t in told] == ["b", "a"], "from the beginning, without what is gone"
        assert grid_facts.since(tx, "eu", 0, [], None) == [], "nobody is told what it said itself"
        assert [f.key for f in grid_facts.after(tx, "eu", 6, 9)] == ["c", "a"]
        assert grid_facts.counts(tx, FactKind.IMAGE) == {"eu": 2}
        assert grid_facts.last_version(tx, "eu") == 9
        assert grid_facts.forget_gone(tx, "eu", 6) == 0
        assert grid_facts.forget_gone(tx, "eu", 7) == 3
        grid_facts.swept(tx, 3)
        grid_facts.swept(tx, 2)
        assert grid_facts.counted(tx) == (4, 3)


def test_who_counts_is_said_by_state_and_epoch(database) -> None:
    made = Member(id=RegionId("region-eu"), name="eu", epoch=2, heard_at=NOW, created_at=NOW)
    with database.write() as tx:
        grid_members.replace_all(tx, [made])
        grid_members.demand(tx, "eu", 2)
        for name, epoch in (("eu", 1), ("us", 2)):
            with pytest.raises(Forbidden):
                grid_members.demand(tx, name, epoch)
        gone = Member(
            id=made.id, name="eu", epoch=2, state=MemberState.GONE, heard_at=None, created_at=NOW
        )
        grid_members.replace_all(tx, [gone])
        assert grid_members.every(tx) == [gone]
        with pytest.raises(Forbidden):
            grid_members.demand(tx, "eu", 2)


def test_a_grid_manager_does_not_work_with_a_regions_store(sqlite) -> None:
    with sqlite.write() as tx:
        grid_members.check_no_region(tx)
        tx.execute(
            insert(t.segment).values(
                id="server-a", seq=1, epoch=1, state="ready", address="", heartbeat_at=NOW
            )
        )
        with pytest.raises(Conflict, match="one of its own"):
            grid_members.check_no_region(tx)


def test_a_region_has_one_link(database) -> None:
    link = Link(
        region="eu", grid="grid:1", authorities=("pem",), certificate="pem", key_sealed="sealed"
    )
    with database.write() as tx:
        assert grid_members.link(tx) is None
        grid_members.add_link(tx, link)
        with pytest.raises(Conflict):
            grid_members.add_link(tx, link)
        grid_members.change_link(tx, acked=7, heard_at=NOW)
        found = grid_members.link(tx, lock=True)
        assert found is not None
        assert (found.acked, found.heard_at, found.authorities) == (7, NOW, ("pem",))
        made_elsewhere = {FactKind.BILL, FactKind.LIMIT, FactKind.INSTRUCTION}
        every = set(FactKind) - made_elsewhere
        said = grid_own.facts(tx, "eu", every, "1.0", NOW)
        grid_facts.put(tx, "eu", said)
        assert [f.kind for f in said] == ["region"]
        assert grid_own.facts(tx, "eu", every, "1.0", NOW) == [], "once is enough"
        grid_members.remove_link(tx)
        with pytest.raises(NotFound):
            grid_members.remove_link(tx)
