/**
 * What works for a person once they are logged in, over whatever connection there is: keys and key log, receiving, sending,
 * receipts, the engine of encrypted conversations. Made once for a session, and joins them: each knows of the others what its
 * options say.
 */
import type { ConversationId, Event, MessageId, RequestOf, UserName } from "../../shared/protocol/mod.ts";
import { groupAddress } from "../addresses.ts";
import { Archive } from "../archive/archive.ts";
import { Chains } from "./chains.ts";
import { Copies } from "../copies/copies.ts";
import { Gifts } from "../copies/gifts.ts";
import { Giver } from "../copies/giver.ts";
import { Receiver } from "../copies/receiver.ts";
import { CredentialsWatch } from "../account/credentials_watch.ts";
import { EngineHost } from "./engine_host.ts";
import type { NoticeEvent } from "../events.ts";
import type { Holdups } from "./holdups.ts";
import { Inbox } from "./inbox.ts";
import { KeyLog } from "../trust/key_log.ts";
import { foreignIdentity, isReplaced, newIdentities, noticesOf, unacknowledged } from "../trust/key_watch.ts";
import { Keyring, type Self } from "../trust/keyring.ts";
import { asFastChatError, type Link } from "../network/link.ts";
import { ListedGroups } from "./listed_groups.ts";
import type { HomeParts } from "../home_parts.ts";
import type { Outbox } from "./outbox.ts";
import { pause } from "../pause.ts";
import { Pins } from "../trust/pins.ts";
import { Receipts } from "./receipts.ts";
import type { Remote } from "../network/remote.ts";
import { Sender } from "./sender.ts";
import { TextRows } from "./text_rows.ts";
import { systemTimers } from "../timers.ts";

export interface CorrespondenceOptions {
  readonly parts: HomeParts;
  readonly outbox: Outbox;
  readonly self: Self;
  readonly link: Link;
  readonly holdups: Holdups;
  /** HOST:PORT, for invite links. */
  readonly server: string;
  /** Of the cluster's key, 32 bytes. */
  clusterFingerprint(): Uint8Array;
  onNotice(notice: NoticeEvent): void;
  /** A row of the outbox has met its fate. */
  onSettled(id: MessageId): void;
  /** Rows of a conversation are on this disk. `here`: this process put them there. */
  onApplied(conversation: ConversationId, here: boolean): void;
  /** The key log says that this device goes by another identity now. */
  onReplaced(): void;
}

export class Correspondence {
  readonly keyLog: KeyLog;
  readonly keyring: Keyring;
  readonly inbox: Inbox;
  readonly sender: Sender;
  readonly host: EngineHost;
  readonly archive: Archive;
  readonly giver: Giver;
  readonly #receiver: Receiver;
  readonly #options: CorrespondenceOptions;
  readonly #pins: Pins;
  readonly #receipts: Receipts;
  readonly #groups: ListedGroups;
  readonly #credentials: CredentialsWatch;

  constructor(options: CorrespondenceOptions) {
    const { parts, outbox, self, link, onNotice } = this.#options = options;
    const { database, conversations, history, shown, states, settings, credentials } = parts;
    this.keyLog = this.#makeKeyLog();
    this.#pins = new Pins(database, self.clusterId, (name) => this.keyLog.history(name));
    const keyring = new Keyring({ database, conversations, pins: this.#pins, self, keyLog: this.keyLog, onNotice });
    this.keyring = keyring;
    this.#receipts = new Receipts({
      database,
      conversations,
      history,
      shown,
      states,
      settings,
      keyring,
      self,
      link,
      onNotice,
    });
    const host = this.host = this.#makeHost();
    this.inbox = new Inbox({
      database,
      conversations,
      history,
      outbox,
      states,
      keyring,
      host,
      self,
      link,
      onNotice,
      onSettled: (id) => options.onSettled(id),
      onApplied: (id, here) => {
        this.#receipts.applied(id, here);
        this.#receiver.applied(id);
        options.onApplied(id, here);
      },
    });
    this.sender = this.#makeSender();
    this.#groups = new ListedGroups({ database, conversations, inbox: this.inbox, host, onNotice });
    this.#credentials = new CredentialsWatch({ credentials, device: self.keys.id, onNotice });
    const owner = { clusterId: self.clusterId, name: self.name };
    const copies = new Copies({ database, name: self.name });
    const common = {
      database,
      copies,
      conversations,
      self,
      keyLog: this.keyLog,
      keyring,
      host,
      link,
      nowMs: Date.now,
      onNotice,
    };
    this.giver = new Giver({ ...common, gifts: new Gifts(database), timers: systemTimers });
    this.#receiver = new Receiver(common);
    this.archive = new Archive({ database, conversations, credentials, owner, link, onNotice });
  }

