// Orders: farms that were asked for by a service plan, what they cost, and who lets them pass.

import { list } from "./api.js";
import { element, moment, state } from "./element.js";
import { link, listed, living, part } from "./lists.js";
import { may } from "./may.js";
import { learn, nameOf } from "./names.js";

const MOST = 200;
export const OPEN = ["queued", "reviewing", "approved", "provisioning"];

/** What it costs for an hour and a month, from the fewest elements to the most. */
export function price(order) {
  if (!order.currency) return "no price is set";
  const span = (least, most) => (least === most ? least : `${least} to ${most}`);
  return `${span(order.least_hour, order.most_hour)} ${order.currency} an hour, ${span(order.least_month, order.most_month)} a month`;
}

export async function orders(page, who, look) {
  const reviews = may("/v1/orders/x/approve");
  return living(page, look, {
    title: "Orders",
    async read() {
      const [own, waiting] = await Promise.all([list("/v1/orders", { account: who.account }, MOST), reviews ? list("/v1/orders", { state: "reviewing" }, MOST) : []]);
      await learn([...own, ...waiting].flatMap((each) => [each.account, each.user]), [["/v1/accounts", {}], ["/v1/users", {}]]);
      const brief = ({ document: _document, ...each }) => each;
      return { own: own.map(brief), waiting: waiting.map(brief) };
    },
    show: ({ own, waiting }) => [
      reviews ? part("To be reviewed", listed(["Farm", "Account", "By", "Plan", "Price", "Why it waits", "Ordered"], waiting.map((each) => [link(`#/orders/${each.id}`, each.name), nameOf(each.account), nameOf(each.user), each.plan || "none",
        price(each), each.told, moment(each.created_at)]), "Orders that wait for somebody to approve or refuse them", "No order waits for anybody.")) : null,
      part(reviews ? "The account's own" : "Orders of the account", listed(["Farm", "State", "Plan", "Price", "Purchase order", "By", "Ordered"], own.map((each) => [link(`#/orders/${each.id}`, each.name),
        element("span", {}, state(each.state), each.told ? `: ${each.told}` : ""), each.plan || "none", price(each), each.purchase_order, nameOf(each.user), moment(each.created_at)]), "Orders of the account, and what came of them", "Nothing was ordered yet."),
      may("/v1/orders") ? element("p", {}, link("#/provision", "Lay out a farm and order it"), ": choose its plan below the document, and see its price before.") : null)],
  });
}
