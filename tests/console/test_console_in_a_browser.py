"""The console in a real browser, before a cloud whose hosts are simulated: what a customer does with it, from first to last."""

import re
from typing import Any

import pytest

from arable.client.errors import Unauthenticated
from arable.wire.machines import DeployIn, DestroyIn, NicIn
from arable.wire.offerings import DiskOfferingIn
from arable.wire.tiers import TierChange
from console_scene import HOSTILE, TOO_WIDE, UNNAMED
from serving import PASSWORD

pytestmark = pytest.mark.real


def test_a_customer_provisions_grows_and_deletes_a_farm(scene, window):
    page = window.page

    # A wrong password opens nothing, the right one the list of farms.
    window.sign_in("alice", "a wrong password")
    page.get_by_role("alert").wait_for()
    assert page.evaluate("sessionStorage.length") == 0
    window.sign_in("alice", PASSWORD)
    page.get_by_text("There is no farm yet.").wait_for()

    # What the API finds wrong stands at its field, and nothing was made.
    page.get_by_role("link", name="Provision a farm").click()
    page.get_by_role("button", name="Three tiers").click()
    name = page.get_by_label("Name of the farm")
    apply = page.get_by_role("button", name="Apply: make the farm")
    name.fill(HOSTILE)
    page.get_by_role("button", name="Plan", exact=True).click()
    page.locator('.field[data-path="name"] > .wrong').get_by_text(re.compile(r"\w")).wait_for()
    assert name.get_attribute("aria-invalid") == "true"
    assert apply.is_disabled()

    # Planned, and only then applied. The document as text is the form's other view.
    name.fill("shop")
    text = page.get_by_label("YAML document")
    assert "name: shop" in text.input_value()
    text.fill(text.input_value().replace("networks: [web]", "networks: [web], most: 4"))
    assert page.get_by_label("At most").first.input_value() == "4"
    page.get_by_role("button", name="Plan", exact=True).click()
    page.get_by_text("tier web: 1 element of web/1 on tiny/1").wait_for()
    assert scene.farms() == {}
    page.get_by_text("Equivalent command line and REST").last.click()
    told = page.locator("details.equivalent").inner_text()
    assert "arable farm apply -f shop.yaml" in told
    assert "/v1/farms" in told

    # What a blueprint says is text, whatever it says.
    page.get_by_text("What it is made of").first.click()
    assert HOSTILE in page.get_by_label("User data").first.inner_text()
    page.get_by_text("Order it instead, by a service plan").click()
    assert HOSTILE in page.get_by_label("Service plan").inner_text()
    page.get_by_role("button", name="Plan and price").click()
    page.get_by_text("Price: 1.51 to 3.01 EUR an hour").wait_for()
    page.get_by_role("button", name="Plan", exact=True).click()
    page.locator("button:enabled", has_text="Apply: make the farm").click()
    page.get_by_role("link", name="To the farm shop").click()

    # It is watched while it comes up.
    tier = page.get_by_role("region", name="Tier web")
    tier.get_by_text("0 of 1 serve").wait_for()
    scene.moves()
    tier.get_by_text("1 of 1 serve, 1 to 4; blueprint web/1, image tiny/1; on shop-web").wait_for()
    tier.get_by_role("row", name="shop-web-1 serving").wait_for()
    page.get_by_text("farm.create: done").wait_for()
    page.get_by_role("region", name="Events").get_by_text("element.serving").first.wait_for()

    # A tier is refused to grow too far, then planned, then grown.
    tier.get_by_text("Grow or shrink").click()
    now = tier.get_by_label("Now")
    now.fill("9")
    tier.get_by_role("button", name="Plan").click()
    tier.locator('.field[data-path="count"] > .wrong').get_by_text(re.compile(r"\w")).wait_for()
    now.fill("3")
    tier.get_by_role("button", name="Plan").click()
    tier.get_by_text("now: 1 to 3 elements").wait_for()
    assert scene.farms()["shop"].tiers[0].count in (1, 3)
    assert {each.name: each.count for each in scene.farms()["shop"].tiers}["web"] == 1
    tier.get_by_role("button", name="Apply").click()
    tier.get_by_text("of 3 serve").wait_for()
    scene.moves()
    tier.get_by_text("3 of 3 serve").wait_for()
    page.get_by_role("navigation", name="Farms and tiers").get_by_text("web 3/3").wait_for()

    # Its document is changed where it is, and a list that is said is whole.
    page.get_by_role("link", name="Change its document").click()
    text = page.get_by_label("YAML document")
    text.wait_for()
    page.get_by_role("button", name="Remove db").last.click()
    page.get_by_role("button", name="Remove Passages 2").click()
    page.get_by_role("button", name="Plan", exact=True).click()
    page.get_by_text(re.compile("^- tier db")).wait_for()

    # What somebody else changed meanwhile is not overwritten.
    web = next(each.id for each in scene.farms()["shop"].tiers if each.name == "web")
    scene.customer.tiers.update(web, TierChange(most=5))
    page.get_by_role("button", name="Apply", exact=True).click()
    page.get_by_role("alert").get_by_text("the farm is at generation").wait_for()
    assert len(scene.farms()["shop"].tiers) == 3

    # By its name it is deleted, and by nothing else.
    page.get_by_role("navigation", name="Farms and tiers").get_by_role("link", name="shop").click()
    page.locator("summary", has_text="Delete the farm").click()
    go = page.get_by_role("button", name="Delete the farm")
    page.get_by_label("Type shop to confirm").fill("sho")
    assert go.is_disabled()
    page.get_by_label("Type shop to confirm").fill("shop")
    go.click()
    page.get_by_text("farm.delete:").first.wait_for()
    scene.moves()
    page.get_by_text("There is no such farm any more.").wait_for()
    assert "shop" not in scene.farms()

    # Signed out, the token is worth nothing, here and at the server.
    token = page.evaluate("sessionStorage.getItem('arable-session')")
    assert scene.served.client(token).users.whoami().name == "alice"
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Sign in").wait_for()
    assert page.evaluate("sessionStorage.length") == 0
    with pytest.raises(Unauthenticated):
        scene.served.client(token).users.whoami()


