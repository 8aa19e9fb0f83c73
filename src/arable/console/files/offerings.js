// For operators: the sizes of machines, and the kinds of further disks.

import { list } from "./api.js";
import { element, state } from "./element.js";
import { choice, count, form, named, several, tick, words } from "./forms.js";
import { listed, living, part } from "./lists.js";

const STORAGE = [["local", "on the machine's host"], ["shared", "on a storage host"]];
const limit = (value, unit) => (value ? `${value} ${unit}` : "");

export async function offerings(page, _who, look) {
  return living(page, look, {
    title: "Offerings",
    async read() {
      const [sizes, disks] = await Promise.all([list("/v1/offerings"), list("/v1/disk-offerings")]);
      return { sizes, disks };
    },
    show({ sizes, disks }, acts) {
      const does = (each, kind, what) => element("span", { class: "acts" },
        acts.small(each.enabled ? "Disable" : "Enable", `${each.enabled ? "Disable" : "Enable"} ${each.name}`, "PATCH", `/v1/${kind}/${each.id}`, { enabled: !each.enabled }, { expects: each.generation }),
        acts.sure("Delete", `Delete the ${what} ${each.name}`, "DELETE", `/v1/${kind}/${each.id}`, undefined, { expects: each.generation }));
      const open = (each) => state(each.enabled ? "ready" : "disabled");
      const kept = (each) => [each.storage, each.highly_available ? "highly available" : "", each.replicated ? "replicated" : "", ...each.tags].filter(Boolean).join(", ");
      return [
        part("Sizes of machines", listed(["Name", "CPUs", "Memory, MiB", "Root disk, MiB", "Limits", "Disks", "Price class", "State", ""], sizes.map((each) => [each.name, `${each.cpus} of ${each.cpu_mhz} MHz`, each.memory_mib, each.root_mib,
          [limit(each.network_kbps, "kbit/s"), limit(each.disk_iops, "IOPS"), limit(each.disk_bytes_per_second, "bytes/s")].filter(Boolean).join(", ") || "none", kept(each), each.price_class, open(each), does(each, "offerings", "size")]),
        "Sizes that machines come in", "There is none, so nobody can deploy a machine. Make one.")),
        part("Kinds of disks", listed(["Name", "MiB", "Limits", "Where", "State", ""], disks.map((each) => [each.name, each.mib || "as the customer says", [limit(each.iops, "IOPS"), limit(each.bytes_per_second, "bytes/s")].filter(Boolean).join(", ") || "none",
          kept(each), open(each), does(each, "disk-offerings", "kind")]), "Kinds of further disks", "There is none, so nobody can make a volume. Make one.")),
        element("p", { class: "hint" }, "What is disabled stays with what was made of it; nothing new is.")];
    },
    forms: (_found, acts) => [
      form("Make a size", { path: "/v1/offerings", cli: ["arable", "offering", "create"], done: acts.follow, fields: [named(), count("CPUs", "cpus", { required: true, min: "1" }), count("MHz of each", "cpu_mhz", { required: true, min: "100" }),
        count("Memory in MiB", "memory_mib", { required: true, min: "16" }), count("Root disk in MiB", "root_mib", { required: true, min: "1", hint: "At least." }), count("Network in kbit/s", "network_kbps", { hint: "Left empty: no limit." }),
        count("Disk operations a second", "disk_iops"), count("Disk bytes a second", "disk_bytes_per_second"), choice("Disks", "storage", STORAGE), tick("Highly available", "highly_available", { hint: "Needs shared storage." }),
        tick("Replicated", "replicated", { hint: "Needs shared storage." }), several("Tags of its hosts", "tags"), words("Price class", "price_class", { most: 63 })] }),
      form("Make a kind of disks", { path: "/v1/disk-offerings", cli: ["arable", "disk-offering", "create"], done: acts.follow, fields: [named(), count("MiB", "mib", { hint: "Left empty: the customer says." }), count("Operations a second", "iops"),
        count("Bytes a second", "bytes_per_second"), choice("Where", "storage", STORAGE), tick("Replicated", "replicated", { hint: "Needs shared storage." }), several("Tags of its hosts", "tags")] })],
  });
}
