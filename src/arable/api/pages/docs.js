"use strict";
// Reads /openapi.json and shows it; sends what the reader asks to be sent. All text goes in as text.

const find = (id) => document.getElementById(id);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== false && value !== null) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function resolved(schema, api) {
  if (schema && schema.$ref) return api.components.schemas[schema.$ref.split("/").pop()];
  return schema || {};
}

function typeOf(schema, api) {
  if (!schema) return "";
  if (schema.$ref) {
    const target = resolved(schema, api);
    return target.enum ? target.enum.join(" | ") : schema.$ref.split("/").pop();
  }
  if (schema.anyOf) return schema.anyOf.map((each) => typeOf(each, api)).join(" | ");
  if (schema.enum) return schema.enum.map((each) => JSON.stringify(each)).join(" | ");
  if (schema.type === "array") return `list of ${typeOf(schema.items, api) || "anything"}`;
  const bounds = [];
  if (schema.minimum !== undefined) bounds.push(`≥ ${schema.minimum}`);
  if (schema.maximum !== undefined) bounds.push(`≤ ${schema.maximum}`);
  if (schema.maxLength !== undefined) bounds.push(`${schema.minLength || 0}–${schema.maxLength} characters`);
  return [schema.format || schema.type || "anything", ...bounds].join(", ");
}

function fieldsTable(schema, api) {
  const target = resolved(schema, api);
  if (!target.properties) return element("p", {}, typeOf(schema, api));
  const required = new Set(target.required || []);
  return element("table", {}, ...Object.entries(target.properties).map(([name, field]) =>
    element("tr", {},
      element("td", {}, name + (required.has(name) ? " *" : "")),
      element("td", {}, typeOf(field, api)),
      element("td", {}, field.description || ""))));
}

function sample(schema, api, depth = 0) {
  const target = resolved(schema, api);
  if (target.examples) return target.examples[0];
  if (target.default !== undefined) return target.default;
  if (target.anyOf) return sample(target.anyOf[0], api, depth);
  if (target.enum) return target.enum[0];
  if (target.type === "object" && target.properties && depth < 4) {
    const names = target.required || [];
    return Object.fromEntries(names.map((name) => [name, sample(target.properties[name], api, depth + 1)]));
  }
  return { string: "", integer: target.minimum || 0, boolean: false, array: [], object: {} }[target.type] ?? null;
}

async function send(method, path, operation, inputs, body, shown) {
  let target = path;
  const query = new URLSearchParams();
  const headers = {};
  for (const [parameter, input] of inputs) {
    if (input.value === "") continue;
    if (parameter.in === "path") target = target.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    else if (parameter.in === "query") query.append(parameter.name, input.value);
    else headers[parameter.name] = input.value;
  }
  if (find("token").value) headers.Authorization = `Bearer ${find("token").value}`;
  if (body) headers["Content-Type"] = "application/json";
  const url = target + (query.size ? `?${query}` : "");
  shown.replaceChildren(element("pre", {}, `${method} ${url}\n…`));
  try {
    const answer = await fetch(url, { method, headers, body: body ? body.value : undefined, credentials: "omit" });
    const type = answer.headers.get("content-type") || "";
    let text = type.includes("event-stream") ? "(a stream: follow it with a program)" : await answer.text();
    if (type.includes("event-stream")) answer.body.cancel();
    if (type.includes("json") && text) text = JSON.stringify(JSON.parse(text), null, 2);
    const lines = [`${method} ${url}`, `${answer.status} ${answer.statusText}`,
      `Arable-Request: ${answer.headers.get("arable-request") || ""}`, "", text];
    shown.replaceChildren(element("pre", { class: answer.ok ? null : "refused" }, lines.join("\n")));
  } catch (error) {
    shown.replaceChildren(element("pre", { class: "refused" }, String(error)));
  }
}

function operationView(method, path, operation, api) {
  const inputs = (operation.parameters || []).map((parameter) => [
    parameter, element("input", { placeholder: parameter.example || "", "aria-label": parameter.name, size: 36 })]);
  const json = operation.requestBody?.content?.["application/json"];
  const body = json ? element("textarea", { "aria-label": "Body", spellcheck: "false" }) : null;
  if (body) body.value = JSON.stringify(json.example ?? sample(json.schema, api), null, 2);
  const shown = element("div", { "aria-live": "polite" });
  const answers = Object.entries(operation.responses).filter(([status]) => status !== "default");
  const view = element("details", { id: operation.operationId },
    element("summary", {},
      element("span", { class: "method" }, method), element("span", { class: "path" }, path),
      element("span", {}, operation.summary || "")),
    element("div", {},
      element("p", { class: "about" }, operation.description || ""),
      inputs.length ? element("h4", {}, "Parameters") : null,
      element("table", {}, ...inputs.map(([parameter, input]) => element("tr", {},
        element("td", {}, parameter.name + (parameter.required ? " *" : "")),
        element("td", {}, input), element("td", {}, parameter.description || "",
          element("br"), typeOf(parameter.schema, api))))),
      json ? element("h4", {}, "Body") : null,
      json ? fieldsTable(json.schema, api) : null, body,
      element("h4", {}, "Answer"),
      ...answers.map(([status, answer]) => element("div", {},
        element("p", {}, `${status} ${answer.description}`),
        answer.content?.["application/json"] ? fieldsTable(answer.content["application/json"].schema, api) : null)),
      element("p", {}, element("button", { type: "button",
        onclick: () => send(method, path, operation, inputs, body, shown) }, "Send")),
      shown));
  return view;
}

function show(api) {
  const main = find("operations");
  const index = find("index");
  const groups = new Map(api.tags.map((tag) => [tag.name, []]));
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      groups.get(operation.tags[0]).push([method.toUpperCase(), path, operation]);
    }
  }
  main.replaceChildren(element("p", { class: "about" }, api.info.description));
  for (const [tag, operations] of groups) {
    main.append(element("h2", {}, tag.replaceAll("_", " ")));
    index.append(element("h3", {}, tag.replaceAll("_", " ")));
    for (const [method, path, operation] of operations) {
      main.append(operationView(method, path, operation, api));
      index.append(element("a", { href: `#${operation.operationId}`,
        "data-words": `${method} ${path} ${operation.summary} ${operation.operationId}`.toLowerCase() },
      operation.summary || operation.operationId));
    }
  }
  find("find").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(" ");
    for (const link of index.querySelectorAll("a")) {
      link.hidden = !words.every((word) => link.dataset.words.includes(word));
    }
  });
  const open = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target) { target.open = true; target.scrollIntoView(); }
  };
  window.addEventListener("hashchange", open);
  open();
}

async function whoami() {
  const told = find("who");
  told.textContent = "";
  if (!find("token").value) return;
  const answer = await fetch("/v1/whoami", {
    headers: { Authorization: `Bearer ${find("token").value}` }, credentials: "omit" });
  const said = await answer.json();
  told.textContent = answer.ok ? `${said.name} (${said.role})` : said.detail;
}

find("token").addEventListener("change", whoami);
find("credential").addEventListener("submit", (event) => event.preventDefault());
fetch("/openapi.json").then((answer) => answer.json()).then(show, (error) => {
  find("operations").replaceChildren(element("p", { class: "refused" }, String(error)));
});
