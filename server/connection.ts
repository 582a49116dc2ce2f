/**
 * One client's connection: what it has shown of itself, and what that lets it ask on its streams (docs/PROTOCOL.md §7). Streams
 * do not wait for one another.
 */
import { CloseCode, type CloseReason, ErrorCode, RequestError } from "../shared/errors.ts";
import type { Ticket } from "../shared/handshake/mod.ts";
import type { Channel, ChannelHandler, ChannelStream } from "../shared/net/channel.ts";
import { hintUp, readHint, type UserName } from "../shared/protocol/mod.ts";
import type { AppendQueue } from "./append_queue.ts";
import type { LoggedIn, Services, Standing } from "./context.ts";
import { addressKey, Bucket } from "./rate_limiter.ts";
import { type RequestConnection, RequestStream } from "./request_stream.ts";
import { checkRights } from "./rights.ts";
import type { Server } from "./server.ts";
import type { Session } from "./sessions.ts";
import { type LiveSession, StoreUnavailableError } from "./store/store.ts";
import { Turns } from "./turns.ts";
import { HINTS_BURST, HINTS_PER_SECOND } from "./typing.ts";

export interface ConnectionOptions {
  readonly services: Services;
  readonly server: Server;
  readonly appends: AppendQueue;
  /** Per connection and second; 0 means no limit. */
  readonly requestRate: number;
  readonly appendRate: number;
}

export class Connection implements ChannelHandler, RequestConnection {
  readonly bind: Uint8Array;
  readonly options: ConnectionOptions;
  readonly turns: Turns;
  readonly #channel: Channel;
  readonly #buckets: Readonly<Record<"request" | "append" | "hint", Bucket>>;
  #standing: Standing = NOBODY;
  #closed = false;
  /** Streams that came while it is not known yet who asks: they wait. */
  #early: ChannelStream[] | undefined;

