/** Rows of one conversation on their way into the history, and how far the log is known to reach. */
import { READ_RECORDS_MAX } from "../../shared/limits.ts";
import { Rounds } from "../../shared/rounds.ts";
import type { ConversationId, MessageId, Record, ResponseOf, UserName } from "../../shared/protocol/mod.ts";
import type { Engine, Step } from "../e2ee/engine.ts";
import type { Joined } from "./engine_host.ts";
import type { Conversation } from "./conversations.ts";
import { NOBODYS_DEVICE, Own } from "./message_row.ts";
import type { InboxOptions } from "./inbox_options.ts";
import { patiently } from "../network/link.ts";
import { pause } from "../pause.ts";
import { Taking, type Waiting } from "./taking.ts";
import type { Turns } from "./turns.ts";

export interface InLaneOwner {
  isClosed(): boolean;
  find(first: Record | undefined): Promise<Conversation | undefined>;
  applied(here: boolean): void;
  readonly turns: Turns;
}

/** Rows of one conversation that wait to be applied, and how far the log is known to reach. */
export class InLane {
  readonly #id: ConversationId;
  readonly #options: InboxOptions;
  readonly #owner: InLaneOwner;
  readonly #taking: Taking;
  readonly #rows = new Map<number, Record>();
  #bytes = 0;
  #head = 0;
  /** Up to here the log is known to reach, and what is missing is given a moment to come by itself. */
  #storedUpTo = 0;
  #storedTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #rounds = new Rounds(() => this.#work());
  /** The next row cannot be taken before something else has come. */
  #waits:
    | { isOver: boolean; offered: number; ready: Promise<void>; readonly warning: ReturnType<typeof setTimeout> }
    | undefined;

