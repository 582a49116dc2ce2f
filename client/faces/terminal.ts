/**
 * A terminal with one input line at the bottom and output above it: what arrives is printed above the line being typed.
 *
 * Raw mode is always left again: on close, on an uncaught error and on a signal; the shell leaves it while suspended. The
 * input line takes one row and scrolls sideways, so that no width the terminal measures differently can spread over other
 * rows.
 */
import { paint } from "../output.ts";
import { Editor, type EditorOptions, type Key } from "./editor.ts";
import { KeyReader } from "./keys.ts";
import { graphemes, textWidth } from "./width.ts";
import { wrap } from "./wrap.ts";

export interface LineTerminalOptions extends EditorOptions {
  readonly onLine: (line: string) => void;
  /** A key was pressed, and this is the line now. */
  readonly onInput?: (line: string) => void;
  /** A key that has a name, before the editor sees it. @returns Whether it is dealt with. */
  readonly onKey?: (name: string) => boolean;
  /** Ctrl-C or Ctrl-D on an empty line, or the end of input. */
  readonly onLeave: () => void;
}

/** Something that takes the whole screen for a while. */
export interface Overlay {
  /** As many rows as asked for, none wider than `columns`. */
  view(columns: number, rows: number): readonly string[];
  /** @returns False when it is over. */
  press(key: Key): boolean;
}

export class LineTerminal {
  readonly #editor: Editor;
  readonly #keys = new KeyReader();
  readonly #options: LineTerminalOptions;
  #prompt = "> ";
  #status = "";
  #overlay: Overlay | undefined;
  /** Printed while the overlay is there. */
  #behind: string[] = [];
  #escape: ReturnType<typeof setTimeout> | undefined;
  #raw = false;
  #drawn = false;
  /** The terminal reads Ctrl-Z and Ctrl-C itself, until the next key. */
  #offered = false;
  #closed = false;
  readonly #undo: (() => void)[] = [];

  constructor(options: LineTerminalOptions) {
    this.#options = options;
    this.#editor = new Editor(options);
  }

