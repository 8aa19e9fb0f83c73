// The account's farms.

import { list } from "./api.js";
import { element, fill, state, status, table } from "./element.js";
import { link } from "./lists.js";
import { may } from "./may.js";

/** By farm, what the newest order of it that was carried out said of its price. */
export async function prices(query) {
  const found = new Map();
  for (const order of await list("/v1/orders", { ...query, state: "done" })) {
    if (order.farm && order.currency) found.set(order.farm, order);
  }
  return found;
}

export function priceOf(order) {
  if (!order) return "";
  const span = order.least_hour === order.most_hour ? order.least_hour : `${order.least_hour} to ${order.most_hour}`;
  return `${span} ${order.currency}`;
}

export async function farms(page, who) {
  const place = element("div", {}, status("Loading…"));
  fill(page, element("h1", { tabindex: "-1" }, "Farms"),
    may("/v1/farms") ? element("p", { class: "acts" }, link("#/provision", "Provision a farm", "button")) : null, place);
  let known = null; // whose prices these are
  let ordered = new Map();
  return {
    async look() {
      const found = await list("/v1/farms", { account: who.account });
      const here = found.map((farm) => farm.id).join();
      if (here !== known) ordered = await prices({ account: who.account }).catch(() => new Map());
      known = here;
      if (!found.length) return void fill(place, element("p", {}, "There is no farm yet. ", may("/v1/farms") ? "Provision one: its tiers, networks and edge are laid out by a form." : ""));
      fill(place, table(["Name", "State", "Tiers: serving of wanted", "Price of an hour"], found.map((farm) => [
        link(`#/farms/${farm.id}`, farm.name),
        state(farm.state),
        farm.tiers.length ? farm.tiers.map((tier) => `${tier.name} ${tier.serving}/${tier.count}`).join(", ")
          : `${farm.by_hand} machines by hand`,
        priceOf(ordered.get(farm.id)),
      ]), "Farms of the account"));
    },
  };
}
