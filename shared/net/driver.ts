/**
 * Sockets, a clock and an endpoint, moved: deliver, poll, arm one timer, repeat. Decides nothing.
 *
 * A datagram is given to the endpoint as it comes, and what it brings to the application at once. Sending waits for the end
 * of the event loop's turn: by then several datagrams have been received (about eight of a burst) and the application,
 * its promises included, has said all it has to say, and all of it shares datagrams. That is batching without delay: the
 * turn ends in microseconds.
 */
import type { Logger } from "../log.ts";
import type { Primitives } from "../primitives.ts";
import type { ConnectionEvent, Endpoint, EndpointFailure, Link, LinkOwner, Task } from "../transport/mod.ts";
import { CloseCode } from "../errors.ts";
import type { Address } from "./channel.ts";
import type { Clock } from "./clock.ts";
import { PACKET_BUFFER_BYTES, PacketBuffer, PacketBuffers } from "./packet_buffers.ts";
import { RsaPace } from "./rsa_pace.ts";
import { openUdp, type Route, type UdpSockets } from "./udp_socket.ts";

export interface DriverOptions {
  readonly primitives: Primitives;
  readonly host: string;
  readonly port: number;
  readonly wildcardIsOne?: boolean;
  readonly clock: Clock;
  readonly logger: Logger;
  /** @returns `undefined` where RSA failed. */
  performTask(task: Task): Promise<Uint8Array | undefined>;
  /** Both sides of a connection have proven their keys. Called once for each, from the event loop. */
  onReady(link: Link): LinkOwner;
  /** The endpoint as a whole has failed. Called at most once. */
  onFailure?(failure: EndpointFailure): void;
}

export class Driver {
  readonly sockets: UdpSockets;
  readonly #options: DriverOptions;
  readonly #clock: Clock;
  readonly #buffers: PacketBuffers;
  readonly #pace: RsaPace;
  #endpoint: Endpoint | undefined;
  /** A buffer that was taken and not used. */
  #spare: PacketBuffer | undefined;
  #isFlushScheduled = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerUs = Infinity;
  #isFailed = false;
  #isClosed = false;

  /** Opens the sockets. @throws BindError */
  constructor(options: DriverOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.#buffers = PacketBuffers.of(options.primitives);
    this.#pace = new RsaPace(options.primitives);
    this.sockets = openUdp({
      host: options.host,
      port: options.port,
      wildcardIsOne: options.wildcardIsOne ?? false,
      ...receiveBuffers(this.#buffers),
      onDatagram: (bytes, from) => this.#onDatagram(bytes, from),
    });
  }

  /** Begins. Datagrams that came before were dropped. */
  start(endpoint: Endpoint): void {
    this.#endpoint = endpoint;
    this.schedule();
  }

  get nowUs(): number {
    return this.#clock.nowUs();
  }

  /** The application did something with this link. */
  touch(link: Link): void {
    if (link.isDirty || this.#endpoint === undefined || this.#isClosed) return;
    this.#endpoint.touch(link);
    this.schedule();
  }

  /** Flushes at the end of this turn of the event loop. */
  schedule(): void {
    if (this.#isFlushScheduled || this.#isClosed) return;
    this.#isFlushScheduled = true;
    setImmediate(this.#flush);
  }

  /** Waits until what was queued has left, as far as it may: for the last words before the end. */
  async drained(): Promise<void> {
    for (let turn = 0; turn < DRAIN_TURNS_MAX && !this.#isClosed; turn++) {
      await new Promise<void>((resolve) => setImmediate(() => resolve()));
      if (!this.#isFlushScheduled && turn >= 2) return;
    }
  }

  /** Closes the sockets. Nothing is said to anybody. @returns When the port is free again. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.sockets.close();
  }

  /** Between two turns nobody keeps a buffer: others of this process may have none. */
  #giveSpare(): void {
    this.#spare?.release();
    this.#spare = undefined;
  }

  #onDatagram(bytes: Uint8Array, from: Route): void {
    const endpoint = this.#endpoint;
    if (endpoint === undefined || this.#isClosed || bytes.length === 0) return;
    try {
      const link = endpoint.handleDatagram(bytes, from, this.#clock.nowUs());
      if (link !== undefined) this.#deliver(endpoint, link);
    } catch (error) {
      // A bug of ours that somebody's datagram found must cost that datagram, not deafen the server for everybody.
      this.#options.logger.log("error", "datagram failed", { error });
    }
    this.schedule();
  }

  #onTimer = (): void => {
    this.#timer = undefined;
    this.#timerUs = Infinity;
    if (this.#isClosed) return;
    this.#endpoint?.handleTimeout(this.#clock.nowUs());
    this.#flush();
  };

  #flush = (): void => {
    this.#isFlushScheduled = false;
    const endpoint = this.#endpoint;
    if (endpoint === undefined || this.#isClosed) return;
    for (let task = endpoint.pollTask(); task; task = endpoint.pollTask()) void this.#perform(endpoint, task);
    this.#sendAnswers(endpoint);
    this.#sendLinks(endpoint);
    this.#giveSpare();
    this.#arm(endpoint);
    if (endpoint.failure !== undefined) this.#fail(endpoint.failure);
  };

  #deliver(endpoint: Endpoint, link: Link): void {
    if (link.isReady && link.owner === undefined) this.#tell(link);
    for (let event = endpoint.pollEvent(link); event; event = endpoint.pollEvent(link)) {
      if (link.isReady) this.#tell(link, event);
    }
  }

  /** A handler that throws is a bug of ours, and must not end the other connections. */
  #tell(link: Link, event?: ConnectionEvent): void {
    try {
      link.owner ??= this.#options.onReady(link);
      if (event !== undefined) link.owner.handleEvent(event);
    } catch (error) {
      this.#options.logger.log("error", "channel handler failed", { error });
      link.isReady = link.owner !== undefined;
      link.connection.close(CloseCode.internal, "", this.#clock.nowUs());
      this.touch(link);
    }
  }

  #sendAnswers(endpoint: Endpoint): void {
    for (let answer = endpoint.pollAnswer(); answer; answer = endpoint.pollAnswer()) {
      this.#send(answer.bytes, answer.to, ignore);
    }
  }

  #sendLinks(endpoint: Endpoint): void {
    const unfinished: Link[] = [];
    for (let link = endpoint.takeDirty(); link; link = endpoint.takeDirty()) {
      this.#deliver(endpoint, link);
      const nowUs = this.#clock.nowUs();
      const sent = this.#sendLink(link, nowUs);
      endpoint.settle(link, nowUs);
      if (sent !== Sent.All) unfinished.push(link);
      if (sent === Sent.NoBuffer) {
        this.#buffers.whenFree(this.#resume);
        break;
      }
      if (sent === Sent.Burst) this.schedule();
    }
    for (const link of unfinished) endpoint.touch(link);
  }

  /** A burst has an end, so that the others are not kept waiting and receiving gets its turn. */
  #sendLink(link: Link, nowUs: number): Sent {
    const { connection } = link;
    for (let count = 0; count < BURST_DATAGRAMS_MAX; count++) {
      const buffer = this.#spare ?? this.#buffers.take();
      if (buffer === undefined) return Sent.NoBuffer;
      const bytes = connection.pollTransmit(buffer.bytes, nowUs);
      if (bytes === 0) {
        this.#spare = buffer;
        return Sent.All;
      }
      this.#spare = undefined;
      this.#send(buffer.bytes.subarray(0, bytes), connection.transmitTo, buffer.release);
    }
    return Sent.Burst;
  }

  #resume = (): void => this.schedule();

  #send(bytes: Uint8Array, to: Address, released: () => void): void {
    const socket = (to as Partial<Route>).socket ?? this.sockets.first;
    socket.send(bytes, to, released);
  }

