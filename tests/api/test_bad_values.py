"""Well-formed requests for what can't be: each is a 4xx that names the field, over real HTTP, and nothing changes."""

import hashlib
import socket
import struct

import pytest

from serving import wait_until

pytestmark = pytest.mark.usefixtures("unharmed")

MIB = 1 << 20
QCOW2 = struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 0, 0, 16, 1 << 30)


@pytest.fixture
def owner(cloud, things):
    """Of the things."""
    return next(
        client for client in cloud.clients.values() if client.users.whoami().name == "owner"
    )


@pytest.fixture(scope="module")
def other(cloud):
    return cloud.customer("other")


@pytest.fixture
def post(cloud, owner):
    def say(path, body=None, *, by=owner, content=None, **headers):
        with cloud.http(cloud.token(by)) as http:
            if content is not None:
                kind = {"content-type": "application/octet-stream"}
                return http.post(path, content=content, headers=kind | headers)
            return http.post(path, json=body, headers=headers)

    return say


def refused(answer, status, field=None):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["detail"]
    assert [error["field"] for error in told["errors"]] == ([field] if field else [])
    return told["detail"]


NO_SUBNETS = [
    "10.2.0.0",
    "10.2.0.0/",
    "10.2.0.0/33",
    "10.2.0.0/-1",
    "10.2.0.1/24",  # host bits
    "10.2.0/24",
    "10.2.0.256/24",
    "010.2.0.0/24",
    "0x0a.2.0.0/24",
    "10.2.0.0/24 ",
    "10.2.0.0/24\n",
    "10.2.0.0/255.255.255.0",
    "fd00::/64",
    "ten/24",
    "",
]


@pytest.mark.parametrize(
    "cidr",
    [
        *NO_SUBNETS,
        "10.0.0.0/8",  # too wide
        "10.2.0.0/15",
        "10.2.0.0/30",  # too narrow
        "10.2.0.0/31",
        "10.2.0.0/32",
        "0.0.0.0/0",
        "8.8.8.0/24",  # not private
        "127.0.0.0/24",
        "169.254.0.0/24",
        "224.0.0.0/24",
        "172.15.0.0/16",
    ],
)
def test_a_network_has_a_private_subnet_or_none(post, cidr):
    refused(post("/v1/networks", {"name": "back", "cidr": cidr}), 400, "cidr")


@pytest.mark.parametrize("cidr", ["10.1.1.0/24", "10.1.1.0/25", "10.1.1.128/29", "10.1.0.0/16"])
def test_networks_of_an_account_do_not_overlap(post, cidr):
    told = refused(post("/v1/networks", {"name": "back", "cidr": cidr}), 409, "cidr")
    assert "10.1.1.0/24" in told


@pytest.mark.parametrize("cidr", NO_SUBNETS)
def test_pods_ranges_and_zones_have_subnets(cloud, post, cidr):
    by = cloud.operator
    refused(post("/v1/pods", {"zone": "east", "name": "b", "cidr": cidr}, by=by), 400, "cidr")
    range_ = {"zone": "east", "gateway": "198.51.100.1", "first": "198.51.100.2"}
    range_ |= {"last": "198.51.100.9", "cidr": cidr, "vlan": 901}
    refused(post("/v1/public-ranges", range_, by=by), 400, "cidr")
    zone = {"name": "west", "vlans": {"first": 2, "last": 3}, "guest_cidr": cidr}
    refused(post("/v1/zones", zone, by=by), 400, "guest_cidr")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"first": "198.51.100.9", "last": "198.51.100.2"}, "last"),
        ({"first": "198.51.100.0"}, "first"),
        ({"last": "198.51.100.255"}, "last"),
        ({"first": "203.0.113.2"}, "first"),
        ({"gateway": "203.0.113.1"}, "gateway"),
        ({"gateway": "198.51.100.5"}, "gateway"),
        ({"first": "198.51.100.1000"}, "first"),
        ({"zone": "atlantis"}, "zone"),
        ({"vlan": 4095}, "vlan"),
        ({"vlan": 1}, "vlan"),  # untagged: the hosts' management
        ({"cidr": "198.51.100.0/31"}, "cidr"),
    ],
    ids=str,
)
def test_a_public_range_makes_sense(cloud, post, change, field):
    good = {"zone": "east", "cidr": "198.51.100.0/24", "gateway": "198.51.100.1"}
    good |= {"first": "198.51.100.2", "last": "198.51.100.9", "vlan": 901}
    refused(post("/v1/public-ranges", good | change, by=cloud.operator), 400, field)


