"""Each of the customers' pages of the console: its main job, and what it says when it is refused."""

import hashlib
import re

import msgspec
import pytest

from arable.api.operation import Access
from arable.api.routes import OPERATIONS
from arable.wire.blueprints import BlueprintIn, BlueprintQuery
from arable.wire.farms import FarmIn
from arable.wire.images import ImageIn, ImageQuery, ImageUploadIn, VersionQuery
from arable.wire.networks import NetworkQuery
from arable.wire.rules import FirewallIn
from arable.wire.ssh_keys import SshKeyIn
from arable.wire.users import UserIn
from arable.wire.volumes import VolumeQuery
from console_scene import HOSTILE
from serving import PASSWORD

pytestmark = pytest.mark.real

PAGES = {
    "images": "Images",
    "snapshots": "Snapshots",
    "vpns": "VPNs",
    "blueprints": "Blueprints",
    "keys": "Keys and password",
    "networks": "Networks",
    "volumes": "Volumes",
    "groups": "Groups",
    "orders": "Orders",
    "plans": "Plans",
}


def test_an_image_is_made_uploaded_and_deleted(carols):
    page = carols.page
    carols.open("images", "Images")
    carols.send("Make an image", name="linux")
    page.get_by_text("It has no version yet").wait_for()
    content = bytes(range(256)) * 4096
    form = page.get_by_role("form", name="Upload a version")
    put = form.locator('.field[data-path="disk"] input')
    put.set_input_files({"name": "x.raw", "mimeType": "", "buffer": content})
    form.locator("pre", has_text="--format raw").wait_for(state="attached")
    form.get_by_label("Format of the disk").select_option("qcow2")
    form.get_by_role("button", name="Upload a version").click()
    form.get_by_role("alert").wait_for()  # it is none
    form.get_by_label("Format of the disk").select_option("raw")
    form.get_by_text("Equivalent command line and REST").click()
    assert "arable image upload linux x.raw --format raw" in form.inner_text()
    form.get_by_role("button", name="Upload a version").click()
    digest = hashlib.sha256(content).hexdigest()
    form.get_by_text(f"Version 1 is there: 1 MiB, SHA-256 {digest}.").wait_for()
    (made,) = carols.client.images.page(ImageQuery(name="linux")).items
    assert [each.digest for each in made.versions] == [digest]
    page.get_by_role("cell", name=digest).wait_for()

    carols.send("Change it", command_line="console=ttyS0")
    page.get_by_text("console=ttyS0", exact=True).wait_for()
    assert carols.client.images.get(made.id).name == "linux"
    form = carols.form("Delete the image")
    form.get_by_label("Type linux to confirm").fill("linux")
    form.get_by_role("button", name="Delete the image").click()
    form.get_by_role("alert").wait_for()  # it has a version
    form.get_by_label("Type linux to confirm").fill("")
    carols.sure("Delete version 1")
    page.get_by_text("It has no version yet").wait_for()
    form = carols.form("Delete the image")
    form.get_by_label("Type linux to confirm").fill("linux")
    form.get_by_role("button", name="Delete the image").click()
    page.get_by_text("There is no such image any more.").wait_for()


def test_an_upload_goes_on_where_it_was_after_a_connection_that_broke(carols):
    """Half of the file is there from an earlier day; the connection breaks once more before the rest is."""
    page = carols.page
    content = hashlib.shake_256(b"a disk").digest(1 << 20)
    digest = hashlib.sha256(content).hexdigest()
    image = carols.client.images.create(ImageIn(name="in-parts"))
    ask = ImageUploadIn(image=image.id, format="raw", sha256=digest, bytes=len(content))
    begun = carols.client.image_uploads.create(ask)
    carols.client.image_uploads.append(begun.id, [content[: 1 << 19]], 0)
    asked = []

    def breaking(route):
        asked.append(route.request.headers.get("upload-offset"))
        if len(asked) == 1:
            route.abort("connectionreset")
        else:
            route.continue_()

    here = f"**/v1/image-uploads/{begun.id}"
    carols.open(f"images/{image.id}", "in-parts")
    page.route(here, lambda r: breaking(r) if r.request.method == "PATCH" else r.continue_())
    form = page.get_by_role("form", name="Upload a version")
    put = form.locator('.field[data-path="disk"] input')
    put.set_input_files({"name": "x.raw", "mimeType": "", "buffer": content})
    form.locator("pre", has_text="--format raw").wait_for(state="attached")
    form.get_by_role("button", name="Upload a version").click()
    form.get_by_text(f"Version 1 is there: 1 MiB, SHA-256 {digest}.").wait_for()
    page.unroute(here)
    assert asked == [str(1 << 19)] * 2
    told = [each for each in carols.window.wrong if "ERR_CONNECTION_RESET" not in each]
    carols.window.wrong[:] = (
        told  # the browser says that a connection broke; it is none of the page
    )
    carols.client.images.delete_version(image.id, VersionQuery(number=1))
    carols.client.images.delete(image.id)


