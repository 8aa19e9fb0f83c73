// One balancer: who its members are and how they are, what it does, and how it is changed.

import { confirmed } from "./acts.js";
import { call, list } from "./api.js";
import { element, moment, state } from "./element.js";
import { byName, choice, count, form, named, pem, words } from "./forms.js";
import { facts, link, listed, living, part } from "./lists.js";
import { learn, nameOf } from "./names.js";

const WORDS = (all) => all.map((each) => [each, each]);
const ALGORITHMS = [["round-robin", "one after the other"], ["least-connections", "who has the fewest connections"], ["source", "by the client's address"]];
const STICKINESS = [["none", "to any member"], ["source", "to the same one, by their address"], ["cookie", "to the same one, by a cookie"]];
const SOON = 30; // days before a certificate's end

/** What a certificate takes: both, or neither. */
export const tlsFields = (required) => [pem("Certificate", "certificate", { required, hint: `PEM, the server's first, then those of its issuers.${required ? "" : " Left empty: no TLS."}` }),
  pem("Its private key", "private_key", { required, veiled: true, most: 16384, hint: "PEM, without a passphrase. Kept encrypted; nobody is shown it again." })];

const said = (options, value) => options.find(([each]) => each === value)?.[1] ?? value;

export async function balancer(page, _who, look, id) {
  return living(page, look, {
    title: "Balancer",
    gone: ["balancer", "#/networks"],
    async read() {
      const found = await call("GET", `/v1/balancers/${id}`);
      const [machines, stats, network] = await Promise.all([list("/v1/machines", { network: found.network }, 200), call("GET", `/v1/balancers/${id}/stats`).catch(() => null), call("GET", `/v1/networks/${found.network}`)]);
      await learn([found.network], [["/v1/networks", { account: found.account }]]);
      return { ...found, machines: machines.map((each) => ({ id: each.id, name: each.name })), stats, six: Boolean(network.ipv6_cidr) && found.kind === "public" };
    },
    show: (found, acts) => [about(found), members(found, acts)],
    offers: (found) => [found.generation, found.six, found.tls, found.name, found.members.map((each) => [each.machine, each.port, each.weight]), found.machines],
    forms: (found, acts) => formsOf(found, acts.follow),
  });
}

function about(found) {
  const { check, stats } = found;
  const rows = [["Called at", found.port ? `${found.called_at}:${found.port}` : "nowhere: it only checks"], ["How", `${found.protocol}${found.tls ? " with TLS" : ""}`], ["Network", link(`#/networks/${found.network}`, nameOf(found.network))],
    ["Who gets the next one", said(ALGORITHMS, found.algorithm)], ["Clients come back", said(STICKINESS, found.stickiness)], ["For whom", found.cidr === "0.0.0.0/0" ? "everybody" : found.cidr],
    ["Members are asked", `${check.kind === "http" ? `for ${check.path}, by HTTP; good are ${check.lowest_status} to ${check.highest_status}` : "for a connection"}, every ${check.interval} s`]];
  if (found.public6) rows.push(["By IPv6", `[${found.public6}]:${found.port}, for ${found.cidr6 === "::/0" ? "everybody" : found.cidr6}`]);
  if (found.certificate_until) rows.push(["Certificate until", lasts(found.certificate_until)], ["Its certificates", element("details", {}, element("summary", {}, "as PEM; its key is shown to nobody"), element("pre", { tabindex: "0", "aria-label": "Certificates" }, found.certificate))]);
  if (stats) rows.push(["Now", `${stats.sessions} sessions, ${stats.request_rate} requests a second, ${stats.response_ms} ms`], ["So far", `${stats.requests} requests, ${stats.all_sessions} sessions`]);
  return facts(rows);
}

/** Until when a certificate counts, and how near that is. */
function lasts(until) {
  const days = Math.floor((new Date(until) - Date.now()) / 86_400_000);
  const near = days < 0 ? ["bad", "it is over: browsers refuse it"] : days < SOON ? ["between", days ? `${days} more ${days === 1 ? "day" : "days"}` : "less than a day"] : null;
  return element("span", {}, moment(until), near ? element("strong", { class: near[0] }, ` (${near[1]})`) : "");
}

