// One network: its machines, public addresses, what may come in and where it leads, and its balancers.

import { confirmed } from "./acts.js";
import { call, list } from "./api.js";
import { tlsFields } from "./balancer.js";
import { element, state } from "./element.js";
import { byName, choice, count, form, named, ticks, words } from "./forms.js";
import { facts, link, listed, living, part } from "./lists.js";
import { learn, nameOf } from "./names.js";

const KINDS = { forward: "port forward", firewall: "firewall", "static-nat": "static NAT", between: "between networks" };
const PROTOCOLS = ["tcp", "udp", "icmp", "all"].map((each) => [each, each]);

const ports = (first, last) => (first === null ? "all ports" : last === null || last === first ? String(first) : `${first} to ${last}`);

const port = (label, path, but = {}) => count(label, path, { min: "1", max: "65535", ...but });

const range = () => [port("First port", "first_port", { flag: "--port", placeholder: "all" }), port("Last port", "last_port", { placeholder: "the same" })];

export async function network(page, who, look, id) {
  return living(page, look, {
    title: "Network",
    gone: ["network", "#/networks"],
    async read() {
      const found = await call("GET", `/v1/networks/${id}`);
      const [taken, rules, balancers, machines, addresses, siblings] = await Promise.all([list("/v1/addresses", { network: id }), list("/v1/rules", { network: id }),
        list("/v1/balancers", { network: id }), list("/v1/machines", { network: id }, 200), list("/v1/addresses", { account: found.account }),
        list("/v1/networks", { account: found.account })]);
      await learn([found.zone, found.farm], [["/v1/zones", {}], ["/v1/farms", { account: found.account }]]);
      return { ...found, taken, rules, balancers, machines, free: addresses.filter((each) => !each.network && each.zone === found.zone),
        siblings: siblings.filter((each) => each.farm === found.farm && each.id !== id).map((each) => ({ id: each.id, name: each.name })) };
    },
    show: (found, acts) => [...about(found), ...held(found, acts)],
    offers: (found) => [found.name, found.ipv6_cidr, found.taken.map((each) => each.id), found.free.map((each) => each.id), found.machines.map((each) => each.id), found.siblings],
    forms: (found, acts) => formsOf(found, acts.follow),
  });
}

function about(found) {
  const rows = [["Subnet", [found.cidr, found.ipv6_cidr].filter(Boolean).join(", ")], ["Gateway", [found.gateway, found.ipv6_gateway].filter(Boolean).join(", ")],
    ["Names", `name.${found.dns_domain}`], ["Router", element("span", {}, state(found.appliance), found.redundant ? `, and one that stands by: ${found.standby}` : "")],
    ["Zone", nameOf(found.zone)], ["Farm", nameOf(found.farm)]];
  if (found.isolated) rows.push(["Way out", "none"]);
  return [facts(rows)];
}

function held({ id, taken, rules, balancers, machines }, acts) {
  const remove = (text, path, label) => acts.small(text, label, "DELETE", path);
  const other = (each) => (each.kind === "firewall" && each.direction === "out" ? `to ${each.cidr}` : each.cidr || "whom the firewall lets in");
  return [
    part("Public addresses", listed(["Public address", "Name", "For", ""], taken.map((each) => [each.address, each.name || "",
      each.source_nat ? "the way out" : "", each.source_nat ? null : acts.sure("Release", `Release ${each.address}`, "DELETE", `/v1/addresses/${each.id}`)]), "Public addresses", "It has no public address.")),
    part("Rules", listed(["Rule", "Public", "Protocol and ports", "Leads to", "For", ""], rules.map((each) => [
      each.kind === "firewall" ? `firewall, ${each.direction}` : KINDS[each.kind], each.public || "", each.protocol === "all" ? "all" : `${each.protocol} ${ports(each.first_port, each.last_port)}`,
      each.machine_name ? `${each.machine_name}${each.to_port ? ` port ${each.to_port}` : ""}` : each.source_name ? `from ${each.source_name}` : "",
      other(each), remove("Delete", `/v1/rules/${each.id}`, `Delete the rule ${KINDS[each.kind]} ${each.public || ""} ${ports(each.first_port, each.last_port)}`)]),
    "Rules", "Nothing comes in: there is no rule."),
    rules.some((each) => each.direction === "out") ? element("p", { class: "hint" }, "Nothing goes out but what its rules for that let pass.") : null),
    balancers.length ? part("Balancers", listed(["Balancer", "Called at", "How", "Members", ""], balancers.map((each) => [link(`#/balancers/${each.id}`, each.name),
      each.port ? `${each.called_at}:${each.port}` : "nowhere: it only checks", `${each.protocol}${each.tls ? ` with TLS until ${new Date(each.certificate_until).toLocaleDateString()}` : ""}, ${each.algorithm}`,
      each.members.map((member) => `${member.machine_name}:${member.port} ${member.up === null ? "not checked yet" : member.up ? "up" : `down: ${member.told}`}${member.draining ? ", draining" : ""}`).join("; "),
      remove("Delete", `/v1/balancers/${each.id}`, `Delete the balancer ${each.name}`)]), "Balancers", "")) : null,
    part("Machines", listed(["Machine", "State", "Address"], machines.map((each) => [link(`#/machines/${each.id}`, each.name),
      state(each.state), each.nics.filter((nic) => nic.network === id).map((nic) => nic.address).join(", ")]), "Machines", "It has no machine."))];
}