  /** One timer for all. One that rings too early costs less than setting it anew with every packet. */
  #arm(endpoint: Endpoint): void {
    const deadlineUs = endpoint.nextDeadlineUs();
    if (deadlineUs === undefined || deadlineUs >= this.#timerUs) return;
    clearTimeout(this.#timer);
    this.#timerUs = deadlineUs;
    const delayMs = Math.max(0, Math.ceil((deadlineUs - this.#clock.nowUs()) / 1000));
    this.#timer = setTimeout(this.#onTimer, Math.min(delayMs, TIMER_MS_MAX));
  }

  /** RSA, away from the packets. */
  async #perform(endpoint: Endpoint, task: Task): Promise<void> {
    const run = () => this.#options.performTask(task);
    const result = await (task.type === "decrypt" ? this.#pace.run(run) : run().catch(() => undefined));
    if (this.#isClosed) return;
    endpoint.completeTask(task.id, result, this.#clock.nowUs());
    this.schedule();
  }

  #fail(failure: EndpointFailure): void {
    if (this.#isFailed) return;
    this.#isFailed = true;
    this.#options.onFailure?.(failure);
  }
}

/** Receive buffers out of the pool; plain ones where there are none, which only costs a copy. */
function receiveBuffers(pool: PacketBuffers): { buffer(): Uint8Array; onBufferFree(bytes: Uint8Array): void } {
  const taken = new Map<Uint8Array, PacketBuffer>();
  return {
    buffer() {
      const buffer = pool.takeToReceive();
      if (buffer === undefined) return new Uint8Array(PACKET_BUFFER_BYTES);
      taken.set(buffer.bytes, buffer);
      return buffer.bytes;
    },
    onBufferFree(bytes) {
      const buffer = taken.get(bytes);
      if (buffer === undefined) return;
      taken.delete(bytes);
      pool.giveReceived(buffer);
    },
  };
}

function ignore(): void {}

enum Sent {
  All,
  /** There is more, for the next turn. */
  Burst,
  NoBuffer,
}

/** What one connection may send in one turn: less than a loopback socket's buffer holds (about 92). */
const BURST_DATAGRAMS_MAX = 64;
/** `setTimeout` takes 31 bits. */
const TIMER_MS_MAX = 2 ** 31 - 1;
const DRAIN_TURNS_MAX = 200;