def test_digests_are_those_that_everybody_reckons(carols):
    lengths = [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000]
    texts = [hashlib.shake_256(b"any").hexdigest(each) for each in lengths]
    said = carols.page.evaluate(
        """async (texts) => {
          const { Sha256 } = await import("/console/sha256.js");
          return texts.map((text) => {
            const bytes = Uint8Array.from(text.match(/../g) ?? [], (each) => parseInt(each, 16));
            const sum = new Sha256();
            for (let at = 0; at < bytes.length; at += 37) sum.add(bytes.subarray(at, at + 37));
            return sum.end();
          });
        }""",
        texts,
    )
    assert said == [hashlib.sha256(bytes.fromhex(each)).hexdigest() for each in texts]


def test_a_snapshot_is_taken_and_deleted(scene, carols, box):
    page = carols.page
    carols.open("snapshots", "Snapshots")
    page.get_by_text("There is none. One is taken").wait_for()
    carols.send("Take a snapshot", name="Before!")
    carols.refused("name")
    carols.send("Take a snapshot", name="before")
    page.get_by_text("snapshot.create:").first.wait_for()
    scene.moves(carols.client)
    page.get_by_role("row", name="before").get_by_text("available").wait_for()
    page.get_by_role("button", name=re.compile("^Set .* back to before")).click()
    page.get_by_role("button", name=re.compile("^Really: Set")).click()
    page.get_by_role("alert").wait_for()  # its machine runs
    form = carols.form("Make an image of a snapshot")
    form.get_by_text("Equivalent command line and REST").click()
    form.get_by_label("Name").fill("golden")
    assert "arable image create golden --snapshot before" in form.inner_text()
    form.get_by_label("Name").fill("")
    carols.sure("Delete before", "snapshot.delete")
    scene.moves(carols.client)
    page.get_by_text("There is none. One is taken").wait_for()
    assert carols.client.volumes.page(VolumeQuery(machine=box.id)).items


def test_the_firewall_lets_in_and_out(scene, carols, box):
    page = carols.page
    (network,) = carols.client.networks.page(NetworkQuery(name="front")).items
    carols.open(f"networks/{network.id}", "front")
    carols.send("Let out through the firewall", cidr="10.0.0.1/8")
    carols.refused("cidr")
    carols.send("Let out through the firewall", cidr="198.51.100.0/24", first_port="443")
    page.get_by_role("row", name="firewall, out").get_by_text("to 198.51.100.0/24").wait_for()
    carols.send("Let in through the firewall", first_port="22")
    page.get_by_role("row", name="firewall, in").wait_for()
    rules = {each.direction: each for each in carols.client.rules.page().items}
    assert (rules["out"].network, rules["out"].first_port) == (network.id, 443)
    assert (rules["in"].open, rules["in"].first_port) == (True, 22)
    page.get_by_role("button", name=re.compile("Delete the rule firewall.* 22")).click()
    page.get_by_role("row", name="firewall, in").wait_for(state="detached")


def test_a_vpn_is_made_and_a_computer_is_given_access(scene, carols, box):
    page = carols.page
    carols.open("vpns", "VPNs")
    carols.form("Join a network to a site").get_by_label("At which port").fill("22")
    ask = {"name": "office", "peer_cidrs": "192.168.7.0/24", "allow": "TCP"}
    carols.send("Join a network to a site", **ask, peer_key="no key")
    carols.refused("peer_key")
    carols.send("Join a network to a site", peer_key="", preshared_key="")
    page.get_by_role("region", name="To sites").get_by_role("row", name="office").wait_for()
    (made,) = carols.client.vpns.page().items
    assert [(each.protocol, each.first_port) for each in made.allow] == [("tcp", 22)]
    carols.send("Open a network to people's computers", name="people", cidr="10.99.0.0/24")
    page.get_by_role("row", name="people").wait_for()
    carols.send("Give a computer access", name="laptop")
    shown = page.get_by_role("region", name="Configuration of laptop")
    assert "PrivateKey" in shown.locator("pre").inner_text()
    shown.get_by_role("button", name="I have it; close").click()
    assert "PrivateKey" not in page.get_by_role("main").inner_text()
    scene.moves(carols.client)
    carols.sure("Cut off laptop", "vpnclient.delete")
    carols.sure("Delete the VPN office", "vpn.delete")
    scene.moves(carols.client)
    page.get_by_role("region", name="To sites").get_by_text("There is none.").wait_for()


