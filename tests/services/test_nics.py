"""Machines' ports: several at deployment, attached and detached later, one of them the way out."""

from collections.abc import Callable
from typing import Any

import pytest
from make_cloud import Cloud
from test_customer_races import all_at_once

from arable.controllers import machines as placer
from arable.domain.errors import BadInput, CloudError, Conflict, LimitExceeded, NotFound
from arable.services import addresses, balancers, machines, networks, nics, rules
from arable.services.call import Call
from arable.services.operations import get as operation
from arable.store import settings
from arable.wire.addresses import AddressIn, AssociateIn
from arable.wire.balancers import BalancerIn, MemberIn
from arable.wire.machines import NicIn
from arable.wire.networks import NetworkChange, NetworkIn
from arable.wire.nics import AttachIn, NicChange, NicQuery
from arable.wire.operations import OperationWaitQuery
from arable.wire.rules import ForwardIn


def attend(cloud: Cloud) -> None:
    with cloud.database.write() as tx:
        placer.attend(tx, cloud.around.clock.now())


def state_of(cloud: Cloud, me, id_: str) -> str:
    return cloud.do(me, operation, id_, OperationWaitQuery()).state


def ports(cloud: Cloud, me) -> list[tuple[str, bool, bool]]:
    """Their addresses; which is the way out, which are leaving."""
    found = cloud.do(me, nics.page, NicQuery()).items
    return [(nic.address, nic.default, nic.leaving) for nic in found]


@pytest.fixture
def stopped(cloud) -> tuple[Cloud, Any, str]:
    """A machine on the default network that never ran, and a second network."""
    me = cloud.account("me")
    cloud.do(me, networks.create, NetworkIn(name="back", cidr="192.168.7.0/29"))
    made = cloud.deploy(me, start=False).machines[0].id
    return cloud, me, made


# --- when a machine is deployed


def test_a_machine_has_a_port_on_each_network_and_one_way_out(cloud):
    me = cloud.account("me")
    for name, third in (("front", 1), ("back", 2)):
        cloud.do(me, networks.create, NetworkIn(name=name, cidr=f"192.168.{third}.0/24"))
    asked = (NicIn(network="front"), NicIn(network="back", address="192.168.2.9", default=True))
    made = cloud.deploy(me, networks=asked, start=False).machines[0].id
    cloud.deploy(me, name="many", count=2, networks=(NicIn(network="back"), NicIn(network="front")))
    found = cloud.do(me, machines.get, made).nics
    assert [(nic.address, nic.default, nic.position) for nic in found] == [
        ("192.168.1.2", False, 0),
        ("192.168.2.9", True, 1),
    ]
    assert cloud.rows("select count(*) from nic where is_default and position = 0") == [(2,)]


@pytest.mark.parametrize(
    ("asked", "error", "field"),
    [
        (
            (NicIn(default=True), NicIn(network="back", default=True)),
            BadInput,
            "networks.1.default",
        ),
        ((NicIn(network="back"), NicIn(network="back")), BadInput, "networks"),
        ((NicIn(), NicIn(network="back", address="192.168.7.1")), BadInput, "networks.1.address"),
        ((NicIn(network="back", address="192.168.7.0"),), BadInput, "networks.0.address"),
        ((NicIn(network="back", address="192.168.7.7"),), BadInput, "networks.0.address"),
        ((NicIn(network="back", address="192.168.8.2"),), BadInput, "networks.0.address"),
    ],
)
def test_ports_that_can_not_be_are_refused_by_name(stopped, asked, error, field):
    cloud, me, _machine = stopped
    refused = cloud.refused(me, _deploy(asked))
    assert (type(refused), refused.field) == (error, field)


def _deploy(asked: tuple[NicIn, ...]) -> Callable[[Call], Any]:
    from make_cloud import deploy_in

    from arable.services import deployments

    return lambda call: deployments.deploy(call, deploy_in(name="b", networks=asked), None)


def test_whose_an_address_is_is_told_to_who_may_know(stopped):
    cloud, me, _machine = stopped
    asked = (NicIn(network="back", address="192.168.7.3"),)
    cloud.deploy(me, name="first", networks=asked, start=False)
    refused = cloud.refused(me, _deploy((NicIn(), *asked)))
    assert (type(refused), refused.field) == (Conflict, "networks.1.address")
    assert "by first" in refused.public


