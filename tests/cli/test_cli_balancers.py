"""Load balancers by the command line, and as files say."""

from pathlib import Path

import pytest

from cli.test_cli_files import apply, diff, kept, write  # noqa: F401 - a fixture
from drivers.web import certificate

EXAMPLE = Path(__file__).parents[2] / "examples/balanced-web.yaml"


def test_the_example_is_made_once_and_members_are_those_that_are_said(customer, write) -> None:  # noqa: F811
    assert set(diff(customer, str(EXAMPLE)).values()) == {"create"}
    assert set(apply(customer, str(EXAMPLE)).values()) == {"created"}
    before = kept(customer)
    assert set(apply(customer, str(EXAMPLE)).values()) == {"unchanged"}
    assert kept(customer) == before
    text = EXAMPLE.read_text()
    changed = text.replace("machine: web-2, port: 80", "machine: web-2, port: 81, weight: 3")
    changed = changed.replace("name: shop\naddress", "name: shop\nalgorithm: source\naddress")
    assert diff(customer, write(changed))["balancer/shop"] == "change"
    assert apply(customer, write(changed))["balancer/shop"] == "changed"
    shop = customer.json("balancer", "show", "shop")
    assert shop["algorithm"] == "source"
    assert [(m["machine_name"], m["port"], m["weight"]) for m in shop["members"]] == [
        ("web-1", 80, 1),
        ("web-2", 81, 3),
    ]
    fewer = changed.replace("  - {machine: web-1, port: 80}\n", "")
    assert apply(customer, write(fewer))["balancer/shop"] == "changed"
    assert [m["machine_name"] for m in customer.json("balancer", "show", "shop")["members"]] == ["web-2"]  # fmt: skip
    assert set(diff(customer, write(fewer)).values()) == {"nothing"}
    port = fewer.replace("\nport: 80\n", "\nport: 88\n")
    assert "port is 80, not 88" in customer("apply", "-f", write(port), status=1).err


def test_a_key_comes_from_a_file_and_is_never_seen_again(customer, tmp_path, write) -> None:  # noqa: F811
    apply(customer, str(EXAMPLE))
    chain, key = certificate("shop.example.org")
    (tmp_path / "chain.pem").write_text(chain)
    (tmp_path / "key.pem").write_text(key)
    files = ("--certificate", f"@{tmp_path}/chain.pem", "--private-key", f"@{tmp_path}/key.pem")
    made = customer("balancer", "update", "shop", *files, "--no-wait", "--output", "json")
    shop = customer.json("balancer", "show", "shop")
    assert (shop["tls"], shop["certificate"]) == (True, chain)
    for text in (made.out, made.err, str(shop)):
        assert "PRIVATE" not in text
    ran = customer("balancer", "update", "shop", "--certificate", "x", "--private-key", key, status=2)  # fmt: skip
    assert "say @FILE" in ran.err
    assert key.splitlines()[1] not in ran.err
    text = write(EXAMPLE.read_text() + "private_key: x\n")
    ran = customer("apply", "-f", text, status=2)
    assert "arable balancer update" in ran.err


def test_one_for_other_networks_is_made_by_a_file_or_by_hand(customer, write) -> None:  # noqa: F811
    text = EXAMPLE.read_text().replace(
        "address: shop\nport: 80\n", "network: default\nport: 8080\n"
    )
    file = write(text)
    assert diff(customer, file)["balancer/shop"] == "create"
    assert apply(customer, file)["balancer/shop"] == "created"
    assert set(diff(customer, file).values()) == {"nothing"}
    shop = customer.json("balancer", "show", "shop")
    (network,) = customer.json("network", "list")
    assert (shop["kind"], shop["called_at"], shop["port"]) == ("inner", network["gateway"], 8080)
    words = ("--network", "default", "--probe", "--member", "web-1,port=80", "--no-wait")
    customer("balancer", "create", "probe", *words)
    assert customer.json("balancer", "show", "probe")["kind"] == "probe"
    assert f"inner  {network['gateway']}" in customer("balancer", "list").out
    said = customer("balancer", "create", "x", "--port", "80", "--no-wait", status=1).err
    assert "a network" in said
    elsewhere = text.replace("network: default\nport: 8080", "address: shop\nport: 8080")
    assert "it can't be changed" in customer("apply", "-f", write(elsewhere), status=1).err


def test_a_part_of_a_check_is_changed_and_the_rest_stays(customer) -> None:
    apply(customer, str(EXAMPLE))
    how = ("--check-kind", "http", "--check-path", "/ok", "--check-interval", "7")
    customer("balancer", "update", "shop", *how, "--no-wait")
    customer("balancer", "update", "shop", "--check-timeout", "2", "--no-wait")
    check = customer.json("balancer", "show", "shop")["check"]
    told = (check["kind"], check["path"], check["interval"], check["timeout"])
    assert told == ("http", "/ok", 7, 2)
    check_kept = customer.json("balancer", "update", "shop", "--name", "store", "--no-wait")
    assert customer.json("balancer", "show", "store")["check"] == check, check_kept


@pytest.mark.parametrize("drains", [True, False])
def test_members_are_named_as_machines_are(customer, drains) -> None:
    apply(customer, str(EXAMPLE))
    words = ("balancer", "update-member", "shop", "web-1")
    customer(*words, "--draining" if drains else "--no-draining", "--no-wait")
    first = customer.json("balancer", "show", "shop")["members"][0]
    assert (first["machine_name"], first["draining"]) == ("web-1", drains)
    customer("balancer", "remove-member", "shop", "web-1", "--no-wait")
    customer("balancer", "add-member", "shop", "--machine", "web-1", "--port", "80", "--no-wait")
    customer("balancer", "remove-member", "shop", "--machine", "web-1", "--no-wait")
    for twice in ((), ("web-1", "--machine", "web-1")):
        for verb in (("add-member", "--port", "8080"), ("remove-member",)):
            refused = customer("balancer", verb[0], "shop", *twice, *verb[1:], status=2).err
            assert refused.startswith("error: --machine: say which machine"), refused
    customer("balancer", "add-member", "shop", "web-1", "--port", "8080", "--no-wait")
    rows = customer.json("balancer", "show", "shop")["members"]
    assert [(row["machine_name"], row["port"]) for row in rows] == [("web-1", 8080), ("web-2", 80)]
    assert "web-1,web-2" in customer("balancer", "list").out
    assert "nothing was seen" in customer("balancer", "stats", "shop", status=1).err
    customer("balancer", "delete", "shop", "--no-wait")
    assert customer.json("balancer", "list") == []
