/**
 * Hands what this home has of a conversation to new devices (docs/PROTOCOL.md §20, SECURITY M15): what is due of the {@linkcode Gifts},
 * a part at a time, behind everything else. Whatever dies, the next connection goes on with it.
 */
import { InnerType, systemRandom } from "../../shared/crypto/mod.ts";
import { ErrorCode } from "../../shared/errors.ts";
import { HISTORY_BUNDLE_BYTES_MAX } from "../../shared/limits.ts";
import type { ConversationId, DeviceId, MessageId } from "../../shared/protocol/mod.ts";
import { Rounds } from "../../shared/rounds.ts";
import type { Database } from "../home/database.ts";
import { CertificateCache } from "../e2ee/mod.ts";
import { sealLetter, type Turn } from "../e2ee/groups/mod.ts";
import type { EngineHost } from "../talk/engine_host.ts";
import type { NoticeEvent } from "../events.ts";
import { ConversationKind, type Conversations } from "../talk/conversations.ts";
import type { KeyLog } from "../trust/key_log.ts";
import { shortDevice } from "../trust/key_watch.ts";
import type { Keyring, Self } from "../trust/keyring.ts";
import { type Link, patiently } from "../network/link.ts";
import { ServerRefusal } from "../network/failures.ts";
import type { Timers } from "../timers.ts";
import { encodePart, splitEntries } from "./bundle.ts";
import type { Copies, Wanted } from "./copies.ts";
import type { Gift, Gifts } from "./gifts.ts";
import { historyFromMs } from "../trust/quarantine.ts";

/** What a person's other device was handed. */
export interface Shared {
  readonly conversations: number;
  readonly messages: number;
  /** Of a conversation there was more than is handed at once: the newest went. */
  readonly isCut: boolean;
  /** The server has no room for now, or somebody's key has changed: the rest goes later. */
  readonly isPending: boolean;
}

export interface GiverOptions {
  readonly database: Database;
  readonly gifts: Gifts;
  readonly copies: Copies;
  readonly conversations: Conversations;
  readonly self: Self;
  readonly keyLog: KeyLog;
  readonly keyring: Keyring;
  readonly host: EngineHost;
  readonly link: Link;
  readonly timers: Timers;
  /** Milliseconds since 1970. */
  nowMs(): number;
  onNotice(notice: NoticeEvent): void;
}

export class Giver {
  readonly #options: GiverOptions;
  readonly #certificates: CertificateCache;
  /** Of devices that somebody waits for. */
  readonly #tallies = new Map<DeviceId, { conversations: number; messages: number; isCut: boolean }>();
  readonly #rounds = new Rounds(() => this.#giveAll());
  #closed = false;
  #cancel = () => {};

  constructor(options: GiverOptions) {
    this.#options = options;
    this.#certificates = new CertificateCache(options.self.clusterId);
  }

  /** Devices have come into a group: what it means is written with that ({@linkcode EngineOptions.onComers}). */
  comers(conversation: ConversationId, comers: readonly Turn[], upTo: number): void {
    const { gifts, nowMs } = this.#options;
    for (const { user, device, turn } of comers) {
      const madeMs = nowMs(), dueMs = madeMs + turn * TURN_MS;
      gifts.plan({ conversation, user, device, bundle: newBundle(), dueMs, madeMs, sinceMs: undefined, upTo });
    }
    // Once that has committed.
    queueMicrotask(() => this.soon());
  }

  /**
   * A person hands all conversations between two people to another device of theirs. What does not go now goes later.
   *
   * @throws ConnectionLostError
   */
  async share(device: DeviceId, sinceMs: number): Promise<Shared> {
    const { database, gifts, conversations, self, nowMs } = this.#options, madeMs = nowMs();
    const tally = { conversations: 0, messages: 0, isCut: false };
    this.#tallies.set(device, tally);
    try {
      database.transaction(() => {
        for (const { id, kind, cursor } of conversations.begun()) {
          if (kind !== ConversationKind.direct) continue;
          const bundle = newBundle(), dueMs = madeMs;
          gifts.plan({ conversation: id, user: self.name, device, bundle, dueMs, madeMs, sinceMs, upTo: cursor });
        }
      });
      await this.run();
      return { ...tally, isPending: gifts.has(device) };
    } finally {
      this.#tallies.delete(device);
    }
  }

