"""Tables show names where people know names; ids are for programs, and for those who ask for them."""

from pathlib import Path

import pytest
from command_line import Arable

EXAMPLE = Path(__file__).parents[2] / "examples" / "first-machine.yaml"


@pytest.fixture
def reachable(customer: Arable) -> Arable:
    customer("apply", "-f", str(EXAMPLE), "--no-wait")
    return customer


def test_a_rule_shows_the_machine_and_the_address_that_people_know(reachable: Arable) -> None:
    front = reachable.json("address", "show", "front")
    machine = reachable.json("machine", "show", "web")
    (rule,) = reachable.json("rule", "list")
    heads, row = reachable("rule", "list").out.splitlines()
    assert {"MACHINE", "ADDRESS"} <= set(heads.split())
    assert {"web", front["address"]} <= set(row.split())
    assert not {rule["nic"], rule["address"], machine["id"]} & set(row.split())
    assert (rule["machine"], rule["machine_name"]) == (machine["id"], "web")
    assert (rule["address"], rule["public"]) == (front["id"], front["address"])
    assert rule["nic"] == machine["nics"][0]["id"]


def test_what_is_shown_of_one_thing_names_what_it_refers_to(reachable: Arable) -> None:
    machine = reachable.json("machine", "show", "web")
    shown = reachable("machine", "show", "web").out
    for noun in ("zone", "offering", "image"):
        name = reachable.json(noun, "show", machine[noun])["name"]
        assert f"{name} ({machine[noun]})" in shown
    (nic,) = machine["nics"]
    assert f"network=default ({nic['network']})" in shown
    assert f"id                     {machine['id']}\n" in shown


def test_who_one_is_comes_with_the_names_of_account_and_domain(customer: Arable) -> None:
    me = customer.json("whoami")
    said = dict(line.split(maxsplit=1) for line in customer("whoami").out.splitlines())
    assert said["user"] == me["name"]
    assert said["account"] == me["account_name"]
    assert said["domain"] == me["path"]
    assert me["account"].startswith("account-")
    assert me["account"] not in customer("whoami").out


def test_an_address_is_known_by_its_name_as_well(reachable: Arable) -> None:
    front = reachable.json("address", "show", "front")
    assert reachable.json("address", "show", front["address"]) == front
    assert by_name(reachable)["front"] == front["address"]
    reachable("address", "update", "front", "--name", "shop")
    assert reachable.json("address", "show", "shop")["id"] == front["id"]
    assert "no address called 'front'" in reachable("address", "show", "front", status=1).err
    reachable("rule", "firewall", "--address", "shop", "--port", "443", "--no-wait")
    reachable("address", "update", "shop", "--name", "none")
    assert reachable.json("address", "show", front["id"])["name"] is None


def by_name(user: Arable) -> dict[str, str]:
    """Addresses by name."""
    rows = [line.split() for line in user("address", "list").out.splitlines()[1:]]
    return {row[1]: row[0] for row in rows}
