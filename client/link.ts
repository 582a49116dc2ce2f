/**
 * Keeps one authenticated connection alive: locates, connects, logs in, and does it again wherever the last one failed.
 *
 * What goes over it is others' business: they wait for {@linkcode Link.ready}, and ask again what a lost connection left
 * unanswered, which the protocol makes harmless.
 */
import { CloseCode, type CloseReason, ErrorCode, RequestError } from "../shared/errors.ts";
import type { Channel } from "../shared/net/channel.ts";
import type { Event, RequestOf } from "../shared/protocol/mod.ts";
import { CannotReachError, FastChatError, NoAnswerError, RefusedError, TimedOutError } from "./errors.ts";
import { jittered, pause } from "./pause.ts";
import { type Askable, ConnectionLostError, Remote } from "./remote.ts";

/** A connection whose server has proved its key, before anybody logged in on it. */
export interface Dialed {
  readonly channel: Channel;
  /** The server's number: what to exclude when it fails. */
  readonly serverNumber: number;
  /** HOST:PORT that this connection goes to. */
  readonly server: string;
  /** Settles when the channel has ended and nothing of it is left. */
  readonly ended?: Promise<void>;
}

export interface DialOptions {
  /** Numbers of servers that just failed us. */
  readonly excluded: readonly number[];
  /** What is left of the time, or what one attempt may take. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

export interface LinkOptions {
  /**
   * Finds a server and shakes hands.
   *
   * @throws CannotReachError to be tried again, NoAnswerError to be tried again only where it worked before; any other
   * FastChatError ends the link.
   */
  dial(options: DialOptions): Promise<Dialed>;
  /** Makes a connection ours: log in, subscribe. Thrown errors are judged as those of `dial`. */
  authenticate(remote: Remote, signal: AbortSignal): Promise<void>;
  onEvent(event: Event): void;
  /** After every successful login. */
  onConnected(remote: Remote, server: string): void;
  /** The connection is gone and another is being looked for. */
  onReconnecting(reason: string): void;
  /** Nothing more will come: closed, or an error that no retry can heal. */
  onClosed(error: Error): void;
}

export class Link {
  readonly #options: LinkOptions;
  readonly #stop = new AbortController();
  readonly #waiters = new Set<{ resolve(remote: Remote): void; reject(error: Error): void }>();
  #remote: Remote | undefined;
  #server = "";
  #fatal: Error | undefined;
  #watchdog: ReturnType<typeof setInterval> | undefined;
  #failed: number[] = [];
  #lastEnded: Promise<void> = Promise.resolve();

  constructor(options: LinkOptions) {
    this.#options = options;
  }

  /** The connection, where there is one now. */
  get remote(): Remote | undefined {
    return this.#remote;
  }

  /** HOST:PORT of the server; of the last one while there is none. */
  get server(): string {
    return this.#server;
  }

