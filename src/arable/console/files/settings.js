// For operators: what may be tuned while the cloud runs, each with its meaning, bounds and default.

import { folded } from "./acts.js";
import { call } from "./api.js";
import { element, field, select } from "./element.js";
import { living } from "./lists.js";
import { may } from "./may.js";

export async function settings(page, _who, look) {
  const shown = new Map();
  const find = element("input", { type: "search", autocomplete: "off", spellcheck: "false", "aria-label": "Find in settings", placeholder: "Find", oninput: filtered });
  const place = element("div", {});
  function filtered() {
    for (const [name, { node, about }] of shown) node.hidden = !find.value.toLowerCase().split(" ").every((word) => name.includes(word) || about.toLowerCase().includes(word));
  }
  return living(page, look, {
    title: "Settings",
    lead: [element("p", {}, find)],
    async read() {
      return (await call("GET", "/v1/settings")).settings;
    },
    show(found, acts) {
      for (const each of found) {
        const before = shown.get(each.name);
        if (before?.value === each.value) continue;
        const node = one(each, acts);
        if (before) before.node.replaceWith(node);
        else place.append(node);
        shown.set(each.name, { node, value: each.value, about: each.about });
      }
      filtered();
      return [place];
    },
  });
}

/** One of them: a card with its value, and a form where one may change it. */
function one(setting, acts) {
  const { name, value, about, minimum, maximum, choices } = setting;
  const usual = value === setting.default;
  const bounds = choices.length ? `One of ${choices.join(", ")}.` : `From ${minimum} to ${maximum}.`;
  const said = element("p", {}, element("strong", {}, String(value)), usual ? " (the default)" : ` (the default is ${setting.default})`);
  const input = choices.length ? select(choices.map((each) => [each, each]), value, null)
    : element("input", { type: "number", inputmode: "numeric", min: String(minimum), max: String(maximum), value: String(value), required: true });
  const ask = () => ({ method: "PATCH", path: "/v1/settings", body: { values: { [name]: choices.length ? input.value : Number(input.value) } }, cli: [["arable", "setting", "set", `${name}=${input.value}`]] });
  const change = folded(`Change ${name}`, [element("div", { class: "row" }, field("Value", input, { path: name, hint: bounds }))], { ask, done: () => acts.follow(null), ready: () => input.value !== "" });
  return element("section", { class: "card", "aria-label": name }, element("h2", {}, name), element("p", {}, `${about}.`), said, change,
    usual || !may("/v1/settings") ? null : acts.small("Back to the default", `Set ${name} back to its default`, "PATCH", "/v1/settings", { values: { [name]: null } }));
}
