// Service plans: by what rules farms are ordered. Everybody sees them; operators make them.

import { list } from "./api.js";
import { element, state } from "./element.js";
import { choice, count, form, named, words } from "./forms.js";
import { link, listed, living } from "./lists.js";
import { may } from "./may.js";

const KINDS = [["fixed", "as many as ordered"], ["autoscaling", "between least and most, by load"], ["windows", "more at certain times"]];
const METRICS = [["cpu-percent", "CPU, percent"], ["memory-percent", "memory, percent"], ["kbps", "kbit/s"], ["requests-per-s", "requests a second"], ["sessions", "sessions"], ["response-ms", "response in ms"]];
const DAYS = ["daily", "mon-fri", "sat-sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun"].map((each) => [each, each]);
const OF = Object.fromEntries(METRICS);

/** A rule in words. */
function rule(each) {
  const aims = (each.policy?.targets ?? []).map((one) => `${one.value} ${OF[one.metric]} for each`);
  const steps = (each.policy?.steps ?? []).map((one) => `${one.add} more above ${one.above} ${OF[one.metric]}`);
  const times = (each.windows ?? []).map((one) => `${one.least} at least ${one.days} ${one.begin} to ${one.end}`);
  return `${each.tier ? `tier ${each.tier}` : "each tier"}: ${[`${each.least ?? 0} to ${each.most ?? 200} elements`, ...aims, ...steps, ...times].join(", ")}`;
}

export async function plans(page, _who, look) {
  return living(page, look, {
    title: "Plans",
    read: () => list("/v1/plans"),
    show: (found, acts) => [listed(["Plan", "How many elements", "Rules", "About", "State", ""], found.map((each) => [each.name, KINDS.find(([kind]) => kind === each.scaling)[1], each.tiers.map(rule).join("; "), each.about, state(each.enabled ? "ready" : "disabled"),
      element("span", { class: "acts" }, acts.small(each.enabled ? "Disable" : "Enable", `${each.enabled ? "Disable" : "Enable"} the plan ${each.name}`, "PATCH", `/v1/plans/${each.id}`, { enabled: !each.enabled }, { expects: each.generation }),
        acts.sure("Delete", `Delete the plan ${each.name}`, "DELETE", `/v1/plans/${each.id}`, undefined, { expects: each.generation }))]),
    "Service plans, by which farms are ordered", `There is none${may("/v1/plans") ? ". Make one: customers choose it when they order a farm." : " yet: operators make them."}`),
    found.some((each) => each.enabled) && may("/v1/orders") ? element("p", {}, link("#/provision", "Lay out a farm and order it"), " by one of them.") : null,
    may("/v1/plans") && found.length ? element("p", { class: "hint" }, "A disabled plan takes no more orders; what was ordered by it stays as it is.") : null],
    forms: (_found, acts) => formsOf(acts.follow),
  });
}

function formsOf(done) {
  if (!may("/v1/plans")) return [];
  const make = (label, scaling, more, rest) => {
    const fixed = scaling === "fixed";
    const rule_ = (said) => ({ ...(said.least === undefined ? {} : { least: said.least }), ...(said.most === undefined ? {} : { most: said.most }), ...rest(said) });
    return form(label, { path: "/v1/plans", fixed: { scaling }, done, shape: (body, said) => ({ ...body, tiers: [rule_(said)] }),
      cli: (said) => (fixed ? ["arable", "plan", "create", "--scaling", scaling, "--tier", Object.entries(rule_(said)).map(([name, value]) => `${name}=${value}`).join(",") || "most=200"] : ["arable", "apply", "-f", "plan.yaml"]),
      fields: [named("Name", fixed ? {} : { words: () => [] }), words("About", "about", { most: 200, hint: "What customers read.", ...(fixed ? {} : { words: () => [] }) }),
        inRule("Elements of a tier, at least", "least"), inRule("At most", "most", { placeholder: "200" }), ...more] });
  };
  return [
    make("Make a plan of fixed numbers", "fixed", [], () => ({})),
    make("Make a plan that scales by load", "autoscaling", [unsent(choice, "By", "metric", METRICS, { at: "tiers.0.policy" }), inRule("So much of it for each element", "value", { required: true, value: "60", min: "1" })],
      (said) => ({ policy: { targets: [{ metric: said.metric, value: said.value ?? 0 }] } })),
    make("Make a plan with certain times", "windows", [unsent(choice, "Days", "days", DAYS, { at: "tiers.0.windows" }), clock("From", "begin", "08:00"), clock("To", "end", "18:00"), inRule("Then at least", "then", { required: true, value: "2" })],
      (said) => ({ windows: [{ days: said.days, begin: said.begin ?? "", end: said.end ?? "", least: said.then ?? 0 }] })),
    element("p", { class: "hint" }, "Rules for tiers of certain names, several targets, steps and times are said in a file, for arable apply, or by REST.")];
}

const unsent = (kind, label, path, options, but) => kind(label, path, options, { sent: false, words: () => [], ...but });
const inRule = (label, path, but = {}) => count(label, path, { sent: false, words: () => [], at: `tiers.0.${path}`, ...but });
const clock = (label, path, value) => words(label, path, { sent: false, words: () => [], required: true, value, most: 5, at: `tiers.0.windows.0.${path}`, hint: "By the farm's clock." });
