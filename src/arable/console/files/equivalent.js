// The same by the command line and by REST, under each form: what is done here can be done by a program.

import { element, fill } from "./element.js";

/** For a POSIX shell. */
export function quoted(text) {
  return /^[A-Za-z0-9_./:=@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function rest({ method, path, body, expects, file }) {
  const lines = [`curl -X ${method} -H "Authorization: Bearer $ARABLE_TOKEN"`];
  if (expects !== undefined) lines.push(`-H 'If-Match: "${expects}"'`);
  if (body !== undefined) lines.push("-H 'Content-Type: application/json'");
  lines.push(`"$ARABLE_URL${path}"`);
  if (file !== undefined) lines.push(`--data-binary ${quoted(`@${file}`)}`);
  if (body !== undefined) lines.push(`-d ${quoted(JSON.stringify(body, null, 1).replace(/\n */g, " "))}`);
  return lines.join(" \\\n  ");
}

/** Has `show({cli, method, path, body})`, and says nothing until then. */
export function equivalent() {
  const cli = element("pre", { tabindex: "0", "aria-label": "Command line" });
  const http = element("pre", { tabindex: "0", "aria-label": "REST" });
  const node = element("details", { class: "equivalent" }, element("summary", {}, "Equivalent command line and REST"),
    element("p", {}, "Command line"), cli, element("p", {}, "REST"), http);
  return {
    node,
    show(said) {
      fill(cli, said.cli.map((words) => words.map(quoted).join(" ")).join("\n"));
      fill(http, rest(said));
    },
  };
}
