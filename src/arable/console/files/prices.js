// For operators: price lists, and a new one that holds from a moment on.

import { folded } from "./acts.js";
import { list } from "./api.js";
import { button, element, field, fill, moment, select } from "./element.js";
import { listed, living, part } from "./lists.js";
import { learn, nameOf } from "./names.js";

const KINDS = [["running", "a machine while it runs"], ["machine", "a machine while it is there"], ["volume", "a volume, per GiB and month"], ["address", "a public address"], ["network", "a network"]];
const FOR = Object.fromEntries(KINDS);
const OF = { running: "/v1/offerings", machine: "/v1/offerings", volume: "/v1/disk-offerings" };

export async function prices(page, _who, look) {
  return living(page, look, {
    title: "Prices",
    async read() {
      const found = await list("/v1/prices");
      await learn(found.map((each) => each.user), [["/v1/users", {}]]);
      return found.sort((one, other) => other.number - one.number);
    },
    show: (found) => (found.length ? found.map((each) => part(`List ${each.number}${each.in_force ? ", in force" : new Date(each.valid_from) > new Date() ? ", to come" : ""}`,
      element("p", {}, `From ${moment(each.valid_from)}, made by ${nameOf(each.user)}.`),
      listed(["For", "Of", `${each.currency}, for an hour or as said`], each.prices.map((one) => [FOR[one.kind], one.name || "all others", one.amount]), `Prices of list ${each.number}`, "It names no price: nothing costs anything.")))
      : [element("p", {}, "There is no price list: nothing costs anything. Set prices, and what is used from then on is charged.")]),
    offers: (found) => found.map((each) => each.number),
    async forms(found, acts) {
      const [sizes, disks] = await Promise.all([list("/v1/offerings"), list("/v1/disk-offerings")]);
      return [priceForm(found.find((each) => each.in_force) ?? found[0], { "/v1/offerings": sizes, "/v1/disk-offerings": disks }, acts.follow)];
    },
  });
}

/** A list is whole, so the form begins with what holds now. */
function priceForm(now, offerings, done) {
  const currency = element("input", { maxlength: "3", value: now?.currency ?? "", required: true, autocomplete: "off", spellcheck: "false" });
  const from = element("input", { type: "datetime-local" });
  const place = element("div", {});
  let lines = [];
  const node = folded("Set prices", [element("p", {}, "The list is whole: what it does not name costs nothing. What was used before keeps its price."),
    element("div", { class: "row" }, field("Currency", currency, { path: "currency", hint: "The cloud has one." }), field("From when", from, { path: "valid_from", hint: "Left empty: from now on." })),
    place, element("p", { class: "acts" }, button("Add a price", () => add({ kind: "running", offering: "", amount: "" }), { class: "small" }))], { ask, done });

  function ask() {
    const moment_ = from.value ? new Date(from.value).toISOString() : "";
    const said = lines.map((each) => each.read());
    return { path: "/v1/prices", body: { prices: said, ...(currency.value ? { currency: currency.value } : {}), ...(moment_ ? { valid_from: moment_ } : {}) },
      cli: [["arable", "price", "set", ...said.flatMap((each) => ["--price", [each.kind, `amount=${each.amount}`, ...(each.offering ? [`offering=${each.offering}`] : [])].join(",")]),
        ...(currency.value ? ["--currency", currency.value] : []), ...(moment_ ? ["--valid-from", moment_] : [])]] };
  }

  const again = () => {
    for (const [at, each] of [...place.children].entries()) each.dataset.path = `prices.${at}`;
    node?.querySelector("form").dispatchEvent(new Event("change"));
  };

  function add(price) {
    const options = (kind) => [["", "all others"], ...(kind === "volume" ? [["root", "machines' root disks"]] : []), ...(offerings[OF[kind]] ?? []).map((each) => [each.id, each.name])];
    const of = element("span", {});
    let which = null;
    const kind = select(KINDS, price.kind, () => offer(""), { "aria-label": "For" });
    const amount = element("input", { value: price.amount, required: true, maxlength: "16", inputmode: "decimal", autocomplete: "off", "aria-label": "Amount", placeholder: "0.012" });
    const offer = (chosen) => {
      which = select(options(kind.value), chosen, null, { "aria-label": "Of" });
      fill(of, which);
    };
    offer(price.offering);
    const about = element("div", { class: "row" }, kind, of, amount, button("Remove", () => {
      lines = lines.filter((each) => each !== line);
      line.node.remove();
      again();
    }, { class: "small" }));
    const line = { node: element("div", { class: "field", "data-path": "prices" }, about, element("p", { class: "wrong" })),
      read: () => ({ kind: kind.value, amount: amount.value, ...(which.value ? { offering: which.value } : {}) }) };
    lines.push(line);
    place.append(line.node);
    again();
  }

  for (const each of now?.prices ?? []) add({ kind: each.kind, offering: each.offering, amount: each.amount });
  return node;
}