@pytest.mark.parametrize(
    ("vlans", "field"),
    [
        ({"first": 200, "last": 199}, "vlans"),  # empty
        ({"first": 4094, "last": 2}, "vlans"),
        ({"first": 0, "last": 9}, "vlans.first"),
        ({"first": 1, "last": 9}, "vlans.first"),
        ({"first": 2, "last": 4095}, "vlans.last"),
        ({"first": 2}, "vlans.last"),
        ({}, "vlans.first"),
        (None, "vlans"),
        ([], "vlans"),
    ],
    ids=str,
)
def test_a_zone_has_vlans(cloud, post, things, vlans, field):
    refused(post("/v1/zones", {"name": "west", "vlans": vlans}, by=cloud.operator), 400, field)
    if vlans:
        path = f"/v1/zones/{things.ids['zone']}/vlans"
        more = refused_field(post(path, vlans, by=cloud.operator))
        assert more in (field.removeprefix("vlans."), "first")


def refused_field(answer):
    assert answer.status_code == 400, answer.text
    return answer.json()["errors"][0]["field"]


def test_a_zone_has_each_vlan_once(cloud, post, things):
    path = f"/v1/zones/{things.ids['zone']}/vlans"
    refused(post(path, {"first": 90, "last": 101}, by=cloud.operator), 409, "first")


def test_a_body_without_vlans_is_refused(cloud, post):
    refused(post("/v1/zones", {"name": "west"}, by=cloud.operator), 400, "vlans")


def deploy(**more):
    return {"name": "web-9", "offering": "small", "image": "tiny"} | more


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"user_data": "#" * (16 * 1024 + 1)}, "user_data"),
        ({"user_data": "é" * (8 * 1024 + 1)}, "user_data"),  # counted in bytes
        ({"user_data": "a\0b"}, "user_data"),
        ({"ssh_keys": ["ssh-rsa nonsense"]}, "ssh_keys.0"),
        ({"ssh_keys": ["ssh-ed25519 " + "A" * 68 + " me\nssh-rsa B"]}, "ssh_keys.0"),
        ({"ssh_keys": ["ssh-ed25519 " + "A" * 68] * 33}, "ssh_keys"),
        ({"count": 0}, "count"),
        ({"count": 1001}, "count"),
        ({"count": 2, "networks": [{"address": "10.1.1.9"}]}, None),
        ({"networks": [{}] * 9}, "networks"),
        ({"networks": [{"address": "10.1.1.1"}]}, None),
        ({"networks": [{"address": "10.1.2.9"}]}, None),
        ({"networks": [{"address": "10.1.1.255"}]}, None),
        ({"strategy": "random"}, "strategy"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_machine_that_can_not_be_is_not_deployed(post, change, field):
    answer = post("/v1/machines", deploy(**change))
    assert answer.status_code == 400, answer.text
    (error,) = answer.json()["errors"]
    assert error["field"].startswith(field or next(reversed(change)))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"offering": "huge"}, "offering"),
        ({"offering": "offering-1"}, "offering"),
        ({"image": "absent"}, "image"),
        ({"version": 7}, "version"),
        ({"zone": "atlantis"}, "zone"),
        ({"group": "nobody"}, "group"),
        ({"farm": "nobody"}, "farm"),
        ({"networks": [{"network": "nothing"}]}, "networks.0.network"),
        ({"disks": [{"offering": "nothing"}]}, "disks.0.offering"),
    ],
    ids=str,
)
def test_a_machine_is_not_made_of_what_is_not_there(post, change, field):
    refused(post("/v1/machines", deploy(**change)), 404, field)


def test_a_name_that_is_taken_is_a_conflict(post):
    refused(post("/v1/machines", deploy(name="web")), 409, "name")
    refused(post("/v1/networks", {"name": "default", "cidr": "10.9.0.0/24"}), 409, "name")


