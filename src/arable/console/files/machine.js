// One machine: what it is, why it is so, and what one may do with it.

import { acting, confirmed } from "./acts.js";
import { call, list } from "./api.js";
import { element, field, fill, moment, state, status, table } from "./element.js";
import { byName, choice, form, secret, tick, words } from "./forms.js";
import { facts, link, once, touched } from "./lists.js";
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
  const told = element("div", {});
  const more = element("div", {});
  fill(page, title, about, does, under, told, ports, disks, more);
  let followed = null;
  let offered = ""; // for which state the buttons are
  let asked = ""; // and for what the forms
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
      await learn([found.offering, found.zone, found.farm, ...(found.image ? [found.image] : []), ...found.nics.map((nic) => nic.network), ...found.groups],
        [["/v1/offerings", {}], ["/v1/images", {}], ["/v1/zones", {}], ["/v1/farms", { account: found.account }], ["/v1/networks", { account: found.account }], ["/v1/groups", { account: found.account }]]);
      fill(title, found.name);
      document.title = `${found.name} - Arable`;
      const rows = [["State", state(found.state)], ["Why", why.says.join("; ")],
        ["Size", `${nameOf(found.offering)}: ${found.cpus} CPU, ${found.memory_mib} MiB of memory, ${found.disk_mib} MiB of disks`],
        ["Image", found.image ? `${nameOf(found.image)}/${found.image_version}` : "none"], ["Zone", nameOf(found.zone)], ["Farm", nameOf(found.farm)],
        ["Made", moment(found.created_at)]];
      if (found.groups.length) rows.push(["Groups", found.groups.map(nameOf).join(", ")]);
      if (found.host) {
        const at = await call("GET", `/v1/hosts/${found.host}`);
        rows.push(["Host", link(`#/hosts/${at.id}`, at.name)]);
      }
      if (found.network_kbps) rows.push(["Bandwidth", `${found.network_kbps} kbit/s each way, by its ${found.network_kbps_by}`]);
      fill(about, facts(rows));
      fill(ports, found.nics.length ? table(["Network", "Address", "MAC", ""], found.nics.map((nic) => [link(`#/networks/${nic.network}`, nameOf(nic.network)), [nic.address, nic.ipv6_address].filter(Boolean).join(", "), nic.mac,
        nic.leaving ? "is being detached" : nic.default ? "its way out" : ""]), "Ports") : element("p", {}, "It has no port."));
      fill(disks, volumes.length ? table(["Disk", "Name", "MiB", "State", "When the machine goes"], volumes.map((disk) => [
        disk.position ? `disk ${disk.position}` : "root", disk.name, disk.mib, state(disk.state), disk.stays ? "stays" : "goes, too"]), "Disks") : null, volumes.length ? element("p", {}, link("#/snapshots", "Snapshots of disks")) : null);
      if (offered !== `${found.state} ${found.name}`) {
        offered = `${found.state} ${found.name}`;
        fill(does, ...buttons(found, (operation) => follow(operation.id)));
      }
      const key = JSON.stringify([found.state, found.name, found.generation, found.nics]);
      if (asked !== key && !touched(more)) {
        asked = key;
        const tell = (password) => {
          fill(told, once(`Password in ${found.name}`, "It is shown this once.", password));
          told.querySelector("pre").focus();
        };
        fill(more, ...(NO_LONGER.includes(found.state) ? [] : await changes(found, (answer) => follow(answer?.operation ?? answer?.id), look, tell)));
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

/** Its size, ports and password. */
async function changes(found, follow, look, tell) {
  const path = `/v1/machines/${found.id}`;
  const { name, nics } = found;
  if (!may(path)) return [];
  const [offerings, networks] = await Promise.all([list("/v1/offerings"), list("/v1/networks", { account: found.account })]);
  const done = (answer) => {
    if (answer?.operation || answer?.id?.startsWith("operation-")) follow(answer);
    else look();
  };
  const sizes = offerings.filter((each) => each.enabled && each.id !== found.offering);
  const free = networks.filter((each) => each.zone === found.zone && !nics.some((nic) => nic.network === each.id));
  const port = (some) => choice("Port", "nic", some.map((nic) => [nic.id, `${nameOf(nic.network)}, ${nic.address}`]), { sent: false, argument: true });
  const others = nics.filter((nic) => !nic.default && !nic.leaving);
  const staying = nics.filter((nic) => !nic.leaving);
  const cli = (...said) => ["arable", ...said];
  return [
    found.state !== "stopped" ? element("p", { class: "hint" }, "It gets another size while it is stopped.")
      : sizes.length ? form("Give it another size", { path: `${path}/resize`, cli: cli("machine", "resize", name), expects: found.generation, done, fields: [choice("Size", "offering",
        sizes.map((each) => [each.name, `${each.name}: ${each.cpus} CPU, ${each.memory_mib} MiB`]))] }) : element("p", { class: "hint" }, "There is no other size that it could have."),
    free.length ? form("Attach it to a network", { path: "/v1/nics", cli: cli("nic", "attach", "--machine", name), fixed: { machine: found.id }, done, fields: [choice("Network", "network", byName(free)), words("Address", "address", { placeholder: "any free one" }),
      tick("Its way out from now on", "default")] }) : null,
    staying.length ? form("Change a port", { method: "PATCH", path: (said) => `/v1/nics/${said.nic}`, cli: cli("nic", "update"), done, about: "With another address, a machine that runs has it after it was rebooted.", when: (said) => said.address !== undefined || said.default !== undefined,
      fields: [port(staying), words("Another address", "address", { placeholder: "as it is" }), tick("Its way out from now on", "default")] }) : null,
    others.length ? form("Detach it from a network", { method: "DELETE", path: (said) => `/v1/nics/${said.nic}${said.force ? "?force=true" : ""}`, cli: cli("nic", "detach"), done, danger: true,
      fields: [port(others), tick("Restart it, if its guest does not let go", "force", { sent: false })] }) : null,
    form("Reset a password within it", { path: `${path}/reset-password`, cli: cli("machine", "reset-password", name), about: "Left empty, one is drawn, and shown this once.", fields: [words("User", "user", { placeholder: "root" }), secret("New password", "password", { hint: "On the command line: --ask-password." })],
      done(answer) {
        follow(answer);
        if (answer.password) tell(answer.password);
      } }),
    form("Change its name", { method: "PATCH", path, expects: found.generation, cli: cli("machine", "update", name), done, changes: true, fields: [words("Name", "name", { required: true, value: name, most: 63 })] }),
    found.host && found.state === "running" && may(`${path}/move`) ? form("Move it to another host", { path: `${path}/move`, cli: cli("machine", "move", name), done, about: "While it runs.", fields: [words("To the host", "to", { placeholder: "the best one" })] }) : null];
}
