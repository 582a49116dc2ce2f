/**
 * The workload that chat servers are compared by, whoever carries the messages: people in rooms (pairs, for direct messages)
 * who send bodies of 200 bytes to the others in their room.
 *
 * `max`: every sender keeps 16 messages outstanding (sent, not yet received by everybody in the room). Otherwise a fixed rate
 * over all senders, whatever happens. Every delivery is counted, and whether it was a repeat or overtaken; latency is from the
 * call to the receiver's callback, both in this process. Server CPU is user and system time of the server's processes over the
 * measured window, divided by the deliveries in it.
 */
import { percentile, processCpuUs, processMemoryKiB, type Row } from "./report.ts";

/** Somebody in a room. */
export interface Person {
  /** Sends to the others of the room. @param body Given over. */
  send(body: Uint8Array, refused: () => void): void;
  /** Something came. @param body Borrowed. */
  onBody: (body: Uint8Array) => void;
}

/** People who hear one another; the first `senders` of them speak. */
export interface Room {
  readonly people: readonly Person[];
  readonly senders: number;
}

/** The server that is measured. */
export interface Subject {
  readonly name: string;
  readonly pids: readonly number[];
}

export interface Load {
  /** Messages a second over all senders. */
  readonly rate: "max" | number;
  readonly ms: number;
  readonly warmUpMs?: number;
}

/** One run. Numbers are those of each sender, and travel in the bodies. */
class Run {
  readonly latencyMs: number[] = [];
  sent = 0;
  delivered = 0;
  duplicated = 0;
  reordered = 0;
  refused = 0;
  /** Deliveries in the measured window. */
  measured = 0;
  isMeasuring = false;
  isStopped = false;
  readonly senders: Sender[] = [];
  readonly #window: boolean;

  constructor(rooms: readonly Room[], window: boolean) {
    this.#window = window;
    for (const room of rooms) {
      for (let at = 0; at < room.senders; at++) {
        this.senders.push(new Sender(room, at, this.senders.length));
      }
      for (const [at, person] of room.people.entries()) person.onBody = (body) => this.#receive(room, at, body);
    }
  }

  /** Deliveries that there must be in the end. */
  get expected(): number {
    return this.senders.reduce((sum, sender) => sum + sender.sent * sender.receivers, 0);
  }

  send(sender: Sender): void {
    this.sent++;
    sender.send(() => this.refused++);
  }

  #receive(room: Room, receiver: number, body: Uint8Array): void {
    const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
    const sender = this.senders[view.getUint32(SENDER_AT)];
    if (sender?.room !== room || body.length !== BODY_BYTES) {
      throw new Error("A message came to where it does not belong");
    }
    const arrival = sender.arrived(receiver, view.getUint32(NUMBER_AT));
    if (arrival === Arrival.Repeat) {
      this.duplicated++;
      return;
    }
    if (arrival === Arrival.Overtaken) this.reordered++;
    this.delivered++;
    const { sentMs, isLast } = sender.delivered(view.getUint32(NUMBER_AT));
    if (this.isMeasuring) {
      this.measured++;
      this.latencyMs.push(performance.now() - sentMs);
    }
    if (isLast && this.#window && !this.isStopped) this.send(sender);
  }
}

enum Arrival {
  InOrder,
  Overtaken,
  Repeat,
}

/** What one sender has under way, and what each receiver has of it. */
class Sender {
  readonly room: Room;
  readonly receivers: number;
  sent = 0;
  readonly #person: Person;
  readonly #id: number;
  readonly #open = new Map<number, { readonly sentMs: number; left: number }>();
  /** By receiver: the newest number, and those before it that have not come. */
  readonly #newest: Int32Array;
  readonly #gaps: Set<number>[];

  constructor(room: Room, at: number, id: number) {
    this.room = room;
    this.receivers = room.people.length - 1;
    this.#person = room.people[at]!;
    this.#id = id;
    this.#newest = new Int32Array(room.people.length).fill(-1);
    this.#gaps = room.people.map(() => new Set());
  }