def test_a_customer_deploys_stops_and_destroys_a_machine(scene, window):
    page = window.page
    window.sign_in("alice", PASSWORD)
    page.get_by_role("link", name="Machines").click()
    page.get_by_role("link", name="Deploy machines").click()
    go = page.get_by_role("button", name="Deploy", exact=True)
    name = page.get_by_label("Name", exact=True)
    name.fill("Not a name")
    page.get_by_label("Size").select_option("small")
    page.get_by_role("button", name="Plan").click()
    page.locator('.field[data-path="name"] > .wrong').get_by_text(re.compile(r"\w")).wait_for()
    assert go.is_disabled()
    name.fill("box")
    page.get_by_label("How many").fill("2")
    page.get_by_label("User data").fill(f"#!/bin/sh\n# {HOSTILE}\n")
    page.get_by_role("button", name="Plan").click()
    page.get_by_text("To be made: box-1, box-2.").wait_for()
    assert scene.customer.machines.page().items == []
    page.get_by_text("Equivalent command line and REST").click()
    assert "arable machine deploy box --offering small --image tiny --count 2" in (
        page.locator("details.equivalent").inner_text()
    )
    go.click()
    page.get_by_role("link", name="To the machines").wait_for()
    scene.moves()
    page.get_by_text("machine.deploy: done").wait_for()
    page.get_by_role("link", name="To the machines").click()
    page.get_by_label("Names that begin with").fill("box-2")
    page.get_by_role("link", name="box-2").click()

    # It says what it is and why, and shows what may be done now.
    page.get_by_role("heading", name="box-2").wait_for()
    page.get_by_role("row", name="root").wait_for()
    assert not page.get_by_role("button", name="Start").is_visible()
    assert not page.get_by_text("Host", exact=True).is_visible()  # customers see none
    assert page.get_by_role("link", name="Data centre").count() == 0
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("machine.stop:").first.wait_for()
    scene.moves()
    page.get_by_role("button", name="Start").wait_for()
    page.get_by_text("Destroy the machine", exact=True).first.click()
    destroy = page.get_by_role("button", name="Destroy the machine")
    page.get_by_label("Type box-2 to confirm").fill("box-1")
    assert destroy.is_disabled()
    page.get_by_label("Erase its disks at once").check()
    page.get_by_label("Type box-2 to confirm").fill("box-2")
    destroy.click()
    page.get_by_text("machine.destroy:").first.wait_for()
    scene.moves()
    page.get_by_text("There is no such machine any more.").wait_for()
    assert [each.name for each in scene.customer.machines.page().items] == ["box-1"]
    last = scene.customer.machines.page().items[0].id
    scene.customer.machines.destroy(last, DestroyIn(force=True, expunge=True))
    scene.moves()


