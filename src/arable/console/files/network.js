// One network: its machines, public addresses, what may come in and where it leads, and its balancers.

import { asked, confirmed, following } from "./acts.js";
import { call, list } from "./api.js";
import { element, fill, select, state, status, table } from "./element.js";
import { learn, nameOf } from "./names.js";

const KINDS = { forward: "port forward", firewall: "firewall", "static-nat": "static NAT", between: "between networks" };

const ports = (first, last) => (first === null ? "all ports" : last === null || last === first ? String(first) : `${first} to ${last}`);

const number = (attributes) => element("input", { type: "number", min: "1", max: "65535", inputmode: "numeric", ...attributes });

export async function network(page, who, look, id) {
  const title = element("h1", { tabindex: "-1" }, "Network");
  const facts = element("div", {}, status("Loading…"));
  const acts = following(page, look);
  const addresses = element("section", { "aria-label": "Public addresses" });
  const rules = element("section", { "aria-label": "Rules" });
  const balancers = element("section", { "aria-label": "Balancers" });
  const machines = element("section", { "aria-label": "Machines" });
  const forms = element("div", {});
  fill(page, title, facts, acts.node, addresses, rules, balancers, machines, forms);
  const may = who.permissions.includes("network:write");
  let offered = "";
  const remove = (text, path, label) => (may ? acts.small(text, label, "DELETE", path) : null);

  return {
    close: acts.close,
    async look() {
      let found;
      try {
        found = await call("GET", `/v1/networks/${id}`);
      } catch (error) {
        if (error.status !== 404) throw error;
        acts.close();
        return void fill(page, element("h1", { tabindex: "-1" }, "Network"), status("There is no such network any more."),
          element("p", {}, element("a", { href: "#/networks" }, "All networks")));
      }
      const [taken, said, spread, here, all] = await Promise.all([list("/v1/addresses", { network: id }), list("/v1/rules", { network: id }),
        list("/v1/balancers", { network: id }), list("/v1/machines", { network: id }, 200), list("/v1/addresses", { account: found.account })]);
      await learn([found.zone, found.farm], [["/v1/zones", {}], ["/v1/farms", { account: found.account }]]);
      fill(title, found.name);
      document.title = `${found.name} - Arable`;
      const rows = [["Subnet", [found.cidr, found.ipv6_cidr].filter(Boolean).join(", ")], ["Gateway", [found.gateway, found.ipv6_gateway].filter(Boolean).join(", ")],
        ["Names", `name.${found.dns_domain}`], ["Router", element("span", {}, state(found.appliance), found.redundant ? `, and one that stands by: ${found.standby}` : "")],
        ["Zone", nameOf(found.zone)], ["Farm", nameOf(found.farm)]];
      if (found.isolated) rows.push(["Way out", "none"]);
      fill(facts, element("dl", {}, ...rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])));
      fill(addresses, taken.length ? table(["Public address", "Name", "For", ""], taken.map((each) => [each.address, each.name || "",
        each.source_nat ? "the way out" : "", each.source_nat ? null : remove("Release", `/v1/addresses/${each.id}`, `Release ${each.address}`)]), "Public addresses") : element("p", {}, "It has no public address."));
      fill(rules, said.length ? table(["Rule", "Public", "Protocol and ports", "Leads to", "For", ""], said.map((each) => [
        each.kind === "firewall" ? `firewall, ${each.direction}` : KINDS[each.kind], each.public || "", each.protocol === "all" ? "all" : `${each.protocol} ${ports(each.first_port, each.last_port)}`,
        each.machine_name ? `${each.machine_name}${each.to_port ? ` port ${each.to_port}` : ""}` : each.source_name ? `from ${each.source_name}` : "",
        each.cidr || "whom the firewall lets in", remove("Delete", `/v1/rules/${each.id}`, `Delete the rule ${KINDS[each.kind]} ${each.public || ""} ${ports(each.first_port, each.last_port)}`)]), "Rules") : element("p", {}, "Nothing comes in: there is no rule."));
      fill(balancers, spread.length ? table(["Balancer", "Called at", "How", "Members", ""], spread.map((each) => [each.name,
        each.port ? `${each.called_at}:${each.port}` : "nowhere: it only checks", `${each.protocol}${each.tls ? " with TLS" : ""}, ${each.algorithm}`,
        each.members.map((member) => `${member.machine_name}:${member.port} ${member.up === null ? "not checked yet" : member.up ? "up" : `down: ${member.told}`}${member.draining ? ", draining" : ""}`).join("; "),
        remove("Delete", `/v1/balancers/${each.id}`, `Delete the balancer ${each.name}`)]), "Balancers") : null);
      fill(machines, here.length ? table(["Machine", "State", "Address"], here.map((each) => [element("a", { href: `#/machines/${each.id}` }, each.name),
        state(each.state), each.nics.filter((nic) => nic.network === id).map((nic) => nic.address).join(", ")]), "Machines") : element("p", {}, "It has no machine."));
      const free = all.filter((each) => !each.network && each.zone === found.zone);
      const key = JSON.stringify([found.name, taken.map((each) => each.id), free.map((each) => each.id), here.map((each) => each.id)]);
      if (may && offered !== key && !forms.contains(document.activeElement)) {
        offered = key;
        fill(forms, ...formsOf(found, taken, free, here, acts.follow));
      }
    },
  };
}

