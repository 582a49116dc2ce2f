/**
 * A balancer with its servers that can be killed one by one, as processes. The servers are the balancer's to start; the
 * balancer is ours. Knows which pids it killed itself, so that any other end can be told.
 */
import { isPortFree } from "../../balancer/ports.ts";
import { dataPaths, parseServerStatus, type ServerStatus } from "../../shared/cluster/mod.ts";
import { callControl } from "../../shared/host/mod.ts";
import { alive, lines, runArguments, TEST_ENV } from "../e2e/harness.ts";

export interface ClusterOptions {
  readonly servers: number;
  /** Absolute. */
  readonly dataDir: string;
  onDeath(what: string): void;
}

export class ChaosCluster {
  readonly port: number;
  readonly #options: ClusterOptions;
  /** Every server that ever answered, by pid. */
  readonly #seen = new Map<number, ServerStatus>();
  readonly #ended = new Set<number>();
  #balancer: Balancer | undefined;
  #stopping = false;
  #watching: Promise<void> | undefined;

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.port = freePorts(options.servers + 1);
  }

  /** Resolves when every server answers. */
  async start(): Promise<void> {
    await this.startBalancer();
    this.#watching = this.#watch();
  }

  /** Resolves when it is ready, or was killed before. */
  async startBalancer(): Promise<void> {
    const { servers, dataDir, onDeath } = this.#options;
    const balancer = this.#balancer = new Balancer([
      String(servers),
      String(this.port),
      "--host",
      "127.0.0.1",
      "--data",
      dataDir,
      // People come back many at a time, from one address.
      "--handshake-rate",
      "1000",
      "--handshake-burst",
      "1000",
    ], (how) => this.#stopping || onDeath(`The balancer ended by itself: ${how}`));
    await balancer.ready;
  }

  get hasBalancer(): boolean {
    return this.#balancer !== undefined && !this.#balancer.isOver;
  }

  async killBalancer(): Promise<number> {
    const balancer = this.#balancer!;
    await balancer.kill();
    return balancer.pid;
  }

  /** Servers that answer now. */
  async servers(): Promise<ServerStatus[]> {
    const answers = await Promise.all(Array.from({ length: this.#options.servers }, (_, number) => this.#ask(number)));
    return answers.filter((status) => status !== undefined);
  }

  /** @param status One of those that answered. */
  killServer({ pid }: ServerStatus): void {
    this.#ended.add(pid);
    Deno.kill(pid, "SIGKILL");
  }

  /** Those that have answered that they are ready, and that nobody has killed. */
  get serving(): ServerStatus[] {
    return [...this.#seen].filter(([pid]) => !this.#ended.has(pid)).map(([, status]) => status);
  }

  /** The ports of all servers that ever were. */
  get ports(): number[] {
    return [...new Set([...this.#seen.values()].map(({ port }) => port))];
  }

  /** Lets the servers end well where a balancer can ask them to; whatever is left is killed. */
  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#lookForDead();
    this.#stopping = true;
    await this.#watching;
    // What was started a moment ago and has not answered us yet.
    await this.servers().catch(() => {});
    await this.#balancer?.stop();
    for (const [pid, status] of this.#seen) {
      if (alive(pid) && await this.#isOurs(pid, status)) Deno.kill(pid, "SIGKILL");
    }
  }

  async #ask(number: number): Promise<ServerStatus | undefined> {
    const { socket } = dataPaths(this.#options.dataDir).server(number);
    try {
      const status = parseServerStatus(await callControl(socket, { command: "status" }, ASK_MS_MAX));
      if (status === undefined || !alive(status.pid)) return undefined;
      if (status.ready) this.#seen.set(status.pid, status);
      return status;
    } catch {
      return undefined;
    }
  }

  async #watch(): Promise<void> {
    while (!this.#stopping) {
      await this.servers();
      this.#lookForDead();
      await new Promise((resolve) => setTimeout(resolve, WATCH_MS));
    }
  }

  #lookForDead(): void {
    if (this.#stopping) return;
    for (const [pid, { number }] of this.#seen) {
      if (this.#ended.has(pid) || alive(pid)) continue;
      this.#ended.add(pid);
      this.#options.onDeath(`Server ${number}, pid ${pid}, ended though nobody killed it`);
    }
  }

  /** A pid may be somebody else's by now. */
  async #isOurs(pid: number, { number }: ServerStatus): Promise<boolean> {
    if (Deno.build.os !== "linux") return (await this.#ask(number))?.pid === pid;
    try {
      return (await Deno.readTextFile(`/proc/${pid}/cmdline`)).split("\0").includes(this.#options.dataDir);
    } catch {
      return false;
    }
  }
}

/** One process of the balancer. */
class Balancer {
  readonly pid: number;
  /** Resolves at its ready line, or at its end. */
  readonly ready: Promise<void>;
  isOver = false;
  readonly #child: Deno.ChildProcess;
  readonly #output: Promise<unknown>;
  #asked = false;

  constructor(args: readonly string[], onDeath: (how: string) => void) {
    const child = this.#child = new Deno.Command(Deno.execPath(), {
      args: [...runArguments("balancer"), ...args],
      env: TEST_ENV,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.pid = child.pid;
    const said = new Response(child.stderr).text(), ready = Promise.withResolvers<void>();
    this.ready = ready.promise;
    const reading = (async () => {
      for await (const line of lines(child.stdout)) if (line.startsWith("ready ")) ready.resolve();
    })();
    this.#output = Promise.all([said, reading]);
    void child.status.then(async ({ code, signal }) => {
      this.isOver = true;
      if (!this.#asked) onDeath(`${signal ?? code}, ${await said}`);
      ready.resolve();
    });
  }

  async kill(): Promise<void> {
    this.#asked = true;
    if (!this.isOver) this.#child.kill("SIGKILL");
    await this.#end();
  }

  /** Asks it to stop with its servers; insists after a while. */
  async stop(): Promise<void> {
    this.#asked = true;
    if (!this.isOver) this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.isOver || this.#child.kill("SIGKILL"), STOP_MS_MAX);
    await this.#end();
    clearTimeout(timer);
  }

  async #end(): Promise<void> {
    await this.#child.status;
    await this.#output;
  }
}

/** The first of so many neighbours, outside the ranges from which systems hand out ports: nobody takes one while its server is dead. */
function freePorts(count: number): number {
  for (let attempt = 0; attempt < 100; attempt++) {
    const first = 10_000 + Math.floor(Math.random() * 20_000);
    const ports = Array.from({ length: count }, (_, at) => first + at);
    if (ports.every((port) => isPortFree("127.0.0.1", port))) return first;
  }
  throw new Error("Cannot find free UDP ports");
}

const WATCH_MS = 200;
const ASK_MS_MAX = 1_000;
const STOP_MS_MAX = 20_000;
