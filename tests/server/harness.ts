/** A server without sockets: memory channels, memory store, virtual time, bcrypt of the least cost in process. */
import { compareSync, hashSync } from "bcryptjs";
import { decode, encode } from "../../shared/codec/mod.ts";
import {
  createPrimitives,
  Ed25519KeyPair,
  makeCertificate,
  makeDeviceProof,
  makeEnrolProof,
} from "../../shared/crypto/mod.ts";
import type { CloseReason } from "../../shared/errors.ts";
import { type Logger, silentLogger } from "../../shared/log.ts";
import type { Channel, ChannelStream } from "../../shared/net/channel.ts";
import {
  type Append,
  type ConversationId,
  type DeviceId,
  type Event,
  event,
  type MessageId,
  type Request,
  request as requestSchema,
  type Response,
  response as responseSchema,
  type ResponseOf,
  type UserName,
} from "../../shared/protocol/mod.ts";
import { AppendQueue } from "../../server/append_queue.ts";
import { Hub } from "../../server/bus/hub.ts";
import { LocalBus } from "../../server/bus/local.ts";
import { Connection } from "../../server/connection.ts";
import { newCounters, type Services } from "../../server/context.ts";
import { dummyHash, type PasswordHasher } from "../../server/password_pool.ts";
import { Pepper } from "../../server/pepper.ts";
import { Server } from "../../server/server.ts";
import { MemoryStore } from "../../server/store/memory.ts";
import type { Store } from "../../server/store/store.ts";
import { Typing } from "../../server/typing.ts";
import { THROTTLE_DEFAULTS, Throttles, type ThrottleSettings } from "../../server/throttles.ts";
import { TEST_CLUSTER, TEST_NOT_AFTER_MS, TEST_NOT_BEFORE_MS, TEST_NOW_MS, type TestDevice } from "../keys.ts";
import type { Ticket } from "../../shared/handshake/mod.ts";
import { memoryChannelPair, type MemoryPair } from "../memory_channel.ts";

export interface HarnessOptions {
  readonly registration?: "open" | "closed";
  readonly throttles?: Partial<ThrottleSettings>;
  readonly requestRate?: number;
  readonly appendRate?: number;
  readonly logger?: Logger;
  /** Stands between handlers and the memory store. */
  readonly wrapStore?: (store: Store) => Store;
}

export class Harness {
  readonly services: Services;
  readonly server: Server;
  readonly hub = new Hub();
  readonly store: Store;
  readonly appends: AppendQueue;
  /** Passwords compared or hashed. */
  bcryptRuns = 0;
  nowUs = 1_000_000;
  readonly #options: HarnessOptions;

  private constructor(options: HarnessOptions, primitives: Services["primitives"]) {
    this.#options = options;
    const memory = new MemoryStore(this.hub);
    this.store = options.wrapStore?.(memory) ?? memory;
    const bus = new LocalBus(this.hub);
    this.server = new Server({
      announce: (user, online) => bus.announce(user, online),
      watch: (user, on) => bus.watch(user, on),
    });
    bus.listener = {
      onCommitted: (batch) => this.server.committed(batch, this.nowUs),
      onDevicesChanged: (change) => this.server.devicesChanged(change),
      onReceipts: (moved) => this.server.receipts(moved),
      onSessionsEnded: (ended) => this.server.sessionsEnded(ended),
      onGroupNews: (news) => {
        this.services.typing.membersChanged(news);
        this.server.groupNews(news);
      },
      onPresence: (user, online) => this.server.presence.changed(user, online, this.nowUs),
      onTyping: (hint) => this.server.presence.typed(hint),
      onGap: () => {},
    };
    const passwords: PasswordHasher = {
      // deno-lint-ignore require-await
      hash: async (secret) => (this.bcryptRuns++, hashSync(secret, 4)),
      // deno-lint-ignore require-await
      matches: async (secret, hash) => (this.bcryptRuns++, compareSync(secret, hash)),
    };
    this.services = {
      store: this.store,
      bus,
      typing: new Typing({ store: this.store, bus, clock: { nowUs: () => this.nowUs } }),
      primitives,
      clock: { nowUs: () => this.nowUs },
      nowMs: () => TEST_NOW_MS + Math.floor(this.nowUs / 1000),
      clusterId: TEST_CLUSTER,
      saltKey: new Uint8Array(32).fill(7),
      pepper: new Pepper(new Uint8Array(32).fill(9)),
      passwords,
      throttles: new Throttles({ ...THROTTLE_DEFAULTS, ...options.throttles }),
      settings: {
        registration: options.registration ?? "open",
        scryptLog2N: 17,
        dummyHash: dummyHash(4),
        sessionDays: 30,
        archiveBytesMax: 1 << 20,
      },
      counters: newCounters(),
      logger: options.logger ?? silentLogger,
    };
    this.appends = new AppendQueue({
      store: this.store,
      defer: queueMicrotask,
      pause: () => Promise.resolve(),
      logger: silentLogger,
    });
  }

