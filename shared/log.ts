/**
 * JSON-lines logging. One object per line: `{"time","level","event",...fields}`.
 *
 * Secrets are redacted by type: bytes never reach a log, only their count, and {@linkcode Secret} hides anything else.
 */

export type LogLevel = "debug" | "info" | "warn" | "error";

/** Wraps a value that must never be printed. */
export class Secret<T> {
  readonly #value: T;
  constructor(value: T) {
    this.#value = value;
  }
  reveal(): T {
    return this.#value;
  }
  toJSON(): string {
    return "[secret]";
  }
  toString(): string {
    return "[secret]";
  }
}

export interface Logger {
  log(level: LogLevel, event: string, fields?: Readonly<Record<string, unknown>>): void;
}

/** Drops everything: for tests and libraries that were given no logger. */
export const silentLogger: Logger = { log() {} };

/** Renders one line without its newline. Errors become `{name, message, cause}`; `Uint8Array`s become their length. */
export function formatLogLine(
  time: Date,
  level: LogLevel,
  event: string,
  fields: Readonly<Record<string, unknown>> = {},
): string {
  return JSON.stringify({ time: time.toISOString(), level, event, ...fields }, (_key, value) => {
    if (value instanceof Uint8Array) return `[${value.length} bytes]`;
    if (value instanceof Error) return { name: value.name, message: value.message, cause: value.cause };
    if (typeof value === "bigint") return value.toString();
    return value;
  });
}
