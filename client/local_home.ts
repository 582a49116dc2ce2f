/** One person's home without a connection: what was said, what was shown, which servers are trusted. */
import { formatFingerprint } from "../shared/crypto/mod.ts";
import {
  type ConversationId,
  type MessageId,
  NAME_RULE,
  parseId,
  parseUserName,
  type UserName,
} from "../shared/protocol/mod.ts";
import type { AckState, AckTarget } from "./talk/acks.ts";
import { UsageError } from "./errors.ts";
import { parseAddress } from "./addresses.ts";
import type { ChangeEvent, MessageEvent, StateEvent } from "./events.ts";
import { type Group, Groups } from "./talk/groups.ts";
import type { ConversationSummary } from "./talk/shown.ts";
import type { Positioned } from "./talk/message_row.ts";
import { KeyLog } from "./trust/key_log.ts";
import { Outbox, type OutboxItem } from "./talk/outbox.ts";
import { compareNumber, type PeerTrust, People, type Safety } from "./trust/people.ts";
import { Pins } from "./trust/pins.ts";
import { parseServerAddress } from "./network/server_address.ts";
import { stateOf } from "./talk/states.ts";
import { unlock, type Unlocking } from "./account/unlock.ts";
import { homeExists, type HomeParts, openHome } from "./home_parts.ts";

/** A home as its files have it: it reads and changes what needs no server. */
export class LocalHome {
  protected readonly parts: HomeParts;
  readonly #name: UserName;

  /** @ignore Use `ChatClient.offline` or `ChatClient.open`. */
  constructor(parts: HomeParts, name: UserName) {
    this.parts = parts;
    this.#name = name;
  }

  /** Opens a home that has an account. @throws UsageError where there is none. */
  static openExisting(directory: string): LocalHome {
    if (!homeExists(directory)) throw noAccount(directory);
    const parts = openHome(directory);
    const account = parts.credentials.account();
    if (account !== undefined) return new LocalHome(parts, account.name);
    parts.database.close();
    throw noAccount(directory);
  }

  /** Whose home it is. */
  get name(): UserName {
    return this.#name;
  }

  /** The directory that holds everything of this person on this machine. */
  get home(): string {
    return this.parts.directory;
  }

  /** Whether texts cannot be read, and nothing can be sent: until {@linkcode unlock}. */
  get isLocked(): boolean {
    return this.parts.vault.isLocked;
  }

  /**
   * Unlocks it for this object. Where it is unlocked, nothing happens.
   *
   * @throws LockedError where nothing was given, or it is another home's; WrongPasswordError.
   */
  unlock(ways: Unlocking): Promise<void> {
    return unlock(this.parts.credentials, ways);
  }

  /** The key that unlocks this home, for as long as it lives: 32 bytes. Whoever has it can read all that is in it. @throws LockedError */
  key(): Uint8Array {
    return this.parts.vault.key();
  }

  /** HOST:PORT of the server this home was last used with. */
  get server(): string {
    return this.parts.credentials.account()?.server ?? "";
  }

  /** SHA-256 of the own identity key, 32 bytes: what others pin. */
  get fingerprint(): Uint8Array {
    return this.parts.credentials.account()?.identity ?? new Uint8Array(32);
  }

  /** How far somebody's identity is known here. */
  trustOf(name: string): PeerTrust {
    return this.#people().trust(checkName(name));
  }

  /** The same of many, in their order. */
  trustsOf(names: readonly string[]): PeerTrust[] {
    return this.#people().trusts(names.map(checkName));
  }

  /** What to compare with somebody; `undefined` before first contact. Where their identity changed, with the new one. */
  safety(name: string): Safety | undefined {
    return this.#people().safety(checkName(name));
  }

