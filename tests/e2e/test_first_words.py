"""What a machine is told first: a key by name and user-data, from its seed and from the metadata service; then a password."""

from collections.abc import Iterator

import crypt_r
import pytest

from arable.wire.machines import PasswordResetIn
from arable.wire.ssh_keys import SshKeyIn
from e2e.customers import READY, Customer
from e2e.patience import until

pytestmark = pytest.mark.real

METADATA = "http://169.254.169.254"
SCRIPT = "#!/bin/sh\necho red-s-secret > /run/from-user-data\n"


@pytest.fixture(scope="module", autouse=True)
def keyed(red: Customer) -> Iterator[str]:
    """The public key of a machine that was deployed with it by name, and with a script."""
    red.hang_up()
    key = red.api.ssh_keys.create(SshKeyIn(name="laptop"))
    red.wait(red.deploy("keyed", ssh_keys=("laptop",), user_data=SCRIPT))
    red.at("keyed").run(READY)
    yield key.public_key
    red.destroy(["keyed"])


def test_key_and_script_come_by_the_seed_and_by_the_metadata_service_and_to_nobody_else(
    red: Customer, blue: Customer, keyed: str
) -> None:
    at, machine = red.at("keyed"), red.machine("keyed")
    assert at.run("cat /root/.ssh/authorized_keys").strip() == keyed
    until(lambda: "secret" in at.run("cat /run/from-user-data"), "the script to have run", 60)
    told = at.run(
        f"for what in instance-id local-hostname local-ipv4 service-offering public-keys; do"
        f" wget -q -O - {METADATA}/latest/meta-data/$what; echo; done"
    ).splitlines()
    assert told == [machine.id, "keyed", machine.nics[0].address, "tiny", keyed]
    assert at.run(f"wget -q -O - {METADATA}/latest/user-data").strip() == SCRIPT.strip()
    for other in (red.at("red-1"), blue.at("left")):
        assert "secret" not in other.run(f"wget -q -O - {METADATA}/latest/user-data")
        assert machine.id not in other.run(f"wget -q -O - {METADATA}/latest/meta-data/instance-id")
    # Nothing else of the host answers there.
    for port in (22, 8080, 7443):
        red.at("red-1").run(f"wget -q -T 3 -O - {METADATA}:{port}/", fails=True)


def test_a_password_is_set_while_the_machine_runs_and_nothing_is_rebooted(red: Customer) -> None:
    up_since = red.at("keyed").run("grep btime /proc/stat")
    told = red.api.machines.reset_password(red.machine("keyed").id, PasswordResetIn())
    red.wait(told.operation)
    assert told.password
    shadow = red.at("keyed").run("grep ^root: /etc/shadow").split(":")[1]
    assert crypt_r.crypt(told.password, shadow) == shadow
    assert red.at("keyed").run("grep btime /proc/stat") == up_since