  static async open(options: HarnessOptions = {}): Promise<Harness> {
    return new Harness(options, await createPrimitives());
  }

  connect(host = "192.0.2.1", ticket?: Ticket): TestClient {
    const pair = memoryChannelPair({ clientAddress: { host, port: 40_000 } });
    pair.server.ticket = ticket;
    const { services, server, appends } = this;
    const { requestRate = 0, appendRate = 0 } = this.#options;
    new Connection(pair.server, { services, server, appends, requestRate, appendRate });
    return new TestClient(pair);
  }

  /** A connection on which a new user with this device has signed up. */
  async signedUp(device: TestDevice, host?: string): Promise<TestClient> {
    const client = this.connect(host);
    expectType(await client.ask(registration(device, client)), "session");
    return client;
  }
}

/** A client's side of a channel, speaking messages. */
export class Speaker {
  readonly channel: Channel;
  readonly events: Event[] = [];
  /** Streams on which events came, and those of them that the server finished. */
  readonly eventStreams: ChannelStream[] = [];
  eventStreamsFinished = 0;
  closed: CloseReason | undefined;

  constructor(channel: Channel) {
    this.channel = channel;
    channel.handler = {
      onStream: (stream) => {
        this.eventStreams.push(stream);
        stream.handler = {
          onMessage: (message) => this.events.push(decode(event, message)),
          onFinish: () => {
            this.eventStreamsFinished++;
            stream.finish();
          },
        };
      },
      onClose: (reason) => this.closed = reason,
    };
  }

  get bind(): Uint8Array {
    return this.channel.transcriptHash;
  }

  /** One request on a stream of its own. */
  async ask(request: Request): Promise<Response> {
    const lane = this.lane();
    lane.send(request);
    lane.stream.finish();
    const [response] = await lane.answers(1);
    return response!;
  }

  /** A stream for several requests. */
  lane(): TestLane {
    return new TestLane(this.channel.openStream());
  }
}

/** One over a memory pair. */
export class TestClient extends Speaker {
  readonly pair: MemoryPair;

  constructor(pair: MemoryPair) {
    super(pair.client);
    this.pair = pair;
  }
}

export class TestLane {
  readonly stream: ChannelStream;
  readonly received: Response[] = [];
  finished = false;
  reset: number | undefined;
  #waiting: { readonly count: number; readonly resolve: () => void }[] = [];

  constructor(stream: ChannelStream) {
    this.stream = stream;
    stream.handler = {
      onMessage: (message) => {
        this.received.push(decode(responseSchema, message));
        this.#waiting = this.#waiting.filter(({ count, resolve }) => this.received.length < count || void resolve());
      },
      onFinish: () => this.finished = true,
      onReset: (code) => this.reset = code,
    };
  }

  send(request: Request): void {
    this.stream.send(encode(requestSchema, request));
  }

  append(append: Append): void {
    this.send({ type: "append", ...append });
  }

