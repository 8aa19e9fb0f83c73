"""Each of the operators' pages of the console: its main job, and what it says when it is refused."""

import pytest

from arable.client.errors import Unauthenticated
from arable.wire.accounts import AccountQuery
from arable.wire.offerings import OfferingQuery
from console_scene import HOSTILE
from serving import PASSWORD

pytestmark = pytest.mark.real


def test_an_account_is_made_limited_suspended_and_closed(scene, operators):
    page = operators.page
    operators.open("accounts", "Accounts")
    operators.send("Make a domain", name="Not a name")
    operators.refused("name")
    operators.send("Make a domain", name="acme")
    page.locator(".domains").get_by_text("root/acme").wait_for()
    form = operators.form("Make an account")
    form.get_by_label("Domain").select_option("root/acme")
    operators.send("Make an account", name="dora", user__name="dora", user__password=PASSWORD)
    page.get_by_role("heading", name="dora", level=1).wait_for()
    (made,) = operators.client.accounts.page(AccountQuery(name="dora")).items

    operators.send("Change its limits", machines="many")
    operators.refused("machines")
    operators.send("Change its limits", machines="3", cpus="none")
    page.get_by_role("row", name="Machines 0 3").wait_for()
    limits = operators.client.limits.get(made.id)
    assert (limits.machines.limit, limits.cpus.limit) == (3, None)
    operators.send("Book a payment", amount="12.50", key="invoice-7", reference=HOSTILE)
    page.get_by_role("cell", name=HOSTILE).wait_for()
    page.get_by_role("row", name="payment 12.50 invoice-7").wait_for()
    operators.send("Make a user", name="eve", password=PASSWORD)
    page.get_by_role("button", name="Disable eve").click()
    page.get_by_role("button", name="Enable eve").wait_for()

    scene.served.client().sign_in("dora", PASSWORD)
    page.get_by_role("button", name="Suspend it").click()
    page.get_by_role("button", name="Let its users in again").wait_for()
    with pytest.raises(Unauthenticated):
        scene.served.client().sign_in("dora", PASSWORD)
    form = operators.form("Close the account")
    form.get_by_label("Type dora to confirm").fill("dora")
    form.get_by_role("button", name="Close the account").click()
    page.get_by_text("There is no such account any more.").wait_for()
    operators.open("accounts", "Accounts")
    operators.sure("Delete the domain root/acme")
    page.locator(".domains").get_by_text("root/acme").wait_for(state="detached")


def test_prices_are_set_for_a_time_to_come(operators):
    page = operators.page
    operators.open("prices", "Prices")
    form = operators.form("Set prices")
    form.get_by_label("From when").fill("2031-01-01T00:00")
    form.get_by_role("button", name="Add a price").click()
    form.get_by_label("For").last.select_option("a network")
    form.get_by_label("Amount").last.fill("much")
    form.get_by_role("button", name="Set prices").click()
    operators.refused("prices.2")
    form.get_by_label("Amount").last.fill("0.02")
    form.get_by_text("Equivalent command line and REST").click()
    assert "--price network,amount=0.02" in form.inner_text().replace("'", "")
    form.get_by_role("button", name="Set prices").click()
    page.get_by_role("heading", name="List 2, to come").wait_for()
    lists = {each.number: each for each in operators.client.prices.page().items}
    assert [each.amount for each in lists[2].prices if each.kind == "network"] == ["0.02"]
    assert lists[1].in_force


def test_a_setting_is_changed_and_set_back(operators):
    page = operators.page
    operators.open("settings", "Settings")
    page.get_by_label("Find in settings").fill("how long a destroyed")
    card = page.get_by_role("region", name="expunge_seconds")
    assert page.get_by_role("main").get_by_role("region").count() == 1
    form = operators.form("Change expunge_seconds")
    form.get_by_label("Value").fill("-5")
    form.get_by_role("button", name="Change expunge_seconds").click()
    assert not form.get_by_label("Value").evaluate("each => each.validity.valid")
    form.get_by_label("Value").fill("120")
    form.get_by_role("button", name="Change expunge_seconds").click()
    card.get_by_text("120", exact=True).wait_for()
    values = {each.name: each.value for each in operators.client.settings.get().settings}
    assert values["expunge_seconds"] == 120
    card.get_by_role("button", name="Set expunge_seconds back to its default").click()
    card.get_by_text("(the default)").wait_for()


def test_somebody_is_told_of_alerts(operators):
    page = operators.page
    operators.open("alerts", "Alerts")
    page.get_by_text("Nobody is told of alerts but who looks here.", exact=False).wait_for()
    operators.send("Tell a web address", name="pager", webhook__url="http://198.51.100.1/x")
    operators.refused("webhook.url")
    operators.send("Tell a web address", webhook__url="https://198.51.100.1/x")
    shown = page.get_by_role("region", name="Secret of pager")
    assert len(shown.locator("pre").inner_text()) > 20
    page.get_by_role("button", name="Disable pager").click()
    page.get_by_role("button", name="Enable pager").wait_for()
    assert [each.enabled for each in operators.client.alert_routes.page().items] == [False]
    operators.sure("Delete the receiver pager")
    page.get_by_text("Nobody is told of alerts but who looks here.", exact=False).wait_for()


def test_a_size_is_offered_and_withdrawn(operators):
    page = operators.page
    operators.open("offerings", "Offerings")
    form = operators.form("Make a size")
    form.get_by_label("Replicated").check()
    ask = {"name": "large", "cpus": "4", "cpu_mhz": "1000", "memory_mib": "4096"}
    operators.send("Make a size", **ask, root_mib="1024")
    operators.refused("replicated")
    form.get_by_label("Replicated").uncheck()
    operators.send("Make a size")
    page.get_by_role("row", name="large 4 of 1000 MHz 4096").wait_for()
    page.get_by_role("button", name="Disable large").click()
    page.get_by_role("button", name="Enable large").wait_for()
    operators.sure("Delete the size large")
    page.get_by_role("row", name="large").wait_for(state="detached")
    assert not operators.client.offerings.page(OfferingQuery(name="large")).items


def test_the_pages_fit_a_phone(scene, operators):
    account = scene.served.accounts["alice"]
    pages = {"accounts": "Accounts", f"accounts/{account}": "alice", "prices": "Prices"}
    more = {"settings": "Settings", "alerts": "Alerts", "offerings": "Offerings"}
    operators.fits({**pages, **more})
