"""Farms in files: the plan says what apply does, apply twice does nothing more, and what the file forgets goes."""

from pathlib import Path

import pytest

from cli.command_line import Arable

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "shop.yaml"
NOUNS = ("farm", "tier", "blueprint", "network", "rule", "balancer")


def kept(user: Arable) -> dict[str, list]:
    return {noun: user.json(noun, "list") for noun in NOUNS}


def did(rows: list[dict]) -> dict[str, str]:
    return {row["document"]: row["did"] for row in rows}


@pytest.fixture
def write(tmp_path):
    def written(text: str) -> str:
        (tmp_path / "shop.yaml").write_text(text)
        return str(tmp_path / "shop.yaml")

    return written


@pytest.fixture
def offered(operator: Arable) -> None:
    """What the example is made of."""
    if "tiny" not in {each["name"] for each in operator.json("offering", "list")}:
        operator("offering", "create", "--name", "tiny", "--cpus", "1", "--cpu-mhz", "500", "--memory-mib", "256", "--root-mib", "512")  # fmt: skip


def test_a_farm_is_planned_applied_changed_and_deleted(customer: Arable, write) -> None:
    before = kept(customer)
    blueprints, farm = EXAMPLE.read_text().rsplit("---\n", 1)
    assert did(customer.json("farm", "plan", "-f", str(EXAMPLE))) == {
        "blueprint/page": "create",
        "blueprint/store": "create",
        "farm/shop": "create",
    }
    assert kept(customer) == before, "looking changes nothing"
    customer("farm", "apply", "-f", write(blueprints))
    file = write(farm)
    (planned,) = customer.json("farm", "plan", "-f", file)
    assert [f"{step['sign']} {step['what']} {step['name']}" for step in planned["steps"]][-3:] == [
        "+ tier web",
        "+ tier app",
        "+ tier db",
    ]
    assert "    + way in web:80: http " in customer("farm", "plan", "-f", file).out
    (applied,) = customer.json("farm", "apply", "-f", file, "--no-wait")
    (balancer,) = [one for one in customer.json("balancer", "list") if one["kind"] == "public"]
    assert applied["about"] == f"{balancer['public']}:80"

    after = kept(customer)
    assert set(did(customer.json("farm", "apply", "-f", str(EXAMPLE), "--no-wait")).values()) == {"unchanged"}  # fmt: skip
    assert customer("farm", "plan", "-f", str(EXAMPLE), "--exit-code").err == "nothing to do\n"
    assert kept(customer) == after

    smaller = farm.replace("  - {name: db, blueprint: store, networks: [db]}\n", "")
    smaller = smaller.replace("  - {source: app, to: db, port: 80}\n", "")
    smaller = smaller.replace("  - {name: db, isolated: true}\n", "")
    text, smaller = smaller, write(smaller)
    (changed,) = customer.json("diff", "-f", smaller)
    assert (changed["did"], changed["differences"]) == ("change", [])
    assert [step["name"] for step in changed["steps"] if step["sign"] == "-"] == [
        "db",
        "db:80:inner",
        "app>db:tcp:80",
        "db",
    ]
    assert did(customer.json("apply", "-f", smaller, "--no-wait")) == {"farm/shop": "changed"}
    assert [tier["name"] for tier in customer.json("farm", "show", "shop")["tiers"]] == ["web", "app"]  # fmt: skip

    customer("farm", "apply", "-f", write(farm.replace("name: shop", "name: other")), "--no-wait")
    assert "FARM/web" in customer("tier", "show", "web", status=None).err
    grown = customer.json("tier", "update", "shop/web", "--count", "3", "--no-wait")
    assert grown["tier"]["count"] == 3
    smaller = write(text)
    assert customer("farm", "plan", "-f", smaller, "--exit-code").err == "nothing to do\n"
    customer("farm", "delete", "shop", "--no-wait")
    assert customer.json("farm", "show", "shop")["state"] == "leaving"


def test_a_blueprint_that_says_something_else_gets_its_next_version(
    customer: Arable, write
) -> None:
    text = EXAMPLE.read_text().split("---\n")[0]
    customer("farm", "apply", "-f", write(text))
    other = write(text.replace("interval: 1", "interval: 2"))
    (row,) = customer.json("farm", "plan", "-f", other)
    assert [each["field"] for each in row["differences"]] == ["check"]
    customer("farm", "apply", "-f", other)
    versions = customer.json("blueprint", "show", "page")["versions"]
    assert [(each["number"], each["check"]["interval"]) for each in versions] == [(2, 2), (1, 1)]
    assert customer("farm", "plan", "-f", other, "--exit-code").err == "nothing to do\n"


def test_what_is_wrong_in_a_farm_is_said_with_its_place(customer: Arable, write) -> None:
    text = EXAMPLE.read_text()
    customer("farm", "apply", "-f", write(text), "--no-wait")
    wrong = write(text.replace("to: app, port: 80", "to: nobody, port: 80"))
    said = customer("farm", "plan", "-f", wrong, status=None)
    assert "passages.0.to" in said.out + said.err
    assert "nothing was changed" in customer("farm", "apply", "-f", wrong, status=None).err
    other = customer("farm", "apply", "-f", str(EXAMPLE.with_name("two-tiers.yaml")), status=None)
    assert "`arable apply` takes all kinds" in other.err


def test_what_a_tier_elsewhere_is_made_of_comes_first_if_the_file_has_it(customer: Arable, write) -> None:  # fmt: skip
    """It goes with the part; without it there is asked for that region's own."""
    farm = """
kind: farm
name: spread
networks: [{name: a}]
tiers: [{name: far, blueprint: far-page, networks: [a], region: london}]
"""
    made = "kind: blueprint\nname: far-page\nimage: tiny\noffering: tiny\n---"
    planned = did(customer.json("farm", "plan", "-f", write(made + farm)))
    assert planned == {"blueprint/far-page": "create", "farm/spread": "create"}
    alone = customer("farm", "plan", "-f", write(farm), status=None)
    assert "no other regions" in alone.out + alone.err