  constructor(id: ConversationId, options: InboxOptions, owner: InLaneOwner) {
    this.#id = id;
    this.#options = options;
    this.#owner = owner;
    this.#taking = new Taking(id, options);
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
      this.#head = Math.max(this.#head, head);
      await this.runPatiently();
    } finally {
      this.#owner.turns.leave(this);
    }
  }

  /** As {@linkcode run}; what the next row waits for is given a while to come. */
  async runPatiently(): Promise<void> {
    const over = new AbortController(), patience = pause(PATIENCE_MS, over.signal).then(() => true, () => true);
    try {
      for (;;) {
        await this.run();
        const waits = this.#waits;
        if (waits === undefined || this.#owner.isClosed()) return;
        if (await Promise.race([patience, waits.ready.then(() => false)])) return;
      }
    } finally {
      over.abort();
    }
  }

  stored(seq: number): Promise<void> {
    this.#storedUpTo = Math.max(this.#storedUpTo, seq);
    return this.run();
  }

  /** What the next row waits for may be there. */
  tryAgain(): void {
    if (this.#waits !== undefined) this.#waits.isOver = true;
  }

  /** What the group says of itself is kept. Only while this process owns the home. */
  refresh(engine: Engine): void {
    this.#taking.keepFacts(engine);
  }

  /** This device came in without a row. */
  joined(engine: Engine, taken: Joined): void {
    this.#taking.joined(engine, taken);
  }

  close(): void {
    clearTimeout(this.#storedTimer);
    clearTimeout(this.#waits?.warning);
    this.#owner.turns.leave(this);
  }

  /** Resolves when everything known of is applied, or waits for something that is not in this conversation's log. */
  run(): Promise<void> {
    return this.#rounds.run();
  }

  async #work(): Promise<void> {
    while (!this.#owner.isClosed()) {
      const conversation = this.#options.conversations.get(this.#id) ??
        await this.#owner.find(this.#rows.values().next().value);
      // Not ours, whatever the server says: its rows are for nobody here.
      if (conversation === undefined) return this.#clear();
      const { cursor } = conversation;
      for (const seq of this.#rows.keys()) if (seq <= cursor) this.#drop(seq);
      if (this.#rows.has(cursor + 1) || this.#keepOwn(cursor + 1)) {
        if (this.#waits?.isOver === false) return;
        if (!await patiently(() => this.#apply(cursor))) return;
      } else if (Math.max(this.#head, this.#storedUpTo) <= cursor) return;
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

  /** The answer to an append is all that this connection hears of a message of our own: its row is what we handed in. */
  #keepOwn(seq: number): boolean {
    const { history, self } = this.#options, own = history.ownBody(this.#id, seq);
    if (own === undefined) return false;
    const { conversation, id: messageId, timeMs, body } = own;
    this.#keep({ conversation, seq, timeMs, sender: self.name, device: self.keys.id, messageId, body });
    return true;
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
      await this.#passRemoved(begins, peer);
    } else if (first === undefined || first.seq !== cursor + 1) {
      // Whatever was said to be there is not given out. It is asked for again when there is news.
      this.#clear();
      if (first === undefined) return;
      const { conversations } = this.#options, who = conversations.addressOf(conversations.get(this.#id)!);
      const text = `The server holds back messages with ${who} between ${cursor} and ${first.seq}`;
      return this.#options.onNotice({ type: "notice", code: "gap", name: who, conversation: this.#id, text });
    }
    for (const record of records) {
      if (record.conversation === this.#id) this.#keep(record);
    }
  }

  /**
   * The server was restored from a backup and has nothing behind the cursor but what came since (docs/PROTOCOL.md §7.4): one row
   * says so, what this home has stays, and what it sent and the server lost is sent again.
   */
  async #passRestored({ kept, begins, madeMs, restoredMs }: ResponseOf<"restored">, peer: UserName): Promise<void> {
    const { conversations, outbox } = this.#options;
    const hasPassed = await this.#pass({ upTo: begins, kept }, (step) => {
      const { cursor } = conversations.get(this.#id)!;
      if (kept > cursor || begins <= cursor || begins > this.#head) return false;
      step.write();
      conversations.stepOver(this.#id, begins);
      // Whoever has read nothing here misses nothing here: it may well be new.
      if (cursor > 0) {
        const period = `between ${minuteText(madeMs)} and ${minuteText(restoredMs)}`;
        const text = `The server was restored from a backup: what was said ${period} is on the devices that have it`;
        this.#explain(begins, peer, text);
      }
      outbox.sendAgain(this.#id, kept, begins, Date.now());
      return true;
    });
    if (hasPassed === false && conversations.get(this.#id)!.cursor < begins) this.#clear();
  }

  /**
   * Steps over rows that are not coming, with the group, in one transaction.
   *
   * @param change What else is so then; false where it is not believed.
   * @returns `undefined` where another process has the home: it steps over them, or this one when it asks again.
   */
  async #pass(
    place: { readonly upTo: number; readonly kept?: number },
    change: (step: Step) => boolean,
  ): Promise<boolean | undefined> {
    const { host, database } = this.#options, hold = await host.ownership.tryHold();
    if (hold === undefined) return void await pause(LOCK_POLL_MS);
    try {
      const step = await (await host.get()).passed(this.#id, place);
      let hasPassed = false;
      try {
        hasPassed = database.transaction(() => change(step));
      } finally {
        if (hasPassed) step.done();
        else step.undo();
      }
      if (hasPassed) this.#owner.applied(false);
      return hasPassed;
    } finally {
      hold.release();
    }
  }

  /** Messages are not kept for ever: for all that this device was too late for there is one row that says so. */
  async #passRemoved(begins: number, peer: UserName): Promise<void> {
    const { conversations, history } = this.#options;
    await this.#pass({ upTo: begins }, (step) => {
      step.write();
      const { ended, cursor } = conversations.get(this.#id)!;
      if (cursor >= begins) return true;
      const { count, last } = history.lacking(this.#id, cursor, begins);
      conversations.stepOver(this.#id, begins);
      // Whoever was out of a group for a while misses nothing of it: that was not for them.
      if (count === 0 || ended) return true;
      const what = count === 1 ? "An earlier message was" : `${count} earlier messages were`;
      this.#explain(last, peer, `${what} removed by the server, which does not keep them for ever`);
      return true;
    });
  }

  /** A row of nobody's, which says why there is nothing else at that place. */
  #explain(seq: number, peer: UserName, reason: string): void {
    const { history, self } = this.#options, isGroup = peer === "";
    history.add({
      conversation: this.#id,
      seq,
      id: NOBODYS_ID as MessageId,
      sender: isGroup ? self.name : peer,
      recipient: isGroup ? peer : self.name,
      device: NOBODYS_DEVICE,
      timeMs: Date.now(),
      own: Own.no,
      reason,
    });
  }

  /**
   * Takes the rows that are there, in order, if this process may.
   *
   * @returns False where the next one waits for something.
   */
  async #apply(cursor: number): Promise<boolean> {
    const { host, conversations } = this.#options;
    const hold = await host.ownership.tryHold();
    if (hold === undefined) {
      // Another process takes them, or will be through in a moment.
      await pause(LOCK_POLL_MS);
      return true;
    }
    try {
      const engine = await host.get();
      // Whoever owned the home before may have taken them.
      if (conversations.get(this.#id)!.cursor !== cursor) return true;
      for (let seq = cursor + 1; this.#rows.has(seq) && !this.#owner.isClosed(); seq++) {
        const times: number[] = [];
        for (let at = seq; times.length < TURN_ROWS && this.#rows.has(at); at++) times.push(this.#rows.get(at)!.timeMs);
        const last = seq + await this.#owner.turns.take(this, times) - 1;
        for (; seq <= last; seq++) {
          const wait = await this.#taking.take(engine, this.#rows.get(seq)!);
          if (wait !== undefined) {
            this.#wait(wait);
            return false;
          }
          this.#waitIsOver();
          this.#drop(seq);
          this.#owner.turns.passed(this, this.#rows.get(seq + 1)?.timeMs);
          this.#owner.applied(true);
        }
        seq = last;
        if (await host.ownership.isWanted()) return true;
      }
      return true;
    } finally {
      hold.release();
    }
  }

  /** Other conversations go on; people are told where it takes long. */
  #wait({ ready, reason }: Waiting): void {
    const { onNotice, conversations } = this.#options;
    const tell = () => {
      const conversation = conversations.get(this.#id);
      if (conversation === undefined || this.#owner.isClosed()) return;
      const text = `Messages in ${conversations.addressOf(conversation)} wait: ${reason}`;
      onNotice({ type: "notice", code: "waiting", conversation: this.#id, text });
    };
    this.#waits ??= { isOver: false, offered: 0, ready, warning: setTimeout(tell, WAIT_NOTICE_MS) };
    const waits = this.#waits;
    waits.isOver = false;
    const goOn = () => {
      waits.isOver = true;
      if (!this.#owner.isClosed()) this.run().catch(() => {});
    };
    // What is said to be there again and again, and is not, must not keep this program from everything else.
    const slowly = () => waits.offered > OFFERS_QUICK ? pause(OFFER_PAUSE_MS) : undefined;
    waits.offered++;
    waits.ready = ready.then(slowly, slowly).then(goOn, goOn);
  }

  #waitIsOver(): void {
    clearTimeout(this.#waits?.warning);
    this.#waits = undefined;
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

/** A moment as people say it, in UTC. */
function minuteText(timeMs: number): string {
  return `${new Date(timeMs).toISOString().slice(0, 16).replace("T", " ")} UTC`;
}

/** Of a row that stands for others. */
const NOBODYS_ID = "0".repeat(32);
/** Rows that take their turn at a time. */
const TURN_ROWS = 32;
/** Delivered rows of one conversation that wait for their turn; more is read from the log later. */
const WAITING_BYTES_MAX = 4 << 20;
/** A page may be a megabyte, on a line that takes minutes for it. That the server lives is watched by others. */
const READ_TIMEOUT_MS = 10 * 60_000;
const DELIVERY_MS = 500;
const LOCK_POLL_MS = 50;
/** A row that was offered more often than anything can come before it is offered at this pace. */
const OFFERS_QUICK = 10;
const OFFER_PAUSE_MS = 250;
/** Nobody needs to be told of less. */
const WAIT_NOTICE_MS = 10_000;
/** How long whoever catches up, or is about to send, waits with a row. */
const PATIENCE_MS = 5_000;
