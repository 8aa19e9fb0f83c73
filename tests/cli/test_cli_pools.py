"""What operators read of idle pools at a terminal, and customers of elements."""

import pytest

from belongings import belongings
from cli.command_line import Arable
from serving import Served


@pytest.fixture
def things(served: Served) -> dict[str, str]:
    return belongings(served, served.customer("owner")).ids


def test_a_plan_is_told_of_every_zone_or_of_one(operator: Arable, things):
    (plan,) = operator.json("pool", "plan", "--target", "0.05", "--days", "7")
    assert (plan["zone"], plan["target"], plan["days"]) == (things["zone"], 0.05, 7)
    assert plan["told"] == ["nothing is known: no machine has come yet since this is recorded"]
    assert operator.json("pool", "plan", "--zone", plan["zone_name"])[0]["zone"] == things["zone"]
    shown = operator("pool", "plan")
    assert shown.out.splitlines()[0].split()[:3] == ["ZONE", "HOSTS", "MACHINES"]
    assert "nothing is known" in shown.err
    assert operator("pool", "plan", "--target", "2", status=2).err
    assert operator("pool", "plan", "--zone", "nowhere", status=None).status != 0


def test_an_element_is_found_by_its_name_and_replaced(operator: Arable, things):
    (listed,) = operator.json("element", "list")
    assert (listed["id"], listed["name"]) == (things["element"], "laid-out-web-1")
    assert operator.json("element", "list", "--tier", "web", "--farm", "laid-out") == [listed]
    assert operator.json("element", "show", "laid-out-web-1") == listed
    tried = operator("element", "replace", "laid-out-web-1", "--force", "--dry-run", "--no-wait")
    assert "nothing was changed" in tried.err
    begun = operator.json("element", "replace", "laid-out-web-1", "--force", "--no-wait")
    assert (begun["kind"], begun["state"]) == ("element.replace", "running")
    again = operator("element", "replace", "laid-out-web-1", "--no-wait", status=None)
    assert begun["id"] in again.err