function formsOf(found, done) {
  const { id, name, taken, free, machines, siblings } = found;
  const addresses = byName(taken, (each) => each.address).map(([value, text]) => [value, text, text]);
  const rule = (label, kind, fields, more = {}) => form(label, { path: `/v1/rules/${kind}`, cli: ["arable", "rule", kind], fields, done, ...more });
  const made = [];
  if (!found.isolated) {
    const which = choice("Address", "address", [["", "any free one"], ...free.map((each) => [each.id, each.address, each.address])], { argument: true, sent: false });
    made.push(form(free.length ? "Give it another public address" : "Take another public address", { done, fields: [which],
      path: (said) => (said.address ? `/v1/addresses/${said.address}/associate` : "/v1/addresses"),
      cli: (said) => (said.address ? ["arable", "address", "associate", "--network", name] : ["arable", "address", "acquire", "--zone", found.zone]),
      shape: (_body, said) => (said.address ? { network: id } : { zone: found.zone }) }));
  }
  if (taken.length && machines.length) {
    made.push(rule("Forward a port to a machine", "forward", [choice("Address", "address", addresses), choice("Protocol", "protocol", PROTOCOLS.slice(0, 2)),
      port("Port", "first_port", { required: true, flag: "--port" }), choice("Machine", "machine", byName(machines)), port("Its port", "to_port", { placeholder: "the same" }),
      words("Who may come in", "cidr", { value: "0.0.0.0/0", hint: "0.0.0.0/0: everybody" })],
    { fixed: { open: true }, tail: ["--open"] }));
    const spare = taken.filter((each) => !each.source_nat);
    if (spare.length) {
      made.push(rule("Make a public address a machine's own", "static-nat", [choice("Address", "address", spare.map((each) => [each.id, each.address, each.address])),
        choice("Machine", "machine", byName(machines))], { about: "Both ways: the machine calls by it, too. What may come in is said by rules of the firewall." }));
    }
    made.push(form("Spread a port over machines", { path: "/v1/balancers", cli: ["arable", "balancer", "create"], done, fields: [named("Name of the balancer"),
      choice("Address", "address", addresses), port("Port", "port", { required: true, value: "80" }), choice("Protocol", "protocol", [["http", "http"], ["tcp", "tcp"]]),
      ...(found.ipv6_cidr ? [words("For whom by IPv6", "cidr6", { hint: "::/0: everybody; empty: nobody" })] : []),
      port("Members' port", "to", { required: true, value: "80", sent: false, words: () => [], at: "members" }),
      ticks("Members", "members", machines.map((each) => [each.name, each.name]), { spoken: (each, said) => `${each},port=${said.to}`, flag: "--member" }), ...tlsFields(false)],
    shape: (body, said) => ({ ...body, members: (said.members ?? []).map((each) => ({ machine: each, port: said.to })) }) }));
  }
  if (taken.length) {
    made.push(rule("Let in through the firewall", "firewall", [choice("Address", "address", addresses), choice("Protocol", "protocol", PROTOCOLS), ...range(),
      words("From", "cidr", { value: "0.0.0.0/0", hint: "0.0.0.0/0: everybody" })], { fixed: { direction: "in" }, cli: ["arable", "rule", "firewall", "--direction", "in"],
      about: "For an address that a machine has as its own, or ports that lead to machines without letting everybody in." }));
  }
  if (!found.isolated) {
    made.push(rule("Let out through the firewall", "firewall", [choice("Protocol", "protocol", PROTOCOLS), ...range(), words("To", "cidr", { value: "0.0.0.0/0", hint: "0.0.0.0/0: everywhere" })],
    { fixed: { direction: "out", network: id }, cli: ["arable", "rule", "firewall", "--direction", "out", "--network", name],
      about: "Everything goes out until there is one such rule; from then on nothing does but what such rules say." }));
  }
  if (siblings.length) {
    made.push(rule("Let another network of the farm call", "between", [choice("Which", "source", byName(siblings)), choice("Protocol", "protocol", PROTOCOLS), ...range()],
    { fixed: { network: id }, cli: ["arable", "rule", "between", "--network", name] }));
  }
  made.push(confirmed(name, "Delete the network", "Its public addresses go back, and its rules and balancers go with it. Machines have to leave it first.",
    () => ({ method: "DELETE", path: `/v1/networks/${id}`, cli: [["arable", "network", "delete", name]] }), done));
  return made;
}
