// Rules of service plans: in words, and as a form of cards, one for each tier that has a rule of its own and one for all others.

import { button, element, field, fill, select } from "./element.js";

export const KINDS = [["fixed", "as many as ordered"], ["autoscaling", "between least and most, by load"], ["windows", "more at certain times"]];
const METRICS = [["cpu-percent", "CPU, percent"], ["memory-percent", "memory, percent"], ["kbps", "kbit/s"], ["requests-per-s", "requests a second"], ["sessions", "sessions"], ["response-ms", "response in ms"]];
const DAYS = [["daily", "each day"], ["mon-fri", "Monday to Friday"], ["sat-sun", "Saturday and Sunday"], ["mon", "Mondays"], ["tue", "Tuesdays"], ["wed", "Wednesdays"], ["thu", "Thursdays"], ["fri", "Fridays"], ["sat", "Saturdays"], ["sun", "Sundays"]];
const MOST = 200; // elements of a tier
const RESTS = { up: 30, down: 300, lead: 120 }; // seconds, where nothing else is said
const [OF, ON] = [Object.fromEntries(METRICS), Object.fromEntries(DAYS)];

export const kindOf = (plan) => KINDS.find(([kind]) => kind === plan.scaling)[1];
export const numbersOf = (each) => `${each.least ?? 0} to ${each.most ?? MOST} elements`;
export const tierOf = (each) => (each.tier ? `tier ${each.tier}` : "all other tiers");

/** What a rule has besides numbers, one text each. */
export function doesOf(each) {
  const { targets = [], steps = [], up_seconds: up, down_seconds: down } = each.policy ?? {};
  return [...targets.map((one) => `${one.value} ${OF[one.metric]} for each`),
    ...steps.map((one) => `${one.add ?? 1} more above ${one.above} ${OF[one.metric]}${one.seconds === undefined ? "" : ` for ${one.seconds} s`}`),
    ...([undefined, RESTS.up].includes(up) ? [] : [`a rest of ${up} s after there were made more`]), ...([undefined, RESTS.down].includes(down) ? [] : [`fewer when fewer have done for ${down} s`]),
    ...(each.windows ?? []).map((one) => `at least ${one.least}, ${ON[one.days ?? "daily"]} ${one.begin} to ${one.end}${[undefined, RESTS.lead].includes(one.lead_seconds) ? "" : `, made ${one.lead_seconds} s before`}`)];
}

/** A rule in words. */
export const ruleOf = (each) => `${tierOf(each)}: ${[numbersOf(each), ...doesOf(each)].join(", ")}`;

