"""`arable login --region`: one signs in at home, and is known in another region, whose credential is kept nowhere."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import yaml
from sqlalchemy import insert, update

from arable.domain.region import Fact, FactKind, Member
from arable.services.sign_on import KeyHands
from arable.store import grid_facts, grid_members
from arable.store import schema as t
from arable.store import sign_on as rows
from arable.store.grid_members import Link
from cli.command_line import PASSWORD, Arable, signed_out
from databases import fresh_sqlite
from serving import Served, serving


@dataclass
class Two:
    home: Served
    far: Served
    ann: Arable

    def told(self) -> None:
        """What the grid manager would pass on."""
        with self.home.database.write() as tx:
            now = self.home.around.clock.now()
            KeyHands(lambda: self.home.around).keep(tx, now)
            (key,) = rows.keys(tx)
            body = {"software": "1", "servers": 1, "api": self.far.url}
            grid_facts.put(
                tx, "far", [Fact(kind=FactKind.REGION, key="region", version=1, body=body)]
            )
        with self.far.database.write() as tx:
            fact = Fact(kind=FactKind.KEY, key=key.id, version=1, body={"public": key.public})
            grid_facts.put(tx, "home", [fact])
            named = t.account.c.name == "ann"
            tx.execute(update(t.account).where(named).values(federated=["home"]))


@pytest.fixture
def two(tmp_path) -> Iterator[Two]:
    for name in ("home", "far", "ann"):
        (tmp_path / name).mkdir()
    with (
        fresh_sqlite(tmp_path / "home") as at_home,
        fresh_sqlite(tmp_path / "far") as far_away,
        serving(at_home, tmp_path / "home") as home,
        serving(far_away, tmp_path / "far") as far,
    ):
        for served, name in ((home, "home"), (far, "far")):
            served.customer("ann")
            now = served.around.clock.now()
            with served.database.write() as tx:
                link = Link(region=name, grid="g:1", authorities=(), certificate="", key_sealed="")
                grid_members.add_link(tx, link)
                for at, each in enumerate(("home", "far")):
                    member = Member(id=f"region-{at}", name=each, created_at=now)
                    tx.execute(insert(t.grid_member).values(**asdict(member)))
        ann = signed_out(home, tmp_path / "ann")
        ann("login", "ann", "--password-stdin", stdin=f"{PASSWORD}\n")
        del ann.environment["ARABLE_URL"]
        made = Two(home, far, ann)
        made.told()
        yield made


def config(user: Arable) -> Path:
    return user.home / ".config" / "arable" / "config.yaml"


def test_one_signs_in_at_home_and_is_known_elsewhere(two: Two) -> None:
    ran = two.ann("login", "--region", "far", "--debug")
    assert "at_ey" not in ran.err, "in no trace"
    assert f"signed on at far ({two.far.url}) as ann@home" in ran.err
    kept = yaml.safe_load(config(two.ann).read_text())["profiles"]["far"]
    assert kept == {"url": two.far.url, "user": "ann@home", "home": "default", "region": "far"}
    assert "at_" not in config(two.ann).read_text()
    me = two.ann.json("whoami", "--profile", "far")
    assert (me["name"], me["account_name"], me["via"]) == ("ann@home", "ann", "sign-on:home")
    assert two.ann.json("machine", "list", "--profile", "far") == []
    assert "key:write" in two.ann("key", "create", "k", "--profile", "far", status=1).err
    assert two.ann.json("whoami")["name"] == "ann", "the first profile is used as before"


def test_nobody_is_let_in_whom_the_region_does_not_know_and_nothing_is_kept(two: Two) -> None:
    with two.far.database.write() as tx:
        tx.execute(update(t.account).values(federated=[]))
    ran = two.ann("login", "--region", "far", status=1)
    assert "does not count" in ran.err
    assert "far" not in yaml.safe_load(config(two.ann).read_text())["profiles"]