  /** Something may be due: there is a connection, somebody was approved, somebody came. */
  soon(): void {
    this.run().catch(() => {
      // Without a connection there is a next one.
    });
  }

  /** Gives what is due. Rejects where the connection ends under it. */
  run(): Promise<void> {
    return this.#rounds.run();
  }

  /** Resolves when nothing is under way. Never rejects. */
  async idle(): Promise<void> {
    await this.#rounds.idle();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancel();
    await this.idle();
  }

  async #giveAll(): Promise<void> {
    if (this.#closed) return;
    const { gifts, keyLog, nowMs, timers } = this.#options;
    this.#cancel();
    // While the server shows different key logs, nobody knows whose a device is.
    keyLog.requireOne();
    gifts.forget(nowMs() - KEPT_MS);
    let nextMs = Infinity;
    for (const gift of gifts.all()) {
      if (this.#closed || this.#options.link.remote === undefined) return;
      // Whoever has to wait a day waits from when their entry was read: that is not put off.
      const atMs = await this.#dueMs(gift);
      if (atMs === undefined) gifts.drop(gift);
      else if (atMs > nowMs()) nextMs = Math.min(nextMs, atMs);
      else nextMs = Math.min(nextMs, await this.#give(gift));
    }
    if (nextMs === Infinity || this.#closed) return;
    // A clock that was set is noticed in time.
    this.#cancel = timers.after(Math.min(Math.max(nextMs - nowMs(), 0), LOOK_MS), () => this.soon());
  }

  /** `undefined` for a device that is nobody's any more. @throws ConnectionLostError */
  async #dueMs({ user, device, dueMs }: Gift): Promise<number | undefined> {
    const { keyLog } = this.#options;
    await keyLog.follow([user]);
    // It may be in the part of the log that is not read yet.
    if (keyLog.history(user)?.devices.has(device) !== true) await keyLog.catchUp();
    const fromMs = historyFromMs(keyLog, user, device);
    return fromMs === undefined ? undefined : Math.max(fromMs, dueMs);
  }

  /** @returns When to look at it again, where it is not done with. @throws ConnectionLostError */
  async #give(gift: Gift): Promise<number> {
    const { gifts, nowMs, self } = this.#options, bounds = await this.#bounds(gift);
    // Nothing goes out while nothing may be said there, or to a key that is not the one that counts, before a person has looked at it.
    if (bounds === "blocked") return nowMs() + RETRY_MS;
    const { entries = [], isCut = false } = bounds ? await this.#options.copies.newest(bounds) : {};
    if (bounds === undefined || entries.length === 0) {
      gifts.drop(gift);
      return Infinity;
    }
    const to = await this.#certificateOf(gift, bounds.identity);
    if (to === undefined) return nowMs() + RETRY_MS;
    const parts = splitEntries(entries), { conversation, bundle } = gift;
    const certificate = await this.#options.keyring.ownCertificate(this.#options.link.remote!);
    for (let part = gift.sent; part < parts.length; part++) {
      if (this.#closed) return Infinity;
      const content = { bundle, part, parts: parts.length, sinceMs: bounds.sinceMs, isCut, entries: parts[part]! };
      const { body } = await sealLetter({
        self: { ...self, certificate },
        certificates: this.#certificates,
        to,
        conversation,
        messageId: systemRandom.bytes(16).toHex() as MessageId,
        timeMs: nowMs(),
        type: InnerType.history,
        content: encodePart(content),
      });
      const outcome = await this.#put(gift, { part, parts: parts.length, body });
      if (this.#closed) return Infinity;
      if (outcome === "later") return nowMs() + NO_ROOM_MS;
      if (outcome === "over") {
        gifts.drop(gift);
        return Infinity;
      }
      gifts.sent(gift, part + 1);
    }
    gifts.drop(gift);
    this.#tell(gift, entries.length, isCut);
    return Infinity;
  }

  /** What of it may be given as things are now, and to a device of which identity, as hex; `undefined` for nothing. */
  async #bounds({ conversation, user, device, sinceMs, upTo }: Gift): Promise<Bounds | "blocked" | undefined> {
    const { copies, host, self, keyLog } = this.#options, bytesMax = HISTORY_BUNDLE_BYTES_MAX;
    if (!keyLog.isUsable(user, device)) return undefined;
    if (sinceMs !== undefined) {
      return user === self.name
        ? { conversation, sinceMs, upTo, bytesMax, identity: self.identity.toHex() }
        : undefined;
    }
    const group = await host.with((engine) => engine.known(conversation));
    const member = group?.members.find(({ name, devices }) => name === user && devices.includes(device));
    if (group === undefined || member === undefined || group.historySinceMs === 0) return undefined;
    if (group.blocked !== undefined) return "blocked";
    const after = copies.sharedFrom(conversation), identity = keyLog.identityOf(user, member.identity);
    return { conversation, sinceMs: group.historySinceMs, after, upTo, bytesMax, identity };
  }

  /** Of the device that it is for, encoded. `undefined` where there is none by that identity, which is the one that counts. */
  async #certificateOf({ user, device }: Gift, identity: string): Promise<Uint8Array | undefined> {
    const { keyring, link } = this.#options;
    const found = await keyring.encodedCertificateOf(user, device, () => link.ready());
    return keyring.pinned(user)?.toHex() === identity ? found : undefined;
  }

  /** "over": somebody else has given it, or nobody may. "later": there is no room, or it is not the time. */
  async #put(
    { conversation, device: to, bundle, sinceMs }: Gift,
    part: { readonly part: number; readonly parts: number; readonly body: Uint8Array },
  ): Promise<"kept" | "over" | "later"> {
    const { link } = this.#options, unlessGiven = sinceMs === undefined;
    try {
      const answer = await patiently(() =>
        link.ask<"putHistory">({ type: "putHistory", conversation, to, bundle, unlessGiven, ...part }, PUT_TIMEOUT_MS)
      );
      return answer.type === "historyGiven" ? "over" : "kept";
    } catch (error) {
      if (!(error instanceof ServerRefusal)) throw error;
      return error.code === ErrorCode.forbidden || error.code === ErrorCode.malformed ? "over" : "later";
    }
  }

