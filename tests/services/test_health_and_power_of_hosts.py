"""What an operator sees of hosts' health and power, and what they may say of it."""

import pytest

from arable.domain.errors import BadInput, Conflict, Forbidden, NotFound, Stale
from arable.domain.ids import HostId
from arable.runtime.sealed import unseal
from arable.services import host_power, hosts
from arable.store import bmcs
from arable.wire.hosts import BmcIn, HostQuery, PowerIn

PASSWORD = "a-secret-of-the-bmc"
BMC = BmcIn(url="https://10.9.0.11", user="arable", password=PASSWORD)
ON, OFF = PowerIn(power="on"), PowerIn(power="off")


@pytest.fixture
def pod(infra) -> list[str]:
    """Three hosts; the first one is silent."""
    made = [infra.host(name).host for name in ("h1", "h2", "h3")]
    infra.cloud.run("update host set state = 'up', seen_at = created_at")
    for n, host in enumerate(made):
        infra.cloud.run("update host set peer_address = :a where id = :h", a=f"10.20.1.{n + 5}:10807", h=host)  # fmt: skip
    infra.cloud.run("update host set state = 'silent', told = 'nobody knows' where id = :h", h=made[0])  # fmt: skip
    return made


def test_a_host_is_shown_with_who_sees_it(infra, pod):
    infra.cloud.run(
        "insert into sighting (by, kind, host, since) values (:b, 'lost', :h, 0), (:s, 'leases', :h, 0)",
        b=pod[1], s=pod[2], h=pod[0],
    )  # fmt: skip
    found = infra.ask(hosts.get, HostId(pod[0]))
    assert (found.state, found.told, found.powered_off, found.bmc) == ("silent", "nobody knows", False, None)  # fmt: skip
    said = {(each.name, each.kind, each.sees) for each in found.signals}
    assert said == {
        ("management", "agent", False), ("h2", "peer", False), ("h3", "peer", True), ("h3", "storage", True)
    }  # fmt: skip
    listed = infra.ask(hosts.page, HostQuery(state=("silent",)))
    assert [(each.name, each.told) for each in listed.items] == [("h1", "nobody knows")]


def test_only_a_silent_host_is_said_to_be_down_and_it_is_told_by_whom(infra, pod):
    after = infra.ask(hosts.declare_down, HostId(pod[0]))
    assert (after.state, after.told) == ("down", "operator said so; before: nobody knows")
    assert infra.ask(hosts.declare_down, HostId(pod[0])).state == "down"
    told = infra.cloud.rows("select text from event where kind = 'host.down'")
    assert told == [("h1 is down: operator said so",)]
    error = infra.refused(hosts.declare_down, HostId(pod[1]))
    assert isinstance(error, Conflict)
    assert "put one that works into maintenance" in error.public
    assert isinstance(infra.refused(hosts.declare_down, HostId(pod[0]), expects=99), Stale)


def test_the_password_of_a_bmc_is_kept_encrypted_for_its_host_and_shown_to_nobody(infra, pod):
    shown = infra.ask(host_power.set_bmc, HostId(pod[0]), BMC)
    assert (shown.url, shown.user, shown.believed_by) == (BMC.url, "arable", "system")
    assert PASSWORD not in repr(shown) + repr(infra.ask(hosts.get, HostId(pod[0])))
    assert PASSWORD not in repr(infra.cloud.everything())
    with infra.cloud.database.read() as tx:
        kept = bmcs.find(tx, HostId(pod[0]))
    assert unseal(infra.around.authority, kept.sealed, pod[0]).reveal() == PASSWORD


@pytest.mark.parametrize(
    ("but", "field"),
    [
        ({"url": "https://bmc/redfish/v1/Chassis/1"}, "url"),
        ({"authority": "no certificate"}, "authority"),
        ({"authority": "x", "fingerprint": "00" * 32}, "fingerprint"),
    ],
)
def test_what_is_no_bmc_is_refused_by_name(lone_infra, but, field):
    host = lone_infra.host().host
    ask = BmcIn(**{"url": BMC.url, "user": "arable", "password": PASSWORD} | but)
    error = lone_infra.refused(host_power.set_bmc, HostId(host), ask)
    assert isinstance(error, BadInput)
    assert error.field == field


def test_a_bmc_is_believed_as_it_was_said(lone_infra):
    host = HostId(lone_infra.host().host)
    pem = lone_infra.around.authority.pem
    said = BmcIn(url=BMC.url, user="arable", password=PASSWORD, authority=pem)
    assert lone_infra.ask(host_power.set_bmc, host, said).believed_by == "authority"
    finger = ":".join(["aB"] * 32)
    said = BmcIn(url=BMC.url, user="arable", password=PASSWORD, fingerprint=finger)
    shown = lone_infra.ask(host_power.set_bmc, host, said)
    assert (shown.believed_by, shown.fingerprint) == ("fingerprint", "ab" * 32)


def test_a_host_that_works_is_not_switched_off_before_it_is_empty_and_in_maintenance(infra, pod):
    host = HostId(pod[1])
    assert "nothing that switches" in infra.refused(host_power.switch, host, OFF).public
    infra.ask(host_power.set_bmc, host, BMC)
    assert "maintenance first" in infra.refused(host_power.switch, host, OFF).public
    infra.cloud.run("update host set maintenance = true, machines = 2 where id = :h", h=host)
    assert "2 machines" in infra.refused(host_power.switch, host, OFF).public
    infra.cloud.run("update host set machines = 0 where id = :h", h=host)
    assert infra.ask(host_power.switch, host, OFF).wanted == "off"
    silent = HostId(pod[0])
    infra.ask(host_power.set_bmc, silent, BMC)
    infra.cloud.run("update host set machines = 2 where id = :h", h=silent)
    assert infra.ask(host_power.switch, silent, OFF).wanted == "off"


def test_power_is_given_only_when_nobody_counts_on_its_being_off(infra, pod):
    """A host that came back before its storage has read the fence would take its old leases."""
    host = HostId(pod[0])
    infra.ask(host_power.set_bmc, host, BMC)
    infra.cloud.run("update host set powered_off = true, state = 'down' where id = :h", h=host)
    assert "nobody will" in infra.refused(host_power.remove_bmc, host).public
    acme = infra.cloud.account("acme")
    machine = infra.cloud.deploy(acme).machines[0].id
    infra.cloud.run("update machine set fenced = :h, recovery = 'operation-x' where id = :m", h=host, m=machine)  # fmt: skip
    assert "try again in a minute" in infra.refused(host_power.switch, host, ON).public
    infra.cloud.run("update machine set recovery = null where id = :m", m=machine)
    shown = infra.ask(host_power.switch, host, ON)
    assert (shown.wanted, shown.fencing) == ("on", False)
    assert not infra.ask(hosts.get, host).powered_off
    infra.ask(host_power.remove_bmc, host)
    assert isinstance(infra.refused(host_power.remove_bmc, host), NotFound)


def test_only_those_who_run_the_place_switch_it(lone_infra):
    customer = lone_infra.cloud.account("acme")
    host = HostId(lone_infra.host().host)
    for use_case, *args in (
        (hosts.declare_down,),
        (host_power.set_bmc, BMC),
        (host_power.remove_bmc,),
        (host_power.switch, ON),
    ):
        assert isinstance(lone_infra.refused(use_case, host, *args, by=customer), Forbidden)
