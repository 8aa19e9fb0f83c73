// Regions of the grid: how they are, as this one knows; how this one came in, and at the grid manager how others do.

import { acting, confirmed } from "./acts.js";
import { call, list } from "./api.js";
import { share } from "./data_centre.js";
import { element, moment, state } from "./element.js";
import { count, form, secret, words } from "./forms.js";
import { facts, link, listed, living, once, part } from "./lists.js";
import { may } from "./may.js";

export async function regions(page, _who, look) {
  return living(page, look, {
    title: "Regions",
    async read() {
      const [found, grid] = await Promise.all([list("/v1/regions"), may("infra:read") ? call("GET", "/v1/grid") : null]);
      return { regions: found, grid };
    },
    show: ({ regions: found, grid }) => [
      grid ? about(grid) : null,
      part("Regions", listed(["Region", "State", "Zones", "Hosts up", "Machines", "CPU", "Memory", "Alerts", "Images", "Labels"], found.map((each) => [element("span", {}, link(`#/regions/${each.id}`, each.name), each.own ? element("strong", {}, " (this one)") : ""),
        element("span", {}, state(each.state), each.told ? `: ${each.told}` : "", ...each.refused.map((one) => `; ${one}`)), each.zones.map((zone) => `${zone.name}${zone.enabled ? "" : " (disabled)"}`).join(", "), ...figures(each.zones), each.alerts, each.images, each.labels.join(", ")]),
      "Regions of the grid, as this one knows them", grid?.role === "grid" ? "No region has joined yet: make a token for one." : "This cloud is a region of its own, in no grid with others.")),
      grid?.alerts.length ? part("Alerts of all regions", listed(["Region", "Severity", "What", "Since", "Said"], grid.alerts.map((each) => [each.region, element("span", { class: each.severity === "critical" ? "bad" : "between" }, each.severity), `${each.kind}: ${each.name}`, moment(each.since), each.text]), "Open alerts of all regions, the worst first", "")) : null],
    offers: ({ grid }) => [grid?.role, grid?.region],
    forms: ({ grid }, acts) => formsOf(grid, acts),
  });
}

/** Sums over a region's zones; whoever is no operator is not told. */
function figures(zones) {
  const told = zones.filter((each) => each.cpu_mhz);
  if (!told.length) return ["", "", "", ""];
  const sum = (of) => told.reduce((all, each) => all + of(each), 0);
  return [`${sum((each) => each.hosts_up ?? 0)} of ${sum((each) => each.hosts ?? 0)}`, sum((each) => each.machines ?? 0), share(sum((each) => each.cpu_mhz.reserved), sum((each) => each.cpu_mhz.total), "MHz"),
    share(sum((each) => each.memory_mib.reserved), sum((each) => each.memory_mib.total), "MiB")];
}

function about(grid) {
  if (grid.role === "alone") return element("p", {}, "This cloud is in no grid. With a token of a grid manager (arable grid token) it becomes one of its regions: images, bills and farms may then span them.");
  const rows = [...(grid.role === "grid" ? [] : [["This region", grid.region], ["Grid manager", grid.grid], ["Heard last", moment(grid.heard_at) || "never"]]), ["Regions", `${grid.reached} of ${grid.regions} reached`], ["Hosts up", `${grid.hosts_up} of ${grid.hosts}`], ["Machines", grid.machines],
    ["CPU", share(grid.cpu_mhz.reserved, grid.cpu_mhz.total, "MHz")], ["Memory", share(grid.memory_mib.reserved, grid.memory_mib.total, "MiB")], ["Image versions", grid.images]];
  if (grid.told) rows.push(["Told", grid.told]);
  return [facts(rows), element("p", {}, link("#/grid", "Accounts, limits and instructions in all regions"), ", ", link("#/grid-bills", "and what it costs"))];
}

/** A token is shown this once. `name`: for that region alone. */
export function tokenForm(label, acts, name) {
  return form(label, { path: "/v1/grid/tokens", cli: ["arable", "grid", "token", ...(name ? ["--region", name] : [])], fixed: name ? { region: name } : {},
    about: name ? "For when it lost its certificate, or was away for longer than that lives. What it has is worth nothing once it joined anew." : "It works once. The other cloud joins with it, and becomes a region of this grid.",
    fields: [...(name ? [] : [words("For the region", "region", { most: 63, placeholder: "any that is new", hint: "Said, no other one may use it." })]), count("Counts for seconds", "seconds", { min: "60", max: "604800", placeholder: "10800" })],
    done(answer) {
      acts.follow(null);
      if (answer.token) acts.tell(once(`Token ${answer.region ? `for ${answer.region}` : "for a region"}`, `Type it into the other cloud's console (Regions, Join a grid), or give it to arable region join there. It counts until ${moment(answer.expires_at)}, and is shown this once.`, answer.token));
    } });
}

function formsOf(grid, acts) {
  if (!grid) return [];
  const done = acts.follow;
  if (grid.role === "grid") return [tokenForm("Make a token for a region", acts, "")];
  if (grid.role === "alone") {
    return [form("Join a grid", { path: "/v1/grid/join", cli: ["arable", "region", "join"], done, about: "All of the grid's regions know each other's names, images and load from then on.",
      fields: [words("Grid manager", "grid", { required: true, placeholder: "grid.example.org:8444" }), words("This region's name", "name", { required: true, most: 63, placeholder: "eu-1" }), secret("Token", "token", { required: true, autocomplete: "off", hint: "On the command line: --token-file." })] })];
  }
  const replaced = () => acts.tell(element("p", { role: "status" }, "The keys are replaced. Other regions hear of it within seconds."));
  return [acting([{ text: "Replace its keys", path: "/v1/grid/keys", cli: ["arable", "region", "rotate-keys"] }], replaced), may("/v1/grid/keys") ? element("p", { class: "hint" }, "For when somebody else may know the keys by which this region signs for its users. What was signed before counts no more.") : null,
    confirmed(grid.region, "Leave the grid", "Farms keep what they have here. To come back it takes another token.", () => ({ path: "/v1/grid/leave", cli: [["arable", "region", "leave"]] }), done)];
}
