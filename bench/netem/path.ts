/** How a bench puts its sockets on a bad link: it starts again in a network namespace, and the emulator beside it. */
import { fileURLToPath } from "node:url";
import type { PathCounters } from "./emulator.ts";
import { type Faults, PERFECT } from "./link.ts";

/**
 * Runs the program again in a network namespace of its own, where there can be one.
 *
 * @param program The URL of its main module.
 * @returns `"inside"` in the program that was started again, its exit code in the one that started it, or in words why this
 * machine cannot.
 */
export async function runInNamespace(program: string): Promise<"inside" | number | { why: string }> {
  if (Deno.env.has(INSIDE)) return "inside";
  const why = await whyNot();
  if (why !== undefined) return { why };
  const child = new Deno.Command("unshare", {
    args: ["--net", Deno.execPath(), "run", "--frozen", "-A", "--no-check", fileURLToPath(program), ...Deno.args],
    env: { [INSIDE]: "1" },
    stdin: "null",
  }).spawn();
  return (await child.status).code;
}

async function whyNot(): Promise<string | undefined> {
  if (Deno.build.os !== "linux") return "the emulator needs Linux";
  if (Deno.uid() !== 0) return "the emulator needs root";
  for (const command of ["unshare", "ip"]) {
    try {
      await new Deno.Command(command, { args: ["--version"], stdout: "null", stderr: "null" }).output();
    } catch {
      return `the emulator needs the command ${command} (util-linux, iproute2)`;
    }
  }
  try {
    const { success } = await new Deno.Command("unshare", { args: ["--net", "true"], stderr: "null" }).output();
    if (!success) return "this system allows no network namespace";
    (await Deno.open("/dev/net/tun", { read: true, write: true })).close();
  } catch {
    return "there is no /dev/net/tun";
  }
}

/** The bad link, from where a bench stands. Perfect until it is told otherwise. */
export class BadPath {
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #output: ReadableStreamDefaultReader<string>;
  #rest = "";

  private constructor(child: Deno.ChildProcess) {
    this.#child = child;
    this.#input = child.stdin.getWriter();
    this.#output = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** Call it in the namespace. */
  static async open(seed = 1): Promise<BadPath> {
    const path = new BadPath(
      new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-check", fileURLToPath(new URL("./emulator.ts", import.meta.url)), String(seed)],
        stdin: "piped",
        stdout: "piped",
      }).spawn(),
    );
    if (await path.#line() !== "ready") throw new Error("Cannot start the emulator");
    return path;
  }

  /** From now on, in both directions. @returns Counters of the time before. */
  async setFaults(faults: Partial<Faults>): Promise<PathCounters> {
    return await this.#ask({ ...PERFECT, ...faults });
  }

  /**
   * Which congestion control the kernel gives to TCP connections that begin from now on, on either side; before that it is the
   * machine's default.
   *
   * @returns Whether this kernel has it and lets a namespace choose it (`net.ipv4.tcp_allowed_congestion_control`).
   */
  setTcp(congestionControl: string): boolean {
    try {
      // In the namespace only: its /proc/sys/net is its own.
      Deno.writeTextFileSync("/proc/sys/net/ipv4/tcp_congestion_control", congestionControl);
      return true;
    } catch {
      return false;
    }
  }

  /** Counters since the last time they were taken. */
  async takeCounters(): Promise<PathCounters> {
    return await this.#ask(null);
  }

  async close(): Promise<void> {
    await this.#input.close();
    await this.#child.status;
    await this.#output.cancel();
  }

  async #ask(question: Faults | null): Promise<PathCounters> {
    // JSON knows no infinity; so many bytes never wait.
    const json = JSON.stringify(question, (_, value) => value === Infinity ? Number.MAX_SAFE_INTEGER : value);
    await this.#input.write(new TextEncoder().encode(`${json}\n`));
    return JSON.parse(await this.#line());
  }

  async #line(): Promise<string> {
    while (!this.#rest.includes("\n")) {
      const { value } = await this.#output.read();
      if (value === undefined) throw new Error("The emulator has ended");
      this.#rest += value;
    }
    const end = this.#rest.indexOf("\n");
    const line = this.#rest.slice(0, end);
    this.#rest = this.#rest.slice(end + 1);
    return line;
  }
}

const INSIDE = "FASTCHAT_BENCH_NAMESPACE";
