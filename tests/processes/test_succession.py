"""Of two databases of one cloud the later one counts; only the cloud's own servers can say that there is one."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from arable.domain.errors import CloudError, Conflict, Unavailable
from arable.domain.host import Host
from arable.domain.ids import HostId, PodId, ZoneId
from arable.domain.incarnation import is_later
from arable.domain.manifest import Inventory
from arable.processes.succession import take_over
from arable.runtime.ca import FIRST_EPOCH
from arable.runtime.clock import RealClock, VirtualClock
from arable.runtime.entropy import Entropy, Ids
from arable.runtime.succession import drawn, is_genuine
from arable.services import agents
from arable.store import hosts, incarnations
from arable.wire.agent import Hello
from arable.wire.pods import PodIn
from arable.wire.zones import VlanRange, ZoneIn
from serving import Served

CLOCK = RealClock()
IDS = Ids(CLOCK, Entropy.system())
HOST = HostId("host-a")


@pytest.fixture
def cloud(served_both) -> Served:
    """With one host."""
    served = served_both
    zone = served.operator.zones.create(ZoneIn(name="z", vlans=VlanRange(first=100, last=199), guest_cidr="10.0.0.0/16"))  # fmt: skip
    pod = served.operator.pods.create(PodIn(zone="z", name="p", cidr="172.30.0.0/24"))
    host = Host(id=HOST, zone=ZoneId(zone.id), pod=PodId(pod.id), name="h", roles=("compute",), created_at=CLOCK.now())  # fmt: skip
    with served.database.write() as tx:
        hosts.add(tx, host)
    return served


def greeted(cloud: Served, incarnation: str) -> CloudError | None:
    hello = Hello(host=HOST, incarnation=incarnation, inventory=Inventory(cpus=1, cpu_mhz=1, memory_mib=1, disk_mib=1))  # fmt: skip
    with cloud.database.write() as tx:
        (answer,) = agents.greet(tx, cloud.around, "server-a", [(HOST, hello, FIRST_EPOCH)])
    return answer


def standing(cloud: Served) -> incarnations.Standing:
    with cloud.database.read() as tx:
        return incarnations.standing(tx)


def taken_over(cloud: Served) -> str:
    return take_over(cloud.database, cloud.around.authority, CLOCK, IDS)


def test_a_host_of_a_later_database_ends_this_one(cloud):
    later = drawn(cloud.around.authority, IDS)
    assert taken_over(cloud) == standing(cloud).name
    assert isinstance(greeted(cloud, later), Unavailable)
    assert standing(cloud).superseded_by == later
    with pytest.raises(Conflict, match=later):
        taken_over(cloud)


def test_a_host_can_not_invent_a_later_database(cloud):
    forged = f"{IDS.new('incarnation')}-{'0' * 16}"
    assert isinstance(greeted(cloud, forged), Unavailable)
    assert standing(cloud).superseded_by == ""
    assert taken_over(cloud) == standing(cloud).name


def test_hosts_of_this_database_and_of_earlier_ones_are_welcome(cloud):
    for name in ("", standing(cloud).name, "incarnation-000000000aaaaaaaaaaa", "of another kind"):
        assert greeted(cloud, name) is None


def test_a_stranger_can_not_end_a_database(cloud):
    hello = Hello(host="host-x", incarnation=drawn(cloud.around.authority, IDS), inventory=Inventory(cpus=1, cpu_mhz=1, memory_mib=1, disk_mib=1))  # fmt: skip
    with cloud.database.write() as tx:
        agents.greet(tx, cloud.around, "server-a", [(HostId("host-x"), hello, FIRST_EPOCH)])
    assert standing(cloud).superseded_by == ""


def test_a_database_that_is_elsewhere_now_gets_a_new_name_once(cloud):
    with cloud.database.write() as tx:
        tx.execute(text("update incarnation set place = 'another cluster/00000001'"))
    before = standing(cloud).name
    after = taken_over(cloud)
    assert is_later(after, before)
    assert is_genuine(cloud.around.authority, after)
    if not cloud.database.is_sqlite:
        assert taken_over(cloud) == after
    with cloud.database.read() as tx:
        assert tx.execute(text("select awaited from host")).scalar_one()


def test_a_name_is_a_later_one_though_it_is_drawn_by_a_clock_that_is_behind(served):
    authority = served.around.authority
    first = drawn(authority, IDS)
    slow = Ids(VirtualClock(CLOCK.now() - timedelta(hours=1)), Entropy("slow"))
    assert not is_later(drawn(authority, slow), first)
    second = drawn(authority, slow, after=first)
    assert is_later(second, first)
    assert is_genuine(authority, second)
    assert drawn(authority, slow, after="first"), (
        "of a name of another form there is nothing to learn"
    )


def test_names_of_another_form_are_in_no_order():
    assert not is_later("z", "incarnation-000000000aaaaaaaaaaa")
    assert not is_later("incarnation-000000001aaaaaaaaaaa", "first")
    assert is_later("incarnation-000000001aaaaaaaaaaa", "incarnation-000000000zzzzzzzzzzz-proof")
    same = "incarnation-000000001aaaaaaaaaaa"
    assert not is_later(f"{same}-proof", same)
