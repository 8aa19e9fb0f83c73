"""Lists of machines: whatever narrows them and wherever they go on, they show what a look at each machine would."""

import itertools

import pytest

from arable.services import machines
from arable.wire.machines import MachineQuery

NAMES = ("web", "web-1", "web-2", "wea", "wf", "db-web", "w")


@pytest.fixture
def three(cloud):
    """Two customers with the same names, every other machine off, and an operator who sees them all."""
    people = {name: cloud.account(name) for name in ("me", "you")}
    people["operator"] = cloud.account("root-2", role="operator")
    for name, who in itertools.product(NAMES, ("me", "you")):
        number = NAMES.index(name)
        cloud.deploy(people[who], name=name, start=number % 2 == 0)
    return people


def walked(cloud, who, limit, **query):
    """Ids of all pages, one after the other."""
    found, after = [], None
    while True:
        page = cloud.do(who, machines.page, MachineQuery(limit=limit, after=after, **query))
        found += [each.id for each in page.items]
        after = page.next
        if after is None:
            return found


@pytest.mark.parametrize("state", [(), ("stopped",), ("waiting",), ("stopped", "error")])
@pytest.mark.parametrize("prefix", [None, "w", "we", "web", "web-", "x", "wf"])
def test_pages_hold_what_has_the_state_and_begins_so_in_order(cloud, three, prefix, state):
    for who, caller in three.items():
        every = cloud.do(caller, machines.page, MachineQuery(limit=100)).items
        assert len(every) == len(NAMES) * (2 if who == "operator" else 1)
        wanted = [
            each.id
            for each in every
            if each.name.startswith(prefix or "") and (not state or each.state in state)
        ]
        assert wanted == sorted(wanted)
        for limit in (1, 3, 100):
            assert walked(cloud, caller, limit, prefix=prefix, state=state) == wanted


def test_what_narrows_together_narrows_to_what_has_all_of_it(cloud, three):
    mine = three["me"].account
    for account, name, prefix in itertools.product(
        (None, mine), (None, "web-1"), (None, "web", "d")
    ):
        found = walked(cloud, three["operator"], 2, account=account, name=name, prefix=prefix)
        every = cloud.do(three["operator"], machines.page, MachineQuery(limit=100)).items
        assert found == [
            each.id
            for each in every
            if account in (None, each.account)
            and name in (None, each.name)
            and each.name.startswith(prefix or "")
        ]


def test_no_beginning_of_a_name_shows_another_customers_machine(cloud, three):
    mine = {each.id for each in cloud.do(three["me"], machines.page, MachineQuery(limit=100)).items}
    for prefix in ("w", "web", "d"):
        seen = walked(cloud, three["me"], 100, prefix=prefix)
        assert seen
        assert mine.issuperset(seen)
        foreign = walked(cloud, three["me"], 100, prefix=prefix, account=three["you"].account)
        assert foreign == []