# --- later


def test_a_port_is_attached_to_a_machine_that_is_off_and_detached_again(stopped):
    cloud, me, machine = stopped
    made = cloud.do(me, nics.attach, AttachIn(machine=machine, network="back"))
    assert (made.nic.address, made.nic.default, made.nic.position) == ("192.168.7.2", False, 1)
    error = cloud.refused(me, nics.detach, made.nic.id)
    assert type(error) is Conflict, "one at a time"
    attend(cloud)
    assert state_of(cloud, me, made.operation) == "done"
    asked = cloud.do(me, nics.detach, made.nic.id)
    assert cloud.do(me, nics.get, made.nic.id).leaving
    taken = AttachIn(machine=machine, network="back", address="192.168.7.2")
    assert type(cloud.refused(me, nics.attach, taken)) is Conflict
    attend(cloud)
    assert state_of(cloud, me, asked.id) == "done"
    assert type(cloud.refused(me, nics.get, made.nic.id)) is NotFound
    assert cloud.do(me, nics.attach, taken).nic.address == "192.168.7.2"


def test_the_way_out_is_by_one_port_and_stays(stopped):
    cloud, me, machine = stopped
    first = cloud.do(me, machines.get, machine).nics[0]
    made = cloud.do(me, nics.attach, AttachIn(machine=machine, network="back", default=True)).nic
    attend(cloud)
    assert made.default
    assert not cloud.do(me, nics.get, first.id).default
    assert type(cloud.refused(me, nics.detach, made.id)) is Conflict
    refused = cloud.refused(me, nics.update, made.id, NicChange(default=False))
    assert (type(refused), refused.field) == (BadInput, "default")
    cloud.do(me, nics.update, first.id, NicChange(default=True))
    attend(cloud)
    cloud.do(me, nics.detach, made.id)
    attend(cloud)
    assert ports(cloud, me) == [(first.address, True, False)]


def test_another_address_is_one_of_the_network_that_is_free(stopped):
    cloud, me, machine = stopped
    made = cloud.do(me, nics.attach, AttachIn(machine=machine, network="back")).nic
    attend(cloud)
    for address, error in (("192.168.7.1", BadInput), ("192.168.7.9", BadInput)):
        refused = cloud.refused(me, nics.update, made.id, NicChange(address=address))
        assert (type(refused), refused.field) == (error, "address")
    cloud.deploy(me, name="b", networks=(NicIn(network="back", address="192.168.7.4"),))
    refused = cloud.refused(me, nics.update, made.id, NicChange(address="192.168.7.4"))
    assert (type(refused), refused.field) == (Conflict, "address")
    cloud.run("update network set attention = false")
    cloud.do(me, nics.update, made.id, NicChange(address="192.168.7.5"))
    told = cloud.rows("select name from network where attention")
    assert told == [("back",)], "what leads to the machine leads to its new address"
    assert cloud.do(me, nics.get, made.id).address == "192.168.7.5"


def test_a_port_to_which_rules_lead_stays(stopped):
    cloud, me, machine = stopped
    made = cloud.do(me, nics.attach, AttachIn(machine=machine, network="back")).nic
    attend(cloud)
    address = cloud.do(me, addresses.acquire, AddressIn())
    cloud.do(me, addresses.associate, address.id, AssociateIn(network="back"))
    rule = cloud.do(
        me, rules.forward, ForwardIn(address=address.id, machine=machine, first_port=80)
    ).rule
    refused = cloud.refused(me, nics.detach, made.id)
    assert (type(refused), refused.why) == (Conflict, {"rules": [rule.id]})
    cloud.do(me, rules.delete, rule.id)
    cloud.do(me, nics.detach, made.id)
    again = ForwardIn(address=address.id, machine=machine, first_port=80)
    assert type(cloud.refused(me, rules.forward, again)) is BadInput, "it is about to go"


