/**
 * Receipts (docs/PROTOCOL.md §13): says, signed, how far this device has come, and believes of others what their devices signed.
 *
 * Ours are made from what is in the database at the moment of sending, so they never go back and never say more than what is
 * on the disk, whichever process of the home applied it. Of others, one is believed if a certificate of a pinned identity
 * names its key, and if the row it names is the row that we have at that place.
 */
import { directConversationId, equalBytes, signReceipt, verifyReceipt } from "../shared/crypto/mod.ts";
import { RECEIPTS_MAX } from "../shared/limits.ts";
import type { ConversationId, DeviceId, OwnReceipt, Receipt } from "../shared/protocol/mod.ts";
import type { Database } from "./database.ts";
import type { NoticeEvent } from "./events.ts";
import type { History } from "./history.ts";
import type { Keyring, Self } from "./keyring.ts";
import { type Link, patiently } from "./link.ts";
import type { Remote } from "./remote.ts";
import type { Settings } from "./settings.ts";
import type { States } from "./states.ts";

export interface ReceiptsOptions {
  readonly database: Database;
  readonly history: History;
  readonly states: States;
  readonly settings: Settings;
  readonly keyring: Keyring;
  readonly self: Self;
  readonly link: Link;
  onNotice(notice: NoticeEvent): void;
}

export class Receipts {
  readonly #options: ReceiptsOptions;
  /** Conversations of which there may be something new to say. */
  readonly #due = new Set<ConversationId>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Where {@linkcode onChange} looked last. */
  #shown: number;
  /** What came and is not judged yet: the newest of each device. */
  readonly #pending = new Map<string, Receipt>();
  /** Proven, but for rows that we do not have yet. */
  readonly #early = new Map<ConversationId, Map<DeviceId, Receipt>>();
  readonly #asked = new Set<ConversationId>();
  #askTimer: ReturnType<typeof setTimeout> | undefined;
  #judging: Promise<void> | undefined;
  /** What was told of already: a lying server should not fill the screen. */
  readonly #noticed = new Set<string>();
  #closed = false;

  constructor(options: ReceiptsOptions) {
    this.#options = options;
    this.#shown = options.history.shown();
  }

  /** Sends what was left unsaid and asks what happened while we were away. Call it on every new connection. */
  async catchUp(remote: Remote): Promise<void> {
    const { history, states, settings } = this.#options;
    for (const id of history.unsaid(settings.readReceipts)) this.#due.add(id);
    await Promise.all([this.flush(), this.#ask(states.open(), remote)]);
  }

  /**
   * Rows of a conversation are on this disk.
   *
   * @param here Whether this process put them there: otherwise the other one says so, and we only if it does not.
   */
  applied(conversation: ConversationId, here: boolean): void {
    this.#say(conversation, here ? COLLECT_MS : OTHERS_MS);
    const early = this.#early.get(conversation);
    if (early === undefined) return;
    this.#early.delete(conversation);
    for (const receipt of early.values()) this.received(receipt);
  }

  /** The home has changed: something may have been read. */
  onChange(): void {
    const { history, settings } = this.#options;
    const shown = history.shown();
    if (shown === this.#shown) return;
    const from = this.#shown;
    this.#shown = shown;
    if (!settings.readReceipts) return;
    for (const id of history.conversationsShown(from, shown)) this.#say(id, COLLECT_MS);
  }

  /** Says what there is to say, now rather than in a moment. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    while (this.#due.size > 0) {
      const remote = this.#options.link.remote;
      // What is unsaid is in the database, and is said on the next connection.
      if (remote === undefined) return this.#due.clear();
      const some = [...this.#due].slice(0, RECEIPTS_MAX);
      for (const id of some) this.#due.delete(id);
      const receipts = some.flatMap((id) => this.#make(id) ?? []);
      if (receipts.length === 0) continue;
      await patiently(() => remote.ask<"receipts">({ type: "receipts", receipts }));
      if (this.#closed) return;
      this.#options.database.transaction(() => {
        for (const receipt of receipts) this.#options.history.setSaid(receipt.conversation, receipt);
      });
    }
  }

  /** The server shows what a device said. */
  received(receipt: Receipt): void {
    if (this.#closed || this.#pending.size >= PENDING_MAX) return;
    this.#pending.set(`${receipt.conversation} ${receipt.device}`, receipt);
    this.#judging ??= this.#judgeAll().finally(() => this.#judging = undefined);
  }

  /** Something may have been missed in a conversation. */
  missed(conversation: ConversationId): void {
    this.#asked.add(conversation);
    this.#askTimer ??= setTimeout(() => {
      this.#askTimer = undefined;
      const conversations = [...this.#asked], remote = this.#options.link.remote;
      this.#asked.clear();
      if (remote !== undefined) this.#ask(conversations, remote).catch(() => {});
    }, COLLECT_MS);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#askTimer);
  }

  #say(conversation: ConversationId, withinMs: number): void {
    if (this.#closed) return;
    this.#due.add(conversation);
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      // Where it fails there is a next connection.
      this.flush().catch(() => {});
    }, withinMs);
  }

  #make(id: ConversationId): OwnReceipt | undefined {
    const { history, settings, self } = this.#options;
    const said = history.said(id);
    if (said?.hash === undefined) return undefined;
    const { cursor: delivered, hash } = said;
    const read = Math.min(delivered, Math.max(said.read, settings.readReceipts ? history.readUpTo(id) : 0));
    if (delivered <= said.delivered && read <= said.read) return undefined;
    const statement = { conversation: id, user: self.name, device: self.keys.id, delivered, hash, read };
    const signature = signReceipt(self.keys.leaf, self.clusterId, statement);
    return { conversation: id, delivered, hash, read, signature };
  }

