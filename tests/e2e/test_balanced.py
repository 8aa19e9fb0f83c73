"""A customer's load balancer in a real lab: from the API to requests of strangers, with TLS, and a member that fails."""

import ssl

import pytest

from arable.wire.balancers import BalancerIn, CheckIn, MemberChange, MemberIn
from drivers import web as w
from e2e.customers import Customer
from e2e.lab_cloud import LabCloud
from e2e.patience import until

pytestmark = pytest.mark.real

PORT = 8443
NAME = "shop.example.org"


def test_strangers_are_spread_over_machines_and_one_that_fails_is_passed_over(
    cloud: LabCloud, red: Customer
) -> None:
    chain, key = w.certificate(NAME)
    tls = ssl.create_default_context(cadata=chain)
    source_nat = next(one for one in red.api.addresses.all() if one.source_nat)
    outside, public = cloud.netns("internet"), source_nat.address

    def who(cookie: str = "") -> tuple[str, str]:
        said, fresh = w.request(outside, public, PORT, cookie, tls, NAME)
        return said.splitlines()[0], fresh

    made = red.api.balancers.create(
        BalancerIn(
            name="shop",
            address=source_nat.id,
            port=PORT,
            stickiness="cookie",
            check=CheckIn(kind="http", interval=1, timeout=5, rise=1, fall=1),
            members=(MemberIn(machine="red-1", port=80), MemberIn(machine="red-2", port=80)),
            certificate=chain,
            private_key=key,
        )
    )
    red.wait(made.operation)
    shop = made.balancer.id
    try:
        both = {"hostname=red-1", "hostname=red-2"}
        until(lambda: {who()[0] for _ in range(4)} == both, "both machines answer")
        whose, cookie = who()
        assert {who(cookie) for _ in range(3)} == {(whose, "")}

        second = red.machine("red-2").id
        drained = red.api.balancers.update_member(shop, second, MemberChange(draining=True))
        red.wait(drained.operation)
        assert {who()[0] for _ in range(4)} == {"hostname=red-1"}
        back = red.api.balancers.update_member(shop, second, MemberChange(draining=False))
        red.wait(back.operation)
        until(lambda: {who()[0] for _ in range(4)} == both, "it takes part again")

        def up(name: str) -> bool | None:
            members = red.api.balancers.get(shop).members
            return next(one.up for one in members if one.machine_name == name)

        until(lambda: up("red-1") and up("red-2"), "the cloud knows that both answer")
        red.at("red-2").run("killall -STOP httpd")
        try:
            until(lambda: up("red-2") is False, "the check fails, and the cloud hears of it")
            assert {who()[0] for _ in range(20)} == {"hostname=red-1"}
        finally:
            red.at("red-2").run("killall -CONT httpd")
        until(lambda: {who()[0] for _ in range(4)} == both, "it is well again")
        assert red.api.balancers.stats(shop).requests > 0
    finally:
        red.wait(red.api.balancers.delete(shop).id)