  /** Takes the channel over. */
  constructor(channel: Channel, options: ConnectionOptions) {
    const { services, server, requestRate, appendRate } = options;
    const nowUs = services.clock.nowUs();
    this.#channel = channel;
    this.options = options;
    this.bind = channel.transcriptHash;
    this.turns = new Turns(channel, server.waiting, server.unfetched);
    this.#buckets = {
      request: new Bucket({ ratePerSecond: requestRate, burst: BURST_SECONDS * requestRate }, nowUs),
      append: new Bucket({ ratePerSecond: appendRate, burst: BURST_SECONDS * appendRate }, nowUs),
      hint: new Bucket({ ratePerSecond: HINTS_PER_SECOND, burst: HINTS_BURST }, nowUs),
    };
    server.connected(channel, nowUs);
    if (channel.ticket !== undefined) {
      this.#early = [];
      void this.#checkTicket(channel.ticket);
    }
    channel.handler = this;
  }

  onStream(stream: ChannelStream): void {
    if (this.#early !== undefined) this.#early.push(stream);
    else this.#serve(stream);
  }

  #serve(stream: ChannelStream): void {
    stream.handler = new RequestStream(stream, this);
  }

  /** What is too much, or no hint at all, is dropped: nobody waits for it. */
  onHint(bytes: Uint8Array): void {
    const { services } = this.options;
    if (this.#standing.rights !== "session" || this.#buckets.hint.take(services.clock.nowUs()) > 0) return;
    const hint = readHint(hintUp, bytes);
    if (hint !== undefined) void services.typing.typed(this.#standing.session, hint.conversation, hint.active);
  }

  onClose(reason: CloseReason): void {
    this.#closed = true;
    this.turns.close();
    const session = this.#standing.rights === "session" ? this.#standing.session : undefined;
    this.#standing = NOBODY;
    this.options.server.disconnected(this.#channel, session);
    this.options.services.logger.log("debug", "connection-closed", { code: reason.code, byPeer: reason.byPeer });
  }

  get standing(): Standing {
    return this.#standing;
  }

  /** Looked up for each use: a client may move. */
  get address(): string {
    return addressKey(this.#channel.peer.host);
  }

  beginEnrolling(user: UserName): void {
    this.#refuseSecondLogIn();
    this.#standing = { rights: "enrolling", user };
  }

  beginRecovering(user: UserName, proofHash: Uint8Array): void {
    this.#refuseSecondLogIn();
    this.#standing = { rights: "recovering", user, proofHash };
  }

  beginSession(login: LoggedIn): void {
    this.#begin(login);
    this.#channel.giveTicket?.({ ...login, device: Uint8Array.fromHex(login.device), session: login.tokenHash });
  }

  #begin({ user, device, tokenHash, generation }: LoggedIn): void {
    this.#refuseSecondLogIn();
    const session: Session = {
      user,
      device,
      tokenHash: tokenHash.toHex(),
      generation,
      channel: this.#channel,
      feed: undefined,
      sent: new Set(),
    };
    if (this.options.server.sessions.isOver(session)) {
      throw new RequestError(ErrorCode.badCredentials, "The session is over: log in again");
    }
    this.#standing = { rights: "session", session };
    this.#channel.welcome();
    this.options.server.sessionBegan(session);
  }

  /**
   * The first packet under the new keys has come, so it is the ticket's owner who asks. Whether the ticket still is a login the
   * store says (SECURITY H8); until then requests wait. Where it is none, the client hears `notAuthenticated` and logs in.
   */
  async #checkTicket(ticket: Ticket): Promise<void> {
    const { services, server } = this.options;
    try {
      const live = await patiently(() => services.store.session(ticket.session, services.nowMs()), () => this.#closed);
      const login = live && isLogin(ticket, live) ? { ...live, generation: ticket.generation } : undefined;
      if (login === undefined) services.counters.ticketLogInsRefused++;
      else if (!this.#closed) {
        this.#begin(login);
        services.counters.ticketLogIns++;
        server.displace(login.user, ticket.connectionId, services.clock.nowUs());
      }
    } catch (error) {
      if (!(error instanceof RequestError)) services.logger.log("warn", "ticket-check-failed", { error });
      services.counters.ticketLogInsRefused++;
    }
    const streams = this.#early ?? [];
    this.#early = undefined;
    if (!this.#closed) { for (const stream of streams) this.#serve(stream); }
  }

  endSession(): void {
    if (this.#standing.rights !== "session") return;
    const { session } = this.#standing;
    this.#standing = NOBODY;
    this.options.server.sessionEnded(session);
    this.options.server.sessions.closeToken(session);
  }

  subscribe(): void {
    if (this.#standing.rights === "session") this.options.server.fanout.subscribe(this.#standing.session);
  }

  watch(names: readonly UserName[]): UserName[] | undefined {
    if (this.#standing.rights !== "session") return [];
    const { services, server } = this.options;
    if (server.presence.watch(this.#standing.session, names, services.clock.nowUs())) {
      return server.presence.among(names);
    }
    throw new RequestError(ErrorCode.busy, "Too many people are watched on this server", WATCH_RETRY_MS);
  }

  takeToken(rate: "request" | "append"): number {
    return this.#buckets[rate].take(this.options.services.clock.nowUs());
  }

  malformed(reason: string): void {
    this.options.services.logger.log("info", "malformed-message", { address: this.address, reason });
    this.#channel.close(CloseCode.malformedMessage, "Malformed message");
  }

  failed(error: unknown): void {
    this.options.services.logger.log("error", "connection-failed", { error });
    this.#channel.close(CloseCode.internal, "The server made a mistake");
  }

  /** The check before the handler's first await was made for another time. */
  #refuseSecondLogIn(): void {
    if (this.#closed) throw new RequestError(ErrorCode.unavailable, "The connection has ended");
    checkRights("none", this.#standing);
  }
}

/** Whether what a ticket says of a login is what the store says now. */
function isLogin(ticket: Ticket, live: LiveSession): boolean {
  return live.user === ticket.user && live.device === ticket.device.toHex() && live.generation === ticket.generation;
}

/** Asks again while the store changes hands: a client that came back from a dead server should not need its password for that. */
async function patiently<T>(ask: () => Promise<T>, isPointless: () => boolean): Promise<T> {
  for (let attempt = 1;; attempt++) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof StoreUnavailableError) || attempt === STORE_ATTEMPTS_MAX || isPointless()) throw error;
    }
  }
}

const NOBODY: Standing = { rights: "none" };
/** The store itself waits ten seconds for a leader each time. */
const STORE_ATTEMPTS_MAX = 2;
/** How many seconds' worth of its rate a connection may use at once. */
const BURST_SECONDS = 4;
const WATCH_RETRY_MS = 10_000;
