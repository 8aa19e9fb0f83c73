// For operators, in a grid: what accounts hold in all regions, what they may hold in all together, and what regions are told to do.
// Any region shows it as it was told; it is changed at the grid manager alone.

import { LIMITS } from "./account.js";
import { call, list } from "./api.js";
import { element, moment, state } from "./element.js";
import { choice, count, form, several, tick, ticks, words } from "./forms.js";
import { link, listed, living, part } from "./lists.js";
import { may } from "./may.js";

const MOST = 1000;
const EVENTS = 50;
const SHOWN = ["machines", "cpus", "memory_mib", "storage_mib", "addresses"];
const LABEL = Object.fromEntries(LIMITS);
const KINDS = { evacuate: "empty the zone", cap: "limits there of", suspend: "suspend", resume: "let in again", open: "open the account" };
const OPEN = ["waiting", "running"];

export async function grid(page, who, look) {
  const find = element("input", { type: "search", autocomplete: "off", spellcheck: "false", "aria-label": "Find an account by its path", placeholder: "Find, as root/acme/acme", oninput: () => look() });
  const manager = who.served_by === "grid";
  return living(page, look, {
    title: "Grid",
    lead: [element("p", {}, find)],
    async read() {
      const said = find.value.trim();
      const [regions, held, limits, instructions, events] = await Promise.all([list("/v1/regions"), call("GET", "/v1/grid/accounts", { query: { limit: MOST } }),
        list("/v1/grid/limits"), list("/v1/grid/instructions"), call("GET", "/v1/grid/events", { query: { limit: EVENTS } })]);
      const found = (path) => path.includes(said);
      return { regions: regions.filter((each) => each.state !== "gone").map(({ name, labels }) => ({ name, labels })), ages: held.regions.filter((each) => each.told).map((each) => each.told), more: Boolean(held.next), any: held.items.length > 0,
        held: held.items.filter((each) => found(each.account)), limited: limits.length > 0, limits: limits.filter((each) => found(each.path)), events: events.items,
        instructions: instructions.slice(-EVENTS).reverse() }; // they come by age
    },
    show: (found, acts) => [
      element("p", {}, link("#/regions", "Regions"), ", ", link("#/grid-bills", "and what it costs"), ".", manager ? "" : " Limits over all regions are set, and instructions given, in the grid manager's own console."),
      ...found.ages.map((each) => element("p", { class: "between" }, each)), ...held(found), limited(found, manager), told(found, acts, manager), happened(found)],
    offers: ({ regions }) => regions,
    forms: ({ regions }, acts) => (manager ? formsOf(regions.map((each) => each.name), acts.follow) : []),
  });
}

function held(found) {
  const amount = (each, name) => `${each.used[name] ?? 0}${each.limits[name] === null || each.limits[name] === undefined ? "" : ` of ${each.limits[name]}`}`;
  return [part("What accounts hold", listed(["Account", "Region", "State", ...SHOWN.map((each) => LABEL[each])], found.held.map((each) => [each.account, each.region, state(each.enabled ? "ready" : "suspended"), ...SHOWN.map((name) => amount(each, name))]), "Of how many they may in that region, as it said last",
    found.any ? "There is none of that path." : "No region has told of any. Each says of which accounts it tells, by its setting grid_accounts."),
  found.more ? element("p", { class: "hint" }, `These are of the first ${MOST}.`) : null)];
}

function limited({ limits, limited: any }, manager) {
  const shares = (each, name) => each.shares.map((one) => `${one.region} ${one.share[name] ?? 0}${one.used === null ? "" : ` (${one.used[name] ?? 0} used)`}`).join(", ") || "none yet";
  return part("Limits over all regions", listed(["Account", "What", "At most", ...(manager ? ["Shares of regions"] : [])], limits.flatMap((each) => Object.entries(each.limits).map(([name, most]) => [each.path, LABEL[name] ?? name, most, ...(manager ? [shares(each, name)] : [])])),
    "What accounts may hold in all regions together", any ? "There is none of that path." : "There is none: each region's own limits count."));
}

