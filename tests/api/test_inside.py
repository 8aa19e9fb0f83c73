"""Programs inside farms ask as their element: by their place and a token, for little, and no longer than they live."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec
import pytest
from sqlalchemy import text

from arable.api.inside import AT_ONCE, Inside
from arable.api.routes import OPERATIONS
from arable.api.routes.inside import INSIDE
from arable.domain.errors import CloudError
from arable.domain.ids import HostId, NetworkId
from arable.domain.inside import CALLS, GuestAnswer, GuestAsk
from arable.wire.blueprints import BlueprintIn
from arable.wire.events import AuditQuery, EventQuery
from arable.wire.farms import FarmIn
from arable.wire.offerings import DiskOfferingIn
from databases import fresh_sqlite
from make_hall import Hall, make_hall
from serving import Served, serving

BLUEPRINT = {
    "name": "web",
    "image": "tiny",
    "offering": "small",
    "control": True,
    "disks": [{"name": "data", "offering": "any", "mib": 64}],
}
FARM = {
    "name": "shop",
    "networks": [{"name": "net"}],
    "tiers": [
        {"name": "web", "blueprint": "web", "networks": ["net"], "least": 1, "most": 3},
        {"name": "mute", "blueprint": "mute", "networks": ["net"]},
    ],
}


@dataclass
class Scene:
    """A farm whose machines run, and their places."""

    served: Served
    hall: Hall
    customer: object
    inside: Inside

    def place(self, name: str) -> tuple[HostId, NetworkId, str]:
        ((host, network, address),) = self.rows(
            "select appliance_host, network.id, nic.address from nic"
            " join network on network.id = nic.network join machine on machine.id = nic.machine"
            f" where machine.name = '{name}'"
        )
        return host, network, address

    def rows(self, query: str) -> list:
        with self.served.database.read() as tx:
            return [tuple(row) for row in tx.execute(text(query))]

    def ask(self, name: str, path: str, token: str = "", host: str = "", **body) -> GuestAnswer:
        router, network, address = self.place(name)
        return self.at(HostId(host or router), network, address, path, token, **body)

    def at(self, host, network, address, path, token="", **body) -> GuestAnswer:
        ask = GuestAsk(
            network=network,
            asker=address,
            method="GET" if path == "/v1/self" else "POST",
            path=path,
            token=token,
            body=json.dumps(body) if path != "/v1/self" else "",
        )
        loop = self.served.server._loop
        going = asyncio.run_coroutine_threadsafe(self.inside.answer(host, 1, ask), loop)
        return going.result(20)

    def token(self, name: str, **body) -> str:
        return json.loads(self.ask(name, "/v1/token", **body).body)["token"]


@pytest.fixture
def scene(laid_out) -> Scene:
    """With nobody's calls counted yet."""
    served = laid_out.served
    return replace(laid_out, inside=Inside(served.server.inside, served.around.clock))


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("inside")
    with (
        fresh_sqlite(directory) as database,
        serving(database, directory, inside=INSIDE) as served,
    ):
        hall = make_hall(served)
        served.operator.disk_offerings.create(DiskOfferingIn(name="any"))
        customer = served.customer("shopkeeper")
        for but in ({}, {"name": "mute", "control": False, "disks": []}):
            customer.blueprints.create(msgspec.convert(BLUEPRINT | but, BlueprintIn))
        made = customer.farms.create(msgspec.convert(FARM, FarmIn))
        hall.until(lambda: customer.operations.get(made.operation).state == "done")
        yield Scene(served, hall, customer, Inside(served.server.inside, served.around.clock))


def refusal(answer: GuestAnswer) -> tuple[int, str]:
    return answer.status, json.loads(answer.body)["type"].rpartition(":")[2]


def test_only_what_is_in_the_list_is_handed_on():
    assert {(op.method, op.path) for op in INSIDE} == CALLS
    assert not CALLS & {(op.method, op.path) for op in OPERATIONS}


def test_a_program_learns_who_it_is(scene):
    told = json.loads(scene.ask("shop-web-1", "/v1/self", scene.token("shop-web-1")).body)
    assert {name: told[name] for name in ("name", "farm", "tier", "least", "most", "disks")} == {
        "name": "shop-web-1",
        "farm": "shop",
        "tier": "web",
        "least": 1,
        "most": 3,
        "disks": [{"name": "data", "mib": 64}],
    }
    assert told["rights"] == ["read", "scale", "grow"]
    assert {each["name"]: each["serving"] for each in told["tiers"]} == {"web": 1, "mute": 1}


def test_nobody_asks_whose_blueprint_does_not_say_so(scene):
    answer = scene.ask("shop-mute-1", "/v1/token")
    assert refusal(answer) == (404, "not-found")
    assert "gives it no `control`" in answer.body


