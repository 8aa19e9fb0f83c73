// For operators: one zone, its pods, what its guest networks and public addresses are taken from, and the room that is left.

import { acting, confirmed } from "./acts.js";
import { call, list } from "./api.js";
import { share } from "./data_centre.js";
import { element, moment, state } from "./element.js";
import { choice, count, form, named, several, words } from "./forms.js";
import { facts, link, listed, living, part } from "./lists.js";
import { may } from "./may.js";
import { RUNTIMES, spans } from "./zones.js";

const SHAPES = 12;

export async function zone(page, _who, look, id) {
  return living(page, look, {
    title: "Zone",
    gone: ["zone", "#/zones"],
    async read() {
      const found = await call("GET", `/v1/zones/${id}`);
      const [full, { at: _now, ...room }, pods, ranges, prefixes, hosts] = await Promise.all([call("GET", `/v1/zones/${id}/capacity`), call("GET", `/v1/zones/${id}/pool-plan`), list("/v1/pods", { zone: id }),
        list("/v1/public-ranges", { zone: id }), list("/v1/ipv6-ranges", { zone: id }), list("/v1/hosts", { zone: id })]);
      const within = (pod) => hosts.filter((each) => each.pod === pod);
      return { ...found, full, room, ranges, prefixes, pods: pods.map((each) => ({ ...each, hosts: within(each.id).length, up: within(each.id).filter((one) => one.state === "up").length })) };
    },
    show: (found, acts) => [...about(found), ...held(found, acts), ...left(found.room)],
    offers: (found) => [found.generation, found.enabled, found.pods.map((each) => each.name)],
    forms: (found, acts) => formsOf(found, acts.follow),
  });
}

function about({ full, ...found }) {
  return [facts([["State", element("span", {}, state(found.enabled ? "ready" : "disabled"), found.enabled ? "" : ": nothing new is placed in it")],
    ["Hosts", element("span", {}, `${full.hosts.up} of ${full.hosts.total} up, ${full.hosts.maintenance} in maintenance; `, link("#/hosts", "all hosts"))], ["Machines", full.machines],
    ["CPU", share(full.cpu_mhz.reserved, full.cpu_mhz.total, "MHz")], ["Memory", share(full.memory_mib.reserved, full.memory_mib.total, "MiB")], ["Disk", share(full.disk_mib.reserved, full.disk_mib.total, "MiB")],
    ["Guest networks", element("span", {}, share(full.vlans.total - full.vlans.free, full.vlans.total, found.isolation === "vxlan" ? "VNIs" : "VLANs"),
      spans(found.vlans ?? found.vnis) ? `: ${spans(found.isolation === "vxlan" ? found.vnis : found.vlans)}` : "")],
    ["Public addresses", share(full.addresses.total - full.addresses.free, full.addresses.total, "addresses")],
    ["Networks begin as", found.guest_cidr], ["Names", found.dns_domain], ["Resolvers", found.resolvers.join(", ") || "those of the hosts"], ["MTU between hosts", found.underlay_mtu],
    ["Routers are", RUNTIMES.find(([each]) => each === found.router_runtime)[1]]])];
}

function held({ pods, ranges, prefixes }, acts) {
  const writes = may("/v1/pods");
  return [
    part("Pods", listed(["Pod", "Management network", "Gateway", "Hosts up", "State", ""], pods.map((each) => [each.name, each.cidr, each.gateway, `${each.up} of ${each.hosts}`, state(each.enabled ? "ready" : "disabled"),
      element("span", { class: "acts" }, acts.small(each.enabled ? "Disable" : "Enable", `${each.enabled ? "Disable" : "Enable"} the pod ${each.name}`, "PATCH", `/v1/pods/${each.id}`, { enabled: !each.enabled }, { expects: each.generation }),
        each.hosts ? null : acts.sure("Delete", `Delete the pod ${each.name}`, "DELETE", `/v1/pods/${each.id}`, undefined, { expects: each.generation }))]),
    "Pods of the zone", `There is none, so no host can join.${writes ? " Add one below." : ""}`),
    pods.length && may("/v1/join-tokens") ? element("p", {}, link("#/hosts", "Let a host join")) : null),
    part("Public addresses", listed(["Range", "Addresses", "Gateway", "VLAN", "Free", ""], ranges.map((each) => [each.cidr, `${each.first} to ${each.last}`, each.gateway, each.vlan, `${each.addresses.free} of ${each.addresses.total}`,
      each.addresses.free === each.addresses.total ? acts.sure("Delete", `Delete the range ${each.cidr}`, "DELETE", `/v1/public-ranges/${each.id}`) : null]), "Ranges of public addresses",
    `There is none, so nothing is reached from outside, and nothing gets out.${writes ? " Add a range below." : ""}`),
    prefixes.length ? listed(["IPv6", "Gateway", "Networks", ""], prefixes.map((each) => [each.cidr, each.gateway ?? "", each.networks,
      each.networks ? null : acts.sure("Delete", `Delete the range ${each.cidr}`, "DELETE", `/v1/ipv6-ranges/${each.id}`)]), "Ranges of IPv6, of which each network that asks has a /64", "") : null)];
}

