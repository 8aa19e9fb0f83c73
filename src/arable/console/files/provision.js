// A farm is laid out: by a form, or by its document as text; they are two views of one document, planned before it is applied.

import { call, list, newKey } from "./api.js";
import { brief, change, checked, shaped, SHAPES } from "./document.js";
import { button, element, field, fill, select } from "./element.js";
import { equivalent } from "./equivalent.js";
import { layoutForm } from "./layout.js";
import { clearProblems, showProblem } from "./problems.js";
import { planOf, progress } from "./progress.js";
import { kindOf, ruleOf } from "./rules.js";
import { read, Unreadable, write } from "./yaml.js";

export async function provision(page, _who, _look, id) {
  const [blueprints, offerings, zones, plans] = await Promise.all(
    ["/v1/blueprints", "/v1/offerings", "/v1/zones", "/v1/plans"].map((path) => list(path).catch(() => [])));
  const before = id ? await call("GET", `/v1/farms/${id}`) : null;
  let document = before ? brief(before.spec, before.name) : shaped("", ["web"], blueprints);
  let unreadable = null;
  let planned = null;
  let stop = () => {};

  const summary = element("div", {});
  const outcome = element("div", {});
  const same = equivalent();
  const text = element("textarea", { rows: "18", spellcheck: "false", autocomplete: "off", oninput: typed });
  const place = element("div", {});
  const apply = button(before ? "Apply" : "Apply: make the farm", applied, { class: "do", disabled: true });
  const order = button("Order it", ordered, { class: "do", disabled: true });
  const paying = { plan: element("select", {}, element("option", { value: "" }, "none"),
    ...plans.filter((each) => each.enabled).map((each) => element("option", { value: each.name }, each.about ? `${each.name}: ${each.about}` : each.name))),
  purchase_order: element("input", { maxlength: "60", autocomplete: "off" }) };
  for (const input of Object.values(paying)) input.addEventListener("input", changed);
  const rules = element("div", {});
  paying.plan.addEventListener("change", () => {
    const chosen = plans.find((each) => each.name === paying.plan.value);
    fill(rules, chosen ? [element("p", { class: "hint" }, `How many elements: ${kindOf(chosen)}.`), element("ul", { class: "hint" }, ...chosen.tiers.map((each) => element("li", {}, ruleOf(each))))] : null);
  });
  const form = element("form", { onsubmit: (event) => { event.preventDefault(); tried(false); }, "aria-label": "The farm" }, summary,
    before ? null : element("p", { class: "acts" }, "Begin with ", ...Object.values(SHAPES).map(([label, roles]) =>
      button(label, () => begin(shaped(document.name ?? "", roles, blueprints))))),
    place,
    element("details", { open: true }, element("summary", {}, "The document, as YAML"),
      field("YAML document", text, { hint: "May be changed here, too: the form follows.", path: "text" })),
    element("details", {}, element("summary", {}, "Order it instead, by a service plan"),
      field("Service plan", paying.plan, { path: "plan" }), rules, field("Number of your purchase order", paying.purchase_order, { path: "purchase_order" }),
      element("p", { class: "acts" }, button("Plan and price", () => tried(true)), order)),
    element("p", { class: "acts" }, element("button", { type: "submit" }, "Plan"), apply));
  fill(page, element("h1", { tabindex: "-1" }, before ? `Document of ${before.name}` : "Provision a farm"), form, same.node, outcome);

  function begin(now) {
    document = now;
    formed();
    written();
  }

  function formed() {
    fill(place, layoutForm(document, { blueprints, offerings, zones: before ? [] : zones, fixed: Boolean(before) }, written, formed));
  }

  /** The form has changed the document. */
  function written() {
    unreadable = null;
    text.value = write({ kind: "farm", ...document });
    changed();
  }

  /** The text has. */
  function typed() {
    try {
      document = checked(read(text.value));
      unreadable = null;
      formed();
      changed();
    } catch (error) {
      unreadable = error;
      changed();
      showProblem(form, summary, error instanceof Unreadable ? error : new Unreadable(error.message, 1));
    }
  }

  function changed() {
    planned = null;
    apply.disabled = true;
    order.disabled = true;
    clearProblems(form, summary);
    fill(outcome);
    shown();
  }

  function ask(isOrder) {
    if (isOrder) {
      const said = Object.fromEntries(Object.entries(paying).map(([name, input]) => [name, input.value]).filter(([, value]) => value));
      return { method: "POST", path: "/v1/orders", body: { document, ...said } };
    }
    return before ? { method: "PATCH", path: `/v1/farms/${id}`, body: change(document), expects: before.generation }
      : { method: "POST", path: "/v1/farms", body: document };
  }

  function shown(isOrder = false) {
    const file = `${/^[a-z0-9-]+$/.test(document.name ?? "") ? document.name : "farm"}.yaml`;
    const said = ask(isOrder);
    const more = isOrder ? [...(said.body.plan ? ["--plan", said.body.plan] : []), ...(said.body.purchase_order ? ["--po", said.body.purchase_order] : [])] : [];
    same.show({ ...said, cli: isOrder ? [["arable", "order", "create", "-f", file, ...more]]
      : [["arable", "farm", "plan", "-f", file], ["arable", "farm", "apply", "-f", file]] });
  }

  async function send(isOrder, dry) {
    if (unreadable) return void showProblem(form, summary, unreadable);
    const said = ask(isOrder);
    const asked = JSON.stringify(said);
    if (before && document.name !== before.name) return void showProblem(form, summary, new Error("a farm keeps its name"));
    try {
      const made = await call(said.method, said.path,
        { body: said.body, expects: said.expects, ...(dry ? { query: { dry_run: true } } : { key: newKey() }) });
      if (asked !== JSON.stringify(ask(isOrder))) return null; // it was changed meanwhile
      clearProblems(form, summary);
      return made;
    } catch (error) {
      showProblem(form, summary, error, isOrder ? "document." : "");
      return null;
    }
  }

  async function tried(isOrder) {
    shown(isOrder);
    const plan = await send(false, true);
    const priced = plan && isOrder ? await send(true, true) : null;
    if (!plan || (isOrder && !priced)) return;
    planned = JSON.stringify(ask(isOrder));
    apply.disabled = isOrder;
    order.disabled = !isOrder;
    fill(outcome, planOf(plan.steps), priced ? price(priced.order) : null);
  }

  async function applied() {
    if (planned !== JSON.stringify(ask(false))) return;
    apply.disabled = true;
    const made = await send(false, false);
    if (!made) return;
    planned = null;
    const link = element("p", {}, element("a", { href: `#/farms/${made.farm.id}` }, `To the farm ${made.farm.name}`));
    const going = element("div", {});
    fill(outcome, link, going);
    stop = progress(going, made.operation);
    if (before) before.generation = made.farm.generation;
  }

  async function ordered() {
    if (planned !== JSON.stringify(ask(true))) return;
    order.disabled = true;
    const made = await send(true, false);
    if (!made) return;
    planned = null;
    const told = element("div", {});
    const going = element("div", {});
    fill(outcome, told, going);
    const told_ = (now) => fill(told, element("p", { role: "status" }, `The order is ${now.state}. ${now.told}`), price(now),
      now.farm ? element("p", {}, element("a", { href: `#/farms/${now.farm}` }, `To the farm ${now.name}`)) : null);
    told_(made.order);
    stop = progress(going, made.operation, async () => told_(await call("GET", `/v1/orders/${made.order.id}`)));
  }

  formed();
  written();
  return { look: async () => {}, close: () => stop() };
}

function price(order) {
  if (!order.currency) return null;
  const span = (least, most) => (least === most ? least : `${least} to ${most}`);
  return element("p", { class: "plan" }, `Price: ${span(order.least_hour, order.most_hour)} ${order.currency} an hour, `
    + `${span(order.least_month, order.most_month)} ${order.currency} a month of 730 hours.`);
}
