"""What operators say of hosts' power and death at a terminal."""

import pytest

from belongings import belongings
from cli.command_line import Arable
from serving import Served

PASSWORD = "a-secret-of-the-bmc"


@pytest.fixture
def host(served: Served) -> str:
    """A silent one, by name."""
    belongings(served, served.customer("owner"))
    return "h1"


def test_a_host_is_given_a_bmc_by_a_file_with_its_password(operator: Arable, host, tmp_path):
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    said = ("--redfish", "https://10.9.0.11", "--user", "arable", "--password-file", str(file))
    shown = operator("host", "power", host, *said, "--fingerprint", "AB" * 32)
    assert "10.9.0.11" in shown.out
    debugged = operator("--debug", "host", "power", host, *said)
    assert PASSWORD not in shown.out + debugged.out + debugged.err
    known = operator.json("host", "power", host)
    assert (known["user"], known["believed_by"], known["wanted"]) == ("arable", "system", None)
    assert operator.json("host", "power", host, "--off")["wanted"] == "off"
    operator("host", "power", host, "--forget")
    assert operator.json("host", "power", host) == {"driver": "none"}


@pytest.mark.parametrize(
    "words",
    [
        ("--on", "--off"),
        ("--user", "arable"),
        ("--redfish", "https://10.9.0.11"),
        ("--redfish", "https://10.9.0.11", "--user", "arable"),
        ("--redfish", "https://10.9.0.11", "--user", "arable", "--password-file", "/nowhere"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_said(operator: Arable, host, words):
    assert operator("host", "power", host, *words, status=2).err


def test_a_host_is_declared_down_only_by_who_confirms_it(operator: Arable, host):
    refused = operator("host", "declare-down", host, status=2)
    assert "--yes" in refused.err
    assert operator.json("host", "show", host)["state"] == "silent"
    operator("host", "declare-down", host, "--dry-run")
    assert operator.json("host", "show", host)["state"] == "silent"
    assert "down" in operator("host", "declare-down", host, "--yes").out
    shown = operator.json("host", "show", host)
    assert (shown["state"], shown["told"]) == ("down", "operator said so")
    assert shown["signals"][0] == {
        "by": "management", "name": "management", "kind": "agent", "sees": False, "since": None
    }  # fmt: skip
    assert host in operator("host", "list", "--state", "down").out