  #tell({ conversation, user, device, sinceMs }: Gift, count: number, isCut: boolean): void {
    const { conversations, self, onNotice } = this.#options, known = conversations.get(conversation);
    const tally = this.#tallies.get(device);
    // What groups give by themselves nobody waits for.
    if (tally !== undefined && sinceMs !== undefined) {
      tally.conversations++;
      tally.messages += count;
      tally.isCut ||= isCut;
      return;
    }
    if (known === undefined) return;
    const where = known.kind === ConversationKind.direct
      ? `with ${known.peer}`
      : `of ${conversations.addressOf(known)}`;
    const whom = user === self.name ? `your device ${shortDevice(device)}` : `a new device of ${user}`;
    const cut = isCut ? ": the newest, there was no room for more" : "";
    const text = `${whom[0]!.toUpperCase()}${whom.slice(1)} was handed ${messages(count)} ${where}${cut}`;
    onNotice({ type: "notice", code: "history", ...(user !== self.name && { name: user }), conversation, text });
  }
}

interface Bounds extends Wanted {
  readonly identity: string;
}

/** As people say it. */
export function messages(count: number): string {
  return count === 1 ? "1 message" : `${count} messages`;
}

function newBundle(): MessageId {
  return systemRandom.bytes(16).toHex() as MessageId;
}

/** So long whoever comes first has to themselves. */
const TURN_MS = 2 * 60_000;
/** Until whoever it is for has taken some. */
const NO_ROOM_MS = 5 * 60_000;
const RETRY_MS = 3_600_000;
const LOOK_MS = 3_600_000;
const KEPT_MS = 30 * 24 * 3_600_000;
const PUT_TIMEOUT_MS = 10 * 60_000;
