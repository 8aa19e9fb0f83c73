"""IPv6 by the command line, and as files say."""

from cli.test_cli_files import apply, diff, write  # noqa: F401 - a fixture

FILE = """
kind: ipv6-range
zone: east
cidr: 2001:db8:100::/48
gateway: 2001:db8:100::1
"""


def test_an_operator_adds_a_range_and_a_customers_network_has_a_prefix(
    operator,
    customer,
    write,  # noqa: F811
) -> None:
    assert set(apply(operator, write(FILE)).values()) == {"created"}
    assert set(diff(operator, write(FILE)).values()) == {"nothing"}
    words = ("--cidr", "2001:db8:200::/63")
    assert "error" in operator("ipv6-range", "create", "--zone", "nowhere", *words, status=1).err
    made = customer.json("network", "create", "dual", "--cidr", "10.44.0.0/24", "--ipv6")
    assert made["ipv6_cidr"] == "2001:db8:100:1::/64"
    assert "2001:db8:100:1::/64" in customer("network", "list").out
    (range_,) = operator.json("ipv6-range", "list")
    assert range_["networks"] == {"total": 65_535, "free": 65_534}
    said = ("--network", "dual", "--protocol", "tcp", "--port", "22", "--cidr", "::/0", "--no-wait")
    customer("rule", "firewall", *said)
    (rule,) = customer.json("rule", "list", "--network", "dual")
    assert (rule["cidr"], rule["direction"], rule["address"]) == ("::/0", "in", None)
    refused = customer("network", "update", "dual", "--no-ipv6", status=1)
    assert "keeps 2001:db8:100:1::/64" in refused.err
    assert "prefixes" in operator("ipv6-range", "delete", range_["id"], status=1).err
