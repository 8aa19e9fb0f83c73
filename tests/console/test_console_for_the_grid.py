"""The console in a grid: at a region whom it lets in from where, and at the grid manager what its operators do."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from arable.console.pages import routes
from arable.domain.ids import RegionId
from arable.domain.region import GRID_ONLY, Member
from arable.processes.grid import OPERATIONS
from arable.services import grid_manager
from arable.services.call import GridRole
from arable.services.grid_manager import Sender
from arable.store import grid_members, incarnations
from arable.store.grid_own import bill_key
from arable.wire.grid import FactDoc, SyncIn
from arable.wire.grid_limits import GridLimitQuery
from arable.wire.regions import FederationIn
from console.conftest import opened
from console.test_console_equivalents import FILLED, can_be_called, can_be_typed
from console_scene import HOSTILE, Desk, put
from databases import fresh_sqlite
from serving import Served, serving

pytestmark = pytest.mark.real

ACME = "root/acme/acme"
LONG = "root/" + "/".join(f"a-very-long-name-of-a-domain-{at}" for at in range(4)) + "/acme"


@pytest.fixture(scope="module")
def manager(tmp_path_factory) -> Iterator[Served]:
    """A grid manager; eu told it what it has, us was not heard for an hour."""
    directory = tmp_path_factory.mktemp("grid")
    with (
        fresh_sqlite(directory) as database,
        serving(
            database,
            directory,
            operations=OPERATIONS,
            around={"grid_role": GridRole.GRID},
            routes=lambda _around: routes(),
        ) as served,
    ):
        now = served.around.clock.now()
        with database.write() as tx:
            incarnations.draw(tx, "the grid", now)
            for name, age in (("eu", 0), ("us", 1)):
                at = {"heard_at": now - timedelta(hours=age), "created_at": now}
                grid_members.add(tx, Member(id=RegionId(f"region-{name}"), name=name, **at))
            eu = SyncIn(url="eu.example.org:8445", software="0.1.0", facts=tuple(said(now)))
            assert not grid_manager.take(tx, served.around, Sender("eu", 1), eu).refused
        yield served


def said(now) -> Iterator[FactDoc]:
    """What eu tells."""
    amount = {"installed": 8000, "total": 8000, "reserved": 2000, "idle": 6000}
    amounts = dict.fromkeys(("cpu_mhz", "memory_mib", "disk_mib"), amount)
    zone = {"name": "eu-1", "enabled": True, "hosts": 4, "hosts_up": 3, "machines": 7}
    zone |= {"used_millicpus": 900, "addresses": {"total": 16, "free": 9}, **amounts}
    yield FactDoc(kind="zone", key="zone-a", version=1, body=zone)
    names = ("machines", "cpus", "memory_mib", "volumes", "storage_mib", "snapshots")
    quiet = {"audience": GRID_ONLY}
    month = f"{now:%Y-%m}"
    every = (*names, "snapshot_mib", "networks", "addresses")
    for at, account in enumerate((ACME, LONG)):
        held = {
            "enabled": True,
            "used": dict.fromkeys(every, 3),
            "limits": dict.fromkeys(every, -1),
        }
        held["limits"]["machines"] = 9
        yield FactDoc(kind="held", key=account, version=2 + at, body=held, **quiet)
        bill = {"account": account, "month": month, "micros": 12_500_000, "currency": "EUR"}
        bill["as_of"] = now.isoformat()
        yield FactDoc(kind="bill", key=bill_key(month, account), version=4 + at, body=bill, **quiet)
    whole = {**bill, "account": "", "micros": 40_000_000}
    yield FactDoc(kind="bill", key=bill_key(month, ""), version=6, body=whole, **quiet)
    event = {"at": now.isoformat(), "kind": "host.down", "subject": "host-a", "text": HOSTILE}
    yield FactDoc(kind="event", key="7", version=7, body=event, **quiet)


@pytest.fixture(scope="module")
def managers(chromium, manager) -> Iterator[Desk]:
    with opened(chromium, manager) as window:
        window.sign_in(manager.first.name, manager.first.password.reveal())
        window.page.get_by_role("heading", name="Regions", level=1).wait_for()
        yield Desk(window, manager.operator)


def test_the_grid_manager_makes_tokens_and_labels_and_removes_a_region(managers):
    page, client = managers.page, managers.client
    assert page.get_by_role("navigation", name="Farms and tiers").count() == 0
    page.get_by_role("row", name="eu reached").get_by_text("eu-1").wait_for()
    page.get_by_role("row", name="us silent").get_by_text("us was last heard 1 h ago").wait_for()
    managers.send("Make a token for a region", region="Not a name")
    managers.refused("region")
    managers.send("Make a token for a region", region="asia", seconds="600")
    shown = page.get_by_role("region", name="Token for asia")
    assert len(shown.locator("pre").inner_text()) > 20
    shown.get_by_role("button", name="I have it; close").click()
    page.get_by_role("link", name="us", exact=True).click()
    page.get_by_role("heading", name="us", level=1).wait_for()
    managers.send("Change its labels", labels="Not/a/label")
    managers.refused("labels")
    managers.send("Change its labels", labels="cold, far")
    page.locator("dd", has_text="cold, far").wait_for()
    form = managers.form("Change its labels")
    form.get_by_text("Equivalent command line and REST").click()
    put(form, "labels", "")
    assert form.get_by_label("Command line").inner_text() == "arable region update us --label ''"
    managers.send("Change its labels")
    page.locator("dd", has_text="cold, far").wait_for(state="detached")
    form = managers.form("Remove it from the grid")
    form.get_by_label("Type us to confirm").fill("us")
    form.get_by_role("button", name="Remove it from the grid").click()
    page.get_by_text("us was removed from the grid").wait_for()
    assert {each.name: each.state for each in client.regions.page().items}["us"] == "gone"


def test_the_grid_manager_limits_accounts_and_instructs_regions(managers):
    page, client = managers.page, managers.client
    managers.open("grid", "Grid")
    page.get_by_role("cell", name=HOSTILE).wait_for()
    page.get_by_label("Find an account by its path").fill("acme/acme")
    page.get_by_role("row", name=LONG).wait_for(state="detached")
    page.get_by_role("row", name=f"{ACME} eu ready 3 of 9 3").wait_for()
    managers.send("Set limits over all regions", path="acme", machines="many")
    assert "root/acme/acme" in managers.refused("path").inner_text()
    managers.send("Set limits over all regions", path=ACME)
    managers.refused("machines")
    managers.send("Set limits over all regions", machines="50", cpus="none")
    page.get_by_role("row", name=f"{ACME} Machines 50").wait_for()
    (limit,) = client.grid.limits(GridLimitQuery(path=ACME)).items
    assert limit.limits == {"machines": 50}

    suspend = "Suspend an account, or let it in again"
    managers.form(suspend).get_by_label("eu").check()
    managers.send(suspend, subject="acme")
    managers.refused("subject")
    managers.send(suspend, subject=ACME)
    row = page.get_by_role("row", name=f"suspend {ACME}")
    row.get_by_text("eu: waiting").wait_for()
    managers.sure(f"Take back: suspend {ACME}")
    row.get_by_text("taken back").first.wait_for()
    managers.send("Set its limits in each region", subject=ACME, machines="none", cpus="0")
    page.get_by_role("row", name=f"limits there of {ACME}; Machines: no limit; CPUs: 0").wait_for()


def test_bills_of_all_regions_stand_together(managers):
    page = managers.page
    managers.open("grid-bills", "Bills of all regions")
    page.get_by_role("row", name=f"{ACME} eu 12.50 EUR").wait_for()
    page.get_by_role("row", name="eu reached 40.00 EUR").wait_for()
    page.locator("dd", has_text="40.00 EUR").wait_for()
    page.get_by_label("Month").fill("2020-01")
    page.get_by_text("No region has told of any bill of that month.").wait_for()


def test_the_grids_pages_fit_a_phone_and_can_be_typed(managers):
    (region,) = [each.id for each in managers.client.regions.page().items if each.name == "eu"]
    account = managers.client.users.whoami().account
    pages = {"regions": "Regions", f"regions/{region}": "eu", "grid": "Grid"}
    others = {"grid-bills": "Bills of all regions", "settings": "Settings", "keys": "Keys and password"}  # fmt: skip
    managers.fits({**pages, **others, "accounts": "Accounts", f"accounts/{account}": "operators"})
    found = {}
    for path, heading in pages.items():
        managers.open(path, heading)
        for commands, call in managers.page.evaluate(FILLED):
            found |= dict.fromkeys(commands.split("\n"), call)
    managers.open("settings", "Settings")
    assert len(found) > 8
    for line, call in found.items():
        can_be_typed(line)
        can_be_called(call)


def test_an_account_is_asked_for_from_regions_that_an_operator_ticked(scene, operators, carols, joined):  # fmt: skip
    page, client = operators.page, operators.client
    account = scene.served.accounts["carol"]
    operators.open("accounts", "Accounts")
    operators.open(f"accounts/{account}", "carol")
    form = operators.form("Say from which regions it may be asked for")
    assert "account root/carol there" in form.inner_text()
    form.get_by_label("oslo").check()
    form.get_by_text("Equivalent command line and REST").click()
    line = form.get_by_label("Command line").inner_text()
    can_be_typed(line)
    assert line.endswith("--origin oslo")
    operators.send("Say from which regions it may be asked for")
    page.locator("dd", has_text="oslo").wait_for()
    assert client.accounts.get(account).federated == ("oslo",)
    form = operators.form("Say from which regions it may be asked for")
    form.get_by_label("oslo").uncheck()
    operators.send("Say from which regions it may be asked for")
    page.locator("dd", has_text="no other region").wait_for()
    assert client.accounts.get(account).federated == ()

    page.get_by_role("link", name="Regions", exact=True).click()
    page.get_by_role("button", name="Replace its keys").click()
    page.get_by_text("The keys are replaced.").wait_for()
    page.get_by_role("link", name="Accounts, limits and instructions in all regions").click()
    page.get_by_text("in the grid manager's own console").wait_for()
    assert page.locator("main form").count() == 0, "here they are only looked at"
    carols.open("grid", "Grid")
    carols.page.get_by_text("it takes the permission infra:read").wait_for()
    client.accounts.federate(account, FederationIn(origins=("oslo",)))
    carols.open("bills", "Bills")
    carols.page.get_by_role("region", name="In all regions").wait_for()
    client.accounts.federate(account, FederationIn())
