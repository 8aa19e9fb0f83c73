"""A grid manager and two clouds, each in processes of its own: they meet, know each other, and one asks for the other."""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from living_servers import until
from websockets.sync.client import connect

from arable.client.arable import Arable
from arable.client.errors import BadInput, Forbidden, LimitExceeded, NotFound, Unavailable
from arable.lab.topology import parse
from arable.processes import up
from arable.processes.ready import GridReady
from arable.processes.up import Cloud, Wanted
from arable.runtime.clock import RealClock
from arable.wire.accounts import AccountIn, AccountQuery, FirstUserIn
from arable.wire.catalogue import FetchIn, WhereQuery
from arable.wire.grid_instructions import InstructIn, InstructionQuery
from arable.wire.grid_limits import GridLimitsIn
from arable.wire.grid_sums import GridBillQuery
from arable.wire.images import ImageIn, ImageQuery, UploadQuery
from arable.wire.machines import DeployIn
from arable.wire.regions import FederationIn
from arable.wire.settings import SettingsChange

REGIONS = Path(__file__).parents[2] / "examples/lab-regions.yaml"
PASSWORD = "alice's own words"


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
        topology=parse("grid: {server: 172.31.255.1}\n" + REGIONS.read_text()),
        simulated=True,
        api="127.0.0.1:0",
    )
    clock = RealClock()
    with ExitStack() as stack:
        made = stack.enter_context(up.cloud(wanted, clock, lambda _line: None))
        assert made.grid
        process = made.children["the grid manager"]
        manager = stack.enter_context(made.manager())
        north, south = (stack.enter_context(made.operator_of(r)) for r in wanted.topology.regions)
        for operator in (north, south):
            operator.settings.update(
                SettingsChange(values={"grid_seconds": 1, "grid_bill_seconds": 1})
            )
            operator.accounts.create(
                AccountIn(
                    name="acme",
                    user=FirstUserIn(name="alice", password=PASSWORD, role="customer"),
                )
            )
        yield Grid(made, made.grid, process, manager, north, south, stack)


def regions(at: Arable) -> dict[str, Any]:
    return {each.name: each for each in at.regions.all()}


def knows(at: Arable, other: str) -> Any:
    """What it knows of another region that has told all and has a port."""
    found = regions(at).get(other)
    return found if found and found.zones and found.images and found.address else None


def whose(at: Arable) -> list[str]:
    """Of which regions its machines are."""
    assert len(list(at.machines.all())) == len(at.connection.whose)
    return at.connection.whose


def limited_and_told(grid: Grid, alice: Arable) -> None:
    """A limit over all regions holds in each, and a region does what it is told if it opted in."""
    grid.manager.grid.set_limits(GridLimitsIn(path="root/acme", machines=3))
    ask = DeployIn(name="more", image="tiny", offering="tiny", count=2)
    until(lambda: grid.south.grid.limits().items)

    told: list[str] = []

    def deployed() -> bool:
        try:
            alice.machines.deploy(ask)
        except LimitExceeded as error:
            told.append(str(error))
            return False
        else:
            return True

    until(deployed, "no share is granted")
    assert all("in all regions together" in each for each in told)
    with pytest.raises(LimitExceeded, match="raise the limit"):
        alice.machines.deploy(DeployIn(name="most", image="tiny", offering="tiny"))
    grid.manager.grid.set_limits(GridLimitsIn(path="root/acme", machines=None))
    until(lambda: not grid.south.grid.limits().items)
    grid.south.settings.update(SettingsChange(values={"grid_may_change_accounts": "yes"}))
    said = grid.manager.grid.instruct(InstructIn(kind="cap", subject="root/acme", cpus=500))

    def over() -> dict[str, str]:
        (found,) = grid.manager.grid.instructions(InstructionQuery(id=said.id)).items
        states = {each.region: each.state for each in found.regions}
        return {} if "waiting" in states.values() else states

    assert until(over) == {"north": "refused", "south": "done"}
    (acme,) = grid.south.accounts.all(AccountQuery(name="acme"))
    assert grid.south.limits.get(acme.id).cpus.limit == 500


def gone_through(grid: Grid, alice: Arable, machine: str) -> None:
    """A file and a console, by way of north."""
    image = alice.images.create(ImageIn(name="hers"))
    content = hashlib.shake_256(b"hers").digest(1 << 20)
    made = alice.images.upload_version(image.id, [content], UploadQuery(format="raw"))
    assert made.digest == hashlib.sha256(content).hexdigest()
    assert [each.name for each in grid.alice("south").images.all(ImageQuery(name="hers"))]
    ticket = alice.machines.console(machine).ticket
    url = grid.made.ready["north"].api.replace("http", "ws", 1)
    with connect(f"{url}/v1/console/{ticket}", proxy=None, compression=None) as socket:
        assert socket.recv(60), "the machine says something"


