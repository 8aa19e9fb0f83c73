"""A simulated farm from within: what its elements are told, what they ask, and that both end with their machines."""

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from arable.domain.errors import CloudError, NotFound, Unauthenticated
from arable.domain.ids import HostId, NetworkId
from arable.domain.inside import SELF, TIER, TOKEN, GuestAnswer, GuestAsk
from arable.services import inside
from arable.services.call import Call
from arable.services.inside import Place
from arable.sim.acts import rows
from arable.sim.cloud import Cloud
from arable.sim.farm_stories import lay_out
from arable.sim.ground import Room
from arable.wire.inside import InsideTokenIn, OwnTierIn
from everything_kept import everything_kept

CALLS = {TOKEN: (inside.token, InsideTokenIn), TIER: (inside.scale, OwnTierIn), SELF: (inside.own, None)}  # fmt: skip


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    made = Cloud.build("inside", tmp_path, Room(pods=1, hosts=2))
    made.settle_down(2)
    yield made
    made.database.close()


def until(cloud: Cloud, query: str, *wanted: object) -> None:
    for _ in range(60):
        if rows(cloud, query) == list(wanted):
            return
        cloud.settle_down(1)
    raise AssertionError(f"{query}: {rows(cloud, query)}, not {wanted}")


def answered(cloud: Cloud, host: HostId, ask: GuestAsk) -> GuestAnswer:
    """As a server answers a host, without HTTP in between."""
    verb, takes = CALLS[ask.path]
    token = None if ask.path == TOKEN else ask.token

    def within(tx):
        who = inside.caller(tx, cloud.around, Place(host, 1, ask.network, ask.asker), token)
        args = [msgspec.json.decode(ask.body or "{}", type=takes)] if takes else []
        return verb(Call(tx, who, cloud.around), *args)

    try:
        answer = cloud.writer.submit(within).result()
    except CloudError as error:
        status = {NotFound: 404, Unauthenticated: 401}.get(type(error), 400)
        return GuestAnswer(status=status, body=error.public)
    return GuestAnswer(status=200, body=msgspec.json.encode(answer).decode())


def asked(cloud: Cloud, place: tuple[NetworkId, str], path: str, token: str = "", body: str = ""):
    """A machine at that place asks its metadata service."""
    (host,) = rows(cloud, f"select appliance_host from network where id = '{place[0]}'")
    node = cloud.nodes[host]
    node.agent.drivers.appliances.relay(lambda ask: answered(cloud, host, ask))
    how = "GET" if path == SELF else "POST"
    return node.agent.drivers.appliances.asked(*place, how, f"/arable{path}", token, body)


def place_of(cloud: Cloud, number: int) -> tuple[NetworkId, str]:
    where = f"from nic join element on element.machine = nic.machine where number = {number}"
    return rows(cloud, f"select network {where}")[0], rows(cloud, f"select address {where}")[0]


SERVING = "select count(*) from element where state = 'serving'"


def test_an_element_has_more_like_it_made_and_what_it_was_let_do_ends_with_it(cloud):
    first = cloud.ground.callers[0]
    cloud.ask(first, lambda call: lay_out(call, "shop", 1, control=["scale"]))
    until(cloud, SERVING, 1)
    one = place_of(cloud, 1)

    def token(place) -> str:
        return json.loads(asked(cloud, place, TOKEN).body)["token"]

    mine = token(one)
    assert asked(cloud, one, SELF, mine).status == 400  # no right to read
    assert asked(cloud, one, TIER, mine, '{"more": 2}').status == 200
    until(cloud, SERVING, 3)
    third = place_of(cloud, 3)
    theirs = token(third)
    assert asked(cloud, third, TIER, mine, '{"count": 1}').status == 401
    assert asked(cloud, third, TIER, theirs, '{"count": 1}').status == 200
    until(cloud, SERVING, 1)
    until(cloud, "select count(*) from machine", 1)
    assert asked(cloud, third, TIER, theirs, '{"count": 3}').status == 404
    assert asked(cloud, one, TIER, mine, '{"count": 9}').status == 400
    assert rows(cloud, "select count from tier") == [1]


def test_a_secret_is_on_its_hosts_and_nowhere_in_the_store(cloud):
    says = "#!/bin/sh\necho {{secret.db}}"
    first = cloud.ground.callers[0]
    cloud.ask(first, lambda call: lay_out(call, "shop", 1, secrets=("db",), user_data=says))
    until(cloud, SERVING, 1)
    network, address = place_of(cloud, 1)
    guests = [g for n in cloud.nodes.values() for g in n.ledger.held.manifest.guests.values()]
    (text,) = {guest.seed.user_data for guest in guests}
    (host,) = rows(cloud, f"select appliance_host from network where id = '{network}'")
    appliances = cloud.nodes[host].agent.drivers.appliances
    assert appliances.answer(network, address, "/latest/user-data") == text
    secret = text.removeprefix("#!/bin/sh\necho ")
    assert len(secret) == 40
    assert secret not in str(everything_kept(cloud.database, but=()))
    assert not any(secret in repr(node.ledger.held) for node in cloud.nodes.values())
