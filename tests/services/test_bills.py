"""What is used is counted, priced and booked: each second once, each payment once."""

from datetime import timedelta

import pytest
from make_cloud import Cloud
from make_shop import Shop

from arable.domain.errors import BadInput, Conflict, Forbidden, NotFound
from arable.domain.ids import AccountId, MachineId, VolumeId
from arable.services import addresses, bills, credit, machines, prices, resizing, volumes
from arable.store import attention, usage_records
from arable.store.usage_records import UsageFilter
from arable.wire.addresses import AddressIn
from arable.wire.billing import (
    BillListQuery,
    BillQuery,
    CreditEntryIn,
    CreditLimitIn,
    CreditQuery,
    PriceIn,
    PriceListIn,
    UsageQuery,
)
from arable.wire.machines import ResizeIn
from arable.wire.volumes import ResizeVolumeIn, VolumeIn

HOUR = timedelta(hours=1)


def boss(cloud: Cloud):
    return cloud.account("boss", role="operator")


def set_prices(cloud: Cloud, who, *said: str, **more):
    made = []
    for each in said:
        kind, _, rest = each.partition("=")
        kind, _, offering = kind.partition("/")
        made.append(PriceIn(kind=kind, amount=rest, offering=offering or None))
    return cloud.do(who, prices.put, PriceListIn(prices=tuple(made), **more))


def sees(cloud: Cloud, machine: str, state: str) -> None:
    """As `settle` and others write it."""
    with cloud.database.write() as tx:
        at = attention.stamp(cloud.around.clock.now())
        row = {"id": machine, "state": state, "changed_at": at}
        attention.change_machines(tx, ("state", "changed_at"), [row])


def bill(cloud: Cloud, who, **query):
    made = cloud.do(who, bills.get, BillQuery(**query))
    return {(line.kind, line.price): (line.quantity, line.amount) for line in made.lines}, made


def test_a_machine_costs_while_it_runs_and_its_disk_while_it_is_there(cloud):
    me, operator = cloud.account("me"), boss(cloud)
    set_prices(
        cloud, operator, "running=0.02", "running/small=0.01", "volume/root=7.3", currency="EUR"
    )
    machine = cloud.deploy(me).machines[0].id
    cloud.around.clock.wait(HOUR)
    for state in ("running", "running", "stopping"):  # a host may say it twice
        sees(cloud, machine, state)
    cloud.around.clock.wait(2 * HOUR)
    sees(cloud, machine, "stopped")
    sees(cloud, machine, "stopped")
    cloud.around.clock.wait(HOUR)
    lines, whole = bill(cloud, me)
    assert lines["running", "0.01"] == ("2.000000", "0.02")
    assert lines["machine", "0.00"] == ("4.000000", "0.00")
    assert lines["volume", "7.30"] == ("0.005479", "0.04")  # 1 GiB for 4 hours of 730
    assert (whole.total, whole.currency) == ("0.06", "EUR")
    assert {(line.farm_name, line.name) for line in whole.lines} >= {("default", "small")}


def test_a_change_of_prices_splits_what_is_used_and_leaves_the_past_alone(lone_cloud):
    cloud = lone_cloud
    me, operator = cloud.account("me"), boss(cloud)
    assert set_prices(cloud, operator, "running=1", currency="EUR").in_force
    sees(cloud, cloud.deploy(me).machines[0].id, "running")
    later = cloud.around.clock.now() + 3 * HOUR
    assert not set_prices(cloud, operator, "running=3", valid_from=later).in_force
    cloud.around.clock.wait(5 * HOUR)
    lines, whole = bill(cloud, me)
    assert lines["running", "1.00"] == ("3.000000", "3.00")
    assert lines["running", "3.00"] == ("2.000000", "6.00")
    past = PriceListIn(prices=(), valid_from=cloud.around.clock.now() - HOUR)
    assert isinstance(cloud.refused(operator, prices.put, past), BadInput)
    other = PriceListIn(prices=(), currency="USD")
    assert isinstance(cloud.refused(operator, prices.put, other), Conflict)
    twice = PriceIn(kind="running", amount="1")
    assert isinstance(
        cloud.refused(operator, prices.put, PriceListIn(prices=(twice, twice))), BadInput
    )
    assert isinstance(cloud.refused(me, prices.put, PriceListIn(prices=())), Forbidden)
    day = f"{cloud.around.clock.now():%Y-%m-%d}"
    assert bill(cloud, me, begin=day)[1].total == whole.total


def test_volumes_and_addresses_are_counted_as_they_become_others(lone_cloud):
    cloud = lone_cloud
    me = cloud.account("me")
    made = cloud.do(me, volumes.create, VolumeIn(name="data", offering="any", mib=1024))
    address = cloud.do(me, addresses.acquire, AddressIn())
    cloud.around.clock.wait(HOUR)
    cloud.do(me, resizing.resize, VolumeId(made.id), ResizeVolumeIn(mib=2048))
    cloud.around.clock.wait(HOUR)
    cloud.do(me, volumes.delete, VolumeId(made.id))
    cloud.do(me, addresses.release, address.id)
    cloud.around.clock.wait(HOUR)
    found = cloud.do(me, bills.usage, UsageQuery()).items
    seen = [(each.kind, each.offering, each.mib, each.seconds) for each in found]
    assert sorted(seen) == [
        ("address", "", 0, "7200.000000"),
        ("volume", "diskoffering-any", 1024, "3600.000000"),
        ("volume", "diskoffering-any", 2048, "3600.000000"),
    ]
    assert all(each.until is not None for each in found)


