"""How fast machines' ports are: what offering, account and cloud say together, also for machines that run."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_cloud import Cloud
from test_customer_races import all_at_once, deploying, doing
from test_landing import attend, report, routed, seen, with_hosts
from test_machines_on_shared_disks import item

from arable.controllers import repair
from arable.domain.errors import CloudError, Forbidden
from arable.domain.manifest import GuestWish
from arable.domain.rates import Rate, RateSource, least
from arable.services import accounts, explanations, limits, machines, settings
from arable.wire.accounts import AccountIn, LimitsChange
from arable.wire.settings import SettingsChange

OFFERED = 100_000  # kbit/s of the offering `small`


@pytest.fixture
def operator(cloud):
    return cloud.account("operator", role="operator")


@pytest.fixture
def running(cloud) -> tuple[object, str]:
    """A customer with a machine that runs."""
    with_hosts(cloud, "a")
    me = cloud.account("me")
    routed(cloud, me)
    machine = cloud.deploy(me, name="web").machines[0].id
    attend(cloud)
    report(cloud, seen(cloud, machine))
    return me, machine


def whole(cloud: Cloud, operator, kbps: int | None) -> None:
    cloud.do(operator, settings.update, SettingsChange(values={"machine_kbps": kbps}))


def account(cloud: Cloud, operator, me, kbps: int | None):
    return cloud.do(operator, limits.update, me.account, LimitsChange(network_kbps=kbps))


def told(cloud: Cloud, machine: str) -> int:
    wish = msgspec.json.decode(item(cloud, "guest", machine)[1], type=GuestWish)
    return wish.ports[0].rate_kbps


def shown(cloud: Cloud, me, machine: str) -> tuple[int, str | None]:
    found = cloud.do(me, machines.get, machine)
    return found.network_kbps, found.network_kbps_by


@given(st.tuples(*[st.integers(0, 5)] * 3))
def test_no_limit_that_is_set_is_passed_and_none_is_made_up(said):
    rate = least(*said)
    limits = [kbps for kbps in said if kbps]
    assert rate.kbps == (min(limits) if limits else 0)
    assert (rate.source is None) == (not limits)
    if rate.source is not None:
        assert dict(zip(RateSource, said, strict=True))[rate.source] == rate.kbps


def test_of_equal_limits_the_first_is_named():
    assert least(5, 5, 5) == Rate(5, RateSource.OFFERING)
    assert least(0, 5, 5) == Rate(5, RateSource.ACCOUNT)


def test_a_machine_that_runs_is_held_to_new_limits_of_its_account_and_of_the_cloud(
    cloud, operator, running
):
    me, machine = running
    assert (told(cloud, machine), shown(cloud, me, machine)) == (OFFERED, (OFFERED, "offering"))
    steps = [
        (lambda: account(cloud, operator, me, 50_000), 50_000, "account"),
        (lambda: whole(cloud, operator, 20_000), 20_000, "cloud"),
        (lambda: account(cloud, operator, me, 10_000), 10_000, "account"),
        (lambda: whole(cloud, operator, None), 10_000, "account"),
        (lambda: account(cloud, operator, me, None), OFFERED, "offering"),
        (lambda: account(cloud, operator, me, 400_000_000), OFFERED, "offering"),
    ]
    for change, kbps, source in steps:
        change()
        attend(cloud)
        assert told(cloud, machine) == kbps
        assert shown(cloud, me, machine) == (kbps, source)
        assert cloud.do(me, machines.get, machine).state == "running"


def test_machines_that_come_later_have_the_limits_from_the_start(cloud, operator, running):
    me, _ = running
    account(cloud, operator, me, 50_000)
    landed = cloud.deploy(me, name="later").machines[0].id
    attend(cloud)
    assert told(cloud, landed) == 50_000
    with (
        cloud.database.write() as tx
    ):  # the slow check, over all letters, finds what was told right
        now = cloud.around.clock.now().timestamp()
        for at in range(36):
            when = cloud.around.clock.now().fromtimestamp(
                now + 10 * at, cloud.around.clock.now().tzinfo
            )
            assert repair.check(tx, when) == 0


def test_nobody_elses_machines_are_told_of_an_accounts_limit(cloud, operator, running):
    _, machine = running
    other = cloud.account("other")
    account(cloud, operator, other, 10_000)
    assert cloud.rows("select attention from machine where id = :id", id=machine) == [(0,)] or (
        cloud.rows("select attention from machine where id = :id", id=machine) == [(False,)]
    )
    attend(cloud)
    assert told(cloud, machine) == OFFERED


def test_a_machine_says_what_it_is_held_to_and_by_whom(cloud, operator, running):
    me, machine = running

    def says() -> str:
        return "; ".join(cloud.do(me, explanations.explain, machine).says)

    assert "100000 kbit/s in each direction: so its offering says" in says()
    account(cloud, operator, me, 50_000)
    assert "50000 kbit/s in each direction: so its account's limits say" in says()
    whole(cloud, operator, 20_000)
    assert "20000 kbit/s in each direction: no machine of this cloud has more" in says()


def test_an_administrator_gives_no_more_than_their_own_account_has(cloud, operator):
    boss = cloud.account("boss", role="domain-admin")
    free = cloud.do(boss, accounts.create, AccountIn(name="free"), "")
    assert cloud.do(boss, limits.get, free.id).network_kbps is None
    account(cloud, operator, boss, 30_000)
    made = cloud.do(boss, accounts.create, AccountIn(name="below"), "")
    assert cloud.do(boss, limits.get, made.id).network_kbps == 30_000
    for kbps in (30_001, None):
        ask = LimitsChange(network_kbps=kbps)
        refused = cloud.refused(boss, limits.update, made.id, ask)
        assert (type(refused), refused.field) == (Forbidden, "network_kbps")
    cloud.do(boss, limits.update, made.id, LimitsChange(network_kbps=30_000))
    own = cloud.refused(boss, limits.update, boss.account, LimitsChange(network_kbps=1))
    assert isinstance(own, Forbidden)


def test_machines_deployed_while_limits_change_have_what_holds_in_the_end(cloud, operator):
    with_hosts(cloud, "a")
    me = cloud.account("me")
    routed(cloud, me)

    def of_account(kbps: int):
        ask = LimitsChange(network_kbps=kbps)
        return doing(cloud, operator, lambda call, ask: limits.update(call, me.account, ask), ask)

    def of_cloud(kbps: int):
        ask = SettingsChange(values={"machine_kbps": kbps})
        return doing(cloud, operator, settings.update, ask)

    deploys = [deploying(cloud, me, name=f"web-{n}") for n in range(6)]
    changes = [of_account(70_000), of_cloud(80_000), of_account(60_000), of_cloud(65_000)]
    both = [each for pair in zip(deploys, changes, strict=False) for each in pair]
    answers = all_at_once(cloud.database, [*both, *deploys[4:]])
    assert not [answer for answer in answers if isinstance(answer, CloudError)]
    attend(cloud)
    held = cloud.rows("select id from machine where host is not null")
    assert len(held) == 6
    for (machine,) in held:
        assert told(cloud, machine) == shown(cloud, me, machine)[0] < OFFERED
