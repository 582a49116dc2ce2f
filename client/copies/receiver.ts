/**
 * Takes the history that was handed to this device (docs/PROTOCOL.md §20, SECURITY M15): opens it, judges it, and puts it where
 * nothing stands, as its giver's copy.
 */
import { InnerType } from "../../shared/crypto/mod.ts";
import { DecodeError } from "../../shared/codec/mod.ts";
import { HISTORY_PARTS_MAX } from "../../shared/limits.ts";
import type { ConversationId, ResponseOf } from "../../shared/protocol/mod.ts";
import { Rounds } from "../../shared/rounds.ts";
import type { Database } from "../home/database.ts";
import type { EngineConversation } from "../e2ee/engine.ts";
import { CertificateCache } from "../e2ee/mod.ts";
import { type OpenedLetter, openLetter } from "../e2ee/groups/mod.ts";
import type { EngineHost } from "../talk/engine_host.ts";
import type { NoticeEvent } from "../events.ts";
import { type Conversation, ConversationKind, type Conversations } from "../talk/conversations.ts";
import { timeText } from "../time.ts";
import type { KeyLog } from "../trust/key_log.ts";
import type { Keyring, Self } from "../trust/keyring.ts";
import { type Link, patiently } from "../network/link.ts";
import { type BundlePart, decodePart } from "./bundle.ts";
import type { Copies } from "./copies.ts";
import { messages } from "./giver.ts";
import { partFault, type PartGiver } from "./judge.ts";
import { historyFromMs } from "../trust/quarantine.ts";
import { Received } from "./received.ts";

export interface ReceiverOptions {
  readonly database: Database;
  readonly copies: Copies;
  readonly conversations: Conversations;
  readonly self: Self;
  readonly keyLog: KeyLog;
  readonly keyring: Keyring;
  readonly host: EngineHost;
  readonly link: Link;
  /** Milliseconds since 1970. */
  nowMs(): number;
  onNotice(notice: NoticeEvent): void;
}

type Waiting = ResponseOf<"historyParts">["parts"][number];

/** `later`: what it is about is not known here yet. */
type Verdict =
  | { readonly kind: "taken" | "later" }
  | { readonly kind: "refused"; readonly reason: string };

export class Receiver {
  readonly #options: ReceiverOptions;
  readonly #received: Received;
  readonly #certificates: CertificateCache;
  readonly #rounds = new Rounds(() => this.#round());
  /** Conversations about which something waits that this device knows too little of yet. */
  readonly #early = new Set<ConversationId>();
  #closed = false;

  constructor(options: ReceiverOptions) {
    this.#options = options;
    this.#received = new Received(options.database);
    this.#certificates = new CertificateCache(options.self.clusterId);
  }

  /** Something may be waiting, or may be judged now. */
  soon(): void {
    this.run().catch(() => {
      // Without a connection there is a next one.
    });
  }

