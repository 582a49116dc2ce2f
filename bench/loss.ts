/**
 * How long does a message take over a bad network? 500 messages a second in 50 conversations, 20 ms one-way delay, at 0, 1, 5
 * and 20 % loss in each direction; 200-byte bodies, 100 clients, each with a connection of its own.
 *
 * Ours goes the whole way: `client/network/remote.ts`, a real server that writes every message to disk before it delivers it, a stream
 * for each conversation. The others go through a relay (`bench/relay`) that stores nothing and answers at once, and whose
 * clients answer too: that is generous to them, for packets that follow one another are how TCP finds out what was lost.
 *
 * All use the same path in the same run: the kernel's real sockets on a TUN device in a network namespace, with an emulator
 * behind it (`bench/netem`); needs Linux, root, util-linux and iproute2. Elsewhere ours alone is measured, through
 * `tests/relay.ts`.
 *
 * 10 s of warm-up without loss, then for each rate 2 s more and 20 s measured; latency is from the call to the partner's
 * callback, both in this process. Every message sent in the measured time is counted, however late it comes; `lost` is what had
 * not come 20 s later. Path bytes are those of IP packets in both directions, before loss, per message: a message passes the
 * path twice, and its acks too. `clientCopyBytesPerMessage` is what our clients sent twice before anybody knew of a loss; the
 * server sends about as much.
 *
 * `--seconds N` (20), `--rates 0,1,5,20` (percent), `--against NAME` (TLS/TCP; may be repeated), `--seed N`.
 */
import { parseArgs } from "node:util";
import type { Channel } from "../shared/net/mod.ts";
import type { MessageId } from "../shared/protocol/mod.ts";
import type { ConnectionStats } from "../shared/transport/mod.ts";
import { Relay } from "../tests/relay.ts";
import { connectUsers, type LoadUser, openDirect, startCluster } from "./load.ts";
import { SERVER, SERVER_FROM_AFAR } from "./netem/addresses.ts";
import { BadPath, runInNamespace } from "./netem/path.ts";
import { CARRIERS } from "./relay/carriers.ts";
import { greet } from "./relay/peer.ts";
import { ANSWER, startRelay } from "./relay/server.ts";
import { percentile, report, type Row } from "./report.ts";

const CLIENTS = 100;
const RATE = 500;
const BODY_BYTES = 200;
const DELAY_MS = 20;
/** Before the first figure: programs run slowly until their hot paths are compiled. */
const FIRST_WARM_UP_MS = 10_000;
const WARM_UP_MS = 2000;
const DRAIN_MS = 20_000;

/** A hundred clients in pairs; the partner of client `i` is client `i ^ 1`. */
interface Crowd {
  readonly subject: string;
  send(client: number, body: Uint8Array): void;
  /** @param body Borrowed. */
  onDelivered: (body: Uint8Array) => void;
  /** Bytes of second copies that all clients have sent so far, where there is such a thing. */
  copyBytes?(): number;
  close(): Promise<void>;
}

/** What makes the network bad. */
interface Path {
  /** @param loss From 0 to 1. */
  set(loss: number): Promise<void>;
  /** Bytes of IP packets since the last call; NaN where nobody counts them. */
  takeBytes(): Promise<number>;
  close(): Promise<void>;
}

async function ourCrowd(host: string, clientsHost: string): Promise<Crowd> {
  const cluster = await startCluster(1, { host });
  return await crowdOf(await connectUsers({ ...cluster, host: clientsHost }, CLIENTS), () => cluster.stop());
}

async function crowdOf(users: readonly LoadUser[], stop: () => Promise<void>): Promise<Crowd> {
  const directs = await Promise.all(users.map((user, client) => openDirect(user, users[client ^ 1]!)));
  let count = 0;
  const crowd: Crowd = {
    subject: "ours",
    send(client, body) {
      const { conversation, epoch } = directs[client]!;
      const messageId = (count++).toString(16).padStart(32, "0") as MessageId;
      users[client]!.remote.append({ conversation, messageId, expectedEpoch: epoch, body }).catch(() => {
        // It is not delivered then, and counted as lost.
      });
    },
    onDelivered: () => {},
    copyBytes: () => users.reduce((sum, { remote }) => sum + copyBytes(remote.channel), 0),
    async close() {
      for (const user of users) user.remote.close();
      await stop();
    },
  };
  for (const user of users) {
    user.onEvent = (event) => {
      if (event.type === "deliver") crowd.onDelivered(event.record.body);
    };
  }
  return crowd;
}

