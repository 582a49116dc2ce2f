/**
 * A {@linkcode Logger} that writes JSON lines to a file of bounded size.
 *
 * A full file is renamed to `PATH.1`, the one before to `PATH.2` and so on; the oldest goes. Lines are written at once and
 * synchronously, so that the last one before a crash is there. Nothing here ever throws: a program does not stop because
 * its log cannot be written; it counts what it dropped and says so when it can write again.
 */
import { formatLogLine, type Logger, type LogLevel } from "../log.ts";

export interface LogFileOptions {
  /** Bytes at which the file is put aside. */
  readonly bytesMax?: number;
  /** Files put aside that are kept. */
  readonly filesKept?: number;
  /** Less urgent lines are not written. */
  readonly level?: LogLevel;
  readonly now?: () => Date;
}

export class LogFile implements Logger {
  readonly path: string;
  readonly #bytesMax: number;
  readonly #filesKept: number;
  readonly #urgencyMin: number;
  readonly #now: () => Date;
  #file: Deno.FsFile | undefined;
  #bytes = 0;
  #dropped = 0;
  #retryAtMs = 0;
  #closed = false;

  constructor(path: string, options: LogFileOptions = {}) {
    this.path = path;
    this.#bytesMax = options.bytesMax ?? LOG_BYTES_MAX;
    this.#filesKept = options.filesKept ?? LOG_FILES_KEPT;
    this.#urgencyMin = URGENCY[options.level ?? "info"];
    this.#now = options.now ?? (() => new Date());
  }

  log(level: LogLevel, event: string, fields?: Readonly<Record<string, unknown>>): void {
    if (this.#closed || URGENCY[level] < this.#urgencyMin) return;
    const time = this.#now();
    try {
      if (this.#dropped > 0 && time.getTime() < this.#retryAtMs) {
        this.#dropped++;
        return;
      }
      if (this.#dropped > 0) {
        this.#write(formatLogLine(time, "warn", "log-lines-dropped", { lines: this.#dropped }));
        this.#dropped = 0;
      }
      this.#write(render(time, level, event, fields));
    } catch {
      this.#dropped++;
      this.#retryAtMs = time.getTime() + RETRY_MS;
      this.#forget();
    }
  }

  close(): void {
    this.#closed = true;
    this.#forget();
  }

  #write(line: string): void {
    const bytes = new TextEncoder().encode(line + "\n");
    if (this.#file === undefined) this.#open();
    if (this.#bytes > 0 && this.#bytes + bytes.length > this.#bytesMax) this.#rotate();
    for (let at = 0; at < bytes.length;) at += this.#file!.writeSync(bytes.subarray(at));
    this.#bytes += bytes.length;
  }

  #open(): void {
    this.#file = Deno.openSync(this.path, { append: true, create: true, mode: 0o600 });
    this.#bytes = this.#file.statSync().size;
  }

  #rotate(): void {
    this.#forget();
    for (let index = this.#filesKept; index > 0; index--) {
      try {
        Deno.renameSync(index === 1 ? this.path : `${this.path}.${index - 1}`, `${this.path}.${index}`);
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
    }
    if (this.#filesKept === 0) Deno.removeSync(this.path);
    this.#open();
  }

  #forget(): void {
    try {
      this.#file?.close();
    } catch { /* it is gone, which is what we want */ }
    this.#file = undefined;
  }
}

/** The last line of at least that urgency in a log file, parsed; for telling a person why a program ended. */
export async function lastLogLine(
  path: string,
  level: LogLevel,
): Promise<{ level: LogLevel; event: string; [field: string]: unknown } | undefined> {
  let text: string;
  try {
    using file = await Deno.open(path, { read: true });
    const { size } = await file.stat();
    await file.seek(Math.max(0, size - TAIL_BYTES), Deno.SeekMode.Start);
    text = await new Response(file.readable).text();
  } catch {
    return undefined;
  }
  for (const line of text.split("\n").reverse()) {
    try {
      const parsed = JSON.parse(line);
      if (URGENCY[parsed.level as LogLevel] >= URGENCY[level] && typeof parsed.event === "string") return parsed;
    } catch { /* the first line of the tail is cut, and the last one is empty */ }
  }
  return undefined;
}

function render(time: Date, level: LogLevel, event: string, fields?: Readonly<Record<string, unknown>>): string {
  try {
    const line = formatLogLine(time, level, event, fields);
    if (line.length <= LINE_CHARS_MAX) return line;
    return formatLogLine(time, level, event, { cut: line.slice(0, LINE_CHARS_MAX / 2) });
  } catch (error) {
    // A field that refers to itself, or whose toJSON throws.
    return formatLogLine(time, level, event, { unprintable: String(error) });
  }
}

const URGENCY: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };
const LOG_BYTES_MAX = 4 << 20;
const LOG_FILES_KEPT = 3;
const LINE_CHARS_MAX = 64 << 10;
const TAIL_BYTES = 128 << 10;
const RETRY_MS = 1000;
