// Service plans: by what rules farms are ordered. Everybody sees them; operators make them.

import { folded } from "./acts.js";
import { list } from "./api.js";
import { element, field, fill, select, state } from "./element.js";
import { link, listed, living } from "./lists.js";
import { may } from "./may.js";
import { KINDS, kindOf, ruleCards, ruleOf } from "./rules.js";
import { write } from "./yaml.js";

export async function plans(page, _who, look) {
  return living(page, look, {
    title: "Plans",
    read: () => list("/v1/plans"),
    show: (found, acts) => [listed(["Plan", "How many elements", "Rules", "About", "State", ""], found.map((each) => [link(`#/plans/${each.id}`, each.name), kindOf(each), each.tiers.map(ruleOf).join("; "), each.about, state(each.enabled ? "ready" : "disabled"),
      element("span", { class: "acts" }, acts.small(each.enabled ? "Disable" : "Enable", `${each.enabled ? "Disable" : "Enable"} the plan ${each.name}`, "PATCH", `/v1/plans/${each.id}`, { enabled: !each.enabled }, { expects: each.generation }),
        acts.sure("Delete", `Delete the plan ${each.name}`, "DELETE", `/v1/plans/${each.id}`, undefined, { expects: each.generation }))]),
    "Service plans, by which farms are ordered", `There is none${may("/v1/plans") ? ". Make one: customers choose it when they order a farm." : " yet: operators make them."}`),
    found.some((each) => each.enabled) && may("/v1/orders") ? element("p", {}, link("#/provision", "Lay out a farm and order it"), " by one of them.") : null,
    may("/v1/plans") && found.length ? element("p", { class: "hint" }, "A disabled plan takes no more orders; what was ordered by it stays as it is.") : null],
    forms: (_found, acts) => [planForm(null, acts.follow)],
  });
}

/** Makes a plan, or changes one that is there. */
export function planForm(plan, done) {
  const name = element("input", { required: true, maxlength: "63", autocomplete: "off", spellcheck: "false" });
  const about = element("input", { maxlength: "200", autocomplete: "off", value: plan?.about ?? "" });
  const kind = select(KINDS, plan?.scaling ?? "fixed", () => cards.of(kind.value));
  const file = element("pre", { tabindex: "0", "aria-label": "plan.yaml" });
  const said = { node: null };
  const cards = ruleCards(plan?.tiers ?? [{}], () => said.node?.querySelector("form").dispatchEvent(new Event("change")));
  cards.of(kind.value);
  const before = JSON.stringify(cards.read());

  function ask() {
    const tiers = cards.read();
    const called = plan?.name ?? name.value;
    fill(file, write({ kind: "plan", name: called, scaling: kind.value, about: about.value, tiers }));
    const simple = tiers.every((each) => !each.policy && !each.windows);
    const spoken = tiers.flatMap((each) => ["--tier", Object.entries(each).map(([key, value]) => `${key}=${value}`).join(",") || "most=200"]);
    if (!plan) {
      return { path: "/v1/plans", body: { name: name.value, scaling: kind.value, tiers, ...(about.value ? { about: about.value } : {}) },
        cli: [simple ? ["arable", "plan", "create", called, "--scaling", kind.value, ...spoken, ...(about.value ? ["--about", about.value] : [])] : ["arable", "apply", "-f", "plan.yaml"]] };
    }
    const other = JSON.stringify(tiers) !== before;
    return { method: "PATCH", path: `/v1/plans/${plan.id}`, expects: plan.generation, body: { ...(other ? { tiers } : {}), ...(about.value === plan.about ? {} : { about: about.value }) },
      cli: [simple ? ["arable", "plan", "update", called, ...(other ? spoken : []), ...(about.value === plan.about ? [] : ["--about", about.value])] : ["arable", "apply", "-f", "plan.yaml"]] };
  }

  said.node = folded(plan ? "Change the plan" : "Make a plan", [
    element("p", {}, plan ? "What was ordered by it before stays as it is." : "Each tier of an order has the rule of its name, or the one for all others. Orders for more are refused."),
    element("div", { class: "row" }, plan ? null : field("Name", name, { path: "name" }), plan ? null : field("How many elements", kind, { path: "scaling" }), field("About", about, { path: "about", hint: "What customers read." })),
    cards.node,
    element("details", {}, element("summary", {}, "The same as a file, plan.yaml"), file)],
  { ask, done, ready: () => !plan || Object.keys(ask().body).length > 0 });
  said.node?.querySelector("form").addEventListener("reset", () => {
    cards.back();
    cards.of(plan?.scaling ?? "fixed");
  });
  return said.node;
}