  async #ask(conversations: readonly ConversationId[], remote: Remote): Promise<void> {
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
        await this.#judging;
      }
    }
    await this.#judging;
  }

  async #judgeAll(): Promise<void> {
    for (let next = this.#next(); next !== undefined && !this.#closed; next = this.#next()) {
      try {
        await this.#judge(next);
      } catch {
        // No connection to ask for a certificate: the next one brings the receipt again.
      }
    }
  }

  #next(): Receipt | undefined {
    const first = this.#pending.entries().next().value;
    if (first !== undefined) this.#pending.delete(first[0]);
    return first?.[1];
  }

  async #judge(receipt: Receipt): Promise<void> {
    const { history, states, database, keyring, self, link } = this.#options;
    const { conversation: id, user, device, delivered, read } = receipt;
    const conversation = history.conversation(id);
    if (conversation === undefined || user === self.name || !isMember(receipt, self, history)) return;
    const known = states.progress(id, device);
    // A repeat, or an older one: it changes nothing, so it need not be judged.
    if (known && delivered <= known.delivered && read <= known.read) return;
    const certificate = await keyring.certificateOf(user, device, () => link.ready());
    if (certificate === undefined) {
      return this.#refuse(receipt, `by a device of ${user} that has no valid certificate`);
    }
    if (!verifyReceipt(certificate.leafKey, self.clusterId, receipt)) {
      return this.#refuse(receipt, `that ${user}'s device did not sign`);
    }
    if (this.#closed) return;
    const hash = delivered === 0 ? undefined : history.hashAt(id, delivered);
    if (hash !== undefined && !equalBytes(hash, receipt.hash)) {
      return this.#refuse(
        receipt,
        `by which ${user} has another message at place ${delivered} than you: it shows the two of you different conversations`,
      );
    }
    if (hash === undefined && delivered > history.conversation(id)!.cursor) return this.#keepEarly(receipt);
    database.transaction(() => states.moved(id, { device, member: user, delivered, read, timeMs: Date.now() }));
  }

  #keepEarly(receipt: Receipt): void {
    const { conversation, device } = receipt;
    let early = this.#early.get(conversation);
    if (early === undefined) this.#early.set(conversation, early = new Map());
    early.set(device, receipt);
  }

  #refuse({ conversation, user, device }: Receipt, what: string): void {
    const key = `${conversation} ${device} ${what.replace(/\d+/, "")}`;
    if (this.#closed || this.#noticed.has(key) || this.#noticed.size >= NOTICED_MAX) return;
    this.#noticed.add(key);
    const text = `The server shows a receipt ${what}. It was not believed`;
    this.#options.onNotice({ type: "notice", code: "receipt", name: user, text });
  }
}

/** The id of a direct conversation follows from both names; who is in a group, its state says. */
function isMember({ conversation, user }: Receipt, self: Self, history: History): boolean {
  return directConversationId(self.clusterId, self.name, user) === conversation || history.isMember(conversation, user);
}

/** What happens within this goes out together. */
const COLLECT_MS = 200;
/** What another process of the home should have said by then. */
const OTHERS_MS = 2_000;
const PENDING_MAX = 4_096;
const NOTICED_MAX = 100;
