"""What machines read of themselves: in the forms that cloud-init asks for, and nothing that was made of others' words."""

import json
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from appliance import make_wishes as make
from arable.appliance.metadata import answer, by_address, documents
from arable.appliance.router import Lease, leases, router
from arable.domain.ids import MachineId
from arable.domain.manifest import Seed
from arable.domain.seed import SeedAsk, facts, renamed, resized, seed, taught

ROUTER = router(make.wish())
ME = MachineId("machine-0mh5z1x2k3q8w7e6r5t4")
KEYS = ("ssh-ed25519 AAAA one", 'ssh-rsa BBBB two "quoted" \\ back')


def lease(told: Seed | None, **but) -> Lease:
    usual = {"mac": "0a:00:00:00:00:01", "address": IPv4Address("10.1.1.10"), "name": "web-1"}
    return Lease(**usual | but, seed=told)


def read(told: Seed, path: str) -> str | None:
    return answer(documents(ROUTER, lease(told)), path)


def test_a_machine_with_an_address_of_its_own_is_told_that_one():
    own = router(make.wish(statics=(make.static(),)))
    told = seed(ME, "web-1", SeedAsk(KEYS, zone="z1", offering="small"))
    other = lease(told, address=IPv4Address("10.1.1.11"))
    for of, public in ((lease(told), "203.0.113.11"), (other, "203.0.113.10")):
        assert answer(documents(own, of), "/latest/meta-data/public-ipv4") == public
    lone = router(make.wish(public=None))
    assert answer(documents(lone, other), "/latest/meta-data/public-ipv4") is None


def test_a_machine_reads_who_it_is_under_every_version():
    told = seed(ME, "web-1", SeedAsk(KEYS, zone="z1", offering="small"))
    assert ROUTER.out is not None
    expected = {
        "instance-id": ME,
        "local-hostname": "web-1",
        "hostname": f"web-1.{ROUTER.domain}",
        "local-ipv4": "10.1.1.10",
        "public-ipv4": str(ROUTER.out.address),
        "availability-zone": "z1",
        "placement/availability-zone": "z1",
        "service-offering": "small",
        "instance-type": "small",
        "cloud-identifier": "arable",
        "public-keys": "\n".join(KEYS),
        "public-keys/": "0=key-0\n1=key-1",
        "public-keys/1/": "openssh-key",
        "public-keys/1/openssh-key": KEYS[1],
    }
    for version in ("latest", "2009-04-04", "1.0"):
        for path, text in expected.items():
            assert read(told, f"/{version}/meta-data/{path}") == text
    assert read(told, "/") == "latest\n2009-04-04\n1.0"
    assert read(told, "/latest") == read(told, "/latest/") == "meta-data/\nuser-data"
    listed = read(told, "/latest/meta-data/").split("\n")
    assert listed == read(told, "/latest/meta-data").split("\n")
    assert {"instance-id", "placement/", "public-keys"} <= set(listed)


def test_what_cloud_init_takes_from_a_seed_is_there_as_it_is_on_the_disk():
    told = seed(ME, "web-1", SeedAsk(KEYS, user_data="#!/bin/sh\necho\n"))
    assert read(told, "/nocloud/meta-data") == told.meta_data
    assert read(told, "/nocloud/user-data") == read(told, "/latest/user-data") == told.user_data
    assert read(told, "/nocloud/vendor-data") == ""


def test_what_is_not_there_is_not_found():
    told = seed(ME, "web-1", SeedAsk())
    for path in ("/latest/meta-data/public-keys", "/elsewhere", "/latest/../x", "/latest/nocloud"):
        assert read(told, path) is None
    assert documents(ROUTER, lease(None)) == {}


def test_each_address_has_documents_of_its_own():
    network = make.wish()
    made = router(network)
    wishes = [
        make.lease(n, seed=told)
        for n, told in (
            (2, seed(ME, "a", SeedAsk())),
            (3, None),
            (4, Seed(meta_data="instance-id: b\n", user_data="")),
        )
    ]
    found = by_address(made, leases(made, wishes))
    assert set(found) == {"10.1.1.2", "10.1.1.4"}
    assert answer(found["10.1.1.4"], "/latest/meta-data/instance-id") == "b"


text = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))


@given(
    keys=st.lists(text.filter(lambda key: bool(key) and key.isprintable()), max_size=3),
    user_data=text,
    hashed=st.booleans(),
)
def test_no_key_and_no_user_data_becomes_another_fact_or_path(keys, user_data, hashed):
    """Whatever is in them comes out where it belongs: the same paths, the same facts, lines that are JSON strings."""
    hash_ = "$6$salt$hash" if hashed and user_data.startswith("#!") else ""
    ask = SeedAsk(tuple(keys), hash_, user_data, "z1", "small")
    told = seed(ME, "web-1", ask)
    plain = seed(ME, "web-1", SeedAsk(("k",) * len(keys), zone="z1", offering="small"))
    assert facts(told).keys == tuple(keys)
    assert facts(told).values == facts(plain).values
    assert documents(ROUTER, lease(told)).keys() == documents(ROUTER, lease(plain)).keys()
    for line in told.meta_data.split("\n"):
        if line.startswith("  - "):
            assert json.loads(line[4:]) in keys
    assert read(told, "/latest/meta-data/instance-id") == ME
    again = taught(resized(renamed(told, "web-2"), "large"), ME, "")
    assert facts(again).keys == tuple(keys)
    assert facts(again).values["local-hostname"] == "web-2"
    assert facts(again).values["service-offering"] == "large"
