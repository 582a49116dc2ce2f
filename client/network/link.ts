/**
 * Keeps one authenticated connection alive: locates, connects, logs in, and does it again wherever the last one failed.
 *
 * What goes over it is others' business: they wait for {@linkcode Link.ready}, and ask again what a lost connection left
 * unanswered, which the protocol makes harmless.
 */
import { CloseCode, type CloseReason, ErrorCode, RequestError } from "../../shared/errors.ts";
import type { Channel, ResumptionTicket } from "../../shared/net/channel.ts";
import type { Event, HintDown, RequestOf } from "../../shared/protocol/mod.ts";
import { CannotReachError, FastChatError, NoAnswerError, REACH_HINT, RefusedError, TimedOutError } from "../errors.ts";
import { jittered, pause } from "../pause.ts";
import type { Askable } from "./answers.ts";
import { ConnectionLostError } from "./failures.ts";
import { Remote } from "./remote.ts";

/** A connection whose server has proved its key, before anybody logged in on it. */
export interface Dialed {
  readonly channel: Channel;
  /** The server's number: what to exclude when it fails. */
  readonly serverNumber: number;
  /** HOST:PORT that this connection goes to. */
  readonly server: string;
  /** A ticket was taken: the server knows who this is, unless it says otherwise. */
  readonly isResumed?: boolean;
  /** Settles when the channel has ended and nothing of it is left. */
  readonly ended?: Promise<void>;
}

export interface DialOptions {
  /** There was a connection before: it is to be found again at once. */
  readonly returning: boolean;
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
  authenticate(remote: Remote, signal: AbortSignal, isResumed: boolean): Promise<void>;
  /** Whether `dial` can come back to any server quickly: then a silent one is not waited for. */
  canReturn?(): boolean;
  onTicket?(ticket: ResumptionTicket): void;
  onEvent(event: Event): void;
  onHint?(hint: HintDown): void;
  /** After every successful login. */
  onConnected(remote: Remote, server: string): void;
  /** The connection is gone and another is being looked for. */
  onReconnecting(reason: string): void;
  /** Nothing more will come: closed, or an error that no retry can heal. */
  onClosed(error: Error): void;
}

/** One connection that is ours. */
interface Connection {
  readonly remote: Remote;
  readonly dialed: Dialed;
  /** The server answers nothing, and was asked. */
  isSilent: boolean;
}

export class Link {
  readonly #options: LinkOptions;
  readonly #stop = new AbortController();
  readonly #waiters = new Set<{ resolve(remote: Remote): void; reject(error: Error): void }>();
  #live: Connection | undefined;
  /** Looks for another server while the one we have is silent. */
  #rescue: { readonly abort: AbortController; isDialed: boolean; readonly done: Promise<boolean> } | undefined;
  #server = "";
  #wasConnected = false;
  /** Some server has shaken hands. */
  #wasAnswered = false;
  #fatal: Error | undefined;
  #stopWatching = () => {};
  #failed: number[] = [];
  #lastEnded: Promise<void> = Promise.resolve();

  constructor(options: LinkOptions) {
    this.#options = options;
  }

