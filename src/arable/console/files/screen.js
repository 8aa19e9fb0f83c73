// What a serial console says, as lines of text: what moves the cursor within a line is done, what paints is left out.

const KEPT = 2000; // lines
const WIDEST = 1000; // characters of a line
const LONGEST = 4096; // characters of a sequence
const BLANK = " ";
// What begins with an escape: a sequence with parameters, a title until its end, or a single word.
const ESCAPE = /^\x1b(?:\[([0-?]*)[ -/]*([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[ -/]*[0-OQ-WYZ`-~\\])/;
const BEGINS = /^\x1b(?:$|\[[0-?]*[ -/]*$|[ -/]+$|[\]PX^_][^\x07\x1b]*\x1b?$)/;

export class Screen {
  #lines = [[]];
  #column = 0;
  #rest = "";

  /** More of what was said, which may end in the middle of anything. */
  write(text) {
    let said = this.#rest + text;
    this.#rest = "";
    while (said) {
      if (said[0] !== "\x1b") {
        const [each] = said;
        this.#put(each);
        said = said.slice(each.length);
        continue;
      }
      const found = ESCAPE.exec(said);
      if (found) {
        this.#act(found[2], found[1] ?? "");
        said = said.slice(found[0].length);
      } else if (said.length <= LONGEST && BEGINS.test(said)) {
        this.#rest = said;
        return;
      } else said = said.slice(1);
    }
  }

  /** All but the last line, and that one before, at and behind the cursor. */
  show() {
    const last = this.#lines[this.#lines.length - 1];
    const above = this.#lines.slice(0, -1).map((line) => `${line.join("")}\n`).join("");
    return [above + this.#padded(last).slice(0, this.#column).join(""), last[this.#column] ?? BLANK, last.slice(this.#column + 1).join("")];
  }

  #padded(line) {
    while (line.length < this.#column) line.push(BLANK);
    return line;
  }

  #put(each) {
    const line = this.#lines[this.#lines.length - 1];
    if (each === "\n") {
      this.#lines.push([]);
      if (this.#lines.length > KEPT) this.#lines.splice(0, this.#lines.length - KEPT);
    } else if (each === "\r") this.#column = 0;
    else if (each === "\b") this.#column = Math.max(0, this.#column - 1);
    else if (each === "\t") this.#column = Math.min(WIDEST - 1, (this.#column >> 3) + 1 << 3);
    else if (!/[\x00-\x1f\x7f-\x9f]/.test(each)) {
      this.#padded(line)[this.#column] = each;
      this.#column = Math.min(WIDEST - 1, this.#column + 1);
    }
  }

  #act(final, said) {
    const line = this.#lines[this.#lines.length - 1];
    const number = Math.min(WIDEST, Number.parseInt(said, 10) || 0);
    const times = Math.max(1, number);
    if (final === "K") {
      if (number === 0) line.length = Math.min(line.length, this.#column);
      else if (number === 2) line.length = 0;
    } else if (final === "C") this.#column = Math.min(WIDEST - 1, this.#column + times);
    else if (final === "D") this.#column = Math.max(0, this.#column - times);
    else if (final === "G") this.#column = Math.min(WIDEST - 1, times - 1);
    else if (final === "P") line.splice(this.#column, times);
    else if (final === "@") this.#padded(line).splice(this.#column, 0, ...BLANK.repeat(times));
    else if (final === "J" && number >= 2) {
      this.#lines = [[]];
      this.#column = 0;
    }
  }
}

const KEYS = { Enter: "\r", Backspace: "\x7f", Tab: "\t", Escape: "\x1b", ArrowUp: "\x1b[A", ArrowDown: "\x1b[B", ArrowRight: "\x1b[C", ArrowLeft: "\x1b[D",
  Home: "\x1b[H", End: "\x1b[F", Delete: "\x1b[3~", Insert: "\x1b[2~", PageUp: "\x1b[5~", PageDown: "\x1b[6~" };

/** What a key says to a terminal; null for one that is the browser's own. */
export function keyOf(event) {
  const { key, ctrlKey, altKey, metaKey, shiftKey } = event;
  if (metaKey || event.isComposing || (ctrlKey && shiftKey)) return null;
  if (ctrlKey && !altKey) {
    if (key === " ") return "\0";
    return /^[a-z[\\\]^_@]$/i.test(key) ? String.fromCharCode(key.toUpperCase().charCodeAt(0) & 31) : null;
  }
  const plain = KEYS[key] ?? ([...key].length === 1 ? key : null);
  return plain === null ? null : altKey && !ctrlKey ? `\x1b${plain}` : plain;
}
