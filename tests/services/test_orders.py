"""An order's way: found good or refused by a real trial, reviewed, paid, made once, and answered."""

from datetime import timedelta

import msgspec
import pytest
from make_cloud import Cloud
from make_shop import BLUEPRINT, SHOP, Hands
from sqlalchemy import insert

from arable.controllers import orders as controller
from arable.controllers import tiers
from arable.controllers.promised import Kept
from arable.domain.errors import BadInput, Conflict, Forbidden, NotFound, Stale
from arable.domain.ids import FarmId, OrderId, ZoneId
from arable.domain.order import ORDER, OrderState
from arable.domain.units import Size
from arable.runtime.secret import Secret
from arable.services import bills, blueprints, credit, orders, prices, service_plans
from arable.services.order_hands import OrderHands
from arable.services.passwords import Password
from arable.services.settings import update as set_settings
from arable.store import attention, operations, promises, schema
from arable.wire.billing import BillQuery, CreditEntryIn, PriceIn, PriceListIn
from arable.wire.blueprints import BlueprintIn
from arable.wire.farms import FarmIn
from arable.wire.orders import OrderIn, OrderQuery, PlanChange, PlanIn, ReviewIn
from arable.wire.settings import SettingsChange

COUNTED = ("machine", "volume", "nic", "network", "address", "farm", "tier", "element", "farm_part")


class Desk:
    """A customer, an operator, a zone with room, and hands that do what the master does."""

    def __init__(self, cloud: Cloud, **limits) -> None:
        self.cloud = cloud
        self.ann = cloud.account("ann", **limits)
        self.boss = cloud.account("boss", role="operator")
        cloud.do(self.ann, blueprints.create, msgspec.convert(BLUEPRINT, BlueprintIn))
        common = {"zone": "zone-here", "created_at": cloud.around.clock.now()}
        room = {"cpus": 16, "cpu_mhz": 16_000, "memory_mib": 8192, "disk_mib": 10**6}
        with cloud.database.write() as tx:
            tx.execute(
                insert(schema.pod).values(id="pod-a", name="a", cidr="10.0.0.0/24", **common)
            )
            tx.execute(
                insert(schema.host).values(
                    id="host-a", name="h", pod="pod-a", state="up", **room, **common
                )
            )
        listed = (PriceIn(kind="running", amount="0.5"), PriceIn(kind="address", amount="0.01"))
        cloud.do(self.boss, prices.put, PriceListIn(prices=listed, currency="EUR"))

    def settings(self, **values) -> None:
        self.cloud.do(self.boss, set_settings, SettingsChange(values=values))

    def ask(self, plan=None, tier=None, **more) -> OrderIn:
        said = {**SHOP, "tiers": [{**SHOP["tiers"][0], **(tier or {})}]}
        return OrderIn(document=msgspec.convert(said, FarmIn), plan=plan, **more)

    def order(self, **ask) -> OrderId:
        return OrderId(self.cloud.do(self.ann, orders.create, self.ask(**ask)).order.id)

    def round(self) -> int:
        with self.cloud.database.write() as tx:
            hands = OrderHands(lambda: self.cloud.around)
            return controller.attend(hands, tx, self.cloud.around.clock.now())

    def seen(self, order: OrderId):
        return self.cloud.do(self.ann, orders.get, order)

    def operation(self, order: OrderId):
        with self.cloud.database.read() as tx:
            return operations.get(tx, self.ann.scope, self.seen(order).operation)

    def counts(self):
        return [self.cloud.rows(f"select count(*) from {table}")[0][0] for table in COUNTED]

    def ends(self, order: OrderId) -> None:
        """The farm's elements all serve."""
        now = self.cloud.around.clock.now()
        work = self.cloud.rows("select work from farm_order where id = :id", id=order)[0][0]
        with self.cloud.database.write() as tx:
            operations.finish(tx, work, now)


