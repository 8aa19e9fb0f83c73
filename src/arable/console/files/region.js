// One region of the grid, as it was told here last; at the grid manager its labels, a new token for it, and its removal.

import { confirmed } from "./acts.js";
import { call } from "./api.js";
import { share } from "./data_centre.js";
import { moment, state } from "./element.js";
import { form, several } from "./forms.js";
import { facts, listed, living, part } from "./lists.js";
import { tokenForm } from "./regions.js";

export async function region(page, who, look, id) {
  return living(page, look, {
    title: "Region",
    gone: ["region", "#/regions"],
    read: () => call("GET", `/v1/regions/${id}`),
    show: (found) => [about(found), zones(found)],
    offers: (found) => [found.name, found.state, found.labels],
    forms: (found, acts) => (who.served_by === "grid" && found.state !== "gone" ? formsOf(found, acts) : []),
  });
}

function about(found) {
  const rows = [["State", state(found.state)], ["Heard last", moment(found.as_of) || "never"]];
  if (found.told) rows.push(["Told", found.told]);
  rows.push(["Its grid port", found.address || "none: it can ask others, and not be asked"], ["Software", found.software || "not said"], ["Labels", found.labels.join(", ") || "none"], ["Image versions", found.images], ["Open alerts", found.alerts], ["In the grid since", moment(found.created_at)]);
  if (found.refused.length) rows.push(["What it said and could not be read", found.refused.join("; ")]);
  return facts(rows);
}

function zones({ zones: all }) {
  const amount = (each, unit) => (each ? share(each.reserved, each.total, unit) : "");
  const told = all.some((each) => each.cpu_mhz); // who is no operator sees names alone
  return part("Zones", listed(told ? ["Zone", "Hosts up", "Machines", "CPU", "Memory", "Disk", "Free public addresses"] : ["Zone"], all.map((each) => [`${each.name}${each.enabled ? "" : " (disabled)"}`,
    ...(told ? [`${each.hosts_up} of ${each.hosts}`, each.machines, amount(each.cpu_mhz, "MHz"), amount(each.memory_mib, "MiB"), amount(each.disk_mib, "MiB"), each.free_addresses] : [])]), "Reserved of what there is, as that region said last", "It has told of none yet."));
}

function formsOf(found, acts) {
  const path = `/v1/regions/${found.id}`;
  return [
    form("Change its labels", { method: "PATCH", path, cli: ["arable", "region", "update", found.name], done: acts.follow, changes: true, about: "Policies of images may mean all regions of a label: eu, for example.",
      fields: [several("Labels", "labels", { value: found.labels.join(", "), none: [] })] }),
    tokenForm("Make a token for it", acts, found.name),
    confirmed(found.name, "Remove it from the grid", "Its certificates are worth nothing from then on, and the others forget what it said; what runs there goes on. What it had of accounts' limits is free again.",
      () => ({ method: "DELETE", path, cli: [["arable", "region", "delete", found.name]] }), acts.follow)];
}