def test_a_blueprint_is_made_changed_and_rolled_out(scene, carols):
    page = carols.page
    carols.open("blueprints", "Blueprints")
    form = carols.form("Make a blueprint")
    form.get_by_label("Name").fill("shop")
    text = form.get_by_label("Document, as YAML")
    text.fill("image: tiny\noffering: small\nports: [{port: 99999}]\n")
    form.get_by_label("User data").fill(f"#!/bin/sh\n# {HOSTILE}\n")
    form.get_by_role("button", name="Make a blueprint").click()
    assert "line 3, ports.0.port" in carols.refused("text").inner_text()
    text.fill("image: tiny\noffering: small\n")
    form.get_by_role("button", name="Make a blueprint").click()
    page.get_by_text("No tier is made of it.").wait_for()
    farm = {"name": "shop", "networks": [{"name": "web"}]}
    farm["tiers"] = [{"name": "web", "blueprint": "shop", "networks": ["web"], "least": 1}]
    carols.client.farms.create(msgspec.convert(farm, FarmIn))
    scene.moves(carols.client)

    form = carols.form("Make version 2")
    assert HOSTILE in form.get_by_label("User data").input_value()
    assert "image: tiny" in form.get_by_label("Document, as YAML").input_value()
    form.get_by_label("User data").fill("#!/bin/sh\n")
    form.get_by_role("button", name="Make version 2").click()
    page.get_by_role("button", name="Roll out the newest to shop/web").click()
    page.get_by_role("button", name="Apply").click()
    page.get_by_text("farm.update:").first.wait_for()
    scene.hall.until(lambda: bool(carols.client.rollouts.page().items))
    page.get_by_role("button", name="Pause the rollout of shop-web").click()
    page.get_by_role("button", name="Resume the rollout of shop-web").wait_for()
    assert [each.state for each in carols.client.rollouts.page().items] == ["paused"]
    page.get_by_role("button", name="Turn back the rollout of shop-web").click()
    page.get_by_role("row", name="shop-web back").wait_for()
    scene.moves(carols.client)
    page.get_by_role("button", name="Roll out the newest to shop/web").wait_for()
    (made,) = carols.client.blueprints.page(BlueprintQuery(name="shop")).items
    assert len(made.versions) == 2


def test_keys_are_made_shown_once_and_deleted(scene, carols):
    page = carols.page
    carols.open("keys", "Keys and password")
    carols.send("Change the password", old="not this one", new="a better password")
    carols.refused("old")
    carols.form("Change the password").evaluate("each => each.reset()")
    form = carols.form("Make an API key")
    form.get_by_label("machine:read").check()
    carols.send("Make an API key", name="backup")
    shown = page.get_by_role("region", name="Key backup")
    secret = shown.locator("pre").inner_text()
    carol = scene.served.client(secret).users.whoami()
    assert (carol.name, carol.permissions) == ("carol", ["machine:read"])
    carols.sure("Delete the key backup")
    page.get_by_text("There is none. A program of yours needs one.").wait_for()
    carols.send("Import an SSH key", name="mine", public_key="ssh-rsa nothing")
    carols.refused("public_key")
    carols.form("Import an SSH key").evaluate("each => each.reset()")
    carols.send("Make a pair of SSH keys", name="mine")
    shown = page.get_by_role("region", name="Private key mine")
    assert "PRIVATE KEY" in shown.locator("pre").inner_text()


def test_the_pages_fit_a_phone(carols, box):
    (network,) = carols.client.networks.page(NetworkQuery(name="front")).items
    carols.fits({**PAGES, f"networks/{network.id}": "front", f"machines/{box.id}": "box"})


def test_a_machines_console_is_typed_at(carols, box, shouting):
    page = carols.page
    carols.open(f"machines/{box.id}", "box")
    page.get_by_role("link", name="Open its console").click()
    screen = page.get_by_role("textbox", name="Console of box")
    page.get_by_text("Connected.").wait_for()
    screen.get_by_text("booted").wait_for()
    page.keyboard.type(HOSTILE)
    page.keyboard.press("Tab")
    screen.get_by_text(HOSTILE.upper()).wait_for()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Control+]")
    assert page.evaluate("document.activeElement.textContent") == "Back to box"
    page.get_by_label("A line to send").fill("bye")
    page.get_by_role("button", name="Send", exact=True).click()
    page.get_by_text("The console has ended.").wait_for()
    assert shouting.heard == f"{HOSTILE}\t\x1b[Abye\r".encode()
    page.get_by_role("button", name="Open it again").click()
    page.get_by_text("Connected.").wait_for()