function formsOf(found, taken, free, here, done) {
  const made = [];
  const byId = (list_, text) => list_.map((each) => [each.id, text(each)]);
  const chosen = (list_, id) => list_.find((each) => each.id === id);
  if (!found.isolated) {
    const which = select([["", "any free one"], ...byId(free, (each) => each.address)], "");
    made.push(asked(free.length ? "Give it another public address" : "Take another public address", [["Address", which, "address"]], () => (which.value
      ? { path: `/v1/addresses/${which.value}/associate`, body: { network: found.id }, cli: [["arable", "address", "associate", chosen(free, which.value).address, "--network", found.name]] }
      : { path: "/v1/addresses", body: { zone: found.zone }, cli: [["arable", "address", "acquire", "--zone", found.zone]] }), done));
  }
  if (taken.length && here.length) {
    const address = select(byId(taken, (each) => each.address), taken[0].id);
    const machine = select(byId(here, (each) => each.name), here[0].id);
    const from = number({ required: true });
    const to = number({ placeholder: "the same" });
    const protocol = select([["tcp", "tcp"], ["udp", "udp"]], "tcp");
    const cidr = element("input", { value: "0.0.0.0/0", spellcheck: "false", autocomplete: "off" });
    made.push(asked("Forward a port to a machine", [["Address", address, "address"], ["Protocol", protocol, "protocol"], ["Port", from, "first_port"], ["Machine", machine, "machine"], ["Its port", to, "to_port"],
      ["Who may come in", cidr, "cidr", "0.0.0.0/0: everybody"]],
    () => ({ path: "/v1/rules/forward", body: { address: address.value, protocol: protocol.value, first_port: Number(from.value), machine: machine.value,
      ...(to.value ? { to_port: Number(to.value) } : {}), open: true, cidr: cidr.value },
    cli: [["arable", "rule", "forward", "--address", chosen(taken, address.value).address, "--protocol", protocol.value, "--port", from.value, "--machine", chosen(here, machine.value).name,
      ...(to.value ? ["--to-port", to.value] : []), "--open", "--cidr", cidr.value]] }), done));
    const name = element("input", { required: true, maxlength: "63", spellcheck: "false", autocomplete: "off" });
    const at = select(byId(taken, (each) => each.address), taken[0].id);
    const port = number({ required: true, value: "80" });
    const inner = number({ required: true, value: "80" });
    const speaks = select([["http", "http"], ["tcp", "tcp"]], "http");
    const ticks = here.map((each) => [each, element("input", { type: "checkbox" })]);
    const members = () => ticks.filter(([, tick]) => tick.checked).map(([each]) => each);
    made.push(asked("Spread a port over machines", [["Name of the balancer", name, "name"], ["Address", at, "address"], ["Port", port, "port"], ["Protocol", speaks, "protocol"], ["Members' port", inner, "members"],
      ...ticks.map(([each, tick]) => [each.name, tick, `members.${each.name}`])],
    () => ({ path: "/v1/balancers", body: { name: name.value, address: at.value, port: Number(port.value), protocol: speaks.value,
      members: members().map((each) => ({ machine: each.name, port: Number(inner.value) })) },
    cli: [["arable", "balancer", "create", name.value, "--address", chosen(taken, at.value).address, "--port", port.value, "--protocol", speaks.value,
      ...members().flatMap((each) => ["--member", `${each.name},port=${inner.value}`])]] }), done));
  }
  made.push(confirmed(found.name, "Delete the network", "Its public addresses go back, and its rules and balancers go with it. Machines have to leave it first.",
    () => ({ method: "DELETE", path: `/v1/networks/${found.id}`, cli: [["arable", "network", "delete", found.name]] }), done));
  return made;
}
