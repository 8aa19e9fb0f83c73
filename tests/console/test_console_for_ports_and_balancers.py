"""What customers change of what is there: a machine's ports and size, a balancer's members, groups; and copies in other regions."""

import re

import msgspec
import pytest

from arable.runtime.ca import IdentityKind, new_request
from arable.wire.addresses import AddressQuery
from arable.wire.balancers import BalancerIn
from arable.wire.groups import GroupQuery
from arable.wire.images import ImageIn
from arable.wire.ipv6_ranges import Ipv6RangeIn
from arable.wire.machines import DeployIn, NicIn
from arable.wire.networks import NetworkChange, NetworkIn, NetworkQuery
from arable.wire.offerings import OfferingIn
from arable.wire.regions import FederationIn
from console_scene import put

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def pair(scene, carols):
    """Two machines of a network with a public address, and a network without any."""
    carol = carols.client
    carol.networks.create(NetworkIn(name="stage", cidr="10.21.0.0/24"))
    carol.networks.create(NetworkIn(name="wing", cidr="10.22.0.0/24"))
    names = ("left", "right")
    for name in names:
        ask = DeployIn(
            name=name, offering="small", image="tiny", networks=(NicIn(network="stage"),)
        )
        carol.machines.deploy(ask)
    scene.moves(carol)
    return {each.name: each for each in carol.machines.page().items if each.name in names}


def test_a_machine_gets_a_port_and_another_size(scene, operators, carols, pair):
    page, carol = carols.page, carols.client
    left = pair["left"]
    carols.open(f"machines/{left.id}", "left")
    page.get_by_text("It gets another size while it is stopped.").wait_for()
    form = carols.form("Attach it to a network")
    form.get_by_label("Network").select_option(label="wing")
    carols.send("Attach it to a network", address="10.21.0.9")
    carols.refused("address")
    carols.send("Attach it to a network", address="10.22.0.9")
    page.get_by_text("nic.attach:").first.wait_for()
    scene.moves(carol)
    page.get_by_role("row", name="wing 10.22.0.9").wait_for()
    assert {each.address for each in carol.machines.get(left.id).nics} >= {"10.22.0.9"}
    form = carols.form("Detach it from a network")
    form.get_by_text("Equivalent command line and REST").click()
    assert "arable nic detach nic-" in form.inner_text()
    carols.send("Detach it from a network")
    scene.moves(carol)
    page.get_by_role("row", name="wing").wait_for(state="detached")

    larger = {"name": "wide", "cpus": 2, "cpu_mhz": 100, "memory_mib": 512, "root_mib": 1024}
    operators.client.offerings.create(msgspec.convert(larger, OfferingIn))
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_text("machine.stop:").first.wait_for()
    scene.moves(carol)
    form = carols.form("Give it another size")
    form.get_by_label("Size").select_option(label="wide: 2 CPU, 512 MiB")
    carols.send("Give it another size")
    page.locator("dd", has_text="wide: 2 CPU").wait_for()
    assert carol.machines.get(left.id).cpus == 2
    carols.send("Change its name", name="Not a name")
    carols.refused("name")
    carols.send("Change its name", name="port-side")
    page.get_by_role("heading", name="port-side", level=1).wait_for()


def test_a_balancer_is_changed_and_its_members(scene, operators, carols, pair):
    page, carol = carols.page, carols.client
    (network,) = carol.networks.page(NetworkQuery(name="stage")).items
    (address,) = carol.addresses.page(AddressQuery(network=network.id)).items
    members = [{"machine": pair["left"].id, "port": 80}]
    ask = {
        "name": "spread",
        "address": address.id,
        "port": 80,
        "members": members,
        "check": {"rise": 4},
    }
    made = carol.balancers.create(msgspec.convert(ask, BalancerIn)).balancer
    scene.moves(carol)
    carols.open(f"networks/{network.id}", "stage")
    page.get_by_role("link", name="spread").click()
    page.get_by_role("heading", name="spread", level=1).wait_for()
    form = carols.form("Add a member")
    form.get_by_label("Machine").select_option(label="right")
    carols.send("Add a member", port="8080", weight="3")
    row = page.get_by_role("row", name="right")
    row.get_by_text(":8080").wait_for()
    page.get_by_role("button", name="Drain: right").click()
    page.get_by_role("button", name="Let it have new ones: right").wait_for()
    carols.send("Change it", cidr="10.0.0.1/8")
    carols.refused("cidr")
    carols.send("Change it", cidr="198.51.100.0/24", check__interval="9")
    page.locator("dd", has_text="every 9 s").wait_for()
    found = carol.balancers.get(made.id)
    assert (found.cidr, found.check.interval, found.check.rise) == ("198.51.100.0/24", 9, 4)
    assert [(each.machine_name, each.weight, each.draining) for each in found.members[1:]] == [
        ("right", 3, True)
    ]
    operators.client.ipv6_ranges.create(Ipv6RangeIn(zone=network.zone, cidr="2001:db8:100::/48"))
    carol.networks.update(network.id, NetworkChange(ipv6=True))
    scene.moves(carol)
    page.reload()
    page.get_by_role("heading", name="spread", level=1).wait_for()
    carols.send("Change it", cidr6="2001:db8::/8")
    carols.refused("cidr6")
    carols.send("Change it", cidr6="::/0")
    page.locator("dd", has_text="for everybody").wait_for()
    assert carol.balancers.get(made.id).cidr6 == "::/0"
    carols.send("Change it", cidr6="")
    page.locator("dd", has_text="for everybody").wait_for(state="detached")
    assert carol.balancers.get(made.id).cidr6 is None
    form = carols.form("Take a member out")
    form.get_by_label("Member").select_option(label="right")
    carols.send("Take a member out", drain_seconds="0")
    row.wait_for(state="detached")
    form = carols.form("Delete the balancer")
    form.get_by_label("Type spread to confirm").fill("spread")
    form.get_by_role("button", name="Delete the balancer").click()
    page.get_by_text("There is no such balancer any more.").wait_for()