@pytest.fixture
def desk(cloud) -> Desk:
    return Desk(cloud)


@pytest.fixture
def lone_desk(lone_cloud) -> Desk:
    return Desk(lone_cloud)


def test_an_order_that_is_tried_tells_its_price_or_why_not(lone_desk):
    cloud, ann = lone_desk.cloud, lone_desk.ann
    tried = cloud.do(ann, orders.create, lone_desk.ask(), dry_run=True).order
    assert (tried.state, tried.currency) == ("queued", "EUR")
    assert (tried.least_hour, tried.most_hour, tried.least_month) == ("1.01", "2.01", "737.30")
    ready = cloud.do(ann, orders.create, lone_desk.ask(tier={"standby": 1}), dry_run=True).order
    assert (ready.least_hour, ready.most_hour) == ("1.51", "2.01"), "whoever is ready costs"
    wrong = lone_desk.ask(tier={"blueprint": "nothing"})
    refused = cloud.refused(ann, orders.create, wrong, dry_run=True)
    assert (type(refused), refused.field) == (NotFound, "document.tiers.0.blueprint")
    assert cloud.do(ann, orders.create, wrong).order.least_hour == "0.00", "that is found out later"


def test_an_order_is_evaluated_made_and_answered(desk):
    before = desk.counts()
    order = desk.order(purchase_order="PO-1", card="tok_7")
    assert desk.round() == 1
    found = desk.seen(order)
    assert desk.counts() == before, "evaluating leaves nothing behind"
    assert (found.state, found.least_hour, found.most_hour) == ("approved", "1.01", "2.01")
    assert found.least_month == "737.30"
    desk.round()
    assert desk.seen(order).state == "provisioning"
    assert desk.counts()[COUNTED.index("farm")] == 1
    assert desk.round() == 0, "nobody looks while elements are made"
    desk.ends(order)
    assert desk.round() == 1
    assert desk.round() == 0
    found = desk.seen(order)
    assert (found.state, found.purchase_order, found.card) == ("done", "PO-1", "tok_7")
    operation = desk.operation(order)
    assert (operation.state, operation.result["farm"]) == ("done", found.farm)
    desk.cloud.around.clock.wait(timedelta(hours=1))
    lines = desk.cloud.do(desk.ann, bills.get, BillQuery()).lines
    said = {(line.kind, line.farm_name, line.order, line.reference) for line in lines}
    assert ("address", "shop", order, "PO-1") in said
    told = [
        kind
        for (kind,) in desk.cloud.rows(
            "select kind from event where subject = :o order by number", o=order
        )
    ]
    assert told == ["order.queued", "order.approved", "order.provisioning", "order.done"]


def test_what_cannot_be_is_refused_and_leaves_nothing(lone_cloud):
    desk = Desk(lone_cloud, machines=1)
    before = desk.counts()
    limits, blueprint = desk.order(), desk.order(tier={"blueprint": "nothing"})
    desk.round()
    assert "machines more" in desk.seen(limits).told
    assert {desk.seen(each).state for each in (limits, blueprint)} == {"refused"}
    assert desk.seen(blueprint).told.startswith("document.tiers.0.blueprint: ")
    assert desk.counts() == before
    assert desk.operation(limits).state == "failed"
    far = desk.cloud.refused(desk.ann, orders.create, desk.ask(tier={"region": "london"}))
    assert far.field == "document.tiers.0.region"
    huge = desk.ask(tier={"name": "x" * 60})
    assert isinstance(desk.cloud.refused(desk.ann, orders.create, huge), BadInput)


def test_what_the_zone_has_no_room_for_is_refused(lone_desk):
    order = lone_desk.order(tier={"least": 17, "most": 17, "count": None})
    lone_desk.round()
    assert lone_desk.seen(order).told.startswith("the zone has not enough")


