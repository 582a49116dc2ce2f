/**
 * One random life of a connection, decided by its seed: faults, streams, resets, hints, key updates, moves.
 *
 * Safety is checked all the way: every byte of every stream once and in order, no packet number twice. At the end
 * the faults stop and everything must arrive: liveness.
 */
import { strict as assert } from "node:assert";
import type { ConnectionEvent } from "../../shared/transport/mod.ts";
import { describe } from "./describe.ts";
import type { Faults } from "./network.ts";
import { Pair, type Peer } from "./pair.ts";
import { Prng } from "./prng.ts";
import { Witness } from "./witness.ts";
import type { Hooks } from "./world.ts";

export interface ScenarioResult {
  readonly datagrams: number;
  readonly virtualUs: number;
}

export interface ScenarioOptions {
  readonly hooks?: Hooks | undefined;
  readonly trace?: ((line: string) => void) | undefined;
}

export function runScenario(seed: number, options: ScenarioOptions = {}): ScenarioResult {
  try {
    return new Scenario(seed, options).run();
  } catch (error) {
    throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
  }
}

/** The byte at `offset` of what one side sends on stream `id`: a repeat, a hole or a swap shows at once. */
export function streamByte(id: number, isClient: boolean, offset: number): number {
  return (Math.imul(offset, 0x9e3779b1) >>> 24) ^ (id * 31 + (isClient ? 17 : 0)) & 0xff;
}

export function streamBytes(id: number, isClient: boolean, from: number, to: number): Uint8Array {
  const bytes = new Uint8Array(to - from);
  for (let i = 0; i < bytes.length; i++) bytes[i] = streamByte(id, isClient, from + i);
  return bytes;
}

interface Plan {
  readonly id: number;
  readonly sender: Peer;
  readonly receiver: Peer;
  readonly isClient: boolean;
  sizeBytes: number;
  writtenBytes: number;
  reset: boolean;
}

class Scenario {
  readonly #prng: Prng;
  readonly #pair: Pair;
  readonly #plans: Plan[] = [];
  readonly #checkedBytes = new Map<Peer, Map<number, number>>();
  readonly #highest = { toServer: -1, toClient: -1 };
  #checkedPackets = 0;

  readonly #trace: ((line: string) => void) | undefined;

