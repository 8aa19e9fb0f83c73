"""What the console's tests share: a cloud with customers, windows of a browser before it, and what no page may have."""

import re
from dataclasses import dataclass, field
from typing import Any

import msgspec

from arable.client.arable import Arable
from arable.wire.billing import PriceIn, PriceListIn
from arable.wire.blueprints import BlueprintIn
from arable.wire.farms import FarmQuery
from arable.wire.hosts import HostChange
from arable.wire.orders import PlanIn
from make_hall import Hall, make_hall
from serving import PASSWORD, Served

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"
PRICES = (PriceIn(kind="running", amount="0.5"), PriceIn(kind="address", amount="0.01"))
UNNAMED = """() => [...document.querySelectorAll("input, select, textarea")]
  .filter((each) => !each.labels.length && !each.ariaLabel).map((each) => each.outerHTML)"""
TOO_WIDE = "() => document.documentElement.scrollWidth > window.innerWidth"


@dataclass
class Scene:
    """Who it is all about. The cloud stands still until it is told to move."""

    served: Served
    hall: Hall
    customer: Any

    def moves(self, who: Arable | None = None) -> None:
        """The cloud does what is under way."""
        asked = who or self.customer

        def at_rest() -> bool:
            return all(each.state != "running" for each in asked.operations.page().items)

        self.hall.until(at_rest)

    def farms(self) -> dict[str, Any]:
        return {farm.name: farm for farm in self.customer.farms.all(FarmQuery())}


def make_scene(console: Served) -> Scene:
    """A customer with blueprints, a plan and prices; one host is in maintenance."""
    hall = make_hall(console, vlans=16, addresses=16)
    idle = console.operator.hosts.page().items[0]
    console.operator.hosts.update(idle.id, HostChange(maintenance=True))  # so one stays empty
    customer = console.customer("alice")
    for name in ("web", "app", "db"):
        blueprint = {
            "name": name,
            "image": "tiny",
            "offering": "small",
            "ports": [{"port": 80, "protocol": "http"}],
            "user_data": f"#!/bin/sh\n# {HOSTILE}\n",
        }
        customer.blueprints.create(msgspec.convert(blueprint, BlueprintIn))
    console.operator.plans.create(PlanIn(name="basic", scaling="fixed", about=HOSTILE))
    console.operator.prices.set(PriceListIn(prices=PRICES, currency="EUR"))
    return Scene(console, hall, customer)


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

    def sign_in(self, name: str, password: str = PASSWORD) -> None:
        self.page.get_by_label("Name", exact=True).fill(name)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()

    def open(self, path: str, heading: str) -> None:
        """A page by its address, with all that is on it."""
        self.page.evaluate("path => { location.hash = path; }", f"#/{path}")
        self.page.get_by_role("heading", name=heading, exact=True, level=1).wait_for()
        self.page.locator("main > [aria-busy]").wait_for(state="detached")

    def check(self) -> None:
        """Nothing went wrong, and nobody else was asked for anything."""
        assert self.wrong == []
        assert [url for url in self.asked if not url.startswith(f"{self.url}/")] == []


@dataclass
class Desk:
    """Somebody who is signed in and stays so, and goes from page to page."""

    window: Window
    client: Arable

    @property
    def page(self) -> Any:
        return self.window.page

    def open(self, path: str, heading: str) -> None:
        self.window.open(path, heading)

    def form(self, text: str) -> Any:
        """A form of the page, unfolded."""
        form = self.page.get_by_role("form", name=text, exact=True)
        if not form.is_visible():
            named = re.compile(f"^{re.escape(text)}$")
            self.page.locator("summary", has_text=named).click()
        return form

    def send(self, text: str, **typed: str) -> Any:
        """Fill in a form by what the API calls its fields (`__` for a point), and send it."""
        form = self.form(text)
        for name, value in typed.items():
            put(form, name.replace("__", "."), value)
        form.get_by_role("button", name=text, exact=True).click()
        return form

    def refused(self, field: str) -> Any:
        """What is wrong with a field, once it is said."""
        wrong = self.page.locator(f'.field[data-path="{field}"] > .wrong:not(:empty)')
        wrong.wait_for()
        return wrong

    def sure(self, label: str, begins: str = "") -> None:
        """A button that is pressed twice; `begins` is the operation that it starts."""
        self.page.get_by_role("button", name=label, exact=True).click()
        self.page.get_by_role("button", name=f"Really: {label}").click()
        if begins:
            self.page.get_by_text(f"{begins}:").first.wait_for()

    def fits(self, pages: dict[str, str]) -> None:
        """Each page on a phone: no wider than it, all inputs have names, nothing is said as a program would."""
        self.page.set_viewport_size({"width": 400, "height": 800})
        for path, heading in pages.items():
            self.open(path, heading)
            assert self.page.evaluate(UNNAMED) == []
            assert not self.page.evaluate(TOO_WIDE), path
            said = self.page.get_by_role("main").inner_text()
            assert not any(word in said for word in ("NaN", "undefined", "null", "[object")), said
        self.page.set_viewport_size({"width": 1100, "height": 900})


def put(form: Any, name: str, value: str) -> None:
    """Into the input of a field, whatever it is."""
    place = form.locator(f'.field[data-path="{name}"]').locator("input, select, textarea").first
    match place.evaluate("each => each.tagName"):
        case "SELECT":
            place.select_option(label=value)
        case _:
            place.fill(value)
