/**
 * Real programs in real processes for the end-to-end tests: a balancer with its servers in a temporary folder, and the
 * client's commands. Everything is ended by pid and every folder removed.
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Sets a cost that keeps tests quick; both sides must be told (docs/MANUAL.md). */
export const STRETCHING = "FASTCHAT_TEST_ONLY_SCRYPT_LOG2N";

export const TEST_ENV: Readonly<Record<string, string>> = {
  [STRETCHING]: "10",
  NO_COLOR: "1",
};

// Clients in this process stretch as cheaply as those the harness starts. For good: threads share the environment, and whoever
// took it away again would do so under the others.
Deno.env.set(STRETCHING, TEST_ENV[STRETCHING]!);

/** Long enough to pass the client's strength check. */
export const PASSWORD = "violet-otter-canyon-42";

export interface Cluster {
  readonly host: string;
  readonly port: number;
  readonly dataDir: string;
  /** As the ready line gives it. */
  readonly fingerprint: string;
  readonly server: string;
  readonly balancer: Deno.ChildProcess;
  /** Pids of the servers by their state files, ascending by number. */
  serverPids(): Promise<number[]>;
  stop(): Promise<void>;
}

/**
 * Starts `fastchat-balancer COUNT PORT` on loopback and waits for its ready line. A given folder is the caller's to remove.
 *
 * @param wantedPort By default one that is still there when somebody comes back to it.
 */
export async function startCluster(
  servers = 2,
  args: readonly string[] = [],
  dataDir?: string,
  wantedPort?: number,
  env: Readonly<Record<string, string>> = {},
): Promise<Cluster> {
  const dir = dataDir ?? join(await Deno.makeTempDir({ prefix: "fastchat-test-" }), "data");
  const start = (port: number) => {
    const balancer = new Deno.Command(Deno.execPath(), {
      args: [...runArguments("balancer"), String(servers), String(port), "--host", "127.0.0.1", "--data", dir, ...args],
      env: { ...TEST_ENV, ...env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    return { balancer, errors: new Response(balancer.stderr).text(), line: firstLine(balancer.stdout) };
  };
  let started = start(wantedPort ?? await steadyPort());
  // Somebody else has found the same one free, a moment before.
  for (let tries = 0; tries < 3 && wantedPort === undefined && await started.line === ""; tries++) {
    if ((await started.balancer.status).code !== PORT_TAKEN) break;
    started = start(await steadyPort());
  }
  const { balancer, errors } = started, line = await started.line;
  const match = /^ready (\S+):(\d+) servers=(\d+) data=(.*) key=(\S+)$/.exec(line);
  if (match === null) throw new Error(`The balancer said ${JSON.stringify(line)} and ${await errors}`);
  const host = match[1]!, port = Number(match[2]);
  return {
    host,
    port,
    dataDir: dir,
    fingerprint: match[5]!,
    server: `${host}:${port}`,
    balancer,
    serverPids: () => serverPids(dir),
    stop: async () => {
      await stopCluster(dir, balancer);
      await errors;
      if (dataDir === undefined) await Deno.remove(join(dir, ".."), { recursive: true });
    },
  };
}

/**
 * A port for a cluster; those behind it are for its servers. The system gives none of them to a socket that asks for any: whoever
 * was killed or stopped finds its own again, however many clients have opened sockets meanwhile.
 */
export async function steadyPort(): Promise<number> {
  const range = await Deno.readTextFile("/proc/sys/net/ipv4/ip_local_port_range").catch(() => "32768");
  const end = parseInt(range, 10) - STEADY_PORTS;
  if (end <= STEADY_PORT_MIN) return 0;
  for (;;) {
    const port = STEADY_PORT_MIN + Math.floor(Math.random() * (end - STEADY_PORT_MIN) / STEADY_PORTS) * STEADY_PORTS;
    if (Array.from({ length: STEADY_PORTS }, (_, at) => port + at).every(isFree)) return port;
  }
}

function isFree(port: number): boolean {
  try {
    Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port }).close();
    return true;
  } catch {
    return false;
  }
}

/** A balancer's exit code. */
const PORT_TAKEN = 3;
const STEADY_PORT_MIN = 12_000;
/** For a balancer and its servers. */
const STEADY_PORTS = 16;

/**
 * `deno run` with the permissions of deno.json's tasks, for the program in that folder. Quiet: where several start at once, Deno
 * itself says now and then that one waits for another.
 */
export function runArguments(program: "client" | "server" | "balancer"): string[] {
  const permissions = ["net", "read", "write", "env", "sys", ...(program === "server" ? [] : ["run"])];
  return [
    "run",
    "--quiet",
    "--no-check",
    "--no-prompt",
    "--config",
    join(ROOT, "deno.json"),
    ...permissions.map((name) => `--allow-${name}`),
    join(ROOT, program, "main.ts"),
  ];
}

export interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly env?: Record<string, string>;
  readonly stdin?: string | Uint8Array;
}