  constructor(seed: number, { hooks = {}, trace }: ScenarioOptions) {
    this.#trace = trace;
    this.#prng = new Prng(seed);
    const prng = this.#prng;
    const random = new Prng(prng.u32());
    const witness = new Witness(hooks.random?.(random) ?? random);
    const primitives = hooks.primitives?.(witness.primitives) ?? witness.primitives;
    const parts = () => ({ primitives, controller: hooks.controller?.() });
    const packetsPerKeyMax = prng.chance(0.3) ? prng.integer(5, 300) : undefined;
    this.#pair = new Pair({
      seed: prng.u32(),
      toServer: this.#faults(),
      toClient: this.#faults(),
      clientLimits: this.#limits(),
      serverLimits: this.#limits(),
      client: { ...parts(), packetsPerKeyMax, firstPacketNumber: prng.chance(0.1) ? 2 ** 32 - 20 : 0 },
      server: { ...parts(), packetsPerKeyMax: prng.chance(0.3) ? prng.integer(5, 300) : undefined },
    });
    this.#pair.recorded = [];
    for (const peer of [this.#pair.client, this.#pair.server]) {
      this.#checkedBytes.set(peer, new Map());
      peer.onRead = (id, chunk) => this.#checkChunk(peer, id, chunk);
    }
  }

  run(): ScenarioResult {
    const pair = this.#pair, prng = this.#prng;
    const steps = prng.integer(3, 60);
    for (let i = 0; i < steps; i++) {
      this.#act();
      this.#pass(prng.integer(1, 200_000));
    }
    this.#calm();
    for (const plan of this.#plans) this.#finish(plan);
    const startUs = pair.nowUs;
    const isDone = () => this.#plans.every((plan) => isComplete(plan));
    for (let i = 0; i < 600 && !isDone(); i++) this.#pass(100_000);
    assert.ok(isDone(), `not everything arrived ${(pair.nowUs - startUs) / 1e6} s after the faults stopped`);
    // A client that moved while only the server had something to say is found again by its next keep-alive.
    const peers = [pair.client, pair.server];
    const isQuiet = () => peers.every(({ connection }) => connection.stats.bytesInFlight === 0);
    for (let i = 0; i < 300 && !isQuiet(); i++) this.#pass(100_000);
    this.#pass(5_000_000);
    for (const peer of peers) {
      assert.equal(peer.connection.bufferedBytes, 0, "bytes are still buffered");
      assert.equal(peer.connection.stats.bytesInFlight, 0, "bytes are still in flight");
      assert.equal(peer.closed, 0, "it closed");
    }
    assert.equal(pair.client.connection.streamsOpen, 0, "the client keeps streams that are over");
    assert.equal(pair.server.connection.streamsOpen, 0, "the server keeps streams that are over");
    this.#close();
    return { datagrams: this.#checkedPackets, virtualUs: pair.nowUs };
  }

  /** Some faults off, others extreme. */
  #faults(): Partial<Faults> {
    const prng = this.#prng;
    const rate = (probability: number, most: number) => prng.chance(probability) ? prng.float() * most : 0;
    return {
      delayUs: prng.pick([50, 1_000, 20_000, 150_000]),
      jitterUs: prng.chance(0.5) ? prng.integer(0, 60_000) : 0,
      loss: rate(0.6, 0.35),
      burst: rate(0.2, 0.02),
      duplicate: rate(0.4, 0.3),
      reorder: rate(0.4, 0.3),
      corrupt: rate(0.3, 0.1),
      bitsPerSecond: prng.chance(0.3) ? prng.pick([200_000, 1_000_000, 20_000_000]) : 0,
      queuePackets: prng.integer(5, 100),
    };
  }

  #limits() {
    if (!this.#prng.chance(0.4)) return {};
    const streamWindowBytes = this.#prng.integer(1_000, 50_000);
    return {
      streamWindowBytes,
      connectionWindowBytes: streamWindowBytes + this.#prng.integer(0, 100_000),
      streamsOpenMax: this.#prng.integer(1, 10),
    };
  }

  #act(): void {
    const prng = this.#prng, pair = this.#pair;
    const sender = prng.chance(0.5) ? pair.client : pair.server;
    const action = prng.integer(0, 11);
    if (action <= 4) this.#open(sender);
    else if (action <= 8) this.#write();
    else if (action === 9) this.#disturb(sender);
    else if (action === 10) sender.connection.sendHint(prng.bytes(prng.integer(0, 100)));
    else sender.connection.updateKeys(pair.nowUs);
  }

  #open(sender: Peer): void {
    const prng = this.#prng, isClient = sender === this.#pair.client;
    const receiver = isClient ? this.#pair.server : this.#pair.client;
    const id = sender.connection.openStream(prng.pick([0, 1, 2] as const));
    const there = { id, sender, receiver, isClient, writtenBytes: 0, reset: false };
    this.#plans.push({ ...there, sizeBytes: prng.pick([0, 1, 200, 5_000, 60_000, 150_000]) });
    // The answer, on the same stream: it may be written before the question arrives only where the stream exists.
    this.#plans.push({
      ...there,
      sender: receiver,
      receiver: sender,
      isClient: !isClient,
      sizeBytes: prng.integer(0, 3_000),
    });
  }

  #write(): void {
    if (this.#plans.length === 0) return;
    const plan = this.#prng.pick(this.#plans);
    this.#writeUpTo(plan, Math.min(plan.sizeBytes, plan.writtenBytes + this.#prng.integer(1, 20_000)));
  }

  #writeUpTo(plan: Plan, end: number): void {
    if (plan.reset || end === plan.writtenBytes || !exists(plan)) return;
    const bytes = streamBytes(plan.id, plan.isClient, plan.writtenBytes, end);
    plan.sender.connection.write(plan.id, bytes);
    plan.writtenBytes = end;
  }

  #disturb(sender: Peer): void {
    const prng = this.#prng, pair = this.#pair;
    const kind = prng.integer(0, 3);
    if (kind === 0) pair.rebind();
    else if (kind === 1) sender.out.blackoutUntilUs = pair.nowUs + prng.integer(0, 3_000_000);
    else if (this.#plans.length > 0) {
      const plan = prng.pick(this.#plans);
      if (!exists(plan) || plan.reset) return;
      plan.reset = true;
      if (kind === 2) plan.sender.connection.resetStream(plan.id, 7);
      else if (plan.receiver.connection.streamBufferedBytes(plan.id) >= 0) {
        plan.receiver.connection.stopSending(plan.id, 8);
      }
    }
  }

  #calm(): void {
    for (const peer of [this.#pair.client, this.#pair.server]) {
      peer.out.calm();
    }
  }

  /** Writes what is left, and the end. */
  #finish(plan: Plan): void {
    if (!exists(plan)) {
      // The stream has not reached this side: nothing was asked, so write something to bring it there.
      const question = this.#plans.find((other) => other.id === plan.id && other.sender === plan.receiver)!;
      this.#finish(question);
      for (let i = 0; i < 600 && !exists(plan); i++) this.#pass(100_000);
    }
    this.#writeUpTo(plan, plan.sizeBytes);
    plan.sender.connection.write(plan.id, new Uint8Array(0), true);
  }

  #close(): void {
    const pair = this.#pair, prng = this.#prng;
    const first = prng.chance(0.5) ? pair.client : pair.server;
    first.connection.close(0x20, "Going away", pair.nowUs);
    if (prng.chance(0.3)) pair.server.connection.close(0, "", pair.nowUs);
    this.#pass(120_000_000);
    for (const peer of [pair.client, pair.server]) {
      assert.ok(peer.connection.isGone, "it is not gone");
      assert.equal(peer.closed, 1, "the end is told once");
      assert.equal(peer.connection.nextDeadlineUs(), undefined, "a timer outlives it");
    }
  }

  #pass(us: number): void {
    const untilUs = this.#pair.nowUs + us;
    while (this.#pair.step(untilUs)) this.#checkPackets();
    this.#pair.nowUs = untilUs;
    this.#checkPackets();
  }

  #checkChunk(peer: Peer, id: number, chunk: Uint8Array): void {
    const checked = this.#checkedBytes.get(peer)!, offset = checked.get(id) ?? 0;
    const isFromClient = peer === this.#pair.server;
    for (let i = 0; i < chunk.length; i++) {
      assert.equal(chunk[i], streamByte(id, isFromClient, offset + i), `stream ${id} is wrong at ${offset + i}`);
    }
    checked.set(id, offset + chunk.length);
  }

  /** No nonce twice: packet numbers rise over all keys. */
  #checkPackets(): void {
    for (const { toServer, bytes } of this.#pair.recorded!) {
      const number = new DataView(bytes.buffer).getUint16(9) * 2 ** 32 + new DataView(bytes.buffer).getUint32(11);
      this.#trace?.(`${this.#pair.nowUs / 1e6} ${toServer ? "client" : "server"} sends ${describe(bytes)}`);
      const way = toServer ? "toServer" : "toClient";
      assert.ok(number > this.#highest[way], `packet number ${number} again`);
      this.#highest[way] = number;
      this.#checkedPackets++;
    }
    this.#pair.recorded!.length = 0;
  }
}

/** Whether the sender's side has the stream (its own at once, the peer's when something arrived). */
function exists(plan: Plan): boolean {
  const isOwn = (plan.id % 4 === 0) === plan.isClient;
  return isOwn || plan.sender.events.some((event: ConnectionEvent) => event.type === "stream" && event.id === plan.id);
}

function isComplete(plan: Plan): boolean {
  const inbox = plan.receiver.inbox(plan.id);
  return plan.reset || inbox.resetCode !== undefined || isEnded(plan) ||
    (inbox.finished && inbox.bytes === plan.sizeBytes);
}

/** A side that gave the stream up, or was told to, does not hear of the other's end. */
function isEnded(plan: Plan): boolean {
  const other = plan.sender.inbox(plan.id);
  return other.resetCode !== undefined;
}
