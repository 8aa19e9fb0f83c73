"""What an operator sees of hosts' health and power, and what they may say of it."""

from dataclasses import replace

import pytest
from make_infra import INVENTORY
from test_hosts import hello

from arable.controllers import removals as rounds
from arable.domain.errors import BadInput, Conflict, Forbidden, NotFound, Stale, Unauthenticated
from arable.domain.ids import HostId
from arable.runtime.sealed import unseal
from arable.services import agents, host_power, hosts, removals
from arable.store import bmcs
from arable.store.nudges import collected
from arable.wire.hosts import BmcIn, HostQuery, JoinTokenIn, PowerIn

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
        (removals.remove_lost,),
        (host_power.set_bmc, BMC),
        (host_power.remove_bmc,),
        (host_power.switch, ON),
    ):
        assert isinstance(lone_infra.refused(use_case, host, *args, by=customer), Forbidden)


def nudged(infra, host: str, **about) -> bool:
    """Whether a host's greeting has its pod look who is to be asked for."""
    told = hello(host, inventory=replace(INVENTORY, **about))
    with infra.cloud.database.write() as tx:
        assert agents.greet(tx, infra.around, "server-1", [(HostId(host), told, 1)]) == [None]
        return "hosts" in collected(tx).topics


def test_a_host_is_looked_after_as_soon_as_it_can_be_asked_and_not_only_some_time_later(infra, pod):
    at = {"peer_address": "10.20.1.77:10807"}
    assert nudged(infra, pod[1], **at)
    assert not nudged(infra, pod[1], **at)
    for state, news in (("silent", False), ("down", True), ("joined", True)):
        infra.cloud.run("update host set state = :s where id = :h", s=state, h=pod[1])
        assert nudged(infra, pod[1], **at) is news


def test_a_host_that_is_removed_as_lost_is_heard_no_more_and_joins_as_another_one(infra, pod):
    lost = HostId(pod[0])
    assert "only one that is down" in infra.refused(removals.remove_lost, lost).public
    infra.ask(hosts.declare_down, lost)
    assert isinstance(infra.refused(removals.remove_lost, lost, expects=99), Stale)
    token = infra.ask(hosts.create_token, JoinTokenIn(host=lost)).token
    shown = infra.ask(removals.remove_lost, lost)
    assert (shown.state, shown.told) == ("down", "operator said that it is gone")
    assert infra.ask(removals.remove_lost, lost).generation == shown.generation
    with infra.cloud.database.write() as tx:
        (refused,) = agents.greet(tx, infra.around, "server-1", [(lost, hello(lost), 1)])
        agents.heard(tx, infra.around, "server-1", [lost], [], {})
    assert isinstance(refused, Unauthenticated)
    assert infra.ask(hosts.get, lost).state == "down"
    with pytest.raises(Conflict, match="being removed"):
        infra.join(token, host=lost)
    with infra.cloud.database.write() as tx:
        assert rounds.attend(tx, infra.around.clock.now()) == 1
    assert isinstance(infra.refused(hosts.get, lost), NotFound)
    told = infra.cloud.rows("select text from event where kind = 'host.removed'")
    assert told == [("h1 was removed, with all that was on it",)]