function told({ instructions }, acts, manager) {
  const what = (each) => [`${KINDS[each.kind] ?? each.kind} ${each.subject}`, ...Object.entries(each.limits).map(([name, most]) => `${LABEL[name] ?? name}: ${most ?? "no limit"}`), ...(each.origins.length ? [`for users of ${each.origins.join(", ")}`] : []), ...(each.stop ? ["stopping what can't move"] : [])].join("; ");
  const far = (one) => element("li", {}, `${one.region}: `, state(one.state), one.told ? `: ${one.told}` : "");
  return part("Instructions", listed(["What", "By", "Given", "Counts until", "How far regions are", ""], instructions.map((each) => [what(each), each.given_by, moment(each.given_at), each.cancelled_at ? element("span", {}, `taken back ${moment(each.cancelled_at)}`) : moment(each.expires_at), element("ul", {}, ...each.regions.map(far)),
    manager && !each.cancelled_at && each.regions.some((one) => OPEN.includes(one.state)) ? acts.sure("Take back", `Take back: ${KINDS[each.kind] ?? each.kind} ${each.subject}`, "POST", "/v1/grid/instructions/cancel", { id: each.id }) : null]),
  manager ? "What regions were told to do, the newest first" : "What this region was told to do", manager ? "No region was told to do anything." : "This region was told to do nothing."));
}

const happened = ({ events }) => part("Events of regions' operators", listed(["When", "Region", "Kind", "What"], events.map((each) => [moment(each.at), each.region, each.kind, each.text]), "The newest", "None was told. Regions tell theirs with the setting grid_events at yes."));

function formsOf(regions, done) {
  if (!may("/v1/grid/limits")) return [];
  const path = () => words("Account, by its path", "path", { required: true, most: 600, placeholder: "root/acme/acme" });
  const subject = () => words("Account, by its path", "subject", { required: true, most: 600, placeholder: "root/acme/acme" });
  const limits = () => LIMITS.map(([name, label]) => words(label, name, { most: 13, placeholder: "as it is", flag: `--${name.replaceAll("_", "-")}` }));
  const amount = (value) => (value === "none" ? null : /^[0-9]+$/.test(value) ? Number(value) : value);
  const shape = (body) => Object.fromEntries(Object.entries(body).map(([name, value]) => [name, name in LABEL ? amount(value) : value]));
  const some = (said) => LIMITS.some(([name]) => said[name] !== undefined);
  const at = () => (regions.length ? ticks("Which regions", "at", regions.map((each) => [each, each]), { hint: "None ticked: all that are in the grid now.", flag: "--at" }) : several("Which regions", "at", { flag: "--at" }));
  const seconds = () => count("Counts for seconds", "seconds", { min: "10", max: "2592000", placeholder: "86400", hint: "Who hears of it later does nothing." });
  const instruct = (label, about, kind, fields, more = {}) => form(label, { path: "/v1/grid/instructions", cli: ["arable", "grid", "instruct", ...(kind ? ["--kind", kind] : [])], fixed: kind ? { kind } : {}, done, about, fields: [...fields, at(), seconds()], ...more });
  return [
    form("Set limits over all regions", { method: "PATCH", path: "/v1/grid/limits", cli: ["arable", "grid", "set-limits"], done, shape, when: some, about: "Regions get shares of a limit, so it holds while any of them is cut off. What is left empty stays; none: no limit. What is held already stays.", fields: [path(), ...limits()] }),
    element("h2", {}, "Tell regions what to do"),
    element("p", { class: "hint" }, "Each region does it once, by itself, if its settings grid_may_evacuate, grid_may_change_accounts and grid_may_open_accounts allow it. One that is away does so when it is back."),
    instruct("Suspend an account, or let it in again", "Suspended, its users are not let in; what it runs, runs on.", "", [choice("Do", "kind", [["suspend", "suspend it"], ["resume", "let it in again"]]), subject()]),
    instruct("Set its limits in each region", "Each region's own limits of the account; with 0 nothing new is made. What is left empty stays; none: no limit.", "cap", [subject(), ...limits()], { shape, when: some }),
    instruct("Open an account", "It is made where it is not yet, with no users of its own; those of the regions it may be asked for from use it.", "open", [subject(), ticks("It may be asked for from", "origins", regions.map((each) => [each, each])), ...limits()], { shape }),
    instruct("Empty a zone", "All hosts of the zone go into maintenance, and what can leave them does, as long as there is room in its pods.", "evacuate", [words("Zone", "subject", { required: true, most: 63 }), tick("Stop what can't leave while it runs", "stop")], { danger: true })];
}
