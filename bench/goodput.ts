/**
 * How much of a link does a transfer use, and do two transfers share it? 20 MB from a client to a server over a bottleneck of
 * 20 and of 100 Mbit/s with 20 ms one-way delay, at 0, 1 and 5 % loss in each direction, with each of our congestion
 * controllers, and for comparison over TLS on the kernel's TCP (CUBIC, Reno and BBR, as far as the machine lets a namespace choose) and over Deno's QUIC
 * (quinn's CUBIC).
 *
 * The bottleneck holds one bandwidth-delay product (rate times 40 ms). Goodput is what the server's application has, over the
 * time since the client began to send on a connection that was there; a transfer that takes longer than 20 s is stopped and
 * counts with what has come by then. `ofRate` is goodput over the bottleneck's rate; headers are part of that rate, so that 0.93
 * is all that datagrams of 1,200 bytes can have.
 *
 * Fairness: two clients over the bottleneck of 20 Mbit/s without loss, the second begins 3 s after the first; what each has
 * moved from second 5 to second 20 gives Jain's index (1 = equal shares, 0.5 = one has all).
 *
 * The path is that of `bench loss`: real sockets, TUN, emulator; needs Linux, root, util-linux and iproute2.
 *
 * `--mbytes N` (20), `--seconds N` (20), `--rates 20,100` (Mbit/s), `--losses 0,1,5` (percent), `--only NAME`, `--seed N`.
 */
import { parseArgs } from "node:util";
import { Cubic, Illinois, NewReno } from "../shared/transport/mod.ts";
import { SERVER, SERVER_FROM_AFAR } from "./netem/addresses.ts";
import { BadPath, runInNamespace } from "./netem/path.ts";
import { CARRIERS } from "./relay/carriers.ts";
import { ourCarrier } from "./relay/ours.ts";
import type { Carrier, Peer } from "./relay/peer.ts";
import type { ServerProcess } from "./relay/process.ts";
import { type Progress, startSink } from "./relay/sink.ts";
import { report, type Row } from "./report.ts";

const DELAY_MS = 20;
const MESSAGE = new Uint8Array(16 << 10).fill(1);
/** Handed to a transport and not yet arrived: far more than the path and its queue hold. */
const AHEAD_BYTES = 4 << 20;
const FAIR_RATE_MBIT = 20;
const FAIR_LATER_MS = 3000;
const FAIR_FROM_MS = 5000;
const FAIR_TO_MS = 20_000;

/** Who sends, and to which kind of sink. */
interface Subject {
  readonly carrier: Carrier;
  readonly sink: string;
  /** The kernel's congestion control, for TCP. */
  readonly tcp?: string;
}

const SUBJECTS: Readonly<Record<string, Subject>> = {
  "ours, NewReno": { carrier: ourCarrier(() => new NewReno()), sink: "ours" },
  "ours, CUBIC": { carrier: ourCarrier(() => new Cubic()), sink: "ours" },
  "ours, Illinois": { carrier: ourCarrier(() => new Illinois()), sink: "ours" },
  "TLS/TCP, CUBIC": { ...over("TLS/TCP, a write each"), tcp: "cubic" },
  "TLS/TCP, Reno": { ...over("TLS/TCP, a write each"), tcp: "reno" },
  "TLS/TCP, BBR": { ...over("TLS/TCP, a write each"), tcp: "bbr" },
  "QUIC, CUBIC": over("QUIC, a write each"),
};

function over(name: string): Subject {
  return { carrier: CARRIERS[name]!, sink: name };
}

/** A sink and what has reached it. */
class Target {
  readonly #server: ServerProcess;
  #progress: Progress = {};
  onProgress: () => void = () => {};

  private constructor(server: ServerProcess) {
    this.#server = server;
    void (async () => {
      for (let line = await server.line(); line !== undefined; line = await server.line()) {
        this.#progress = JSON.parse(line);
        this.onProgress();
      }
    })();
  }

  static async start(carrier: string): Promise<Target> {
    return new Target(await startSink(carrier, SERVER));
  }

  /** @returns Bytes that have come from the client, and when the last of them did. */
  received(client: number): { bytes: number; atMs: number } {
    return this.#progress[client] ?? { bytes: 0, atMs: NaN };
  }