  send(refused: () => void): void {
    const number = this.sent++, body = new Uint8Array(BODY_BYTES), view = new DataView(body.buffer);
    // Version and kind of a sealed body.
    body[0] = body[1] = 1;
    view.setUint32(SENDER_AT, this.#id);
    view.setUint32(NUMBER_AT, number);
    this.#open.set(number, { sentMs: performance.now(), left: this.receivers });
    this.#person.send(body, refused);
  }

  arrived(receiver: number, number: number): Arrival {
    const newest = this.#newest[receiver]!, gaps = this.#gaps[receiver]!;
    if (number <= newest) return gaps.delete(number) ? Arrival.Overtaken : Arrival.Repeat;
    for (let missing = newest + 1; missing < number; missing++) gaps.add(missing);
    this.#newest[receiver] = number;
    return Arrival.InOrder;
  }

  /** One more receiver has it. */
  delivered(number: number): { sentMs: number; isLast: boolean } {
    const open = this.#open.get(number);
    if (open === undefined) throw new Error(`Message ${number} came, and was never sent`);
    const isLast = --open.left === 0;
    if (isLast) this.#open.delete(number);
    return { sentMs: open.sentMs, isLast };
  }
}

/** Runs the workload for a while in rooms that are there. */
export async function measure(subject: Subject, rooms: readonly Room[], load: Load): Promise<Row> {
  const run = new Run(rooms, load.rate === "max");
  const stopSending = load.rate === "max" ? fillWindows(run) : sendAtRate(run, load.rate);
  await pause(load.warmUpMs ?? WARM_UP_MS);
  const cpuUs = cpuUsOf(subject), beginMs = performance.now();
  run.isMeasuring = true;
  await pause(load.ms);
  run.isMeasuring = false;
  const usedUs = cpuUsOf(subject) - cpuUs, seconds = (performance.now() - beginMs) / 1000;
  run.isStopped = true;
  stopSending();
  const drainEndMs = performance.now() + DRAIN_MS;
  while (run.delivered < run.expected && performance.now() < drainEndMs) await pause(20);
  return {
    bench: "",
    subject: `${subject.name}, ${load.rate === "max" ? "max" : `${load.rate}/s`}`,
    deliveredPerS: Math.round(run.measured / seconds),
    serverCpuUsPerMessage: usedUs / run.measured,
    p50Ms: percentile(run.latencyMs, 0.5),
    p99Ms: percentile(run.latencyMs, 0.99),
    sent: run.sent,
    lost: run.expected - run.delivered,
    duplicated: run.duplicated,
    reordered: run.reordered,
    refused: run.refused,
    serverMiB: memoryKiBOf(subject) / 1024,
  };
}

/** What the server uses while everybody is connected and nobody says anything. */
export async function measureIdle(subject: Subject, ms: number): Promise<Row> {
  const cpuUs = cpuUsOf(subject), beginMs = performance.now();
  await pause(ms);
  const seconds = (performance.now() - beginMs) / 1000;
  return {
    bench: "",
    subject: `${subject.name}, nobody speaks`,
    serverCpuPercent: (cpuUsOf(subject) - cpuUs) / seconds / 10_000,
    serverMiB: memoryKiBOf(subject) / 1024,
  };
}

/** Neighbours talk to one another, and both speak. */
export function pairs(people: readonly Person[]): Room[] {
  const rooms: Room[] = [];
  for (let at = 0; at + 1 < people.length; at += 2) {
    rooms.push({ people: [people[at]!, people[at + 1]!], senders: 2 });
  }
  return rooms;
}

/** User and system time of all of a subject's processes so far, µs. */
export function cpuUsOf({ pids }: Subject): number {
  return pids.reduce((sum, pid) => sum + (processCpuUs(pid) ?? NaN), 0);
}

/** Resident memory of them all. */
export function memoryKiBOf({ pids }: Subject): number {
  return pids.reduce((sum, pid) => sum + (processMemoryKiB(pid) ?? NaN), 0);
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function fillWindows(run: Run): () => void {
  for (const sender of run.senders) {
    for (let i = 0; i < WINDOW; i++) run.send(sender);
  }
  return () => {};
}

function sendAtRate(run: Run, rate: number): () => void {
  const beginMs = performance.now(), { senders } = run;
  const timer = setInterval(() => {
    const due = (performance.now() - beginMs) * rate / 1000;
    while (run.sent < due) run.send(senders[run.sent % senders.length]!);
  }, 1);
  return () => clearInterval(timer);
}

export const BODY_BYTES = 200;
const SENDER_AT = 2;
const NUMBER_AT = 8;
const WINDOW = 16;
const WARM_UP_MS = 2000;
const DRAIN_MS = 15_000;
