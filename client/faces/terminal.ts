/**
 * A terminal with one input line at the bottom and output above it: what arrives is printed above the line being typed.
 *
 * Raw mode is always left again: on close, on an uncaught error, on a signal, and while suspended. The input line takes
 * one row and scrolls sideways, so that no width the terminal measures differently can spread over other rows.
 */
import { kill } from "node:process";
import { Editor, type EditorOptions } from "./editor.ts";
import { KeyReader } from "./keys.ts";
import { textWidth } from "./width.ts";
import { wrap } from "./wrap.ts";

export interface LineTerminalOptions extends EditorOptions {
  readonly onLine: (line: string) => void;
  /** Ctrl-C or Ctrl-D on an empty line, or the end of input. */
  readonly onLeave: () => void;
}

export class LineTerminal {
  readonly #editor: Editor;
  readonly #keys = new KeyReader();
  readonly #options: LineTerminalOptions;
  #prompt = "> ";
  #raw = false;
  #drawn = false;
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
        this.#enter();
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

  /** Prints whole lines above the input line. */
  print(text: string): void {
    this.#erase();
    write(wrap(text, terminalColumns()).replaceAll("\n", "\r\n") + "\r\n");
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
      for (const key of this.#keys.push(buffer.subarray(0, count))) this.#press(this.#editor.press(key));
    }
  }

  #press(action: ReturnType<Editor["press"]>): void {
    if (this.#closed) return;
    switch (action.type) {
      case "submit":
        this.#erase();
        this.#options.onLine(action.line);
        return this.#draw();
      case "leave":
        return this.#options.onLeave();
      case "suspend":
        return this.#suspend();
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
   * Stops the whole process group, as the terminal itself would outside raw mode: whoever started us, `deno task` for one, must
   * give the terminal back too.
   */
  #suspend(): void {
    if (Deno.build.os === "windows") return;
    this.#leave();
    kill(0, "SIGTSTP");
    // Where nobody controls jobs the signal is void, and no SIGCONT comes.
    setTimeout(() => {
      this.#enter();
      this.#draw();
    }, RESUME_MS);
  }

  #draw(): void {
    if (!this.#raw || this.#closed) return;
    const columns = Math.max(8, terminalColumns());
    const prompt = textWidth(stripStyle(this.#prompt)) > columns - 4 ? "> " : this.#prompt;
    const promptWidth = textWidth(stripStyle(prompt));
    const { text, column } = this.#editor.view(columns - promptWidth);
    write(`\r\x1b[2K${prompt}${text}\r\x1b[${promptWidth + column}C`);
    this.#drawn = true;
  }

  #erase(): void {
    if (this.#drawn) write("\r\x1b[2K");
    this.#drawn = false;
  }

  #enter(): void {
    if (this.#raw || this.#closed) return;
    Deno.stdin.setRaw(true);
    write("\x1b[?2004h");
    this.#raw = true;
  }

  /** Idempotent and synchronous: it may run in the last moments of the process. */
  #leave(): void {
    if (!this.#raw) return;
    this.#erase();
    this.#raw = false;
    write("\x1b[?2004l");
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

/** Columns of the terminal, 80 where there is none. */
export function terminalColumns(): number {
  try {
    return Deno.consoleSize().columns;
  } catch {
    return 80;
  }
}

const RESUME_MS = 100;

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
