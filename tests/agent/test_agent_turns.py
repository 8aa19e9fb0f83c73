"""Who goes first in one step: a few guests before the appliances, and appliances before many guests."""

import pytest

from agent import make_agent as make
from agent.make_agent import Rig
from arable.agent.agent import FEW_STARTS


@pytest.mark.parametrize(
    ("guests", "first"), [(1, "guest"), (FEW_STARTS, "guest"), (FEW_STARTS + 1, "appliance")]
)
def test_few_guests_start_before_the_appliances_learn_of_them_and_many_after(guests, first) -> None:
    rig, turns = Rig(), []
    rig.wish(make.appliance("a"), make.lease("first"))
    rig.step()
    program, start = rig.drivers.appliances.ensure, rig.drivers.hypervisor.ensure
    rig.drivers.appliances.ensure = lambda *args: (turns.append("appliance"), program(*args))
    rig.drivers.hypervisor.ensure = lambda *args: (turns.append("guest"), start(*args))
    names = [str(number) for number in range(guests)]
    rig.wish(
        make.lease("web"),
        *(
            make.guest(name, disks=(make.disk(name),), ports=(make.port(name, vlan=100),))
            for name in names
        ),
    )
    rig.step()
    assert turns[0] == first
    assert sorted(turns) == ["appliance"] + ["guest"] * guests
