/**
 * Receipts (docs/PROTOCOL.md §13): says, signed, how far this device has come, and believes of others what their devices signed.
 *
 * Ours are made from what is in the database at the moment of sending, so they never go back and never say more than what is
 * on the disk, whichever process of the home applied it. Of others, one is believed if a certificate of a pinned identity
 * names its key, and if the row it names is the row that we have at that place.
 */
import { directConversationId, equalBytes, signReceipt, verifyReceipt } from "../../shared/crypto/mod.ts";
import { RECEIPTS_MAX, SMALL_GROUP_USERS_MAX } from "../../shared/limits.ts";
import type { ConversationId, DeviceId, OwnReceipt, Receipt } from "../../shared/protocol/mod.ts";
import { Rounds } from "../../shared/rounds.ts";
import type { Database } from "../home/database.ts";
import type { NoticeEvent } from "../events.ts";
import type { Conversations } from "./conversations.ts";
import type { History } from "./history.ts";
import type { Keyring, Self } from "../trust/keyring.ts";
import { type Link, patiently } from "../network/link.ts";
import { pause } from "../pause.ts";
import type { Remote } from "../network/remote.ts";
import { OwnProgress } from "./own_progress.ts";
import type { Shown } from "./shown.ts";
import type { Settings } from "../home/settings.ts";
import type { States } from "./states.ts";

export interface ReceiptsOptions {
  readonly database: Database;
  readonly conversations: Conversations;
  readonly history: History;
  readonly shown: Shown;
  readonly states: States;
  readonly settings: Settings;
  readonly keyring: Keyring;
  readonly self: Self;
  readonly link: Link;
  onNotice(notice: NoticeEvent): void;
}

export class Receipts {
  readonly #options: ReceiptsOptions;
  readonly #progress: OwnProgress;
  /** Conversations of which there may be something new to say, and when. */
  readonly #due = new Map<ConversationId, number>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When that fires. */
  #timerMs = Infinity;
  /** Where {@linkcode onChange} looked last. */
  #shown: number;
  /** What came and is not judged yet: the newest of each device. */
  readonly #pending = new Map<string, Receipt>();
  /** Proven, but for rows that we do not have yet. */
  readonly #early = new Map<ConversationId, Map<DeviceId, Receipt>>();
  readonly #asked = new Set<ConversationId>();
  /** When all receipts of a large group were asked for last. */
  readonly #askedMs = new Map<ConversationId, number>();
  #askTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #later = new Set<ConversationId>();
  #laterTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #judging = new Rounds(() => this.#judgeAll());
  /** What was told of already: a lying server should not fill the screen. */
  readonly #noticed = new Set<string>();
  #closed = false;

  constructor(options: ReceiptsOptions) {
    this.#options = options;
    this.#shown = options.shown.upTo();
    this.#progress = new OwnProgress(options.database);
  }