function members({ id, members: all, stats }, acts) {
  const of = (member) => stats?.members.find((each) => each.machine === member.machine);
  return part("Members", listed(["Machine", "Address", "Weight", "State", "Sessions", "Errors", ""], all.map((each) => [link(`#/machines/${each.machine}`, each.machine_name), `${each.address}:${each.port}`, each.weight,
    element("span", {}, state(each.up === null ? "not checked yet" : each.up ? "up" : "down"), each.draining ? ", draining" : "", each.told ? `: ${each.told}` : ""), of(each)?.sessions ?? "", of(each)?.errors ?? "",
    acts.small(each.draining ? "Let it have new ones" : "Drain", `${each.draining ? "Let it have new ones" : "Drain"}: ${each.machine_name}`, "PATCH", `/v1/balancers/${id}/members/${each.machine}`, { draining: !each.draining })]),
  "Members of the balancer", "It has none, so nobody answers. Add a machine of its network."));
}

function formsOf(found, done) {
  const { id, name, check } = found;
  const path = `/v1/balancers/${id}`;
  const cli = (...rest) => ["arable", "balancer", ...rest];
  const free = found.machines.filter((each) => !found.members.some((one) => one.machine === each.id));
  const port = (but) => count("Port", "port", { min: "1", max: "65535", ...but });
  const weight = (but) => count("Weight", "weight", { min: "1", max: "256", ...but });
  const member = () => choice("Member", "machine", found.members.map((each) => [each.machine, each.machine_name, each.machine_name]), { sent: false, argument: true });
  const http = (label, at, value, but) => count(label, `check.${at}`, { value, ...but });
  const kept = (said_) => { // a check is whole: what is not said of it would be the usual again
    if (!Object.keys(said_).some((each) => each.startsWith("check."))) return [];
    return Object.entries(check).filter(([each]) => said_[`check.${each}`] === undefined).flatMap(([each, value]) => [`--check-${each.replaceAll("_", "-")}`, String(value)]);
  };
  return [
    free.length ? form("Add a member", { path: `${path}/members`, cli: cli("add-member", name), done, fields: [choice("Machine", "machine", byName(free)), port({ required: true, value: found.members[0]?.port ?? 80 }), weight({ placeholder: "1" })] }) : null,
    found.members.length ? form("Change a member", { method: "PATCH", path: (said_) => `${path}/members/${said_.machine}`, cli: cli("update-member", name), done, when: (said_) => said_.port !== undefined || said_.weight !== undefined,
      fields: [member(), port({ placeholder: "as it is" }), weight({ placeholder: "as it is", hint: "Of two, one with twice the weight gets twice as many." })] }) : null,
    found.members.length ? form("Take a member out", { method: "DELETE", path: (said_) => `${path}/members/${said_.machine}${said_.drain_seconds === undefined ? "" : `?drain_seconds=${said_.drain_seconds}`}`, cli: cli("remove-member", name), done, danger: true,
      fields: [member(), count("Let it end what it has, for seconds", "drain_seconds", { sent: false, placeholder: "at once" })] }) : null,
    form("Change it", { method: "PATCH", path, expects: found.generation, done, changes: true, cli: (said_) => cli("update", name, ...kept(said_)),
      shape: (body) => (body.check ? { ...body, check: { ...check, ...body.check } } : body),
      fields: [named("Name", { argument: false, value: name }), choice("Who gets the next one", "algorithm", ALGORITHMS, { value: found.algorithm }), choice("Clients come back", "stickiness", STICKINESS, { value: found.stickiness }), words("For whom", "cidr", { value: found.cidr, hint: "0.0.0.0/0: everybody" }),
        ...(found.six ? [words("For whom by IPv6", "cidr6", { value: found.cidr6 ?? "", hint: "::/0: everybody; empty: nobody", none: null })] : []),
        choice("Members are asked", "check.kind", WORDS(["tcp", "http"]), { value: check.kind }), words("For which path", "check.path", { value: check.path }), http("Lowest good status", "lowest_status", check.lowest_status), http("Highest good status", "highest_status", check.highest_status),
        http("Every so many seconds", "interval", check.interval), http("Waiting so many", "timeout", check.timeout), http("Up after so many", "rise", check.rise), http("Down after so many", "fall", check.fall)] }),
    found.kind === "probe" ? null : form(found.tls ? "Replace its certificate" : "Have it speak TLS", { method: "PATCH", path, expects: found.generation, cli: cli("update", name), done, fields: tlsFields(true), about: found.tls ? "The new one is shown to clients from then on." : "Clients call it by HTTPS, or TLS, from then on; its members are called as before." }),
    found.tls ? confirmed(name, "Take its certificate away", "Clients that call it by HTTPS are not answered any more. The certificate and its key are forgotten.", () => ({ method: "PATCH", path, body: { certificate: null }, expects: found.generation, cli: [cli("update", name, "--certificate", "none")] }), done) : null,
    confirmed(name, "Delete the balancer", "Its port answers nobody any more; its machines stay.", () => ({ method: "DELETE", path, expects: found.generation, cli: [cli("delete", name)] }), done)];
}
