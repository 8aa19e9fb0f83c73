"""A browser, and a cloud on simulated hosts that moves when a test has it move."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from arable.api.console import ConsoleWebSocket
from arable.console.pages import routes
from arable.store import schema as t
from arable.wire.machines import DeployIn, NicIn
from arable.wire.networks import NetworkIn
from console_scene import Desk, Scene, Window, make_scene
from databases import fresh_sqlite
from serving import Served, serving
from shouting import Shouting

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """With a new profile, that goes with it.

    No longer than these tests: while it is there, this thread has a running loop, and others' tests want one of their own.
    """
    from playwright.sync_api import sync_playwright

    assert CHROMIUM, "there is no chromium: `make setup` installs it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, headless=True, args=ARGUMENTS
        )
        yield browser
        browser.close()


@pytest.fixture
def window(chromium: Any, console: Served) -> Iterator[Window]:
    with opened(chromium, console) as made:
        yield made


@contextmanager
def opened(chromium: Any, console: Served) -> Iterator[Window]:
    context = chromium.new_context(viewport={"width": 1100, "height": 900})
    context.set_default_timeout(20_000)
    made = Window(context.new_page(), console.url)
    made.watch()
    made.page.goto(console.url)
    yield made
    context.close()
    made.check()


@pytest.fixture(scope="package")
def scene(console) -> Scene:
    return make_scene(console)


@pytest.fixture
def joined(scene) -> Iterator[None]:
    """The cloud is the region home of a grid, beside oslo."""
    at = {"created_at": scene.served.around.clock.now(), "state": "reached"}
    rows = [{"id": f"region-{name}", "name": name, **at} for name in ("home", "oslo")]
    link = {"id": "grid", "region": "home", "grid": "127.0.0.1:1"}
    with scene.served.database.write() as tx:
        tx.execute(t.grid_member.insert(), rows)
        tx.execute(t.grid_link.insert(), [{**link, "certificate": "", "key_sealed": ""}])
    yield
    with scene.served.database.write() as tx:
        tx.execute(t.grid_link.delete())
        tx.execute(t.grid_member.delete())


@pytest.fixture(scope="package")
def carols(chromium, scene) -> Iterator[Desk]:
    """A customer's desk, for tests of one page each."""
    carol = scene.served.customer("carol")
    with opened(chromium, scene.served) as window:
        window.sign_in("carol")
        window.page.get_by_text("There is no farm yet.").wait_for()
        yield Desk(window, carol)


@pytest.fixture(scope="package")
def operators(chromium, scene) -> Iterator[Desk]:
    first = scene.served.first
    with opened(chromium, scene.served) as window:
        window.sign_in(first.name, first.password.reveal())
        window.page.get_by_role("link", name="Data centre").wait_for()
        yield Desk(window, scene.served.operator)


@pytest.fixture(scope="package")
def shouting() -> Shouting:
    """What machines' consoles say."""
    return Shouting()


@pytest.fixture(scope="package")
def console(tmp_path_factory, shouting) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("console")
    with (
        fresh_sqlite(directory) as database,
        serving(
            database,
            directory,
            routes=lambda around: [*routes(), *shouting.routes(around)],
            ws=ConsoleWebSocket,
        ) as served,
    ):
        yield served


@pytest.fixture(scope="package")
def box(scene, carols) -> Any:
    """Carol's machine, on a network with a public address."""
    carols.client.networks.create(NetworkIn(name="front", cidr="10.7.0.0/24"))
    nics = (NicIn(network="front"),)
    ask = DeployIn(name="box", offering="small", image="tiny", networks=nics)
    carols.client.machines.deploy(ask)
    scene.moves(carols.client)
    (found,) = carols.client.machines.page().items
    return found
