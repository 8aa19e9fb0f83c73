// A farm's document: what a new one looks like, and how what the API says becomes what a person would write.

const LISTS = ["networks", "tiers", "passages", "ways_in", "secrets", "ssh_keys"];
const USUAL = {
  networks: { isolated: false, redundant: false },
  tiers: { least: 1, automatic: false },
  passages: { protocol: "tcp" },
  ways_in: { protocol: "http", cidr: "0.0.0.0/0", stickiness: "none" },
  secrets: { given: false },
};

export const SHAPES = {
  one: ["One tier", ["web"]],
  three: ["Three tiers", ["web", "app", "db"]],
};

/** A new farm of so many tiers: each has a network of its own, calls the next one, and the first has a way in. */
export function shaped(name, roles, blueprints) {
  const of = (role) => blueprints.find((each) => each.name === role) || blueprints[0] || null;
  const port = (role) => of(role)?.versions[0]?.ports[0]?.port ?? 80;
  return {
    name,
    networks: roles.map((role, at) => (at ? { name: role, isolated: true } : { name: role })),
    tiers: roles.map((role) => ({ name: role, blueprint: of(role)?.name ?? "", networks: [role], least: 1 })),
    ...(roles.length > 1 ? { passages: roles.slice(1).map((to, at) => ({ source: roles[at], to, port: port(to) })) } : {}),
    ways_in: [{ tier: roles[0], port: 80 }],
  };
}

/** Without what is so anyway. */
export function brief(spec, name) {
  const made = { name };
  if (spec.time_zone && spec.time_zone !== "UTC") made.time_zone = spec.time_zone;
  for (const list of LISTS) {
    const found = spec[list] || [];
    if (!found.length) continue;
    made[list] = found.map((each) => (typeof each !== "object" ? each : Object.fromEntries(Object.entries(each)
      .filter(([key, value]) => value !== null && !(Array.isArray(value) && !value.length) && value !== USUAL[list]?.[key]))));
  }
  return made;
}

/** As `PATCH` takes it: whole, without what a farm keeps for ever. */
export function change(document) {
  const { name: _name, zone: _zone, ...rest } = document;
  return { time_zone: "UTC", ...Object.fromEntries(LISTS.map((list) => [list, []])), ...rest };
}

/** What was read from text is a farm's document as far as the form goes; the API judges the rest. Raises `Error`. */
export function checked(value) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) throw new Error("a document has fields: name, networks, tiers");
  const { kind = "farm", ...document } = value;
  if (kind !== "farm") throw new Error(`this is a ${String(kind)}; here is a place for a farm`);
  for (const list of LISTS) {
    if (document[list] === null) document[list] = [];
    if (document[list] !== undefined && !Array.isArray(document[list])) throw new Error(`${list} has to be a list`);
  }
  for (const list of ["networks", "tiers", "passages", "ways_in"]) {
    for (const each of document[list] ?? []) {
      if (each === null || typeof each !== "object" || Array.isArray(each)) throw new Error(`each of ${list} has fields`);
    }
  }
  for (const tier of document.tiers ?? []) {
    if (tier.networks !== undefined && !Array.isArray(tier.networks)) throw new Error("networks of a tier are a list");
  }
  return document;
}
