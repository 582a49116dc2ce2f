/**
 * The application of a simulated cluster: clients and servers ask one another on streams, and everybody remembers what was
 * said, so that every byte that arrives is judged at once.
 *
 * A job is a question and its answer. It outlives the connection that it began on: after a crash it begins again on the
 * next one, until it is done. What a server had whole it stored, and that survives it.
 */
import { CloseCode, type CloseReason } from "../../shared/errors.ts";
import { decodeGrant } from "../../shared/handshake/mod.ts";
import { CONGESTION_WINDOW_BYTES_MAX, DATAGRAM_BYTES, STREAM_WINDOW_BYTES_MAX } from "../../shared/limits.ts";
import {
  type Connection,
  type ConnectionEvent,
  DEFAULT_LIMITS,
  Link,
  type Priority,
  type TransportLimits,
} from "../../shared/transport/mod.ts";
import { streamByte, streamBytes } from "./scenario.ts";
import { type Host, SimClient, SimServer, type World } from "./world.ts";

/** One side of a session. */
export class End {
  readonly inboxes = new Map<number, { bytes: number; finished: boolean; reset: boolean }>();
  /** Bytes written, by stream, and the streams whose end was. */
  readonly written = new Map<number, number>();
  readonly ended = new Set<number>();
  readonly hints = new Set<string>();
  /** Streams with something to read, while `reads` is false. */
  readonly unread = new Set<number>();
  reads = true;
  isConfirmed = false;
  closed: CloseReason | undefined;

  constructor(readonly host: Host, readonly link: Link, readonly session: Session) {}

  get connection(): Connection {
    return this.link.connection;
  }

  get isClient(): boolean {
    return this.host instanceof SimClient;
  }

  /** It can be talked to, and its host has not forgotten it in a crash. */
  get isLive(): boolean {
    return this.closed === undefined && !this.isLost;
  }

  /** Its host crashed. */
  isLost = false;

  inbox(id: number) {
    let inbox = this.inboxes.get(id);
    if (inbox === undefined) this.inboxes.set(id, inbox = { bytes: 0, finished: false, reset: false });
    return inbox;
  }
}

/** One connection as both sides see it. */
export class Session {
  client: End | undefined;
  server: End | undefined;
  readonly jobs = new Map<number, Job>();
  /** Streams whose question arrived whole. */
  readonly stored = new Set<number>();
  /** What stands in hints of this session only. */
  hints = 0;
  /** One side was told to close it. */
  isClosing = false;

  constructor(readonly serial: number, readonly id: string) {}

  other(end: End): End | undefined {
    return end === this.client ? this.server : this.client;
  }
}

export interface Job {
  readonly number: number;
  readonly client: SimClient;
  /** Who asks. */
  readonly byClient: boolean;
  readonly priority: Priority;
  readonly questionBytes: number;
  readonly answerBytes: number;
  /** Where it is being done. */
  session: Session | undefined;
  streamId: number;
  isDone: boolean;
  /** Somebody gave it up: what came of it is right, but need not be all. */
  isAbandoned: boolean;
}

export class Talk {
  readonly sessions: Session[] = [];
  readonly jobs: Job[] = [];
  /** By client: the session that it would use now. */
  readonly current = new Map<SimClient, Session>();
  /** A client was told that its connection is over. */
  onLost: (client: SimClient, reason: CloseReason) => void = () => {};
  readonly #world: World;
  readonly #byId = new Map<string, Session>();
  readonly #ends = new WeakMap<Link, End>();

  constructor(world: World) {
    this.#world = world;
    world.onEvent = (host, link, event) => this.#onEvent(host, link, event);
  }

  /** A client's handshake brought this link. */
  begin(client: SimClient, link: Link): void {
    const end = this.#endOf(client, link), ticket = client.endpoint?.connected?.ticket;
    this.current.set(client, end.session);
    if (ticket !== undefined && ticket.length > 0) this.keepTicket(end, ticket);
  }

  /** The host lost its memory: what it had in sessions is gone, what it stored is not. */
  forget(host: Host): void {
    for (const session of this.sessions) {
      for (const end of [session.client, session.server]) if (end?.host === host) end.isLost = true;
    }
    if (host instanceof SimClient) this.current.delete(host);
  }

  addJob(client: SimClient, options: Pick<Job, "byClient" | "priority" | "questionBytes" | "answerBytes">): Job {
    const number = this.jobs.length;
    const fresh = { session: undefined, streamId: -1, isDone: false, isAbandoned: false };
    const job: Job = { ...options, number, client, ...fresh };
    this.jobs.push(job);
    return job;
  }

  /** Begins every job that is not under way where both sides are there. */
  beginJobs(): void {
    for (const job of this.jobs) {
      if (job.isDone || job.isAbandoned || this.isUnderWay(job)) continue;
      const session = this.current.get(job.client);
      const asker = job.byClient ? session?.client : session?.server;
      if (session === undefined || session.isClosing || !asker?.isLive || !asker.isConfirmed) continue;
      job.session = session;
      job.streamId = asker.connection.openStream(job.priority);
      session.jobs.set(job.streamId, job);
    }
  }