  /** Waits until that many answers are there. */
  async answers(count: number): Promise<Response[]> {
    if (this.received.length < count) await new Promise<void>((resolve) => this.#waiting.push({ count, resolve }));
    return this.received;
  }
}

/** Lets everything run that waits for nothing but its turn. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Until a condition holds; fails after very many turns (RSA runs on other threads, so this may take some), and not within a minute. */
export async function until(condition: () => boolean): Promise<void> {
  for (let turn = 0, endMs = performance.now() + 60_000; turn < 1_000_000 || performance.now() < endMs; turn++) {
    if (condition()) return;
    await settle();
  }
  throw new Error("It never came to hold");
}

export const SECRET = "A".repeat(43);
export const OTHER_SECRET = "B".repeat(43);
export const BACKUP = new Uint8Array([1, 2, 3, 4]);

export function registration(
  device: TestDevice,
  client: Speaker,
  changes: Partial<Extract<Request, { type: "register" }>> = {},
): Extract<Request, { type: "register" }> {
  return {
    type: "register",
    name: device.user,
    stretching: { salt: new Uint8Array(16).fill(3), log2N: 17 },
    loginSecret: SECRET,
    identityKey: device.identity.spki,
    backup: BACKUP,
    certificate: device.certificate,
    deviceProof: makeDeviceProof(device.leaf, client.bind),
    ...changes,
  };
}

export function logIn(
  device: TestDevice,
  client: Speaker,
  loginSecret = SECRET,
): Extract<Request, { type: "login" }> {
  return {
    type: "login",
    name: device.user,
    loginSecret,
    device: { id: device.id, proof: makeDeviceProof(device.leaf, client.bind) },
  };
}

export async function enrolment(device: TestDevice, client: Speaker): Promise<Extract<Request, { type: "enrol" }>> {
  return {
    type: "enrol",
    certificate: device.certificate,
    identityProof: await makeEnrolProof(device.identity.privateKey, client.bind, device.certificate),
    deviceProof: makeDeviceProof(device.leaf, client.bind),
  };
}

export function resumption(
  device: TestDevice,
  client: Speaker,
  token: Uint8Array,
): Extract<Request, { type: "resume" }> {
  return {
    type: "resume",
    name: device.user,
    token,
    device: device.id,
    proof: makeDeviceProof(device.leaf, client.bind),
  };
}

/** A further device, or one of another user, with keys borrowed from `like` and a leaf key of its own. */
export async function makeDevice(
  like: TestDevice,
  changes: Partial<{ user: string; id: string; clusterId: Uint8Array; notAfterMs: number }> = {},
): Promise<TestDevice> {
  const leaf = Ed25519KeyPair.generate();
  const user = (changes.user ?? like.user) as UserName;
  const id = (changes.id ?? crypto.randomUUID().replaceAll("-", "")) as DeviceId;
  const certificate = await makeCertificate({
    clusterId: changes.clusterId ?? TEST_CLUSTER,
    user,
    device: id,
    leafKey: leaf.publicKey,
    envelopeKey: like.envelopeKey,
    identityKey: like.identity.spki,
    notBeforeMs: TEST_NOT_BEFORE_MS,
    notAfterMs: changes.notAfterMs ?? TEST_NOT_AFTER_MS,
    serial: 2,
  }, like.identity.privateKey);
  return { ...like, user, id, leaf, certificate };
}

export function message(conversation: ConversationId, number: number, expectedEpoch: number, bodyBytes = 8): Append {
  const body = new Uint8Array(bodyBytes);
  new DataView(body.buffer).setUint32(4, number);
  return { conversation, messageId: number.toString(16).padStart(32, "0") as MessageId, expectedEpoch, body };
}

/** The number of a {@linkcode message}. */
export function numberOf({ messageId }: { readonly messageId: MessageId }): number {
  return Number.parseInt(messageId, 16);
}

export function expectType<K extends Response["type"]>(response: Response, type: K): ResponseOf<K> {
  if (response.type !== type) throw new Error(`Expected ${type}, got ${JSON.stringify(response)}`);
  return response as ResponseOf<K>;
}

export function expectError(response: Response, code: number): ResponseOf<"error"> {
  const error = expectType(response, "error");
  if (error.code !== code) throw new Error(`Expected error ${code}, got ${error.code}: ${error.message}`);
  return error;
}
