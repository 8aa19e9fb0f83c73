"""The console's pages of zones, hosts, pools, servers, orders and plans: each one's main job, and what it says when it is refused."""

import msgspec
import pytest

from arable.wire.blueprints import BlueprintIn
from arable.wire.hosts import HostChange, JoinTokenQuery
from arable.wire.orders import OrderIn, OrderQuery, PlanQuery
from arable.wire.pools import PoolChange
from arable.wire.public_ranges import PublicRangeQuery
from arable.wire.settings import SettingsChange
from arable.wire.zones import ZoneQuery
from console_scene import put

pytestmark = pytest.mark.real


def test_a_zone_is_laid_out_and_a_host_is_let_in(operators):
    page, client = operators.page, operators.client
    operators.open("zones", "Zones")
    operators.send("Make a zone", name="Not a name", vlans__first="600", vlans__last="650")
    operators.refused("name")
    operators.send("Make a zone", name="north")
    page.get_by_role("heading", name="north", level=1).wait_for()
    (zone,) = client.zones.page(ZoneQuery(name="north")).items
    assert [(each.first, each.last) for each in zone.vlans or ()] == [(600, 650)]
    page.get_by_text("There is none, so no host can join. Add one below.").wait_for()

    operators.send("Add a pod", name="n1", cidr="10.0.0.1/24")
    operators.refused("cidr")
    operators.send("Add a pod", cidr="172.30.7.0/24")
    pods = page.get_by_role("region", name="Pods")
    pods.get_by_role("row", name="n1 172.30.7.0/24").get_by_text("0 of 0").wait_for()
    ask = {"cidr": "198.51.100.0/24", "gateway": "198.51.100.1", "vlan": "901"}
    operators.send("Add public addresses", **ask, first="198.51.100.9", last="203.0.113.1")
    operators.refused("last")
    operators.send("Add public addresses", last="198.51.100.12")
    page.get_by_role("row", name="198.51.100.0/24").get_by_text("4 of 4").wait_for()
    operators.send("Add VLANs", first="651", last="660")
    page.locator("dd", has_text="600-660").wait_for()
    operators.send("Change it", guest_cidr="10.44.0.0/24")
    page.locator("dd", has_text="10.44.0.0/24").wait_for()
    changed = client.zones.get(zone.id)
    assert (changed.guest_cidr, changed.name) == ("10.44.0.0/24", "north")

    operators.open("hosts", "Hosts")
    form = operators.form("Let a host join")
    form.get_by_label("Pod").select_option(label="north / n1")
    form.get_by_label("routing: networks' routers").check()
    form.get_by_text("Equivalent command line and REST").click()
    assert "arable host invite --pod n1 --role routing" in form.inner_text()
    operators.send("Let a host join", tags="ssd")
    shown = page.get_by_role("region", name="A host may join")
    text = shown.locator("pre").inner_text()
    (token,) = client.join_tokens.page(JoinTokenQuery()).items
    assert (token.roles, token.tags) == (("routing",), ("ssd",))
    assert text.startswith("arable agent join <<END\n")
    assert len(text.split("\n")[1]) > 30
    shown.get_by_role("button", name="I have it; close").click()
    invited = page.get_by_role("region", name="Invited")
    invited.get_by_role("row", name="one new host n1").wait_for()
    assert text.split("\n")[1] not in page.get_by_role("main").inner_text()
    invited.get_by_role("button", name="Revoke").click()
    invited.get_by_role("button", name="Really: Revoke").click()
    invited.wait_for(state="detached")
    assert not client.join_tokens.page(JoinTokenQuery()).items

    operators.open(f"zones/{zone.id}", "north")
    form = operators.form("Delete the zone")
    form.get_by_label("Type north to confirm").fill("north")
    form.get_by_role("button", name="Delete the zone").click()
    form.get_by_role("alert").wait_for()  # it has a pod
    form.get_by_label("Type north to confirm").fill("")
    operators.sure("Delete the range 198.51.100.0/24")
    page.get_by_text("There is none, so nothing is reached from outside").wait_for()
    operators.sure("Delete the pod n1")
    page.get_by_text("There is none, so no host can join.").wait_for()
    form.get_by_label("Type north to confirm").fill("north")
    form.get_by_role("button", name="Delete the zone").click()
    page.get_by_text("There is no such zone any more.").wait_for()
    assert not client.public_ranges.page(PublicRangeQuery(zone=zone.id)).items


