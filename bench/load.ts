/**
 * A load generator for real servers: a cluster in processes of its own, many users connected from this one. Bodies are opaque
 * and go through `client/network/remote.ts` under packet protection; sealing is measured on its own (`bench e2ee`).
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { dialUdp } from "../client/network/dialer.ts";
import { Remote } from "../client/network/remote.ts";
import {
  Ed25519KeyPair,
  generateRsaPkcs8,
  importPssPrivate,
  makeCertificate,
  makeDeviceProof,
  parseFingerprint,
  spkiFromPkcs8,
  systemRandom,
} from "../shared/crypto/mod.ts";
import type { ConversationId, DeviceId, Event, MessageId, UserName } from "../shared/protocol/mod.ts";
import { processCpuUs } from "./report.ts";
import { pairs, type Person, type Room } from "./workload.ts";

export interface BenchCluster {
  /** Where clients reach the balancer. */
  readonly host: string;
  readonly port: number;
  readonly fingerprint: Uint8Array;
  readonly pids: readonly number[];
  readonly dataDir: string;
  /** The balancer's. */
  readonly pid: number;
  /** User and system time of all servers so far, µs. */
  cpuUs(): number;
  stop(): Promise<void>;
}

export interface ClusterOptions {
  /** What they listen on. */
  readonly host?: string;
  /** For the servers, behind their limits: the last one counts. */
  readonly flags?: readonly string[];
  /** Fills the data directory before they start. */
  readonly prepare?: (dataDir: string) => Promise<void>;
}

/** Starts a balancer with servers whose limits let one machine play a hundred. */
export async function startCluster(servers: number, options: ClusterOptions = {}): Promise<BenchCluster> {
  const { host = "127.0.0.1", flags = [] } = options;
  const folder = await Deno.makeTempDir({ prefix: "fastchat-bench-" });
  const data = join(folder, "data");
  await options.prepare?.(data);
  const balancer = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--no-check",
      fileURLToPath(new URL("../balancer/main.ts", import.meta.url)),
      ...[String(servers), "0", "--host", host, "--data", data],
      ...["--handshake-rate", "1000", "--handshake-burst", "5000", "--signup-rate", "0", "--login-rate", "0"],
      ...flags,
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  let output = "";
  for await (const piece of balancer.stdout.pipeThrough(new TextDecoderStream())) {
    output += piece;
    if (output.includes("\n")) break;
  }
  const ready = /^ready \S+:(\d+) servers=\d+ data=.* key=(\S+)$/m.exec(output);
  if (!ready) throw new Error(`The balancer said ${JSON.stringify(output)}`);
  const pids = [...Deno.readDirSync(join(data, "run"))]
    .filter(({ name }) => /^server-\d+\.json$/.test(name))
    .map(({ name }) => JSON.parse(Deno.readTextFileSync(join(data, "run", name))).pid as number);
  return {
    host,
    port: Number(ready[1]),
    fingerprint: parseFingerprint(ready[2]!)!,
    pids,
    dataDir: data,
    pid: balancer.pid,
    cpuUs: () => pids.reduce((sum, pid) => sum + (processCpuUs(pid) ?? NaN), 0),
    async stop() {
      try {
        balancer.kill("SIGTERM");
      } catch { /* a bench may have ended it */ }
      await balancer.status;
      await Deno.remove(folder, { recursive: true });
    },
  };
}

/** What a client must know of a cluster. */
export type Doorway = Pick<BenchCluster, "host" | "port" | "fingerprint">;

/** Somebody with a connection; what comes is handed to `onEvent`. */
export interface LoadUser {
  readonly name: UserName;
  readonly remote: Remote;
  onEvent: (event: Event) => void;
}

/** Signs up `count` users and connects them. They share one identity and envelope key: making 200 RSA keys is not what is measured. */
export async function connectUsers(cluster: Doorway, count: number): Promise<LoadUser[]> {
  const identity = await generateRsaPkcs8();
  const identityKey = await spkiFromPkcs8(identity);
  const signing = await importPssPrivate(identity);
  const users: LoadUser[] = [];
  const connectOne = async (index: number) => {
    const name = `u${String(index).padStart(4, "0")}` as UserName;
    users[index] = await connectUser(cluster, name, (remote) => signUp(remote, name, identityKey, signing));
  };
  for (let first = 0; first < count; first += CONNECT_AT_ONCE) {
    await Promise.all(
      Array.from({ length: Math.min(CONNECT_AT_ONCE, count - first) }, (_, i) => connectOne(first + i)),
    );
  }
  return users;
}

