/**
 * What does relaying a 200-byte message cost a server: over our transport, over Deno's own QUIC, and over TLS on TCP?
 *
 * One server process that hands each message to the sender's partner, and one process with pairs of clients over loopback.
 * Each sender keeps one burst outstanding: 1, 4 or 16 messages sent in one turn of the event loop, and sends the next when
 * the last has arrived. Up to five of ours share a datagram of 1,200 bytes; QUIC's datagrams grow to 1,452 on loopback. Ours
 * gathers by itself what one turn sends; over QUIC and TLS every message is a write of its own, as a program that just sends
 * does it, or all that arrived in one read is written together, which no program with a hundred conversations can do as well.
 * Server CPU is user and system time of its process (10 ms ticks) over the measured window, divided by the messages
 * delivered in it; `oursToThis` is ours divided by that of the row, from the same run.
 *
 * `20x4` measures bursts of 4 of 20 pairs only; `--only ours` one transport; `--seconds N` (2.5); `--profile` runs the server
 * under V8's profiler.
 */
import { parseArgs } from "node:util";
import { CARRIERS } from "./relay/carriers.ts";
import { greet, type Peer } from "./relay/peer.ts";
import { startRelay } from "./relay/server.ts";
import { processCpuUs, processMemoryKiB, report, type Row } from "./report.ts";

const MESSAGE_BYTES = 200;
const WARM_MS = 700;
const BURSTS = [1, 4, 16];
const PAIRS = [1, 20];

/** A sender and a receiver: counts what arrives, sends the next burst when the last one has. */
class Pair {
  delivered = 0;
  readonly #sender: Peer;
  readonly #receiver: Peer;
  readonly #burst: number;
  readonly #message = new Uint8Array(MESSAGE_BYTES).fill(1);
  #outstanding = 0;

  constructor(sender: Peer, receiver: Peer, burst: number) {
    this.#sender = sender;
    this.#receiver = receiver;
    this.#burst = burst;
  }

  start(): void {
    this.#receiver.onMessage = () => {
      this.delivered++;
      if (--this.#outstanding === 0) this.#send();
    };
    this.#send();
  }

  stop(): void {
    this.#receiver.onMessage = () => {};
    this.#sender.close();
    this.#receiver.close();
  }

  #send(): void {
    this.#outstanding = this.#burst;
    for (let i = 0; i < this.#burst; i++) this.#sender.send(this.#message);
    this.#sender.flush();
  }
}

interface Job {
  readonly carrier: string;
  readonly pairCount: number;
  readonly burst: number;
  readonly measuredMs: number;
  readonly profile: boolean;
}

async function measure({ carrier, pairCount, burst, measuredMs, profile }: Job): Promise<Row> {
  const relay = await startRelay(carrier, HOST, profile ? ["--profile"] : []);
  const pairs: Pair[] = [];
  try {
    const dial = () => CARRIERS[carrier]!.dial(HOST, relay.contact);
    for (let i = 0; i < pairCount; i++) {
      const sender = await dial(), receiver = await dial();
      await Promise.all([greet(sender, i), greet(receiver, i)]);
      pairs.push(new Pair(sender, receiver, burst));
    }
    for (const pair of pairs) pair.start();
    const count = () => pairs.reduce((sum, pair) => sum + pair.delivered, 0);
    await sleep(WARM_MS);
    const before = { cpuUs: processCpuUs(relay.pid) ?? NaN, count: count(), atMs: performance.now() };
    await sleep(measuredMs);
    const messages = count() - before.count;
    return {
      bench: "transport",
      subject: `${pairCount} pair${pairCount > 1 ? "s" : ""}, bursts of ${burst}`,
      transport: carrier,
      messagesPerSecond: Math.round(messages / (performance.now() - before.atMs) * 1000),
      serverCpuUsPerMessage: ((processCpuUs(relay.pid) ?? NaN) - before.cpuUs) / messages,
      serverMemoryMiB: (processMemoryKiB(relay.pid) ?? NaN) / 1024,
    };
  } finally {
    for (const pair of pairs) pair.stop();
    await relay.stop();
  }
}

function withRatios(rows: readonly Row[]): Row[] {
  const ours = rows.find(({ transport }) => transport === "ours")?.["serverCpuUsPerMessage"];
  if (ours === undefined) return [...rows];
  return rows.map((row) => ({ ...row, oursToThis: Number(ours) / Number(row["serverCpuUsPerMessage"]) }));
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

const HOST = "127.0.0.1";

if (import.meta.main) {
  const { values, positionals } = parseArgs({
    args: Deno.args,
    allowPositionals: true,
    options: {
      only: { type: "string" },
      seconds: { type: "string", default: "2.5" },
      profile: { type: "boolean", default: false },
      json: { type: "boolean" },
    },
  });
  const shape = positionals[0]?.split("x").map(Number);
  const carriers = values.only === undefined ? Object.keys(CARRIERS) : [values.only];
  const rows: Row[] = [];
  for (const pairCount of shape ? [shape[0]!] : PAIRS) {
    for (const burst of shape ? [shape[1]!] : BURSTS) {
      const together: Row[] = [];
      for (const carrier of carriers) {
        // One message outstanding is one write either way.
        if (burst === 1 && carrier.endsWith("together") && values.only === undefined) continue;
        const measuredMs = Number(values.seconds) * 1000;
        together.push(await measure({ carrier, pairCount, burst, measuredMs, profile: values.profile }));
      }
      rows.push(...withRatios(together));
    }
  }
  report(rows);
  Deno.exit(0);
}