def test_a_clock_that_is_behind_makes_no_interval_that_ends_before_it_began(cloud):
    me = cloud.account("me")
    machine = MachineId(cloud.deploy(me).machines[0].id)
    now = attention.stamp(cloud.around.clock.now())
    with cloud.database.write() as tx:
        for state, at in (
            ("running", now),
            ("stopped", now - 5),
            ("running", now - 3),
            ("stopped", now + 9),
        ):
            usage_records.machines_change(tx, [(machine, state, at)])
    runs = cloud.rows(
        "select since, until from usage_record where kind = 'running' order by number"
    )
    assert runs == [(now, now), (now, now + 9)]


def test_nobody_sees_what_others_use(lone_cloud):
    cloud = lone_cloud
    me, other, operator = cloud.account("me"), cloud.account("other"), boss(cloud)
    cloud.deploy(me)
    cloud.around.clock.wait(HOUR)
    assert cloud.do(other, bills.usage, UsageQuery()).items == []
    assert cloud.do(other, bills.page, BillListQuery()).items == []
    for use_case, ask in (
        (bills.get, BillQuery(account=me.account)),
        (credit.get, me.account),
    ):
        assert isinstance(cloud.refused(other, use_case, ask), NotFound)
    whose = [each.account for each in cloud.do(operator, bills.page, BillListQuery()).items]
    assert whose == [me.account]
    assert cloud.do(operator, bills.get, BillQuery(account=me.account)).lines


def test_a_payment_is_booked_once_and_use_is_taken_from_it(cloud):
    me, operator = cloud.account("me"), boss(cloud)
    set_prices(cloud, operator, "running=1", currency="EUR")
    paid = CreditEntryIn(amount="10", key="p-1", reference="invoice 7")
    first = cloud.do(operator, credit.add, me.account, paid)
    cloud.around.clock.wait(HOUR)
    assert cloud.do(operator, credit.add, me.account, paid) == first
    other = CreditEntryIn(amount="11", key="p-1")
    assert isinstance(cloud.refused(operator, credit.add, me.account, other), Conflict)
    assert isinstance(cloud.refused(me, credit.add, me.account, paid), Forbidden)
    cloud.do(operator, credit.limit, me.account, CreditLimitIn(amount="5"))
    sees(cloud, cloud.deploy(me).machines[0].id, "running")
    cloud.around.clock.wait(3 * HOUR)
    now = cloud.do(me, credit.get, me.account)
    assert (now.paid, now.unbooked, now.balance, now.available) == (
        "10.00",
        "3.00",
        "7.00",
        "12.00",
    )


def test_months_are_booked_once_and_change_no_balance(lone_cloud):
    cloud = lone_cloud
    me, operator = cloud.account("me"), boss(cloud)
    set_prices(cloud, operator, "running=0.001", currency="EUR")
    cloud.do(operator, credit.limit, me.account, CreditLimitIn(amount="500"))
    sees(cloud, cloud.deploy(me).machines[0].id, "running")
    cloud.around.clock.wait(timedelta(days=70))
    before = cloud.do(me, credit.get, me.account)
    now = cloud.around.clock.now()
    for _ in range(2):
        with cloud.database.write() as tx:
            credit.book(tx, AccountId(me.account), bills.month_of(now), now)
    after = cloud.do(me, credit.get, me.account)
    assert after.balance == before.balance
    assert after.booked_until == bills.month_of(now)
    entries = cloud.do(me, credit.page, CreditQuery()).items
    assert [each.kind for each in entries] == ["use"] * len(entries)
    assert len(entries) >= 2


def test_a_machine_that_is_resized_is_another_one_to_whoever_pays(lone_cloud):
    cloud = lone_cloud
    me = cloud.account("me")
    machine = cloud.deploy(me, start=False).machines[0].id
    cloud.around.clock.wait(HOUR)
    cloud.do(me, machines.resize, MachineId(machine), ResizeIn(offering="large"))
    cloud.around.clock.wait(HOUR)
    with cloud.database.read() as tx:
        now = cloud.around.clock.now()
        where = UsageFilter(since=now - 9 * HOUR, until=now, kind=usage_records.UsageKind.MACHINE)
        found = usage_records.page(tx, me.scope, where)
    assert [each.until is None for each in found] == [False, True]
    assert found[0].until == found[1].since
    assert found[0].offering != found[1].offering


@pytest.mark.parametrize("query", [{"begin": "2026-13"}, {"begin": "2026-02-30"}, {"month": "2026-01", "end": "2026-02"}])  # fmt: skip
def test_periods_that_mean_nothing_are_refused(lone_cloud, query):
    me = lone_cloud.account("me")
    assert isinstance(lone_cloud.refused(me, bills.get, BillQuery(**query)), BadInput)


def test_elements_are_counted_for_their_farm_and_tier_from_the_beginning(cloud):
    shop = Shop(cloud)
    shop.round(2)
    for (machine,) in cloud.rows("select id from machine"):
        sees(cloud, machine, "running")
    cloud.around.clock.wait(HOUR)
    found = cloud.do(shop.ann, bills.usage, UsageQuery(farm=shop.farm)).items
    tiers = {each.kind: each.tier_name for each in found}
    assert tiers == {
        "machine": "web",
        "running": "web",
        "volume": "web",
        "network": "",
        "address": "",
    }
    assert {each.farm_name for each in found} == {"shop"}
    assert len([each for each in found if each.kind == "running"]) == 2
