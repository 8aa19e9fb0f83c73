// For operators: all hosts, to be found by name, state and pod; and the way in for new ones.

import { list } from "./api.js";
import { share } from "./data_centre.js";
import { element, field, moment, select, state } from "./element.js";
import { choice, count, form, several, ticks } from "./forms.js";
import { link, listed, living, once, part } from "./lists.js";
import { may } from "./may.js";

const MOST = 1000;
const SHOWN = 200;
export const STATES = [["", "all"], ["up", "up"], ["silent", "silent"], ["down", "down"], ["asleep", "asleep"], ["joined", "joined, not heard yet"]];
export const ROLES = [["compute", "compute: machines"], ["routing", "routing: networks' routers"], ["storage", "storage: shared disks"]];

/** What is to be done on the host, with the token that is shown this once. */
export const invitation = (title, made) => once(title, `It counts until ${moment(made.expires_at)}, works once, and is shown this once. On the host, as root, with Arable installed and /etc/arable/agent.yaml written:`,
  `arable agent join <<END\n${made.token}\nEND\nsystemctl enable --now arable-agent`);

export async function hosts(page, _who, look) {
  const find = element("input", { type: "search", autocomplete: "off", spellcheck: "false", oninput: () => look() });
  const only = select(STATES, "", () => look());
  const care = element("input", { type: "checkbox", onchange: () => look() });
  return living(page, look, {
    title: "Hosts",
    lead: [element("div", { class: "row" }, field("Find by name, pod, role or tag", find), field("State", only), field("In maintenance alone", care))],
    async read() {
      const asked = { state: only.value, maintenance: care.checked ? true : "" };
      const [found, pods, zones, tokens] = await Promise.all([list("/v1/hosts", asked, MOST), list("/v1/pods"), list("/v1/zones"), list("/v1/join-tokens")]);
      const zone = Object.fromEntries(zones.map((each) => [each.id, each.name]));
      const pod = Object.fromEntries(pods.map((each) => [each.id, each.name]));
      const said = find.value.toLowerCase().split(/\s+/).filter(Boolean);
      const fits = (each) => said.every((word) => [each.name, pod[each.pod] ?? "", ...each.roles, ...each.tags].some((one) => one.toLowerCase().includes(word)));
      const kept = found.filter(fits).map((each) => ({ id: each.id, name: each.name, state: each.state, told: each.told, maintenance: each.maintenance, place: `${zone[each.zone] ?? each.zone} / ${pod[each.pod] ?? each.pod}`, roles: [...each.roles, ...each.tags],
        machines: each.machines, cpu: each.cpu_mhz, memory: each.memory_mib, disk: each.disk_mib, since: each.state === "up" ? null : each.seen_at }));
      kept.sort((one, other) => one.name.localeCompare(other.name, undefined, { numeric: true }));
      const now = new Date().toISOString();
      return { hosts: kept, more: found.length >= MOST, narrowed: Boolean(said.length || only.value || care.checked), pods: pods.map((each) => ({ name: each.name, id: each.id, zone: zone[each.zone] ?? "" })),
        tokens: tokens.filter((each) => !each.used_at && each.expires_at > now).map((each) => ({ ...each, pod: pod[each.pod] ?? each.pod })), names: Object.fromEntries(found.map((each) => [each.id, each.name])) };
    },
    show: (found, acts) => [hostTable(found),
      found.tokens.length ? part("Invited", listed(["Who may join", "Pod", "For", "Counts until", ""], found.tokens.map((each) => [each.host ? `${found.names[each.host] ?? "a host of old"}, anew` : "one new host", each.pod, [...each.roles, ...each.tags].join(", "), moment(each.expires_at),
        acts.sure("Revoke", `Revoke the token of ${moment(each.created_at)}`, "DELETE", `/v1/join-tokens/${each.id}`)]), "Tokens that nobody has used yet", "")) : null],
    offers: (found) => found.pods,
    forms: (found, acts) => [joining(found.pods, acts)],
  });
}

function hostTable({ hosts: found, more, narrowed, pods }) {
  const empty = narrowed ? "There is none like that." : !pods.length ? "There is none, and no pod to join: add one to a zone." : `There is none yet.${may("/v1/join-tokens") ? " Let the first one join." : ""}`;
  return element("div", {}, listed(["Host", "State", "Zone and pod", "For", "Machines", "CPU", "Memory", "Disk"], found.slice(0, SHOWN).map((each) => [link(`#/hosts/${each.id}`, each.name),
    element("span", {}, state(each.state), each.maintenance ? " in maintenance" : "", each.told ? `: ${each.told}` : each.since ? `, heard ${moment(each.since)}` : ""), each.place, each.roles.join(", "), each.machines,
    share(each.cpu.reserved, each.cpu.total, "MHz"), share(each.memory.reserved, each.memory.total, "MiB"), share(each.disk.reserved, each.disk.total, "MiB")]), "Hosts, and how much of them is reserved", empty),
  found.length > SHOWN ? element("p", { class: "hint" }, `These are the first ${SHOWN} of ${found.length}: say more of the one you look for.`) : null,
  more ? element("p", { class: "hint" }, `Looked for among the first ${MOST}.`) : null,
  pods.length ? null : element("p", {}, link("#/zones", "Zones")));
}

function joining(pods, acts) {
  if (!pods.length) return null;
  const twice = (each) => pods.filter((one) => one.name === each.name).length > 1;
  return form("Let a host join", { path: "/v1/join-tokens", cli: ["arable", "host", "invite"], about: "Makes a token for one host. What to type on the host is shown then.",
    fields: [choice("Pod", "pod", pods.map((each) => [each.id, `${each.zone} / ${each.name}`, twice(each) ? each.id : each.name])), ticks("For", "roles", ROLES, { hint: "None ticked: for machines alone." }), several("Tags", "tags", { placeholder: "ssd, gpu" }),
      count("Counts for seconds", "seconds", { min: "1", max: "86400", hint: "Left empty: as the settings say." })],
    done(made) {
      acts.follow(null);
      if (made.token) acts.tell(invitation("A host may join", made));
    } });
}