def test_a_person_reviews_where_the_operator_wants_so(lone_desk):
    desk = lone_desk
    desk.settings(order_review="all")
    good, bad, gone = desk.order(), desk.order(), desk.order()
    early = desk.cloud.refused(desk.boss, orders.approve, good, ReviewIn())
    assert isinstance(early, Conflict)
    desk.round()
    assert desk.round() == 0
    assert desk.seen(good).state == "reviewing"
    assert isinstance(desk.cloud.refused(desk.ann, orders.approve, good, ReviewIn()), Forbidden)
    assert desk.cloud.do(desk.boss, orders.approve, good, ReviewIn()).reviewer == "boss"
    desk.cloud.do(desk.boss, orders.refuse, bad, ReviewIn(reason="no"))
    desk.cloud.do(desk.ann, orders.withdraw, gone)
    assert isinstance(desk.cloud.refused(desk.boss, orders.approve, bad, ReviewIn()), Conflict)
    desk.round()
    assert [desk.seen(each).state for each in (good, bad, gone)] == [
        "provisioning",
        "refused",
        "withdrawn",
    ]
    assert desk.operation(bad).error.text.endswith("refused: no")
    stale = desk.cloud.refused(desk.boss, orders.refuse, good, ReviewIn(), expects=1)
    assert isinstance(stale, Stale)


def test_without_credit_nothing_is_made_and_two_orders_share_what_there_is(desk):
    desk.settings(order_credit="prepaid", order_credit_hours=10)
    poor = desk.order()
    desk.round()
    desk.round()
    assert "not enough credit" in desk.seen(poor).told
    assert desk.seen(poor).state == "refused"
    paid = CreditEntryIn(amount="15", key="1")
    desk.cloud.do(desk.boss, credit.add, desk.ann.account, paid)
    first = desk.order()
    second = desk.cloud.do(
        desk.ann,
        orders.create,
        msgspec.structs.replace(
            desk.ask(), document=msgspec.structs.replace(desk.ask().document, name="other")
        ),
    ).order.id
    for _ in range(3):
        desk.round()
    states = sorted(desk.seen(OrderId(each)).state for each in (first, second))
    assert states == ["provisioning", "refused"]


def test_a_farm_that_fails_fails_its_order(lone_desk):
    desk = lone_desk
    order = desk.order()
    desk.round()
    desk.round()
    now = desk.cloud.around.clock.now()
    work = desk.cloud.rows("select work from farm_order")[0][0]
    with desk.cloud.database.write() as tx:
        operations.fail(tx, work, now, Conflict("superseded"))
    desk.round()
    assert (desk.seen(order).state, desk.seen(order).told) == ("failed", "superseded")


def test_another_order_of_the_same_name_changes_the_farm(lone_desk):
    desk = lone_desk
    for most in (4, 5):
        desk.order(tier={"most": most})
        for _ in range(3):
            desk.round()
            desk.cloud.around.clock.wait(timedelta(seconds=9))
    assert desk.cloud.rows("select count(*) from farm") == [(1,)]
    assert desk.cloud.rows("select most from tier") == [(5,)]


def test_a_new_key_is_told_once_and_logs_in(lone_desk):
    desk = lone_desk
    made = desk.cloud.do(desk.ann, orders.create, desk.ask(new_key=True))
    assert "PRIVATE KEY" in (made.private_key or "")
    (name,) = made.order.keys
    assert made.order.document["ssh_keys"] == [name]
    assert desk.cloud.rows("select count(*) from farm_order where document like '%PRIVATE%'") == [
        (0,)
    ]


def test_nobody_sees_orders_of_others(lone_desk):
    desk = lone_desk
    order = desk.order()
    bob = desk.cloud.account("bob")
    assert desk.cloud.do(bob, orders.page, OrderQuery()).items == []
    for use_case in (orders.get, orders.withdraw):
        assert isinstance(desk.cloud.refused(bob, use_case, order), NotFound)