/** Cards, one for each rule. `read(kind)` gives the rules that such a plan may have; `changed` is told of everything that is typed. */
export function ruleCards(begin, changed) {
  const node = element("div", {});
  let rules = structuredClone(begin);
  let kind = "fixed";
  let moved = false; // once there are other cards than at first, what is in them counts as typed

  const again = (grown) => {
    moved ||= grown;
    fill(node, ...rules.map(card), element("p", { class: "acts" }, button("Add a rule for a tier", () => {
      rules.push({ tier: "" });
      more();
    }, { class: "small" })));
  };
  const more = () => {
    again(true);
    changed();
  };

  const set = (into, key, value) => {
    if (value === "") delete into[key];
    else into[key] = value;
    changed();
  };
  const shown = (made, value) => {
    if (moved) made.value = value;
    else made.setAttribute("value", value);
    return made;
  };
  const text = (into, key, but = {}) => shown(element("input", { autocomplete: "off", spellcheck: "false", oninput: (event) => set(into, key, event.target.value), ...but }), into[key] ?? "");
  const number = (into, key, but = {}) => shown(element("input", { type: "number", inputmode: "numeric", min: "0", oninput: (event) => set(into, key, event.target.value === "" ? "" : Number(event.target.value)), ...but }), into[key] ?? "");
  const choice = (into, key, options) => select(options, into[key], (event) => set(into, key, event.target.value));
  const drop = (list, at, label, text_ = "Remove") => button(text_, () => {
    list.splice(at, 1);
    more();
  }, { class: "small", "aria-label": label });

  /** Like things of a rule, a row each. */
  function rows(title, about, list, path, one, fresh, add, label) {
    return element("fieldset", { class: "field", "data-path": path }, element("legend", {}, title), element("p", { class: "hint" }, about),
      ...list.map((each, at) => element("div", { class: "row", role: "group", "aria-label": `${title} ${at + 1} of ${label}` }, ...one(each, `${path}.${at}`), drop(list, at, `Remove ${title.toLowerCase()} ${at + 1} of ${label}`))),
      button(add, () => {
        list.push(fresh());
        more();
      }, { class: "small", "aria-label": `${add} to ${label}` }), element("p", { class: "wrong" }));
  }

  const byLoad = (rule, path, label) => {
    const policy = rule.policy ??= {};
    return [
      rows("Targets", "So much for each element is right. The largest number that any target or step wants counts.", policy.targets ??= [], `${path}.policy.targets`, (each, at) => [
        field("Of what", choice(each, "metric", METRICS), { path: `${at}.metric` }), field("For each element", number(each, "value", { min: "1", required: true }), { path: `${at}.value` })], () => ({ metric: "cpu-percent", value: 60 }), "Add a target", label),
      rows("Steps", "More than so much, for so long: so many elements more.", policy.steps ??= [], `${path}.policy.steps`, (each, at) => [
        field("Of what", choice(each, "metric", METRICS), { path: `${at}.metric` }), field("Above", number(each, "above", { min: "1", required: true }), { path: `${at}.above` }), field("For seconds", number(each, "seconds", { max: "86400", placeholder: "30" }), { path: `${at}.seconds` }),
        field("Elements more", number(each, "add", { min: "1", max: "100", placeholder: "1" }), { path: `${at}.add` })], () => ({ metric: "cpu-percent", above: 80 }), "Add a step", label),
      element("div", { class: "row" }, field("Rest after there were made more, seconds", number(policy, "up_seconds", { max: "86400", placeholder: String(RESTS.up) }), { path: `${path}.policy.up_seconds` }),
        field("Fewer when fewer have done for, seconds", number(policy, "down_seconds", { max: "86400", placeholder: String(RESTS.down) }), { path: `${path}.policy.down_seconds` }))];
  };

  const byTime = (rule, path, label) => [rows("Times", "By the farm's clock; past midnight where the end is not later.", rule.windows ??= [], `${path}.windows`, (each, at) => [
    field("Days", choice(each, "days", DAYS), { path: `${at}.days` }), field("From", text(each, "begin", { maxlength: "5", required: true }), { path: `${at}.begin` }), field("To", text(each, "end", { maxlength: "5", required: true }), { path: `${at}.end` }),
    field("At least", number(each, "least", { max: String(MOST), required: true }), { path: `${at}.least` }), field("Made seconds before", number(each, "lead_seconds", { max: "86400", placeholder: String(RESTS.lead) }), { path: `${at}.lead_seconds` })],
  () => ({ days: "mon-fri", begin: "08:00", end: "18:00", least: 2 }), "Add a time", label)];

  function card(rule, at) {
    const path = `tiers.${at}`;
    const label = `rule ${at + 1}`;
    return element("div", { class: "card field", role: "group", "aria-label": `Rule ${at + 1}`, "data-path": path },
      element("div", { class: "row" }, field("For the tier", text(rule, "tier", { maxlength: "63", placeholder: "all others" }), { path: `${path}.tier`, hint: at ? "" : "Left empty: all tiers without a rule of their own." }),
        field("Elements, at least", number(rule, "least", { max: String(MOST), placeholder: "0" }), { path: `${path}.least` }), field("At most", number(rule, "most", { max: String(MOST), placeholder: String(MOST) }), { path: `${path}.most` })),
      ...(kind === "autoscaling" ? byLoad(rule, path, label) : kind === "windows" ? byTime(rule, path, label) : []),
      element("p", { class: "wrong" }), rules.length > 1 ? element("p", { class: "acts" }, drop(rules, at, `Remove ${label}`, "Remove the rule")) : null);
  }

  /** Of a rule what such a plan may have, and nothing that is empty. */
  function kept({ tier, least, most, policy, windows }) {
    const { targets = [], steps = [], ...rests } = policy ?? {};
    const how = { ...(targets.length ? { targets } : {}), ...(steps.length ? { steps } : {}) };
    return { ...(tier ? { tier } : {}), ...(least === undefined ? {} : { least }), ...(most === undefined ? {} : { most }),
      ...(kind === "autoscaling" && Object.keys(how).length ? { policy: { ...how, ...rests } } : {}), ...(kind === "windows" && windows?.length ? { windows } : {}) };
  }

  again(false);
  return {
    node,
    read: () => structuredClone(rules.map(kept)),
    /** The fields that such a plan has. */
    of(now) {
      kind = now;
      again(false);
    },
    /** As it was at first. */
    back() {
      rules = structuredClone(begin);
      moved = false;
      again(false);
    },
  };
}
