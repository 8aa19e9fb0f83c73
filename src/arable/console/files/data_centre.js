// For operators: what asks for somebody, and how full the zones, their hosts and pools are.

import { following } from "./acts.js";
import { alertTable } from "./alerts.js";
import { call, list } from "./api.js";
import { element, field, fill, select, state, status, table } from "./element.js";
import { learn, nameOf } from "./names.js";

const MOST = 200;
const STATES = [["", "all"], ["up", "up"], ["silent", "silent"], ["down", "down"], ["asleep", "asleep"], ["joined", "joined"]];

/** A part of a whole, for people who see and for those who listen. */
export function share(used, whole, unit) {
  const percent = whole ? Math.round(100 * used / whole) : 0;
  return element("span", {}, element("meter", { min: "0", max: "100", value: String(Math.min(percent, 100)), "aria-hidden": "true" }),
    ` ${percent}% of ${whole} ${unit}`);
}

export async function dataCentre(page, who, look) {
  const alerts = element("section", { "aria-label": "Alerts" }, status("Loading…"));
  const zones = element("section", { "aria-label": "Zones" });
  const hosts = element("div", {});
  const pools = element("section", { "aria-label": "Storage pools" });
  const only = select(STATES, "", () => look());
  const acts = following(page, look);
  fill(page, element("h1", { tabindex: "-1" }, "Data centre"), acts.node, alerts, zones,
    element("section", { "aria-label": "Hosts" }, element("h2", {}, "Hosts"), field("State", only), hosts), pools);
  return {
    close: acts.close,
    async look() {
      const [open, places, some, stores] = await Promise.all([list("/v1/alerts", { state: "open" }, MOST), list("/v1/zones"),
        call("GET", "/v1/hosts", { query: { limit: MOST, state: only.value } }), call("GET", "/v1/pools", { query: { limit: MOST } })]);
      some.items.sort((one, other) => one.name.localeCompare(other.name, undefined, { numeric: true }));
      const full = await Promise.all(places.map((zone) => call("GET", `/v1/zones/${zone.id}/capacity`)));
      await learn([...some.items.map((host) => host.pod), ...stores.items.map((pool) => pool.host).filter(Boolean)], [["/v1/pods", {}], ["/v1/hosts", {}]]);
      fill(alerts, element("h2", {}, "Alerts"), alertTable(open, acts, "Open alerts", "Nothing asks for anybody."));
      fill(zones, element("h2", {}, "Zones"), table(["Zone", "Hosts up", "Machines", "CPU", "Memory", "Disk", "Guest networks", "Public addresses"],
        places.map((zone, at) => [element("a", { href: `#/zones/${zone.id}` }, zone.name), `${full[at].hosts.up} of ${full[at].hosts.total}`, full[at].machines,
          share(full[at].cpu_mhz.reserved, full[at].cpu_mhz.total, "MHz"), share(full[at].memory_mib.reserved, full[at].memory_mib.total, "MiB"),
          share(full[at].disk_mib.reserved, full[at].disk_mib.total, "MiB"), share(full[at].vlans.total - full[at].vlans.free, full[at].vlans.total, ""),
          share(full[at].addresses.total - full[at].addresses.free, full[at].addresses.total, "")]), "Reserved of what there is"));
      fill(hosts, some.items.length ? table(["Host", "State", "Pod", "For", "Machines", "CPU", "Memory"], some.items.map((host) => [
        element("a", { href: `#/hosts/${host.id}` }, host.name), element("span", {}, state(host.state), host.maintenance ? " in maintenance" : ""),
        nameOf(host.pod), host.roles.join(", "), host.machines, share(host.cpu_mhz.reserved, host.cpu_mhz.total, "MHz"),
        share(host.memory_mib.reserved, host.memory_mib.total, "MiB")]), "Hosts") : element("p", {}, "There is none. ", element("a", { href: "#/hosts" }, "Let one join"), "."),
      some.next ? element("p", { class: "hint" }, `These are the first ${MOST}.`) : null);
      fill(pools, element("h2", {}, "Storage pools"), table(["Pool", "Kind", "Host", "In use", "Promised", "Takes disks"], stores.items.map((pool) => [
        element("a", { href: `#/pools/${pool.id}` }, pool.name), pool.kind, pool.host ? nameOf(pool.host) : "", share(pool.used_mib, pool.total_mib, "MiB"),
        share(pool.allocated_mib, pool.reservable_mib, "MiB"), pool.takes_disks ? "yes" : "no"]), "Storage pools"),
      stores.next ? element("p", { class: "hint" }, `These are the first ${MOST}.`) : null);
    },
  };
}
