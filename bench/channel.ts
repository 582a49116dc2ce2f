/**
 * What does relaying a 200-byte message cost a server, transport alone?
 *
 * One server process that hands each message to the sender's partner, and one process with pairs of clients over loopback.
 * Each sender keeps one burst outstanding: 1, 4 or 16 messages written in one turn of the event loop (up to five share a
 * datagram), and sends the next when the last has arrived. Server CPU is user and system time of its process (10 ms ticks)
 * over the measured window, divided by the messages delivered in it. `--profile` runs the server under V8's profiler.
 */
import { createPrimitives, generateRsaPkcs8, spkiFromPkcs8, systemRandom } from "../shared/crypto/mod.ts";
import { type Channel, ChannelServer, type ChannelStream, connect, DEFAULT_RSA_LIMITS } from "../shared/net/mod.ts";
import { startProfile } from "./profile.ts";
import { processCpuUs, processMemoryKiB, report, type Row } from "./report.ts";

const MESSAGE_BYTES = 200;
const WARM_MS = 700;
const MEASURED_MS = 2500;
const BURSTS = [1, 4, 16];
const PAIRS = [1, 20];

async function serve(): Promise<void> {
  const primitives = await createPrimitives();
  const privateKeyPkcs8 = await generateRsaPkcs8();
  const spki = await spkiFromPkcs8(privateKeyPkcs8);
  // Clients come in pairs, one after the other.
  let single: Relayed | undefined;
  const everybody = { perSecond: 1e6, burst: 1e6 };
  const server = await ChannelServer.listen({
    host: "127.0.0.1",
    port: 0,
    serverNumber: 0,
    cluster: {
      id: systemRandom.bytes(16),
      privateKeyPkcs8,
      spki,
      tokenKey: systemRandom.bytes(32),
      resetKey: systemRandom.bytes(32),
    },
    primitives,
    servers: () => [],
    limits: { rsa: { ...DEFAULT_RSA_LIMITS, perAddress: everybody, ceiling: everybody } },
    onChannel(channel) {
      const relayed: Relayed = { out: channel.openStream() };
      channel.handler = {
        onStream(stream) {
          stream.handler = { onMessage: (message) => relayed.partner?.out.send(message) };
        },
        onClose() {},
      };
      if (single === undefined) {
        single = relayed;
        return;
      }
      relayed.partner = single;
      single.partner = relayed;
      for (const { out } of [single, relayed]) introduce(out);
      single = undefined;
    },
  });
  console.log(JSON.stringify({ port: server.address.port, clusterKey: spki.toHex() }));
  if (!Deno.args.includes("--profile")) return;
  const stop = startProfile();
  Deno.addSignalListener("SIGINT", async () => {
    const functions = await stop();
    for (const { share, name } of functions.slice(0, 45)) {
      console.error(`${(share * 100).toFixed(1).padStart(6)} %  ${name}`);
    }
    console.error(server.stats.udp);
    Deno.exit(0);
  });
}

/** A client as the server sees it. */
interface Relayed {
  readonly out: ChannelStream;
  partner?: Relayed;
}

/** Tells a client that its partner is there. */
function introduce(stream: ChannelStream): void {
  stream.send(new Uint8Array(0));
}

/** A sender and a receiver: counts what arrives, sends the next burst when the last one has. */
class Pair {
  delivered = 0;
  readonly #burst: number;
  readonly #message = new Uint8Array(MESSAGE_BYTES);
  #outstanding = 0;
  #stream: ChannelStream | undefined;
  #ready = 0;
  #isStopped = false;

  constructor(sender: Channel, receiver: Channel, burst: number, onReady: () => void) {
    this.#burst = burst;
    this.#stream = sender.openStream();
    const met = () => {
      if (++this.#ready < 2) return;
      onReady();
      this.#send();
    };
    sender.handler = { onStream: (stream) => void (stream.handler = { onMessage: met }), onClose() {} };
    receiver.handler = {
      onStream: (stream) =>
        void (stream.handler = { onMessage: (message) => message.length === 0 ? met() : this.#arrived() }),
      onClose() {},
    };
  }

  stop(): void {
    this.#isStopped = true;
  }

  #arrived(): void {
    this.delivered++;
    if (--this.#outstanding === 0 && !this.#isStopped) this.#send();
  }

  #send(): void {
    this.#outstanding = this.#burst;
    for (let i = 0; i < this.#burst; i++) this.#stream!.send(this.#message);
  }
}

async function measure(pairCount: number, burst: number, profile: boolean): Promise<Row> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", import.meta.filename!, "serve", ...(profile ? ["--profile"] : [])],
    stdout: "piped",
  }).spawn();
  try {
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    const { port, clusterKey } = JSON.parse((await reader.read()).value!);
    const primitives = await createPrimitives();
    const dial = async () => {
      const located = { host: "127.0.0.1", port, clusterKey: Uint8Array.fromHex(clusterKey), token: new Uint8Array(0) };
      return (await connect({ located, timeoutMs: 10_000, primitives })).channel;
    };
    const pairs: Pair[] = [];
    const channels: Channel[] = [];
    for (let i = 0; i < pairCount; i++) {
      const sender = await dial(), receiver = await dial();
      channels.push(sender, receiver);
      await new Promise<void>((ready) => pairs.push(new Pair(sender, receiver, burst, ready)));
    }
    const count = () => pairs.reduce((sum, pair) => sum + pair.delivered, 0);
    await sleep(WARM_MS);
    const before = { cpuUs: processCpuUs(child.pid) ?? NaN, count: count(), atMs: performance.now() };
    await sleep(MEASURED_MS);
    const messages = count() - before.count;
    const row = {
      bench: "channel",
      subject: `${pairCount} pair${pairCount > 1 ? "s" : ""}, bursts of ${burst}`,
      messagesPerSecond: Math.round(messages / (performance.now() - before.atMs) * 1000),
      serverCpuUsPerMessage: ((processCpuUs(child.pid) ?? NaN) - before.cpuUs) / messages,
      serverMemoryMiB: (processMemoryKiB(child.pid) ?? NaN) / 1024,
    };
    for (const pair of pairs) pair.stop();
    for (const channel of channels) channel.close(0, "");
    await sleep(100);
    await reader.cancel();
    return row;
  } finally {
    child.kill(profile ? "SIGINT" : "SIGTERM");
    await child.status;
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

if (import.meta.main) {
  if (Deno.args[0] === "serve") {
    await serve();
  } else {
    const profile = Deno.args.includes("--profile");
    const only = Deno.args.find((arg) => /^\d+x\d+$/.test(arg))?.split("x").map(Number);
    const rows: Row[] = [];
    for (const pairs of only ? [only[0]!] : PAIRS) {
      for (const burst of only ? [only[1]!] : BURSTS) rows.push(await measure(pairs, burst, profile));
    }
    report(rows);
    Deno.exit(0);
  }
}
