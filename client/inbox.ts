/**
 * Receiving (docs/PROTOCOL.md §7.2): rows of the log become messages of the history, in order, exactly once, whichever process
 * of the home gets them first.
 *
 * A row is applied only at cursor + 1, in a transaction that reads the cursor again. A row further on shows a gap, which is
 * read. So catching up, live delivery and recovery are one mechanism, and nothing has to arrive twice or in order.
 */
import { directConversationId, envelopeHash, equalBytes, readEnvelope } from "../shared/crypto/mod.ts";
import { RequestError } from "../shared/errors.ts";
import { READ_RECORDS_MAX } from "../shared/limits.ts";
import type {
  ConversationHead,
  ConversationId,
  DeviceId,
  MessageId,
  Record,
  ResponseOf,
  UserName,
} from "../shared/protocol/mod.ts";
import { type Database, isStorageError } from "./database.ts";
import type { OpenedRecord } from "./e2ee/mod.ts";
import type { NoticeEvent } from "./events.ts";
import { type Conversation, ConversationKind, type History, type NewMessage, Own } from "./history.ts";
import type { Keyring, Self } from "./keyring.ts";
import { isTransient, type Link, patiently } from "./link.ts";
import type { Outbox } from "./outbox.ts";
import type { Remote } from "./remote.ts";
import { sanitizeText } from "./sanitize.ts";
import type { States } from "./states.ts";
import { Turns } from "./turns.ts";

export interface InboxOptions {
  readonly database: Database;
  readonly history: History;
  readonly outbox: Outbox;
  readonly states: States;
  readonly keyring: Keyring;
  readonly self: Self;
  readonly link: Link;
  onNotice(notice: NoticeEvent): void;
  /** A row of the outbox turned out to be stored. */
  onSettled(id: MessageId): void;
  /** Rows of a conversation are on this disk. `here`: this process put them there. */
  onApplied(conversation: ConversationId, here: boolean): void;
}

export class Inbox {
  readonly #options: InboxOptions;
  readonly #lanes = new Map<ConversationId, InLane>();
  readonly #turns = new Turns();
  /** The home takes nothing more; told once. */
  #isFull = false;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #listing: Promise<void> | undefined;
  /** When the list of this connection is there; sending waits for it. */
  #listed: Promise<void> = Promise.resolve();
  /** Conversations in which this device has acknowledged more than the home knows: it was set back to an earlier state. */
  readonly #setBack = new Set<ConversationId>();
  /** The server has fewer messages than were read here; told once. */
  #hasGoneBack = false;
  #closed = false;

  constructor(options: InboxOptions) {
    this.#options = options;
  }

