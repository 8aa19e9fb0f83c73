// For operators and domain administrators: one account, its limits, users and credit.

import { acting, confirmed } from "./acts.js";
import { call, list } from "./api.js";
import { element, moment, state } from "./element.js";
import { choice, count, form, named, secret, ticks, words } from "./forms.js";
import { facts, listed, living, part } from "./lists.js";
import { may } from "./may.js";
import { learn, nameOf } from "./names.js";

export const LIMITS = [["machines", "Machines"], ["cpus", "CPUs"], ["memory_mib", "Memory, MiB"], ["volumes", "Volumes"], ["storage_mib", "Storage, MiB"], ["snapshots", "Snapshots"],
  ["snapshot_mib", "Snapshots, MiB"], ["networks", "Networks"], ["addresses", "Public addresses"]];
const KBPS = ["network_kbps", "Bandwidth of a port, kbit/s"];
const MOST = 20;

export async function account(page, who, look, id) {
  return living(page, look, {
    title: "Account",
    gone: ["account", "#/accounts"],
    async read() {
      const found = await call("GET", `/v1/accounts/${id}`);
      const [limits, users, credit, entries, roles, domain, regions] = await Promise.all([call("GET", `/v1/accounts/${id}/limits`), list("/v1/users", { account: id }), who.served_by === "grid" ? null : call("GET", `/v1/accounts/${id}/credit`),
        who.served_by === "grid" ? { items: [] } : call("GET", "/v1/credit", { query: { account: id, limit: MOST } }), call("GET", "/v1/roles"), call("GET", `/v1/domains/${found.domain}`).catch(() => ({ path: found.domain === who.domain ? who.path : "" })),
        who.served_by === "grid" ? [] : list("/v1/regions").catch(() => [])]);
      await learn(entries.items.map((each) => each.user), [["/v1/users", {}]]);
      return { ...found, limits, users, credit, entries: entries.items, roles: roles.items, path: domain.path,
        regions: regions.filter((each) => !each.own && each.state !== "gone").map((each) => each.name) };
    },
    show: (found, acts) => [
      facts([["State", state(found.enabled ? "ready" : "suspended")], ["Domain", found.path], ["Made", moment(found.created_at)],
        ...(found.regions.length || found.federated.length ? [["May be asked for from", found.federated.join(", ") || "no other region"]] : [])]),
      part("Limits", listed(["What", "Held", "At most"], [...LIMITS.map(([name, label]) => [label, found.limits[name].used, found.limits[name].limit ?? "no limit"]),
        [KBPS[1], "", found.limits.network_kbps ?? "no limit of the account's"]], "What it holds, and may hold", "")),
      part("Users", listed(["Name", "Role", "State", "Since", ""], found.users.map((each) => [each.name, each.role, element("span", {}, state(each.enabled ? "ready" : "disabled"), each.has_password ? "" : ", without a password"), moment(each.created_at),
        each.id === who.user ? "yourself" : element("span", { class: "acts" },
          acts.small(each.enabled ? "Disable" : "Enable", `${each.enabled ? "Disable" : "Enable"} ${each.name}`, "PATCH", `/v1/users/${each.id}`, { enabled: !each.enabled }, { expects: each.generation }),
          acts.sure("Delete", `Delete the user ${each.name}`, "DELETE", `/v1/users/${each.id}`, undefined, { expects: each.generation }))]), "Users of the account", "It has none, so nobody can sign in for it.")),
      found.credit ? part("Credit", facts([["Available", `${found.credit.available} ${found.credit.currency}`], ["Paid ahead", found.credit.paid], ["Used since what was booked last", found.credit.unbooked], ["May owe", found.credit.limit]]),
        found.entries.length ? listed(["When", "What", "Amount", "Key", "Called elsewhere", "By"], found.entries.map((each) => [moment(each.at), each.kind, each.amount, each.key, each.reference, nameOf(each.user)]), `Entries, ${found.entries.length === MOST ? `the first ${MOST}` : "all"}`, "") : null) : null],
    offers: (found) => [found.name, found.generation, found.limits, found.users.map((each) => [each.id, each.role, each.generation]), found.federated, found.regions, found.credit?.limit],
    forms: (found, acts) => formsOf(found, who, acts.follow),
  });
}

