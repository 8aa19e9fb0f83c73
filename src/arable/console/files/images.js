// Images: what machines boot. Those of the account, and those that all accounts may use.

import { list } from "./api.js";
import { element, moment } from "./element.js";
import { byName, choice, count, form, named, tick, words } from "./forms.js";
import { link, listed, living } from "./lists.js";
import { may } from "./may.js";

/** Bytes, for people. */
export function size(bytes) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  const at = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(bytes, 1)) / 10));
  return `${at ? (bytes / 1024 ** at).toFixed(1).replace(/\.0$/, "") : bytes} ${units[at]}`;
}

/** What both the making and the changing of one ask for. */
export const bootFields = (found = null) => [
  count("Least memory in MiB", "minimum_memory_mib", { value: found?.minimum_memory_mib || "", hint: "That it boots with." }),
  words("Command line of its kernel", "command_line", { value: found?.command_line ?? "", most: 2048, hint: "For images with a kernel beside the disk." }),
  ...(may("infra:write") ? [tick("For all accounts", "public", { value: found?.public ?? false, always: Boolean(found) })] : [])];

export async function images(page, who, look) {
  return living(page, look, {
    title: "Images",
    async read() {
      const [found, snapshots] = await Promise.all([list("/v1/images"), list("/v1/snapshots", { account: who.account }).catch(() => [])]);
      return { found, snapshots: snapshots.filter((each) => each.state === "available") };
    },
    show: ({ found }) => [listed(["Name", "Whose", "Newest version", "Size", "Versions", "Made"], found.map((each) => [link(`#/images/${each.id}`, each.name),
      each.account === who.account ? (each.public ? "the account's, for all" : "the account's") : "for all", each.versions[0]?.number ?? (each.operation ? "being made" : "none"),
      each.versions.length ? size(each.versions[0].bytes) : "", each.versions.length, moment(each.created_at)]), "Images that machines can be made of",
    "There is none. Make one, and upload its first version."),
    found.some((each) => each.account === who.account) || !may("/v1/images") ? null : element("p", { class: "hint" }, "The account has none of its own: make one below, then upload its first version.")],
    offers: ({ snapshots }) => snapshots.map((each) => each.id),
    forms: ({ snapshots }, acts) => [form("Make an image", { path: "/v1/images", cli: ["arable", "image", "create"], fields: [named(),
      choice("Of a snapshot", "snapshot", [["", "no: I upload a file"], ...byName(snapshots)]), ...bootFields()], done(answer) {
      acts.follow(answer);
      if (!answer.operation) location.assign(`#/images/${answer.id}`);
    } })],
  });
}