def upload(image, **query):
    said = "&".join(f"{key}={value}" for key, value in query.items())
    return f"/v1/images/{image}/versions?{said}"


def test_an_image_with_a_wrong_checksum_is_not_kept(post, things):
    path = upload(things.ids["image"], format="raw", sha256=hashlib.sha256(b"x").hexdigest())
    told = refused(post(path, content=b"a" * MIB), 400, "sha256")
    assert hashlib.sha256(b"a" * MIB).hexdigest() in told


@pytest.mark.parametrize(
    ("query", "content", "field"),
    [
        ({"format": "raw"}, b"", "format"),
        ({"format": "raw"}, b"a" * 511, "format"),
        ({"format": "qcow2"}, b"a" * MIB, "format"),
        ({"format": "qcow2"}, QCOW2, "format"),  # cut off in its header
        ({"format": "blob"}, b"a" * MIB, "format"),
        ({"format": "vmdk"}, b"a" * MIB, "format"),
        ({"format": "raw", "role": "kernel"}, b"a" * MIB, "role"),
        ({"format": "raw", "sha256": "A" * 64}, b"a" * MIB, "sha256"),
        ({"format": "raw", "sha256": "../../etc/passwd"}, b"a" * MIB, "sha256"),
        ({}, b"a" * MIB, "format"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_file_that_is_no_image_is_not_kept(post, things, query, content, field):
    refused(post(upload(things.ids["image"], **query), content=content), 400, field)


@pytest.mark.parametrize("chunked", [False, True], ids=["by length", "in chunks"])
def test_an_upload_that_breaks_off_leaves_nothing(cloud, owner, things, chunked):
    host, port = cloud.url.removeprefix("http://").split(":")
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {4 * MIB}"
    head = (
        f"POST {upload(things.ids['image'], format='raw')} HTTP/1.1\r\nHost: x\r\n{length}\r\n"
        f"Authorization: Bearer {cloud.token(owner)}\r\n"
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    piece = b"a" * MIB
    with socket.create_connection((host, int(port)), timeout=60) as line:
        line.sendall(head.encode())
        line.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
        wait_until(lambda: cloud.server._adaptor._in_progress)
    wait_until(lambda: not cloud.server._adaptor._in_progress)


def test_a_body_that_breaks_off_is_not_taken_for_a_whole_one(cloud):
    """What came is good JSON, but more was announced."""
    host, port = cloud.url.removeprefix("http://").split(":")
    body = b'{"name": "acme"}'
    head = (
        f"POST /v1/accounts HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body) + 10}\r\n"
        f"Authorization: Bearer {cloud.token(cloud.operator)}\r\n"
        "Content-Type: application/json\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=60) as line:
        line.sendall(head.encode() + body)
        wait_until(lambda: cloud.server._adaptor._in_progress)
    wait_until(lambda: not cloud.server._adaptor._in_progress)


def test_what_is_someone_elses_does_not_exist(post, other, things):
    """In a path and in a body; the whole table of them is in tests/api/test_every_operation.py."""
    ids = things.ids
    refused(post(f"/v1/machines/{ids['machine']}/start", by=other), 404)
    refused(post(upload(ids["image"], format="raw"), content=b"a" * MIB, by=other), 404)
    associate = f"/v1/addresses/{ids['address']}/associate"
    refused(post(associate, {"network": "default"}, by=other), 404)
    refused(post("/v1/machines", deploy(image=ids["image"]), by=other), 404, "image")
    refused(post("/v1/machines", deploy(image="mine"), by=other), 404, "image")


def test_a_name_of_the_wrong_form_is_told_the_right_one_in_words(post):
    said = refused(post("/v1/groups", {"name": "A_b", "rule": "apart"}), 400, "name")
    assert said.startswith("expected small letters, digits and hyphens")


def test_a_word_that_is_no_choice_is_told_so(post):
    said = refused(post("/v1/groups", {"name": "ab", "rule": "beside"}), 400, "rule")
    assert said == "invalid enum value 'beside'"


def test_a_prefix_may_end_where_names_may_not(cloud, owner):
    with cloud.http(cloud.token(owner)) as http:
        assert http.get("/v1/machines?prefix=web-").status_code == 200
        refused(http.get("/v1/machines?prefix=-web"), 400, "prefix")
