/**
 * What does relaying a 200-byte message cost a server: over our transport, over Deno's own QUIC, and over TLS on TCP?
 *
 * One server process that hands each message to the sender's partner, and one process with pairs of clients over loopback.
 * Each sender keeps one burst outstanding: 1, 4 or 16 messages sent in one turn of the event loop, and sends the next when
 * the last has arrived. Up to five of ours share a datagram of 1,200 bytes; QUIC's datagrams grow to 1,452 on loopback. Ours
 * gathers by itself what one turn sends; over QUIC and TLS every message is a write of its own, as a program that just sends
 * does it, or all that arrived in one read is written together, which no program with a hundred conversations can do as well.
 * Server CPU is user and system time of its process (10 ms ticks) over the measured window, divided by the messages
 * delivered in it, and of `--rounds` (3), in which the transports take turns, the median: where a process sleeps between
 * messages, what its core costs to wake differs twofold from one second to the next. `oursToThis` is ours divided by that of the
 * row, from the same run. `datagramsPerMessage` is what the server receives and sends for one of ours, acknowledgements and all: two
 * would be one in and one out.
 *
 * `20x4` measures bursts of 4 of 20 pairs only; `--only ours` one transport; `--seconds N` (1.5); `--profile` runs the server
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

  get datagrams(): number {
    return (this.#sender.datagrams ?? NaN) + (this.#receiver.datagrams ?? NaN);
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
    const datagrams = () => pairs.reduce((sum, pair) => sum + pair.datagrams, 0);
    const before = {
      cpuUs: processCpuUs(relay.pid) ?? NaN,
      count: count(),
      datagrams: datagrams(),
      atMs: performance.now(),
    };
    await sleep(measuredMs);
    const messages = count() - before.count;
    return {
      bench: "transport",
      subject: `${pairCount} pair${pairCount > 1 ? "s" : ""}, bursts of ${burst}`,
      transport: carrier,
      messagesPerSecond: Math.round(messages / (performance.now() - before.atMs) * 1000),
      serverCpuUsPerMessage: ((processCpuUs(relay.pid) ?? NaN) - before.cpuUs) / messages,
      datagramsPerMessage: (datagrams() - before.datagrams) / messages,
      serverMemoryMiB: (processMemoryKiB(relay.pid) ?? NaN) / 1024,
    };
  } finally {
    for (const pair of pairs) pair.stop();
    await relay.stop();
  }
}

/** Of several measurements of one thing the one in the middle, by the server's CPU time. */
function middle(rows: readonly Row[]): Row {
  const cpuUs = (row: Row) => Number(row["serverCpuUsPerMessage"]);
  const row = rows.toSorted((a, b) => cpuUs(a) - cpuUs(b))[rows.length >> 1]!;
  if (!Number.isNaN(row["datagramsPerMessage"])) return row;
  const { datagramsPerMessage: _, ...others } = row;
  return others as Row;
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
      seconds: { type: "string", default: "1.5" },
      rounds: { type: "string", default: "3" },
      profile: { type: "boolean", default: false },
      json: { type: "boolean" },
    },
  });
  const shape = positionals[0]?.split("x").map(Number);
  const carriers = values.only === undefined ? Object.keys(CARRIERS) : [values.only];
  const rows: Row[] = [];
  for (const pairCount of shape ? [shape[0]!] : PAIRS) {
    for (const burst of shape ? [shape[1]!] : BURSTS) {
      // One message outstanding is one write either way.
      const all = burst > 1 || values.only !== undefined;
      const measured = new Map<string, Row[]>();
      for (let round = 0; round < Number(values.rounds); round++) {
        for (const carrier of carriers.filter((name) => all || !name.endsWith("together"))) {
          const measuredMs = Number(values.seconds) * 1000;
          const row = await measure({ carrier, pairCount, burst, measuredMs, profile: values.profile });
          measured.set(carrier, [...measured.get(carrier) ?? [], row]);
        }
      }
      const together = [...measured.values()].map(middle);
      rows.push(...withRatios(together));
    }
  }
  report(rows);
  Deno.exit(0);
}
