"""A browser, and a cloud on simulated hosts that moves when a test has it move."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from arable.api.console import ConsoleWebSocket
from arable.console.pages import routes
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


@dataclass
class Window:
    """A page of the console, and what went wrong in it."""

    page: Any
    url: str
    wrong: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def watch(self) -> None:
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on("console", self._heard)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("dialog", lambda dialog: self.wrong.append(f"dialog: {dialog.message}"))

    def _heard(self, message: Any) -> None:
        # That a call was refused is said by the browser as an error, too; there it is none of the page.
        if message.type in ("error", "warning") and "the server responded with a status of 4" not in message.text:  # fmt: skip
            self.wrong.append(f"{message.type}: {message.text}")

    def sign_in(self, name: str, password: str) -> None:
        self.page.get_by_label("Name", exact=True).fill(name)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()

    def check(self) -> None:
        """Nothing went wrong, and nobody else was asked for anything."""
        assert self.wrong == []
        assert [url for url in self.asked if not url.startswith(f"{self.url}/")] == []


@pytest.fixture
def window(chromium: Any, console: Served) -> Iterator[Window]:
    context = chromium.new_context(viewport={"width": 1100, "height": 900})
    context.set_default_timeout(20_000)
    made = Window(context.new_page(), console.url)
    made.watch()
    made.page.goto(console.url)
    yield made
    context.close()
    made.check()


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