def test_a_port_that_a_balancer_leads_to_stays(stopped):
    cloud, me, machine = stopped
    made = cloud.do(me, nics.attach, AttachIn(machine=machine, network="back")).nic
    attend(cloud)
    address = cloud.do(me, addresses.acquire, AddressIn())
    cloud.do(me, addresses.associate, address.id, AssociateIn(network="back"))
    ask = BalancerIn(name="web", address=address.id, port=80)
    balancer = cloud.do(me, balancers.create, ask).balancer.id
    cloud.do(me, balancers.add_member, balancer, MemberIn(machine=machine, port=80))
    refused = cloud.refused(me, nics.detach, made.id)
    assert (type(refused), refused.why) == (Conflict, {"balancers": [balancer]})


def test_strangers_and_their_networks_are_not_there(stopped):
    cloud, me, machine = stopped
    you = cloud.account("you")
    cloud.do(you, networks.create, NetworkIn(name="yours", cidr="192.168.7.0/24"))
    own = cloud.do(me, machines.get, machine).nics[0].id
    for ask in (nics.get, nics.detach):
        assert type(cloud.refused(you, ask, own)) is NotFound
    asks = (AttachIn(machine=machine, network="yours"), AttachIn(machine=machine, network="none"))
    refusals = [cloud.refused(me, nics.attach, ask) for ask in asks]
    assert {(type(each), each.public) for each in refusals} == {
        (NotFound, "there is no such network")
    }
    assert cloud.do(you, nics.page, NicQuery()).items == []


def test_many_who_attach_at_once_stay_within_the_limit(cloud):
    me = cloud.account("me")
    names = [f"n{number}" for number in range(8)]
    for at, name in enumerate(names):
        cloud.do(me, networks.create, NetworkIn(name=name, cidr=f"192.168.{at}.0/24"))
    with cloud.database.write() as tx:
        settings.put(tx, {"machine_nics": 4})
    machine = cloud.deploy(me, networks=(NicIn(network="n0"),), start=False).machines[0].id

    def attach(tx, name: str) -> Any:
        call = Call(tx, me, cloud.around)
        tx.exec_driver_sql("update machine set operation = null")  # as if each had been done
        return nics.attach(call, AttachIn(machine=machine, network=name))

    asks = [lambda w, name=name: w.submit(lambda tx: attach(tx, name)) for name in names[1:]]
    answers = all_at_once(cloud.database, asks)
    refused = [each for each in answers if isinstance(each, CloudError)]
    assert len(refused) == 4
    assert {type(each) for each in refused} <= {LimitExceeded}
    assert cloud.rows("select count(*), count(distinct position) from nic") == [(4, 4)]


# --- networks


def test_a_network_has_a_domain_and_resolvers_of_its_own(cloud):
    me = cloud.account("me")
    made = cloud.do(
        me, networks.create, NetworkIn(name="a", dns_domain="a.test", resolvers=("9.9.9.9",))
    )
    assert (made.dns_domain, made.resolvers, made.isolated) == ("a.test", ("9.9.9.9",), False)
    changed = cloud.do(
        me, networks.update, made.id, NetworkChange(dns_domain="b.test", resolvers=None)
    )
    assert (changed.dns_domain, changed.resolvers) == ("b.test", None)
    assert changed.generation == made.generation + 1
    refused = cloud.refused(me, networks.update, made.id, NetworkChange(resolvers=("x",)))
    assert (type(refused), refused.field) == (BadInput, "resolvers.0")


def test_an_isolated_network_has_no_way_out_and_gets_none(cloud):
    me = cloud.account("me")
    made = cloud.do(me, networks.create, NetworkIn(name="data", isolated=True))
    assert (made.isolated, made.source_nat, made.notice) == (True, None, "")
    assert cloud.used(me) == {"networks": 1}
    address = cloud.do(me, addresses.acquire, AddressIn())
    refused = cloud.refused(me, addresses.associate, address.id, AssociateIn(network="data"))
    assert (type(refused), refused.field) == (Conflict, "network")
    told = NetworkIn(name="b", cidr="10.77.0.0/24", isolated=True, resolvers=("9.9.9.9",))
    refused = cloud.refused(me, networks.create, told)
    assert (type(refused), refused.field) == (BadInput, "resolvers")
