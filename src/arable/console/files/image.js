// One image: its versions, a new one by upload, and whether it is for all.

import { confirmed } from "./acts.js";
import { call, upload } from "./api.js";
import { copiesOf, copyForms, showCopies } from "./copies.js";
import { button, element, field, fill, moment, select } from "./element.js";
import { equivalent } from "./equivalent.js";
import { form, named } from "./forms.js";
import { bootFields, size } from "./images.js";
import { facts, listed, living } from "./lists.js";
import { may } from "./may.js";
import { clearProblems, showProblem } from "./problems.js";
import { digest } from "./sha256.js";

const QCOW2 = "QFI\xfb";

export async function image(page, who, look, id) {
  const sending = may("/v1/images") ? uploading(id, look) : null;
  const place = element("div", {});
  const shown = living(page, look, {
    title: "Image",
    gone: ["image", "#/images"],
    async read() {
      const found = await call("GET", `/v1/images/${id}`);
      return { ...found, copies: await copiesOf(found) };
    },
    show(found, acts) {
      const own = found.account === who.account || may("infra:write");
      fill(place, own && !found.operation ? sending?.node : null);
      sending?.called(found.name);
      const rows = [["For", found.public ? "all accounts" : "the account alone"], ["Made", moment(found.created_at)]];
      if (found.minimum_memory_mib) rows.push(["Least memory", `${found.minimum_memory_mib} MiB`]);
      if (found.command_line) rows.push(["Command line", found.command_line]);
      if (found.operation) rows.push(["Being made", found.told || "of a snapshot"]);
      return [facts(rows), listed(["Version", "Size", "Parts", "SHA-256", "Came", ""], found.versions.map((each) => [each.number, size(each.bytes),
        each.parts.map((one) => `${one.role} (${one.format}${one.virtual_bytes > one.bytes ? `, ${size(one.virtual_bytes)} to the machine` : ""})`).join(", "), each.digest, moment(each.created_at),
        own ? acts.sure("Delete", `Delete version ${each.number}`, "DELETE", `/v1/images/${id}/versions`, undefined, { query: { number: each.number } }) : null]),
      "Versions, the newest first", "It has no version yet, so no machine can be made of it."), ...(found.copies ? showCopies(found.copies) : []), place];
    },
    offers: (found) => [found.generation, found.versions.map((each) => [each.number, each.pinned]), found.copies?.policy, found.copies?.regions],
    forms: (found, acts) => (found.account === who.account || may("infra:write") ? [
      form("Change it", { method: "PATCH", path: `/v1/images/${id}`, expects: found.generation, cli: ["arable", "image", "update", found.name], done: acts.follow, changes: true,
        fields: [named("Name", { argument: false, value: found.name }), ...bootFields(found)] }),
      ...(found.copies ? copyForms(found, found.copies, acts) : []),
      confirmed(found.name, "Delete the image", found.versions.length ? "Its versions have to be deleted before." : "It is gone for good.",
        () => ({ method: "DELETE", path: `/v1/images/${id}`, cli: [["arable", "image", "delete", found.name]] }), acts.follow)] : []),
  });
  return { look: shown.look, close() {
    shown.close();
    sending?.close();
  } };
}

/** The form for a new version: a disk, a kernel with its initrd, or all three. The server refuses what has another SHA-256 than the one reckoned here. */
function uploading(id, look) {
  let over = null;
  let name = "NAME";
  const inputs = { disk: element("input", { type: "file", onchange: guessed }), kernel: element("input", { type: "file", onchange: shown }), initrd: element("input", { type: "file", onchange: shown }) };
  const format = select([["qcow2", "qcow2"], ["raw", "raw"]], "qcow2", shown);
  const summary = element("div", {});
  const told = element("p", { role: "status" });
  const bar = element("progress", { max: "1", value: "0", hidden: true, "aria-label": "How far the upload is" });
  const same = equivalent();
  const go = element("button", { type: "submit", class: "do", disabled: true }, "Upload a version");
  const give = button("Give up", () => over?.abort(), { hidden: true });
  const form_ = element("form", { "aria-label": "Upload a version", onsubmit: (event) => { event.preventDefault(); send(); } }, summary,
    element("div", { class: "row" }, field("Disk", inputs.disk, { path: "disk" }), field("Format of the disk", format, { path: "format", hint: "Never guessed by the server." })),
    element("details", {}, element("summary", {}, "With a kernel of its own"), element("div", { class: "row" }, field("Kernel", inputs.kernel, { path: "kernel" }), field("Initial file system", inputs.initrd, { path: "initrd" }))),
    element("p", { class: "acts" }, go, give), told, bar, same.node);

  const chosen = () => Object.entries(inputs).map(([role, input]) => [role, input.files[0]]).filter(([, file]) => file);

  async function guessed() {
    const file = inputs.disk.files[0];
    if (file) format.value = (await file.slice(0, 4).arrayBuffer().then((head) => String.fromCharCode(...new Uint8Array(head)), () => "")) === QCOW2 ? "qcow2" : "raw";
    shown();
  }

  function shown() {
    const files = chosen();
    go.disabled = over !== null || !files.length;
    const words = files.flatMap(([role, file]) => (role === "disk" ? [file.name, "--format", format.value] : [`--${role}`, file.name]));
    const only = files.length === 1 && files[0][0] === "disk";
    same.show({ method: "POST", cli: [["arable", "image", "upload", name, ...words]],
      path: only || !files.length ? `/v1/images/${id}/versions?format=${format.value}&role=disk&sha256=…` : `/v1/images/${id}/versions/from-parts`,
      body: only || !files.length ? undefined : { parts: files.map(([role]) => `SHA-256 of the ${role}, sent to /v1/image-parts`) }, file: only ? files[0][1].name : undefined });
  }

  async function one(role, file, parts) {
    const say = (what) => (bytes) => {
      fill(told, `${what} ${file.name}: ${size(bytes)} of ${size(file.size)}`);
      bar.value = file.size ? bytes / file.size : 1;
    };
    const sha256 = await digest(file, say("Reckoning the SHA-256 of"), over.signal);
    const ask = { image: parts ? null : id, format: role === "disk" ? format.value : "blob", role, sha256 };
    const again = (error) => fill(told, `Sending ${file.name}: ${error.message}. It goes on where it was as soon as it can.`);
    return upload(ask, file, say("Sending"), again, over.signal);
  }

  async function send() {
    const files = chosen();
    if (!files.length || over) return;
    over = new AbortController();
    bar.hidden = give.hidden = false;
    shown();
    try {
      const single = files.length === 1 && files[0][0] === "disk";
      let made = null;
      const parts = [];
      for (const [role, file] of files) {
        made = await one(role, file, !single);
        parts.push(made.sha256);
      }
      if (single) made = (await call("GET", `/v1/images/${id}`)).versions.find((each) => each.number === made.version);
      else made = await call("POST", `/v1/images/${id}/versions/from-parts`, { body: { parts } });
      clearProblems(form_, summary);
      form_.reset();
      fill(told, `Version ${made.number} is there: ${size(made.bytes)}, SHA-256 ${made.digest}.`);
      look();
    } catch (error) {
      fill(told);
      showProblem(form_, summary, error.name === "AbortError" ? new Error("the upload was given up; sent again, the same file goes on where it was") : error);
    } finally {
      over = null;
      bar.hidden = give.hidden = true;
      shown();
    }
  }

  shown();
  return { node: element("section", { "aria-label": "A new version" }, element("h2", {}, "A new version"), form_),
    called(now) {
      name = now;
      shown();
    },
    close: () => over?.abort() };
}
