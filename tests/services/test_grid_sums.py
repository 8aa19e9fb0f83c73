"""Bills and holdings of all regions in one place: what regions tell, to whom, and how old it is."""

from dataclasses import replace
from datetime import timedelta

import pytest
from regions_on_wires import Grid, grid_of
from sqlalchemy import insert, update

from arable.controllers.grid_bills import Bills, months
from arable.domain.access import ROLES, Caller
from arable.domain.errors import BadInput
from arable.domain.ids import AccountId, DomainId, UserId
from arable.services import grid_manager, grid_sums
from arable.services.call import Call, GridRole
from arable.store import schema as t
from arable.wire.grid_sums import GridBillQuery, GridEventQuery, GridSumQuery

HOUR = timedelta(hours=1)


@pytest.fixture
def three(tmp_path):
    with grid_of(tmp_path, "eu", "us", "asia") as made:
        made.clock.wait(timedelta(days=14))
        for region in made.regions.values():
            region.acme = region.cloud.account("acme")
        yield made


def used(region, account="account-acme", price=1_000_000, currency="EUR", hours=3):
    """A machine that ran until now, at a price."""
    now = region.cloud.around.clock.now()
    prices = [["running", "small", price]]
    with region.cloud.database.write() as tx:
        number = tx.exec_driver_sql("select coalesce(max(number), 0) + 1 from price_list").scalar()
        tx.execute(
            insert(t.price_list).values(
                number=number, valid_from=now - timedelta(days=300), currency=currency,
                prices=prices, user="user-op", created_at=now,
            )
        )  # fmt: skip
        tx.execute(
            insert(t.usage_record).values(
                account=account, kind="running", thing=f"machine-{number}{account[8:]}", name="web",
                offering="small", farm="", farm_name="", since=now - hours * HOUR, until=now,
            )
        )  # fmt: skip


def operator(cloud_or_manager, path="root"):
    rank, permissions = ROLES["operator"]
    return Caller(
        user=UserId("user-op"), name="op", account=AccountId("account-root"),
        domain=DomainId("domain-root"), path=path, role="operator", rank=rank,
        permissions=permissions, via="password",
    )  # fmt: skip


def at_grid(made: Grid, does, query):
    around = replace(made.manager.around, grid_role=GridRole.GRID)
    with made.manager.database.read() as tx:
        return does(Call(tx, operator(made), around), query)


def bills(made, **query):
    return at_grid(made, grid_sums.bills, GridBillQuery(**query))


def settle(made):
    for _ in range(4):
        made.turn(301)


def setting(region, name, value):
    region.run(insert(t.setting).values(name=name, value=value))


def test_bills_of_all_regions_are_in_one_place_exactly(three):
    for name in ("eu", "us"):
        three[name].federate("account-acme", "eu", "us")
    used(three["eu"], hours=3)
    used(three["us"], price=333_333, currency="USD", hours=1)
    settle(three)
    found = bills(three)
    assert [(b.region, b.account, b.total, b.currency) for b in found.items] == [
        ("eu", "root/acme/acme", "3.00", "EUR"),
        ("us", "root/acme/acme", "0.333333", "USD"),
    ]
    assert {(s.currency, s.total) for s in found.sums} == {("EUR", "3.00"), ("USD", "0.333333")}
    assert {r.region: r.total for r in found.regions} == {
        "asia": "0.00",
        "eu": "3.00",
        "us": "0.333333",
    }
    first = bills(three, limit=1)
    assert first.next
    assert bills(three, limit=1, after=first.next).items == found.items[1:]
    assert [b.region for b in bills(three, account="root/acme/acme", region="us").items] == ["us"]
    with pytest.raises(BadInput):
        bills(three, region="mars")


def test_a_region_that_can_not_be_reached_is_named_with_its_age_and_what_is_known(three):
    three["eu"].federate("account-acme", "us")
    used(three["eu"])
    settle(three)
    three["eu"].line.cut = True
    three.turn(600)
    found = bills(three, month="2030-01")
    (eu,) = [each for each in found.regions if each.region == "eu"]
    assert (eu.state, eu.told, eu.total) == ("silent", "eu was last heard 10 min ago", "3.00")
    assert [b.region for b in found.items] == ["eu"]


def test_customers_see_their_own_where_both_sides_said_so_and_nothing_else(three):
    for name in ("eu", "us"):
        three[name].federate("account-acme", "eu", "us")
        used(three[name])
    three["asia"].federate("account-acme", "us")
    used(three["asia"], price=7)
    three["eu"].cloud.account("rival")
    three["eu"].federate("account-rival", "us")
    used(three["eu"], account="account-rival")
    settle(three)
    us = three["us"]
    found = us.cloud.do(us.acme, grid_sums.bills, GridBillQuery(month="2030-01"))
    assert [(b.region, b.account) for b in found.items] == [
        ("eu", "root/acme/acme"),
        ("us", "root/acme/acme"),
    ], "asia's acme may be asked for from here, but ours not from asia"
    assert [(r.region, r.total) for r in found.regions] == [("eu", None), ("us", None)]
    held = us.cloud.do(us.acme, grid_sums.held, GridSumQuery())
    assert [h.region for h in held.items] == ["eu", "us"]
    assert held.items[0].limits["machines"] is None
    with pytest.raises(BadInput, match="not your account"):
        us.cloud.do(us.acme, grid_sums.bills, GridBillQuery(account="root/rival/rival"))


