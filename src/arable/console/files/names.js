// Names for what the API tells by id.

import { list } from "./api.js";

const known = new Map();

/** Have the names of these; `lists` are asked only where one is not known yet. */
export async function learn(ids, lists) {
  if (ids.every((id) => known.has(id))) return;
  for (const found of await Promise.all(lists.map(([path, query]) => list(path, query).catch(() => [])))) {
    for (const each of found) known.set(each.id, each.name);
  }
  for (const id of ids) if (!known.has(id)) known.set(id, id); // it is gone, or nobody tells us
}

export const nameOf = (id) => known.get(id) ?? id;

/** Another user may see others' things. */
export function forget() {
  known.clear();
}
