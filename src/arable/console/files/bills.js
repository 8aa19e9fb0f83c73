// What the account has to pay for a month, and for what.

import { call } from "./api.js";
import { element, field, fill, moment, status, table } from "./element.js";
import { billTable } from "./grid_bills.js";
import { part } from "./lists.js";

export async function bills(page, who, look) {
  const month = element("input", { type: "month", autocomplete: "off", value: new Date().toISOString().slice(0, 7), onchange: () => look() });
  const place = element("div", {}, status("Loading…"));
  fill(page, element("h1", { tabindex: "-1" }, "Bills"), field("Month", month, { path: "month" }), place);
  return {
    async look() {
      let bill;
      let all;
      try {
        [bill, all] = await Promise.all([call("GET", "/v1/bills/detailed", { query: { account: who.account, month: month.value } }),
          call("GET", "/v1/grid/bills", { query: { month: month.value, account: `${who.path}/${who.account_name}` } }).catch(() => null)]);
      } catch (error) {
        return void fill(place, status(error.message, "wrong"));
      }
      fill(place, element("p", {}, `${bill.total} ${bill.currency}, from ${moment(bill.begin)} to ${moment(bill.end)}.`),
        bill.lines.length ? table(["For", "Farm", "Order", "Quantity", "Price", "Amount"], bill.lines.map((line) => [
          `${line.kind}${line.name ? ` ${line.name}` : ""}`, line.farm_name, line.reference || line.order, line.quantity, line.price, line.amount]), "Lines of the bill")
          : element("p", {}, "Nothing was used that has a price."),
      all?.regions.length > 1 ? part("In all regions", billTable(all.items, false)) : null);
    },
  };
}
