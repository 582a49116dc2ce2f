/**
 * Requests to a running program over its local socket: one JSON object per line each way, answered in order.
 *
 *     -> {"command":"status"}
 *     <- {"ok":true,"pid":4711,...}      or      {"ok":false,"error":"Unknown command"}
 */
import type { Logger } from "../log.ts";
import { silentLogger } from "../log.ts";
import { connectLocal, listenLocal, type LocalListener } from "./local_socket.ts";

export type ControlFields = Record<string, unknown>;
export interface ControlRequest extends ControlFields {
  readonly command: string;
}
/** Answers one command; what it returns becomes the answer's fields, what it throws becomes `error`. */
export type ControlHandler = (request: ControlRequest) => object | Promise<object>;

export interface ControlServer {
  readonly path: string;
  /**
   * Stops listening and ends what is connected, but lets answers that are due be written first (up to a second). The socket's file
   * is gone then.
   */
  close(): Promise<void>;
}

/** No answer: nobody listens, it took too long, or it was not one of ours. */
export class ControlError extends Error {
  override readonly name: string = "ControlError";
}

/** The program answered that it will not. */
export class ControlRefusedError extends ControlError {
  override readonly name = "ControlRefusedError";
}

/**
 * Answers commands on `path` until closed.
 *
 * @param handlers command → handler. An unknown command is answered with an error; a malformed line ends its connection.
 */
export async function serveControl(
  path: string,
  handlers: Readonly<Record<string, ControlHandler>>,
  logger: Logger = silentLogger,
): Promise<ControlServer> {
  const server = new Server(await listenLocal(path), handlers, logger);
  return server;
}

/**
 * Asks the program that listens on `path`.
 *
 * @returns The answer's fields.
 * @throws ControlRefusedError, ControlError
 */
export async function callControl(
  path: string,
  request: ControlRequest,
  timeoutMs = 5000,
): Promise<ControlFields> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new ControlError(`No answer from ${path} within ${timeoutMs} ms`)), timeoutMs);
  let conn: Deno.Conn | undefined, over = false;
  const connecting = connectLocal(path).then((connected) => {
    if (over) closeQuietly(connected);
    return conn = connected;
  });
  const call = async () => {
    const connected = await connecting;
    await writeLine(connected, request);
    for await (const line of readLines(connected)) return parseAnswer(path, line);
    throw new ControlError(`No answer from ${path}: it closed the connection`);
  };
  try {
    return await Promise.race([call(), late]);
  } catch (cause) {
    if (cause instanceof ControlError) throw cause;
    throw new ControlError(`No answer from ${path}: ${(cause as Error).message}`, { cause });
  } finally {
    over = true;
    clearTimeout(timer);
    if (conn) closeQuietly(conn);
  }
}

/**
 * Stays connected to the program that listens on `path` and asks nothing.
 *
 * @returns `ended` resolves when the connection does: the system closes it with the process, whatever that dies of.
 * @throws ControlError where nobody listens.
 */
export async function watchControl(path: string): Promise<{ readonly ended: Promise<void>; close(): void }> {
  let conn: Deno.Conn;
  try {
    conn = await connectLocal(path);
  } catch (cause) {
    throw new ControlError(`Cannot watch ${path}: ${(cause as Error).message}`, { cause });
  }
  const ended = (async () => {
    try {
      for await (const _ of readLines(conn)) { /* nothing was asked */ }
    } catch { /* a reset is an end, too */ }
    closeQuietly(conn);
  })();
  return { ended, close: () => closeQuietly(conn) };
}

class Server implements ControlServer {
  readonly path: string;
  readonly #listener: LocalListener;
  readonly #handlers: Readonly<Record<string, ControlHandler>>;
  readonly #logger: Logger;
  readonly #connections = new Set<Deno.Conn>();
  /** Requests whose answer is not written yet. */
  readonly #answering = new Set<Promise<void>>();
  readonly #running: Promise<void>;
  #closed = false;

  constructor(listener: LocalListener, handlers: Readonly<Record<string, ControlHandler>>, logger: Logger) {
    this.path = listener.path;
    this.#listener = listener;
    this.#handlers = handlers;
    this.#logger = logger;
    this.#running = this.#run();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#listener.close();
    await this.#running;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const enough = new Promise<void>((resolve) => timer = setTimeout(resolve, CLOSE_MS_MAX));
    await Promise.race([Promise.all(this.#answering), enough]);
    clearTimeout(timer);
    for (const conn of this.#connections) closeQuietly(conn);
  }

  async #run(): Promise<void> {
    while (!this.#closed) {
      try {
        const conn = await this.#listener.accept();
        if (this.#connections.size >= CONNECTIONS_MAX) closeQuietly(conn);
        else this.#serve(conn);
      } catch (error) {
        if (this.#closed) return;
        this.#logger.log("warn", "control-accept-failed", { error });
        await new Promise((resolve) => setTimeout(resolve, ACCEPT_RETRY_MS));
      }
    }
  }

  async #serve(conn: Deno.Conn): Promise<void> {
    this.#connections.add(conn);
    try {
      for await (const line of readLines(conn)) {
        const answered = this.#answer(conn, line);
        this.#answering.add(answered);
        try {
          await answered;
        } finally {
          this.#answering.delete(answered);
        }
      }
    } catch (error) {
      if (!this.#closed) this.#logger.log("debug", "control-connection-failed", { error });
    } finally {
      this.#connections.delete(conn);
      closeQuietly(conn);
    }
  }

  async #answer(conn: Deno.Conn, line: string): Promise<void> {
    const request = parseObject(line) as ControlRequest | undefined;
    if (request === undefined || typeof request.command !== "string") {
      throw new ControlError("A control request is not a JSON object with a command");
    }
    await writeLine(conn, await this.#perform(request));
  }

  async #perform(request: ControlRequest): Promise<object> {
    if (!Object.hasOwn(this.#handlers, request.command)) {
      return { ok: false, error: `Unknown command '${request.command.slice(0, 40)}'` };
    }
    try {
      return { ok: true, ...await this.#handlers[request.command]!(request) };
    } catch (error) {
      this.#logger.log("warn", "control-command-failed", { command: request.command, error });
      return { ok: false, error: (error as Error).message };
    }
  }
}

function parseAnswer(path: string, line: string): ControlFields {
  const answer = parseObject(line);
  if (answer === undefined) throw new ControlError(`The answer from ${path} is not a JSON object`);
  const { ok, error, ...fields } = answer;
  if (ok !== true) throw new ControlRefusedError(typeof error === "string" ? error : "The program refused");
  return fields;
}

function parseObject(line: string): ControlFields | undefined {
  try {
    const value = JSON.parse(line);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

async function* readLines(conn: Deno.Conn): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  const chunk = new Uint8Array(4096);
  let pending = "";
  while (true) {
    const count = await conn.read(chunk);
    if (count === null) return;
    pending += decoder.decode(chunk.subarray(0, count), { stream: true });
    const lines = pending.split("\n");
    pending = lines.pop()!;
    yield* lines;
    if (pending.length > LINE_CHARS_MAX) throw new ControlError("A control line is too long");
  }
}

async function writeLine(conn: Deno.Conn, value: object): Promise<void> {
  const bytes = new TextEncoder().encode(JSON.stringify(value) + "\n");
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
}

function closeQuietly(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch { /* closed already */ }
}

/** An answer of `status` for 128 servers is some 30 kB. */
const LINE_CHARS_MAX = 256 << 10;
const CONNECTIONS_MAX = 32;
const ACCEPT_RETRY_MS = 50;
const CLOSE_MS_MAX = 1000;
