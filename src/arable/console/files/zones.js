// For operators: the zones with what customers' networks are made of in them, and a new one.

import { call, list } from "./api.js";
import { state } from "./element.js";
import { choice, count, form, named, several, words } from "./forms.js";
import { link, listed, living } from "./lists.js";

export const RUNTIMES = [["namespace", "namespaces of their hosts"], ["vm", "machines of their own"]];

/** Ranges of numbers, as people write them. */
export const spans = (found) => (found ?? []).map((each) => (each.first === each.last ? String(each.first) : `${each.first}-${each.last}`)).join(", ");

/** Two fields of numbers, which the command line takes as one: FIRST-LAST. */
export const span = (name, first, last, least, most) => [
  count(first, `${name}.first`, { min: least, max: most, words: () => [] }),
  count(last, `${name}.last`, { min: least, max: most, words: (value, said) => [`--${name}`, `${said[`${name}.first`] ?? value}-${value}`] })];

export async function zones(page, _who, look) {
  return living(page, look, {
    title: "Zones",
    async read() {
      const [found, pods] = await Promise.all([list("/v1/zones"), list("/v1/pods")]);
      const full = await Promise.all(found.map((each) => call("GET", `/v1/zones/${each.id}/capacity`)));
      return found.map((each, at) => ({ ...each, pods: pods.filter((one) => one.zone === each.id).length, full: full[at] }));
    },
    show: (found) => [listed(["Zone", "State", "Pods", "Hosts up", "Machines", "Guest networks by", "Guest networks free", "Public addresses free"], found.map((each) => [link(`#/zones/${each.id}`, each.name),
      state(each.enabled ? "ready" : "disabled"), each.pods, `${each.full.hosts.up} of ${each.full.hosts.total}`, each.full.machines, each.isolation === "vxlan" ? "VXLAN" : "VLAN",
      `${each.full.vlans.free} of ${each.full.vlans.total}`, `${each.full.addresses.free} of ${each.full.addresses.total}`]), "Zones of this region",
    "There is none yet. Make a zone, then on its page a pod, whose hosts then join.")],
    forms: (_found, acts) => [form("Make a zone", { path: "/v1/zones", cli: ["arable", "zone", "create"], about: "Say VLANs that its switches carry to every host, or VNIs for networks in VXLAN. Pods, hosts and public addresses follow on its page.",
      fields: [named(), ...span("vlans", "First VLAN", "Last VLAN", "2", "4094"), ...span("vnis", "Or first VNI", "Last VNI", "1", "16777215"),
        words("Subnet of guest networks", "guest_cidr", { placeholder: "10.1.1.0/24", hint: "Where a customer says none." }), words("Domain of names", "dns_domain", { placeholder: "internal" }),
        several("Resolvers", "resolvers", { hint: "Addresses that routers ask for all other names." }), count("MTU between hosts", "underlay_mtu", { placeholder: "1500" }), choice("Routers are", "router_runtime", RUNTIMES)],
      done(answer) {
        acts.follow(null);
        location.assign(`#/zones/${answer.id}`);
      } })],
  });
}