function formsOf(found, who, done) {
  const path = `/v1/accounts/${found.id}`;
  const cli = (...said) => ["arable", ...said];
  const roles = found.roles.filter((each) => each.permissions.every((one) => who.permissions.includes(one))).map((each) => [each.name, each.name]);
  const others = found.users.filter((each) => each.id !== who.user).map((each) => [each.id, each.name, each.name]);
  const whom = () => choice("User", "user", others, { sent: false, argument: true });
  const limit = ([name, label], now) => words(label, name, { value: now === null ? "none" : String(now), most: 13, none: "none", flag: `--${name.replaceAll("_", "-")}` });
  const amount = (value) => (value === "none" ? null : /^[0-9]+$/.test(value) ? Number(value) : value);
  const origins = [...found.regions, ...found.federated.filter((each) => !found.regions.includes(each))];
  const suspend = { text: found.enabled ? "Suspend it" : "Let its users in again", method: "PATCH", path, body: { enabled: !found.enabled }, expects: found.generation,
    cli: cli("account", "update", found.name, found.enabled ? "--no-enabled" : "--enabled"), danger: found.enabled };
  return [
    acting([suspend], done),
    may(path) && found.enabled ? element("p", { class: "hint" }, "Suspended, its users are not let in; what it runs, runs on.") : null,
    form("Change its limits", { method: "PATCH", path: `${path}/limits`, cli: cli("limit", "update", found.name), about: "none: no limit.", done, changes: true,
      fields: [...LIMITS.map((each) => limit(each, found.limits[each[0]].limit)), limit(KBPS, found.limits.network_kbps)],
      shape: (body) => Object.fromEntries(Object.entries(body).map(([name, value]) => [name, amount(value)])) }),
    form("Make a user", { path: "/v1/users", cli: cli("user", "create", "--account", found.name), done, fixed: { account: found.id },
      fields: [named("Name of the user"), choice("Role", "role", roles, { value: "customer" }), secret("Password", "password", { hint: "On the command line: --ask-password." })] }),
    others.length ? form("Give a user another role", { method: "PATCH", path: (said) => `/v1/users/${said.user}`, cli: cli("user", "update"), done, fields: [whom(), choice("Role", "role", roles)] }) : null,
    others.length && may("account:write") ? form("Give a user another password", { path: (said) => `/v1/users/${said.user}/password`, cli: cli("user", "change-password"), done, fields: [whom(), secret("New password", "new", { required: true })] }) : null,
    ...(found.credit ? creditForms(found, done) : []),
    origins.length && found.id !== who.account ? form("Say from which regions it may be asked for", { path: `${path}/federate`, expects: found.generation, cli: cli("account", "federate", found.name), done,
      about: `Users of the account ${found.path ? `${found.path}/` : ""}${found.name} there may act as this one here, as customers at most, and within its limits. Those regions vouch for them: let in from regions that you trust as much. None ticked: nobody may.`,
      fields: [ticks("Regions", "origins", origins.map((each) => [each, found.regions.includes(each) ? each : `${each} (not in the grid now)`]), { value: found.federated })] }) : null,
    form("Rename it", { method: "PATCH", path, expects: found.generation, cli: cli("account", "update", found.name), done, fields: [named("Name", { argument: false, value: found.name })], changes: true }),
    confirmed(found.name, "Close the account", "For good, with its users. It may own nothing any more: machines, networks, volumes and the rest go first.",
      () => ({ method: "DELETE", path, cli: [cli("account", "delete", found.name)] }), done)];
}

function creditForms(found, done) {
  const path = `/v1/accounts/${found.id}`;
  return [
    form("Book a payment", { path: `${path}/credit`, cli: ["arable", "credit", "add", found.name], done, fields: [words("Amount", "amount", { required: true, most: 20, placeholder: "12.50", hint: "Less than nothing takes some away." }),
      choice("What it is", "kind", [["payment", "payment"], ["correction", "correction"]]), words("Key", "key", { required: true, most: 80, hint: "Said again it is the same entry: the payment's own number." }), words("Called elsewhere", "reference", { most: 120 })] }),
    form("Say how much it may owe", { method: "PUT", path: `${path}/credit`, cli: ["arable", "credit", "limit", found.name], done, fields: [words("Amount", "amount", { required: true, most: 16, value: found.credit.limit })] })];
}