/** Somebody in a room, who sends to the conversation. */
export function personOf(user: LoadUser, { conversation, epoch }: Opened): Person {
  let number = 0;
  const prefix = user.name.padEnd(8, "-").slice(0, 8).split("").map((c) => c.charCodeAt(0).toString(16)).join("");
  const person: Person = {
    send(body, refused) {
      const messageId = prefix + (number++).toString(16).padStart(16, "0") as MessageId;
      user.remote.append({ conversation, messageId, expectedEpoch: epoch, body }).catch(refused);
    },
    onBody: () => {},
  };
  user.onEvent = (event) => {
    if (event.type === "deliver") person.onBody(event.record.body);
  };
  return person;
}

/** Neighbours as people of direct conversations. */
export async function pairUp(users: readonly LoadUser[]): Promise<Room[]> {
  const people: Person[] = [];
  for (const [index, user] of users.entries()) people.push(personOf(user, await openDirect(user, users[index ^ 1]!)));
  return pairs(people);
}

/** A conversation that is there. */
export interface Opened {
  readonly conversation: ConversationId;
  readonly epoch: number;
}

/** The direct conversation of two users, made to exist. */
export async function openDirect(user: LoadUser, peer: LoadUser): Promise<Opened> {
  const { head } = await user.remote.ask<"openDirect">({ type: "openDirect", peer: peer.name });
  return { conversation: head.conversation, epoch: head.epoch };
}

/**
 * Connects somebody.
 *
 * @param authenticate Signs up or logs in, before anything is asked for.
 */
export async function connectUser(
  cluster: Doorway,
  name: UserName,
  authenticate: (remote: Remote) => Promise<unknown>,
): Promise<LoadUser> {
  const dialed = await dialUdp({
    address: { host: cluster.host, port: cluster.port },
    expected: cluster.fingerprint,
    excluded: [],
    remembered: undefined,
    timeoutMs: 20_000,
    signal: new AbortController().signal,
  });
  const user: { -readonly [K in keyof LoadUser]: LoadUser[K] } = { name, remote: undefined!, onEvent: () => {} };
  const remote = user.remote = new Remote(dialed.channel, {
    onEvent: (event) => user.onEvent(event),
    onClose: ({ code, reason }) => {
      if (code !== 0) throw new Error(`${name} lost its connection: ${reason}`);
    },
  });
  await authenticate(remote);
  await remote.ask<"subscribe">({ type: "subscribe" });
  return user;
}

/** What a user of a load keeps: enough to come back. */
export interface SignedUp {
  readonly name: UserName;
  readonly device: DeviceId;
  readonly leaf: Ed25519KeyPair;
  readonly token: Uint8Array;
}

/** Signs up a new user on this connection. */
export async function signUp(
  remote: Remote,
  name: UserName,
  identityKey: Uint8Array,
  signing: CryptoKey,
): Promise<SignedUp> {
  const { stretching, clusterId } = await remote.ask<"stretch">({ type: "stretch", name, purpose: 1 });
  const device = systemRandom.bytes(16).toHex() as DeviceId;
  const leaf = Ed25519KeyPair.generate();
  const nowMs = Date.now();
  const certificate = await makeCertificate({
    clusterId,
    user: name,
    device,
    leafKey: leaf.publicKey,
    envelopeKey: identityKey,
    identityKey,
    notBeforeMs: nowMs,
    notAfterMs: nowMs + 86_400_000,
    serial: 1,
  }, signing);
  const { token } = await remote.ask<"register">({
    type: "register",
    name,
    stretching,
    loginSecret: systemRandom.bytes(32).toBase64({ alphabet: "base64url", omitPadding: true }),
    identityKey,
    backup: new Uint8Array(0),
    certificate,
    deviceProof: makeDeviceProof(leaf, remote.channel.transcriptHash),
  });
  return { name, device, leaf, token };
}

const CONNECT_AT_ONCE = 10;
