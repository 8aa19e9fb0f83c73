"""Why a machine is as it is, in words, and for whom."""

import pytest
from make_cloud import Cloud

from arable.domain.access import Permission
from arable.services import explanations, operations
from arable.wire.operations import OperationQuery, OperationWaitQuery

FAILED = """{"kind": "no-room", "text": "no host can take web",
    "why": {"hosts": {"rack-1": "lacks a tag"}, "reasons": {"lacks a tag": 1}},
    "causes": [{"kind": "no-room", "text": "no", "why": {"avoid": ["rack-2"]}, "causes": []}]}"""


@pytest.fixture
def failed(cloud: Cloud):
    me = cloud.account("me")
    answer = cloud.deploy(me, name="web")
    cloud.run(
        "update operation set state = 'failed', pending = 0, error = :error where id = :id",
        error=FAILED,
        id=answer.operation,
    )
    return me, answer


def test_customers_learn_the_rule_and_operators_the_host_as_well(cloud, failed) -> None:
    me, answer = failed
    operator = cloud.account("op", role="operator")
    assert Permission.INFRA_READ in operator.permissions
    whole = cloud.do(operator, operations.get, answer.operation, OperationWaitQuery())
    assert whole.error.why["hosts"] == {"rack-1": "lacks a tag"}
    (listed,) = cloud.do(me, operations.page, OperationQuery()).items
    one = cloud.do(me, operations.get, answer.operation, OperationWaitQuery())
    explained = cloud.do(me, explanations.explain, answer.machines[0].id).operation
    for seen in (listed, one, explained):
        assert "rack-" not in repr(seen)
        assert seen.error.why == {"reasons": {"lacks a tag": 1}}


def test_what_keeps_the_appliance_from_running_is_said_of_the_machine_that_waits(cloud) -> None:
    me = cloud.account("me")
    answer = cloud.deploy(me, name="web")
    cloud.run(
        """update network set appliance_state = 'starting', appliance_told = 'no such
           bridge'"""
    )
    says = cloud.do(me, explanations.explain, answer.machines[0].id).says
    assert "the routing appliance of default: no such bridge" in says
    cloud.run("update network set appliance_state = 'running'")
    assert not [
        s for s in cloud.do(me, explanations.explain, answer.machines[0].id).says if "bridge" in s
    ]
