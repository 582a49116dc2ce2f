/**
 * One committed record to many connections. Pure: it decides and calls `send`, which never blocks.
 *
 * A record is encoded once, whoever gets it. A connection with too much waiting gets nothing live: what it missed is noted
 * and, when it has caught up, named by `behind`; the log has it all.
 */
import { write, Writer } from "../shared/codec/mod.ts";
import type { ServerEntry } from "../shared/packet/mod.ts";
import { type ConversationId, type Event, event } from "../shared/protocol/mod.ts";
import type { Committed, DevicesChanged, GroupNews, ReceiptMoved, SessionsEnded } from "./bus/bus.ts";
import { Feed } from "./feed.ts";
import type { Session, Sessions } from "./sessions.ts";

export class Fanout {
  readonly #sessions: Sessions;
  readonly #writer = new Writer(4096);
  #servers: readonly ServerEntry[] = [];
  /** Feeds that missed something and have not been told yet. */
  readonly #behind = new Set<Feed>();
  /** Records handed to connections, for the counters. */
  delivered = 0;
  /** Deliveries left out because too much was waiting. */
  skipped = 0;

  constructor(sessions: Sessions) {
    this.#sessions = sessions;
  }

  /** From now on the session gets what is committed. */
  subscribe(session: Session): void {
    if (session.feed !== undefined) return;
    session.feed = new Feed(session.channel);
    if (this.#servers.length > 0) session.feed.announce(this.#encode({ type: "servers", servers: [...this.#servers] }));
  }

  /** Where clients may go when this server is gone. */
  set servers(servers: readonly ServerEntry[]) {
    this.#servers = servers;
    const message = this.#encode({ type: "servers", servers: [...servers] });
    for (const session of this.#sessions) session.feed?.announce(message);
  }

  /** The connection is gone. */
  unsubscribe(session: Session): void {
    if (session.feed) this.#behind.delete(session.feed);
    session.feed = undefined;
  }

  /** In order of seq per conversation, as the bus brings them. */
  committed(batch: readonly Committed[], nowUs: number): void {
    for (let i = 0; i < batch.length; i++) this.#deliver(batch[i]!, nowUs);
  }

  /** To all members but the device that says so. Who has too much waiting asks for them, with what else it missed. */
  receipts(moved: readonly ReceiptMoved[]): void {
    for (const { receipt, members } of moved) {
      let message: Uint8Array | undefined;
      for (const member of members) {
        for (const session of this.#sessions.of(member)) {
          const feed = session.feed;
          if (feed === undefined || session.device === receipt.device) continue;
          if (feed.isOverfull(receipt.conversation)) {
            feed.miss(receipt.conversation, 0);
            this.#behind.add(feed);
            continue;
          }
          message ??= this.#encode({ type: "receipt", receipt });
          feed.announce(message);
        }
      }
    }
  }

  devicesChanged(change: DevicesChanged): void {
    for (const { id, epoch, members } of change.conversations) {
      let message: Uint8Array | undefined;
      for (const member of members) {
        for (const session of this.#sessions.of(member)) {
          if (session.feed === undefined) continue;
          message ??= this.#encode({ type: "devicesChanged", name: change.user, conversation: id, epoch });
          session.feed.announce(message);
        }
      }
    }
    this.#keyLogGrown(change);
  }

  /** Once to everybody here who shares a conversation with the user, and to the user's own devices. */
  #keyLogGrown({ user, conversations, keyLogLength, acquainted = [] }: DevicesChanged): void {
    const message = this.#encode({ type: "keyLogGrown", length: keyLogLength });
    for (const member of new Set([user, ...conversations.flatMap(({ members }) => members), ...acquainted])) {
      for (const session of this.#sessions.of(member)) session.feed?.announce(message);
    }
  }

  /** Seldom, and small: told however much is waiting, but for what the device asks for anyway once it has caught up. */
  groupNews(news: GroupNews): void {
    switch (news.type) {
      case "asked":
        return this.#asked(news);
      case "welcomed":
      case "historyWaits": {
        const message = this.#encode(
          news.type === "welcomed" ? { type: "welcomed", conversation: news.conversation } : { type: "historyWaits" },
        );
        for (const { user, device } of news.devices) {
          for (const session of this.#sessions.of(user)) if (session.device === device) session.feed?.announce(message);
        }
        return;
      }
      case "dismissed": {
        const { conversation, seq, users } = news, message = this.#encode({ type: "dismissed", conversation, seq });
        for (const user of users) {
          for (const session of this.#sessions.of(user)) session.feed?.announce(message);
        }
      }
    }
  }

  #asked({ ask, members }: GroupNews & { type: "asked" }): void {
    let message: Uint8Array | undefined;
    for (const member of members) {
      for (const session of this.#sessions.of(member)) {
        const feed = session.feed;
        if (feed === undefined || session.device === ask.device) continue;
        if (feed.isOverfull(ask.conversation)) {
          feed.miss(ask.conversation, 0);
          this.#behind.add(feed);
          continue;
        }
        message ??= this.#encode({ type: "asked", ask });
        feed.announce(message);
      }
    }
  }

  /** To the user's other devices. */
  credentialsChanged({ user, change }: SessionsEnded): void {
    if (change === undefined) return;
    const message = this.#encode({ type: "credentialsChanged", change });
    for (const session of this.#sessions.of(user)) {
      if (session.device !== change.device) session.feed?.announce(message);
    }
  }

  /** Tells one session to read a conversation up to `head`, as soon as its connection has room. */
  hint(session: Session, conversation: ConversationId, head: number): void {
    if (session.feed === undefined) return;
    session.feed.miss(conversation, head);
    this.#behind.add(session.feed);
  }

  /** Tells those that have caught up what they missed. Cheap where nobody is behind; called every few tens of milliseconds. */
  catchUp(): void {
    for (const feed of this.#behind) {
      if (!feed.hasRoom) continue;
      this.#behind.delete(feed);
      for (const [conversation, head] of feed.takeMissed()) {
        feed.announce(this.#encode({ type: "behind", conversation, head }));
      }
    }
  }

  /** Finishes streams that delivered nothing since `beforeUs`. */
  finishIdle(beforeUs: number): void {
    for (const session of this.#sessions) session.feed?.finishIdle(beforeUs);
  }

  get feedsBehind(): number {
    return this.#behind.size;
  }

  #deliver({ record, members }: Committed, nowUs: number): void {
    let message: Uint8Array | undefined;
    // One row for each of so many connections at once would be the memory of all of them: they are told to read it, and wait in turn.
    const isLarge = record.body.length * members.length > LIVE_BYTES_MAX;
    for (let m = 0; m < members.length; m++) {
      const sessions = this.#sessions.of(members[m]!);
      for (let s = 0; s < sessions.length; s++) {
        const session = sessions[s]!;
        // Who handed it in on this very connection has `stored`; the user's other connections need the record.
        if (session.device === record.device && session.sent.delete(record.messageId)) continue;
        const feed = session.feed;
        if (feed === undefined) continue;
        if (isLarge || feed.isOverfull(record.conversation)) {
          this.skipped++;
          feed.miss(record.conversation, record.seq);
          this.#behind.add(feed);
          continue;
        }
        message ??= this.#encode({ type: "deliver", record });
        feed.deliver(record.conversation, message, nowUs);
        this.delivered++;
      }
    }
  }

  /** Borrowed until the next call. */
  #encode(value: Event): Uint8Array {
    this.#writer.reset();
    write(event, this.#writer, value);
    return this.#writer.view();
  }
}

/** What one record may be times the members it is for, to be delivered to them unasked. */
export const LIVE_BYTES_MAX = 16 << 20;
