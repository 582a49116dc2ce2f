/**
 * What does a direct message cost the servers, and how long does it take? The workload dm200: 100 clients in 50 pairs, each
 * sends 200-byte bodies to its partner, every message stored with `synchronous=FULL` before it is acknowledged.
 *
 * `max`: 16 messages of each client outstanding (sent, not yet received by the partner). `500/s`: that rate in all. 2 s of
 * warm-up, 10 s measured; every message is counted. Server CPU is user and system time of all server processes divided by
 * the messages delivered meanwhile; latency is from the call to the partner's callback, both in this process. Load generator
 * and servers share the machine.
 *
 * `--servers N` (1), `--clients N` (100), `--seconds N` (10), `--rates max,500` choose.
 */
import { parseArgs } from "node:util";
import type { ConversationId, MessageId } from "../shared/protocol/mod.ts";
import { type BenchCluster, connectUsers, type LoadUser, openDirect, startCluster } from "./load.ts";
import { percentile, processMemoryKiB, report, type Row } from "./report.ts";

const BODY_BYTES = 200;
const WINDOW = 16;
const WARM_UP_MS = 2000;
const DRAIN_MS = 15_000;

export interface Lane {
  readonly user: LoadUser;
  readonly conversation: ConversationId;
  readonly epoch: number;
  sent: number;
  readonly sentMs: Map<number, number>;
}

/** Counts of one run; messages are numbered per sender in their bodies. */
class Run {
  readonly latencyMs: number[] = [];
  readonly #lanes: readonly Lane[];
  readonly #window: boolean;
  #seen = new Set<number>();
  sent = 0;
  delivered = 0;
  duplicated = 0;
  reordered = 0;
  refused = 0;
  measuring = false;
  measured = 0;
  stopped = false;
  readonly #last: number[];

  constructor(lanes: readonly Lane[], window: boolean) {
    this.#lanes = lanes;
    this.#window = window;
    this.#last = lanes.map(() => -1);
    for (const [index, lane] of lanes.entries()) {
      lane.user.onEvent = (event) => {
        if (event.type === "deliver") this.#receive(index ^ 1, event.record.body);
      };
    }
  }

  send(index: number): void {
    const lane = this.#lanes[index]!;
    const number = lane.sent++;
    const body = new Uint8Array(BODY_BYTES);
    body[0] = 1;
    new DataView(body.buffer).setUint32(4, number);
    lane.sentMs.set(number, performance.now());
    this.sent++;
    lane.user.remote.append({
      conversation: lane.conversation,
      messageId: messageId(index, number),
      expectedEpoch: lane.epoch,
      body,
    }).catch(() => this.refused++);
  }

  #receive(sender: number, body: Uint8Array): void {
    const number = new DataView(body.buffer, body.byteOffset).getUint32(4);
    const lane = this.#lanes[sender]!;
    const at = lane.sentMs.get(number);
    const key = sender * 2 ** 32 + number;
    if (at === undefined || this.#seen.has(key)) {
      this.duplicated++;
      return;
    }
    this.#seen.add(key);
    if (number <= this.#last[sender]!) this.reordered++;
    this.#last[sender] = number;
    this.delivered++;
    if (this.measuring) {
      this.measured++;
      this.latencyMs.push(performance.now() - at);
    }
    if (this.#window && !this.stopped) this.send(sender);
  }
}

/** Runs the workload for a while on lanes that are there. */
export async function measure(
  cluster: BenchCluster,
  lanes: readonly Lane[],
  rate: number | "max",
  ms: number,
): Promise<Row> {
  const run = new Run(lanes, rate === "max");
  const stopSending = rate === "max" ? fillWindows(run, lanes) : sendAtRate(run, lanes, rate);
  await pause(WARM_UP_MS);
  const cpuBegin = cluster.cpuUs(), begin = performance.now();
  run.measuring = true;
  await pause(ms);
  run.measuring = false;
  const cpuUs = cluster.cpuUs() - cpuBegin, seconds = (performance.now() - begin) / 1000;
  run.stopped = true;
  stopSending();
  const drainEnd = performance.now() + DRAIN_MS;
  while (run.delivered < run.sent && performance.now() < drainEnd) await pause(20);
  return {
    bench: "dm",
    subject: `${cluster.pids.length} server${cluster.pids.length > 1 ? "s" : ""}, ${
      rate === "max" ? "max" : `${rate}/s`
    }`,
    deliveredPerS: Math.round(run.measured / seconds),
    serverCpuUsPerMessage: cpuUs / run.measured,
    p50Ms: percentile(run.latencyMs, 0.5),
    p99Ms: percentile(run.latencyMs, 0.99),
    sent: run.sent,
    lost: run.sent - run.delivered,
    duplicated: run.duplicated,
    reordered: run.reordered,
    refused: run.refused,
    serverMiB: cluster.pids.reduce((sum, pid) => sum + (processMemoryKiB(pid) ?? NaN), 0) / 1024,
  };
}

function fillWindows(run: Run, lanes: readonly Lane[]): () => void {
  for (let index = 0; index < lanes.length; index++) {
    for (let i = 0; i < WINDOW; i++) run.send(index);
  }
  return () => {};
}

function sendAtRate(run: Run, lanes: readonly Lane[], rate: number): () => void {
  const begin = performance.now();
  let sent = 0;
  const timer = setInterval(() => {
    const due = (performance.now() - begin) * rate / 1000;
    for (; sent < due; sent++) run.send(sent % lanes.length);
  }, 1);
  return () => clearInterval(timer);
}

/** Neighbours talk to one another. */
export async function pairUp(users: readonly LoadUser[]): Promise<Lane[]> {
  const lanes: Lane[] = [];
  for (const [index, user] of users.entries()) {
    lanes.push({ user, ...await openDirect(user, users[index ^ 1]!), sent: 0, sentMs: new Map() });
  }
  return lanes;
}

function messageId(sender: number, number: number): MessageId {
  return (sender.toString(16).padStart(16, "0") + number.toString(16).padStart(16, "0")) as MessageId;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

if (import.meta.main) {
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      servers: { type: "string", default: "1" },
      clients: { type: "string", default: "100" },
      seconds: { type: "string", default: "10" },
      rates: { type: "string", default: "max,500" },
      json: { type: "boolean" },
    },
  });
  const cluster = await startCluster(Number(values.servers));
  try {
    const users = await connectUsers(cluster, Number(values.clients) & ~1);
    const lanes = await pairUp(users);
    const rows: Row[] = [];
    for (const rate of values.rates.split(",")) {
      rows.push(await measure(cluster, lanes, rate === "max" ? "max" : Number(rate), Number(values.seconds) * 1000));
    }
    report(rows);
    for (const user of users) user.remote.close();
  } finally {
    await cluster.stop();
  }
  Deno.exit(0);
}
