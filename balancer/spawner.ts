/**
 * Starts and signals server processes: the only file that does.
 *
 * A server must outlive this program. So it gets a session of its own (`detached`: Ctrl-C in a terminal goes to the whole
 * process group) and no pipe of ours: a pipe whose reader died would kill it at its next line. It logs to its own file.
 */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** What every server is started with. */
export interface SpawnSettings {
  /** Absolute. */
  readonly dataDir: string;
  readonly host: string;
  /** "" for none. */
  readonly advertise: string;
  /** Flags of the server's own, passed on as they are. */
  readonly serverArguments: readonly string[];
}

export interface SpawnedServer {
  readonly pid: number;
  /** Resolves when the process has ended. */
  readonly exited: Promise<{ readonly code: number; readonly signal: string | null }>;
}

/** The program and its arguments, without a shell: for spawning, and for people to try by hand. */
export function serverCommand(
  settings: SpawnSettings,
  number: number,
  port: number,
): { program: string; args: string[] } {
  const { program, args } = serverProgram(settings.dataDir);
  const flags = ["--data", settings.dataDir, "--number", `${number}`, "--host", settings.host, "--port", `${port}`];
  if (settings.advertise !== "") flags.push("--advertise", settings.advertise);
  return { program, args: [...args, ...flags, ...settings.serverArguments] };
}

/** @throws The system's error where the program cannot be started at all. */
export function spawnServer(settings: SpawnSettings, number: number, port: number): SpawnedServer {
  const { program, args } = serverCommand(settings, number, port);
  const child = new Deno.Command(program, {
    args,
    cwd: settings.dataDir,
    env: environment(),
    clearEnv: true,
    detached: true,
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  child.unref();
  return { pid: child.pid, exited: child.status };
}

/**
 * Starts a server once more, only to hear what it says: the first line on its standard error, where a program says what is wrong
 * with its command line. One that runs after all is ended.
 */
export async function hearServer(settings: SpawnSettings, number: number, port: number): Promise<string | undefined> {
  const { program, args } = serverCommand(settings, number, port);
  try {
    const { stderr } = await new Deno.Command(program, {
      args,
      env: { ...environment(), NO_COLOR: "1" },
      clearEnv: true,
      stdin: "null",
      stdout: "null",
      stderr: "piped",
      signal: AbortSignal.timeout(HEAR_MS_MAX),
    }).output();
    return new TextDecoder().decode(stderr).split("\n").map((line) => line.trim()).find((line) => line !== "");
  } catch (error) {
    return (error as Error).message;
  }
}

/**
 * Runs the server's program once on a data directory, with this terminal, for what only servers know how to do.
 *
 * @param paths Directories it may read and write beside `dataDir`.
 * @returns Its exit code.
 */
export async function runUpkeep(words: readonly string[], dataDir: string, ...paths: string[]): Promise<number> {
  const { program, args } = serverProgram(dataDir, ...paths);
  const { code } = await new Deno.Command(program, {
    args: [...args, ...words],
    env: environment(),
    clearEnv: true,
    stdin: "null",
    stdout: "inherit",
    stderr: "inherit",
  }).output();
  return code;
}

/** SIGTERM, or SIGKILL where `hard`. A process that is gone already is fine. */
export function signalServer(pid: number, hard: boolean): void {
  try {
    Deno.kill(pid, hard ? "SIGKILL" : "SIGTERM");
  } catch (error) {
    const gone = error instanceof Deno.errors.NotFound || error instanceof TypeError ||
      (error as { code?: unknown }).code === "ESRCH";
    if (!gone) throw error;
  }
}

/**
 * As a binary we start the binary beside us. From source it is Deno again, with the fewest permissions that work: UDP and local
 * sockets, files of this data directory only, its own environment.
 */
function serverProgram(dataDir: string, ...paths: string[]): { program: string; args: string[] } {
  const here = Deno.execPath();
  if (Deno.build.standalone) {
    return {
      program: join(dirname(here), Deno.build.os === "windows" ? "fastchat-server.exe" : "fastchat-server"),
      args: [],
    };
  }
  const root = fileURLToPath(new URL("..", import.meta.url));
  // What is not loaded by import: a Worker's source is read like a file.
  const workers = ["password_worker.ts", "store/checkpoint_worker.ts"].map((file) => join(root, "server", file));
  const permissions = [
    "--allow-net",
    grant("--allow-read", dataDir, ...workers, ...paths),
    grant("--allow-write", dataDir, ...paths),
    "--allow-env",
    "--allow-sys",
  ];
  const config = ["--frozen", "--no-prompt", "--config", join(root, "deno.json")];
  return { program: here, args: ["run", V8_FLAGS, ...config, ...permissions, join(root, "server", "main.ts")] };
}

/** Deno has no way to write a comma in a path of a list: such a path can only be granted together with all others. */
function grant(flag: string, ...paths: string[]): string {
  return paths.some((path) => path.includes(",")) ? flag : `${flag}=${paths.join(",")}`;
}

/** Ours without passwords: they belong to people, never to a server (SECURITY P11). */
function environment(): Record<string, string> {
  return Object.fromEntries(Object.entries(Deno.env.toObject()).filter(([name]) => !/PASSWORD/i.test(name)));
}

/**
 * After a rush of log-ins V8 gives the system back what they took only when it has been idle for half a minute, and then once
 * more: with these after some seconds. Binaries have it from the task that compiles them.
 */
const V8_FLAGS = "--v8-flags=--gc-memory-reducer-start-delay-ms=5000,--memory-reducer-delay-ms=2000";
const HEAR_MS_MAX = 5000;