  /** The side that asks still has its connection, and so will hear of its end. */
  isUnderWay(job: Job): boolean {
    const end = job.byClient ? job.session?.client : job.session?.server;
    return end !== undefined && end.isLive && job.session!.client?.isLost !== true &&
      this.current.get(job.client) === job.session;
  }

  asker(job: Job): End | undefined {
    return job.byClient ? job.session?.client : job.session?.server;
  }

  /** Writes some more of a question, and its end where that is all. */
  ask(job: Job, bytesMax: number): void {
    const end = this.asker(job);
    if (!end?.isLive || !this.isUnderWay(job)) return;
    this.#write(end, job.streamId, { of: job.questionBytes, bytesMax, mayEnd: true });
  }

  sendHint(end: End): void {
    const session = end.session, bytes = new Uint8Array(9);
    const view = new DataView(bytes.buffer);
    view.setUint8(0, end.isClient ? 1 : 0);
    view.setUint32(1, session.serial);
    view.setUint32(5, session.hints++);
    end.connection.sendHint(bytes);
    this.#world.touch(end.host, end.link);
  }

  /** The server of this end hands out a ticket. */
  giveTicket(end: End): void {
    const client = end.session.client?.host;
    if (!(end.host instanceof SimServer) || !(client instanceof SimClient)) return;
    end.host.endpoint?.grant(end.link, this.#world.login(client), this.#world.nowUs);
    this.#world.touch(end.host, end.link);
  }

  keepTicket(end: End, bytes: Uint8Array): void {
    const grant = decodeGrant(bytes);
    if (grant === undefined) throw new Error(`${end.host.name} is given something that is no ticket`);
    if (end.host instanceof SimClient) end.host.kept = { ticket: grant.ticket, secret: end.link.resumption };
  }

  setReading(end: End, reads: boolean): void {
    end.reads = reads;
    if (!reads || !end.isLive) return;
    for (const id of end.unread) this.#read(end, id);
    end.unread.clear();
  }

  /** Every session in which both sides still are. */
  *live(): Generator<Session> {
    for (const session of this.sessions) if (session.client?.isLive && session.server?.isLive) yield session;
  }

  /** What holds at any time. */
  check(): void {
    for (const session of this.current.values()) {
      for (const end of [session.client, session.server]) if (end?.isLive) this.#checkEnd(end);
    }
  }

  #checkEnd(end: End): void {
    const { bytesInFlight } = end.connection.stats;
    if (bytesInFlight > CONGESTION_WINDOW_BYTES_MAX + 4 * DATAGRAM_BYTES) {
      throw new Error(`${bytesInFlight} bytes in flight`);
    }
    const other = end.session.other(end);
    if (!other?.isLive) return;
    const limits = this.#limits(other.host);
    // A quick reader's window grows, up to half of what its connection has.
    const grownBytesMax = Math.min(STREAM_WINDOW_BYTES_MAX, limits.connectionWindowBytes / 2);
    const streamBytesMax = Math.max(limits.streamWindowBytes, grownBytesMax);
    let heldBytes = 0;
    for (const [id, written] of end.written) {
      const job = end.session.jobs.get(id);
      if (job === undefined || job.isAbandoned || job.isDone) continue;
      // What was acknowledged and not read lies in the receiver's memory.
      const held = written - end.connection.streamBufferedBytes(id) - (other.inboxes.get(id)?.bytes ?? 0);
      if (held > streamBytesMax) this.#hoards(other, `stream ${id}`, held, streamBytesMax);
      heldBytes += held;
    }
    if (heldBytes > limits.connectionWindowBytes) {
      this.#hoards(other, "its connection", heldBytes, limits.connectionWindowBytes);
    }
  }

