// For operators: the management servers, who of them acts, what they hold, and what fails.

import { call } from "./api.js";
import { element, moment, state } from "./element.js";
import { choice, form } from "./forms.js";
import { facts, link, listed, living, part } from "./lists.js";

const CAUSES = { first: "the first", ended: "the lease had ended", suspected: "the others did not find the master", reborn: "it came back anew" };

export async function control(page, _who, look) {
  return living(page, look, {
    title: "Control plane",
    read: () => call("GET", "/v1/control"),
    show: (found) => [about(found), ...held(found)],
    offers: (found) => found.servers.map((each) => [each.name, each.state]),
    forms: (found, acts) => {
      const one = (label, verb, about_, servers) => (servers.length ? form(label, { path: `/v1/control/${verb}`, cli: ["arable", "control", verb], about: about_, done: acts.follow,
        fields: [choice("Server", "server", servers.map((each) => [each.name, each.name]), { argument: true })] }) : null);
      return [one("Drain a management server", "drain", "Its farms and hosts go to the others, so that it can be stopped without a failed call.", found.servers.filter((each) => ["ready", "silent"].includes(each.state))),
        one("Have it work again", "undrain", "It takes farms and hosts again.", found.servers.filter((each) => each.state === "draining"))];
    },
  });
}

function about({ master, farms }) {
  const rows = [["Master", master.server ? `${master.server}${master.acting ? "" : "; its lease has ended, and nobody acts"}` : "there has been none yet"]];
  if (master.server) rows.push(["Since", moment(master.since)], ["Epoch", master.epoch]);
  if (master.suspected_by.length) rows.push(["Not found by", master.suspected_by.join(", ")]);
  rows.push(["Farms", `${farms.total}${farms.unheld ? `, ${farms.unheld} without a server` : ""}${farms.unconfirmed ? `, ${farms.unconfirmed} on their way to another one` : ""}`]);
  return facts(rows);
}

function held({ servers, farms, elections }) {
  return [
    part("Management servers", listed(["Server", "State", "Farms", "Hosts", "Epoch", "Load", "Behind", "Waiting", "Heard last", "Site", "Address"], servers.map((each) => [
      element("span", {}, each.name, each.master ? element("strong", {}, " master") : ""), element("span", {}, state(each.state), each.asked ? `, asked to ${each.asked}${each.answer ? `: ${each.answer}` : ""}` : ""), each.farms, each.agents, each.epoch,
      `${each.cpu_percent}% of a core, ${each.memory_mib} MiB`, `${each.lag_ms} ms`, each.pending, moment(each.heartbeat_at), each.site, each.address]), "Each with its segment manager: the farms and the hosts that it holds", "None has reported yet.")),
    part("Farms whose work fails", listed(["Farm", "Tried last by", "Tries", "Since", "What came of it"], farms.failing.map((each) => [link(`#/farms/${each.farm}`, each.name), each.server, each.tries, moment(each.since), each.told]), "Farms whose work fails", "There is none.")),
    part("Elections", listed(["Epoch", "Server", "When", "Why", "Who agreed"], elections.map((each) => [each.epoch, each.server, moment(each.at), CAUSES[each.cause] ?? each.cause, each.agreed.join(", ")]), "Elections, the newest first", "There was none yet."))];
}
