"""VPNs by the command line, and as files say."""

from pathlib import Path

from cli.test_cli_files import apply, diff, kept, write  # noqa: F401 - a fixture

SITE = Path(__file__).parents[2] / "examples/joined-office.yaml"
ACCESS = Path(__file__).parents[2] / "examples/remote-access.yaml"
KEY = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="
SHARED = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBE="


def test_the_example_is_made_once_and_changed_as_it_says(customer, write) -> None:  # noqa: F811
    assert set(diff(customer, str(SITE)).values()) == {"create"}
    assert set(apply(customer, str(SITE)).values()) == {"created"}
    before = kept(customer)
    assert set(apply(customer, str(SITE)).values()) == {"unchanged"}
    assert kept(customer) == before
    text = SITE.read_text()
    same = text.replace("first_port: 22}", "first_port: 22, last_port: 22}")
    assert set(diff(customer, write(same)).values()) == {"nothing"}
    changed = text.replace("  - {protocol: tcp, first_port: 443}\n", "")
    changed = changed.replace("172.30.0.0/24", "172.30.0.0/23")
    assert diff(customer, write(changed))["vpn/office"] == "change"
    assert apply(customer, write(changed))["vpn/office"] == "changed"
    office = customer.json("vpn", "show", "office")
    assert office["peer_cidrs"] == ["172.30.0.0/23"]
    assert [each["first_port"] for each in office["allow"]] == [22]
    moved = text + "port: 5000\n"
    assert "port is 51820, not 5000" in customer("apply", "-f", write(moved), status=1).err
    assert "vpn update" in customer("apply", "-f", write(text + f"preshared_key: {SHARED}\n"), status=2).err  # fmt: skip


def test_a_vpn_is_made_before_its_peer_is_known_and_told_it_later(customer, tmp_path) -> None:
    apply(customer, str(SITE))
    words = ("--address", "shop", "--port", "5000", "--peer-cidr", "172.29.0.0/24")
    customer("vpn", "create", "cloud", *words, "--allow", "tcp,first_port=22", "--no-wait")
    made = customer.json("vpn", "show", "cloud")
    assert (made["peer_key"], made["allow"][0]["protocol"]) == (None, "tcp")
    (tmp_path / "psk").write_text(f"{SHARED}\n")
    ran = customer(
        *("vpn", "update", "cloud", "--peer-key", KEY, "--peer-endpoint", "198.51.100.9:51820"),
        *("--preshared-key", f"@{tmp_path}/psk", "--no-wait", "--debug"),
    )
    assert SHARED not in ran.out + ran.err
    known = customer.json("vpn", "show", "cloud")
    assert (known["peer_key"], known["preshared"]) == (KEY, True)
    refused = customer("vpn", "update", "cloud", "--preshared-key", SHARED, status=2)
    assert "say @FILE" in refused.err
    assert SHARED not in refused.err
    customer("vpn", "rotate", "cloud", "--no-wait")
    assert customer.json("vpn", "show", "cloud")["public_key"] != made["public_key"]
    customer("vpn", "update", "cloud", "--peer-endpoint", "none", "--no-wait")
    assert customer.json("vpn", "show", "cloud")["peer_endpoint"] is None
    customer("vpn", "delete", "cloud", "--no-wait")
    assert [each["name"] for each in customer.json("vpn", "list")] == ["office"]


def test_a_client_is_told_its_configuration_once(customer, tmp_path, write) -> None:  # noqa: F811
    assert set(apply(customer, str(ACCESS)).values()) == {"created"}
    assert set(apply(customer, str(ACCESS)).values()) == {"unchanged"}
    less = ACCESS.read_text() + "allow: [{protocol: tcp, first_port: 22}]\n"
    assert apply(customer, write(less))["remote-access/staff"] == "changed"
    assert customer.json("remote-access", "show", "staff")["allow"][0]["first_port"] == 22
    made = customer("vpn-client", "create", "laptop", "--access", "staff", "--no-wait", "--debug")
    lines = made.out.splitlines()
    assert lines[1] == "[Interface]"
    (private,) = [line for line in lines if line.startswith("PrivateKey = ")]
    assert private.removeprefix("PrivateKey = ") not in made.err
    assert "told this once" in made.err
    (tmp_path / "key").write_text(f"{KEY}\n")
    words = ("--access", "staff", "--public-key", f"@{tmp_path}/key", "--no-wait")
    customer("vpn-client", "create", "phone", *words)
    assert customer.json("vpn-client", "show", "phone")["public_key"] == KEY
    assert [row["address"] for row in customer.json("vpn-client", "list", "--access", "staff")] == [
        "172.29.0.2",
        "172.29.0.3",
    ]
    customer("vpn-client", "delete", "laptop", "--no-wait")
    assert "phone" in customer("vpn-client", "list").out
    assert customer.json("remote-access", "list")[0]["clients"] == 1
    customer("remote-access", "update", "staff", "--allow", "all", "--no-wait")
    customer("remote-access", "delete", "staff", "--no-wait")
    assert customer.json("vpn-client", "list") == []
