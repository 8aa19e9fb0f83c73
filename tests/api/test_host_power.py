"""Hosts' power and health through the API and the commands, on a served cloud."""

import pytest
from sqlalchemy import update

from arable.client import errors
from arable.store import schema as t
from arable.wire.events import AuditQuery
from arable.wire.hosts import BmcIn, PowerIn
from belongings import belongings

PASSWORD = "a-secret-of-the-bmc"


@pytest.fixture
def host(served) -> str:
    """A silent one."""
    made = belongings(served, served.customer("owner")).ids["host"]
    served.operator.hosts.remove_bmc(made)
    return made


def test_a_bmc_is_set_used_and_forgotten_and_its_password_is_nowhere(served, host):
    hosts = served.operator.hosts
    with pytest.raises(errors.Conflict, match="set it first"):
        hosts.power(host, PowerIn(power="off"))
    bmc = BmcIn(url="https://10.9.0.11", user="arable", password=PASSWORD, fingerprint="ab" * 32)
    assert hosts.set_bmc(host, bmc).believed_by == "fingerprint"
    off = hosts.power(host, PowerIn(power="off"))
    assert (off.wanted, off.fencing, off.seen) == ("off", False, None)
    shown = hosts.get(host)
    assert shown.bmc == off
    on = hosts.power(host, PowerIn(power="on"), expects=shown.generation)
    assert on.wanted == "on"
    said = repr(list(served.operator.audit.all(AuditQuery()))) + repr(hosts.get(host))
    assert PASSWORD not in said
    hosts.remove_bmc(host)
    assert hosts.get(host).bmc is None


def test_a_host_is_declared_down_once_and_the_audit_tells_by_whom(served, host):
    hosts = served.operator.hosts
    down = hosts.declare_down(host)
    assert (down.state, hosts.get(host).told) == ("down", "operator said so")
    assert hosts.declare_down(host).generation == down.generation
    found = [each.action for each in served.operator.audit.all(AuditQuery())]
    assert found.count("POST /v1/hosts/{host}/declare-down") == 2


def rows(served, host: str, **columns: object) -> None:
    with served.database.write() as tx:
        tx.execute(update(t.host).where(t.host.c.id == host).values(**columns))


def test_a_host_sleeps_and_wakes_by_hand_if_it_has_nothing_to_do(served, host):
    hosts = served.operator.hosts
    with pytest.raises(errors.Conflict, match="it is silent"):
        hosts.sleep(host)
    with pytest.raises(errors.Conflict, match="does not sleep: it is silent"):
        hosts.wake(host)
    rows(served, host, state="up", roles=("compute",))
    with pytest.raises(errors.Conflict, match="nothing that switches its power is known"):
        hosts.sleep(host)
    hosts.set_bmc(host, BmcIn(url="https://10.9.0.11", user="arable", password=PASSWORD))
    before = hosts.get(host)
    if before.machines:
        rows(served, host, machines=0)
    asleep = hosts.sleep(host)
    assert "being powered down" in asleep.told
    assert asleep.generation == before.generation + 1
    assert hosts.get(host).bmc.wanted == "off"
    assert hosts.sleep(host).generation == asleep.generation, "said once more"
    woken = hosts.wake(host)
    assert woken.told == "it is being woken"
    assert hosts.get(host).bmc.wanted == "on"
    found = [each.action for each in served.operator.audit.all(AuditQuery())]
    assert "POST /v1/hosts/{host}/wake" in found
