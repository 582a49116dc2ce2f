/**
 * Receiving (docs/PROTOCOL.md §7.2): rows of the log become messages of the history, in order, exactly once, whichever process
 * of the home gets them first.
 *
 * A row is applied only at cursor + 1, by the process that owns the home. A row further on shows a gap, which is read. So catching
 * up, live delivery and recovery are one mechanism, and nothing has to arrive twice or in order.
 */
import { directConversationId, envelopeHash } from "../../shared/crypto/mod.ts";
import { RequestError } from "../../shared/errors.ts";
import type { ConversationHead, ConversationId, Record, UserName } from "../../shared/protocol/mod.ts";
import { isStorageError } from "../home/database.ts";
import type { Engine } from "../e2ee/engine.ts";
import type { Joined } from "./engine_host.ts";
import { type Conversation, ConversationKind } from "./conversations.ts";
import { Own } from "./message_row.ts";
import { InLane } from "./in_lane.ts";
import type { InboxOptions } from "./inbox_options.ts";
import { isTransient, patiently } from "../network/link.ts";
import type { Remote } from "../network/remote.ts";
import { sanitizeText } from "../sanitize.ts";
import { Turns } from "./turns.ts";

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
  /** The server has fewer messages than were read here; told once. */
  #hasGoneBack = false;
  /** What `sync` gave last. */
  #heads: readonly ConversationHead[] = [];
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
    for (const lane of this.#lanes.values()) lane.tryAgain();
    this.#listed = this.#list(remote);
    await this.#listed;
    await Promise.all([...this.#lanes.values()].map((lane) => lane.runPatiently()));
  }

  /** The list of this connection, when it is there. */
  async heads(): Promise<readonly ConversationHead[]> {
    await this.#listed;
    return this.#heads;
  }

  /**
   * Waits until everything known of a conversation was taken. Only then is it safe to seal in it: a home that was set back (a
   * restored copy, a power cut) reads its own messages first, so that no key of theirs is used again (SECURITY M11, test 6).
   */
  async readyToSend(conversation: ConversationId): Promise<void> {
    await this.#listed;
    await this.#lane(conversation).runPatiently();
  }

  /** What a row waited for may be there. */
  tryAgain(conversation: ConversationId): void {
    const lane = this.#lane(conversation);
    lane.tryAgain();
    this.#run(lane.run());
  }

  /** This device came into a conversation by a Welcome whose row it is not given: what that means stands where it begins. */
  joined(engine: Engine, conversation: ConversationId, taken: Joined): void {
    const { database, conversations } = this.#options;
    if (conversations.get(conversation) === undefined) {
      // A Welcome may be heard of before the row it belongs to, and that of a direct conversation changes nothing to be shown:
      // whose it is, the list or its first row says.
      if (taken.kind !== "change") return;
      database.transaction(() => conversations.addGroup({ id: conversation, cursor: 0 }));
    }
    this.#lane(conversation).joined(engine, taken);
  }

  /** What the group of a conversation says of itself has changed, apart from a row. Only while this process owns the home. */
  async refresh(conversation: ConversationId): Promise<void> {
    this.#lane(conversation).refresh(await this.#options.host.get());
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
    const { conversations, history, database, keyring, self } = this.#options;
    let opened = 0;
    for (const row of history.retryable(peer)) {
      // Rows of groups are taken in the order of the log, and once.
      if (conversations.get(row.conversation)?.peer !== peer) continue;
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
    const begun = this.#options.conversations.begun();
    const listed = new Map<ConversationId, ConversationHead>();
    for (;;) {
      const page = { type: "sync", after } as const;
      const { heads, more } = await patiently(() => remote.ask<"sync">(page));
      this.#options.database.transaction(() => {
        for (const head of heads) this.#know(head);
      });
      for (const one of heads) {
        const { conversation, head } = one, known = this.#options.conversations.get(conversation);
        listed.set(conversation, one);
        if (known && known.cursor < head) this.#run(this.#lane(conversation).catchUp(head));
      }
      after = heads.at(-1)?.conversation;
      if (!more || after === undefined) break;
    }
    this.#heads = [...listed.values()].filter(({ conversation }) => this.#options.conversations.get(conversation));
    for (const { id, kind, peer, cursor } of begun) {
      const head = listed.get(id)?.head;
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

  /** A direct conversation is ours only if its id follows from its members' names; of a group, only its Welcome can tell. */
  #know({ conversation: id, kind, members, cursor }: ConversationHead): void {
    const { self, conversations } = this.#options;
    if (kind === ConversationKind.group) return conversations.addGroup({ id, cursor });
    const peer = members.find((name) => name !== self.name) ?? self.name;
    if (!members.includes(self.name) || directConversationId(self.clusterId, self.name, peer) !== id) return;
    conversations.add({ id, peer, cursor });
  }

  /** The conversation of a row, which may be the first we hear of it. */
  async #find(id: ConversationId, first: Record | undefined): Promise<Conversation | undefined> {
    const { self, conversations, database, link } = this.#options;
    const known = conversations.get(id);
    if (known !== undefined) return known;
    if (first?.seq === 1 && directConversationId(self.clusterId, self.name, first.sender) === id) {
      database.transaction(() => conversations.add({ id, peer: first.sender, cursor: 0 }));
    } else await this.#list(await link.ready());
    return conversations.get(id);
  }

  #applied(conversation: ConversationId, here: boolean): void {
    this.#isFull = false;
    this.#options.onApplied(conversation, here);
  }
}

const RETRY_MS = 2_000;
