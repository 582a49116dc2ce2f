/**
 * The random life of a cluster, decided by its seed: which faults, who connects, what is asked, who moves, dies or comes
 * back. Then the faults stop, and all that was asked must be answered: liveness. Safety is checked after every step.
 */
import { CloseCode } from "../../shared/errors.ts";
import { ACK_DELAY_US_MAX } from "../../shared/limits.ts";
import { DEFAULT_ENDPOINT_LIMITS, DEFAULT_LIMITS, type EndpointLimits } from "../../shared/transport/mod.ts";
import { Attacker } from "./attacker.ts";
import type { Faults } from "./network.ts";
import { Prng } from "./prng.ts";
import { type End, type Session, Talk } from "./talk.ts";
import { type Hooks, type SimClient, type SimServer, World } from "./world.ts";

export interface LifeOptions {
  readonly seed: number;
  readonly hooks?: Hooks | undefined;
  readonly trace?: ((line: string) => void) | undefined;
}

export class Life {
  readonly #prng: Prng;
  readonly #world: World;
  readonly #talk: Talk;
  readonly #attacker: Attacker;
  readonly #areReadersSlow: boolean;
  /** When the faults stopped. */
  #calmUs = Infinity;
  readonly #tokens = new Map<SimClient, Uint8Array>();

