"""`arable region` and `arable grid`, for a person and for a program."""

from sqlalchemy import insert

from arable.store import schema as t
from cli.command_line import Arable
from serving import Served


def test_regions_are_shown_with_how_old_that_is(served: Served, operator: Arable) -> None:
    now = served.around.clock.now()
    with served.database.write() as tx:
        tx.execute(
            insert(t.grid_member).values(
                id="region-london", name="london", state="silent", heard_at=now.replace(year=2020), created_at=now
            )
        )  # fmt: skip
    shown = operator("region", "list").out
    assert "london was last heard" in shown
    assert "silent" in operator("region", "show", "london").out
    assert operator.json("region", "show", "london")["state"] == "silent"
    assert operator.json("grid", "status")["role"] == "alone"
    status = operator("grid", "status").out
    assert "this region is in no grid" in status
    assert "1, 0 reached, 1 silent" in status
    assert "london" in operator("grid", "regions").out


def test_what_can_be_done_elsewhere_alone_says_where(
    served: Served, operator: Arable, tmp_path
) -> None:
    refused = operator("grid", "token", status=None)
    assert "ask it" in refused.err
    token = tmp_path / "token"
    token.write_text("join.x\n")
    refused = operator("region", "join", "--grid", "grid:1", "--name", "eu", "--token-file", str(token), status=None)  # fmt: skip
    assert "can't join a grid" in refused.err
    refused = operator("region", "join", "--grid", "grid:1", "--name", "eu", "--token-file", str(tmp_path / "no"), status=None)  # fmt: skip
    assert "can't be read" in refused.err
    refused = operator("machine", "list", "--region", "eu", status=None)
    assert "in no grid" in refused.err
    refused = operator("--region", "eu", "user", "whoami", status=None)
    assert "ask that region itself" in refused.err
