// The account's networks, and a new one.

import { asked } from "./acts.js";
import { list } from "./api.js";
import { element, fill, select, state, status, table } from "./element.js";
import { learn, nameOf } from "./names.js";
import { progress } from "./progress.js";

export async function networks(page, who, look) {
  const place = element("div", {}, status("Loading…"));
  const under = element("div", {});
  fill(page, element("h1", { tabindex: "-1" }, "Networks"), place, under);
  let stop = () => {};
  if (who.permissions.includes("network:write")) page.append(await made(look, (operation) => { stop(); stop = progress(under, operation); }));
  return {
    close: () => stop(),
    async look() {
      const found = await list("/v1/networks", { account: who.account });
      await learn(found.flatMap((each) => [each.zone, each.farm]), [["/v1/zones", {}], ["/v1/farms", { account: who.account }]]);
      fill(place, found.length ? table(["Name", "Subnet", "Farm", "Zone", "Router"], found.map((each) => [
        element("a", { href: `#/networks/${each.id}` }, each.name), [each.cidr, each.ipv6_cidr].filter(Boolean).join(", "), nameOf(each.farm), nameOf(each.zone),
        state(each.appliance)]), "Networks of the account") : element("p", {}, "There is none: the first machine makes one."));
    },
  };
}

async function made(look, follow) {
  const zones = await list("/v1/zones");
  const name = element("input", { required: true, maxlength: "63", autocomplete: "off", spellcheck: "false" });
  const cidr = element("input", { placeholder: "10.2.0.0/24", autocomplete: "off", spellcheck: "false" });
  const zone = select([["", zones.length > 1 ? "choose" : "the only one"], ...zones.map((each) => [each.name, each.name])], "");
  const isolated = element("input", { type: "checkbox" });
  return asked("Make a network", [["Name", name, "name"], ["Subnet", cidr, "cidr", "Left empty: the zone's usual one."], ["Zone", zone, "zone"],
    ["No way out and none in", isolated, "isolated"]], () => ({ path: "/v1/networks",
    body: { name: name.value, ...(cidr.value ? { cidr: cidr.value } : {}), ...(zone.value ? { zone: zone.value } : {}), ...(isolated.checked ? { isolated: true } : {}) },
    cli: [["arable", "network", "create", name.value, ...(cidr.value ? ["--cidr", cidr.value] : []), ...(zone.value ? ["--zone", zone.value] : []),
      ...(isolated.checked ? ["--isolated"] : [])]] }), (answer) => {
    if (answer.operation) follow(answer.operation);
    look();
  });
}
