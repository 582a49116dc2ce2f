/** How long silence may last: the idle timeout, keep-alives, and a client's suspicion that its server is gone (RFC 9000 §10.1). */
import { KEEP_ALIVE_US } from "../limits.ts";
import type { EventQueue } from "./events.ts";
import type { RttEstimator } from "./rtt.ts";
import { Timer, type Timers } from "./timers.ts";

export interface LivenessParts {
  /** Only a client keeps the connection alive: it is the one behind a NAT, and servers hold many connections. */
  readonly isClient: boolean;
  readonly idleTimeoutUs: number;
  readonly timers: Timers;
  readonly rtt: RttEstimator;
  readonly events: EventQueue;
  /** Queues a PING. */
  readonly ping: () => void;
}

export class Liveness {
  readonly #parts: LivenessParts;
  /** An ack-eliciting packet left since the last one arrived: the next does not restart the idle timer. */
  #spoken = false;
  #spokenUs = 0;
  /** The longest silence that ended, fading with every answer: on a path that loses much, or a busy machine, it is long. */
  #survivedUs = 0;
  /** Told that the peer is silent, and not yet that it was heard again. */
  #silent = false;
  /** We looked late, and wait for what may have come meanwhile. */
  #isListening = false;
  /** Silence after which a client asks for a sign of life. */
  #keepAliveUs = KEEP_ALIVE_US;

  constructor(parts: LivenessParts) {
    this.#parts = parts;
  }

  /** An authentic packet arrived. */
  onHeard(nowUs: number): void {
    if (this.#spoken && this.#parts.isClient) {
      // A silence of our own teaches nothing about the peer's: otherwise a client that is busy at times waits long for a dead server.
      const silentUs = this.#isLate(nowUs) ? 0 : nowUs - this.#spokenUs;
      this.#survivedUs = Math.max(silentUs, this.#survivedUs * FADING);
    }
    this.#spoken = this.#isListening = false;
    this.#parts.timers.clear(Timer.Silence);
    if (this.#silent) {
      this.#silent = false;
      this.#parts.events.push({ type: "heard" });
    }
    this.restart(nowUs);
  }

  /** A packet left that the peer has to acknowledge. */
  onSpoken(nowUs: number): void {
    if (this.#spoken) return;
    this.#spoken = true;
    this.#spokenUs = nowUs;
    if (this.#parts.isClient) this.#parts.timers.set(Timer.Silence, nowUs + this.#patienceUs);
    this.restart(nowUs);
  }

  /** The idle timeout begins anew. It is never less than three probe timeouts (RFC 9000 §10.1). */
  restart(nowUs: number): void {
    const { timers, idleTimeoutUs, rtt, isClient } = this.#parts;
    timers.set(Timer.Idle, nowUs + Math.max(idleTimeoutUs, 3 * rtt.probeTimeoutUs));
    if (isClient) timers.set(Timer.KeepAlive, nowUs + this.#keepAliveUs);
  }

  /** Client: how long the server may be silent before it is asked for a sign of life. */
  keepAlive(us: number, nowUs: number): void {
    this.#keepAliveUs = us;
    if (this.#parts.isClient) this.#parts.timers.set(Timer.KeepAlive, nowUs + us);
  }

  /** @returns Whether the silence has lasted too long: the connection is over. */
  handleTimeout(nowUs: number): boolean {
    const { timers, ping } = this.#parts;
    // As in `onHeard`: what has come meanwhile is read after this.
    if (this.#isLate(nowUs)) this.#spokenUs = nowUs;
    if (timers.take(Timer.Idle, nowUs)) return true;
    if (timers.take(Timer.KeepAlive, nowUs)) {
      ping();
      timers.set(Timer.KeepAlive, nowUs + this.#keepAliveUs);
    }
    this.#handleSilence(nowUs);
    return false;
  }

  #handleSilence(nowUs: number): void {
    const { timers, ping, events, rtt } = this.#parts;
    const dueUs = timers.get(Timer.Silence);
    if (!timers.take(Timer.Silence, nowUs)) return;
    // Whoever looks this late was away itself: answers may lie unread. We ask again and listen, for as long as an answer takes at
    // least, and once: by the next look what lay there has been read, and a busy machine looks late each time.
    if (nowUs - dueUs > SILENCE_US_MIN && !this.#isListening) {
      this.#isListening = true;
      ping();
      timers.set(Timer.Silence, nowUs + Math.max(SILENCE_US_MIN, rtt.probeTimeoutUs));
    } else if (!this.#silent) {
      this.#silent = true;
      events.push({ type: "silent" });
    }
  }

  /** Whether something was due long ago: nobody looked here, and what has arrived since lies unread. */
  #isLate(nowUs: number): boolean {
    return nowUs - (this.#parts.timers.nextDeadlineUs() ?? Infinity) > LATE_US;
  }

  /** Two probe timeouts: what we said was repeated by then. Twice as long as any silence lately that meant nothing. */
  get #patienceUs(): number {
    const patienceUs = Math.max(2 * this.#parts.rtt.probeTimeoutUs, Math.min(2 * this.#survivedUs, SURVIVED_US_MAX));
    return Math.max(SILENCE_US_MIN, patienceUs);
  }
}

/** Below this a busy machine is taken for a dead one. */
const SILENCE_US_MIN = 200_000;
/** Timers of an event loop that has time are not so late. */
const LATE_US = 50_000;
/** Half is forgotten after 34 answers: ten seconds of an idle client. */
const FADING = 0.98;
const SURVIVED_US_MAX = 3_000_000;
