"""Shares, limits, instructions and sums as rows, on both databases."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert

from arable.domain.errors import LimitExceeded
from arable.domain.ids import AccountId
from arable.domain.instruction import Instruction, InstructionKind, InstructionState
from arable.domain.region import Fact, FactKind
from arable.domain.shares import Share
from arable.store import (
    accounts,
    grid_facts,
    grid_limits,
    grid_members,
    grid_own,
    instructions,
    quotas,
    shares,
)
from arable.store import schema as t
from arable.store.grid_members import Link

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ACME = AccountId("account-acme")
PATH = "root/acme"


def test_shares_are_held_with_limits(database) -> None:
    with database.write() as tx:
        tx.execute(insert(t.domain).values(id="domain-x", path="root", name="root", created_at=NOW))
        tx.execute(
            insert(t.account).values(id=ACME, domain="domain-x", name="acme", created_at=NOW)
        )
        quotas.add(tx, ACME, {"machines": 100})
        grid_members.add_link(
            tx, Link(region="eu", grid="g:1", authorities=("a",), certificate="c", key_sealed="k")
        )
        body = {"limits": {"machines": 9}}
        grid_facts.put(tx, "grid", [Fact(kind=FactKind.LIMIT, key=PATH, version=1, body=body)])
        shares.told(tx, None)
        with pytest.raises(LimitExceeded, match="share of it is 0") as refused:
            quotas.take(tx, ACME, machines=2, cpus=3)
        shares.wanted(tx, refused.value)
        (one,) = shares.pending(tx, "", every=False)
        assert (one.asked["machines"], one.wants, one.acked) == (2, True, -1)
        shares.keep(tx, ACME, Share(serial=4, amounts={"machines": 5}), acked=4, incarnation="x")
        quotas.take(tx, ACME, machines=2, cpus=3)
        (answer,) = quotas.take_many(tx, [(ACME, {"machines": 4})])
        assert answer is not None
        held = shares.one(tx, ACME)
        assert held is not None
        assert (held.share.serial, held.used["machines"], held.asked["machines"]) == (4, 2, 6)
        shares.shortened(tx, [PATH], NOW)
        assert [each.short_at for each in shares.pending(tx, "x", every=True)] == [NOW]
        grid_facts.put(tx, "grid", [Fact(kind=FactKind.LIMIT, key=PATH, version=2)])
        shares.told(tx, [PATH])
        assert quotas.get(tx, ACME).shares["machines"] == -1
        shares.adopt(tx, ACME)
        other = AccountId("account-other")
        tx.execute(insert(t.account).values(id=other, domain="domain-x", name="b", created_at=NOW))
        quotas.add(tx, other, {})
        grid_facts.put(tx, "grid", [Fact(kind=FactKind.LIMIT, key="root/b", version=3, body=body)])
        shares.adopt(tx, other)
        assert quotas.get(tx, other).shares["machines"] == 0
        found = accounts.by_path(tx, "root/b")
        assert found is not None
        accounts.remove(tx, found)
        assert shares.by_path(tx, "root/b") is None
        shares.drop_all(tx)
        assert accounts.by_path(tx, PATH) is not None
        assert grid_own.audiences(tx, [ACME], "all") == {ACME: (PATH, "grid")}


def test_what_was_granted_and_told_is_kept(database) -> None:
    with database.write() as tx:
        for limits in ({"machines": 3}, {"machines": 4}):
            grid_limits.put(tx, PATH, limits, NOW, "olga")
        for amount in (1, 2):
            grid_limits.grant(tx, "eu", PATH, Share(serial=1, amounts={"machines": amount}), NOW)
        assert grid_limits.granted(tx, [PATH])[PATH]["eu"].amounts == {"machines": 2}
        grid_limits.shorten(tx, PATH, NOW)
        assert grid_limits.short(tx, NOW - timedelta(seconds=1)) == (PATH,)
        assert [each.limits for each in grid_limits.page(tx, None)] == [{"machines": 4}]
        grid_limits.forget(tx, "eu")
        grid_limits.put(tx, PATH, {}, NOW, "olga")
        assert grid_limits.page(tx, None) == []
        one = Instruction(
            id="instruction-a", region="eu", number=instructions.last_number(tx, "eu") + 1,
            kind=InstructionKind.SUSPEND, subject=PATH, given_by="olga", given_at=NOW,
            expires_at=NOW,
        )  # fmt: skip
        instructions.give(tx, one)
        instructions.cancel(tx, one.id, NOW)
        (row,) = instructions.given(tx, instructions.page(tx, None, after="", limit=5))
        assert (instructions.one(row, "eu"), row.cancelled_at) == (one, NOW)
        instructions.take(tx, one, InstructionState.RUNNING, "", NOW)
        assert instructions.known(tx, ["instruction-a", "instruction-b"]) == {"instruction-a"}
        assert [row.id for row in instructions.running(tx)] == ["instruction-a"]
        instructions.tell(tx, one.id, InstructionState.DONE, "well", NOW)
        assert instructions.said(tx)[one.id][0]["state"] == "done"


def test_pages_of_facts_go_by_key_and_region(database) -> None:
    with database.write() as tx:
        for region in ("eu", "us"):
            keys = ("2030-01|", "2030-01|root/a", "2030-01|root/a-b", "2030-02|root/a")
            facts = [Fact(kind=FactKind.BILL, key=key, version=1, body={}) for key in keys]
            grid_facts.put(tx, region, facts)
        found = []
        after = ("", "")
        while page := grid_facts.page(
            tx, FactKind.BILL, first="2030-01|\x20", last="2030-01|\x7f", after=after, limit=1
        ):
            ((region, fact),) = page
            found.append((fact.key[8:], region))
            after = (fact.key, region)
        assert found == [("root/a", "eu"), ("root/a", "us"), ("root/a-b", "eu"), ("root/a-b", "us")]