SAID = {
    "one\r\ntwo": "one\ntwo| ",
    "a wrongg\b word": "a wrong word| ",
    "50%\r100%": "100%| ",
    "\x1b[1;31mred\x1b[0m and \x1b]0;a title\x07plain": "red and plain| ",
    "abcdef\x1b[3D\x1b[K!": "abc!| ",
    "abcdef\r\x1b[2Cx\x1b[P": "abx|e|f",
    "old\r\n\x1b[2J\x1b[Hnew\x1b[?25h": "new| ",
    "a\x00\x07\x1b(B\x1b7b\x9bc": "abc| ",
    "\x1b[" + "1" * 5000: "[" + "1" * 998 + "|1",
    "a\tb": "a       b| ",
    "\x1b[99999999999C\x1b[1000000@x": None,  # nothing but that it comes to an end
}


def test_a_screen_shows_what_terminals_show(carols):
    shown = carols.page.evaluate(
        """async (said) => {
          const { Screen } = await import("/console/screen.js");
          return said.map((text) => [[text], [...text]].map((pieces) => {
            const screen = new Screen();
            for (const each of pieces) screen.write(each);
            const [before, at, behind] = screen.show();
            return behind ? `${before}|${at}|${behind}` : `${before}|${at}`;
          }));
        }""",
        list(SAID),
    )
    for text, (whole, pieces) in zip(SAID, shown, strict=True):
        assert whole == pieces, text
        assert SAID[text] in (None, whole), text


def test_what_may_be_done_is_what_the_api_says(carols):
    """The console's one table of permissions is the API's."""
    writes = [op for op in OPERATIONS if op.writes and op.permission is not Access.PUBLIC]
    paths = [re.sub(r"\{\w+\}", "x-1", op.path) for op in writes]
    found = carols.page.evaluate(
        """async (paths) => { const { needs } = await import("/console/may.js"); return paths.map(needs); }""",
        paths,
    )
    wanted = [None if isinstance(op.permission, Access) else op.permission.value for op in writes]
    told = {(op.method, op.path): each for op, each in zip(writes, found, strict=True)}
    assert told == {(op.method, op.path): each for op, each in zip(writes, wanted, strict=True)}


def test_who_may_only_read_has_no_button_on_any_page(scene, carols, box, window):
    """Of the same account, with something on each page that another role may change."""
    served, carol = scene.served, carols.client
    (network,) = carol.networks.page(NetworkQuery(name="front")).items
    carol.rules.firewall(FirewallIn(direction="out", network=network.id, cidr="203.0.113.128/25"))
    carol.ssh_keys.create(SshKeyIn(name="seen"))
    image = carol.images.create(ImageIn(name="seen"))
    blueprint = {"name": "seen", "image": "tiny", "offering": "small"}
    made = carol.blueprints.create(msgspec.convert(blueprint, BlueprintIn))
    farm = {"name": "seen", "networks": [{"name": "web"}]}
    farm["tiers"] = [{"name": "web", "blueprint": "seen", "networks": ["web"], "least": 1}]
    seen = carol.farms.create(msgspec.convert(farm, FarmIn)).farm
    scene.moves(carol)
    ask = {"name": "viewer", "account": served.accounts["carol"], "role": "read-only"}
    served.operator.users.create(msgspec.convert({**ask, "password": PASSWORD}, UserIn))
    window.sign_in("viewer")
    page = window.page
    page.get_by_role("link", name="Machines").wait_for()
    things = {f"farms/{seen.id}": "seen", f"machines/{box.id}": "box", f"images/{image.id}": "seen"}
    more = {f"networks/{network.id}": "front", f"blueprints/{made.id}": "seen", "farms": "Farms"}
    for path, heading in {**PAGES, **things, **more, "machines": "Machines"}.items():
        window.open(path, heading)
        said = page.locator("main").locator("button, a.button").all_text_contents()
        own = {"End", "Change the password"} if path == "keys" else set()
        assert set(said) <= own, path
    for path, heading in {"provision": "Provision a farm", "deploy": "Deploy machines"}.items():
        window.open(path, heading)
        page.get_by_text("Your role, read-only, may not do this").wait_for()
    assert page.get_by_role("link", name="Provision").count() == 0
