// The form of a farm's document. Inputs write into the document itself, so what only its text can say is kept.

import { button, element, field, fill, select } from "./element.js";

/** `changed`: a field has another value; `again`: there are other fields, so the form has to be made anew. */
export function layoutForm(document, { blueprints, offerings, zones, fixed }, changed, again) {
  const more = () => {
    again();
    changed();
  };
  const of = (list) => (document[list] ??= []);
  const set = (into, key, value) => {
    if (value === "" || value === null || value === false) delete into[key];
    else into[key] = value;
    changed();
  };

  const text = (into, key, more_ = {}) => element("input", { autocomplete: "off", spellcheck: "false", value: into[key] ?? "",
    oninput: (event) => set(into, key, event.target.value), ...more_ });
  const number = (into, key, low, high) => element("input", { type: "number", inputmode: "numeric", min: low, max: high, value: into[key] ?? "",
    oninput: (event) => set(into, key, event.target.value === "" ? "" : Number(event.target.value)) });
  const tick = (into, key) => element("input", { type: "checkbox", checked: Boolean(into[key]), onchange: (event) => set(into, key, event.target.checked) });
  const choice = (into, key, options, none = "") => select([...(none ? [["", none]] : []), ...options.map((each) => (Array.isArray(each) ? each : [each, each]))],
    into[key] ?? "", (event) => set(into, key, event.target.value));

  /** A list of like things: each is a card that can be removed. */
  const cards = (list, title, one, fresh, about) => element("fieldset", {}, element("legend", {}, title), element("p", { class: "hint" }, about),
    ...of(list).map((each, at) => element("div", { class: "card", role: "group", "aria-label": `${title} ${at + 1}` },
      element("div", { class: "row" }, ...one(each, `${list}.${at}`)),
      button("Remove", () => {
        of(list).splice(at, 1);
        more();
      }, { "aria-label": `Remove ${each.name ?? `${title} ${at + 1}`}`, class: "small" }))),
    button(`Add to ${title.toLowerCase()}`, () => {
      of(list).push(fresh());
      more();
    }, { class: "small" }));

  const tierNames = of("tiers").map((each) => String(each.name ?? ""));
  const networkNames = of("networks").map((each) => String(each.name ?? ""));
  const free = (names, wish) => [wish, ...Array.from({ length: 60 }, (_none, at) => `${wish}-${at + 2}`)].find((each) => !names.includes(each));
  const versionOf = (name) => blueprints.find((each) => each.name === name || each.id === name)?.versions[0];
  const offeringName = (id) => offerings.find((each) => each.id === id)?.name ?? id;

  const network = (each, path) => [
    field("Name", text(each, "name", { onchange: more }), { path: `${path}.name` }),
    field("Subnet", text(each, "cidr", { placeholder: "a free one" }), { path: `${path}.cidr` }),
    field("No way out, and none in", tick(each, "isolated"), { path: `${path}.isolated` }),
    field("Two routers", tick(each, "redundant"), { path: `${path}.redundant` })];

  const tier = (each, path) => [
    field("Name", text(each, "name", { onchange: more }), { path: `${path}.name` }),
    field("Blueprint", select(blueprints.map((one) => [one.name, one.name]), each.blueprint ?? "", (event) => {
      each.blueprint = event.target.value;
      more();
    }), { path: `${path}.blueprint` }),
    field("Offering", choice(each, "offering", offerings.map((one) => [one.name, `${one.name} (${one.cpus} CPUs, ${one.memory_mib} MiB)`]),
      "the blueprint's own"), { path: `${path}.offering` }),
    field("At least", number(each, "least", 0, 200), { path: `${path}.least` }),
    field("At most", number(each, "most", 0, 200), { path: `${path}.most` }),
    field("Now", number(each, "count", 0, 200), { path: `${path}.count` }),
    element("fieldset", { class: "field", "data-path": `${path}.networks` }, element("legend", {}, "Networks; the first is its way out"),
      ...networkNames.map((name) => field(name, element("input", { type: "checkbox", checked: (each.networks ?? []).includes(name), onchange(event) {
        const kept = (each.networks ?? []).filter((one) => one !== name);
        set(each, "networks", event.target.checked ? [...kept, name] : kept);
      } }))), element("p", { class: "wrong" })),
    aboutBlueprint(versionOf(each.blueprint), offeringName)];

  const passage = (each, path) => [
    field("From tier", choice(each, "source", tierNames), { path: `${path}.source` }),
    field("To tier", choice(each, "to", tierNames), { path: `${path}.to` }),
    field("Port", number(each, "port", 1, 65535), { path: `${path}.port` }),
    field("Protocol", choice(each, "protocol", ["udp"], "tcp"), { path: `${path}.protocol` })];

  const way = (each, path) => [
    field("Tier", choice(each, "tier", tierNames), { path: `${path}.tier` }),
    field("Port", number(each, "port", 1, 65535), { path: `${path}.port` }),
    field("Port of the elements", number(each, "to_port", 1, 65535), { path: `${path}.to_port` }),
    field("Protocol", choice(each, "protocol", ["tcp"], "http"), { path: `${path}.protocol` }),
    field("For whom", text(each, "cidr", { placeholder: "0.0.0.0/0: everybody" }), { path: `${path}.cidr` }),
    field("For whom by IPv6", text(each, "cidr6", { placeholder: "nobody; ::/0: everybody" }), { path: `${path}.cidr6` })];

  return element("div", {},
    element("div", { class: "row" },
      fixed ? null : field("Name of the farm", text(document, "name", { required: true, maxlength: "63" }), {
        path: "name", hint: "small letters, digits and hyphens" }),
      zones.length > 1 ? field("Zone", choice(document, "zone", zones.map((each) => each.name), "choose"), { path: "zone" }) : null),
    cards("networks", "Networks", network, () => ({ name: free(networkNames, "net") }), "Each is apart from all others, with a router of its own."),
    cards("tiers", "Tiers", tier, () => ({ name: free(tierNames, "tier"), blueprint: blueprints[0]?.name ?? "",
      networks: networkNames.slice(0, 1), least: 1 }), "Machines that are alike, made from a blueprint."),
    cards("ways_in", "Edge", way, () => ({ tier: tierNames[0] ?? "", port: 80 }), "Ports of a public address, spread over a tier."),
    cards("passages", "Passages", passage, () => ({ source: tierNames[0] ?? "", to: tierNames[1] ?? tierNames[0] ?? "", port: 80 }),
      "Which tier may call which; nothing else goes between them."));
}

/** What elements are made of, in the words of whoever made it: text, whatever it says. */
function aboutBlueprint(version, offeringName) {
  if (!version) return null;
  const ports = version.ports.map((each) => `${each.port} (${each.protocol})`).join(", ") || "no port";
  return element("details", { class: "field" }, element("summary", {}, "What it is made of"),
    element("p", {}, `version ${version.number}, ${offeringName(version.offering)}, answers at ${ports}`),
    version.disks.length ? element("p", {}, `disks: ${version.disks.map((each) => each.name).join(", ")}`) : null,
    version.user_data ? element("pre", { tabindex: "0", "aria-label": "User data" }, version.user_data) : null);
}
