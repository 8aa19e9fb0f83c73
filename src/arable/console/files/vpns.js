// VPNs: networks joined to sites elsewhere, and open to people's own computers; both by WireGuard.

import { list } from "./api.js";
import { element, moment, state } from "./element.js";
import { byName, choice, count, form, named, secret, several, words } from "./forms.js";
import { link, listed, living, once, part } from "./lists.js";
import { may } from "./may.js";
import { learn, nameOf } from "./names.js";

const seen = (status) => (status === null ? "nothing seen yet" : element("span", {}, state(status.up ? "up" : "down"), ` since ${moment(status.since)}`));

const allowed = (rules) => rules.map((each) => `${each.protocol}${each.first_port ? ` ${each.first_port}${each.last_port && each.last_port !== each.first_port ? `-${each.last_port}` : ""}` : ""}`
  + `${each.cidr === "0.0.0.0/0" ? "" : ` from ${each.cidr}`}`).join(", ") || "nothing";

/** A network, and where it is called. */
const at = (each) => element("span", {}, `${each.public}:${each.port} of `, link(`#/networks/${each.network}`, nameOf(each.network)));

const PORT = { min: "1024", max: "65535" };
const CALLS = [["", "nothing"], ["all", "everything"], ["tcp", "TCP"], ["udp", "UDP"], ["icmp", "ICMP"]];

/** What may begin from the other end: one rule, which is what most need; others are said by the API. */
function allow(nothing) {
  const options = nothing ? CALLS : CALLS.slice(1);
  return [choice("What may begin from there", "allowed", options, { sent: false, words: () => [], at: "allow" }),
    count("At which port", "at", { ...PORT, min: "1", placeholder: "all", sent: false, words: () => [], at: "allow.0.first_port", hint: "Of TCP or UDP." })];
}

const rulesOf = (said) => (said.allowed ? [{ protocol: said.allowed, ...(said.at ? { first_port: said.at } : {}) }] : []);
const flagsOf = (said) => rulesOf(said).flatMap((each) => ["--allow", `${each.protocol}${each.first_port ? `,first_port=${each.first_port}` : ""}`]);

export async function vpns(page, who, look) {
  return living(page, look, {
    title: "VPNs",
    async read() {
      const own = { account: who.account };
      const [sites, accesses, clients, addresses] = await Promise.all([list("/v1/vpns", own), list("/v1/remote-accesses", own), list("/v1/vpn-clients", own), list("/v1/addresses", own)]);
      await learn([...sites, ...accesses].map((each) => each.network), [["/v1/networks", own]]);
      await learn(addresses.map((each) => each.network).filter(Boolean), [["/v1/networks", own]]);
      return { sites, accesses, clients, addresses: addresses.filter((each) => each.network).map(({ id, address, network }) => ({ id, address, network })) };
    },
    show: ({ sites, accesses, clients }, acts) => [
      part("To sites", listed(["Name", "Called at", "Public key of this end", "Peer", ""], sites.map((each) => [each.name, at(each), element("code", {}, each.public_key),
        element("span", {}, each.peer_cidrs.join(", "), "; ", each.peer_key ? seen(each.status) : "nobody yet: it has no key", `; may begin ${allowed(each.allow)}`),
        element("span", { class: "acts" }, acts.sure("New key", `Make another key for ${each.name}`, "POST", `/v1/vpns/${each.id}/rotate`, undefined, { expects: each.generation }),
          acts.sure("Delete", `Delete the VPN ${each.name}`, "DELETE", `/v1/vpns/${each.id}`, undefined, { expects: each.generation }))]), "VPNs to sites", "There is none.")),
      part("For people's computers", listed(["Name", "Called at", "Their subnet", "May reach", "Connected", ""], accesses.map((each) => [each.name, at(each), each.cidr, allowed(each.allow), `${each.up} of ${each.clients}`,
        acts.sure("Delete", `Delete the remote access ${each.name}`, "DELETE", `/v1/remote-accesses/${each.id}`, undefined, { expects: each.generation })]), "Remote accesses", "There is none."),
      clients.length ? listed(["Computer", "Access", "Address", "Seen", ""], clients.map((each) => [each.name, each.access_name, each.address, seen(each.status),
        acts.sure("Cut off", `Cut off ${each.name}`, "DELETE", `/v1/vpn-clients/${each.id}`)]), "Computers that have access", "") : null)],
    offers: ({ sites, accesses, addresses }) => [sites.map((each) => [each.id, each.generation]), accesses.map((each) => each.id), addresses],
    forms: (found, acts) => formsOf(found, acts),
  });
}

function formsOf({ sites, accesses, addresses }, acts) {
  if (!may("/v1/vpns")) return [];
  if (!addresses.length) return [element("p", { class: "hint" }, "A VPN begins at a public address of a network, and no network has one. ", link("#/networks", "Take one for a network"), " first.")];
  const called = () => choice("Public address", "address", addresses.map((each) => [each.id, `${each.address} of ${nameOf(each.network)}`, each.address]));
  const peer = (found = null) => [words("Public key of the peer", "peer_key", { most: 44, value: found?.peer_key ?? "", none: null, hint: "As `wg pubkey` writes it. Without one nobody is there yet." }),
    words("Where the peer is called", "peer_endpoint", { most: 21, value: found?.peer_endpoint ?? "", none: null, placeholder: "198.51.100.7:51820", hint: "Left empty: it calls." }),
    secret("Preshared key", "preshared_key", { hint: "That both ends have besides, if they do." })];
  const made = [form("Join a network to a site", { path: "/v1/vpns", done: acts.follow, cli: (said) => ["arable", "vpn", "create", ...flagsOf(said)],
    fields: [named(), called(), count("UDP port", "port", { ...PORT, placeholder: "51820" }), several("Subnets behind the peer", "peer_cidrs", { required: true, placeholder: "192.168.7.0/24", hint: "With commas between them." }), ...peer(), ...allow(true)],
    shape: (body, said) => ({ ...body, peer_cidrs: said.peer_cidrs ?? [], allow: rulesOf(said) }) }),
  form("Open a network to people's computers", { path: "/v1/remote-accesses", done: acts.follow, cli: (said) => ["arable", "remote-access", "create", ...flagsOf(said)],
    fields: [named(), called(), count("UDP port", "port", { ...PORT, placeholder: "51821" }), words("Subnet of the computers", "cidr", { required: true, placeholder: "10.99.0.0/24", hint: "That is nowhere else, from /16 to /29." }), ...allow(false)],
    shape: (body, said) => ({ ...body, allow: rulesOf(said) }) })];
  if (accesses.length) {
    made.push(form("Give a computer access", { path: "/v1/vpn-clients", cli: ["arable", "vpn-client", "create"],
      fields: [named(), choice("Access", "access", byName(accesses)), words("Public key", "public_key", { most: 44, hint: "Left empty: a pair is made here, and its private key is shown this once." })],
      done(answer) {
        acts.follow(answer);
        if (answer.configuration) acts.tell(once(`Configuration of ${answer.client.name}`, "For its WireGuard: save it as a file. It is shown this once, and the server keeps no private key.", answer.configuration));
      } }));
  }
  for (const each of sites) {
    made.push(form(`Change the peer of ${each.name}`, { method: "PATCH", path: `/v1/vpns/${each.id}`, expects: each.generation, done: acts.follow, changes: true, cli: ["arable", "vpn", "update", each.name],
      fields: [...peer(each), several("Subnets behind the peer", "peer_cidrs", { required: true, value: each.peer_cidrs.join(", ") })] }));
  }
  return made;
}