def test_a_host_and_its_pool_are_found_and_changed(operators):
    page, client = operators.page, operators.client
    (idle,) = [each for each in client.hosts.page().items if each.maintenance]
    operators.open("hosts", "Hosts")
    page.get_by_label("In maintenance alone").check()
    main = page.get_by_role("main")
    main.get_by_role("row").nth(1).wait_for()
    main.get_by_role("row", name=idle.name).get_by_text("in maintenance").wait_for()
    page.get_by_label("Find by name, pod, role or tag").fill("nobody")
    page.get_by_text("There is none like that.").wait_for()
    page.get_by_label("Find by name, pod, role or tag").fill(idle.name[1:])
    page.get_by_role("link", name=idle.name).click()
    page.get_by_role("heading", name=idle.name, level=1).wait_for()
    operators.send("Change it", roles="compute, baking")
    operators.refused("roles")
    operators.send("Change it", roles="compute, routing", cpu_percent="300", tags="ssd")
    page.locator("dd", has_text="which is 300% of what it has").wait_for()
    changed = client.hosts.get(idle.id)
    assert (changed.cpu_mhz.percent, changed.tags, changed.roles) == (300, ("ssd",), idle.roles)
    operators.send("Let it in anew")
    shown = page.get_by_role("region", name=f"{idle.name} may join anew")
    assert "arable agent join" in shown.locator("pre").inner_text()
    (token,) = client.join_tokens.page(JoinTokenQuery()).items
    client.join_tokens.delete(token.id)

    page.get_by_role("link", name="local", exact=True).click()
    page.get_by_text("What is on it has no replica elsewhere").wait_for()
    operators.send("Change how much may be promised", percent="150")
    page.locator("dd", has_text="150% of what it has").wait_for()
    pool = client.pools.get(changed.pool)
    assert pool.percent == 150
    client.pools.update(pool.id, PoolChange(percent=idle.disk_mib.percent))
    client.hosts.update(idle.id, HostChange(cpu_percent=idle.cpu_mhz.percent, tags=()))


def test_an_order_is_reviewed_and_the_only_server_is_not_drained(scene, operators):
    page, client = operators.page, operators.client
    operators.open("plans", "Plans")
    form = operators.form("Make a plan")
    form.get_by_label("How many elements").select_option("between least and most, by load")
    form.get_by_role("button", name="Add a target to rule 1").click()
    rule = {"tiers__0__least": "5", "tiers__0__policy__targets__0__value": "70"}
    operators.send("Make a plan", name="growing", **rule, tiers__0__most="2")
    operators.refused("tiers.0.most")
    operators.send("Make a plan", tiers__0__least="1", tiers__0__most="3")
    page.get_by_role("row", name="growing").get_by_text("70 CPU, percent for each").wait_for()
    client.settings.update(SettingsChange(values={"order_review": "all"}))
    trent = scene.served.customer("trent")
    blueprint = {"name": "web", "image": "tiny", "offering": "small"}
    trent.blueprints.create(msgspec.convert(blueprint, BlueprintIn))
    tier = {"name": "web", "blueprint": "web", "networks": ["web"], "least": 1}
    document = {"networks": [{"name": "web"}], "tiers": [tier]}
    for name in ("fair", "fowl"):
        ask = {"document": {"name": name, **document}, "plan": "growing", "purchase_order": "PO-7"}
        trent.orders.create(msgspec.convert(ask, OrderIn))

    def waiting() -> bool:
        found = client.orders.page(OrderQuery(state=("reviewing",))).items
        return len(found) == 2

    scene.hall.until(waiting)
    operators.open("orders", "Orders")
    queue = page.get_by_role("region", name="To be reviewed")
    queue.get_by_role("row", name="fowl trent trent growing").wait_for()
    queue.get_by_role("link", name="fowl").click()
    page.get_by_role("heading", name="fowl", level=1).wait_for()
    page.get_by_text("an hour").first.wait_for()
    operators.send("Refuse the order", reason="no poultry")
    page.locator("dd", has_text="no poultry").wait_for()
    operators.open("orders", "Orders")
    queue.get_by_role("row", name="fowl").wait_for(state="detached")
    queue.get_by_role("link", name="fair").click()
    page.get_by_role("heading", name="fair", level=1).wait_for()
    operators.send("Approve the order", reason="welcome")

    def made() -> dict[str, str]:
        return {each.name: each.id for each in trent.farms.all()}

    scene.hall.until(lambda: "fair" in made())
    (order,) = client.orders.page(OrderQuery(farm=made()["fair"])).items
    operators.open("orders", "Orders")
    operators.open(f"orders/{order.id}", "fair")
    page.get_by_role("link", name="To the farm fair").wait_for()
    page.get_by_text("approved: welcome").wait_for()
    client.settings.update(SettingsChange(values={"order_review": None}))
    assert {each.state for each in trent.orders.page().items} >= {"refused"}

    operators.open("plans", "Plans")
    page.get_by_role("button", name="Disable the plan growing").click()
    page.get_by_role("button", name="Enable the plan growing").wait_for()
    operators.open("control", "Control plane")
    operators.send("Drain a management server")
    page.get_by_role("form", name="Drain a management server").get_by_role("alert").wait_for()


