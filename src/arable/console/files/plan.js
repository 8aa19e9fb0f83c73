// One service plan: its rules, tier by tier; for operators, to be changed.

import { acting, confirmed } from "./acts.js";
import { call } from "./api.js";
import { element, moment, state } from "./element.js";
import { facts, link, listed, living, part } from "./lists.js";
import { may } from "./may.js";
import { planForm } from "./plans.js";
import { doesOf, kindOf, tierOf } from "./rules.js";

export async function plan(page, _who, look, id) {
  return living(page, look, {
    title: "Plan",
    gone: ["plan", "#/plans"],
    read: () => call("GET", `/v1/plans/${id}`),
    show: (found) => [
      facts([["State", state(found.enabled ? "ready" : "disabled")], ["How many elements", kindOf(found)], ["About", found.about || "nothing is said of it"], ["Made", moment(found.created_at)]]),
      part("Rules", listed(["For", "Elements, at least", "At most", "Besides"], found.tiers.map((each) => [tierOf(each), each.least ?? 0, each.most ?? 200,
        doesOf(each).length ? element("ul", {}, ...doesOf(each).map((one) => element("li", {}, one))) : found.scaling === "autoscaling" ? "by what the order says" : ""]), "What holds for tiers of farms that are ordered by it", "")),
      found.tiers.every((each) => each.tier) ? element("p", { class: "hint" }, "Farms with tiers of other names can't be ordered by it.") : null,
      found.enabled && may("/v1/orders") ? element("p", {}, link("#/provision", "Lay out a farm and order it"), " by this plan.") : null],
    offers: (found) => found.generation,
    forms(found, acts) {
      const path = `/v1/plans/${id}`;
      return [
        acting([{ text: found.enabled ? "Disable it" : "Enable it", method: "PATCH", path, body: { enabled: !found.enabled }, expects: found.generation, cli: ["arable", "plan", "update", found.name, found.enabled ? "--no-enabled" : "--enabled"] }], acts.follow),
        planForm(found, acts.follow),
        confirmed(found.name, "Delete the plan", "Nobody orders by it any more. Farms that were ordered by it stay as they are.", () => ({ method: "DELETE", path, expects: found.generation, cli: [["arable", "plan", "delete", found.name]] }), acts.follow)];
    },
  });
}