def test_a_token_is_of_its_own_machine_at_its_own_place_alone(scene):
    token = scene.token("shop-web-1")
    assert scene.ask("shop-web-1", "/v1/self", token).status == 200
    assert scene.ask("shop-mute-1", "/v1/self", token).status == 404
    assert refusal(scene.ask("shop-web-1", "/v1/self")) == (401, "unauthenticated")
    other = token[:-1] + ("1" if token.endswith("0") else "0")
    for wrong in (other, "ae_x.y", f"ak_{'0' * 20}_{'0' * 40}", token + "x"):
        assert refusal(scene.ask("shop-web-1", "/v1/self", wrong)) == (401, "unauthenticated")
    others = next(h for h in scene.hall.cloud.nodes if h != scene.place("shop-web-1")[0])
    assert scene.ask("shop-web-1", "/v1/self", token, host=others).status == 404
    assert scene.ask("shop-web-1", "/v1/self", token, host="host-nobody").status == 403
    with scene.served.http(token) as http:  # the public API does not know such tokens
        assert http.get("/v1/self").status_code == 404
        for path in ("/v1/tiers", "/v1/farms", "/v1/keys", "/v1/operations"):
            assert http.get(path).status_code == 401
    with scene.served.http(scene.served.token(scene.customer)) as http:
        assert http.get("/v1/self").status_code == 404


def test_a_narrower_token_does_less(scene):
    token = scene.token("shop-web-1", rights=["read"])
    assert scene.ask("shop-web-1", "/v1/self", token).status == 200
    for path, body in (
        ("/v1/self/tier", {"count": 2}),
        ("/v1/self/disk", {"disk": "data", "mib": 65}),
    ):
        assert refusal(scene.ask("shop-web-1", path, token, **body)) == (403, "forbidden")


def test_a_disk_grows_within_the_account_s_limits(scene):
    token = scene.token("shop-web-1")
    assert scene.ask("shop-web-1", "/v1/self/disk", token, disk="data", mib=128).status == 202
    scene.hall.until(lambda: scene.rows("select mib from volume where position = 1") == [(128,)])
    assert scene.ask("shop-web-1", "/v1/self/disk", token, disk="root", mib=128).status == 404
    much = scene.ask("shop-web-1", "/v1/self/disk", token, disk="data", mib=1 << 26)
    assert much.status in (409, 507), much.body


def test_a_program_has_more_and_fewer_elements_and_dies_with_its_own(scene):
    query = (
        "select count(*) from element join tier on tier.id = tier"
        " where name = 'web' and state = 'serving'"
    )

    def serving(count: int) -> None:
        scene.hall.until(lambda: scene.rows(query) == [(count,)])

    token = scene.token("shop-web-1")
    more = scene.ask("shop-web-1", "/v1/self/tier", token, more=1)
    assert (more.status, json.loads(more.body)["count"]) == (202, 2)
    serving(2)
    for body in ({"count": 4}, {"more": 2}, {"count": 0}, {}, {"count": 2, "more": 0}, {"most": 9}):
        assert scene.ask("shop-web-1", "/v1/self/tier", token, **body).status == 400
    audit = scene.served.operator.audit.page(AuditQuery(limit=200)).items
    asked = [one for one in audit if one.action == "POST /v1/self/tier" and one.outcome == "ok"]
    (element,) = {one.user for one in asked}
    ((machine,),) = scene.rows("select id from machine where name = 'shop-web-1'")
    assert element.startswith("element-")
    assert {(one.via, one.account) for one in asked} == {
        (machine, scene.served.accounts["shopkeeper"])
    }
    told = [one.text for one in scene.customer.events.all(EventQuery(kind="element.asked"))]
    assert "shop-web-1: asked for 2 elements of web" in told

    place, second = scene.place("shop-web-2"), scene.token("shop-web-2")
    assert scene.at(*place, "/v1/self", second).status == 200
    assert scene.ask("shop-web-1", "/v1/self/tier", token, count=1).status == 202
    serving(1)
    scene.hall.until(lambda: scene.rows("select 1 from machine where name = 'shop-web-2'") == [])
    assert scene.at(*place, "/v1/self", second).status == 404
    with scene.served.database.write() as tx:
        tx.execute(text("update machine set wish = 'stopped' where name = 'shop-web-1'"))
    assert scene.ask("shop-web-1", "/v1/self", token).status == 404


def test_a_machine_that_asks_all_the_time_is_told_to_wait(scene):
    place = (HostId("host-x"), NetworkId("network-x"), "10.0.0.9")
    said = [scene.at(*place, "/v1/token").status for _ in range(AT_ONCE)]
    assert set(said) == {403}
    with pytest.raises(CloudError) as error:
        scene.at(*place, "/v1/token")
    assert error.value.why == {"retry_after": 1}