  /**
   * There is a connection, perhaps to another server than before: reads what is waiting, sends what waits.
   *
   * @returns When all that was there is in the history. Rejects where it could not be read.
   */
  async connected(remote: Remote): Promise<void> {
    const known = this.#options.parts.conversations.groups();
    const caughtUp = Promise.all([
      this.inbox.catchUp(remote).then(() => this.#groups.compare(known)),
      this.#receipts.catchUp(remote),
      // What is about a group is judged by that group: it comes first.
      this.#leaveKeys().then(() => this.#receive()),
    ]);
    this.#readKeyLog();
    this.#credentials.connected(() => this.#options.link.remote);
    this.archive.connected();
    this.giver.soon();
    this.sender.unpark();
    await caughtUp;
    // Catching up with a restored server may have put into the outbox what it lost.
    this.sender.kick();
  }

  onEvent(event: Event): void {
    const { remote } = this.#options.link;
    switch (event.type) {
      case "deliver":
        return this.inbox.deliver(event.record);
      case "behind":
        this.#receipts.missed(event.conversation);
        return this.inbox.reaches(event.conversation, event.head);
      case "receipt":
        return this.#receipts.received(event.receipt);
      case "credentialsChanged":
        if (remote) void this.#credentials.look(remote);
        return;
      case "devicesChanged":
        if (remote) this.keyring.devicesChanged(event.name, remote).catch(() => {});
        return this.#tellEngine(event);
      case "dismissed":
        this.inbox.reaches(event.conversation, event.seq);
        return this.#tellEngine(event);
      case "asked":
      case "welcomed":
        return this.#tellEngine(event);
      case "historyWaits":
        return this.#receiver.soon();
      case "keyLogGrown":
        this.#readKeyLog(event.length);
    }
  }

  /** The home has changed. @param foreign Another process did that, or did it too. */
  onChange(foreign: boolean): void {
    this.#receipts.onChange();
    this.archive.onChange();
    // It may have left rows of its own behind.
    if (foreign) this.sender.kick();
  }

  /** Accepts somebody's changed identity: what was refused because of it is opened, what waited is sent. @returns Its fingerprint. */
  async trust(name: UserName, remote: Remote): Promise<Uint8Array> {
    const fingerprint = await this.keyring.trust(name, remote).catch((error) => {
      throw asFastChatError(error);
    });
    await this.inbox.reopen(name);
    const conversation = this.#options.parts.conversations.with(name);
    if (conversation !== undefined) {
      this.#receipts.missed(conversation.id);
      // Whoever waits under it comes in now. Where another process does not give the home up, it is done with what is sent next.
      const over = new AbortController(), patience = AbortSignal.any([over.signal, AbortSignal.timeout(COMING_MS)]);
      this.host.with((engine) => engine.trusted(name), patience).catch(() => {}).finally(() => over.abort());
      await pause(COMING_MS, over.signal).catch(() => {});
    }
    this.sender.unpark();
    return fingerprint;
  }

  /** Keeps what a conversation's group says of itself, which has just changed without a row. */
  async refresh(conversation: ConversationId): Promise<void> {
    await this.host.with(() => this.inbox.refresh(conversation));
  }

  /** Resolves when others have been told all that there is to tell. */
  async flush(): Promise<void> {
    await Promise.all([this.#receipts.flush().catch(() => {}), this.host.left(), this.giver.idle()]);
  }

  /** Resolves when nothing is under way any more. */
  async close(): Promise<void> {
    this.inbox.close();
    this.#receipts.close();
    this.#credentials.close();
    this.archive.close();
    await Promise.all([this.sender.close(), this.giver.close(), this.#receiver.close(), this.host.close()]);
  }

  #makeKeyLog(): KeyLog {
    const { parts: { database }, self, link, onNotice, onReplaced } = this.#options;
    return new KeyLog({
      database,
      self,
      ask: (request: RequestOf<"keyLog" | "keyEntries">) =>
        link.ask<"keyLog" | "keyEntries">(request) as Promise<never>,
      onNews: (news) => {
        // Before anybody is told: what they send next must not go to the one before.
        for (const { name, identity } of newIdentities(news, self)) {
          if (this.#pins.pinned(name) !== undefined) this.#pins.check(name, identity, Date.now());
        }
        noticesOf(news, self).forEach(onNotice);
        if (news.some((item) => isReplaced(item, self))) onReplaced();
        // Whoever was approved may have what waits for them.
        this.giver.soon();
      },
      onFork: (text) => onNotice({ type: "notice", code: "key-log", text }),
    });
  }

  #makeHost(): EngineHost {
    const { parts, outbox, self, link, server, holdups, onNotice } = this.#options;
    const { database, conversations, history, directory, credentials } = parts, { keyring, keyLog } = this;
    const texts = new TextRows({
      conversations,
      history,
      chains: new Chains(database),
      outbox,
      keyring,
      self,
      ready: () => link.ready(),
    });
    return new EngineHost({
      directory,
      database,
      conversations,
      self,
      keyring,
      keyLog,
      link,
      server,
      accountKey: () => credentials.accountKey(Date.now()),
      clusterFingerprint: () => this.#options.clusterFingerprint(),
      takeText: (record) => texts.take(record),
      onReaches: (id, seq) => this.inbox.reaches(id, seq),
      onWarning: (id, { code, name, text }) =>
        onNotice({ type: "notice", code, ...(name && { name }), conversation: id, text }),
      onJoined: (engine, id, taken) => {
        this.inbox.joined(engine, id, taken);
        this.#receiver.applied(id);
      },
      onHeldUp: (error) => holdups.heldUp(error),
      onComers: (id, comers, upTo) => this.giver.comers(id, comers, upTo),
      onChanged: (id) => {
        this.refresh(id).catch(() => {});
        this.inbox.tryAgain(id);
        this.sender.unpark();
      },
    });
  }

  #makeSender(): Sender {
    const { parts: { database, conversations }, outbox, self, link, holdups, onSettled } = this.#options;
    const { keyring, host, inbox } = this;
    return new Sender({
      outbox,
      host,
      self: { name: self.name, device: self.keys.id },
      remote: () => link.remote,
      conversation: async ({ peer, target }, remote) => {
        const id = target ?? await keyring.direct(peer, remote);
        if (target !== undefined) keyring.requireKnown(conversations.members(target).map(({ name }) => name));
        await inbox.readyToSend(id);
        return id;
      },
      onSettled: (id) => {
        holdups.isOver();
        onSettled(id);
      },
      onHeldUp: (error) => holdups.heldUp(error),
      onNotReady: ({ target, peer }, { message }) =>
        holdups.notReady(target === undefined ? peer : groupAddress(database, target), message),
    });
  }

  /**
   * Others can write to a device once it has left keys to write with: the first time that is waited for, later on it goes beside
   * everything else.
   */
  async #leaveKeys(): Promise<void> {
    const { parts: { database }, self } = this.#options, device = self.keys.id;
    const leaving = this.inbox.heads().then((heads) => this.host.with((engine) => engine.connected(heads))).then(() => {
      if (database.closed || database.meta(KEYS_LEFT) === device) return;
      database.transaction(() => database.setMeta(KEYS_LEFT, device));
    }).catch(() => {
      // Without a connection there is a next one, and that comes with all of it.
    });
    if (database.meta(KEYS_LEFT) !== device || await this.#groups.isExpected()) await leaving;
  }

  /** What is short is there when whoever waits goes on; megabytes on a slow line come beside everything else. */
  async #receive(): Promise<void> {
    const over = new AbortController(), received = this.#receiver.run().catch(() => {});
    await Promise.race([received, pause(RECEIVING_MS, over.signal).catch(() => {})]);
    over.abort();
  }

  /** Who it is that speaks in the key log, and devices that nobody has acknowledged, are told; what fails is tried again later. */
  #readKeyLog(atLeast?: number): void {
    const { parts: { database }, self, onNotice } = this.#options, { keyLog } = this;
    // Of before this session; what comes up in it is told as it does.
    if (keyLog.fork !== undefined) return onNotice({ type: "notice", code: "key-log", text: keyLog.fork });
    keyLog.catchUp(atLeast).then(() => {
      if (database.closed) return;
      const foreign = foreignIdentity(keyLog, self);
      if (foreign !== undefined) keyLog.reportFork(foreign);
      for (const notice of unacknowledged(keyLog, self)) onNotice(notice);
    }, () => {});
  }

  /** Whichever process of the home gets to it first: to the others there is nothing left to do then. */
  #tellEngine(event: Event): void {
    this.host.with((engine) => {
      engine.onEvent(event);
      return Promise.resolve();
    }).catch(() => {});
  }
}

const RECEIVING_MS = 3_000;
/** The device whose first keys are at the server. */
const KEYS_LEFT = "keys-left";
/** How long accepting somebody waits for them to come in. */
const COMING_MS = 5_000;
