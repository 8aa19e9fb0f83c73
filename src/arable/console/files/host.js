// For operators: one host, who sees it, what is on it, and its maintenance.

import { acting } from "./acts.js";
import { call } from "./api.js";
import { share } from "./data_centre.js";
import { element, fill, moment, state, status, table } from "./element.js";
import { facts } from "./lists.js";
import { learn, nameOf } from "./names.js";

const MOST = 100;

export async function host(page, who, look, id) {
  const title = element("h1", { tabindex: "-1" }, "Host");
  const about = element("div", {}, status("Loading…"));
  const does = element("div", {});
  const staying = element("div", {});
  const seen = element("div", {});
  const guests = element("div", {});
  fill(page, title, about, does, staying, seen, guests);
  let offered = "";
  return {
    async look() {
      const found = await call("GET", `/v1/hosts/${id}`);
      const here = await call("GET", "/v1/machines", { query: { host: id, limit: MOST } });
      await learn([found.zone, found.pod], [["/v1/zones", {}], ["/v1/pods", {}]]);
      fill(title, found.name);
      document.title = `${found.name} - Arable`;
      const rows = [["State", element("span", {}, state(found.state), found.maintenance ? " in maintenance" : "")],
        ["Place", `zone ${nameOf(found.zone)}, pod ${nameOf(found.pod)}`], ["For", [...found.roles, ...found.tags].join(", ")],
        ["CPU", share(found.cpu_mhz.reserved, found.cpu_mhz.total, "MHz")], ["Memory", share(found.memory_mib.reserved, found.memory_mib.total, "MiB")],
        ["Disk", share(found.disk_mib.reserved, found.disk_mib.total, "MiB")], ["Heard last", moment(found.seen_at)],
        ["Served by", found.server || "no management server"]];
      if (found.told) rows.push(["Why", found.told]);
      if (found.bmc) rows.push(["Power", `${found.bmc.seen || "not seen yet"}${found.bmc.told ? `; ${found.bmc.told}` : ""}`]);
      fill(about, facts(rows));
      const key = `${found.generation} ${found.maintenance}`;
      if (offered !== key) {
        offered = key;
        fill(does, acting(changes(found), () => look()));
      }
      fill(staying, found.staying.length ? table(["Machine", "Leaves", "Told"], found.staying.map((each) => [
        element("a", { href: `#/machines/${each.machine}` }, each.name), each.leaves ? "yes" : "no", each.told]), "Still here, though the host is in maintenance") : null);
      fill(seen, table(["Who", "How", "Sees it", "Since"], found.signals.map((each) => [
        each.name, { agent: "hears its agent", peer: "asks as a peer", storage: "gives out leases" }[each.kind], each.sees ? "yes" : "no", moment(each.since)]), "Who sees it"));
      fill(guests, here.items.length ? table(["Machine", "State", "Addresses"], here.items.map((each) => [
        element("a", { href: `#/machines/${each.id}` }, each.name), state(each.state), each.nics.map((nic) => nic.address).join(", ")]), "Machines") : element("p", {}, "No machine is on it."),
      here.next ? element("p", { class: "hint" }, `These are the first ${MOST}.`) : null);
    },
  };
}

function changes(found) {
  const change = (text, body, words) => ({ text, method: "PATCH", path: `/v1/hosts/${found.id}`, body, expects: found.generation,
    cli: ["arable", "host", "maintenance", ...words, found.name] });
  if (found.maintenance) return [change("End the maintenance", { maintenance: false }, ["--off"])];
  return [change("Begin maintenance", { maintenance: true }, []),
    change("Begin maintenance, and stop what can't leave", { maintenance: true, maintenance_stops: true }, ["--stop"])];
}
