"""What stands under the console's forms can be typed: each command line is one, and each call is one of the API's."""

import re
import shlex
from typing import Any

import click
import msgspec
import pytest

from arable.api.routes import OPERATIONS
from arable.cli.app import build
from arable.wire.addresses import AddressQuery
from arable.wire.balancers import BalancerIn
from arable.wire.images import ImageIn
from arable.wire.networks import NetworkQuery
from arable.wire.offerings import DiskOfferingIn
from console_scene import Desk

pytestmark = pytest.mark.real

COMMANDS = build().commands
OPS = {
    (op.method, re.compile(re.sub(r"\{\w+\}", "[^/]+", op.path) + r"(\?.*)?$")): op
    for op in OPERATIONS
}
# Whatever is in the forms has something in it, so that all that can be said is said.
FILLED = """() => {
  for (const each of document.querySelectorAll("main form input, main form textarea")) {
    if (each.type === "file" || each.type === "datetime-local") continue;
    if (each.type === "checkbox") each.checked = true;
    else each.value = "7";
    each.dispatchEvent(new Event("input", { bubbles: true }));
  }
  return [...document.querySelectorAll("main details.equivalent")].map((each) => [...each.querySelectorAll("pre")].map((one) => one.textContent));
}"""


def told(desk: Desk, pages: dict[str, str]) -> dict[str, str]:
    """By command line, the call that is said to be the same."""
    found = {}
    for path, heading in pages.items():
        desk.open(path, heading)
        for commands, call in desk.page.evaluate(FILLED):
            found |= dict.fromkeys(commands.split("\n"), call)
    desk.open("bills", "Bills")  # what was typed is forgotten
    return found


def can_be_typed(line: str) -> None:
    """Its verb is there, and has all these options."""
    words = shlex.split(line)
    assert words[0] == "arable", line
    found: Any = COMMANDS[words[1]].make()
    rest = words[2:]
    if verbs := getattr(found, "commands", None):
        found, rest = verbs[words[2]], words[3:]
    try:
        _options, more, _order = found.make_parser(click.Context(found)).parse_args(rest)
    except click.UsageError as error:
        pytest.fail(f"{line}: {error.message}")
    assert more == [], line


def can_be_called(text: str) -> None:
    """Its path is there, and takes what is sent."""
    words = shlex.split(text.replace("\\\n", " "))
    method = words[words.index("-X") + 1]
    (path,) = [each for each in words if each.startswith("$ARABLE_URL")]
    path = path.removeprefix("$ARABLE_URL")
    (op,) = [op for (verb, shape), op in OPS.items() if verb == method and shape.match(path)]
    if "-d" not in words:
        return
    said = msgspec.json.decode(words[words.index("-d") + 1].encode())
    assert op.takes is not None, text
    known = {each.encode_name for each in msgspec.structs.fields(op.takes)}
    assert set(said) <= known, text


def test_customers_forms_say_what_can_be_typed(scene, carols, box):
    client = carols.client
    image = client.images.create(ImageIn(name="spare"))
    scene.served.operator.disk_offerings.create(DiskOfferingIn(name="typed", mib=16))
    (network,) = client.networks.page(NetworkQuery(name="front")).items
    pages = {"images": "Images", f"images/{image.id}": "spare", "networks": "Networks"}
    more = {"keys": "Keys and password", "volumes": "Volumes", f"networks/{network.id}": "front"}
    others = {"vpns": "VPNs", "snapshots": "Snapshots", f"machines/{box.id}": "box"}
    (address,) = client.addresses.page(AddressQuery(network=network.id)).items
    ask = {"name": "typed", "address": address.id, "port": 8081}
    ask["members"] = [{"machine": box.id, "port": 80}]
    balancer = client.balancers.create(msgspec.convert(ask, BalancerIn)).balancer
    scene.moves(client)
    others |= {f"balancers/{balancer.id}": "typed", "groups": "Groups", "orders": "Orders"}
    found = told(
        carols, {**pages, **more, **others, "blueprints": "Blueprints", "deploy": "Deploy machines"}
    )
    client.balancers.delete(balancer.id)
    scene.moves(client)
    assert len(found) > 30
    for line, call in found.items():
        can_be_typed(line)
        can_be_called(call)


def test_operators_forms_say_what_can_be_typed(scene, operators):
    account = scene.served.accounts["alice"]
    pages = {"accounts": "Accounts", f"accounts/{account}": "alice", "prices": "Prices"}
    more = {"settings": "Settings", "alerts": "Alerts", "offerings": "Offerings"}
    (zone,) = operators.client.zones.page().items
    host = operators.client.hosts.page().items[0]
    others = {"zones": "Zones", f"zones/{zone.id}": zone.name, "hosts": "Hosts", "plans": "Plans"}
    rest = {
        f"hosts/{host.id}": host.name,
        f"pools/{host.pool}": "local",
        "control": "Control plane",
    }
    found = told(operators, {**pages, **more, **others, **rest, "regions": "Regions"})
    assert len(found) > 35
    for line, call in found.items():
        can_be_typed(line)
        can_be_called(call)
