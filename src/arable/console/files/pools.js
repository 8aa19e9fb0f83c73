// For operators: the storage pools, how full they are, and what is promised of them.

import { list } from "./api.js";
import { share } from "./data_centre.js";
import { element } from "./element.js";
import { link, listed, living } from "./lists.js";
import { learn, nameOf } from "./names.js";

export const KINDS = { local: "disks of its host", nbd: "shared by NBD", iscsi: "shared by iSCSI", file: "a directory that hosts have mounted" };
const FILLS = { ok: ["good", "has room"], warning: ["between", "filling up"], critical: ["bad", "nearly full"], full: ["bad", "full"] };

/** How full it is, by the settings' thresholds. */
export const filled = (pool) => element("span", {}, element("span", { class: `state ${FILLS[pool.fill][0]}` }, FILLS[pool.fill][1]), pool.takes_disks ? "" : ", takes no more disks");

export async function pools(page, _who, look) {
  return living(page, look, {
    title: "Storage pools",
    async read() {
      const found = await list("/v1/pools");
      await learn(found.flatMap((each) => [each.zone, ...(each.host ? [each.host] : [])]), [["/v1/zones", {}], ["/v1/hosts", {}]]);
      const worst = Object.keys(FILLS);
      return found.sort((one, other) => worst.indexOf(other.fill) - worst.indexOf(one.fill) || nameOf(one.host).localeCompare(nameOf(other.host), undefined, { numeric: true }) || one.name.localeCompare(other.name));
    },
    show: (found) => [listed(["Pool", "Kind", "Zone", "Host", "State", "In use", "Promised"], found.map((each) => [link(`#/pools/${each.id}`, each.name), KINDS[each.kind] ?? each.kind, nameOf(each.zone),
      each.host ? link(`#/hosts/${each.host}`, nameOf(each.host)) : "", filled(each), share(each.used_mib, each.total_mib, "MiB"), share(each.allocated_mib, each.reservable_mib, "MiB")]),
    "Storage pools, the fullest first", "There is none: a host brings its own when it joins, one for storage those that others share."),
    found.length ? element("p", { class: "hint" }, "Pools come with their hosts. When they are told of and when they take no more disks is said by the ", link("#/settings", "settings"), " alert_pool_percent, alert_pool_critical_percent and pool_full_percent. Maintenance is its host's.") : null],
  });
}
