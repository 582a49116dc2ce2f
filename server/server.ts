/**
 * What a server decides: who is here, who hears of what, who has been silent too long. Pure: `runtime.ts` brings the events
 * and the time, and does what waits.
 */
import { CloseCode } from "../shared/errors.ts";
import type { Channel } from "../shared/net/channel.ts";
import type { UserName } from "../shared/protocol/mod.ts";
import type { Committed, DevicesChanged, GroupNews, ReceiptMoved, SessionsEnded } from "./bus/bus.ts";
import { Fanout } from "./fanout.ts";
import { Presence } from "./presence.ts";
import { type Session, Sessions } from "./sessions.ts";
import { Silence, SILENCE_LOOK_US } from "./silence.ts";
import type { Turns } from "./turns.ts";
import { Unfetched } from "./unfetched.ts";

export interface ServerOptions {
  /** Told of a user's first session here and of the end of the last one. */
  readonly announce: (user: UserName, online: boolean) => void;
  /** Told whose coming and going somebody here wants to hear of. */
  readonly watch: (user: UserName, on: boolean) => void;
}

export class Server {
  readonly sessions = new Sessions();
  readonly fanout = new Fanout(this.sessions);
  readonly presence: Presence;
  readonly #announce: ServerOptions["announce"];
  /** Connections that have not logged in, and since when: in order of coming. */
  readonly #strangers = new Map<Channel, number>();
  readonly #channels = new Set<Channel>();
  /** Connections that others took the place of, in order of time. */
  readonly #displaced: { readonly channel: Channel; readonly heard: number; readonly endUs: number }[] = [];
  /** Connections with requests that wait for a turn. */
  readonly waiting = new Set<Turns>();
  readonly unfetched = new Unfetched();
  #finishIdleAtUs = 0;
  readonly #silence = new Silence();
  #listenAtUs = 0;
  /** Connections that ended; their counters, summed up. */
  readonly ended = { datagramsSent: 0, datagramsReceived: 0, bytesSent: 0, bytesReceived: 0, packetsLost: 0 };

  constructor(options: ServerOptions) {
    this.#announce = options.announce;
    this.presence = new Presence({ sessions: this.sessions, watch: options.watch });
  }

  connected(channel: Channel, nowUs: number): void {
    this.#channels.add(channel);
    this.#strangers.set(channel, nowUs);
  }

  /** @param session What the connection had logged in as, if it had. */
  disconnected(channel: Channel, session: Session | undefined): void {
    if (!this.#channels.delete(channel)) return;
    this.#strangers.delete(channel);
    if (session) this.sessionEnded(session);
    const { stats } = channel;
    this.ended.datagramsSent += stats.datagramsSent;
    this.ended.datagramsReceived += stats.datagramsReceived;
    this.ended.bytesSent += stats.bytesSent;
    this.ended.bytesReceived += stats.bytesReceived;
    this.ended.packetsLost += stats.packetsLost;
  }

  sessionBegan(session: Session): void {
    this.#strangers.delete(session.channel);
    if (this.sessions.add(session)) this.#announce(session.user, true);
  }

  /** Logged out, or gone. */
  sessionEnded(session: Session): void {
    this.fanout.unsubscribe(session);
    this.presence.unwatch(session);
    if (this.sessions.remove(session)) this.#announce(session.user, false);
  }

  committed(batch: readonly Committed[], nowUs: number): void {
    this.fanout.committed(batch, nowUs);
  }

  receipts(moved: readonly ReceiptMoved[]): void {
    this.fanout.receipts(moved);
  }

  devicesChanged(change: DevicesChanged): void {
    this.fanout.devicesChanged(change);
  }

  sessionsEnded(ended: SessionsEnded): void {
    this.fanout.credentialsChanged(ended);
    // Where nothing but a change is told, what ended before stays as it was.
    if (ended.change === undefined || ended.generation > 0) this.sessions.closeEnded(ended);
  }

  groupNews(news: GroupNews): void {
    this.fanout.groupNews(news);
  }

  /**
   * The client has come back from this connection: if it is still here, it is asked whether it lives, and ended where it says
   * nothing. A ticket may have been used by another program of the same person, while this one is well.
   */
  displace(user: UserName, connectionId: Uint8Array, nowUs: number): void {
    const id = connectionId.toHex();
    const session = this.sessions.of(user).find(({ channel }) => channel.connectionId?.toHex() === id);
    if (session === undefined) return;
    const { channel } = session;
    this.#displaced.push({ channel, heard: channel.stats.datagramsReceived, endUs: nowUs + DISPLACED_US });
    channel.ping?.();
  }

  /** Everything that happens with time alone. Called every {@linkcode TICK_MS}. */
  tick(nowUs: number): void {
    this.fanout.catchUp();
    this.presence.tick(nowUs);
    this.unfetched.tick();
    for (const turns of this.waiting) turns.resume();
    for (const [channel, sinceUs] of this.#strangers) {
      if (nowUs - sinceUs < STRANGER_US_MAX) break;
      this.#strangers.delete(channel);
      channel.close(CloseCode.none, "Nobody logged in on this connection");
    }
    while (this.#displaced.length > 0 && this.#displaced[0]!.endUs <= nowUs) {
      const { channel, heard } = this.#displaced.shift()!;
      if (channel.stats.datagramsReceived === heard) {
        channel.close(CloseCode.none, "You came back on another connection");
      }
    }
    this.#endSilent(nowUs);
    if (nowUs < this.#finishIdleAtUs) return;
    this.#finishIdleAtUs = nowUs + IDLE_STREAM_US / 6;
    this.fanout.finishIdle(nowUs - IDLE_STREAM_US);
  }

  /** A client that was killed must not be seen here for as long as its connection would last. */
  #endSilent(nowUs: number): void {
    if (nowUs < this.#listenAtUs) return;
    this.#listenAtUs = nowUs + SILENCE_LOOK_US;
    for (const { channel } of [...this.sessions]) {
      if (this.#silence.isDead(channel, nowUs)) channel.close(CloseCode.none, "Nothing was heard of you for too long");
    }
  }

  get connections(): number {
    return this.#channels.size;
  }

  /** Counters over all connections there were. */
  traffic(): {
    datagramsSent: number;
    datagramsReceived: number;
    bytesSent: number;
    bytesReceived: number;
    packetsLost: number;
  } {
    const sum = { ...this.ended };
    for (const { stats } of this.#channels) {
      sum.datagramsSent += stats.datagramsSent;
      sum.datagramsReceived += stats.datagramsReceived;
      sum.bytesSent += stats.bytesSent;
      sum.bytesReceived += stats.bytesReceived;
      sum.packetsLost += stats.packetsLost;
    }
    return sum;
  }
}

export const TICK_MS = 50;
/** A living client answers a ping within this, on any network worth the name. */
const DISPLACED_US = 2_000_000;
/** A stream of a conversation in which nothing happens is finished after this. */
export const IDLE_STREAM_US = 60 * 1_000_000;
/** A sign-up makes an RSA key on the client's machine in between; that is seconds, never minutes. */
export const STRANGER_US_MAX = 300 * 1_000_000;