def test_the_grid_manager_has_the_console_and_says_who_it_is(grid: Grid) -> None:
    with urlopen(f"{grid.ready.api}/console/") as page:
        assert b"/console/main.js" in page.read()
    assert grid.manager.users.whoami().served_by == "grid"
    assert grid.north.users.whoami().served_by == "region"


def test_a_machine_anywhere_of_an_image_that_is_elsewhere_is_one_call(grid: Grid) -> None:
    """Asked for at one region, meant for the other, which has not got the image, and fetches it from the first."""
    for operator in (grid.north, grid.south):
        first = FirstUserIn(name="bob", password=PASSWORD, role="customer")
        operator.accounts.create(AccountIn(name="globex", user=first))
    (globex,) = grid.south.accounts.all(AccountQuery(name="globex"))
    grid.south.accounts.federate(globex.id, FederationIn(origins=("north",)))
    image = grid.north.images.create(ImageIn(name="site", public=True))
    content = hashlib.shake_256(b"site").digest(1 << 20)
    version = grid.north.images.upload_version(image.id, [content], UploadQuery(format="raw"))
    ask = WhereQuery(image="site")
    (where,) = until(lambda: grid.south.images.where(ask).versions, "south does not hear of it")
    assert ([each.region for each in where.holders], where.here) == (["north"], False)
    until(lambda: knows(grid.north, "south"))

    url = grid.made.ready["north"].api
    with Arable(url) as here:
        session = here.sign_in("bob", PASSWORD)
    with Arable(url, session.token, region="south") as bob:
        made = bob.machines.deploy(DeployIn(name="far", image="site", offering="tiny"))
        done = bob.operations.wait(made.operation, seconds=60)
        told = [step.text for step in done.steps]
        assert (done.state, told[0]) == ("done", "fetches image site/1 from north: 0 of 1 MiB")
        assert "image site/1 is here" in told
        assert bob.machines.get(made.machines[0].id).state == "running"
    (there,) = grid.south.images.where(ask).versions
    assert (there.here, there.digest) == (True, version.digest)
    # and the grid hears that there are two of them now
    until(lambda: [h.region for h in grid.north.images.where(ask).versions[0].holders] == ["south"])
    # what an account has to itself is not for regions that it is not federated with
    mine = grid.north.images.create(ImageIn(name="mine"))
    grid.north.images.upload_version(mine.id, [content[:4096]], UploadQuery(format="raw"))
    with pytest.raises(NotFound, match="no other region"):
        grid.south.images.fetch(FetchIn(image="mine"))


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
    grid.south.accounts.federate(acme.id, FederationIn(origins=("north",)))
    made = alice.machines.deploy(DeployIn(name="far", image="tiny", offering="tiny"))
    done = alice.operations.wait(made.operation, seconds=60)
    assert (done.state, done.account) == ("done", acme.id)
    assert [m.name for m in alice.machines.all()] == ["far"]
    assert list(grid.alice("north").machines.all()) == [], "it is in the other region"
    assert [m.name for m in grid.alice("south").machines.all()] == ["far"]
    assert grid.alice("north", region="north").machines.page().items == []
    until(lambda: whose(grid.alice("north", region="all")) == ["south"])
    with pytest.raises(BadInput, match="lists alone"):
        grid.alice("north", region="all").machines.get(made.machines[0].id)
    ask = GridBillQuery(account="root/acme")
    bills = until(lambda: (b := grid.manager.grid.bills(ask)).items and b)
    assert {r.region for r in bills.regions} == {"north", "south"}
    assert [(b.region, b.account) for b in bills.items] == [("south", "root/acme")]
    held = until(lambda: grid.manager.grid.accounts().items)
    assert {h.region for h in held if h.account == "root/acme"} == {"south"}, "north told nobody"
    gone_through(grid, alice, made.machines[0].id)
    limited_and_told(grid, alice)
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
    everywhere = grid.alice("north", region="all")
    assert everywhere.machines.page().items == []
    (south,) = [p for p in everywhere.connection.parts.values() if p.region == "south"]
    assert "can't be reached" in south.told
    assert "last heard" in south.told
    assert south.as_of is not None
