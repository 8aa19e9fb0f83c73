"""What a program in an element reads of its tier's load, also where no policy goes by it."""

from make_shop import Shop

from arable.domain.access import Caller, Permission, Rank
from arable.domain.ids import UserId
from arable.services import inside


def test_a_tier_s_load_is_known_from_within_without_a_policy(lone_cloud):
    shop = Shop(lone_cloud, blueprint={"control": ["read"], "ports": [{"port": 80, "protocol": "http"}]})  # fmt: skip
    shop.round()
    shop.run_all()
    shop.says(sessions=7, request_rate=12)
    shop.round(2)
    ((element, machine),) = lone_cloud.rows("select id, machine from element where number = 1")
    who = Caller(
        user=UserId(element),
        name="shop-web-1",
        account=shop.ann.account,
        domain=shop.ann.domain,
        path="",
        role="element",
        rank=Rank.READER,
        permissions=frozenset({Permission.FARM_CONTROL}),
        via=machine,
    )
    told = lone_cloud.do(who, inside.own)
    assert (told.count, told.serving, told.rights) == (2, 2, ["read"])
    assert (told.load.sessions, told.load.requests_per_s) == (7.0, 12.0)