  /**
   * Reads everything that is waiting. Call it on every new connection, after `subscribe`.
   *
   * @returns When all that was there at the beginning is in the history. Rejects where the connection ends under it.
   */
  async catchUp(remote: Remote): Promise<void> {
    this.#listed = this.#list(remote);
    await this.#listed;
    await Promise.all([...this.#lanes.values()].map((lane) => lane.run()));
  }

  /**
   * Waits until it is safe to number envelopes to somebody. A home that was set back (a restored copy, a power cut) reads its own
   * messages first: their counters must not be used again (SECURITY M11, test 6).
   */
  async readyToSend(peer: UserName): Promise<void> {
    await this.#listed;
    const conversation = this.#options.history.conversationWith(peer);
    if (conversation === undefined || !this.#setBack.has(conversation.id)) return;
    await this.#lane(conversation.id).run();
    this.#setBack.delete(conversation.id);
  }

  /** A row came by itself. */
  deliver(record: Record): void {
    this.#run(this.#lane(record.conversation).add(record));
  }

  /** A message of this home is there; what lies before it is most likely on its way. */
  stored(conversation: ConversationId, seq: number): void {
    this.#run(this.#lane(conversation).stored(seq));
  }

  /** The log of a conversation reaches at least up to here. */
  reaches(conversation: ConversationId, head: number): void {
    this.#run(this.#lane(conversation).reaches(head));
  }

  /** After a changed identity was accepted: opens what was refused because of it. */
  async reopen(peer: UserName): Promise<number> {
    const { history, database, keyring, self } = this.#options;
    let opened = 0;
    for (const row of history.retryable(peer)) {
      const result = await keyring.reopen({ ...row, messageId: row.id }, peer);
      if (result.kind !== "message") continue;
      const { id, from, to, device, text } = result.message;
      const { conversation, seq, timeMs } = row;
      database.transaction(() => {
        if (history.has(conversation, device, id)) return;
        history.replace({
          conversation,
          seq,
          id,
          sender: from,
          recipient: to,
          device,
          timeMs,
          own: from === self.name ? Own.elsewhere : Own.no,
          text: sanitizeText(text),
          hash: envelopeHash(row.body),
        });
      });
      opened++;
    }
    return opened;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retryTimer);
    for (const lane of this.#lanes.values()) lane.close();
  }

  #lane(id: ConversationId): InLane {
    let lane = this.#lanes.get(id);
    if (lane === undefined) {
      this.#lanes.set(
        id,
        lane = new InLane(id, this.#options, {
          isClosed: () => this.#closed,
          find: (record) => this.#find(id, record),
          applied: (here) => this.#applied(id, here),
          turns: this.#turns,
        }),
      );
    }
    return lane;
  }

  /** A lane that stops with an error goes on at the next delivery or the next connection; a full disk is tried again. */
  #run(running: Promise<void>): void {
    running.catch((error) => {
      if (isStorageError(error)) this.#onFull(error);
    });
  }

  #onFull({ message }: Error): void {
    if (this.#closed || this.#retryTimer !== undefined) return;
    if (!this.#isFull) {
      const text = `What arrives cannot be kept: ${message}. It is tried again, nothing is lost`;
      this.#options.onNotice({ type: "notice", code: "gap", text });
    }
    this.#isFull = true;
    this.#retryTimer = setTimeout(() => {
      this.#retryTimer = undefined;
      for (const lane of this.#lanes.values()) this.#run(lane.run());
    }, RETRY_MS);
  }

  /** Pages of all conversations; each knows from it how far its log reaches. */
  #list(remote: Remote): Promise<void> {
    return this.#listing ??= this.#listPages(remote).finally(() => this.#listing = undefined);
  }

  async #listPages(remote: Remote): Promise<void> {
    let after: ConversationId | undefined;
    // As of before the question: what comes meanwhile may be ahead of the answer.
    const begun = this.#options.history.begun();
    const listed = new Map<ConversationId, number>();
    for (;;) {
      const page = { type: "sync", after } as const;
      const { heads, more } = await patiently(() => remote.ask<"sync">(page));
      this.#options.database.transaction(() => {
        for (const head of heads) this.#know(head);
      });
      for (const { conversation, head, cursor } of heads) {
        const known = this.#options.history.conversation(conversation);
        listed.set(conversation, head);
        if (known && known.cursor < cursor) this.#setBack.add(conversation);
        if (known && known.cursor < head) this.#run(this.#lane(conversation).catchUp(head));
      }
      after = heads.at(-1)?.conversation;
      if (!more || after === undefined) break;
    }
    for (const { id, kind, peer, cursor } of begun) {
      const head = listed.get(id);
      if (head !== undefined && head < cursor) this.#wentBack(peer);
      if (head === undefined && kind === ConversationKind.direct) await this.#reopen(peer, remote);
    }
  }

  /** Its data was replaced by an older copy, and not as it should be: numbers are given out twice now. */
  #wentBack(peer: UserName): void {
    if (this.#hasGoneBack) return;
    this.#hasGoneBack = true;
    const text =
      "The server has gone back: it has fewer messages than this device has read. What is said now may not be " +
      "shown. Whoever runs it must put the backup there with: fastchat-balancer restore";
    this.#options.onNotice({ type: "notice", code: "gap", name: peer, text });
  }

  /** A conversation began after the backup that the server was restored from: it begins again, behind what this home remembers. */
  async #reopen(peer: UserName, remote: Remote): Promise<void> {
    try {
      const { head: { conversation, head } } = await patiently(() =>
        remote.ask<"openDirect">({ type: "openDirect", peer })
      );
      this.#run(this.#lane(conversation).catchUp(head));
    } catch (error) {
      // There is nobody of that name any more. Who writes to them is told so.
      if (!(error instanceof RequestError) || isTransient(error)) throw error;
    }
  }

  /** Only a conversation whose id follows from its members' names is one of ours. */
  #know({ conversation: id, members, cursor }: ConversationHead): void {
    const { self, history } = this.#options;
    const peer = members.find((name) => name !== self.name) ?? self.name;
    if (!members.includes(self.name) || directConversationId(self.clusterId, self.name, peer) !== id) return;
    history.addConversation({ id, peer, cursor });
  }

  /** The conversation of a row, which may be the first we hear of it. */
  async #find(id: ConversationId, first: Record | undefined): Promise<Conversation | undefined> {
    const { self, history, database, link } = this.#options;
    const known = history.conversation(id);
    if (known !== undefined) return known;
    if (first?.seq === 1 && directConversationId(self.clusterId, self.name, first.sender) === id) {
      database.transaction(() => history.addConversation({ id, peer: first.sender, cursor: 0 }));
    } else await this.#list(await link.ready());
    return history.conversation(id);
  }

  #applied(conversation: ConversationId, here: boolean): void {
    this.#isFull = false;
    this.#options.onApplied(conversation, here);
  }
}

