"""Use, prices, bills, credit and orders at a terminal."""

from cli.command_line import Arable

FARM = """
kind: farm
name: crunch
networks: [{name: inner}]
tiers: [{name: worker, blueprint: worker, networks: [inner], least: 2}]
"""
WORKER = "{kind: blueprint, name: worker, image: tiny, offering: tiny}"


def test_prices_bills_and_credit(operator: Arable, customer: Arable) -> None:
    listed = operator.json(
        "price", "set", "--currency", "EUR", "--price", "network,amount=0.5", "--price", "kind=running,offering=tiny,amount=0.01"
    )  # fmt: skip
    assert [each["amount"] for each in listed["prices"]] == ["0.50", "0.01"]
    refused = operator("price", "set", "--price", "network,amount=1e3", status=None)
    assert refused.status
    assert customer("price", "set", "--price", "network,amount=1", status=None).status

    customer("network", "create", "lan", "--isolated")
    used = customer.json("usage", "list", "--kind", "network", "--from", "2020-01")
    assert [(each["name"], each["until"]) for each in used] == [("lan", None)]
    assert customer.json("usage", "list", "--to", "2020-01-01", "--from", "2019-01-01") == []
    bill = customer.json("bill", "show", "--from", "2020-01-01")
    assert (bill["currency"], [line["kind"] for line in bill["lines"]]) == ("EUR", ["network"])
    shown = customer("bill", "show").out.splitlines()
    assert any(line.split()[:2] == ["KIND", "NAME"] for line in shown)
    assert any(line.strip().startswith("network ") for line in shown)
    assert [each["account_name"] for each in customer.json("bill", "list")] == [
        bill["account_name"]
    ]

    account = bill["account_name"]
    for _ in range(2):
        operator(
            "credit", "add", account, "--amount", "100", "--key", "p-1", "--reference", "invoice 7"
        )
    operator("credit", "limit", account, "--amount", "20")
    mine = customer.json("credit", "show")
    assert (mine["paid"], mine["limit"]) == ("100.00", "20.00")
    assert [each["key"] for each in customer.json("credit", "list")] == ["p-1"]


def test_an_order_by_a_plan(operator: Arable, customer: Arable, tmp_path) -> None:
    operator("plan", "create", "steady", "--scaling", "fixed", "--tier", "most=3")
    (tmp_path / "worker.yaml").write_text(WORKER)
    (tmp_path / "farm.yaml").write_text(FARM)
    customer("farm", "apply", "-f", str(tmp_path / "worker.yaml"))
    both = customer("order", "create", "-f", str(tmp_path), status=None)
    assert "an order is one farm" in both.err
    farm = str(tmp_path / "farm.yaml")
    made = customer.json("order", "create", "-f", farm, "--plan", "steady", "--po", "PO-1", "--new-key", "--no-wait")  # fmt: skip
    assert made["private_key"].startswith("-----BEGIN")
    order = made["order"]
    assert (order["state"], order["plan"], order["purchase_order"]) == ("queued", "steady", "PO-1")
    assert order["document"]["tiers"][0]["most"] == 2
    shown = customer("order", "create", "-f", farm, "--new-key", "--no-wait")
    assert "told this once" in shown.err
    assert customer("order", "create", "-f", farm, "--card", "4111111111111111", status=None).status
    assert customer("order", "approve", order["id"], status=None).status
    assert customer.json("order", "withdraw", order["id"])["state"] == "withdrawn"
    assert [each["id"] for each in operator.json("order", "list", "--state", "withdrawn")] == [order["id"]]  # fmt: skip
