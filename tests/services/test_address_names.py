"""Public addresses may have names: unique in account and zone, free again with the address."""

import pytest
from sqlalchemy.exc import IntegrityError

from arable.domain.errors import Conflict, NotFound, Stale
from arable.services import addresses, networks
from arable.wire.addresses import AddressChange, AddressIn, AddressQuery, AssociateIn
from arable.wire.networks import NetworkIn


def acquire(cloud, caller, name=None, **more):
    return cloud.do(caller, addresses.acquire, AddressIn(name=name, **more))


def test_an_address_has_the_name_that_was_asked_for_and_is_found_by_it(cloud) -> None:
    me = cloud.account("me")
    front, plain = acquire(cloud, me, "front"), acquire(cloud, me)
    assert (front.name, plain.name) == ("front", None)
    (found,) = cloud.do(me, addresses.page, AddressQuery(name="front")).items
    assert found == front


def test_a_name_is_taken_once_in_account_and_zone_and_others_may_have_it_too(cloud) -> None:
    me, you = cloud.account("me"), cloud.account("you")
    acquire(cloud, me, "front")
    error = cloud.refused(me, addresses.acquire, AddressIn(name="front"))
    assert (type(error), error.field) == (Conflict, "name")
    assert acquire(cloud, you, "front").name == "front"
    assert not cloud.do(me, addresses.page, AddressQuery(name="front")).items[1:]


def test_it_is_renamed_and_loses_its_name(cloud) -> None:
    me, you = cloud.account("me"), cloud.account("you")
    mine, other = acquire(cloud, me, "front"), acquire(cloud, me, "back")
    error = cloud.refused(me, addresses.update, other.id, AddressChange(name="front"))
    assert (type(error), error.field) == (Conflict, "name")
    assert type(cloud.refused(you, addresses.update, mine.id, AddressChange(name="x"))) is NotFound
    renamed = cloud.do(me, addresses.update, mine.id, AddressChange(name="shop"))
    assert (renamed.name, renamed.generation) == ("shop", mine.generation + 1)
    assert cloud.do(me, addresses.update, mine.id, AddressChange()) == renamed
    assert cloud.do(me, addresses.update, other.id, AddressChange(name="front")).name == "front"
    assert cloud.do(me, addresses.update, mine.id, AddressChange(name=None)).name is None
    stale = cloud.refused(me, addresses.update, mine.id, AddressChange(name="y"), expects=1)
    assert type(stale) is Stale


def test_the_name_goes_with_the_address_and_is_free_at_once(cloud) -> None:
    me = cloud.account("me")
    mine = acquire(cloud, me, "front")
    network = cloud.do(me, networks.create, NetworkIn(name="a"))
    cloud.do(me, addresses.associate, mine.id, AssociateIn(network=network.id))
    cloud.do(me, addresses.release, mine.id)
    assert acquire(cloud, me, "front").id != mine.id
    assert cloud.rows("select name from address where id = :id", id=mine.id) == [(None,)]


def test_the_database_holds_the_rule_too(cloud) -> None:
    me = cloud.account("me")
    acquire(cloud, me, "front")
    other = acquire(cloud, me, "back")
    with pytest.raises((IntegrityError, Conflict)):
        cloud.run("update address set name = 'front' where id = :id", id=other.id)