/** What more would find room. */
function left(room) {
  const chance = (value) => (value > 0 && value < 0.001 ? "less than 0.1%" : `${(100 * value).toFixed(1)}%`);
  return [part("Room for more", ...room.told.map((each) => element("p", {}, each)),
    listed(["Size", "CPUs", "Memory, MiB", "There are", "More would fit", "Finds no room, of those that come"], room.shapes.slice(0, SHAPES).map((each) => [each.offerings.join(", ") || "no longer offered", each.cpus, each.memory_mib, each.machines, each.fits, chance(each.chance)]),
      "Machines by size", "No machine has come yet, by which room could be reckoned."),
    room.recorded_since ? element("p", { class: "hint" }, `Reckoned of what came since ${moment(room.recorded_since)}, ${room.days} days ahead.`) : null)];
}

function formsOf(found, done) {
  const path = `/v1/zones/${found.id}`;
  const { name } = found;
  const vxlan = found.isolation === "vxlan";
  const kind = vxlan ? "vnis" : "vlans";
  const [low, high] = vxlan ? ["1", "16777215"] : ["2", "4094"];
  const change = { text: found.enabled ? "Disable the zone" : "Enable the zone", method: "PATCH", path, body: { enabled: !found.enabled }, expects: found.generation,
    cli: ["arable", "zone", "update", name, found.enabled ? "--no-enabled" : "--enabled"] };
  return [
    form("Add a pod", { path: "/v1/pods", cli: ["arable", "pod", "create", "--zone", name], fixed: { zone: found.id }, done, about: "A pod is servers behind the same switches. Its management network is where their agents and disks talk; customers' machines never reach it.",
      fields: [named(), words("Management network", "cidr", { required: true, placeholder: "172.31.0.0/24" }), words("Gateway", "gateway", { placeholder: "its first address" })] }),
    form("Add public addresses", { path: "/v1/public-ranges", cli: ["arable", "public-range", "create", "--zone", name], fixed: { zone: found.id }, done,
      fields: [words("Subnet", "cidr", { required: true, placeholder: "203.0.113.0/24" }), words("Gateway", "gateway", { required: true, placeholder: "203.0.113.1" }), words("First address", "first", { required: true }), words("Last address", "last", { required: true }),
        count("VLAN", "vlan", { required: true, min: "0", max: "4094", hint: "By which the hosts for routers reach it." })] }),
    form("Add a range of IPv6", { path: "/v1/ipv6-ranges", cli: ["arable", "ipv6-range", "create", "--zone", name], fixed: { zone: found.id }, done,
      fields: [words("Prefix", "cidr", { required: true, placeholder: "2001:db8:7::/48" }), words("Gateway", "gateway")] }),
    form(vxlan ? "Add VNIs" : "Add VLANs", { path: `${path}/${kind}`, cli: ["arable", "zone", `add-${kind}`, name], done, fields: [count("First", "first", { required: true, min: low, max: high, flag: "--first" }), count("Last", "last", { required: true, min: low, max: high, flag: "--last" })] }),
    form("Change it", { method: "PATCH", path, expects: found.generation, cli: ["arable", "zone", "update", name], done, changes: true, fields: [named("Name", { argument: false, value: name }),
      words("Subnet of guest networks", "guest_cidr", { value: found.guest_cidr }), words("Domain of names", "dns_domain", { value: found.dns_domain }), several("Resolvers", "resolvers", { value: found.resolvers.join(", "), none: [] }),
      count("MTU between hosts", "underlay_mtu", { value: found.underlay_mtu }), choice("Routers are", "router_runtime", RUNTIMES, { value: found.router_runtime })] }),
    acting([change], done),
    confirmed(name, "Delete the zone", "It may have no pods, networks or machines any more.", () => ({ method: "DELETE", path, expects: found.generation, cli: [["arable", "zone", "delete", name]] }), done)];
}
