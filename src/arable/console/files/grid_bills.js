// What a month costs in all regions, account by account, as each region said last.

import { call } from "./api.js";
import { element, field, moment, state } from "./element.js";
import { facts, link, listed, living, part } from "./lists.js";

const MOST = 1000;

/** The table of accounts' bills; `of`: whether accounts are named. */
export const billTable = (items, of) => listed([...(of ? ["Account"] : []), "Region", "Amount", "Reckoned"], items.map((each) => [...(of ? [each.account] : []), each.region, `${each.total} ${each.currency}`, moment(each.as_of)]), "As each region reckoned it last", "No region has told of any bill of that month.");

export async function gridBills(page, who, look) {
  const month = element("input", { type: "month", autocomplete: "off", value: new Date().toISOString().slice(0, 7), onchange: () => look() });
  const find = element("input", { type: "search", autocomplete: "off", spellcheck: "false", "aria-label": "Find an account by its path", placeholder: "Find, as root/acme/acme", oninput: () => look() });
  return living(page, look, {
    title: "Bills of all regions",
    lead: [field("Month", month, { path: "month" }), element("p", {}, find)],
    async read() {
      const found = await call("GET", "/v1/grid/bills", { query: { month: month.value, limit: MOST } });
      return { ...found, items: found.items.filter((each) => each.account.includes(find.value.trim())), more: Boolean(found.next) };
    },
    show: (found) => [
      facts([["Together", found.sums.map((each) => `${each.total} ${each.currency}`).join(", ") || "nothing"]]),
      part("Regions", listed(["Region", "State", "All its accounts", "Told"], found.regions.map((each) => [each.region, state(each.state), each.total === null ? "not told" : `${each.total} ${each.currency}`, each.told]), "Sums of regions, each in its currency; nothing is converted", "No region is known here.")),
      part("Accounts", billTable(found.items, true), found.more ? element("p", { class: "hint" }, `These are of the first ${MOST}.`) : null),
      element("p", { class: "hint" }, "Of which accounts a region tells is its own to say, by its setting grid_accounts. ", who.served_by === "grid" ? "Lines of a bill are at the region." : link("#/bills", "Lines of this region's own bill")),
    ],
  });
}
