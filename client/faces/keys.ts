/** Bytes from a terminal in raw mode → key presses. Sequences may be cut anywhere; the rest waits for the next bytes. */
import type { Key } from "./editor.ts";

export class KeyReader {
  readonly #decoder = new TextDecoder();
  #pending = "";
  #pasting = false;

  /** Keys in these bytes. Bracketed paste arrives as one text, so that pasted newlines do not send. */
  push(bytes: Uint8Array): Key[] {
    this.#pending += this.#decoder.decode(bytes, { stream: true });
    const keys: Key[] = [];
    while (this.#pending.length > 0) {
      const taken = this.#pasting ? this.#takePaste(keys) : this.#takeKey(keys);
      if (taken === 0) break;
      this.#pending = this.#pending.slice(taken);
    }
    return keys;
  }

  /** An Escape came, and whether a sequence follows is not known yet. */
  get isUndecided(): boolean {
    return this.#pending === ESC && !this.#pasting;
  }

  /** Nothing followed for a while: it was the key. */
  decide(): Key[] {
    if (!this.isUndecided) return [];
    this.#pending = "";
    return [{ name: "escape" }];
  }

  #takeKey(keys: Key[]): number {
    const input = this.#pending;
    if (input.startsWith(PASTE_BEGIN)) {
      this.#pasting = true;
      return PASTE_BEGIN.length;
    }
    if (input[0] === ESC) return this.#takeEscape(keys);
    const control = CONTROLS[input[0]!];
    if (control !== undefined) {
      keys.push({ name: control });
      return 1;
    }
    const code = input.charCodeAt(0);
    if (code < 0x20) {
      keys.push({ name: `ctrl-${String.fromCharCode(code + 0x60)}` });
      return 1;
    }
    // deno-lint-ignore no-control-regex
    const text = /^[^\x00-\x1f\x7f]+/.exec(input)![0];
    keys.push({ text });
    return text.length;
  }

  #takeEscape(keys: Key[]): number {
    const input = this.#pending;
    // deno-lint-ignore no-control-regex
    const sequence = /^\x1b(?:\[[0-9;?]*[ -/]*[@-~]|O[@-~])/.exec(input);
    if (sequence) {
      const name = SEQUENCES[sequence[0].slice(1)];
      if (name !== undefined) keys.push({ name });
      return sequence[0].length;
    }
    // Alone it may be the start of a sequence that is still on its way.
    if (input.length === 1 || /^.[[O][0-9;?]*$/.test(input)) return 0;
    const next = input[1]!;
    keys.push({ name: next === "\x7f" ? "alt-backspace" : `alt-${next}` });
    return 2;
  }

  #takePaste(keys: Key[]): number {
    const end = this.#pending.indexOf(PASTE_END);
    if (end < 0 && this.#pending.length < PASTE_CHARS_MAX) return 0;
    const text = end < 0 ? this.#pending : this.#pending.slice(0, end);
    this.#pasting = end < 0;
    // deno-lint-ignore no-control-regex
    const clean = text.replace(/\r\n?/g, "\n").replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, "");
    if (clean !== "") keys.push({ text: clean, isPasted: true });
    return end < 0 ? text.length : end + PASTE_END.length;
  }
}

const ESC = "\x1b";
const PASTE_BEGIN = "\x1b[200~";
const PASTE_END = "\x1b[201~";
/** A paste without an end is let through in pieces of this size. */
const PASTE_CHARS_MAX = 1 << 21;

const CONTROLS: Record<string, string> = {
  "\r": "enter",
  "\n": "enter",
  "\t": "tab",
  "\x7f": "backspace",
  "\b": "backspace",
};

const SEQUENCES: Record<string, string> = {
  "[A": "up",
  "[B": "down",
  "[C": "right",
  "[D": "left",
  "OA": "up",
  "OB": "down",
  "OC": "right",
  "OD": "left",
  "[H": "home",
  "[F": "end",
  "OH": "home",
  "OF": "end",
  "[1~": "home",
  "[4~": "end",
  "[3~": "delete",
  "[1;5C": "ctrl-right",
  "[1;5D": "ctrl-left",
};
