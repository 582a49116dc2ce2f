/**
 * What do 100 clients notice when 20 addresses flood INITIALs? (SECURITY H7)
 *
 * The workload is `dm`'s through one server, whose handshake limits are the defaults: 3 RSA decryptions a second for each
 * address with a burst of 300, 200 in all, 2 at once, 64 queued. 127.0.0.2 to 127.0.0.21 send `--rate` (4,000) INITIALs of the right
 * shape a second in all, each with a new ephemeral key and a new ciphertext below the modulus: without a token, which costs
 * the server a hash and a RETRY; or with one that the balancer gave to that address, which gets in line for RSA. The flood
 * runs in a process of its own; all of it shares the machine.
 *
 * `newcomerMs` is how long an honest client takes meanwhile from LOCATE to its confirmed connection, median of 5. The limits hold
 * where `rsaPerS` stays below the ceiling; bursts are spent first, as they would be. `kernelDropsPerS` found the server's socket
 * buffer full (about 92 such datagrams), whoever had sent them.
 *
 * `--loads max,500`, `--seconds N` (8), `--rate N` choose.
 */
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { dialUdp } from "../client/network/dialer.ts";
import { dataPaths } from "../shared/cluster/mod.ts";
import { systemRandom } from "../shared/crypto/mod.ts";
import { callControl } from "../shared/host/mod.ts";
import { openUdp, type UdpSockets } from "../shared/net/mod.ts";
import { decodeLocated, encodeInitial, encodeLocate, KeyKind, PacketType } from "../shared/packet/mod.ts";
import { type BenchCluster, connectUsers, pairUp, startCluster } from "./load.ts";
import { kernelDrops, percentile, report, type Row } from "./report.ts";
import { measure, type Room } from "./workload.ts";

const ADDRESSES = 20;
const KINDS = ["none", "without tokens", "with valid tokens"] as const;
type Kind = typeof KINDS[number];

/** One address that floods: a socket, and a token once the balancer gave one. */
class Source {
  token: Uint8Array = new Uint8Array(0);
  readonly #sockets: UdpSockets;

  constructor(host: string) {
    this.#sockets = openUdp({
      host,
      port: 0,
      onDatagram: (bytes) => {
        if (bytes[0] === PacketType.located) this.token = decodeLocated(bytes)?.token ?? this.token;
      },
    });
  }

  locate(port: number): void {
    const nonce = systemRandom.bytes(16);
    this.#send(encodeLocate({ version: 1, nonce, versions: [1], excluded: [] }), port);
  }

  flood(port: number, token: Uint8Array): void {
    const ciphertext = systemRandom.bytes(384);
    ciphertext[0] = 0;
    const clientEphemeral = systemRandom.bytes(32);
    const keyKind = KeyKind.rsa;
    this.#send(encodeInitial({ version: 1, versions: [1], token, clientEphemeral, keyKind, key: ciphertext }), port);
  }

  #send(bytes: Uint8Array, port: number): void {
    this.#sockets.first.send(bytes, { host: "127.0.0.1", port }, () => {});
  }
}

/** The flooding process: until it is ended. */
async function flood(server: number, balancer: number, rate: number, kind: Kind): Promise<never> {
  const sources = Array.from({ length: ADDRESSES }, (_, i) => new Source(`127.0.0.${i + 2}`));
  const begin = performance.now();
  let sent = 0, locatedMs = -Infinity;
  for (;;) {
    const nowMs = performance.now();
    // A token lives for 30 s.
    if (kind === "with valid tokens" && nowMs - locatedMs > 10_000) {
      locatedMs = nowMs;
      for (const source of sources) source.locate(balancer);
      await pause(100);
    }
    const due = (nowMs - begin) * rate / 1000;
    // Who comes late does not catch up at once: that would only fill the server's socket buffer, and measure the kernel.
    if (due - sent > AT_ONCE_MAX) sent = Math.floor(due) - AT_ONCE_MAX;
    for (; sent < due; sent++) {
      const source = sources[sent % ADDRESSES]!;
      source.flood(server, source.token);
    }
    await pause(1);
  }
}

