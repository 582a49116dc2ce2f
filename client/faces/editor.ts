/**
 * The input line, by grapheme: readline's keys, a history, completion. Knows no terminal: keys in, a state and what
 * should happen out, so that tests can type without one.
 */
import { graphemes, graphemeWidth } from "./width.ts";

/** A key press, as `keys.ts` reads it: a printable text, or a name such as "left", "ctrl-a", "alt-b". */
export type Key = { readonly text: string; readonly isPasted?: true } | { readonly name: string };

/** What a key asks of whoever owns the line. */
export type EditorAction =
  | { readonly type: "redraw" }
  | { readonly type: "submit"; readonly line: string }
  /** Ctrl-C on an empty line, or Ctrl-D on one: the person wants to leave. */
  | { readonly type: "leave" }
  | { readonly type: "suspend" }
  | { readonly type: "clear-screen" }
  | { readonly type: "none" };

export interface EditorOptions {
  /** Words that may stand where the last word of `before` stands; `before` is the text up to the cursor. */
  readonly complete?: (before: string) => readonly string[];
  readonly historyMax?: number;
}

export class Editor {
  #before: string[] = [];
  #after: string[] = [];
  #killed = "";
  readonly #history: string[] = [];
  /** Where in the history the person looks; at its length they write a new line, kept in `#draft`. */
  #historyAt = 0;
  #draft = "";
  readonly #complete: (before: string) => readonly string[];
  readonly #historyMax: number;

  constructor(options: EditorOptions = {}) {
    this.#complete = options.complete ?? (() => []);
    this.#historyMax = options.historyMax ?? 500;
  }

  get line(): string {
    return this.#before.join("") + this.#after.join("");
  }

  press(key: Key): EditorAction {
    if ("text" in key) {
      this.#insert(key.text);
      return REDRAW;
    }
    switch (key.name) {
      case "enter":
        return this.#submit();
      case "tab":
        return this.#tab();
      case "left":
      case "ctrl-b":
        return this.#move(-1);
      case "right":
      case "ctrl-f":
        return this.#move(1);
      case "alt-b":
      case "ctrl-left":
        return this.#move(-wordBefore(this.#before));
      case "alt-f":
      case "ctrl-right":
        return this.#move(wordAfter(this.#after));
      case "home":
      case "ctrl-a":
        return this.#move(-this.#before.length);
      case "end":
      case "ctrl-e":
        return this.#move(this.#after.length);
      case "backspace":
        this.#before.pop();
        return REDRAW;
      case "delete":
        this.#after.shift();
        return REDRAW;
      case "ctrl-d":
        if (this.line === "") return { type: "leave" };
        this.#after.shift();
        return REDRAW;
      case "ctrl-w":
      case "alt-backspace":
        return this.#kill(this.#before.splice(this.#before.length - wordBefore(this.#before)));
      case "ctrl-u":
        return this.#kill(this.#before.splice(0));
      case "ctrl-k":
        return this.#kill(this.#after.splice(0));
      case "ctrl-y":
        this.#insert(this.#killed);
        return REDRAW;
      case "up":
      case "ctrl-p":
        return this.#recall(-1);
      case "down":
      case "ctrl-n":
        return this.#recall(1);
      case "ctrl-c":
        if (this.line === "") return { type: "leave" };
        this.#set("");
        return REDRAW;
      case "ctrl-z":
        return { type: "suspend" };
      case "ctrl-l":
        return { type: "clear-screen" };
      default:
        return { type: "none" };
    }
  }

  /**
   * The part of the line that fits, scrolled so that the cursor is in it.
   *
   * @param columns Room for the text and the cursor behind it, at least 2.
   * @returns `text` to show and the cursor's column in it.
   */
  view(columns: number): { text: string; column: number } {
    let start = this.#before.length;
    let column = 0;
    while (start > 0) {
      const width = graphemeWidth(this.#before[start - 1]!);
      if (column + width > columns - 1) break;
      column += width;
      start--;
    }
    let text = this.#before.slice(start).join("");
    let used = column;
    for (const grapheme of this.#after) {
      used += graphemeWidth(grapheme);
      if (used > columns - 1) break;
      text += grapheme;
    }
    return { text: text.replaceAll("\n", "⏎"), column };
  }

  #insert(text: string): void {
    // Joined before it is cut, so that a mark typed after its letter becomes one grapheme with it.
    this.#before = graphemes(this.#before.join("") + text);
  }

  #set(line: string): void {
    this.#before = graphemes(line);
    this.#after = [];
  }

  #submit(): EditorAction {
    const line = this.line;
    this.#set("");
    if (line.trim() !== "" && line !== this.#history.at(-1)) this.#history.push(line);
    if (this.#history.length > this.#historyMax) this.#history.shift();
    this.#historyAt = this.#history.length;
    return { type: "submit", line };
  }

  #move(by: number): EditorAction {
    for (; by < 0 && this.#before.length > 0; by++) this.#after.unshift(this.#before.pop()!);
    for (; by > 0 && this.#after.length > 0; by--) this.#before.push(this.#after.shift()!);
    return REDRAW;
  }

  #kill(removed: readonly string[]): EditorAction {
    if (removed.length > 0) this.#killed = removed.join("");
    return REDRAW;
  }

  #recall(by: number): EditorAction {
    const to = this.#historyAt + by;
    if (to < 0 || to > this.#history.length) return { type: "none" };
    if (this.#historyAt === this.#history.length) this.#draft = this.line;
    this.#historyAt = to;
    this.#set(this.#history[to] ?? this.#draft);
    return REDRAW;
  }

  /** One candidate completes the word, several complete as far as they agree. */
  #tab(): EditorAction {
    const before = this.#before.join("");
    const candidates = this.#complete(before);
    if (candidates.length === 0) return { type: "none" };
    const word = before.slice(before.lastIndexOf(" ") + 1);
    const shared = candidates.reduce(commonPrefix);
    const ending = candidates.length === 1 ? " " : "";
    this.#before = graphemes(before.slice(0, before.length - word.length) + shared + ending);
    return REDRAW;
  }
}

function wordBefore(before: readonly string[]): number {
  let at = before.length;
  while (at > 0 && before[at - 1] === " ") at--;
  while (at > 0 && before[at - 1] !== " ") at--;
  return before.length - at;
}

function wordAfter(after: readonly string[]): number {
  let at = 0;
  while (at < after.length && after[at] === " ") at++;
  while (at < after.length && after[at] !== " ") at++;
  return at;
}

function commonPrefix(a: string, b: string): string {
  let length = 0;
  while (length < a.length && a[length] === b[length]) length++;
  return a.slice(0, length);
}

const REDRAW: EditorAction = { type: "redraw" };