def test_every_state_of_an_order_comes_to_an_end():
    ways = {
        state: {ORDER.next(state, event) for event in ORDER.events(state)} for state in OrderState
    }
    for state in set(OrderState) - ORDER.final:
        reached, before = {state}, set()
        while reached != before:
            before = set(reached)
            reached |= {after for each in before for after in ways[each]}
        assert reached & ORDER.final
    assert all(not ways[state] for state in ORDER.final)


# --- room that is kept

MANY = {"most": 10, "count": 10}
"""Of the host's 8,192 MiB these take 5,120."""


def test_what_was_found_good_has_its_room_until_it_is_given_up(desk):
    desk.settings(order_review="all")
    first = desk.order(tier=MANY)
    desk.round()
    found = desk.seen(first)
    assert found.promised_until == desk.cloud.around.clock.now() + timedelta(hours=24)
    second = desk.order(tier=MANY)
    desk.round()
    assert "not enough memory for 10 machines" in desk.seen(second).told
    desk.cloud.do(desk.ann, orders.withdraw, first)
    assert desk.seen(first).promised_until is None
    third = desk.order(tier=MANY)
    desk.round()
    assert desk.seen(third).state == "reviewing"


def test_room_is_kept_for_so_long_and_looked_for_again(lone_desk):
    desk = lone_desk
    desk.settings(order_review="all", order_hold_hours=1)
    first, second = desk.order(tier=MANY), None
    desk.round()
    desk.cloud.around.clock.wait(timedelta(hours=1))
    second = desk.order(tier=MANY)
    desk.round()
    assert desk.seen(second).state == "reviewing", "the first one's time is over"
    desk.cloud.do(desk.boss, orders.approve, first, ReviewIn())
    desk.round()
    assert "not enough memory" in desk.seen(first).told


def test_an_accounts_orders_count_together_against_its_limits(lone_cloud):
    desk = Desk(lone_cloud, machines=12)
    desk.settings(order_review="all")
    desk.order(tier=MANY)
    desk.round()
    more = desk.order(tier={"most": 4, "count": 4})
    desk.round()
    assert "you have 10 of 12 with what you ordered" in desk.seen(more).told


def test_machines_find_room_beside_what_is_promised_unless_it_is_promised_to_them(desk):
    desk.settings(order_review="all")
    order = desk.order(tier=MANY)
    desk.round()
    desk.cloud.deploy(desk.cloud.account("bob"), count=7)
    now, sizes = desk.cloud.around.clock.now(), {}
    with desk.cloud.database.write() as tx:
        rows = attention.machines(tx, 100)
        sizes = {row.id: Size(row.cpus, row.cpu_mhz, row.memory_mib) for row in rows}
        kept = Kept.of(tx, ZoneId("zone-here"), rows, sizes, now)
        (refused,) = kept.refused.values()
        assert "have room that is promised to orders" in refused.told()
        assert refused.for_room
        (farm,) = promises.farms(tx, [rows[0].id]).values()
        promises.assign(tx, order, farm, now + timedelta(hours=1))
        kept = Kept.of(tx, ZoneId("zone-here"), rows, sizes, now)
        assert not kept.refused
        kept.used(tx, rows)
    assert desk.cloud.rows("select machines, memory_mib from promise") == [(3, 3 * 512)]
    desk.cloud.around.clock.wait(timedelta(hours=2))
    desk.round()
    assert desk.cloud.rows("select * from promise") == []


def test_a_password_is_told_once_and_given_to_every_machine_of_the_farm(lone_desk):
    desk = lone_desk
    ask = desk.ask(new_password=True)
    drawn = Password(Secret("told-once"), "$6$hash")
    made = desk.cloud.do(desk.ann, orders.create, ask, drawn)
    assert (made.password, made.order.has_password) == ("told-once", True)
    assert "told-once" not in str(desk.cloud.rows("select * from farm_order"))
    for _ in range(2):
        desk.round()
    now = desk.cloud.around.clock.now()
    farm = FarmId(desk.seen(OrderId(made.order.id)).farm)
    with desk.cloud.database.write() as tx:
        tiers.attend(Hands(lambda: desk.cloud.around), tx, now, [farm])
    seeds = [seed for (seed,) in desk.cloud.rows("select seed from machine_boot")]
    assert len(seeds) == 2
    assert all("$6$hash" in seed for seed in seeds)