def test_a_customer_leads_a_port_to_machines_and_gives_one_a_disk(scene, window):
    page = window.page
    served = scene.served
    bob = served.customer("bob")
    served.operator.disk_offerings.create(DiskOfferingIn(name="extra", mib=16))
    window.sign_in("bob", PASSWORD)
    page.get_by_role("link", name="Networks").click()
    page.get_by_text("There is none: the first machine makes one.").wait_for()
    page.get_by_text("Make a network", exact=True).first.click()
    page.get_by_label("Name", exact=True).fill("front")
    page.get_by_label("Subnet").fill("10.3.0.0/33")
    page.get_by_role("button", name="Make a network").click()
    page.locator('.field[data-path="cidr"] > .wrong').get_by_text(re.compile(r"\w")).wait_for()
    page.get_by_label("Subnet").fill("10.3.0.0/24")
    page.get_by_role("button", name="Make a network").click()
    page.get_by_role("link", name="front").wait_for()
    deployed = bob.machines.deploy(
        DeployIn(
            name="box", count=2, offering="small", image="tiny", networks=(NicIn(network="front"),)
        )
    )
    scene.hall.until(lambda: bob.operations.get(deployed.operation).state != "running")
    page.get_by_role("link", name="front").click()
    page.get_by_role("region", name="Machines").get_by_role("link", name="box-1").wait_for()

    # What is let in is said by a form, and in other words by its equivalents.
    page.get_by_role("region", name="Public addresses").get_by_text("the way out").wait_for()
    page.get_by_text("Forward a port to a machine", exact=True).first.click()
    form = page.get_by_role("form", name="Forward a port to a machine")
    form.get_by_label("Port", exact=True).fill("8080")
    form.get_by_label("Its port").fill("80")
    form.get_by_text("Equivalent command line and REST").click()
    assert re.search(
        r"arable rule forward --address \S+ --protocol tcp --port 8080 --machine box-\d --to-port 80",
        form.inner_text(),
    )
    form.get_by_role("button", name="Forward a port to a machine").click()
    rules = page.get_by_role("region", name="Rules")
    rules.get_by_role("row", name="port forward").wait_for()
    (rule,) = bob.rules.page().items
    assert (rule.first_port, rule.to_port, rule.open) == (8080, 80, True)
    page.get_by_text("Spread a port over machines", exact=True).first.click()
    form = page.get_by_role("form", name="Spread a port over machines")
    form.get_by_label("Name of the balancer").fill("shop")
    form.get_by_label("box-1").check()
    form.get_by_label("box-2").check()
    form.get_by_role("button", name="Spread a port over machines").click()
    page.get_by_role("region", name="Balancers").get_by_role("row", name="shop").wait_for()
    assert len(bob.balancers.page().items[0].members) == 2
    assert page.evaluate(UNNAMED) == []
    rules.get_by_role("button", name=re.compile("Delete the rule")).click()
    rules.get_by_text("Nothing comes in: there is no rule.").wait_for()
    page.get_by_text("Delete the network", exact=True).first.click()
    page.get_by_label("Type front to confirm").fill("front")
    page.get_by_role("button", name="Delete the network").click()
    page.get_by_role("alert").get_by_text("machine").wait_for()
    assert not re.search("NaN|undefined|null", page.get_by_role("main").inner_text())

    # A volume is made, goes to a machine and comes back.
    page.get_by_role("link", name="Volumes").click()
    page.get_by_text("Make a volume", exact=True).first.click()
    page.get_by_label("Name", exact=True).fill("papers")
    page.get_by_role("button", name="Make a volume").click()
    page.get_by_role("row", name="papers").wait_for()
    page.locator("summary", has_text="Attach a volume").click()
    page.get_by_role("button", name="Attach a volume to a machine").click()
    page.get_by_text("volume.attach:").first.wait_for()
    scene.hall.until(lambda: all(each.state != "running" for each in bob.operations.page().items))
    page.get_by_role("button", name="Detach papers").click()
    page.get_by_text("volume.detach:").first.wait_for()
    scene.hall.until(lambda: all(each.state != "running" for each in bob.operations.page().items))

    # What is on a volume is gone only for whom types its name.
    page.locator("summary", has_text="Delete a volume").click()
    form = page.get_by_role("form", name="Delete a volume")
    form.get_by_label("Volume").select_option("papers")
    go = form.get_by_role("button", name="Delete a volume")
    assert go.is_disabled()
    form.get_by_label("Type its name to confirm").fill("papers")
    go.click()
    page.get_by_text("volume.delete:").first.wait_for()
    page.set_viewport_size({"width": 360, "height": 740})
    for name in ("Volumes", "Networks", "Bills"):
        page.get_by_role("link", name=name).click()
        page.get_by_role("heading", name=name).wait_for()
        assert not page.evaluate(TOO_WIDE)
    page.get_by_text("EUR, from").wait_for()