  /**
   * Connects for the first time, trying again what may pass.
   *
   * @throws CannotReachError, NotAuthenticatedError, RefusedError, KeyChangedError, TimedOutError: the link is closed then.
   */
  async start(timeoutMs: number, signal?: AbortSignal): Promise<void> {
    const deadline = AbortSignal.timeout(timeoutMs), startMs = performance.now();
    const all = AbortSignal.any([this.#stop.signal, deadline, ...(signal ? [signal] : [])]);
    let last: unknown;
    try {
      for (let attempt = 0;; attempt++) {
        try {
          // A little less than is left, so that what it says of the failure is heard.
          return await this.#connect(all, Math.max(1, startMs + timeoutMs - performance.now() - LAST_WORD_MS));
        } catch (error) {
          if (!isTransient(error) || error instanceof NoAnswerError || all.aborted) throw error;
          last = error;
          await pause(retryDelayMs(attempt, error), all);
        }
      }
    } catch (error) {
      this.#end(error as Error);
      if (signal?.aborted) throw signal.reason;
      if (!deadline.aborted) throw asFastChatError(error);
      if (last !== undefined) throw asFastChatError(last);
      if (error instanceof FastChatError) throw error;
      throw new TimedOutError(`Not connected within ${timeoutMs / 1000} s: the server answers, but does not finish`);
    }
  }

  /** The connection as soon as there is one. @throws What ended the link, or the signal's reason. */
  ready(signal?: AbortSignal): Promise<Remote> {
    if (this.#fatal) return Promise.reject(this.#fatal);
    if (this.#remote) return Promise.resolve(this.#remote);
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const done = () => {
        this.#waiters.delete(waiter);
        signal?.removeEventListener("abort", abort);
      };
      const waiter = {
        resolve: (remote: Remote) => (done(), resolve(remote)),
        reject: (error: Error) => (done(), reject(error)),
      };
      const abort = () => waiter.reject(signal!.reason);
      this.#waiters.add(waiter);
      signal?.addEventListener("abort", abort, { once: true });
    });
  }

  /**
   * Asks over whatever connection there is, again after a lost one or a busy server, until the time is over.
   *
   * @throws RefusedError for a real refusal, TimedOutError, or what ended the link.
   */
  async ask<K extends Askable>(request: RequestOf<K>, timeoutMs: number = ASK_TIMEOUT_MS) {
    const deadline = AbortSignal.timeout(timeoutMs);
    for (let attempt = 0;; attempt++) {
      try {
        const remote = await this.ready(deadline);
        return await remote.ask<K>(request, deadline) as Awaited<ReturnType<typeof remote.ask<K>>>;
      } catch (error) {
        if (deadline.aborted) throw new TimedOutError(`The server did not answer within ${timeoutMs / 1000} s`);
        if (this.#fatal || !isTransient(error)) throw asFastChatError(error);
        await pause(retryDelayMs(attempt, error), deadline).catch(() => {});
      }
    }
  }

  /** Resolves when the connection's last words have left. */
  async close(): Promise<void> {
    this.#end(new FastChatError("The client is closed"));
    await this.#lastEnded;
  }

  async #connect(signal: AbortSignal, timeoutMs: number): Promise<void> {
    const dialed = await this.#options.dial({ excluded: this.#failed, timeoutMs, signal });
    this.#lastEnded = dialed.ended ?? Promise.resolve();
    const lost = new AbortController();
    let live = false;
    const remote = new Remote(dialed.channel, {
      onEvent: (event) => this.#options.onEvent(event),
      onClose: (reason) => {
        lost.abort();
        if (live) this.#lost(dialed, reason);
      },
    });
    const abort = () => remote.close(CloseCode.none, "gave up");
    signal.addEventListener("abort", abort, { once: true });
    try {
      await this.#options.authenticate(remote, signal);
      signal.throwIfAborted();
      if (remote.closed) throw new ConnectionLostError(remote.closed);
    } catch (error) {
      remote.close(CloseCode.none, "");
      // A server that dies or sends us away during the login is not asked again at once.
      if (isTransient(error)) this.#failed = [dialed.serverNumber];
      throw error;
    } finally {
      signal.removeEventListener("abort", abort);
    }
    live = true;
    this.#failed = [];
    this.#remote = remote;
    this.#server = dialed.server;
    this.#watch(remote);
    this.#options.onConnected(remote, dialed.server);
    for (const waiter of [...this.#waiters]) waiter.resolve(remote);
  }

  #lost(dialed: Dialed, reason: CloseReason): void {
    this.#remote = undefined;
    clearInterval(this.#watchdog);
    if (this.#fatal) return;
    this.#failed = [dialed.serverNumber];
    const text = new ConnectionLostError(reason).message;
    this.#options.onReconnecting(text);
    void this.#reconnect();
  }

  async #reconnect(): Promise<void> {
    for (let attempt = 0;; attempt++) {
      // The first try is at once: a server that sends us away has told us that another is there.
      const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(ATTEMPT_TIMEOUT_MS)]);
      try {
        return await this.#connect(signal, ATTEMPT_TIMEOUT_MS - LAST_WORD_MS);
      } catch (error) {
        if (this.#fatal) return;
        // A server's mistake passes; a refused login, a changed key or a home that cannot be used does not.
        const passes = isTransient(error) || error instanceof RequestError || signal.aborted;
        if (!passes) return this.#end(asFastChatError(error));
        if (attempt > 1) this.#failed = [];
        await pause(retryDelayMs(attempt, error), this.#stop.signal).catch(() => {});
        if (this.#fatal) return;
      }
    }
  }

  /**
   * A server that is gone without a word: silence while we wait for an answer, or for longer than keep-alives are apart.
   * The transport would notice too, but only after its idle timeout.
   */
  #watch(remote: Remote): void {
    let received = -1, heardMs = 0, lookedMs = 0, waited = false, probed = false;
    this.#watchdog = setInterval(() => {
      const now = performance.now(), { datagramsReceived, rttUs } = remote.channel.stats;
      // Where we did not look for a while (a suspended machine, a busy thread), the silence may have been our own.
      const wasAway = now - lookedMs > 4 * WATCH_MS;
      lookedMs = now;
      const waits = remote.waiting > 0 || remote.channel.bufferedBytes > 0, beginsToWait = waits && !waited;
      waited = waits;
      // Nothing is owed before something is asked: an idle server's silence is no sign.
      if (datagramsReceived !== received || wasAway || beginsToWait) {
        received = datagramsReceived;
        heardMs = now;
        probed = false;
        return;
      }
      const patienceMs = waits ? Math.min(WAITING_MS_MAX, Math.max(WAITING_MS_MIN, rttUs / 50)) : SILENCE_IDLE_MS;
      const silentMs = now - heardMs;
      if (silentMs > patienceMs) return remote.close(CloseCode.none, "The server has gone silent");
      // A server may take its time to answer; its transport acknowledges whatever arrives, at once.
      if (!waits || probed || silentMs < patienceMs / 3) return;
      probed = true;
      remote.ask<"acknowledge">({ type: "acknowledge", cursors: [] }).catch(() => {});
    }, WATCH_MS);
  }

  #end(error: Error): void {
    if (this.#fatal) return;
    this.#fatal = error;
    clearInterval(this.#watchdog);
    const remote = this.#remote;
    this.#remote = undefined;
    this.#stop.abort(error);
    remote?.close(CloseCode.none, "");
    for (const waiter of [...this.#waiters]) waiter.reject(error);
    this.#options.onClosed(error);
  }
}

/** Whether the same may well work in a moment. */
export function isTransient(error: unknown): boolean {
  if (error instanceof RequestError) return TRANSIENT_CODES.has(error.code);
  return error instanceof CannotReachError;
}

/** Does it again while the server says that it is busy or its store changes hands; a lost connection is not waited for. */
export async function patiently<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 0;; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof RequestError) || !isTransient(error) || attempt >= PATIENT_ATTEMPTS_MAX) throw error;
      await pause(retryDelayMs(attempt, error));
    }
  }
}

