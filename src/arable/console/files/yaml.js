// Farms' documents as YAML. Written is what the command line reads. Read is a part of YAML in which each text has one
// meaning, the one that it has for the command line; whatever else one may write is refused, with its line.

const WORDS = new Map([["true", true], ["false", false], ["null", null], ["~", null]]);
// What YAML takes for something else than a text: other booleans, dates, times, fractions, numbers to other bases.
const ELSE = /^(?:y|n|yes|no|on|off|true|false|null|=|<<|[-+]?[0-9._].*|[-+]?\.(?:inf|nan|[0-9]).*)$/i;
const ADDRESS = /^[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:\/[0-9]{1,2})?$/;
const PLAIN = /^[A-Za-z][A-Za-z0-9._/-]*$/;
const NUMBER = /^-?(?:0|[1-9][0-9]{0,14})$/;
const DEEPEST = 20;
const LONGEST = 100;

export class Unreadable extends Error {
  constructor(what, line) {
    super(`line ${line}: ${what}`);
    this.line = line;
  }
}

// --- writing ---------------------------------------------------------------------------------------------------

function scalar(value) {
  if (typeof value !== "string") return String(value);
  if ((PLAIN.test(value) && !ELSE.test(value) && !WORDS.has(value)) || ADDRESS.test(value)) return value;
  return JSON.stringify(value).replace(/[^\x20-\x7e]/gu, (each) => (each.length === 1
    ? `\\u${each.charCodeAt(0).toString(16).padStart(4, "0")}` : `\\U${each.codePointAt(0).toString(16).padStart(8, "0")}`));
}

function flow(value) {
  if (Array.isArray(value)) return `[${value.map(flow).join(", ")}]`;
  if (value === null || typeof value !== "object") return scalar(value);
  return `{${Object.entries(value).map(([key, each]) => `${scalar(key)}: ${flow(each)}`).join(", ")}}`;
}

function* block(value, indent, first) {
  let lead = first;
  if (Array.isArray(value)) {
    for (const each of value) {
      const short = flow(each);
      if (short.length + indent < LONGEST || each === null || typeof each !== "object") yield `${lead}- ${short}`;
      else yield* block(each, indent + 2, `${lead}- `);
      lead = " ".repeat(indent);
    }
    return;
  }
  for (const [key, each] of Object.entries(value)) {
    const short = flow(each);
    const fits = short.length + indent + key.length < LONGEST - 2 && (indent > 0 || !Array.isArray(each) || typeof each[0] !== "object");
    if (fits || each === null || typeof each !== "object" || Object.keys(each).length === 0) yield `${lead}${scalar(key)}: ${short}`;
    else {
      yield `${lead}${scalar(key)}:`;
      yield* block(each, indent + 2, " ".repeat(indent + 2));
    }
    lead = " ".repeat(indent);
  }
}

/** A mapping as text. */
export function write(value) {
  return `${[...block(value, 0, "")].join("\n")}\n`;
}

// --- reading ---------------------------------------------------------------------------------------------------

const bare = (text) => text.replace(/^ +| +$/g, "");

