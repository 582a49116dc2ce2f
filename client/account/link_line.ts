/** The connection of a device that waits to be let in: nobody is logged in on it (docs/PROTOCOL.md §18). */
import { CloseCode } from "../../shared/errors.ts";
import { LINK_MS } from "../../shared/limits.ts";
import { CannotReachError, TimedOutError } from "../errors.ts";
import { type DialServer, dialUdp } from "../network/dialer.ts";
import { asFastChatError, isTransient, retryDelayMs } from "../network/link.ts";
import { Remote } from "../network/remote.ts";
import type { ServerAddress } from "../network/server_address.ts";
import { pause } from "../pause.ts";

export interface LinkLineOptions {
  readonly server: ServerAddress;
  /** For one attempt to connect. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly dial?: DialServer | undefined;
  /** For how long it is made again. */
  readonly ms?: number | undefined;
}

/** One connection without a session, made again where it is lost, for as long as one may wait. */
export class LinkLine {
  readonly signal: AbortSignal;
  /** SHA-256 of the key that the server proved to hold; the first one counts. */
  fingerprint: Uint8Array | undefined;
  readonly #options: LinkLineOptions;
  readonly #deadline: AbortSignal;
  #remote: Remote | undefined;
  #ended: Promise<void> | undefined;

  constructor(options: LinkLineOptions) {
    this.#options = options;
    this.#deadline = AbortSignal.timeout(options.ms ?? LINK_MS);
    this.signal = options.signal ? AbortSignal.any([this.#deadline, options.signal]) : this.#deadline;
  }

  async ask<T>(work: (remote: Remote) => Promise<T>): Promise<T> {
    for (let attempt = 0;; attempt++) {
      try {
        return await work(this.#remote ??= await this.#connect());
      } catch (error) {
        if (this.#options.signal?.aborted) throw this.#options.signal.reason;
        if (this.#deadline.aborted) {
          throw new TimedOutError(`Nobody let this device in within ${LINK_MS / 60_000} minutes`);
        }
        // Nobody there at all is worth saying at once.
        const isFirst = this.fingerprint === undefined;
        if (!isTransient(error) || (isFirst && error instanceof CannotReachError)) throw asFastChatError(error);
        if (error instanceof CannotReachError) this.#remote = undefined;
        await pause(retryDelayMs(attempt, error), this.signal).catch(() => {});
      }
    }
  }

  async close(): Promise<void> {
    this.#remote?.close(CloseCode.none, "");
    await this.#ended;
  }

  async #connect(): Promise<Remote> {
    const { server, timeoutMs, dial = dialUdp } = this.#options;
    const dialed = await dial({
      address: server,
      expected: this.fingerprint ?? server.fingerprint,
      excluded: [],
      remembered: undefined,
      timeoutMs,
      signal: this.signal,
    });
    this.fingerprint = dialed.fingerprint;
    this.#ended = dialed.ended;
    return new Remote(dialed.channel, { onEvent: () => {}, onClose: () => this.#remote = undefined });
  }
}