  /** Sends what was left unsaid and asks what happened while we were away. Call it on every new connection. */
  async catchUp(remote: Remote): Promise<void> {
    const { states, settings } = this.#options;
    for (const id of this.#progress.untold(settings.readReceipts)) this.#due.set(id, 0);
    const open = states.open(), later = open.filter((id) => this.#wasAskedLately(id));
    for (const id of later) this.missed(id);
    await Promise.all([this.flush(), this.#ask(open.filter((id) => !later.includes(id)), remote)]);
  }

  /**
   * Rows of a conversation are on this disk.
   *
   * @param here Whether this process put them there: otherwise the other one says so, and we only if it does not.
   */
  applied(conversation: ConversationId, here: boolean): void {
    // What is to be said already covers it.
    if (!this.#due.has(conversation)) this.#say(conversation, (here ? 0 : OTHERS_MS) + this.#collectMs(conversation));
    const early = this.#early.get(conversation);
    if (early === undefined) return;
    this.#early.delete(conversation);
    for (const receipt of early.values()) this.received(receipt);
  }

  /** The home has changed: something may have been read. */
  onChange(): void {
    const { settings } = this.#options;
    const shown = this.#options.shown.upTo();
    if (shown === this.#shown) return;
    const from = this.#shown;
    this.#shown = shown;
    if (!settings.readReceipts) return;
    for (const id of this.#options.shown.conversationsBetween(from, shown)) this.#say(id, this.#collectMs(id));
  }

  /** Says what there is to say, now rather than in a moment. */
  flush(): Promise<void> {
    return this.#flush(Infinity);
  }

  async #flush(upToMs: number): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#timerMs = Infinity;
    for (;;) {
      const some = [...this.#due].filter(([, ms]) => ms <= upToMs).slice(0, RECEIPTS_MAX).map(([id]) => id);
      if (some.length === 0) break;
      const remote = this.#options.link.remote;
      // What is unsaid is in the database, and is said on the next connection.
      if (remote === undefined) return this.#due.clear();
      for (const id of some) this.#due.delete(id);
      const receipts = some.flatMap((id) => this.#make(id) ?? []);
      if (receipts.length === 0) continue;
      await patiently(() => remote.ask<"receipts">({ type: "receipts", receipts }));
      if (this.#closed) return;
      this.#options.database.transaction(() => {
        for (const receipt of receipts) this.#progress.told(receipt.conversation, receipt);
      });
    }
    if (this.#due.size > 0) this.#wake(Math.min(...this.#due.values()));
  }

  /** The server shows what a device said. */
  received(receipt: Receipt): void {
    if (this.#closed || this.#pending.size >= PENDING_MAX) return;
    this.#pending.set(`${receipt.conversation} ${receipt.user} ${receipt.device}`, receipt);
    this.#judging.run().catch(() => {});
  }

  /** Something may have been missed in a conversation. */
  missed(conversation: ConversationId): void {
    if (this.#closed) return;
    if (this.#wasAskedLately(conversation)) return this.#askLater(conversation);
    this.#asked.add(conversation);
    this.#askTimer ??= setTimeout(() => {
      this.#askTimer = undefined;
      const conversations = [...this.#asked], remote = this.#options.link.remote;
      this.#asked.clear();
      if (remote !== undefined) this.#ask(conversations, remote).catch(() => {});
    }, COLLECT_MS);
  }

  #askLater(conversation: ConversationId): void {
    this.#later.add(conversation);
    this.#laterTimer ??= setTimeout(() => {
      this.#laterTimer = undefined;
      const conversations = [...this.#later];
      this.#later.clear();
      for (const id of conversations) this.missed(id);
    }, ASK_AGAIN_MS);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#askTimer);
    clearTimeout(this.#laterTimer);
  }

  #say(conversation: ConversationId, withinMs: number): void {
    if (this.#closed) return;
    const now = performance.now(), due = Math.min(now + withinMs, this.#due.get(conversation) ?? Infinity);
    this.#due.set(conversation, due);
    this.#wake(due);
  }

  #wake(atMs: number): void {
    if (this.#closed || atMs >= this.#timerMs) return;
    clearTimeout(this.#timer);
    this.#timerMs = atMs;
    this.#timer = setTimeout(() => {
      // A timer may be a little early. Where it fails there is a next connection.
      this.#flush(performance.now() + 5).catch(() => {});
    }, Math.max(0, atMs - performance.now()));
  }

  /**
   * How long what there is to say of a conversation is collected. In a large group for a while by chance, so that all of it together
   * say so many things a second, however much is written; and what was written meanwhile, one receipt covers.
   */
  #collectMs(conversation: ConversationId): number {
    return collectMs(this.#options.conversations.countMembers(conversation), Math.random());
  }

  /** Receipts of a large group are many: where a connection comes and goes, they are not all asked for each time. */
  #wasAskedLately(conversation: ConversationId): boolean {
    return performance.now() - (this.#askedMs.get(conversation) ?? -Infinity) < ASK_AGAIN_MS;
  }

  #make(id: ConversationId): OwnReceipt | undefined {
    const { shown, settings, self } = this.#options;
    const said = this.#progress.of(id);
    if (said?.hash === undefined) return undefined;
    const { cursor: delivered, hash } = said;
    const read = Math.min(delivered, Math.max(said.read, settings.readReceipts ? shown.readUpTo(id) : 0));
    if (delivered <= said.delivered && read <= said.read) return undefined;
    const statement = { conversation: id, user: self.name, device: self.keys.id, delivered, hash, read };
    const signature = signReceipt(self.keys.leaf, self.clusterId, statement);
    return { conversation: id, delivered, hash, read, signature };
  }

  async #ask(conversations: readonly ConversationId[], remote: Remote): Promise<void> {
    for (const id of conversations) {
      if (this.#options.conversations.countMembers(id) > SMALL_GROUP_USERS_MAX) {
        this.#askedMs.set(id, performance.now());
      }
    }
    for (let at = 0; at < conversations.length; at += RECEIPTS_MAX) {
      let asked = conversations.slice(at, at + RECEIPTS_MAX), after: DeviceId | undefined;
      while (asked.length > 0) {
        const page = { type: "receiptsOf", conversations: asked, after } as const;
        const { receipts, more } = await patiently(() =>
          remote.ask<"receiptsOf">({ ...page, conversations: [...asked] })
        );
        for (const receipt of receipts) this.received(receipt);
        // Told before they are waited for: a page is judged while the next one is on its way.
        const last = receipts.at(-1), from = last ? asked.indexOf(last.conversation) : -1;
        if (!more || last === undefined || from < 0 || (from === 0 && last.device === after)) break;
        asked = asked.slice(from);
        after = last.device;
        await this.#judging.idle();
      }
    }
    await this.#judging.idle();
  }

  /** A batch after the other: what came together becomes true together, in one transaction. */
  async #judgeAll(): Promise<void> {
    while (this.#pending.size > 0 && !this.#closed) {
      // The rest of what the server tells at once is on its way; and screen and connection want to live meanwhile.
      await pause(0);
      if (this.#closed) return;
      const batch = [...this.#pending.entries()].slice(0, BATCH_RECEIPTS);
      for (const [key] of batch) this.#pending.delete(key);
      const receipts = batch.map(([, receipt]) => receipt).filter((receipt) => this.#isNews(receipt));
      await this.#meet(receipts);
      if (this.#closed) return;
      const believed: Receipt[] = [];
      for (const receipt of receipts) {
        try {
          if (await this.#judge(receipt)) believed.push(receipt);
        } catch {
          // No connection to ask for a certificate: the next one brings the receipt again.
        }
      }
      if (!this.#closed) this.#believe(believed);
    }
  }

  /** Asks the directory for all of whom nothing is known, rather than for one after the other. */
  async #meet(receipts: readonly Receipt[]): Promise<void> {
    const { keyring, link } = this.#options, { remote } = link;
    const strangers = [...new Set(receipts.map(({ user }) => user))].filter((name) =>
      keyring.entry(name) === undefined
    );
    if (strangers.length < 2 || remote === undefined) return;
    for (let at = 0; at < strangers.length; at += NAMES_AT_ONCE) {
      await keyring.fetch(strangers.slice(at, at + NAMES_AT_ONCE), remote).catch(() => {});
    }
  }

  /** By somebody else who is in a conversation of ours, and not a repeat or an older one: those change nothing. */
  #isNews(receipt: Receipt): boolean {
    const { conversations, states, self } = this.#options, { conversation, user, device, delivered, read } = receipt;
    if (
      conversations.get(conversation) === undefined || user === self.name || !isMember(receipt, self, conversations)
    ) {
      return false;
    }
    const known = states.progress(conversation, device);
    return known === undefined || delivered > known.delivered || read > known.read;
  }

  /** Whether it is to be believed now. */
  async #judge(receipt: Receipt): Promise<boolean> {
    const { conversations, history, keyring, self, link } = this.#options;
    const { conversation: id, user, device, delivered } = receipt;
    const certificate = await keyring.certificateOf(user, device, () => link.ready());
    if (certificate === undefined) {
      // Whose key has changed was told, and their receipts are asked for again when it is accepted.
      if (keyring.isChanged(user)) return false;
      return this.#refuse(receipt, `by a device of ${user} that has no valid certificate`);
    }
    if (!verifyReceipt(certificate.leafKey, self.clusterId, receipt)) {
      return this.#refuse(receipt, `that ${user}'s device did not sign`);
    }
    if (this.#closed) return false;
    const hash = delivered === 0 ? undefined : history.hashAt(id, delivered);
    if (hash !== undefined && !equalBytes(hash, receipt.hash)) {
      return this.#refuse(
        receipt,
        `by which ${user} has another message at place ${delivered} than you: it shows the two of you different conversations`,
      );
    }
    if (hash === undefined && delivered > conversations.get(id)!.cursor) {
      this.#keepEarly(receipt);
      return false;
    }
    return true;
  }

  #believe(receipts: readonly Receipt[]): void {
    const { database, states } = this.#options, timeMs = Date.now();
    if (receipts.length === 0) return;
    database.transaction(() => {
      for (const [conversation, some] of Map.groupBy(receipts, ({ conversation }) => conversation)) {
        const steps = some.map(({ device, user: member, delivered, read }) => ({ device, member, delivered, read }));
        states.moved(conversation, steps, timeMs);
      }
    });
  }

  #keepEarly(receipt: Receipt): void {
    const { conversation, device } = receipt;
    let early = this.#early.get(conversation);
    if (early === undefined) this.#early.set(conversation, early = new Map());
    early.set(device, receipt);
  }

  #refuse({ conversation, user, device }: Receipt, what: string): false {
    const key = `${conversation} ${device} ${what.replace(/\d+/, "")}`;
    if (this.#closed || this.#noticed.has(key) || this.#noticed.size >= NOTICED_MAX) return false;
    this.#noticed.add(key);
    const text = `The server shows a receipt ${what}. It was not believed`;
    this.#options.onNotice({ type: "notice", code: "receipt", name: user, text });
    return false;
  }
}

/** The id of a direct conversation follows from both names; who is in a group, its state says. */
function isMember({ conversation, user }: Receipt, self: Self, conversations: Conversations): boolean {
  return directConversationId(self.clusterId, self.name, user) === conversation ||
    conversations.isMember(conversation, user);
}

/**
 * How long a device of a conversation of so many collects what it has to say.
 *
 * @param chance 0 to 1: in a large group each device takes another time, and all of them say some fifty things a second.
 */
export function collectMs(members: number, chance: number): number {
  return members <= SMALL_GROUP_USERS_MAX ? COLLECT_MS : COLLECT_MS + chance * members * MEMBER_MS;
}

/** What happens within this goes out together. */
const COLLECT_MS = 200;
/** What the devices of a large group say is spread over so much for each member: 20 s for a thousand. */
const MEMBER_MS = 20;
/** All receipts of a large group are asked for no more often than this. */
const ASK_AGAIN_MS = 10 * 60_000;
const BATCH_RECEIPTS = 128;
const NAMES_AT_ONCE = 16;
/** What another process of the home should have said by then. */
const OTHERS_MS = 2_000;
const PENDING_MAX = 4_096;
const NOTICED_MAX = 100;
