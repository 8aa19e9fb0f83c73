// For operators: one host, who sees it, what is on it, its maintenance and power, and its end.

import { acting, confirmed } from "./acts.js";
import { call, list } from "./api.js";
import { share } from "./data_centre.js";
import { element, moment, state } from "./element.js";
import { choice, count, form, secret, several, text, ticks, words } from "./forms.js";
import { invitation, ROLES } from "./hosts.js";
import { facts, link, listed, living, part } from "./lists.js";
import { learn, nameOf } from "./names.js";

const MOST = 100;
const SEEN = { agent: "hears its agent", peer: "asks as a peer", storage: "gives out leases" };

export async function host(page, _who, look, id) {
  return living(page, look, {
    title: "Host",
    gone: ["host", "#/hosts"],
    async read() {
      const [found, here, pools] = await Promise.all([call("GET", `/v1/hosts/${id}`), call("GET", "/v1/machines", { query: { host: id, limit: MOST } }), list("/v1/pools", { host: id })]);
      await learn([found.zone, found.pod, ...here.items.map((each) => each.account)], [["/v1/zones", {}], ["/v1/pods", {}], ["/v1/accounts", {}]]);
      return { ...found, seen_at: found.state === "up" ? null : found.seen_at, here: here.items, more: Boolean(here.next), pools: pools.map((each) => ({ id: each.id, name: each.name, kind: each.kind })) };
    },
    show: (found) => [about(found), ...within(found)],
    offers: (found) => [found.generation, found.state, found.maintenance, found.maintenance_stops, found.powered_off, found.bmc?.url ?? "", found.here.length === 0],
    forms: (found, acts) => formsOf(found, acts),
  });
}

function about(found) {
  const part_ = (each, unit) => element("span", {}, share(each.reserved, each.total, unit), each.percent === 100 ? "" : `, which is ${each.percent}% of what it has`);
  const rows = [["State", element("span", {}, state(found.state), found.maintenance ? " in maintenance" : "", found.powered_off ? ", without power" : "")]];
  if (found.told) rows.push(["Why", found.told]);
  rows.push(["Place", element("span", {}, "zone ", link(`#/zones/${found.zone}`, nameOf(found.zone)), `, pod ${nameOf(found.pod)}`)], ["For", [...found.roles, ...found.tags].join(", ")],
    ["CPU", part_(found.cpu_mhz, `MHz, on ${found.cpus} cores`)], ["Memory", part_(found.memory_mib, "MiB")], ["Disk", part_(found.disk_mib, "MiB")]);
  if (found.routers_memory_mib) rows.push(["Of that for routers", `${found.routers_memory_mib} MiB of memory`]);
  if (found.pools.length) rows.push(["Storage pools", element("span", {}, ...found.pools.flatMap((each, at) => [at ? ", " : "", link(`#/pools/${each.id}`, each.name === each.kind ? each.name : `${each.name} (${each.kind})`)]))]);
  if (found.facts.unshared) rows.push(["Not shared", found.facts.unshared]);
  if (found.seen_at || found.state === "joined") rows.push(["Heard last", moment(found.seen_at) || "never: its agent has not called yet"]);
  rows.push(["Served by", found.server || "no management server"], ["Agent", found.facts.version ?? "has not told its version"]);
  if (found.bmc) rows.push(["Power", `${found.bmc.seen || "not seen yet"}${found.bmc.wanted ? `, to be ${found.bmc.wanted}` : ""}, by ${found.bmc.url}${found.bmc.told ? `; ${found.bmc.told}` : ""}`]);
  return facts(rows);
}

function within(found) {
  return [
    found.staying.length ? part("Still here", listed(["Machine", "Leaves", "Told"], found.staying.map((each) => [link(`#/machines/${each.machine}`, each.name), each.leaves ? "yes" : "no", each.told]), "Still here, though the host is in maintenance", "")) : null,
    part("Who sees it", listed(["Who", "How", "Sees it", "Since"], found.signals.map((each) => [each.name, SEEN[each.kind], each.sees ? "yes" : "no", moment(each.since)]), "Who sees it", "Nobody has said anything of it yet.")),
    part("Machines", listed(["Machine", "Account", "State", "Addresses"], found.here.map((each) => [link(`#/machines/${each.id}`, each.name), nameOf(each.account), state(each.state), each.nics.map((nic) => nic.address).join(", ")]), "Machines", "No machine is on it."),
      found.more ? element("p", { class: "hint" }, `These are the first ${MOST}.`) : null)];
}

