// The account's networks, and a new one.

import { list } from "./api.js";
import { state } from "./element.js";
import { form, named, tick, words, zoneChoice } from "./forms.js";
import { link, listed, living } from "./lists.js";
import { learn, nameOf } from "./names.js";

export async function networks(page, who, look) {
  return living(page, look, {
    title: "Networks",
    async read() {
      const found = await list("/v1/networks", { account: who.account });
      await learn(found.flatMap((each) => [each.zone, each.farm]), [["/v1/zones", {}], ["/v1/farms", { account: who.account }]]);
      return found;
    },
    show: (found) => [listed(["Name", "Subnet", "Farm", "Zone", "Router"], found.map((each) => [
      link(`#/networks/${each.id}`, each.name), [each.cidr, each.ipv6_cidr].filter(Boolean).join(", "), nameOf(each.farm), nameOf(each.zone),
      state(each.appliance)]), "Networks of the account", "There is none: the first machine makes one.")],
    async forms(_found, acts) {
      return [form("Make a network", { path: "/v1/networks", cli: ["arable", "network", "create"], done: acts.follow, fields: [named(),
        words("Subnet", "cidr", { placeholder: "10.2.0.0/24", hint: "Left empty: the zone's usual one." }), zoneChoice(await list("/v1/zones")),
        tick("No way out and none in", "isolated")] })];
    },
  });
}