  constructor({ seed, hooks, trace }: LifeOptions) {
    const prng = this.#prng = new Prng(seed);
    const world = this.#world = new World({ prng: new Prng(prng.u32()), hooks: hooks ?? {}, trace });
    this.#talk = new Talk(world);
    this.#attacker = new Attacker(world, new Prng(prng.u32()));
    if (prng.chance(0.4)) this.#attacker.rate = prng.pick([0.01, 0.1, 0.5]);
    world.onStep = () => this.#talk.check();
    world.onConnected = (client, link) => {
      if (link !== undefined) this.#talk.begin(client, link);
      else this.#reconnect(client);
      const token = client.endpoint?.connected?.token;
      if (token !== undefined) this.#tokens.set(client, token);
    };
    this.#talk.onLost = (client, { code }) => {
      if (code === CloseCode.idle && world.nowUs > this.#calmUs + HEARD_US) {
        throw new Error(`${client.name} was left to find out by silence alone that its server forgot it`);
      }
      this.#reconnect(client);
    };
    this.#areReadersSlow = prng.chance(0.25);
    const limits = this.#endpointLimits();
    for (let i = prng.pick([1, 1, 2]); i > 0; i--) world.addServer(limits);
    const isSame = prng.chance(0.5), toServer = this.#faults(), toClient = this.#faults();
    for (let i = prng.pick([1, 1, 2, 3, 4]); i > 0; i--) {
      this.#connect(world.addClient(isSame ? toServer : this.#faults(), isSame ? toClient : this.#faults()));
    }
  }

  /** @returns Virtual time and datagrams. */
  run(): { datagrams: number; virtualUs: number } {
    const prng = this.#prng, world = this.#world;
    for (let i = prng.integer(3, 50); i > 0; i--) {
      this.#act();
      world.pass(prng.chance(0.03) ? prng.integer(1e6, 70e6) : prng.integer(1, 200_000));
    }
    this.#calm();
    this.#passUntil(() => this.#isAllDone(), LIVENESS_US + this.#transferUs(), () => this.#unanswered());
    this.#passUntil(() => this.#noise() === undefined, QUIET_US, () => this.#noise() ?? "");
    this.#end();
    return { datagrams: world.datagrams, virtualUs: world.nowUs };
  }

  /** Some faults off, others extreme. */
  #faults(): Partial<Faults> {
    const prng = this.#prng;
    const rate = (probability: number, most: number) => prng.chance(probability) ? prng.float() * most : 0;
    return {
      delayUs: prng.pick([50, 1_000, 20_000, 150_000]),
      jitterUs: prng.chance(0.5) ? prng.integer(0, 60_000) : 0,
      loss: rate(0.5, 0.4),
      burst: rate(0.3, 0.03),
      duplicate: rate(0.4, 0.3),
      reorder: rate(0.4, 0.3),
      corrupt: rate(0.3, 0.2),
      mtuBytes: prng.chance(0.05) ? prng.integer(300, 1199) : 0,
      bitsPerSecond: prng.chance(0.3) ? prng.pick([200_000, 1_000_000, 20_000_000]) : 0,
      queuePackets: prng.integer(5, 100),
    };
  }

  #endpointLimits(): EndpointLimits {
    const prng = this.#prng, limits = DEFAULT_ENDPOINT_LIMITS;
    if (!this.#areReadersSlow && prng.chance(0.4)) return limits;
    const streamWindowBytes = this.#areReadersSlow || prng.chance(0.5)
      ? prng.integer(2_000, 60_000)
      : DEFAULT_LIMITS.streamWindowBytes;
    return {
      ...limits,
      connectionsMax: prng.pick([12, 1000]),
      unconfirmedMax: prng.pick([2, 4096]),
      ciphertextsMax: prng.pick([8, 16_384]),
      rsa: {
        inFlightMax: prng.integer(1, 2),
        queuedMax: prng.integer(1, 64),
        perAddress: { perSecond: prng.integer(1, 20), burst: prng.integer(2, 300) },
        ceiling: { perSecond: prng.integer(5, 200), burst: prng.integer(5, 400) },
        addressesMax: prng.integer(4, 100),
      },
      resets: { perSecond: prng.integer(1, 50), burst: prng.integer(1, 100) },
      transport: {
        ...DEFAULT_LIMITS,
        streamWindowBytes,
        connectionWindowBytes: streamWindowBytes + prng.integer(0, 100_000),
        streamsOpenMax: prng.chance(0.5) ? prng.integer(1, 10) : DEFAULT_LIMITS.streamsOpenMax,
      },
    };
  }

  #act(): void {
    if (this.#areReadersSlow) this.#pauseReaders();
    const prng = this.#prng, action = prng.integer(0, 23), client = prng.pick(this.#world.clients);
    const session = this.#talk.current.get(client);
    const end = prng.chance(0.5) ? session?.client : session?.server;
    if (action <= 6) return this.#ask(client);
    if (action <= 13) return this.#write();
    if (action >= 20) return this.#disturb(client);
    if (end?.isLive !== true || !end.isConfirmed) return;
    if (action <= 15) { for (let i = prng.integer(1, 10); i > 0; i--) this.#talk.sendHint(end); }
    else if (action === 16) end.connection.updateKeys(this.#world.localUs(end.host));
    else if (action === 17) this.#talk.setReading(end, !end.reads);
    else if (action === 18) this.#giveUp();
    else this.#talk.giveTicket(end);
    this.#world.touch(end.host, end.link);
  }

  /** Readers that stop in the middle of much. */
  #pauseReaders(): void {
    if (this.#prng.chance(0.2)) this.#ask(this.#prng.pick(this.#world.clients), MUCH_BYTES);
    for (const session of this.#talk.live()) {
      for (const end of [session.client!, session.server!]) {
        if (this.#prng.chance(0.3)) this.#talk.setReading(end, !end.reads);
      }
    }
  }

  #ask(client: SimClient, questionBytes?: number): void {
    const prng = this.#prng;
    const job = this.#talk.addJob(client, {
      byClient: prng.chance(0.6),
      priority: prng.pick([0, 1, 2] as const),
      questionBytes: questionBytes ?? prng.pick([0, 1, 200, 200, 5_000, 60_000, 150_000, MUCH_BYTES]),
      answerBytes: prng.pick([0, 20, 200, 3_000, 30_000]),
    });
    this.#talk.beginJobs();
    if (questionBytes !== undefined || prng.chance(0.3)) this.#talk.ask(job, job.questionBytes);
  }

  #write(): void {
    const prng = this.#prng, open = this.#talk.jobs.filter((job) => this.#talk.isUnderWay(job));
    if (open.length > 0) this.#talk.ask(prng.pick(open), prng.integer(1, 50_000));
  }

  /** One side of a stream does not want it any more. */
  #giveUp(): void {
    const prng = this.#prng, open = this.#talk.jobs.filter((job) => this.#talk.isUnderWay(job) && !job.isDone);
    if (open.length === 0) return;
    const job = prng.pick(open), end = this.#talk.asker(job)!;
    job.isAbandoned = true;
    // The other half goes on, but nobody waits for it.
    end.connection.resetStream(job.streamId, 7);
    end.connection.stopSending(job.streamId, 8);
    this.#world.touch(end.host, end.link);
  }

  #disturb(client: SimClient): void {
    const prng = this.#prng, world = this.#world, untilUs = world.nowUs + this.#while();
    switch (prng.integer(0, 8)) {
      case 0:
      case 1:
        return world.rebind(client);
      case 2:
        world.say(client, `is cut off until ${untilUs / 1e6}`);
        client.up.blackoutUntilUs = client.down.blackoutUntilUs = untilUs;
        return;
      case 3: {
        world.say(client, `is half cut off until ${untilUs / 1e6}`);
        (prng.chance(0.5) ? client.up : client.down).blackoutUntilUs = untilUs;
        return;
      }
      case 4:
        return this.#crashServer(prng.pick(world.servers));
      case 5:
        return this.#crashClient(client);
      case 6:
        return this.#close(client);
      default: {
        const link = prng.chance(0.5) ? client.up : client.down;
        world.say(client, "has another network");
        link.faults = { ...link.faults, ...this.#faults() };
      }
    }
  }

  /** Mostly short; sometimes longer than anybody's patience. */
  #while(): number {
    return this.#prng.chance(0.1) ? this.#prng.integer(10e6, 100e6) : this.#prng.integer(1_000, 5e6);
  }

  #crashServer(server: SimServer): void {
    if (server.endpoint === undefined) return;
    this.#world.crash(server);
    this.#talk.forget(server);
    this.#world.later(this.#prng.integer(1_000, 5e6), () => this.#start(server));
  }

  #start(server: SimServer): void {
    if (server.endpoint === undefined) this.#world.start(server);
  }

  #crashClient(client: SimClient): void {
    this.#world.crash(client);
    this.#talk.forget(client);
    // A new process has a new socket; the token was on disk, or was not.
    this.#world.rebind(client);
    if (this.#prng.chance(0.5)) this.#tokens.delete(client);
    this.#reconnect(client);
  }

  #close(client: SimClient): void {
    const session = this.#talk.current.get(client);
    const end = this.#prng.chance(0.5) ? session?.client : session?.server;
    if (session === undefined || end?.isLive !== true) return;
    this.#closeEnd(session, end);
  }

  #closeEnd(session: Session, end: End): void {
    session.isClosing = true;
    end.connection.close(CloseCode.goElsewhere, "Going away", this.#world.localUs(end.host));
    this.#world.touch(end.host, end.link);
  }

  readonly #reconnecting = new Set<SimClient>();

  #reconnect(client: SimClient): void {
    if (this.#isOver || this.#reconnecting.has(client)) return;
    this.#reconnecting.add(client);
    this.#world.later(this.#prng.integer(1_000, 2e6), () => {
      this.#reconnecting.delete(client);
      this.#connect(client);
    });
  }

  #connect(client: SimClient): void {
    if (this.#isOver) return;
    const prng = this.#prng, world = this.#world;
    const kept = this.#tokens.get(client);
    const token = prng.chance(0.2) ? new Uint8Array(0) : kept ?? world.token(client.address.host);
    const ticket = prng.chance(0.8) ? client.kept : undefined;
    // A ticket serves once; a client that was set back to an old copy of its disk does not know that.
    if (ticket !== undefined && prng.chance(0.9)) client.kept = undefined;
    world.connect(client, prng.pick(world.servers), token, ticket);
  }

  #isOver = false;

  #calm(): void {
    const world = this.#world;
    world.trace?.(`${world.nowUs / 1e6} the faults stop`);
    this.#calmUs = world.nowUs;
    this.#attacker.rate = 0;
    for (const server of world.servers) this.#start(server);
    for (const { up, down } of world.clients) {
      up.calm();
      down.calm();
    }
    for (const session of this.#talk.sessions) {
      for (const end of [session.client, session.server]) if (end !== undefined) this.#talk.setReading(end, true);
    }
  }

  #isAllDone(): boolean {
    const talk = this.#talk;
    talk.beginJobs();
    let done = true;
    for (const job of talk.jobs) {
      if (job.isDone || job.isAbandoned) continue;
      done = false;
      talk.ask(job, job.questionBytes);
    }
    return done && this.#world.clients.every((client) => {
      const session = talk.current.get(client);
      return session?.isClosing === false && session.server?.isConfirmed;
    });
  }

  #passUntil(isDone: () => boolean, withinUs: number, complaint: () => string): void {
    const startUs = this.#world.nowUs;
    while (!isDone()) {
      if (this.#world.nowUs - startUs > withinUs) {
        throw new Error(`${withinUs / 1e6} s more and ${complaint()}`);
      }
      this.#world.pass(100_000);
    }
  }

  /** What all that is left needs on the slowest link and through the smallest window, generously. */
  #transferUs(): number {
    let bytes = 0, usPerByte = 0;
    for (const job of this.#talk.jobs) {
      if (!job.isDone && !job.isAbandoned) bytes += job.questionBytes + job.answerBytes;
    }
    const windowBytes = Math.min(...this.#world.servers.map(({ limits }) => limits.transport.streamWindowBytes));
    for (const { up, down } of this.#world.clients) {
      const roundTripUs = up.faults.delayUs + down.faults.delayUs + ACK_DELAY_US_MAX;
      usPerByte = Math.max(usPerByte, 4 * roundTripUs / windowBytes);
      for (const { faults } of [up, down]) {
        if (faults.bitsPerSecond > 0) usPerByte = Math.max(usPerByte, 2 * 8e6 / faults.bitsPerSecond);
      }
    }
    return bytes * usPerByte;
  }

  #unanswered(): string {
    const open = this.#talk.jobs.filter((job) => !job.isDone && !job.isAbandoned);
    const names = new Set(open.map((job) => `${job.client.name} stream ${job.streamId}`));
    return open.length === 0 ? "not everybody is connected" : `these are unanswered: ${[...names].join(", ")}`;
  }

  /** Everything was said and acknowledged: what is left over in any session, or nothing. */
  #noise(): string | undefined {
    for (const session of this.#talk.live()) {
      for (const { connection, host } of [session.client!, session.server!]) {
        if (connection.bufferedBytes > 0) return `${host.name} still buffers ${connection.bufferedBytes} bytes`;
        if (connection.stats.bytesInFlight > 0) return `${host.name} still has bytes in flight`;
        const isAbandoned = [...session.jobs.values()].some((job) => job.isAbandoned || job.session !== session);
        if (connection.streamsOpen > 0 && !isAbandoned) {
          return `${host.name} keeps ${connection.streamsOpen} streams that are over`;
        }
      }
    }
    return undefined;
  }

  /** Everybody leaves; nothing may remember them for longer than a silent connection is kept. */
  #end(): void {
    const world = this.#world;
    this.#isOver = true;
    for (const session of this.#talk.sessions) {
      if (session.client?.isLive) this.#closeEnd(session, session.client);
    }
    world.pass(FORGOTTEN_US);
    for (const server of world.servers) {
      const { size } = server.endpoint!;
      if (size > 0) throw new Error(`${server.name} keeps ${size} connections that are over`);
      if (server.endpoint!.nextDeadlineUs() !== undefined) throw new Error(`${server.name} keeps a timer for nobody`);
    }
    for (const { client } of this.#talk.sessions) {
      if (client !== undefined && client.closed === undefined && !client.isLost) {
        throw new Error(`${client.host.name} was never told of the end`);
      }
    }
  }
}

/** More than any window. */
const MUCH_BYTES = 300_000;
/** Longer than a silent connection lives and a new one takes. */
const LIVENESS_US = 150e6;
/** A keep-alive, and what a busy server needs to reset many. */
const HEARD_US = 25e6;
/** A client that moved while it had nothing to say is found again when it says so. */
const QUIET_US = 30e6;
const FORGOTTEN_US = 200e6;