function copyBytes({ stats }: Channel): number {
  return (stats as Partial<ConnectionStats>).copyBytes ?? 0;
}

async function relayedCrowd(carrier: string): Promise<Crowd> {
  const relay = await startRelay(carrier, SERVER, ["--answers"]);
  const peers = await Promise.all(
    Array.from({ length: CLIENTS }, () => CARRIERS[carrier]!.dial(SERVER_FROM_AFAR, relay.contact)),
  );
  await Promise.all(peers.map((peer, client) => greet(peer, client >> 1)));
  const crowd: Crowd = {
    subject: carrier,
    send(client, body) {
      peers[client]!.send(body);
      peers[client]!.flush();
    },
    onDelivered: () => {},
    async close() {
      for (const peer of peers) peer.close();
      await relay.stop();
    },
  };
  for (const peer of peers) {
    peer.onMessage = (message) => {
      if (message[0] === ANSWER[0]) return;
      crowd.onDelivered(message);
      peer.send(ANSWER);
      peer.flush();
    };
  }
  return crowd;
}

/** Sends at a fixed rate and counts what comes. The sender and a number are in every body. */
class Run {
  readonly latencyMs: number[] = [];
  sent = 0;
  delivered = 0;
  duplicated = 0;
  reordered = 0;
  measuring = false;
  measured = 0;
  readonly #crowd: Crowd;
  readonly #sent: { atMs: number; isMeasured: boolean; isDelivered: boolean }[] = [];
  readonly #newest = new Int32Array(CLIENTS).fill(-1);
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(crowd: Crowd) {
    this.#crowd = crowd;
    crowd.onDelivered = (body) => this.#receive(body);
  }

  get missing(): number {
    return this.measured - this.latencyMs.length;
  }

  start(): void {
    const beginMs = performance.now();
    this.#timer = setInterval(() => {
      const due = (performance.now() - beginMs) * RATE / 1000;
      while (this.sent < due) this.#send();
    }, 1);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #send(): void {
    const number = this.sent++, client = number % CLIENTS;
    const body = new Uint8Array(BODY_BYTES);
    const view = new DataView(body.buffer);
    body[0] = 1;
    view.setUint32(4, number);
    view.setUint32(8, client);
    if (this.measuring) this.measured++;
    this.#sent.push({ atMs: performance.now(), isMeasured: this.measuring, isDelivered: false });
    this.#crowd.send(client, body);
  }

  #receive(body: Uint8Array): void {
    const view = new DataView(body.buffer, body.byteOffset);
    const number = view.getUint32(4), client = view.getUint32(8);
    const message = this.#sent[number]!;
    if (message.isDelivered) {
      this.duplicated++;
      return;
    }
    message.isDelivered = true;
    this.delivered++;
    if (number < this.#newest[client]!) this.reordered++;
    this.#newest[client] = number;
    if (message.isMeasured) this.latencyMs.push(performance.now() - message.atMs);
  }
}

/** The messages of a run whose figures nobody looks at. */
async function warmUp(crowd: Crowd): Promise<void> {
  const run = new Run(crowd);
  run.start();
  await sleep(FIRST_WARM_UP_MS);
  run.stop();
  while (run.delivered < run.sent) await sleep(20);
}