function plain(text, line) {
  if (WORDS.has(text)) return WORDS.get(text);
  if (NUMBER.test(text)) return Number(text);
  if (ADDRESS.test(text) && text.split(".").length === 4) return text;
  if (ELSE.test(text)) throw new Unreadable(`${text} may mean several things: put a text into quotes, write numbers as digits and true or false`, line);
  if (/^[&*!|>%@`"'#,[\]{}?:]/.test(text) || /^-(?: |$)/.test(text)) throw new Unreadable(`${text.slice(0, 20)} is not taken here`, line);
  if (/[^\x20-\x7e\u00a1-\ud7ff\ue000-\ufefe\uff00-\ufffd\u{10000}-\u{10ffff}]/u.test(text)) throw new Unreadable("there are control characters", line);
  return text;
}

function put(into, key, value, line) {
  if (key === null || typeof key !== "string") throw new Unreadable("a field's name has to be a word", line);
  if (Object.hasOwn(into, key)) throw new Unreadable(`${key} is said twice`, line);
  Object.defineProperty(into, key, { value, enumerable: true, configurable: true, writable: true });
}

/** What stands behind a field's name: in brackets it may go on in further lines, which `more` gives. */
class Inline {
  constructor(text, line, more) {
    Object.assign(this, { text, line, more, at: 0 });
  }

  fail(what) {
    throw new Unreadable(what, this.line);
  }

  space() {
    for (;;) {
      while (this.at < this.text.length && this.text[this.at] === " ") this.at += 1;
      if (this.at < this.text.length && !(this.text[this.at] === "#" && (this.at === 0 || this.text[this.at - 1] === " "))) return;
      const next = this.more();
      if (next === null) this.fail("a bracket is not closed");
      Object.assign(this, { text: next.text, line: next.line, at: 0 });
    }
  }

  quoted() {
    const rest = this.text.slice(this.at);
    if (rest[0] === "'") {
      const found = /^'((?:[^']|'')*)'/.exec(rest);
      if (!found) this.fail("a quote is not closed in its line");
      this.at += found[0].length;
      return found[1].replaceAll("''", "'");
    }
    const found = /^"((?:[^"\\]|\\.)*)"/.exec(rest);
    if (!found) this.fail("a quote is not closed in its line");
    this.at += found[0].length;
    return found[1].replace(/\\(?:U([0-9a-fA-F]{8})|u([0-9a-fA-F]{4})|(.))/gu, (_all, long, short, one) => {
      const code = long || short;
      if (code) {
        const point = parseInt(code, 16);
        if (point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) this.fail(`\\${code} is no character`);
        return String.fromCodePoint(point);
      }
      const known = { n: "\n", t: "\t", r: "\r", b: "\b", f: "\f", "\\": "\\", '"': '"', "/": "/", 0: "\0" }[one];
      if (known === undefined) this.fail(`\\${one} is not taken here`);
      return known;
    });
  }

  word() {
    const from = this.at;
    const ends = (at) => at >= this.text.length || ",[]{}".includes(this.text[at])
      || (this.text[at] === ":" && (at + 1 >= this.text.length || " ,[]{}".includes(this.text[at + 1])))
      || (this.text[at] === "#" && this.text[at - 1] === " ");
    while (!ends(this.at)) this.at += 1;
    const text = bare(this.text.slice(from, this.at));
    if (text === "") this.fail("something is missing here");
    if (text.includes("?")) this.fail("put a text with a question mark into quotes");
    return plain(text, this.line);
  }

  value(depth = 0) {
    if (depth > DEEPEST) this.fail("this is too deep");
    this.space();
    const first = this.text[this.at];
    if (first === '"' || first === "'") return this.quoted();
    if (first === "[") return this.list(depth);
    if (first === "{") return this.mapping(depth);
    return this.word();
  }

  closes(end) {
    this.space();
    const here = this.text[this.at];
    this.at += 1;
    if (here === end) return true;
    if (here !== ",") this.fail(`a comma or ${end} is missing`);
    this.space();
    if (this.text[this.at] !== end) return false;
    this.at += 1;
    return true;
  }

  list(depth) {
    const made = [];
    this.at += 1;
    this.space();
    if (this.text[this.at] === "]") return (this.at += 1, made);
    do made.push(this.value(depth + 1)); while (!this.closes("]"));
    return made;
  }

  mapping(depth) {
    const made = {};
    this.at += 1;
    this.space();
    if (this.text[this.at] === "}") return (this.at += 1, made);
    do {
      this.space();
      const line = this.line;
      const isQuoted = `"'`.includes(this.text[this.at]);
      const key = isQuoted ? this.quoted() : this.word();
      if (this.text[this.at] !== ":") this.fail("a colon is missing behind a field's name");
      this.at += 1;
      if (!isQuoted && this.at < this.text.length && this.text[this.at] !== " ") this.fail("a space is missing behind a colon");
      put(made, key, this.value(depth + 1), line);
    } while (!this.closes("}"));
    return made;
  }
}