  /** Connects a client and waits until the sink knows it. */
  async greet({ carrier }: Subject, client: number): Promise<Peer> {
    const peer = await carrier.dial(SERVER_FROM_AFAR, this.#server.contact);
    peer.send(Uint8Array.of(client));
    peer.flush();
    while (this.#progress[client] === undefined) await sleep(5);
    return peer;
  }

  stop(): Promise<void> {
    return this.#server.stop();
  }
}

/** A client that sends as much as it can. */
class Sender {
  readonly #target: Target;
  readonly #peer: Peer;
  readonly #client: number;
  readonly #totalBytes: number;
  #sentBytes = 0;

  constructor(target: Target, peer: Peer, client: number, totalBytes = Infinity) {
    this.#target = target;
    this.#peer = peer;
    this.#client = client;
    this.#totalBytes = totalBytes;
  }

  /** Sends on until enough is on its way; to be called at each progress. */
  feed(): void {
    const received = this.#target.received(this.#client).bytes;
    while (this.#sentBytes < this.#totalBytes && this.#sentBytes - received < AHEAD_BYTES) {
      this.#peer.send(MESSAGE);
      this.#sentBytes += MESSAGE.length;
    }
    this.#peer.flush();
  }
}

interface Transfer {
  readonly name: string;
  readonly rateMbit: number;
  readonly loss: number;
  readonly bytes: number;
  readonly capMs: number;
}

async function transfer(path: BadPath, { name, rateMbit, loss, bytes, capMs }: Transfer): Promise<Row> {
  const subject = SUBJECTS[name]!;
  const link = { delayMs: DELAY_MS, ...bottleneck(rateMbit) };
  await path.setFaults(link);
  if (subject.tcp) path.setTcp(subject.tcp);
  const target = await Target.start(subject.sink);
  const peer = await target.greet(subject, 0);
  await path.setFaults({ ...link, loss });
  const sender = new Sender(target, peer, 0, bytes);
  const beginMs = now();
  target.onProgress = () => sender.feed();
  sender.feed();
  while (target.received(0).bytes < bytes && now() - beginMs < capMs) await sleep(5);
  const received = target.received(0);
  const isWhole = received.bytes >= bytes;
  const seconds = ((isWhole ? received.atMs : now()) - beginMs) / 1000;
  const { up } = await path.setFaults({});
  peer.close();
  await target.stop();
  const goodputMbit = received.bytes * 8 / seconds / 1e6;
  return {
    bench: "goodput",
    subject: name,
    rateMbit,
    lossPercent: loss * 100,
    goodputMbit,
    ofRate: goodputMbit / rateMbit,
    seconds,
    movedMB: received.bytes / 1e6,
    lostPackets: up.lost,
    queueDrops: up.overflowed,
  };
}

async function fairness(path: BadPath, names: readonly [string, string]): Promise<Row> {
  await path.setFaults({ delayMs: DELAY_MS, ...bottleneck(FAIR_RATE_MBIT) });
  const targets: Target[] = [], peers: Peer[] = [];
  for (const [client, name] of names.entries()) {
    const subject = SUBJECTS[name]!;
    if (subject.tcp) path.setTcp(subject.tcp);
    const target = await Target.start(subject.sink);
    targets.push(target);
    peers.push(await target.greet(subject, client));
  }
  const beginMs = now();
  const moved: number[][] = [];
  for (const client of [0, 1]) {
    await sleep(Math.max(0, beginMs + client * FAIR_LATER_MS - now()));
    const sender = new Sender(targets[client]!, peers[client]!, client);
    targets[client]!.onProgress = () => sender.feed();
    sender.feed();
  }
  for (const atMs of [FAIR_FROM_MS, FAIR_TO_MS]) {
    await sleep(beginMs + atMs - now());
    moved.push(targets.map((target, client) => target.received(client).bytes));
  }
  await path.setFaults({});
  for (const peer of peers) peer.close();
  for (const target of targets) await target.stop();
  const [first, second] = [0, 1].map((client) => moved[1]![client]! - moved[0]![client]!) as [number, number];
  const mbit = 8 / 1e6 / ((FAIR_TO_MS - FAIR_FROM_MS) / 1000);
  return {
    bench: "goodput",
    subject: names.join(" and "),
    rateMbit: FAIR_RATE_MBIT,
    firstMbit: first * mbit,
    secondMbit: second * mbit,
    jain: (first + second) ** 2 / (2 * (first ** 2 + second ** 2)),
  };
}

/** A bottleneck whose queue holds one bandwidth-delay product. */
function bottleneck(rateMbit: number): { rateBits: number; queueBytes: number } {
  return { rateBits: rateMbit * 1e6, queueBytes: rateMbit * 1e6 / 8 * 2 * DELAY_MS / 1000 };
}

/** Unix milliseconds, as the sink's. */
function now(): number {
  return performance.timeOrigin + performance.now();
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

if (import.meta.main) {
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      mbytes: { ...text, default: "20" },
      seconds: { ...text, default: "20" },
      rates: { ...text, default: "20,100" },
      losses: { ...text, default: "0,1,5" },
      only: text,
      seed: { ...text, default: "1" },
      json: { type: "boolean" },
    },
  });
  const namespace = await runInNamespace(import.meta.url);
  if (typeof namespace === "number") Deno.exit(namespace);
  if (namespace !== "inside") {
    console.error(`Cannot measure goodput here: ${namespace.why}.`);
    Deno.exit(1);
  }
  const path = await BadPath.open(Number(values.seed));
  const names = Object.keys(SUBJECTS).filter((name) => {
    const { tcp } = SUBJECTS[name]!;
    return (values.only ?? name) === name && (tcp === undefined || path.setTcp(tcp));
  });
  const transfers: Row[] = [], shares: Row[] = [];
  for (const rateMbit of values.rates.split(",").map(Number)) {
    for (const loss of values.losses.split(",").map((percent) => Number(percent) / 100)) {
      for (const name of names) {
        const bytes = Number(values.mbytes) * 1e6, capMs = Number(values.seconds) * 1000;
        transfers.push(await transfer(path, { name, rateMbit, loss, bytes, capMs }));
      }
    }
  }
  report(transfers);
  for (const name of names) {
    shares.push(await fairness(path, [name, name]));
    if (!name.startsWith("ours")) continue;
    const tcp = names.find((other) => SUBJECTS[other]!.tcp);
    if (tcp !== undefined) shares.push(await fairness(path, [name, tcp]));
  }
  console.log();
  report(shares);
  await path.close();
  Deno.exit(0);
}