  #hoards(end: End, what: string, bytes: number, bytesMax: number): never {
    throw new Error(`${end.host.name} holds ${bytes} unread bytes of ${what}, may hold ${bytesMax}`);
  }

  #limits(host: Host): TransportLimits {
    return host instanceof SimServer ? host.limits.transport : DEFAULT_LIMITS;
  }

  #endOf(host: Host, link: Link): End {
    const known = this.#ends.get(link);
    if (known !== undefined) return known;
    const id = link.connectionId.toHex();
    const side = host instanceof SimClient ? "client" : "server";
    let session = this.#byId.get(id);
    if (session === undefined) {
      session = new Session(this.sessions.length, id);
      this.#byId.set(id, session);
      this.sessions.push(session);
    }
    if (session[side] !== undefined) throw new Error(`Connection id ${id} is given a second time`);
    const end = new End(host, link, session);
    session[side] = end;
    this.#ends.set(link, end);
    return end;
  }

  #onEvent(host: Host, link: Link, event: ConnectionEvent): void {
    const end = this.#endOf(host, link);
    if (end.closed !== undefined) throw new Error(`${host.name} is told ${event.type} after the end`);
    switch (event.type) {
      case "confirmed":
        end.isConfirmed = true;
        this.#onConfirmed(end);
        return this.beginJobs();
      case "ticket":
        return this.keepTicket(end, event.bytes);
      case "stream":
        return this.#onStream(end, event.id);
      case "readable":
        if (end.reads) this.#read(end, event.id);
        else end.unread.add(event.id);
        return;
      case "finished":
        return this.#onFinished(end, event.id);
      case "reset":
        return this.#onReset(end, event.id);
      case "hint":
        return this.#onHint(end, event.bytes);
      case "closed":
        end.closed = event.reason;
        return this.#onClosed(end, event.reason);
    }
  }

  /** Who resumes is who the ticket was given to. */
  #onConfirmed(end: End): void {
    const client = end.session.client?.host;
    if (end.isClient || !(client instanceof SimClient)) return;
    const { ticket } = end.link;
    if (ticket !== undefined && ticket.user !== client.name) {
      throw new Error(`${client.name} resumed as ${ticket.user}`);
    }
    this.giveTicket(end);
  }

  #onStream(end: End, id: number): void {
    const job = this.#job(end, id);
    const bytesMax = job.answerBytes >> 1;
    // Some answers begin before the question is over.
    if (this.#world.prng.chance(0.2)) this.#write(end, id, { of: job.answerBytes, bytesMax, mayEnd: false });
  }

  #read(end: End, id: number): void {
    const inbox = end.inbox(id), tag = end.session.serial * 4;
    const isFromClient = !end.isClient;
    for (let chunk = end.connection.read(id); chunk !== undefined; chunk = end.connection.read(id)) {
      for (let i = 0; i < chunk.length; i++) {
        if (chunk[i] === streamByte(id + tag, isFromClient, inbox.bytes + i)) continue;
        throw new Error(`${end.host.name} reads stream ${id} wrong at ${inbox.bytes + i}`);
      }
      inbox.bytes += chunk.length;
    }
    this.#world.touch(end.host, end.link);
  }

  /** The peer's half is over and was read. */
  #onFinished(end: End, id: number): void {
    const job = this.#job(end, id), inbox = end.inbox(id);
    if (inbox.finished) throw new Error(`The end of stream ${id} is told twice`);
    inbox.finished = true;
    if (job.isAbandoned) return;
    const isAsked = job.byClient !== end.isClient;
    const wanted = isAsked ? job.questionBytes : job.answerBytes;
    if (inbox.bytes !== wanted) {
      throw new Error(`${end.host.name} was told the end of stream ${id} after ${inbox.bytes} bytes of ${wanted}`);
    }
    if (isAsked) {
      end.session.stored.add(id);
      this.#write(end, id, { of: job.answerBytes, bytesMax: job.answerBytes, mayEnd: true });
    } else {
      if (!end.session.stored.has(id)) throw new Error(`The question of stream ${id} is answered and was never heard`);
      // One that began again elsewhere is to be finished there.
      if (job.session === end.session) job.isDone = true;
    }
  }

  #onReset(end: End, id: number): void {
    if (!this.#job(end, id).isAbandoned) throw new Error(`Stream ${id} was reset by nobody`);
    end.inbox(id).reset = true;
  }

  #onHint(end: End, bytes: Uint8Array): void {
    const key = bytes.toHex(), view = new DataView(bytes.buffer, bytes.byteOffset);
    const isOurs = bytes.length === 9 && view.getUint8(0) === (end.isClient ? 0 : 1) &&
      view.getUint32(1) === end.session.serial && view.getUint32(5) < end.session.hints;
    if (!isOurs) throw new Error(`${end.host.name} hears a hint that was not for it`);
    if (end.hints.has(key)) throw new Error(`${end.host.name} hears a hint twice`);
    end.hints.add(key);
  }

  /** Nobody who has no keys can end a connection: whoever is told of an end finds its cause in what was done. */
  #onClosed(end: End, told: CloseReason): void {
    const { code, reason } = told;
    const { session } = end, other = session.other(end);
    const isForgotten = other === undefined || other.isLost || other.closed !== undefined || other.link.isForgotten;
    const isRight = code === CloseCode.idle ? true : code === CloseCode.reset ? isForgotten : session.isClosing;
    if (!isRight) throw new Error(`${end.host.name} is told that its connection ended: ${code} ${reason}`);
    if (end.host instanceof SimClient) {
      if (this.current.get(end.host) === session) this.current.delete(end.host);
      this.onLost(end.host, told);
    }
  }

  #job(end: End, id: number): Job {
    const job = end.session.jobs.get(id);
    if (job === undefined) throw new Error(`${end.host.name} hears of stream ${id}, which nobody opened`);
    return job;
  }

  #write(end: End, id: number, options: { of: number; bytesMax: number; mayEnd: boolean }): void {
    const from = end.written.get(id) ?? 0;
    if (end.ended.has(id)) return;
    const to = Math.min(options.of, from + options.bytesMax);
    const isEnd = to === options.of && options.mayEnd;
    end.connection.write(id, streamBytes(id + end.session.serial * 4, end.isClient, from, to), isEnd);
    end.written.set(id, to);
    if (isEnd) end.ended.add(id);
    this.#world.touch(end.host, end.link);
  }
}