interface InLaneOwner {
  isClosed(): boolean;
  find(first: Record | undefined): Promise<Conversation | undefined>;
  applied(here: boolean): void;
  readonly turns: Turns;
}

/** Rows of one conversation that wait to be applied, and how far the log is known to reach. */
class InLane {
  readonly #id: ConversationId;
  readonly #options: InboxOptions;
  readonly #owner: InLaneOwner;
  readonly #rows = new Map<number, Record>();
  #bytes = 0;
  #head = 0;
  /** Up to here the log is known to reach, and what is missing is given a moment to come by itself. */
  #storedUpTo = 0;
  #storedTimer: ReturnType<typeof setTimeout> | undefined;
  #running: Promise<void> | undefined;

  constructor(id: ConversationId, options: InboxOptions, owner: InLaneOwner) {
    this.#id = id;
    this.#options = options;
    this.#owner = owner;
  }

  add(record: Record): Promise<void> {
    this.#head = Math.max(this.#head, record.seq);
    // What does not fit is read from the log when its turn comes.
    if (this.#bytes < WAITING_BYTES_MAX) this.#keep(record);
    return this.run();
  }

  reaches(head: number): Promise<void> {
    this.#head = Math.max(this.#head, head);
    return this.run();
  }

  /** As {@linkcode reaches}, in turns with the other conversations that are behind. */
  async catchUp(head: number): Promise<void> {
    this.#owner.turns.enter(this);
    try {
      await this.reaches(head);
    } finally {
      this.#owner.turns.leave(this);
    }
  }

  stored(seq: number): Promise<void> {
    this.#storedUpTo = Math.max(this.#storedUpTo, seq);
    return this.run();
  }

  close(): void {
    clearTimeout(this.#storedTimer);
    this.#owner.turns.leave(this);
  }

  /** Resolves when everything known of is applied. */
  run(): Promise<void> {
    return this.#running ??= this.#work().finally(() => this.#running = undefined);
  }

  async #work(): Promise<void> {
    while (!this.#owner.isClosed()) {
      const conversation = this.#options.history.conversation(this.#id) ??
        await this.#owner.find(this.#rows.values().next().value);
      // Not ours, whatever the server says: its rows are for nobody here.
      if (conversation === undefined) return this.#clear();
      const { cursor } = conversation;
      for (const seq of this.#rows.keys()) if (seq <= cursor) this.#drop(seq);
      if (this.#rows.has(cursor + 1)) await patiently(() => this.#apply(conversation));
      else if (Math.max(this.#head, this.#storedUpTo) <= cursor) return;
      else if (this.#passOwn(cursor)) continue;
      else if (this.#head > cursor) await this.#read(conversation);
      else return this.#awaitDelivery();
    }
  }

  /** What was stored before a message of our own is being delivered; asking for it at once would bring it twice. */
  #awaitDelivery(): void {
    this.#storedTimer ??= setTimeout(() => {
      this.#storedTimer = undefined;
      this.reaches(this.#storedUpTo).catch(() => {});
    }, DELIVERY_MS);
  }

  /** The answer to an append is all that this connection hears of it: the row is in the history, the cursor steps over it. */
  #passOwn(cursor: number): boolean {
    const { database, history } = this.#options;
    const passed = database.transaction(() => {
      if (history.conversation(this.#id)?.cursor !== cursor || !history.hasOwn(this.#id, cursor + 1)) return false;
      history.setCursor(this.#id, cursor + 1, history.hashAt(this.#id, cursor + 1));
      return true;
    });
    if (passed) this.#owner.applied(true);
    return passed;
  }

  async #read({ cursor, peer }: Conversation): Promise<void> {
    const page = await this.#options.link.ask<"read">({
      type: "read",
      conversation: this.#id,
      after: cursor,
      limit: READ_RECORDS_MAX,
    }, READ_TIMEOUT_MS);
    if (page.type === "restored") return this.#passRestored(page, peer);
    const { records, begins } = page;
    const first = records[0];
    if (first?.seq !== cursor + 1 && begins > cursor && (first?.seq ?? this.#head + 1) > begins) {
      // The answer begins behind what was removed, or there is nothing behind it.
      this.#passRemoved(begins, peer);
    } else if (first === undefined || first.seq !== cursor + 1) {
      // Whatever was said to be there is not given out. It is asked for again when there is news.
      this.#clear();
      if (first === undefined) return;
      const text = `The server holds back messages with ${peer} between ${cursor} and ${first.seq}`;
      return this.#options.onNotice({ type: "notice", code: "gap", name: peer, text });
    }
    for (const record of records) {
      if (record.conversation === this.#id) this.#keep(record);
    }
  }

  /**
   * The server was restored from a backup and has nothing behind the cursor but what came since (docs/PROTOCOL.md §7.4): one row
   * says so, what this home has stays, and what it sent and the server lost is sent again.
   */
  #passRestored({ kept, begins, madeMs, restoredMs }: ResponseOf<"restored">, peer: UserName): void {
    const { database, history, outbox, self } = this.#options;
    const hasPassed = database.transaction(() => {
      const { cursor } = history.conversation(this.#id)!;
      if (kept > cursor || begins <= cursor || begins > this.#head) return false;
      history.passRestored(this.#id, begins);
      // Whoever has read nothing here misses nothing here: it may well be new.
      if (cursor > 0) {
        history.add({
          conversation: this.#id,
          seq: begins,
          id: NOBODYS_ID as MessageId,
          sender: peer,
          recipient: self.name,
          device: NOBODYS_ID as DeviceId,
          timeMs: Date.now(),
          own: Own.no,
          reason: `The server was restored from a backup: what was said between ${minuteText(madeMs)} and ` +
            `${minuteText(restoredMs)} is on the devices that have it`,
        });
      }
      outbox.sendAgain(this.#id, kept, begins, Date.now());
      return true;
    });
    if (hasPassed) this.#owner.applied(false);
    else if (history.conversation(this.#id)!.cursor < begins) this.#clear();
  }

  /** Messages are not kept for ever: for all that this device was too late for there is one row that says so. */
  #passRemoved(begins: number, peer: UserName): void {
    const { database, history, self } = this.#options;
    database.transaction(() => {
      const { count, last } = history.passRemoved(this.#id, begins);
      if (count === 0) return;
      const what = count === 1 ? "An earlier message was" : `${count} earlier messages were`;
      history.add({
        conversation: this.#id,
        seq: last,
        id: NOBODYS_ID as MessageId,
        sender: peer,
        recipient: self.name,
        device: NOBODYS_ID as DeviceId,
        timeMs: Date.now(),
        own: Own.no,
        reason: `${what} removed by the server, which does not keep them for ever`,
      });
    });
    this.#owner.applied(false);
  }

  async #apply({ peer, cursor }: Conversation): Promise<void> {
    const { keyring, link } = this.#options;
    const batch: Record[] = [];
    for (let seq = cursor + 1; batch.length < BATCH_ROWS && this.#rows.has(seq); seq++) {
      batch.push(this.#rows.get(seq)!);
    }
    const remote = await link.ready();
    const opened: (OpenedRecord | undefined)[] = [];
    // One after the other: WebCrypto's RSA keeps this thread busy however it is called, and packets want a turn in between.
    for (const record of batch) {
      opened.push(this.#isMine(record) ? undefined : await keyring.open(record, peer, remote));
    }
    for (let at = 0; at < batch.length;) {
      const count = await this.#owner.turns.take(this, batch.slice(at).map(({ timeMs }) => timeMs));
      this.#applyRows(batch.slice(at, at + count), opened.slice(at, at + count));
      at += count;
    }
  }

  #applyRows(rows: readonly Record[], opened: readonly (OpenedRecord | undefined)[]): void {
    const { database, history } = this.#options, after: (() => void)[] = [];
    const isOurs = database.transaction(() => {
      const now = history.conversation(this.#id)!;
      let at = now.cursor, last: Record | undefined;
      for (const [i, record] of rows.entries()) {
        // Another process of this home was quicker.
        if (record.seq !== at + 1) continue;
        this.#applyOne(record, opened[i], now, after);
        at++;
        last = record;
      }
      if (last !== undefined) history.setCursor(this.#id, at, envelopeHash(last.body));
      return last !== undefined;
    });
    for (const { seq } of rows) this.#drop(seq);
    for (const act of after) act();
    this.#owner.applied(isOurs);
  }

  /** A row that this very device handed in: known by its id and, while it waits in the outbox, by its bytes. */
  #isMine(record: Record): boolean {
    const { outbox, history, self } = this.#options;
    if (record.sender !== self.name || record.device !== self.keys.id) return false;
    if (history.hasOwn(this.#id, record.seq)) return true;
    const sealed = outbox.sealedBody(record.messageId);
    return sealed !== undefined && equalBytes(sealed, record.body);
  }

  #applyOne(
    record: Record,
    opened: OpenedRecord | undefined,
    conversation: Conversation,
    after: (() => void)[],
  ): void {
    const { outbox, history, states, self, onSettled, onNotice } = this.#options;
    if (opened === undefined) {
      const { messageId: id, seq, timeMs } = record;
      if (outbox.storedWithin(id, { seq, timeMs }, { name: self.name, device: self.keys.id })) {
        after.push(() => onSettled(id));
      }
      return;
    }
    if (opened.kind === "repeat") return;
    if (opened.kind === "refused") {
      if (opened.code === "own device") this.#lostOwn(record);
      const retryable = opened.code === "identity changed" || opened.code === "unknown device";
      return history.add(this.#refused(record, conversation.peer, opened.reason, retryable));
    }
    const { message: { id, from, to, device, text }, chain } = opened;
    const last = history.chain(this.#id, device);
    if (history.has(this.#id, device, id)) {
      // Sent again after the server had lost it: nothing new was said, under a new number.
      if (last && chain.counter > last.counter) history.setChain(this.#id, device, chain);
      return;
    }
    if (last && chain.counter <= last.counter) {
      const reason = "Its number was used before: it is a repeat, or its device was set back to an earlier state";
      return history.add(this.#refused(record, conversation.peer, reason, false));
    }
    history.setChain(this.#id, device, chain);
    history.add({
      conversation: this.#id,
      seq: record.seq,
      id,
      sender: from,
      recipient: to,
      device,
      timeMs: record.timeMs,
      own: from === self.name ? Own.elsewhere : Own.no,
      text: sanitizeText(text),
      hash: chain.hash,
    });
    if (from === self.name) {
      const read = readEnvelope(record.body);
      if (read.ok) states.sealedFor(this.#id, record.seq, read.envelope.header.devices);
    }
    // Who began before this device did, or before what the server still has, begins in the middle: nothing is missing.
    const isBeginning = last === undefined ? conversation.begins > 0 : last.hash.length === 0;
    const missed = isBeginning ? 0 : chain.counter - (last?.counter ?? 0) - 1;
    if (missed > 0) after.push(() => onNotice(gap(from, `${missed} messages of ${from} before this one never came`)));
    else if (last && !isBeginning && !follows(record, last.hash)) {
      after.push(() => onNotice(gap(from, `${from} sent this after another message than the one that came before it`)));
    }
  }

  /** By this device and not known to it: the home was set back. Its counters must not be used again. */
  #lostOwn(record: Record): void {
    const read = readEnvelope(record.body);
    if (!read.ok || read.envelope.header.senderDevice !== this.#options.self.keys.id) return;
    const { history } = this.#options, { counter } = read.envelope.header;
    // Nothing is wrapped for the device itself, so the server can make such a row up: one that would use the numbers up is.
    if (counter > history.sent(this.#id).counter + COUNTER_LEAP_MAX) return;
    history.setSent(this.#id, { counter, hash: envelopeHash(record.body) });
  }

  #refused(record: Record, peer: UserName, reason: string, retryable: boolean): NewMessage {
    const { self } = this.#options;
    return {
      conversation: this.#id,
      seq: record.seq,
      id: record.messageId,
      sender: record.sender,
      recipient: record.sender === self.name ? peer : self.name,
      device: record.device,
      timeMs: record.timeMs,
      // Whatever the row claims: what was refused has to be seen.
      own: Own.no,
      reason,
      hash: envelopeHash(record.body),
      ...(retryable && { body: record.body }),
    };
  }

  #keep(record: Record): void {
    if (this.#rows.has(record.seq)) return;
    this.#rows.set(record.seq, record);
    this.#bytes += record.body.length;
  }

  #drop(seq: number): void {
    this.#bytes -= this.#rows.get(seq)?.body.length ?? 0;
    this.#rows.delete(seq);
  }

  #clear(): void {
    this.#rows.clear();
    this.#bytes = 0;
    this.#head = 0;
  }
}

function follows(record: Record, hash: Uint8Array): boolean {
  const read = readEnvelope(record.body);
  return read.ok && equalBytes(read.envelope.header.previous, hash);
}

/** A moment as people say it, in UTC. */
function minuteText(timeMs: number): string {
  return `${new Date(timeMs).toISOString().slice(0, 16).replace("T", " ")} UTC`;
}

function gap(name: UserName, text: string): NoticeEvent {
  return { type: "notice", code: "gap", name, text };
}

/** Of a row that stands for others. */
const NOBODYS_ID = "0".repeat(32);
/** Rows opened and then applied in one transaction. */
const BATCH_ROWS = 32;
/** Delivered rows of one conversation that wait for their turn; more is read from the log later. */
const WAITING_BYTES_MAX = 4 << 20;
const RETRY_MS = 2_000;
/** A page may be a megabyte, on a line that takes minutes for it. That the server lives is watched by others. */
const READ_TIMEOUT_MS = 10 * 60_000;
/** More than a home can have sent since any copy of it was made. */
const COUNTER_LEAP_MAX = 2 ** 32;
const DELIVERY_MS = 500;