def test_a_balancer_speaks_tls_by_a_certificate_whose_key_nobody_sees_again(scene, carols, pair):
    page, carol = carols.page, carols.client
    (network,) = carol.networks.page(NetworkQuery(name="stage")).items
    authority = scene.served.around.authority
    pairs = []
    for days in (90, 7):
        made = new_request("shop.example")
        signed = authority.sign(made.request, "shop.example", IdentityKind.GRID, days * 24)
        pairs.append((signed, made.key.reveal()))
    (first, key), (second, other) = pairs

    carols.open(f"networks/{network.id}", "stage")
    carols.form("Spread a port over machines").get_by_label("right").check()
    ask = {"name": "shop", "port": "443", "certificate": first}
    form = carols.send("Spread a port over machines", **ask)
    carols.refused("private_key")
    form.get_by_text("Equivalent command line and REST").click()
    assert "--certificate @certificate.pem" in form.inner_text()
    carols.send("Spread a port over machines", private_key=other)
    page.get_by_text("this key is not the first certificate's").wait_for()
    carols.send("Spread a port over machines", private_key=key)
    page.get_by_role("row", name="shop").get_by_text("with TLS until").wait_for()
    scene.moves(carol)
    balancers = page.get_by_role("region", name="Balancers")  # a farm may be called so, too
    balancers.get_by_role("link", name="shop").click()
    page.get_by_role("heading", name="shop", level=1).wait_for()
    page.get_by_text("as PEM; its key is shown to nobody").click()
    assert page.get_by_label("Certificates").inner_text().startswith("-----BEGIN CERTIFICATE")

    form = carols.form("Replace its certificate")
    chosen = {"name": "shop.key", "mimeType": "text/plain", "buffer": other.encode()}
    form.get_by_label("Its private key, of a file").set_input_files(chosen)
    form.get_by_text("Equivalent command line and REST").click()
    assert "PRIVATE" not in form.inner_text()
    carols.send("Replace its certificate", certificate=second)
    page.locator("dd", has_text="6 more days").wait_for()
    (made,) = [each for each in carol.balancers.page().items if each.name == "shop"]
    assert made.certificate == second
    assert "PRIVATE" not in page.content().replace('BEGIN PRIVATE KEY-----"', "")
    form = carols.form("Take its certificate away")
    form.get_by_label("Type shop to confirm").fill("shop")
    form.get_by_role("button", name="Take its certificate away").click()
    page.locator("summary", has_text="Have it speak TLS").wait_for()
    assert not carol.balancers.get(made.id).tls
    carol.balancers.delete(made.id)
    scene.moves(carol)


def test_a_machine_joins_a_group_when_it_is_deployed(scene, carols):
    page, carol = carols.page, carols.client
    carols.open("groups", "Groups")
    carols.send("Make a group", name="pack", rule="together: on one host")
    page.get_by_role("row", name="pack together").wait_for()
    carols.open("deploy", "Deploy machines")
    form = page.get_by_role("form", name="New machines")
    put(form, "name", "packed")
    put(form, "group", "pack: together")
    form.get_by_text("Equivalent command line and REST").click()
    assert "--group pack" in form.inner_text()
    form.get_by_role("button", name="Plan").click()
    form.get_by_role("button", name="Deploy").click()
    page.get_by_role("link", name="To the machine packed").click()
    page.locator("dd", has_text=re.compile("^pack$")).wait_for()
    scene.moves(carol)
    (group,) = carol.groups.page(GroupQuery(name="pack")).items
    assert [each.groups for each in carol.machines.page().items if each.name == "packed"] == [
        [group.id]
    ]
    carols.open("groups", "Groups")
    page.get_by_role("row", name="pack together 1").wait_for()
    carols.send("Make a group", name="alone")
    page.get_by_role("row", name="alone apart").wait_for()
    carols.sure("Delete the group alone")
    page.get_by_role("row", name="alone apart").wait_for(state="detached")
    assert page.get_by_role("button", name="Delete the group pack").count() == 0


def test_an_image_needs_no_other_regions(carols):
    image = carols.client.images.create(ImageIn(name="near"))
    carols.open(f"images/{image.id}", "near")
    assert carols.page.get_by_text("Have it in other regions").count() == 0


def test_an_image_is_wished_for_in_other_regions(scene, operators, carols, joined):
    page, carol = carols.page, carols.client
    image = carol.images.create(ImageIn(name="far"))
    account = scene.served.accounts["carol"]
    operators.client.accounts.federate(account, FederationIn(origins=("oslo",)))
    try:
        carols.open("images", "Images")
        carols.open(f"images/{image.id}", "far")
        form = carols.form("Have it in other regions")
        form.get_by_text("Equivalent command line and REST").click()
        carols.send("Have it in other regions", at="nowhere", versions="2")
        carols.refused("at")
        carols.send("Have it in other regions", at="oslo")
        assert "arable image set-policy far" in form.inner_text()
        page.get_by_text("Its 2 newest versions, in oslo").wait_for()
        assert carol.images.policy(image.id).at == ("oslo",)
        carols.send("Have it there no more")
        page.get_by_text("Its 2 newest versions, in oslo").wait_for(state="detached")
        operators.open("regions", "Regions")
        operators.page.get_by_role("row", name="oslo reached").wait_for()
    finally:
        operators.client.accounts.federate(account, FederationIn())
