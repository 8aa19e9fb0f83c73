"""Whatever rulesets we render for routers, the kernel takes them, and means by them what we meant."""

import json
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings

from appliance import make_wishes as wishes
from arable.appliance.router import router
from arable.drivers.appliance import filtering
from drivers.emulated_hosts import namespace, run

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def bare() -> Iterator[str]:
    with namespace("bare") as name:
        yield name


@settings(
    deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(wish=wishes.honest())
def test_the_kernel_takes_every_ruleset_and_reads_back_what_was_meant(bare, wish) -> None:
    made = router(wish)
    filtering.load(bare, made)
    listed = json.loads(run(bare, ["nft", "-j", "list", "ruleset"]).stdout)["nftables"]
    rules = [entry["rule"] for entry in listed if "rule" in entry]
    counts = Counter(rule["chain"] for rule in rules)
    assert counts["inward"] == len(made.inbound)
    assert counts["outward"] == (len(made.outbound) or 1)
    arriving = [rule for rule in rules if rule["chain"] == "arriving"]
    led, forwarded = arriving[: len(made.statics)], arriving[len(made.statics) :]
    for static, rule in zip(made.statics, led, strict=True):
        assert str(static.public) in json.dumps(rule)
        assert str(static.to) in json.dumps(rule)
    for forward, rule in zip(made.forwards, forwarded, strict=True):
        assert str(forward.public) in json.dumps(rule)
        assert str(forward.to) in json.dumps(rule)