  /** Rows were taken, or this device came into a group: what was too early may be judged now. */
  applied(conversation: ConversationId): void {
    if (this.#early.delete(conversation)) this.soon();
  }

  /** Takes what waits. Rejects where the connection ends under it. */
  run(): Promise<void> {
    return this.#rounds.run();
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#rounds.idle();
  }

  async #round(): Promise<void> {
    if (this.#closed) return;
    await this.#takeAll();
    if (this.#closed) return;
    const { nowMs } = this.#options;
    for (const { conversation, user, received, parts } of this.#received.takeIncomplete(nowMs() - INCOMPLETE_MS)) {
      const text =
        `Of what ${user} has handed you ${received} of ${parts} parts have come: the rest is held back, or was not sent`;
      this.#tell(conversation, text);
    }
  }

  async #takeAll(): Promise<void> {
    const { link } = this.#options;
    this.#early.clear();
    let earlyBytes = 0;
    // However much a server says that there is, more than may be there is not asked for.
    for (let after = 0, count = 0; count < HISTORY_PARTS_MAX; count++) {
      const { parts } = await patiently(() => link.ask<"history">({ type: "history", after }, FETCH_TIMEOUT_MS));
      const done: Record<"taken" | "refused", number[]> = { taken: [], refused: [] };
      for (const part of parts) {
        if (this.#closed) return;
        if (part.number <= after) return;
        after = part.number;
        const verdict = await this.#take(part);
        // What is never known may not fill the room, and be read again at every connection.
        if (verdict.kind === "later") earlyBytes += part.body.length;
        if (verdict.kind !== "later") done[verdict.kind].push(part.number);
        else if (earlyBytes > EARLY_BYTES_MAX) done.refused.push(part.number);
        else this.#early.add(part.conversation);
        if (verdict.kind === "refused") this.#refuse(part, verdict.reason);
      }
      for (const taken of [true, false]) {
        const numbers = done[taken ? "taken" : "refused"];
        if (numbers.length > 0) await patiently(() => link.ask<"dropHistory">({ type: "dropHistory", numbers, taken }));
      }
      if (parts.length === 0) return;
    }
  }

  async #take({ conversation: id, body }: Waiting): Promise<Verdict> {
    const { database, copies, conversations, self, nowMs } = this.#options;
    const certificates = this.#certificates, type = InnerType.history;
    const known = conversations.get(id);
    if (known === undefined) return { kind: "later" };
    const letter = await openLetter(
      { self: { ...self, certificate: NONE }, certificates, conversation: id, type },
      body,
    );
    if (letter === undefined) {
      return { kind: "refused", reason: "it was not sealed for this device and that conversation" };
    }
    const part = readPart(letter.content);
    if (part === undefined) return { kind: "refused", reason: "it is damaged" };
    const state = await this.#options.host.with((engine) => engine.known(id));
    const isGroup = known.kind === ConversationKind.group;
    if (isGroup && state === undefined && !known.ended) return { kind: "later" };
    const giver = await this.#giverOf(letter, state), { user } = giver;
    const fault = partFault(part, giver, {
      self: self.name,
      peer: isGroup ? undefined : known.peer,
      historySinceMs: state?.historySinceMs ?? 0,
      nowMs: nowMs(),
    });
    if (fault !== undefined) return { kind: "refused", reason: `${fault} (${user})` };
    // What came after this device, it reads itself.
    const begins = Math.max(known.begins, state?.joined ?? 0);
    const entries = part.entries.filter(({ seq }) => seq <= begins);
    const whole = database.transaction(() => {
      const added = copies.importCopies({ conversation: id, entries, from: user });
      const from = { conversation: id, user, device: letter.from.device, nowMs: nowMs() };
      return this.#received.add(part, from, added);
    });
    if (whole?.isWhole === true && whole.messages > 0) this.#tellWhole(known, part, user, whole.messages);
    return { kind: "taken" };
  }

  async #giverOf({ from, identity }: OpenedLetter, state: EngineConversation | undefined): Promise<PartGiver> {
    const { keyLog, keyring, self, nowMs } = this.#options, { user, device } = from;
    await keyLog.follow([user]);
    if (keyLog.history(user)?.devices.has(device) !== true) await keyLog.catchUp();
    const pinned = keyring.pinned(user)?.toHex(), now = keyLog.identityOf(user, identity);
    const isTheirs = device !== self.keys.id && keyLog.isUsable(user, device) &&
      (pinned === undefined || pinned === now);
    const isMember =
      state?.members.some((member) =>
        member.name === user && member.devices.includes(device) && keyLog.identityOf(user, member.identity) === now
      ) ?? false;
    const fromMs = historyFromMs(keyLog, user, device);
    return { user, isTheirs, isMember, isNew: fromMs === undefined || fromMs > nowMs() };
  }

  #tellWhole(known: Conversation, { sinceMs, isCut }: BundlePart, user: string, count: number): void {
    const { conversations, self } = this.#options;
    const whose = user === self.name ? "Another device of yours" : user;
    const where = known.kind === ConversationKind.direct
      ? `with ${known.peer}`
      : `of ${conversations.addressOf(known)}`;
    const until = isCut || sinceMs === 0 ? "" : ` from ${timeText(sinceMs).slice(0, 10)} on`;
    const cut = isCut ? "; older ones were too many" : "";
    this.#tell(known.id, `${whose} has handed you ${messages(count)} ${where}${until}, as a copy${cut}`);
  }

  #refuse({ conversation }: Waiting, reason: string): void {
    this.#tell(conversation, `History that was handed to this device is not taken: ${reason}`);
  }

  #tell(conversation: ConversationId, text: string): void {
    this.#options.onNotice({ type: "notice", code: "history", conversation, text });
  }
}

function readPart(content: Uint8Array): BundlePart | undefined {
  try {
    return decodePart(content);
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

/** One's own certificate proves nothing about a letter to oneself. */
const NONE = new Uint8Array();
const EARLY_BYTES_MAX = 16 << 20;
const FETCH_TIMEOUT_MS = 10 * 60_000;
/** Whoever was cut off in the midst of it has gone on by then. */
const INCOMPLETE_MS = 24 * 3_600_000;
