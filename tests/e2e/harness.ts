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

/** Starts `fastchat-balancer COUNT PORT` on loopback and waits for its ready line. A given folder is the caller's to remove. */
export async function startCluster(
  servers = 2,
  args: readonly string[] = [],
  dataDir?: string,
  wantedPort = 0,
  env: Readonly<Record<string, string>> = {},
): Promise<Cluster> {
  const dir = dataDir ?? join(await Deno.makeTempDir({ prefix: "fastchat-test-" }), "data");
  const balancer = new Deno.Command(Deno.execPath(), {
    args: [
      ...runArguments("balancer"),
      String(servers),
      String(wantedPort),
      "--host",
      "127.0.0.1",
      "--data",
      dir,
      ...args,
    ],
    env: { ...TEST_ENV, ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const errors = new Response(balancer.stderr).text();
  const line = await firstLine(balancer.stdout);
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

/** `deno run` with the permissions of deno.json's tasks, for the program in that folder. */
export function runArguments(program: "client" | "server" | "balancer"): string[] {
  const permissions = ["net", "read", "write", "env", "sys", ...(program === "server" ? [] : ["run"])];
  return [
    "run",
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
    args: [...runArguments("client"), ...args],
    env: { ...TEST_ENV, FASTCHAT_PASSWORD: PASSWORD, ...options.env },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

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

/** Polls until `check` answers something, at most `seconds`. For what has no event to wait for, such as other processes' files. */
export async function eventually<T>(
  check: () => T | undefined | Promise<T | undefined>,
  what: string,
  seconds = 20,
): Promise<T> {
  const end = performance.now() + seconds * 1000;
  for (;;) {
    const value = await check();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > end) throw new Error(`Not within ${seconds} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Whether a process of that pid lives. */
export function alive(pid: number): boolean {
  try {
    Deno.kill(pid, "SIGCONT");
    return true;
  } catch {
    return false;
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
    if (alive(pid)) Deno.kill(pid, "SIGKILL");
  }
}
