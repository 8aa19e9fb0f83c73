// For operators: the management servers, who of them acts, and what fails.

import { call } from "./api.js";
import { element, fill, moment, state, status, table } from "./element.js";

export async function control(page) {
  const place = element("div", {}, status("Loading…"));
  fill(page, element("h1", { tabindex: "-1" }, "Control plane"), place);
  return {
    async look() {
      const found = await call("GET", "/v1/control");
      const { master, farms } = found;
      fill(place,
        element("p", {}, master.server ? `${master.server} is master since ${moment(master.since)}, of epoch ${master.epoch}${master.acting ? "" : "; its lease has ended"}.` : "There has been no master yet.",
          ` ${farms.total} farms, ${farms.unheld} without a server, ${farms.unconfirmed} on their way to another one.`),
        table(["Server", "State", "Site", "Heard last", "CPU", "Memory", "Behind", "Waiting", "Farms", "Hosts"], found.servers.map((each) => [
          `${each.name}${each.master ? " (master)" : ""}`, state(each.state), each.site, moment(each.heartbeat_at), `${each.cpu_percent}%`, `${each.memory_mib} MiB`,
          `${each.lag_ms} ms`, each.pending, each.farms, each.agents]), "Management servers"),
        farms.failing.length ? table(["Farm", "Tries", "Since", "What came of it"], farms.failing.map((each) => [each.name, each.tries, moment(each.since), each.told]),
          "Farms whose work fails") : null,
        table(["Epoch", "Server", "When", "Why"], found.elections.map((each) => [each.epoch, each.server, moment(each.at), each.cause]), "Elections"));
    },
  };
}
