"""Two hundred at once: what is limited, unique or exclusive stays so, and everybody else gets a clear answer.

On SQLite all threads share the one writer, as in one management server; on PostgreSQL four writers stand for four.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from make_cloud import Cloud, make_cloud

from arable.domain.errors import CloudError, Conflict, LimitExceeded, NoRoom
from arable.services import addresses, deployments, networks
from arable.services.call import Call
from arable.services.execution import lost_race
from arable.store.database import Database
from arable.store.writer import Writer
from arable.wire.addresses import AddressIn
from arable.wire.machines import NicIn
from arable.wire.networks import NetworkIn

TRIES = 20


@contextmanager
def writers(database: Database) -> Iterator[list[Writer]]:
    urls = [database.url] if database.is_sqlite else [database.url] * 4
    databases = [database] if database.is_sqlite else [Database(url) for url in urls]
    made = [Writer(each) for each in databases]
    for writer in made:
        writer.start()
    try:
        yield made
    finally:
        for writer in made:
            writer.stop()
        for each in databases:
            if each is not database:
                each.close()


def all_at_once(database: Database, asks: list[Callable[[Writer], Any]]) -> list[Any]:
    """Each ask in a thread of its own; answers or errors. A lost race is run again, as the API does."""

    def run(ask: Callable[[Writer], Any], writer: Writer) -> Any:
        for _ in range(TRIES):
            try:
                return ask(writer).result(120)
            except CloudError as error:
                return error
            except Exception as error:
                if not lost_race(error):
                    raise
        raise AssertionError("lost every race")

    with writers(database) as made, ThreadPoolExecutor(len(asks)) as threads:
        running = [
            threads.submit(run, ask, made[number % len(made)]) for number, ask in enumerate(asks)
        ]
        return [each.result() for each in running]


def kinds(answers: list[Any]) -> Counter[str]:
    return Counter(type(answer).__name__ for answer in answers)


def deploying(cloud: Cloud, caller: Any, **ask: Any) -> Callable[[Writer], Any]:
    asked = cloud.asked(caller, **ask)
    return lambda writer: writer.submit_batch(deployments.deploy_batch, asked)


def doing(cloud: Cloud, caller: Any, use_case: Any, ask: Any) -> Callable[[Writer], Any]:
    return lambda writer: writer.submit(lambda tx: use_case(Call(tx, caller, cloud.around), ask))


@pytest.mark.parametrize("limits", [{"machines": 100}, {"cpus": 100}, {"storage_mib": 102_400}])
def test_two_hundred_deployments_for_a_hundred_places_give_a_hundred_machines(cloud, limits):
    me = cloud.account("me", **limits)
    asks = [deploying(cloud, me, name=f"m{n}") for n in range(200)]
    answers = all_at_once(cloud.database, asks)
    assert kinds(answers) == {"DeployOut": 100, "LimitExceeded": 100}
    refused = [answer for answer in answers if isinstance(answer, LimitExceeded)]
    assert all("limit of" in answer.public for answer in refused)
    assert cloud.used(me)["machines"] == 100
    counts = cloud.rows(
        """select count(*), count(distinct name),
           (select count(distinct "offset") from nic), (select count(distinct mac) from nic),
           (select count(*) from volume), (select count(*) from network),
           (select count(*) from operation), (select count(*) from farm) from machine"""
    )
    assert counts == [(100, 100, 100, 100, 100, 1, 100, 1)]


def test_bulk_deployments_take_all_or_nothing(cloud):
    me = cloud.account("me", machines=100)
    asks = [deploying(cloud, me, name=f"m{n}", count=7) for n in range(40)]
    answers = all_at_once(cloud.database, asks)
    assert kinds(answers) == {"DeployOut": 14, "LimitExceeded": 26}
    assert cloud.used(me)["machines"] == 98
    assert cloud.rows("select count(*) from machine") == [(98,)]


def test_one_name_goes_to_one_machine(cloud):
    me = cloud.account("me")
    answers = all_at_once(
        cloud.database, [deploying(cloud, me, name="web", count=1) for _ in range(60)]
    )
    assert kinds(answers) == {"DeployOut": 1, "Conflict": 59}
    assert cloud.used(me)["machines"] == 1


def test_one_guest_address_goes_to_one_machine(cloud):
    me = cloud.account("me")
    nics = (NicIn(address="10.1.0.77"),)
    asks = [deploying(cloud, me, name=f"m{n}", networks=nics) for n in range(60)]
    answers = all_at_once(cloud.database, asks)
    assert kinds(answers) == {"DeployOut": 1, "Conflict": 59}
    assert cloud.used(me)["machines"] == 1


def test_a_small_network_is_filled_to_the_last_address_and_no_further(database):
    cloud = make_cloud(database, guest_cidr="10.1.1.0/27")
    me = cloud.account("me")
    asks = [deploying(cloud, me, name=f"m{n}") for n in range(60)]
    answers = all_at_once(database, asks)
    assert kinds(answers) == {"DeployOut": 29, "NoRoom": 31}
    assert cloud.rows('select count(distinct address), max("offset"), min("offset") from nic') == [
        (29, 30, 2)
    ]
    assert cloud.used(me)["machines"] == 29


def test_a_zones_vlans_go_to_one_network_each(database):
    cloud = make_cloud(database, vlans=20)
    callers = [cloud.account(f"a{n}") for n in range(50)]
    asks = [doing(cloud, caller, networks.create, NetworkIn(name="net")) for caller in callers]
    answers = all_at_once(database, asks)
    assert kinds(answers) == {"NetworkOut": 20, "NoRoom": 30}
    assert all("VLAN" in answer.public for answer in answers if isinstance(answer, NoRoom))
    rows = cloud.rows("select count(distinct vlan) from network")
    assert rows == cloud.rows("select count(distinct network) from vlan") == [(20,)]
    assert sum(cloud.used(caller).get("networks", 0) for caller in callers) == 20


def test_public_addresses_go_to_one_account_each(cloud):
    callers = [cloud.account(f"a{n}") for n in range(40)]
    asks = [doing(cloud, caller, addresses.acquire, AddressIn()) for caller in callers]
    answers = all_at_once(cloud.database, asks)
    assert kinds(answers) == {"AddressOut": 20, "NoRoom": 20}
    assert len({a.address for a in answers if not isinstance(a, CloudError)}) == 20
    assert sum(cloud.used(caller).get("addresses", 0) for caller in callers) == 20


def test_one_public_address_goes_to_one_account(cloud):
    callers = [cloud.account(f"a{n}") for n in range(40)]
    wanted = AddressIn(address="198.51.100.20")
    asks = [doing(cloud, caller, addresses.acquire, wanted) for caller in callers]
    answers = all_at_once(cloud.database, asks)
    assert kinds(answers) == {"AddressOut": 1, "Conflict": 39}


def test_networks_of_one_account_made_at_once_never_overlap(cloud):
    me = cloud.account("me")
    asks = [
        doing(cloud, me, networks.create, NetworkIn(name=f"n{n}", cidr=f"10.{60 + n % 3}.0.0/16"))
        for n in range(30)
    ]
    answers = all_at_once(cloud.database, asks)
    assert kinds(answers) == {"NetworkOut": 3, "Conflict": 27}
    assert all(type(a) is Conflict for a in answers if isinstance(a, CloudError))
    assert cloud.used(me)["networks"] == 3
