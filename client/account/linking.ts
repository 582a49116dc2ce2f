/**
 * Linking this machine to somebody's account by a code (docs/PROTOCOL.md §18, SECURITY P10): no password, no identity key in the
 * clear. What shows the code waits here; what grants it is {@linkcode file://./devices.ts}.
 */
import {
  formatLinkCode,
  linkCode,
  type LinkGrant,
  type LinkOffer,
  linkPlace,
  openLinkGrant,
  sealLinkOffer,
  systemRandom,
  x25519,
  x25519FromPrivate,
} from "../../shared/crypto/mod.ts";
import { CloseCode } from "../../shared/errors.ts";
import { LINK_MS } from "../../shared/limits.ts";
import type { UserName } from "../../shared/protocol/mod.ts";
import { proposeDeviceName } from "./devices.ts";
import { type DialServer, dialUdp } from "../network/dialer.ts";
import { DeviceKeys } from "../e2ee/mod.ts";
import { CannotReachError, FastChatError, TimedOutError, UsageError } from "../errors.ts";
import { asFastChatError, isTransient, retryDelayMs } from "../network/link.ts";
import { homeExists, HomeTraces, openHome } from "../local_home.ts";
import { pause } from "../pause.ts";
import { Remote } from "../network/remote.ts";
import { formatServerAddress, type ServerAddress } from "../network/server_address.ts";

/** How to link this machine: by which server, into which home, and who shows the code. */
export interface LinkOptions {
  readonly server: ServerAddress;
  /** For one attempt to connect. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly dial?: DialServer | undefined;
  /** Where the things of a person with that name are to be. */
  home(name: UserName): string;
  readonly deviceName?: string | undefined;
  /** Told once, in groups: to be typed on another device. */
  onCode(code: string): void;
}

/**
 * Waits until another device grants the code, for ten minutes at most, and makes a home that is logged in.
 *
 * @throws TimedOutError, CannotReachError; UsageError where there is a home already; FastChatError where what was handed over is
 * not for this code.
 */
export async function linkDevice(options: LinkOptions): Promise<{ readonly home: string; readonly name: UserName }> {
  const keys = await DeviceKeys.generate(), ephemeral = x25519(systemRandom);
  const offer: LinkOffer = {
    ephemeral: ephemeral.publicKey,
    device: keys.id,
    leafKey: keys.leafKey,
    envelopeKey: keys.envelopeKey,
  };
  const code = linkCode(offer), place = linkPlace(code), sealed = sealLinkOffer(offer);
  const line = new Line(options);
  try {
    await line.ask((remote) => remote.ask<"linkOffer">({ type: "linkOffer", place, offer: sealed }));
    options.onCode(formatLinkCode(code));
    const granted = await line.ask(async (remote) => {
      for (;;) {
        const { grant } = await remote.ask<"linkOffer">({ type: "linkOffer", place, offer: sealed });
        if (grant !== undefined) return grant;
        await pause(POLL_MS, line.signal);
      }
    });
    const grant = openLinkGrant(granted, offer, ephemeral);
    if (grant === undefined) {
      throw new FastChatError("What the server handed over was not made for this code: nothing was linked");
    }
    return await settle(grant, keys, line, place, options);
  } finally {
    await line.close();
  }
}

/** Makes the home, and its first session. What is there already stays as it is. */
async function settle(grant: LinkGrant, keys: DeviceKeys, line: Line, place: Uint8Array, options: LinkOptions) {
  const name = grant.user, home = options.home(name);
  if (homeExists(home)) throw new UsageError(`There is a home already in ${home}: give another one with --home DIR`);
  const traces = new HomeTraces(home), parts = openHome(home), { credentials, database, servers } = parts;
  let isDone = false;
  try {
    const session = await line.ask((remote) =>
      remote.ask<"linkLogin">({
        type: "linkLogin",
        place,
        device: keys.id,
        proof: keys.prove(remote.channel.transcriptHash),
      })
    );
    const { clusterId, identity, identityPem, salt, log2N, serial, accountKey } = grant;
    await credentials.saveIdentityFile(new TextDecoder().decode(identityPem));
    credentials.saveDeviceKeys(keys);
    credentials.saveSession(session);
    servers.accept(options.server, line.fingerprint!, undefined);
    if (options.deviceName !== undefined) proposeDeviceName(database, options.deviceName);
    const server = formatServerAddress(options.server);
    credentials.saveAccount({ name, server, clusterId, identity, salt, log2N, serial, enrolled: true });
    credentials.putAccountKey(identity, x25519FromPrivate(accountKey).publicKey, accountKey, Date.now());
    isDone = true;
    return { home, name };
  } finally {
    database.close();
    if (!isDone) traces.remove();
  }
}

/** One connection without a session, made again where it is lost, until the code is too old. */
class Line {
  readonly signal: AbortSignal;
  /** SHA-256 of the key that the server proved to hold; the first one counts. */
  fingerprint: Uint8Array | undefined;
  readonly #options: LinkOptions;
  readonly #deadline = AbortSignal.timeout(LINK_MS);
  #remote: Remote | undefined;
  #ended: Promise<void> | undefined;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.signal = options.signal ? AbortSignal.any([this.#deadline, options.signal]) : this.#deadline;
  }

  async ask<T>(work: (remote: Remote) => Promise<T>): Promise<T> {
    for (let attempt = 0;; attempt++) {
      try {
        return await work(this.#remote ??= await this.#connect());
      } catch (error) {
        if (this.#options.signal?.aborted) throw this.#options.signal.reason;
        if (this.#deadline.aborted) {
          throw new TimedOutError(`Nobody granted the code within ${LINK_MS / 60_000} minutes`);
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

const POLL_MS = 1_000;
