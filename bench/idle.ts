/**
 * What does a client cost that is connected and says nothing? Resident memory of the server's process with nobody, 100 and 2,000
 * clients, and the CPU of their keep-alives.
 *
 * One server; people and their sessions are in its store beforehand (population.ts), so that no bcrypt worker was ever started
 * for them. Clients come through `client/network/remote.ts`, log in with their session and subscribe, in processes of their own.
 * Memory a client is what the process has grown since nobody was there, over the clients, two minutes after the last came: V8
 * gives back what a rush of log-ins took once it was quiet for a while, and what it still keeps then counts as ours.
 * `kibPerFurtherClient` is the growth from the row above. How often a client asks for a sign of life the server tells it
 * (PROTOCOL §5); CPU a keep-alive is all the server uses while nobody speaks, over the
 * datagrams that came meanwhile, and `roundCpuMs` that times the clients: one keep-alive of each.
 *
 * `--clients 100,2000` and `--seconds N` (10) choose.
 */
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { dataPaths } from "../shared/cluster/mod.ts";
import { callControl } from "../shared/host/mod.ts";
import { type BenchCluster, type Doorway, startCluster } from "./load.ts";
import { connectInhabitants, populate } from "./population.ts";
import { report, type Row } from "./report.ts";
import { cpuUsOf, memoryKiBOf, pause } from "./workload.ts";

/** A process full of clients, until it is told to end. */
class Crowd {
  readonly #process: Deno.ChildProcess;

  private constructor(process: Deno.ChildProcess) {
    this.#process = process;
  }

  /** Returns when all are connected. */
  static async connect({ port, fingerprint }: Doorway, from: number, to: number): Promise<Crowd> {
    const process = new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "--frozen", "-A", "--no-check", fileURLToPath(import.meta.url)],
        ...["--hold", `${from}-${to}`, "--port", String(port), "--key", fingerprint.toHex()],
      ],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const first = await process.stdout.getReader().read();
    if (first.done) throw new Error("Clients could not connect");
    return new Crowd(process);
  }

  async end(): Promise<void> {
    this.#process.kill("SIGTERM");
    await this.#process.status;
  }
}

/** The process of a {@linkcode Crowd}. */
async function hold(range: string, port: number, key: string): Promise<never> {
  const [from, to] = range.split("-").map(Number);
  await connectInhabitants({ host: "127.0.0.1", port, fingerprint: Uint8Array.fromHex(key) }, from!, to!);
  console.log("connected");
  for (;;) await pause(60_000);
}

async function measure(cluster: BenchCluster, clients: number, before: readonly Row[], ms: number): Promise<Row> {
  await pause(SETTLE_MS);
  const received = async () => {
    const { counters } = await callControl(dataPaths(cluster.dataDir).server(0).socket, { command: "status" });
    return (counters as Record<string, number>)["datagramsReceived"]!;
  };
  const subject = { name: "1 server", pids: cluster.pids };
  const count = await received(), cpuUs = cpuUsOf(subject), beginMs = performance.now();
  await pause(ms);
  const usedUs = cpuUsOf(subject) - cpuUs, seconds = (performance.now() - beginMs) / 1000;
  const keepAlives = await received() - count, kib = memoryKiBOf(subject);
  const row: Row = {
    bench: "idle",
    subject: clients === 0 ? "nobody" : `${clients} clients`,
    serverMiB: kib / 1024,
    serverCpuPercent: usedUs / seconds / 10_000,
  };
  if (clients === 0) return row;
  const last = before.at(-1)!, lastClients = parseInt(last.subject) || 0;
  const cpuUsEach = usedUs / keepAlives;
  return {
    ...row,
    kibPerClient: (kib - Number(before[0]!["serverMiB"]) * 1024) / clients,
    kibPerFurtherClient: (kib - Number(last["serverMiB"]) * 1024) / (clients - lastClients),
    keepAlivesPerS: keepAlives / seconds,
    cpuUsPerKeepAlive: cpuUsEach,
    roundCpuMs: cpuUsEach * clients / 1000,
  };
}

const SETTLE_MS = 120_000;
/** Clients of one process: each has two of its 512 packet buffers, and where there are none some are silent until they are forgotten. */
const CROWD = 200;

if (import.meta.main) {
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      clients: { ...text, default: "100,2000" },
      seconds: { ...text, default: "10" },
      hold: text,
      port: text,
      key: text,
      json: { type: "boolean" },
    },
  });
  if (values.hold !== undefined) await hold(values.hold, Number(values.port), values.key!);
  const counts = values.clients.split(",").map(Number).sort((a, b) => a - b), ms = Number(values.seconds) * 1000;
  const cluster = await startCluster(1, { prepare: (dataDir) => populate(dataDir, { users: counts.at(-1)! }) });
  const crowds: Crowd[] = [];
  try {
    const rows: Row[] = [await measure(cluster, 0, [], ms)];
    let connected = 0;
    for (const count of counts) {
      while (connected < count) {
        const to = Math.min(count, connected + CROWD);
        crowds.push(await Crowd.connect(cluster, connected, to));
        connected = to;
      }
      rows.push(await measure(cluster, count, rows, ms));
    }
    report(rows);
    console.error(`Load average of the last minute: ${Deno.loadavg()[0]!.toFixed(1)}`);
  } finally {
    await Promise.all(crowds.map((crowd) => crowd.end()));
    await cluster.stop();
  }
  Deno.exit(0);
}
