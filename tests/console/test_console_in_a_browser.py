"""The console in a real browser, before a cloud whose hosts are simulated: what a customer does with it, from first to last."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random  # noqa: TID251
from typing import Any

import msgspec
import pytest
import yaml

from arable.cli.documents import _loader
from arable.wire.blueprints import BlueprintIn
from arable.wire.orders import PlanIn
from serving import PASSWORD, Served

sys.path.insert(0, str(Path(__file__).parents[1] / "api"))
from make_hall import Hall, make_hall  # noqa: E402

pytestmark = pytest.mark.real

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"
ROOT = Path(__file__).parents[2]


@dataclass
class Scene:
    served: Served
    hall: Hall
    customer: Any

    def done(self) -> None:
        """The cloud does what is under way."""

        def at_rest() -> bool:
            running = self.customer.operations.page().items
            return all(each.state != "running" for each in running)

        self.hall.until(at_rest)


@pytest.fixture(scope="module")
def scene(console) -> Iterator[Scene]:
    hall = make_hall(console)
    customer = console.customer("alice")
    for name in ("web", "app", "db"):
        customer.blueprints.create(
            msgspec.convert(
                {
                    "name": name,
                    "image": "tiny",
                    "offering": "small",
                    "ports": [{"port": 80, "protocol": "http"}],
                    "user_data": f"#!/bin/sh\n# {HOSTILE}\n",
                },
                BlueprintIn,
            )
        )
    console.operator.plans.create(
        PlanIn(name="basic", scaling="fixed", about=f"{HOSTILE} all in one")
    )
    return Scene(console, hall, customer)


def test_a_customer_provisions_grows_and_deletes_a_farm(scene, window):
    page = window.page
    expect = page.expect_event  # noqa: F841
    window.sign_in("alice", "wrong")
    page.get_by_role("alert").wait_for()
    window.sign_in("alice", PASSWORD)
    page.wait_for_timeout(3000); page.screenshot(path="/tmp/h/C.x.png"); print(window.wrong, page.inner_text("body"))
    page.get_by_role("heading", name="Farms").wait_for()
    page.screenshot(path="/tmp/h/C.farms.png")
    page.get_by_role("link", name="Provision a farm").click()
    page.get_by_role("button", name="Three tiers").click()
    page.screenshot(path="/tmp/h/C.prov.png", full_page=True)
    page.get_by_label("Name of the farm").fill("shop")
    page.get_by_role("button", name="Plan", exact=True).click()
    page.wait_for_timeout(1000)
    page.screenshot(path="/tmp/h/C.plan.png", full_page=True)
    page.get_by_role("button", name="Apply: make the farm").click()
    page.get_by_role("link", name="To the farm shop").click()
    scene.done()
    page.wait_for_timeout(2000)
    page.screenshot(path="/tmp/h/C.farm.png", full_page=True)
    print(window.wrong)