# --- plans

RULE = {"tier": "web", "least": 2, "most": 6}
POLICY = {"targets": [{"metric": "cpu-percent", "value": 60}]}
WINDOW = {"begin": "08:00", "end": "18:00", "least": 5}


def planned(desk: Desk, kind: str, tier=None, **rule):
    said = {"name": kind, "scaling": kind, "tiers": [{**RULE, **rule}]}
    found = desk.cloud.do(desk.boss, service_plans.create, msgspec.convert(said, PlanIn))
    made = desk.cloud.do(desk.ann, orders.create, desk.ask(plan=found.name, tier=tier))
    return made.order.document["tiers"][0]


def test_a_fixed_plan_has_as_many_as_were_ordered(lone_desk):
    tier = planned(lone_desk, "fixed", tier={"least": 1, "most": 3, "count": 3})
    assert (tier["least"], tier["most"], tier.get("count")) == (3, 3, None)


def test_a_plan_that_scales_brings_its_policy_and_its_bounds(lone_desk):
    tier = planned(lone_desk, "autoscaling", policy=POLICY, tier={"most": None, "least": 1})
    assert (tier["least"], tier["most"]) == (2, 6)
    assert tier["policy"]["targets"][0]["value"] == 60


def test_a_plan_with_windows_has_its_least_at_certain_times(lone_desk):
    tier = planned(lone_desk, "windows", windows=[WINDOW], tier={"most": 3})
    assert (tier["least"], tier["most"], tier["windows"][0]["least"]) == (2, 5, 5)


@pytest.mark.parametrize(
    ("kind", "tier"),
    [
        ("fixed", {"most": 7}),
        ("fixed", {"policy": POLICY, "most": 2}),
        ("fixed", {"most": 4, "count": 3}),
        ("autoscaling", {"name": "other"}),
        ("autoscaling", {}),
        ("autoscaling", {"most": 7, "policy": POLICY}),
        ("windows", {"windows": [{**WINDOW, "least": 7}]}),
        ("windows", {"policy": POLICY}),
    ],
)
def test_what_a_plan_does_not_give_is_refused(lone_desk, kind, tier):
    with pytest.raises(BadInput) as refused:
        planned(lone_desk, kind, tier=tier)
    assert str(refused.value.field).startswith("document.tiers.0.")


@pytest.mark.parametrize(
    "rules",
    [
        [{"least": 3, "most": 2}],
        [{}, {}],
        [{"policy": POLICY}],
        [{"windows": [WINDOW]}],
    ],
)
def test_plans_that_mean_nothing_are_refused(lone_desk, rules):
    ask = msgspec.convert({"name": "p", "scaling": "fixed", "tiers": rules}, PlanIn)
    assert isinstance(lone_desk.cloud.refused(lone_desk.boss, service_plans.create, ask), BadInput)


def test_nobody_orders_by_a_plan_that_is_over(lone_desk):
    desk = lone_desk
    said = {"name": "p", "scaling": "fixed"}
    plan = desk.cloud.do(desk.boss, service_plans.create, msgspec.convert(said, PlanIn))
    desk.cloud.do(desk.boss, service_plans.update, plan.id, PlanChange(enabled=False))
    assert isinstance(desk.cloud.refused(desk.ann, orders.create, desk.ask(plan="p")), Conflict)
    assert isinstance(desk.cloud.refused(desk.ann, orders.create, desk.ask(plan="q")), BadInput)
    desk.cloud.do(desk.boss, service_plans.delete, plan.id)