def test_a_plan_has_a_rule_for_each_tier(operators, carols):
    page, client = operators.page, operators.client
    operators.open("plans", "Plans")
    form = operators.form("Make a plan")
    form.get_by_label("How many elements").select_option("more at certain times")
    form.get_by_role("button", name="Add a time to rule 1").click()
    first = {"tiers__0__windows__0__begin": "8", "tiers__0__windows__0__least": "3"}
    form.get_by_role("button", name="Add a rule for a tier").click()
    second = {"tiers__1__tier": "db", "tiers__1__least": "2", "tiers__1__most": "2"}
    operators.send("Make a plan", name="office", about="By day.", **first, **second)
    assert "hours and minutes" in operators.refused("tiers.0.windows.0.begin").inner_text()
    form.get_by_text("The same as a file, plan.yaml").click()
    put(form, "tiers.0.windows.0.begin", "08:00")
    assert 'begin: "08:00"' in form.get_by_label("plan.yaml").inner_text()
    operators.send("Make a plan")
    page.get_by_role("link", name="office").click()
    page.get_by_role("heading", name="office", level=1).wait_for()
    page.get_by_role("row", name="tier db 2 2").wait_for()
    page.get_by_text("at least 3, Monday to Friday 08:00 to 18:00").wait_for()
    (made,) = client.plans.page(PlanQuery(name="office")).items

    form = operators.form("Change the plan")
    form.get_by_role("button", name="Remove rule 2").click()
    form.get_by_role("button", name="Add a time to rule 1").click()
    ask = {"tiers__0__tier": "web", "tiers__0__windows__1__least": "300"}
    operators.send("Change the plan", **ask)
    assert not form.get_by_label("At least").last.evaluate("each => each.validity.valid")
    operators.send("Change the plan", tiers__0__windows__1__least="5")
    page.get_by_role("row", name="tier db").wait_for(state="detached")
    page.get_by_text("at least 5, Monday to Friday 08:00 to 18:00").wait_for()
    page.get_by_text("Farms with tiers of other names can't be ordered by it.").wait_for()
    (rule,) = client.plans.get(made.id).tiers
    assert (rule["tier"], [each["least"] for each in rule["windows"]]) == ("web", [3, 5])
    assert rule["windows"][0]["lead_seconds"] == 120, "what the form has no word for stays"

    carols.open(f"plans/{made.id}", "office")
    seen = carols.page
    seen.get_by_role("row", name="tier web 0 200").wait_for()
    assert seen.locator("main form, main button").count() == 0, "customers only look"
    carols.open("provision", "Provision a farm")
    seen.get_by_text("Order it instead, by a service plan").click()
    seen.get_by_label("Service plan").select_option("office: By day.")
    seen.get_by_text("tier web: 0 to 200 elements, at least 3").wait_for()

    form = operators.form("Delete the plan")
    form.get_by_label("Type office to confirm").fill("office")
    form.get_by_role("button", name="Delete the plan").click()
    page.get_by_text("There is no such plan any more.").wait_for()


def test_the_data_centres_pages_fit_a_phone(operators):
    client = operators.client
    (zone,) = client.zones.page().items
    host = client.hosts.page().items[0]
    pages = {"zones": "Zones", f"zones/{zone.id}": zone.name, "hosts": "Hosts"}
    more = {f"hosts/{host.id}": host.name, "pools": "Storage pools", f"pools/{host.pool}": "local"}
    others = {
        "control": "Control plane",
        "orders": "Orders",
        "plans": "Plans",
        "regions": "Regions",
    }
    operators.fits({**pages, **more, **others, "groups": "Groups"})
