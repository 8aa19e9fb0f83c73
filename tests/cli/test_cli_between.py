"""Rules between networks, by the command line, and as files say."""

from pathlib import Path

from cli.test_cli_files import apply, diff, kept, write  # noqa: F401 - a fixture

EXAMPLE = Path(__file__).parents[2] / "examples/three-tiers.yaml"


def test_the_example_is_made_once_and_a_port_that_changes_is_another_rule(customer, write) -> None:  # noqa: F811
    assert set(diff(customer, str(EXAMPLE)).values()) == {"create"}
    assert set(apply(customer, str(EXAMPLE)).values()) == {"created"}
    before = kept(customer)
    assert set(apply(customer, str(EXAMPLE)).values()) == {"unchanged"}
    assert kept(customer) == before
    other = EXAMPLE.read_text().replace("first_port: 5432", "first_port: 3306")
    planned = diff(customer, write(other))
    assert planned.pop("between/tier-app>tier-db:tcp:3306") == "create"
    assert set(planned.values()) == {"nothing"}


def test_networks_are_called_by_name(customer) -> None:
    apply(customer, str(EXAMPLE))
    words = ("--source", "tier-web", "--network", "tier-db", "--protocol", "icmp")
    customer("rule", "between", *words, "--cidr", "10.31.0.0/25", "--no-wait")
    rules = customer.json("rule", "list", "--network", "tier-db", "--kind", "between")
    assert [(r["source_name"], r["network_name"], r["cidr"]) for r in rules] == [
        ("tier-app", "tier-db", "10.32.0.0/24"),
        ("tier-web", "tier-db", "10.31.0.0/25"),
    ]
    customer("network", "create", "tier-spare", "--cidr", "10.34.0.0/24")
    customer("rule", "between", "--source", "tier-spare", "--network", "tier-web", "--no-wait")
    assert "delete them first" in customer("network", "delete", "tier-spare", status=1).err
