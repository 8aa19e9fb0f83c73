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
    assert "what to do: have its operator join it to a grid: `arable grid token`" in refused.err
    refused = operator("--region", "eu", "user", "whoami", status=None)
    assert "ask that region itself" in refused.err


def test_sums_of_all_regions_say_how_old_they_are(served: Served, operator: Arable) -> None:
    now = served.around.clock.now()
    bill = {"account": "root/acme", "month": "2026-11", "currency": "EUR", "micros": 12_500_000, "as_of": now.isoformat()}  # fmt: skip
    held = {"enabled": True, "used": {"machines": 7}, "limits": {"machines": 9}}
    facts = (
        ("oslo", "bill", "2026-11|root/acme", bill),
        ("oslo", "bill", "2026-11|", bill | {"account": "", "micros": 20_000_000}),
        ("oslo", "held", "root/acme", held),
        ("grid", "limit", "root/acme", {"limits": {"machines": 50}}),
    )
    with served.database.write() as tx:
        tx.execute(
            insert(t.grid_member).values(
                id="region-oslo", name="oslo", state="silent", heard_at=now.replace(year=2020), created_at=now
            )
        )  # fmt: skip
        for region, kind, key, body in facts:
            tx.execute(insert(t.grid_fact).values(region=region, kind=kind, key=key, version=1, body=body))  # fmt: skip
    shown = operator("grid", "bills", "--month", "2026-11")
    assert "root/acme" in shown.out
    assert "12.50" in shown.out
    assert "together: 20.00 EUR" in shown.err
    assert "oslo was last heard" in shown.err
    found = operator.json("grid", "bills", "--month", "2026-11", "--account", "root/acme")
    assert [(each["region"], each["total"]) for each in found["items"]] == [("oslo", "12.50")]
    assert found["sums"] == [{"currency": "EUR", "total": "12.50"}]
    assert "oslo was last heard" in next(r["told"] for r in found["regions"] if r["region"] == "oslo")  # fmt: skip
    assert operator.json("grid", "accounts", "--of", "oslo")["items"][0]["used"]["machines"] == 7
    assert "root/acme" in operator("grid", "accounts").out
    assert operator.json("grid", "limits")[0]["limits"] == {"machines": 50}
    assert "50" in operator("grid", "limits").out
    with served.database.write() as tx:
        body = {
            "at": now.isoformat(),
            "kind": "host.down",
            "subject": "host-a",
            "text": "a is down",
        }
        tx.execute(insert(t.grid_fact).values(region="oslo", kind="event", key="000000000000007", version=9, body=body))  # fmt: skip
    assert "a is down" in operator("grid", "events").out
    assert operator.json("grid", "events")["items"][0]["number"] == 7
    refused = operator("grid", "bills", "--of", "mars", status=None)
    assert "no such region" in refused.err


def test_the_grid_manager_alone_limits_and_instructs(operator: Arable) -> None:
    refused = operator("grid", "set-limits", "--path", "root/acme", "--machines", "5", status=None)
    assert "ask it" in refused.err
    refused = operator("grid", "instruct", "--kind", "evacuate", "--subject", "east", status=None)
    assert "ask it" in refused.err
    assert operator.json("grid", "instructions")["items"] == []
    refused = operator("machine", "list", "--region", "all", status=None)
    assert "in no grid" in refused.err