class Document {
  constructor(text) {
    this.lines = [];
    this.at = 0;
    text.split(/\r?\n/).forEach((raw, index) => this.add(raw.replace(/ +$/, ""), index + 1));
  }

  add(raw, line) {
    const [, spaces, text] = /^( *)(.*)$/su.exec(raw);
    if (/[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]|\p{Cs}/u.test(raw)) throw new Unreadable("there are control characters", line);
    if (text === "" || text[0] === "#") return;
    if (raw.includes("\t")) throw new Unreadable("tabs are not taken here, only spaces", line);
    if (/^(?:---|\.\.\.|%)/.test(raw)) {
      if (/^---(?: +#.*)?$/.test(raw) && this.lines.length === 0 && !this.begun) return void (this.begun = true);
      throw new Unreadable("there is to be one document, without directives", line);
    }
    this.lines.push({ indent: spaces.length, text, line });
  }

  now() {
    return this.lines[this.at];
  }

  whole() {
    if (!this.now()) return null;
    const value = this.block(0);
    if (this.now()) throw new Unreadable("this is indented in another way than what it belongs to", this.now().line);
    return value;
  }

  block(depth) {
    const { indent, text, line } = this.now();
    if (depth > DEEPEST) throw new Unreadable("this is too deep", line);
    if (/^-(?: |$)/.test(text)) return this.list(indent, depth);
    return this.key(text) ? this.mapping(indent, depth) : this.inline(text, line);
  }

  /** A field's name and what stands behind it; null where there is none. */
  key(text) {
    const found = /^("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s"'[{][^#]*?) *:(?: +(.*))?$/su.exec(text);
    return found ? { name: found[1], rest: found[2] ?? "" } : null;
  }

  list(indent, depth) {
    const made = [];
    while (this.now() && this.now().indent === indent && /^-(?: |$)/.test(this.now().text)) {
      const { text, line } = this.now();
      const [, gap, rest] = /^-( *)(.*)$/su.exec(text);
      if (rest === "" || rest[0] === "#") {
        this.at += 1;
        made.push(this.now() && this.now().indent > indent ? this.block(depth + 1) : null);
      } else {
        this.lines[this.at] = { indent: indent + 1 + gap.length, text: rest, line };
        made.push(this.block(depth + 1));
      }
      this.inside(indent);
    }
    return made;
  }

  mapping(indent, depth) {
    const made = {};
    while (this.now() && this.now().indent === indent && !/^-(?: |$)/.test(this.now().text)) {
      const { text, line } = this.now();
      const key = this.key(text);
      if (!key) throw new Unreadable("a field's name and a colon are missing", line);
      const name = `"'`.includes(key.name[0]) ? new Inline(key.name, line, () => null).quoted() : plain(key.name, line);
      let value = null;
      if (key.rest === "" || key.rest[0] === "#") {
        this.at += 1;
        const next = this.now();
        if (next && next.indent > indent) value = this.block(depth + 1);
        else if (next && next.indent === indent && /^-(?: |$)/.test(next.text)) value = this.list(indent, depth + 1);
      } else value = this.inline(key.rest, line, indent);
      put(made, name, value, line);
      this.inside(indent);
    }
    return made;
  }

  inside(indent) {
    if (this.now() && this.now().indent > indent) throw new Unreadable("this is indented in another way than what it belongs to", this.now().line);
  }

  inline(text, line, indent = -1) {
    this.at += 1;
    if (!`"'[{`.includes(text[0])) {
      const found = / #/.exec(text);
      const said = bare(found ? text.slice(0, found.index) : text);
      if (/:(?: |$)/.test(said)) throw new Unreadable("two fields stand in one line", line);
      return plain(said, line);
    }
    const reader = new Inline(text, line, () => {
      const next = this.now();
      if (!next || next.indent <= indent) return null;
      this.at += 1;
      return next;
    });
    const value = reader.value();
    if (!/^ *(?: #.*)?$/.test(reader.text.slice(reader.at))) throw new Unreadable("there is something behind the end of this", reader.line);
    return value;
  }
}

/** The value of a text that is one YAML document. Raises `Unreadable`. */
export function read(text) {
  return new Document(text).whole();
}