def test_an_operator_sees_the_data_centre_and_takes_a_host_out_of_it(scene, window):
    page = window.page
    first = scene.served.first
    window.sign_in(first.name, first.password.reveal())
    page.get_by_role("link", name="Data centre").click()
    page.get_by_text("Nothing asks for anybody.").wait_for()
    page.get_by_role("region", name="Zones").get_by_role("row", name="zone-1 5 of 5").wait_for()
    page.get_by_role("region", name="Storage pools").get_by_text("Takes disks").wait_for()
    assert not re.search("NaN|undefined|null", page.get_by_role("main").inner_text())
    hosts = page.get_by_role("region", name="Hosts")
    hosts.get_by_label("State").select_option("down")
    hosts.get_by_text("There is none.").wait_for()
    hosts.get_by_label("State").select_option("up")
    (empty,) = [each for each in scene.served.operator.hosts.page().items if each.maintenance]
    hosts.get_by_role("link", name=empty.name, exact=True).click()
    page.get_by_text("No machine is on it.").wait_for()
    assert not re.search("NaN|undefined|null", page.get_by_role("main").inner_text())
    page.get_by_role("button", name="End the maintenance").click()
    page.get_by_role("button", name="Begin maintenance", exact=True).wait_for()
    assert not scene.served.operator.hosts.get(empty.id).maintenance
    page.get_by_role("button", name="Begin maintenance", exact=True).click()
    page.get_by_role("button", name="End the maintenance").wait_for()
    assert scene.served.operator.hosts.get(empty.id).maintenance
    assert page.evaluate(UNNAMED) == []
    page.get_by_role("link", name="Control plane").click()
    page.get_by_role("heading", name="Control plane").wait_for()
    page.get_by_text("Management servers").wait_for()
    assert not re.search("NaN|undefined|null", page.get_by_role("main").inner_text())
    page.set_viewport_size({"width": 360, "height": 740})
    for link in ("Data centre", "Control plane"):
        page.get_by_role("link", name=link).click()
        page.get_by_role("heading", name=link).wait_for()
        page.get_by_role("table").first.wait_for()
        assert not page.evaluate(TOO_WIDE)


def test_who_may_only_read_is_offered_nothing_else(scene, window):
    scene.served.customer("vera", role="read-only")
    window.sign_in("vera", PASSWORD)
    window.page.get_by_role("link", name="Machines").click()
    window.page.get_by_text("There is none.").wait_for()
    assert window.page.get_by_role("link", name="Deploy machines").count() == 0
    assert window.page.get_by_role("link", name="Data centre").count() == 0


def test_all_of_it_fits_a_phone_and_can_be_typed(scene, window):
    page = window.page
    page.set_viewport_size({"width": 360, "height": 740})
    page.emulate_media(color_scheme="dark")
    page.get_by_role("button", name="Sign in").wait_for()
    page.keyboard.type("alice")  # the first field has the focus
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Provision a farm").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Three tiers").focus()
    page.keyboard.press("Space")
    page.get_by_label("Name of the farm").focus()
    page.keyboard.type("phone")
    page.keyboard.press("Enter")  # planned first, as nothing was yet
    page.get_by_text("To be 11 made.").wait_for()
    assert page.evaluate(UNNAMED) == []
    assert not page.evaluate(TOO_WIDE)
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="light")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
    text = page.get_by_label("YAML document")
    text.fill("name: phone\nname: again\n")
    page.get_by_text("line 2: name is said twice").wait_for()
    assert page.get_by_role("button", name="Apply: make the farm").is_disabled()
    assert "phone" not in scene.farms()
    page.get_by_role("link", name="Machines").click()
    page.get_by_text("There is none.").wait_for()
    assert not page.evaluate(TOO_WIDE)

    # A session that ends elsewhere ends here, too, and says so.
    for session in scene.customer.sessions.page().items:
        if session.id != scene.customer.users.whoami().via:
            scene.customer.sessions.delete(session.id)
    page.get_by_role("link", name="Farms", exact=True).click()
    page.get_by_text("Your session has ended. Please sign in again.").wait_for()
    assert page.evaluate("sessionStorage.length") == 0


def test_what_would_be_read_as_html_is_refused_by_the_browser(console, chromium):
    page = chromium.new_page()
    page.goto(f"{console.url}/console/")
    page.get_by_role("button", name="Sign in").wait_for()
    for way in (
        "document.body.innerHTML = said",
        "document.body.insertAdjacentHTML('beforeend', said)",
        "new DOMParser().parseFromString(said, 'text/html')",
        "document.createElement('script').text = said",
        "setTimeout(said)",
    ):
        assert "TrustedHTML" in (told := _refusal(page, way)) or "TrustedScript" in told, way
    lead_away = "import('/console/element.js').then((m) => m.element('a', { href: said }))"
    for link in ("javascript:alert(1)", "//example.org/", "https://example.org/", "/\\example.org"):
        assert "this server alone" in _refusal(page, lead_away, link)
    assert "no attribute" in _refusal(
        page, "import('/console/element.js').then((m) => m.element('a', { onclick: said }))"
    )
    page.close()


def _refusal(page: Any, way: str, said: str = HOSTILE) -> str:
    ask = f"async (said) => {{ try {{ await ({way}); return 'done'; }} catch (error) {{ return String(error); }} }}"
    return page.evaluate(ask, said)