/** What people are told of an error that came up while talking to a server. */
export function asFastChatError(error: unknown): FastChatError {
  if (error instanceof FastChatError) return error;
  if (error instanceof RequestError) return new RefusedError(error.message, error.code);
  const message = error instanceof Error ? error.message : String(error);
  return new FastChatError(message, { cause: error });
}

/** How long to wait before trying again: what the server asked for, at least a jittered doubling from 0.1 to 5 s. */
export function retryDelayMs(attempt: number, error: unknown): number {
  const asked = error instanceof RequestError ? error.retryAfterMs : 0;
  return Math.max(asked, jittered(Math.min(RETRY_MS_MAX, RETRY_MS * 2 ** attempt)));
}

const TRANSIENT_CODES: ReadonlySet<number> = new Set([ErrorCode.busy, ErrorCode.unavailable]);
const RETRY_MS = 100;
const RETRY_MS_MAX = 5_000;
const ATTEMPT_TIMEOUT_MS = 15_000;
const PATIENT_ATTEMPTS_MAX = 20;
const LAST_WORD_MS = 100;
const ASK_TIMEOUT_MS = 20_000;
const WATCH_MS = 250;
/** Twenty round trips, within these: several probes of the transport have gone unanswered by then. */
const WAITING_MS_MIN = 1_500;
const WAITING_MS_MAX = 4_000;
const SILENCE_IDLE_MS = 25_000;
