"""Rollouts at the command line: begun by a document, paused, resumed, turned back; and who runs what."""

import json
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from arable.store import schema as t
from cli.command_line import Arable
from serving import Served

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "shop.yaml"


@pytest.fixture
def rolled(customer: Arable, furnished: Served, tmp_path) -> str:
    """The example's tier app has an element that serves, and gets another version of its image; the rollout."""
    customer("farm", "apply", "-f", str(EXAMPLE), "--no-wait")
    with furnished.database.write() as tx:
        (tier,) = tx.execute(select(t.tier).where(t.tier.c.name == "app")).all()
        image = tx.execute(select(t.image_version).where(t.image_version.c.image == tier.image)).one()  # fmt: skip
        of = {"tier": tier.id, "farm": tier.farm, "account": tier.account, "since": tier.created_at}
        element = {"id": "element-1", "number": 1, "state": "serving", "machine": "machine-1"}
        made = {"blueprint_number": 1, "image_version": 1, "kept": {}}
        tx.execute(insert(t.element).values(**of, **element, **made))
        tx.execute(insert(t.image_version).values(**{**image._mapping, "number": 2}))
        tx.execute(update(t.image).where(t.image.c.id == tier.image).values(newest=2))
    farm = EXAMPLE.read_text().rsplit("---\n", 1)[1]
    (tmp_path / "next.yaml").write_text(farm.replace("name: app, blue", "name: app, image_version: newest, blue"))  # fmt: skip
    planned = customer("farm", "plan", "-f", str(tmp_path / "next.yaml")).out
    assert "~ tier app: image version 1 -> 2, other which images, 1 element to renew" in planned
    customer("farm", "apply", "-f", str(tmp_path / "next.yaml"), "--no-wait")
    (row,) = customer.json("rollout", "list", "--tier", "shop/app")
    assert (row["name"], row["state"], row["goal"]["image_version"]) == ("shop-app", "rolling", 2)
    return row["id"]


def test_a_rollout_is_paused_resumed_and_turned_back(customer: Arable, rolled: str) -> None:
    assert customer.json("rollout", "pause", rolled)["state"] == "paused"
    assert "can't pause while paused" in customer("rollout", "pause", rolled, status=None).err
    assert customer.json("rollout", "resume", rolled)["state"] == "rolling"
    made = customer.json("rollout", "back", rolled, "--no-wait")
    assert made["rollout"]["state"] == "back"
    assert customer.json("operation", "show", made["operation"])["state"] == "running"
    (change,) = customer.json("operation", "list", "--kind", "farm.update")
    assert "turned back by hand" in json.dumps(change["error"])
    assert customer.json("rollout", "show", rolled)["told"] == "turned back by hand"
    assert customer.json("rollout", "list", "--state", "over") == []


def test_who_runs_what_is_listed_by_image_and_by_who_is_behind(
    customer: Arable, operator: Arable, rolled: str
) -> None:
    every = {row["name"]: row for row in customer.json("release", "list", "--image", "tiny")}
    assert every["app"]["runs"] == [
        {"blueprint_version": 1, "image_version": 1, "elements": 1, "serving": 1}
    ]
    assert (every["app"]["rollout"], every["app"]["newest_image_version"]) == (rolled, 2)
    assert {row["name"] for row in operator.json("release", "list", "--behind")} == {"web", "app", "db"}  # fmt: skip
    assert customer.json("release", "list", "--no-behind") == []


def test_a_version_that_is_made_by_the_same_files_is_rolled_out_by_them(
    customer: Arable, rolled: str, tmp_path: Path
) -> None:
    """The farm's document says the same before and after: what it follows is what changes."""
    first, farm = EXAMPLE.read_text().rsplit("---\n", 1)
    follows = farm.replace("name: app, blue", "name: app, version: newest, image_version: newest, blue")  # fmt: skip
    (tmp_path / "follows.yaml").write_text(f"{first}---\n{follows}")
    customer("farm", "apply", "-f", str(tmp_path / "follows.yaml"), "--no-wait")
    file = tmp_path / "second.yaml"
    file.write_text(f"{first.replace('interval: 1', 'interval: 2')}---\n{follows}")
    assert file.read_text() != (tmp_path / "follows.yaml").read_text()
    planned = customer("farm", "plan", "-f", str(file)).out
    assert "~ farm/shop  (not tried with the next version of blueprint/page)" in planned
    done = {row["document"]: row["did"] for row in customer.json("farm", "apply", "-f", str(file), "--no-wait")}  # fmt: skip
    assert done["farm/shop"] == "changed"
    (row,) = customer.json("rollout", "list", "--tier", "shop/app", "--state", "open")
    assert row["goal"] == {"blueprint_version": 2, "image_version": 2}
    again = customer.json("farm", "apply", "-f", str(file), "--no-wait")
    assert {row["did"] for row in again} == {"unchanged"}
