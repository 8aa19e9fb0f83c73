// One order: what it asks for, what it costs, how far it is, and what may be done with it.

import { call } from "./api.js";
import { brief } from "./document.js";
import { element, moment, state } from "./element.js";
import { form, words } from "./forms.js";
import { facts, link, living, part } from "./lists.js";
import { may } from "./may.js";
import { learn, nameOf } from "./names.js";
import { OPEN, price } from "./orders.js";
import { progress } from "./progress.js";
import { write } from "./yaml.js";

export async function order(page, _who, look, id) {
  const going = element("div", {});
  let stop = null;
  const shown = living(page, look, {
    title: "Order",
    gone: ["order", "#/orders"],
    async read() {
      const found = await call("GET", `/v1/orders/${id}`);
      const credit = await call("GET", `/v1/accounts/${found.account}/credit`).catch(() => null);
      await learn([found.account, found.user, ...(found.reviewer ? [found.reviewer] : [])], [["/v1/accounts", {}], ["/v1/users", {}]]);
      return { ...found, credit: credit ? `${credit.available} ${credit.currency}` : "" };
    },
    show(found) {
      if (!stop && OPEN.includes(found.state)) stop = progress(going, found.operation);
      const rows = [["State", element("span", {}, state(found.state), found.told ? `: ${found.told}` : "")], ["Account", nameOf(found.account)], ["By", nameOf(found.user)], ["Service plan", found.plan || "none"], ["Price", price(found)]];
      if (found.credit) rows.push(["The account's credit", found.credit]);
      if (found.purchase_order) rows.push(["Purchase order", found.purchase_order]);
      if (found.promised_until) rows.push(["Room is kept until", moment(found.promised_until)]);
      if (found.reviewer) rows.push(["Reviewed by", nameOf(found.reviewer)]);
      if (found.keys.length) rows.push(["SSH keys", found.keys.join(", ")]);
      if (found.has_password) rows.push(["Password", "one was drawn, and shown to whoever ordered"]);
      rows.push(["Ordered", moment(found.created_at)]);
      if (found.ended_at) rows.push(["Ended", moment(found.ended_at)]);
      return [facts(rows), found.farm ? element("p", {}, link(`#/farms/${found.farm}`, `To the farm ${found.name}`)) : null, going,
        part("What it asks for", element("pre", { tabindex: "0", "aria-label": "The farm's document" }, write({ kind: "farm", ...brief(found.document, found.name) })))];
    },
    offers: (found) => [found.state, found.generation],
    forms: (found, acts) => formsOf(found, () => acts.follow(null)), // its operation is shown already
  });
  return { look: shown.look, close() {
    shown.close();
    stop?.();
  } };
}

function formsOf(found, done) {
  const path = `/v1/orders/${found.id}`;
  const answer = (text, verb, more = {}) => form(text, { path: `${path}/${verb}`, cli: ["arable", "order", verb, found.id], expects: found.generation, done,
    fields: [words("What you say to whoever ordered", "reason", { most: 200 })], ...more });
  const waits = found.state === "reviewing";
  return [
    waits ? answer("Approve the order", "approve", { about: found.credit ? `It costs ${price(found)}; the account has ${found.credit}. Approved, its farm is made.` : "Approved, its farm is made." }) : null,
    waits ? answer("Refuse the order", "refuse", { danger: true }) : null,
    ["queued", "reviewing", "approved"].includes(found.state) ? form("Withdraw the order", { path: `${path}/withdraw`, cli: ["arable", "order", "withdraw", found.id], expects: found.generation, done, danger: true, about: "Nothing is made of it." }) : null,
    waits && !may(`${path}/approve`) ? element("p", { class: "hint" }, "An operator approves or refuses it.") : null];
}