async function measure(crowd: Crowd, path: Path, loss: number, measuredMs: number): Promise<Row> {
  await path.set(loss);
  const run = new Run(crowd);
  run.start();
  await sleep(WARM_UP_MS);
  await path.takeBytes();
  const copyBytesBefore = crowd.copyBytes?.() ?? NaN;
  run.measuring = true;
  await sleep(measuredMs);
  run.measuring = false;
  const bytes = await path.takeBytes();
  const copyBytes = (crowd.copyBytes?.() ?? NaN) - copyBytesBefore;
  run.stop();
  const endMs = performance.now() + DRAIN_MS;
  while (run.delivered < run.sent && performance.now() < endMs) await sleep(20);
  return {
    bench: "loss",
    subject: crowd.subject,
    lossPercent: loss * 100,
    p50Ms: percentile(run.latencyMs, 0.5),
    p99Ms: percentile(run.latencyMs, 0.99),
    p999Ms: percentile(run.latencyMs, 0.999),
    maxMs: percentile(run.latencyMs, 1),
    sent: run.measured,
    lost: run.missing,
    duplicated: run.duplicated,
    reordered: run.reordered,
    ...(Number.isNaN(copyBytes) ? {} : { clientCopyBytesPerMessage: Math.round(copyBytes / run.measured) }),
    ...(Number.isNaN(bytes) ? {} : { pathBytesPerMessage: Math.round(bytes / run.measured) }),
  };
}

/** How much less ours waits than the others at the same loss. */
function withRatios(rows: readonly Row[]): Row[] {
  return rows.map((row) => {
    const ours = rows.find((other) => other.subject === "ours" && other["lossPercent"] === row["lossPercent"])!;
    return { ...row, oursToThisP99: Number(ours["p99Ms"]) / Number(row["p99Ms"]) };
  });
}

async function emulatedPath(seed: number): Promise<Path> {
  const path = await BadPath.open(seed);
  return {
    async set(loss) {
      await path.setFaults({ delayMs: DELAY_MS, loss });
    },
    async takeBytes() {
      const { up, down } = await path.takeCounters();
      return up.bytes + down.bytes;
    },
    close: () => path.close(),
  };
}

function relayedPath(relay: Relay): Path {
  return {
    set(loss) {
      for (const { faults } of [relay.up, relay.down]) {
        faults.delayMs = DELAY_MS;
        faults.loss = loss;
      }
      return Promise.resolve();
    },
    takeBytes: () => Promise.resolve(NaN),
    close: () => Promise.resolve(relay.close()),
  };
}

async function everyone(seed: number, against: readonly string[]): Promise<{ path: Path; crowds: Crowd[] }> {
  const path = await emulatedPath(seed);
  await path.set(0);
  const crowds = [await ourCrowd(SERVER, SERVER_FROM_AFAR)];
  for (const carrier of against) crowds.push(await relayedCrowd(carrier));
  return { path, crowds };
}

async function oursAlone(seed: number): Promise<{ path: Path; crowds: Crowd[] }> {
  const cluster = await startCluster(1);
  const relay = new Relay({ seed, delayMs: DELAY_MS, rewriteLocated: true });
  const users = await connectUsers({ ...cluster, ...relay.map(cluster.host, cluster.port) }, CLIENTS);
  return { path: relayedPath(relay), crowds: [await crowdOf(users, () => cluster.stop())] };
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

if (import.meta.main) {
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      seconds: { type: "string", default: "20" },
      rates: { type: "string", default: "0,1,5,20" },
      against: { type: "string", multiple: true, default: ["TLS/TCP, a write each"] },
      seed: { type: "string", default: "1" },
      json: { type: "boolean" },
    },
  });
  const namespace = await runInNamespace(import.meta.url);
  if (typeof namespace === "number") Deno.exit(namespace);
  if (namespace !== "inside") {
    console.error(`Ours alone, through tests/relay.ts: ${namespace.why}.`);
  }
  const seed = Number(values.seed);
  const { path, crowds } = namespace === "inside" ? await everyone(seed, values.against) : await oursAlone(seed);
  for (const crowd of crowds) await warmUp(crowd);
  const rows: Row[] = [];
  for (const rate of values.rates.split(",")) {
    for (const crowd of crowds) {
      rows.push(await measure(crowd, path, Number(rate) / 100, Number(values.seconds) * 1000));
    }
  }
  report(withRatios(rows));
  await path.set(0);
  for (const crowd of crowds) await crowd.close();
  await path.close();
  Deno.exit(0);
}
