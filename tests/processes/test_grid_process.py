"""A grid manager and two clouds, each in processes of its own: they meet, know each other, and one asks for the other."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from living_servers import until

from arable.client.arable import Arable
from arable.client.errors import BadInput, Forbidden, NotFound, Unavailable
from arable.lab.topology import parse
from arable.processes import children, up
from arable.processes.grid import READY, GridReady
from arable.processes.server import credentials
from arable.processes.up import Cloud, Wanted
from arable.runtime.clock import RealClock
from arable.wire.accounts import AccountIn, AccountQuery, FirstUserIn
from arable.wire.machines import DeployIn
from arable.wire.regions import FederationIn, GridTokenIn, JoinGridIn
from arable.wire.settings import SettingsChange

REGIONS = Path(__file__).parents[2] / "examples/lab-regions.yaml"
PASSWORD = "alice's own words"
NAMES = ("north", "south")


@dataclass
class Grid:
    """It is up, and both clouds are regions of it."""

    made: Cloud
    ready: GridReady
    process: Any
    manager: Arable
    north: Arable
    south: Arable
    stack: ExitStack

    def alice(self, at: str, *, region: str = "") -> Arable:
        """The customer, signed in at a region."""
        url = self.made.ready[at].api
        with Arable(url) as here:
            session = here.sign_in("alice", PASSWORD)
        return self.stack.enter_context(Arable(url, session.token, region=region))


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grid]:
    base = tmp_path_factory.mktemp("grid")
    wanted = Wanted(
        data=base / "clouds",
        topology=parse(REGIONS.read_text()),
        simulated=True,
        api="127.0.0.1:0",
    )
    clock = RealClock()
    with ExitStack() as stack:
        data = base / "manager"
        argv = [sys.executable, "-m", "arable.processes.main", "grid", "up", "--data", str(data)]
        argv += ["--listen", "127.0.0.1:0", "--api", "127.0.0.1:0"]
        process = stack.enter_context(children.child(argv, base / "grid.log"))
        made = stack.enter_context(up.cloud(wanted, clock, lambda _line: None))
        until((data / READY).exists, "the grid manager is not ready")
        ready = msgspec.json.decode((data / READY).read_bytes(), type=GridReady)
        manager = stack.enter_context(Arable(ready.api))
        first = credentials(data)
        manager.sign_in(first.name, first.password)
        north, south = (stack.enter_context(made.operator_of(r)) for r in wanted.topology.regions)
        for name, operator in zip(NAMES, (north, south), strict=True):
            operator.settings.update(SettingsChange(values={"grid_seconds": 1}))
            token = manager.grid.token(GridTokenIn()).token
            operator.regions.join(JoinGridIn(grid=ready.listen, token=token, name=name))
            operator.accounts.create(
                AccountIn(
                    name="acme",
                    user=FirstUserIn(name="alice", password=PASSWORD, role="customer"),
                )
            )
        yield Grid(made, ready, process, manager, north, south, stack)


def regions(at: Arable) -> dict[str, Any]:
    return {each.name: each for each in at.regions.all()}


def knows(at: Arable, other: str) -> Any:
    """What it knows of another region that has told all and has a port."""
    found = regions(at).get(other)
    return found if found and found.zones and found.images and found.address else None


def test_regions_meet_and_one_is_asked_for_the_other(grid: Grid) -> None:
    south = until(lambda: knows(grid.north, "south"))
    assert [(z.name, z.hosts, z.hosts_up) for z in south.zones] == [("south1", 1, 1)]
    until(lambda: knows(grid.south, "north"))
    status = until(lambda: (s := grid.manager.grid.status()).hosts == 2 and s)
    assert (status.role, status.regions, status.reached) == ("grid", 2, 2)
    assert status.memory_mib.total == sum(
        zone.memory_mib.total for each in regions(grid.north).values() for zone in each.zones
    )

    alice = grid.alice("north", region="south")
    with pytest.raises(Forbidden, match="may not be asked for from north"):
        list(alice.machines.all())
    (acme,) = grid.south.accounts.all(AccountQuery(name="acme"))
    grid.south.accounts.federate(acme.id, FederationIn(regions=("north",)))
    made = alice.machines.deploy(DeployIn(name="far", image="tiny", offering="tiny"))
    done = alice.operations.wait(made.operation, seconds=60)
    assert (done.state, done.account) == ("done", acme.id)
    assert [m.name for m in alice.machines.all()] == ["far"]
    assert list(grid.alice("north").machines.all()) == [], "it is in the other region"
    assert [m.name for m in grid.alice("south").machines.all()] == ["far"]
    assert grid.alice("north", region="north").machines.page().items == []
    with pytest.raises(BadInput, match="ask that region itself"):
        alice.users.whoami()
    with pytest.raises(NotFound, match="no region named"):
        grid.alice("north", region="nowhere").machines.page()
    shown = alice.machines.get(made.machines[0].id)
    assert shown.state == "running"
    with pytest.raises(Forbidden, match="may not be asked for from south"):
        grid.alice("south", region="north").machines.page()

    grid.process.terminate()
    grid.process.wait()
    alice.machines.deploy(DeployIn(name="farther", image="tiny", offering="tiny"))
    told = until(lambda: (s := grid.north.grid.status()).told and s)
    assert "grid" in told.told
    assert regions(grid.north)["south"].zones, "what was known stays known"
    grid.made.children["the management server of south"].terminate()
    grid.made.children["the management server of south"].wait()
    with pytest.raises(Unavailable, match="south can't be reached"):
        alice.machines.page()
    assert grid.alice("north").machines.page().items == []