  /** The connection, where there is one now. */
  get remote(): Remote | undefined {
    return this.#live?.remote;
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
      if (!this.#wasAnswered) {
        throw new CannotReachError(`No server answered within ${timeoutMs / 1000} s. ${REACH_HINT}`);
      }
      throw new TimedOutError(`Not connected within ${timeoutMs / 1000} s: the server answers, but does not finish`);
    }
  }

  /** The connection as soon as there is one. @throws What ended the link, or the signal's reason. */
  ready(signal?: AbortSignal): Promise<Remote> {
    if (this.#fatal) return Promise.reject(this.#fatal);
    if (this.#live) return Promise.resolve(this.#live.remote);
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

  /** Ends it for good, for a reason that no retry can heal. */
  fail(error: FastChatError): void {
    this.#end(error);
  }

  /** Resolves when the connection's last words have left. */
  async close(): Promise<void> {
    this.#end(new FastChatError("The client is closed"));
    await this.#lastEnded;
  }

  async #connect(signal: AbortSignal, timeoutMs: number): Promise<void> {
    this.#adopt(await this.#establish({ excluded: this.#failed, timeoutMs, signal }));
  }

  /** A connection that is ours and on which nobody relies yet. */
  async #establish(options: Omit<DialOptions, "returning">, onDialed?: () => void): Promise<Connection> {
    const { signal } = options;
    const dialed = await this.#options.dial({ ...options, returning: this.#wasConnected });
    this.#wasAnswered = true;
    onDialed?.();
    this.#lastEnded = Promise.all([this.#lastEnded, dialed.ended]).then(() => {});
    const remote = new Remote(dialed.channel, {
      onEvent: (event) => this.#options.onEvent(event),
      onHint: (hint) => this.#options.onHint?.(hint),
      onClose: (reason) => this.#lost(connection, reason),
      onTicket: (ticket) => this.#options.onTicket?.(ticket),
      onSilent: () => this.#onSilent(connection),
      onHeard: () => this.#onHeard(connection),
    });
    const connection: Connection = { remote, dialed, isSilent: false };
    const abort = () => remote.close(CloseCode.none, "gave up");
    signal.addEventListener("abort", abort, { once: true });
    // It may die between its handshake and its first answer.
    const stopWatching = this.#watch(connection);
    try {
      await this.#options.authenticate(remote, signal, dialed.isResumed ?? false);
      signal.throwIfAborted();
      if (remote.closed) throw new ConnectionLostError(remote.closed);
    } catch (error) {
      remote.close(CloseCode.none, "");
      // We closed it ourselves: it is for whoever set the time to say that it is over.
      if (signal.aborted) throw signal.reason;
      // A server that dies or sends us away during the login is not asked again at once.
      if (isTransient(error)) this.#failed = [dialed.serverNumber];
      throw error;
    } finally {
      stopWatching();
      signal.removeEventListener("abort", abort);
    }
    return connection;
  }

  /** From now on this is the connection; the one before, where there still is one, is given up. */
  #adopt(connection: Connection): void {
    const before = this.#live;
    this.#stopWatching();
    this.#live = connection;
    this.#failed = [];
    this.#wasConnected = true;
    const { remote, dialed } = connection;
    this.#server = dialed.server;
    this.#stopWatching = this.#watch(connection);
    before?.remote.close(CloseCode.none, "went elsewhere");
    this.#options.onConnected(remote, dialed.server);
    for (const waiter of [...this.#waiters]) waiter.resolve(remote);
  }

  #lost(connection: Connection, reason: CloseReason): void {
    if (this.#live !== connection) return;
    this.#live = undefined;
    this.#stopWatching();
    if (this.#fatal) return;
    this.#failed = [connection.dialed.serverNumber];
    const text = new ConnectionLostError(reason).message;
    this.#options.onReconnecting(text);
    void this.#reconnect();
  }

  #onSilent(connection: Connection): void {
    if (this.#live !== connection || this.#fatal) return;
    connection.isSilent = true;
    if (this.#rescue !== undefined || !(this.#options.canReturn?.() ?? false)) return;
    const abort = new AbortController();
    const rescue = this.#rescue = { abort, isDialed: false, done: this.#goElsewhere(connection, abort.signal) };
    void rescue.done.then(() => this.#rescue === rescue && (this.#rescue = undefined));
  }

  #onHeard(connection: Connection): void {
    connection.isSilent = false;
    // Once another server has let us in, there it is: the ticket is used.
    if (this.#live === connection && this.#rescue?.isDialed === false) this.#rescue.abort.abort();
  }

  /** Looks for another server, while the silent one is kept until the other has let us in. @returns Whether it did. */
  async #goElsewhere(from: Connection, abort: AbortSignal): Promise<boolean> {
    const signal = AbortSignal.any([this.#stop.signal, abort, AbortSignal.timeout(ATTEMPT_TIMEOUT_MS)]);
    try {
      await pause(Math.random() * SPREAD_MS, signal);
      const options = { excluded: [from.dialed.serverNumber], timeoutMs: ATTEMPT_TIMEOUT_MS - LAST_WORD_MS, signal };
      const connection = await this.#establish(options, () => {
        if (this.#rescue) this.#rescue.isDialed = true;
      });
      if (this.#fatal) return false;
      this.#adopt(connection);
      return true;
    } catch {
      // The silent one stays until it is heard, or the watchdog has had enough; then errors are judged.
      return false;
    }
  }

  async #reconnect(): Promise<void> {
    // Somebody is looking already.
    if (this.#rescue !== undefined && await this.#rescue.done) return;
    // Many lose one server at the same moment: they come back a little apart.
    await pause(Math.random() * SPREAD_MS, this.#stop.signal).catch(() => {});
    for (let attempt = 0; !this.#fatal; attempt++) {
      const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(ATTEMPT_TIMEOUT_MS)]);
      try {
        return await this.#connect(signal, ATTEMPT_TIMEOUT_MS - LAST_WORD_MS);
      } catch (error) {
        if (this.#fatal) return;
        // A server's mistake passes; a refused login, a changed key, a home that cannot be used or a server that is too old does not.
        const isMistake = error instanceof RequestError && error.code !== ErrorCode.unsupported;
        const passes = isTransient(error) || isMistake || signal.aborted;
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
   *
   * @returns How to stop looking.
   */
  #watch(connection: Connection): () => void {
    const { remote } = connection;
    let received = -1, heardMs = 0, lookedMs = 0, waited = false, probed = false;
    const watchdog = setInterval(() => {
      const now = performance.now(), { datagramsReceived, rttUs } = remote.channel.stats;
      // Where we did not look for a while (a suspended machine, a busy thread), the silence may have been our own.
      const wasAway = now - lookedMs > 4 * WATCH_MS;
      lookedMs = now;
      const waits = remote.waiting > 0 || remote.channel.bufferedBytes > 0 || connection.isSilent;
      const beginsToWait = waits && !waited;
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
    return () => clearInterval(watchdog);
  }

  #end(error: Error): void {
    if (this.#fatal) return;
    this.#fatal = error;
    this.#stopWatching();
    const live = this.#live;
    this.#live = undefined;
    this.#stop.abort(error);
    live?.remote.close(CloseCode.none, "");
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

const TRANSIENT_CODES: ReadonlySet<number> = new Set([ErrorCode.busy, ErrorCode.unavailable, ErrorCode.diskFull]);
const RETRY_MS = 100;
const RETRY_MS_MAX = 5_000;
const ATTEMPT_TIMEOUT_MS = 15_000;
const PATIENT_ATTEMPTS_MAX = 20;
const LAST_WORD_MS = 100;
const ASK_TIMEOUT_MS = 20_000;
const WATCH_MS = 250;
/** Those who lose a server together come back within this of one another: well below the second that they may take. */
const SPREAD_MS = 60;
/** Twenty round trips, within these: several probes of the transport have gone unanswered by then. */
const WAITING_MS_MIN = 1_500;
const WAITING_MS_MAX = 4_000;
const SILENCE_IDLE_MS = 25_000;