def test_what_is_nobody_elses_is_told_to_the_grid_manager_alone_and_taken_back(three):
    eu = three["eu"]
    used(eu)
    settle(three)
    assert not bills(three, month="2030-01").items, "deny by default"
    setting(eu, "grid_accounts", "all")
    settle(three)
    assert [b.account for b in bills(three, month="2030-01").items] == ["root/acme/acme"]
    for name in ("us", "asia"):
        three[name].federate("account-acme", "eu")
    settle(three)
    for name in ("us", "asia"):
        assert not three[name].cloud.rows(
            "select key from grid_fact where region = 'eu' and kind in ('bill', 'held')"
        )
    eu.run(update(t.setting).where(t.setting.c.name == "grid_accounts").values(value="none"))
    settle(three)
    found = bills(three, month="2030-01")
    assert not found.items
    assert {r.region: r.total for r in found.regions}["eu"] is None
    held = at_grid(three, grid_sums.held, GridSumQuery())
    assert "eu" not in {h.region for h in held.items}


def test_a_bill_to_which_nothing_is_added_is_not_told_again(three):
    three["eu"].federate("account-acme", "us")
    used(three["eu"])
    settle(three)
    before = three.manager.do(lambda tx, _a: grid_manager.grid_facts.last_version(tx, "eu"))
    settle(three)
    assert before == three.manager.do(lambda tx, _a: grid_manager.grid_facts.last_version(tx, "eu"))


def test_many_accounts_are_reckoned_some_at_a_time(three, monkeypatch):
    from arable.controllers import grid_bills

    monkeypatch.setattr(grid_bills, "MOST", 2)
    eu = three["eu"]
    for name in "abc":
        eu.cloud.account(name)
        eu.federate(f"account-{name}", "us")
        used(eu, account=f"account-{name}")
    reckoner, at = Bills(), three.clock.now()
    with eu.cloud.database.read() as tx:
        told = [reckoner.look(tx, "eu", at, 0.0) for _ in range(3)]
        assert reckoner.look(tx, "eu", at, 1.0) == [], "then it rests"
    assert [len(part) for part in told] == [0, 2, 2], "nothing to take back; a and b; c and the sum"
    (total,) = [body for key, body, _audience in told[2] if key == "2030-01|"]
    assert total["micros"] == 9_000_000


def test_operators_events_are_told_by_who_said_so_the_newest_of_them(three):
    for name in ("eu", "us"):
        with three[name].cloud.database.write() as tx:
            for number in range(102):
                at = three.clock.now() + timedelta(seconds=number)
                tx.execute(insert(t.event).values(at=at, kind="host.down", subject="host-a", text=f"{name} {number}", data={}))  # fmt: skip
            tx.execute(insert(t.event).values(at=at, account="account-acme", kind="machine.made", subject="m", text="secret", data={}))  # fmt: skip
    setting(three["eu"], "grid_events", "yes")
    settle(three)
    found = at_grid(three, grid_sums.events, GridEventQuery(limit=1000)).items
    assert [len(found), found[0].text, found[-1].text] == [100, "eu 101", "eu 2"]
    assert three["us"].cloud.rows("select key from grid_fact where region = 'eu' and kind = 'event'") == []  # fmt: skip


def test_the_last_month_is_reckoned_for_a_day(three):
    at = three.clock.now()
    assert months(at.replace(month=3, day=1, hour=12)) == ["2030-02", "2030-03"]
    assert months(at.replace(month=3, day=2, hour=1)) == ["2030-03"]


def test_a_region_can_not_say_bills_to_everybody_or_under_another_name(three):
    from arable.wire.grid import FactDoc

    body = {"account": "root/acme/acme", "month": "2030-01", "currency": "EUR", "micros": 1,
            "as_of": "2030-01-01T00:00:00+00:00"}  # fmt: skip
    for key, audience, right in (
        ("2030-01|root/acme/acme", "", False),
        ("2030-01|root/acme/acme", "root/other/other", False),
        ("2030-02|root/acme/acme", "root/acme/acme", False),
        ("2030-01|root/acme/acme", "root/acme/acme", True),
        ("2030-01|root/acme/acme", "grid", True),
    ):
        doc = FactDoc(kind="bill", key=key, version=1, body=body, audience=audience)
        assert (grid_manager._fault(doc) == "") is right
