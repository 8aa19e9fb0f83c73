// One machine: what it is, why it is so, and what one may do with it.

import { acting, confirmed } from "./acts.js";
import { call, list } from "./api.js";
import { element, field, fill, moment, state, status, table } from "./element.js";
import { facts, link } from "./lists.js";
import { may } from "./may.js";
import { learn, nameOf } from "./names.js";
import { progress } from "./progress.js";

const NO_LONGER = ["destroyed", "expunging"];

export async function machine(page, who, look, id) {
  const title = element("h1", { tabindex: "-1" }, "Machine");
  const about = element("div", {}, status("Loading…"));
  const under = element("div", {});
  const does = element("div", {});
  const ports = element("div", {});
  const disks = element("div", {});
  fill(page, title, about, does, under, ports, disks);
  let followed = null;
  let offered = ""; // for which state the buttons are
  let stop = () => {};

  function follow(operation) {
    if (!operation || operation === followed) return;
    followed = operation;
    stop();
    stop = progress(under, operation);
    look();
  }

  return {
    close: () => stop(),
    async look() {
      let found;
      try {
        found = await call("GET", `/v1/machines/${id}`);
      } catch (error) {
        if (error.status !== 404) throw error;
        stop();
        return void fill(page, element("h1", { tabindex: "-1" }, "Machine"), status("There is no such machine any more."),
          element("p", {}, element("a", { href: "#/machines" }, "All machines")));
      }
      const [why, volumes] = await Promise.all([call("GET", `/v1/machines/${id}/explain`), list("/v1/volumes", { machine: id })]);
      await learn([found.offering, found.zone, found.farm, ...(found.image ? [found.image] : []), ...found.nics.map((nic) => nic.network)],
        [["/v1/offerings", {}], ["/v1/images", {}], ["/v1/zones", {}], ["/v1/farms", { account: found.account }], ["/v1/networks", { account: found.account }]]);
      fill(title, found.name);
      document.title = `${found.name} - Arable`;
      const rows = [["State", state(found.state)], ["Why", why.says.join("; ")],
        ["Size", `${nameOf(found.offering)}: ${found.cpus} CPU, ${found.memory_mib} MiB of memory, ${found.disk_mib} MiB of disks`],
        ["Image", found.image ? `${nameOf(found.image)}/${found.image_version}` : "none"], ["Zone", nameOf(found.zone)], ["Farm", nameOf(found.farm)],
        ["Made", moment(found.created_at)]];
      if (found.host) {
        const at = await call("GET", `/v1/hosts/${found.host}`);
        rows.push(["Host", link(`#/hosts/${at.id}`, at.name)]);
      }
      if (found.network_kbps) rows.push(["Bandwidth", `${found.network_kbps} kbit/s each way, by its ${found.network_kbps_by}`]);
      fill(about, facts(rows));
      fill(ports, table(["Network", "Address", "MAC"], found.nics.map((nic) => [nameOf(nic.network), nic.address, nic.mac]), "Ports"));
      fill(disks, volumes.length ? table(["Disk", "Name", "MiB", "State", "When the machine goes"], volumes.map((disk) => [
        disk.position ? `disk ${disk.position}` : "root", disk.name, disk.mib, state(disk.state), disk.stays ? "stays" : "goes, too"]), "Disks") : null, volumes.length ? element("p", {}, link("#/snapshots", "Snapshots of disks")) : null);
      if (offered !== `${found.state} ${found.name}`) {
        offered = `${found.state} ${found.name}`;
        fill(does, ...buttons(found, (operation) => follow(operation.id)));
      }
      if (found.operation && followed === null) follow(found.operation);
    },
  };
}

function buttons(found, done) {
  const { name } = found;
  const act = (text, verb, cli, more = {}) => ({ text, path: `/v1/machines/${found.id}/${verb}`, cli: ["arable", "machine", ...cli, name], ...more });
  const start = act("Start", "start", ["start"]);
  const halt = act("Stop", "stop", ["stop"], { body: { force: false } });
  const pull = act("Pull the plug", "stop", ["stop", "--force"], { body: { force: true }, danger: true });
  const reboot = act("Reboot", "reboot", ["reboot"]);
  const back = act("Recover", "recover", ["recover"], { body: {} });
  if (NO_LONGER.includes(found.state)) return [acting(found.state === "destroyed" ? [back] : [], done)];
  const acts = { running: [halt, reboot, pull], stopped: [start], stopping: [pull], error: [start] }[found.state] || [halt];
  const erase = element("input", { type: "checkbox", name: "expunge" });
  const going = confirmed(name, "Destroy the machine", "It is stopped, and its name is free. It can be recovered for a while, unless its disks are erased at once.",
    () => ({ path: `/v1/machines/${found.id}/destroy`, body: { expunge: erase.checked },
      cli: [["arable", "machine", "destroy", ...(erase.checked ? ["--expunge"] : []), name]] }),
    done, [field("Erase its disks at once", erase, { path: "expunge" })]);
  const screen = found.state === "running" && may(`/v1/machines/${found.id}/console`)
    ? element("p", { class: "acts" }, link(`#/machines/${found.id}/console`, "Open its console", "button")) : null;
  return [screen, acting(acts, done), going];
}