function formsOf(found, acts) {
  const { id, name, bmc } = found;
  const path = `/v1/hosts/${id}`;
  const done = acts.follow;
  const cli = (...said) => ["arable", "host", ...said];
  const change = (label, body, said) => ({ text: label, method: "PATCH", path, body, expects: found.generation, cli: cli("maintenance", ...said, name) });
  const plain = (label, verb, more = {}) => ({ text: label, path: `${path}/${verb}`, cli: cli(verb, name), ...more });
  const kept = [...(found.maintenance ? [change("End the maintenance", { maintenance: false }, ["--off"])] : [change("Begin maintenance", { maintenance: true }, []),
    change("Begin maintenance, and stop what can't leave", { maintenance: true, maintenance_stops: true }, ["--stop"])])];
  if (bmc && found.state === "up" && !found.here.length) kept.push(plain("Let it sleep", "sleep"));
  if (found.state === "asleep") kept.push(plain("Wake it", "wake"));
  const off = ["silent", "down"].includes(found.state);
  return [
    acting(kept, done),
    form("Change it", { method: "PATCH", path, expects: found.generation, cli: cli("update", name), done, changes: true, about: "How much of it may be promised, in percent of what it has: 100 is no over-commit.",
      fields: [count("CPU, percent", "cpu_percent", { value: found.cpu_mhz.percent, min: "10", max: "10000" }), count("Memory, percent", "memory_percent", { value: found.memory_mib.percent, min: "10", max: "10000" }),
        count("Disk, percent", "disk_percent", { value: found.disk_mib.percent, min: "10", max: "10000" }), several("For", "roles", { value: found.roles.join(", "), hint: ROLES.map(([each]) => each).join(", ") }), several("Tags", "tags", { value: found.tags.join(", "), none: [] })] }),
    form("Let it in anew", { path: "/v1/join-tokens", cli: cli("invite", "--host", name), fixed: { host: id }, about: "For a host that lost its certificate, or was off for longer than that lives. It keeps what it is and has.",
      fields: [count("Counts for seconds", "seconds", { min: "1", max: "86400", hint: "Left empty: as the settings say." })], done(made) {
        done(null);
        if (made.token) acts.tell(invitation(`${name} may join anew`, made));
      } }),
    bmc ? form("Switch its power", { path: `${path}/power`, cli: cli("power", name), done, danger: true, about: "Off: at once, and what runs on it is lost.", fields: [choice("Power", "power", [["on", "on"], ["off", "off"]], { flag: null, words: (said) => [`--${said}`] })] }) : null,
    form(bmc ? "Say anew by what its power is switched" : "Say by what its power is switched", { method: "PUT", path: `${path}/bmc`, cli: cli("power", name), done, about: "By its management controller (Redfish) a host that is down is seen off, so that its machines start elsewhere at once.",
      fields: [words("Address of the controller", "url", { required: true, value: bmc?.url ?? "", most: 500, hint: "With https before it.", flag: "--redfish" }), words("User", "user", { required: true, value: bmc?.user ?? "" }), secret("Password", "password", { required: true, hint: "On the command line: --password-file." }),
        words("SHA-256 of its certificate", "fingerprint", { most: 95, hint: "Instead of an authority." }), text("Authority of its certificate (PEM)", "authority", { words: () => ["--authority", "ca.pem"], hint: "Left empty: those that management servers trust." })] }),
    bmc ? form("Forget by what its power is switched", { method: "DELETE", path: `${path}/bmc`, cli: cli("power", "--forget", name), done }) : null,
    found.state === "silent" ? confirmed(name, "Declare it down", "You have made sure that it is off: its machines start elsewhere. If it still ran, they would run twice.",
      () => ({ path: `${path}/declare-down`, cli: [cli("declare-down", "--yes", name)] }), done) : null,
    off ? confirmed(name, "Remove a host that is lost", "It will never come back: what was on its own disks is lost, too.", () => ({ path: `${path}/remove-lost`, cli: [cli("remove-lost", "--yes", name)] }), done) : null,
    found.here.length ? null : confirmed(name, "Remove the host", "It has no machine any more. To come back, it joins as a new one.", () => ({ method: "DELETE", path, expects: found.generation, cli: [cli("delete", name)] }), done)];
}