async function measureUnder(kind: Kind, options: {
  cluster: BenchCluster;
  rooms: readonly Room[];
  load: "max" | number;
  ms: number;
  rate: number;
}): Promise<Row> {
  const { cluster, rooms, load, ms, rate } = options;
  const before = await status(cluster);
  const flooder = kind === "none" ? undefined : new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--no-check", fileURLToPath(import.meta.url)],
      ...["--flood", kind, "--server", String(before.port), "--balancer", String(cluster.port), "--rate", String(rate)],
    ],
    stdin: "null",
  }).spawn();
  try {
    // Bursts are spent before anything is measured.
    if (flooder !== undefined) await pause(SPEND_MS);
    const begun = await status(cluster), begin = performance.now(), dropsBegin = kernelDrops([begun.port]);
    const newcomers = connectNewcomers(cluster);
    const row = await measure({ name: "1 server", pids: cluster.pids }, rooms, { rate: load, ms });
    const newcomersMs = await newcomers;
    const seconds = (performance.now() - begin) / 1000, ended = await status(cluster);
    const perS = (name: string) => Math.round((ended.counters[name]! - begun.counters[name]!) / seconds);
    return {
      bench: "flood",
      subject: `${load === "max" ? "max" : `${load}/s`}, flood ${kind}`,
      deliveredPerS: row["deliveredPerS"]!,
      p50Ms: row["p50Ms"]!,
      p99Ms: row["p99Ms"]!,
      lost: row["lost"]!,
      serverCpuPercent: Number(row["serverCpuUsPerMessage"]) * Number(row["deliveredPerS"]) / 10_000,
      retriesPerS: perS("retries"),
      rsaPerS: perS("rsaDecryptions"),
      refusedPerS: perS("handshakesRefused"),
      kernelDropsPerS: Math.round((kernelDrops([begun.port]) - dropsBegin) / seconds),
      newcomerMs: percentile(newcomersMs, 0.5),
      newcomersFailed: NEWCOMERS - newcomersMs.length,
      serverMiB: row["serverMiB"]!,
    };
  } finally {
    flooder?.kill("SIGKILL");
    await flooder?.status;
  }
}

/** Honest clients who come one after the other. @returns How long each took that came in. */
async function connectNewcomers(cluster: BenchCluster): Promise<number[]> {
  const tookMs: number[] = [];
  for (let i = 0; i < NEWCOMERS; i++) {
    const begin = performance.now();
    try {
      const { channel } = await dialUdp({
        address: { host: cluster.host, port: cluster.port },
        expected: cluster.fingerprint,
        excluded: [],
        remembered: undefined,
        timeoutMs: 10_000,
        signal: new AbortController().signal,
      });
      tookMs.push(performance.now() - begin);
      channel.handler = { onStream() {}, onClose() {} };
      channel.close(0, "");
    } catch {
      // Counted by its absence.
    }
    await pause(300);
  }
  return tookMs;
}

async function status(cluster: BenchCluster): Promise<{ port: number; counters: Record<string, number> }> {
  const { port, counters } = await callControl(dataPaths(cluster.dataDir).server(0).socket, { command: "status" });
  return { port: port as number, counters: counters as Record<string, number> };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

const AT_ONCE_MAX = 20;
const SPEND_MS = 6_000;
const NEWCOMERS = 5;

if (import.meta.main) {
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      flood: text,
      server: text,
      balancer: text,
      rate: { ...text, default: "4000" },
      loads: { ...text, default: "max,500" },
      seconds: { ...text, default: "8" },
      clients: { ...text, default: "100" },
      json: { type: "boolean" },
    },
  });
  const rate = Number(values.rate);
  if (values.flood !== undefined) {
    await flood(Number(values.server), Number(values.balancer), rate, values.flood as Kind);
  }
  const cluster = await startCluster(1, { flags: ["--handshake-rate", "3", "--handshake-burst", "300"] });
  try {
    const users = await connectUsers(cluster, Number(values.clients) & ~1);
    const rooms = await pairUp(users);
    const rows: Row[] = [];
    for (const word of values.loads.split(",")) {
      const load = word === "max" ? word : Number(word);
      for (const kind of KINDS) {
        rows.push(await measureUnder(kind, { cluster, rooms, load, ms: Number(values.seconds) * 1000, rate }));
      }
    }
    report(rows);
    for (const user of users) user.remote.close();
  } finally {
    await cluster.stop();
  }
  Deno.exit(0);
}