  /**
   * Marks somebody as verified, by the number that was compared.
   *
   * @param number What the other one's screen shows, to be compared here; without it a person has done so.
   * @throws NumberDiffersError; UsageError where `number` is no safety number of these two; KeyChangedError where another identity
   * waits to be accepted.
   */
  verify(safety: Safety, number?: string): void {
    if (number !== undefined) compareNumber(safety, this.#name, number);
    const people = this.#people();
    if (people.verify(safety.name, safety.identity)) return;
    throw people.changed(safety.name) ??
      new UsageError(`The key of ${safety.name} is another one by now: compare the number again`);
  }

  /** Takes the mark of {@linkcode verify} away. */
  unverify(name: string): void {
    this.#people().unverify(checkName(name));
  }

  /** The newest `limit` messages exchanged with somebody or in a group (`#name`), sent and received, oldest first. */
  history(address: string, limit = 50): MessageEvent[] {
    const id = this.conversationOf(address);
    return id === undefined ? [] : this.parts.history.messagesIn(id, limit).map((event) => this.#withState(event));
  }

  /** {@linkcode history} with what changed in the group in between, which counts too. */
  talk(address: string, limit = 50): (MessageEvent | ChangeEvent)[] {
    const id = this.conversationOf(address);
    return id === undefined ? [] : this.parts.history.talkIn(id, limit).map((event) => this.#withState(event));
  }

  /** The groups of this home, by name; those that it is no longer in among them. */
  groups(): Group[] {
    return this.#groups().list();
  }

  /** One of them. @param name `#name`, with or without its sign. @throws UsageError where it names none, or several. */
  group(name: string): Group {
    return this.#groups().get(name);
  }

  /**
   * Where a message that this person sent has got to, as far as this home knows: what others said meanwhile comes with a
   * connection.
   *
   * @throws UsageError where there is no such message here.
   */
  status(id: string): StateEvent {
    const status = this.parts.states.status(parseMessageId(id));
    if (status === undefined) throw new UsageError(`This home has sent no message ${id}`);
    return status;
  }

  /** What was given to send and is not stored: waiting, or given up for a reason, in order. */
  outbox(): OutboxItem[] {
    return new Outbox(this.parts.database, this.parts.history).list();
  }

  /**
   * Takes a message out of the outbox that has not left, or was given up.
   *
   * @throws UsageError where there is none, or where it may have been stored already.
   */
  drop(id: string): void {
    const outcome = new Outbox(this.parts.database, this.parts.history).drop(parseMessageId(id));
    if (outcome === "unknown") throw new UsageError(`There is no message ${id} in the outbox`);
    if (outcome === "sent") {
      throw new UsageError(`The message ${id} may be stored already: it is sent until that is known`);
    }
  }

  /** Whether others are told what was read here. */
  get readReceipts(): boolean {
    return this.parts.settings.readReceipts;
  }

  set readReceipts(on: boolean) {
    this.parts.settings.readReceipts = on;
  }

  /** Whether others are told that something is being typed here. */
  get sendsTyping(): boolean {
    return this.parts.settings.typing;
  }

  set sendsTyping(on: boolean) {
    this.parts.settings.typing = on;
  }

  /** Everybody there is a conversation with, and every group, newest first. */
  conversations(): ConversationSummary[] {
    return this.parts.shown.summaries();
  }

  /** What others sent and no face has put out yet, oldest first. What one sent oneself, here or elsewhere, is not among it. */
  unshown(limit = 100): Positioned[] {
    return this.parts.shown.unshown(limit);
  }

  /** Everything up to `position` has been written out. Call it after the writing, never before. */
  markShown(position: number): void {
    this.parts.shown.mark(position);
  }

  /**
   * Says that messages of {@linkcode ChatClient.deliveries} are dealt with, from whichever process: they are never handed out
   * again. All of them in one transaction.
   *
   * @returns What became of each, in order.
   */
  acknowledge(targets: readonly AckTarget[]): AckState[] {
    return this.parts.acks.acknowledge(targets);
  }

  /**
   * Accepts a server's changed key: the one in `HOST:PORT#FINGERPRINT`, or else the one that was shown last.
   *
   * @returns The fingerprint trusted from now on; `undefined` for a server this home has never met.
   */
  trustServer(server: string): string | undefined {
    KeyLog.accept(this.parts.database);
    const trusted = this.parts.servers.trust(parseServerAddress(server));
    return trusted && formatFingerprint(trusted);
  }

  close(): void | Promise<void> {
    this.parts.database.close();
  }

  /** The conversation that an address means; `undefined` where there is none with somebody yet. @throws UsageError */
  protected conversationOf(address: string): ConversationId | undefined {
    const { conversations } = this.parts, to = parseAddress(address, conversations.groups());
    return to.kind === "group" ? to.conversation : conversations.with(to.name)?.id;
  }

  #withState<T extends MessageEvent | ChangeEvent>(event: T): T {
    if (event.type !== "message" || event.from !== this.#name || event.copyFrom !== undefined) return event;
    const counts = this.parts.states.counts(event.conversation, event.seq);
    return { ...event, state: stateOf(counts), ...(event.group !== undefined && counts) };
  }

  #groups(): Groups {
    return new Groups(this.parts.conversations, this.#name);
  }

  #people(): People {
    const { credentials, database } = this.parts, account = credentials.account()!, { clusterId, identity } = account;
    return new People({ pins: new Pins(database, clusterId), clusterId, self: { name: account.name, identity } });
  }
}

function parseMessageId(input: string): MessageId {
  const id = parseId<MessageId>(input.toLowerCase());
  if (id === undefined) throw new UsageError(`${JSON.stringify(input)} is no message id: those are 32 hex digits`);
  return id;
}

/** @throws UsageError */
export function checkName(input: string): UserName {
  const name = parseUserName(input);
  if (name === undefined) throw new UsageError(`${JSON.stringify(input)} cannot be a name: a name is ${NAME_RULE}`);
  return name;
}

export function noAccount(directory: string): UsageError {
  return new UsageError(`There is no account in ${directory}: sign up or log in first`);
}