  start(): void {
    this.#enter();
    const leave = () => this.#leave();
    globalThis.addEventListener("unload", leave);
    globalThis.addEventListener("error", leave);
    globalThis.addEventListener("unhandledrejection", leave);
    this.#undo.push(() => {
      globalThis.removeEventListener("unload", leave);
      globalThis.removeEventListener("error", leave);
      globalThis.removeEventListener("unhandledrejection", leave);
    });
    if (Deno.build.os !== "windows") {
      this.#onSignal("SIGCONT", () => {
        this.#resume();
        this.#draw();
      });
      this.#onSignal("SIGWINCH", () => this.#draw());
    }
    this.#draw();
    void this.#read();
  }

  /** Shown before the input; plain text, colour added by the caller counts no columns. */
  setPrompt(prompt: string): void {
    this.#prompt = prompt;
    this.#draw();
  }

  /** A few words at the right end of the input line, where what is typed leaves room; plain text. */
  setStatus(status: string): void {
    if (status === this.#status) return;
    this.#status = status;
    this.#draw();
  }

  /** Shows something on a screen of its own; what is printed meanwhile appears afterwards. */
  show(overlay: Overlay): void {
    if (!this.#raw || this.#closed) return;
    if (this.#overlay === undefined) {
      this.#erase();
      write(OVERLAY_ON);
    }
    this.#overlay = overlay;
    this.#draw();
  }

  /** Prints whole lines above the input line. */
  print(text: string): void {
    this.#printRows(rowsOf(text));
  }

  /**
   * Prints a line that the terminal itself goes on with in the next row, so that it is copied in one piece.
   *
   * @param text Made by this program alone: anybody else's could pose as another line.
   */
  printWhole(text: string): void {
    this.#printRows(`${text}\r\n`);
  }

  #printRows(rows: string): void {
    if (this.#overlay) return void this.#behind.push(rows);
    this.#erase();
    write(rows);
    this.#draw();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#leave();
    for (const undo of this.#undo) undo();
  }

  async #read(): Promise<void> {
    const buffer = new Uint8Array(4096);
    while (!this.#closed) {
      let count: number | null;
      try {
        count = await Deno.stdin.read(buffer);
      } catch {
        count = null;
      }
      if (this.#closed) return;
      if (count === null) return this.#options.onLeave();
      if (this.#offered) this.#resume();
      clearTimeout(this.#escape);
      for (const key of this.#keys.push(buffer.subarray(0, count))) this.#take(key);
      if (!this.#keys.isUndecided) continue;
      this.#escape = setTimeout(() => {
        for (const key of this.#keys.decide()) this.#take(key);
      }, ESCAPE_MS);
    }
  }

  #take(key: Key): void {
    if (this.#closed) return;
    if (this.#overlay && "text" in key && !key.isPasted && graphemes(key.text).length > 1) {
      // On a slow line several keys arrive as one text; what is behind the one that ends the popup is for the input line.
      for (const text of graphemes(key.text)) this.#take({ text });
    } else if (this.#overlay) {
      if (this.#overlay.press(key)) this.#draw();
      else this.#endOverlay();
    } else if (!("name" in key && this.#options.onKey?.(key.name))) this.#press(this.#editor.press(key));
  }

  #endOverlay(): void {
    this.#leaveOverlay();
    this.#draw();
  }

  #leaveOverlay(): void {
    if (this.#overlay === undefined) return;
    this.#overlay = undefined;
    // The input line came back with the old screen's cursor in it.
    write(`${OVERLAY_OFF}\r\x1b[2K`);
    for (const rows of this.#behind.splice(0)) write(rows);
  }

  #press(action: ReturnType<Editor["press"]>): void {
    if (this.#closed) return;
    if (action.type === "redraw") this.#options.onInput?.(this.#editor.line);
    switch (action.type) {
      case "submit":
        this.#erase();
        this.#options.onLine(action.line);
        return this.#draw();
      case "leave":
        return this.#options.onLeave();
      case "suspend":
        return this.#offerSuspend();
      case "clear-screen":
        write("\x1b[2J\x1b[H");
        return this.#draw();
      case "redraw":
        return this.#draw();
      case "none":
        return;
    }
  }

  /**
   * Lets the terminal read the next key: a second Ctrl-Z then stops us as outside raw mode. We could not do it: sending signals
   * needs the permission to start programs.
   */
  #offerSuspend(): void {
    if (Deno.build.os === "windows" || this.#offered) return;
    if (isUnderTaskRunner()) return this.print(paint("dim", "* Ctrl-Z cannot suspend what a task runner started"));
    write(PASTE_OFF);
    Deno.stdin.setRaw(true, { cbreak: true });
    this.#offered = true;
    this.print(paint("dim", "* Ctrl-Z once more suspends"));
  }

  /** Back in raw mode, whatever the shell made of the terminal meanwhile. */
  #resume(): void {
    if (!this.#raw || this.#closed) return;
    this.#offered = false;
    Deno.stdin.setRaw(true);
    write(PASTE_ON);
  }

  #draw(): void {
    if (!this.#raw || this.#closed) return;
    if (this.#overlay) return this.#drawOverlay(this.#overlay);
    const columns = Math.max(8, terminalColumns());
    const prompt = textWidth(stripStyle(this.#prompt)) > columns - 4 ? "> " : this.#prompt;
    const promptWidth = textWidth(stripStyle(prompt));
    const { text, column } = this.#editor.view(columns - promptWidth);
    const statusAt = columns - 1 - textWidth(this.#status);
    const hasRoom = this.#status !== "" && statusAt >= promptWidth + textWidth(text) + STATUS_GAP;
    const status = hasRoom ? `\r\x1b[${statusAt}C${paint("dim", this.#status)}` : "";
    write(`\r\x1b[2K${prompt}${text}${status}\r\x1b[${promptWidth + column}C`);
    this.#drawn = true;
  }

  /** Every row at its place: what a terminal measures differently cannot reach the next one. */
  #drawOverlay(overlay: Overlay): void {
    const { columns, rows } = terminalSize();
    write(overlay.view(columns, rows).map((row, i) => `\x1b[${i + 1};1H\x1b[2K${row}`).join(""));
  }

  #erase(): void {
    if (this.#drawn) write("\r\x1b[2K");
    this.#drawn = false;
  }

  #enter(): void {
    if (this.#raw || this.#closed) return;
    Deno.stdin.setRaw(true);
    write(PASTE_ON);
    this.#raw = true;
  }

  /** Idempotent and synchronous: it may run in the last moments of the process. */
  #leave(): void {
    if (!this.#raw) return;
    clearTimeout(this.#escape);
    this.#leaveOverlay();
    this.#erase();
    this.#raw = false;
    write(PASTE_OFF);
    try {
      Deno.stdin.setRaw(false);
    } catch {
      // The terminal is gone: there is nothing left to restore.
    }
  }

  #onSignal(signal: Deno.Signal, handler: () => void): void {
    Deno.addSignalListener(signal, handler);
    this.#undo.push(() => Deno.removeSignalListener(signal, handler));
  }
}

/**
 * Text for a terminal's rows, in a mode in which what is wider than we think is cut rather than continued at the left edge:
 * there it could pose as a line of somebody else.
 */
export function fitted(text: string): string {
  return `\x1b[?7l${wrap(text, terminalColumns())}\x1b[?7h`;
}

function rowsOf(text: string): string {
  return fitted(text).replaceAll("\n", "\r\n") + "\r\n";
}

function terminalColumns(): number {
  return terminalSize().columns;
}

/** 80 by 24 where there is no terminal. */
export function terminalSize(): { columns: number; rows: number } {
  try {
    return Deno.consoleSize();
  } catch {
    return { columns: 80, rows: 24 };
  }
}

/** Columns between what is typed and the status. */
const STATUS_GAP = 3;

/** The other screen, without cursor and without continuing wide rows; and back. */
const OVERLAY_ON = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const OVERLAY_OFF = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/** An Escape that nothing follows for so long was the key itself. */
const ESCAPE_MS = 50;

/** Bracketed paste: a pasted newline is told from Enter. */
const PASTE_ON = "\x1b[?2004h";
const PASTE_OFF = "\x1b[?2004l";

/**
 * `deno task` and npm set INIT_CWD. They catch Ctrl-Z and do not stop with their child: the shell would never get the terminal
 * back.
 */
function isUnderTaskRunner(): boolean {
  return Deno.env.get("INIT_CWD") !== undefined;
}

function stripStyle(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/\x1b\[[0-9;]*m/g, "");
}

function write(text: string): void {
  const bytes = new TextEncoder().encode(text);
  try {
    for (let sent = 0; sent < bytes.length;) sent += Deno.stdout.writeSync(bytes.subarray(sent));
  } catch {
    // A terminal that went away ends the read loop too.
  }
}
