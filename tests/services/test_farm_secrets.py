"""Secrets of farms: told to elements on their way to a host, and to nobody else by any other way."""

import json
from dataclasses import replace

import pytest
from make_farm import change, farm_in, prepare
from make_shop import Shop

from arable.domain.errors import NotFound
from arable.domain.ids import FarmId, SecretId
from arable.runtime.ca import Authority
from arable.services import farm_secrets, farms
from arable.services.opened import opened
from arable.wire.farm_secrets import RotateSecretIn, SecretQuery
from arable.wire.machines import NicIn
from everything_kept import everything_kept

SAYS = {"user_data": "#!/bin/sh\necho {{ secret.db }} {{element.number}} {{secret.db}}\n"}


@pytest.fixture
def sealing(lone_cloud, tmp_path):
    around = lone_cloud.around
    authority = Authority.create(tmp_path, around.clock, around.entropy)
    lone_cloud.around = replace(around, authority=authority)
    return lone_cloud


@pytest.fixture
def shop(sealing) -> Shop:
    return Shop(sealing, blueprint=SAYS, secrets=["db"])


def texts(shop: Shop) -> dict[str, str]:
    """What each machine's user-data says when a host is told of it."""
    told = {}
    for name, id_, seed in shop.cloud.rows(
        "select name, machine.id, seed from machine join machine_boot on machine = machine.id"
    ):
        body = json.dumps({"machine": id_, "seed": json.loads(seed)}, separators=(",", ":"))
        wish = json.loads(opened(shop.cloud.around.authority, body))
        assert not wish["seed"].get("secrets")
        told[name] = wish["seed"]["user_data"]
    return told


def secret(shop: Shop) -> farm_secrets.SecretOut:
    (found,) = shop.cloud.do(shop.ann, farm_secrets.page, SecretQuery(farm=shop.farm)).items
    return found


def rotate(shop: Shop, contents: str | None = None) -> farm_secrets.SecretOut:
    ask = RotateSecretIn(contents=contents)
    return shop.cloud.do(shop.ann, farm_secrets.rotate, SecretId(secret(shop).id), ask)


def test_elements_are_told_a_secret_that_stands_nowhere_in_the_store(shop):
    shop.round()
    told = texts(shop)
    first = told["shop-web-1"].split()[2]
    assert len(first) == 40
    assert told["shop-web-1"] == f"#!/bin/sh\necho {first} 1 {first}\n"
    assert told["shop-web-2"] == f"#!/bin/sh\necho {first} 2 {first}\n"
    kept = str(everything_kept(shop.cloud.database, but=()))
    assert "machine_boot" in kept
    assert first not in kept
    assert first not in repr(secret(shop))


def test_another_text_counts_for_elements_made_from_then_on(shop):
    shop.round()
    before = texts(shop)
    assert (secret(shop).number, secret(shop).given) == (1, False)
    made = rotate(shop, 'mine "$(x)" {{farm.name}}')
    assert (made.number, made.given) == (2, True)
    shop.scale(3)
    shop.round()
    after = texts(shop)
    assert {name: after[name] for name in before} == before
    mine = 'mine "$(x)" {{farm.name}}'
    assert after["shop-web-3"] == f"#!/bin/sh\necho {mine} 3 {mine}\n"
    (event,) = shop.cloud.rows("select text from event where kind = 'secret.rotated'")
    assert event == ("shop: the secret db has another text, for elements made from now on",)
    assert rotate(shop).given is False


def test_elements_wait_for_a_secret_that_its_owner_gives(sealing):
    shop = Shop(sealing, blueprint=SAYS, secrets=[{"name": "db", "given": True}])
    shop.round()
    assert shop.states() == ["waiting", "waiting"]
    assert texts(shop) == {}
    ((told,),) = shop.cloud.rows("select told from tier")
    assert told.startswith("the secret db was not given yet")
    rotate(shop, "open sesame")
    assert shop.wanting() == [shop.farm]
    shop.round()
    assert texts(shop)["shop-web-1"] == "#!/bin/sh\necho open sesame 1 open sesame\n"


def test_a_sealed_text_opens_for_its_machine_alone(shop):
    shop.round()
    (one, other) = shop.cloud.rows("select machine, seed from machine_boot")
    stolen = json.loads(other[1]) | {"secrets": json.loads(one[1])["secrets"]}
    body = json.dumps({"machine": other[0], "seed": stolen}, separators=(",", ":"))
    wish = json.loads(opened(shop.cloud.around.authority, body))
    assert "{{secret.db}}" in wish["seed"]["user_data"]
    assert "secrets" not in wish["seed"]


def test_words_in_user_data_of_one_s_own_mean_nothing(shop):
    where = {"farm": "shop", "networks": (NicIn(network="shop-web"),)}
    shop.cloud.deploy(shop.ann, name="mine", user_data="#!/bin/sh\n{{secret.db}}", **where)
    assert texts(shop) == {"mine": "#!/bin/sh\n{{secret.db}}"}


def test_a_document_names_what_its_blueprints_ask_for_and_what_it_drops_goes(sealing):
    ann = prepare(sealing)
    made = sealing.do(ann, farms.create, farm_in(secrets=["db", "key"]))
    assert [(s.sign, s.name, s.about) for s in made.steps if s.what == "secret"] == [
        ("+", "db", "drawn"),
        ("+", "key", "drawn"),
    ]
    farm = FarmId(made.farm.id)
    again = sealing.do(ann, farms.update, farm, change(secrets=["db"]))
    assert [(s.sign, s.name) for s in again.steps if s.what == "secret"] == [
        ("-", "key"),
        ("=", "db"),
    ]
    error = sealing.refused(ann, farms.update, farm, change(secrets=["db", "db"]))
    assert error.field == "secrets.1"


def test_a_secret_that_the_farm_does_not_have_is_refused_at_once(sealing):
    with pytest.raises(Exception, match=r"asks for \{\{secret.db\}\}"):
        Shop(sealing, blueprint=SAYS)


def test_nobody_else_sees_or_changes_them(shop):
    bob = shop.cloud.account("bob")
    id_ = SecretId(secret(shop).id)
    assert shop.cloud.do(bob, farm_secrets.page, SecretQuery()).items == []
    for use_case, *args in ((farm_secrets.get,), (farm_secrets.rotate, RotateSecretIn())):
        assert isinstance(shop.cloud.refused(bob, use_case, id_, *args), NotFound)
