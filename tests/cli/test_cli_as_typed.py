"""What people type, and what they mean by it: options that others of their kind take, and files as they are."""

import base64
import gzip

import pytest

from arable.cli.faults import Misused
from arable.cli.fields import read_packed

SCRIPT = "#!/bin/sh\necho packed\n"


def test_a_packed_file_goes_as_base64_and_another_as_text(tmp_path) -> None:
    plain, packed = tmp_path / "first.sh", tmp_path / "first.sh.gz"
    plain.write_text(SCRIPT)
    packed.write_bytes(gzip.compress(SCRIPT.encode()))
    assert read_packed(str(plain), "--user-data") == SCRIPT
    assert gzip.decompress(base64.b64decode(read_packed(str(packed), "--user-data"))) == SCRIPT.encode()  # fmt: skip
    (tmp_path / "image").write_bytes(b"\xff\xfe\0")
    with pytest.raises(Misused, match="can't be read"):
        read_packed(str(tmp_path / "image"), "--user-data")


def test_what_needs_no_waiting_may_be_waited_for_and_ports_are_a_port(customer) -> None:
    made = customer.json("network", "create", "typed", "--cidr", "10.45.0.0/24", "--wait")
    assert made["name"] == "typed"
    said = ("--network", "typed", "--direction", "out", "--ports", "443", "--no-wait")
    customer("rule", "firewall", *said)
    (rule,) = customer.json("rule", "list", "--network", "typed")
    assert (rule["first_port"], rule["last_port"]) == (443, 443)
