"""One cloud for all tests here: a lab with real agents, switches and machines, brought up as `arable up` does it.

Fixtures of a session would keep it, and its guests, beside all other tests; so it ends with the last one that shares
it, and those come one after the other. Tests that break something mend it, and leave the machines of `red` and `blue` running.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from arable.processes import up
from arable.processes.up import Wanted
from arable.runtime.clock import RealClock
from arable.wire.groups import GroupIn
from arable.wire.machines import NicIn
from e2e.customers import ONLY_BLUES, READY, Customer, customer
from e2e.lab_cloud import LabCloud
from e2e.sharing import shares_its_cloud

HERE = Path(__file__).parent
OF_THIS_DIRECTORY = ExitStack()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    if nextitem is None or not shares_its_cloud(nextitem):
        OF_THIS_DIRECTORY.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that share it first."""
    places = [at for at, item in enumerate(items) if HERE in item.path.parents]
    mine = sorted((items[at] for at in places), key=lambda item: not shares_its_cloud(item))
    for at, item in zip(places, mine, strict=True):
        items[at] = item


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabCloud]:
    """A cloud of two pods with a host each: a1 and b1, of which a1 has the appliances."""
    wanted = Wanted(
        data=tmp_path_factory.mktemp("cloud"),
        topology=up.topology_of(HERE / "two-pods.yaml"),
        api="127.0.0.1:0",  # a server that is started again is found where it was all the same
    )
    yield OF_THIS_DIRECTORY.enter_context(lab_cloud(wanted))
    OF_THIS_DIRECTORY.close()  # when the tests are interrupted


@contextmanager
def lab_cloud(wanted: Wanted) -> Iterator[LabCloud]:
    with up.cloud(wanted, RealClock(), lambda _line: None) as made, made.operator() as operator:
        assert made.site, "hosts are emulated"
        yield LabCloud(made.url, operator, made.site)


@pytest.fixture(scope="session")
def both(cloud: LabCloud) -> tuple[Customer, Customer]:
    """Two customers with the same CIDR, and machines on both hosts."""
    red, blue = (
        OF_THIS_DIRECTORY.enter_context(_customer(cloud, name)) for name in ("red", "blue")
    )
    red.api.groups.create(GroupIn(name="apart", rule="apart"))
    reds = red.deploy("red", count=2, group="apart")
    left = blue.deploy("left", tags=("left",))
    right = blue.deploy("right", tags=("right",), networks=(NicIn(address=ONLY_BLUES),))
    red.wait(reds)
    blue.wait(left, right)
    for who in (red, blue):
        for name in who.machines():
            who.at(name).run(READY)
    return red, blue


@pytest.fixture(scope="session")
def red(both: tuple[Customer, Customer]) -> Customer:
    """The machines red-1 and red-2, on different hosts by their placement group."""
    return both[0]


@pytest.fixture(scope="session")
def blue(both: tuple[Customer, Customer]) -> Customer:
    """The machine `left` on a1 and `right` on b1, by the hosts' tags; `right` has an address that red has not."""
    return both[1]


@contextmanager
def _customer(cloud: LabCloud, name: str) -> Iterator[Customer]:
    made = customer(cloud.operator, cloud.url, name)
    try:
        yield made
    finally:
        made.close()