/** Runs `fastchat ARGS` to its end. */
export async function fastchat(args: readonly string[], options: CommandOptions = {}): Promise<Result> {
  const child = startFastchat(args, options);
  const writer = child.stdin.getWriter();
  const input = options.stdin ?? "";
  try {
    await writer.write(typeof input === "string" ? new TextEncoder().encode(input) : input);
    await writer.close();
  } catch {
    // It may have ended without reading.
  }
  const { code, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** Starts `fastchat ARGS`; the caller ends it. */
export function startFastchat(args: readonly string[], options: CommandOptions = {}): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: [...runArguments("client"), ...patient(args)],
    env: { ...TEST_ENV, FASTCHAT_PASSWORD: PASSWORD, ...options.env },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Commands give up after 20 s where they are not told otherwise: a machine with other things to do may need longer to sign somebody up. */
function patient([command, ...rest]: readonly string[]): string[] {
  if (command === undefined) return [];
  const connects = CONNECTING.has(command) && !rest.includes("--timeout");
  return [command, ...(connects ? ["--timeout", "90"] : []), ...rest];
}

const CONNECTING = new Set(
  "register login recover recovery passwd send recv listen group groups device identity verify users online archive"
    .split(" "),
);

/** Whole lines of a stream as they come. */
export async function* lines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let pending = "";
  for await (const piece of stream.pipeThrough(new TextDecoderStream())) {
    const parts = (pending + piece).split("\n");
    pending = parts.pop()!;
    yield* parts;
  }
  if (pending !== "") yield pending;
}

/**
 * Polls until `check` answers something, at most `seconds`. For what has no event to wait for, such as other processes' files.
 * Patience costs nothing where all goes well.
 */
export async function eventually<T>(
  check: () => T | undefined | Promise<T | undefined>,
  what: string,
  seconds = 60,
): Promise<T> {
  const end = performance.now() + seconds * 1000;
  for (;;) {
    const value = await check();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > end) throw new Error(`Not within ${seconds} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/**
 * Tries what a moment's stall of a busy machine can spoil, though nobody did anything wrong: once it has to go well.
 *
 * @throws What the last attempt has thrown.
 */
export async function onceOf<T>(tries: number, attempt: () => Promise<T>): Promise<T> {
  for (let left = tries - 1;; left--) {
    try {
      return await attempt();
    } catch (error) {
      if (left === 0) throw error;
      console.log(`    once more: ${(error as Error).message.split("\n")[0]}`);
    }
  }
}

/** Whether a process of that pid lives. One that is dead and that nobody has reaped does not. */
export function alive(pid: number): boolean {
  try {
    if (Deno.build.os === "linux") return !/^State:\s+[ZX]/m.test(Deno.readTextFileSync(`/proc/${pid}/status`));
    Deno.kill(pid, "SIGCONT");
    return true;
  } catch {
    return false;
  }
}

/** Fine where it has ended meanwhile. */
export function signal(pid: number, name: Deno.Signal): void {
  try {
    Deno.kill(pid, name);
  } catch (error) {
    if (alive(pid)) throw error;
  }
}

async function firstLine(stream: ReadableStream<Uint8Array>): Promise<string> {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (value) text += decoder.decode(value, { stream: true });
    const end = text.indexOf("\n");
    if (done || end >= 0) {
      void drain(reader);
      return end < 0 ? text : text.slice(0, end);
    }
  }
}

async function drain(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
  while (!(await reader.read()).done);
}

async function serverPids(dir: string): Promise<number[]> {
  const states: { number: number; pid: number }[] = [];
  for await (const entry of Deno.readDir(join(dir, "run"))) {
    if (!/^server-\d+\.json$/.test(entry.name)) continue;
    states.push(JSON.parse(await Deno.readTextFile(join(dir, "run", entry.name))));
  }
  return states.sort((a, b) => a.number - b.number).map(({ pid }) => pid);
}

async function stopCluster(dir: string, balancer: Deno.ChildProcess): Promise<void> {
  const pids = await serverPids(dir).catch(() => []);
  try {
    balancer.kill("SIGTERM");
  } catch {
    // It has ended already.
  }
  await balancer.status;
  for (const pid of pids) {
    if (!alive(pid)) continue;
    await new Promise((resolve) => setTimeout(resolve, 500));
    signal(pid, "SIGKILL");
  }
}
