/**
 * A home that is connected: joins login, link, inbox and sender, and tells those who wait what became of it.
 */
import { systemRandom } from "../shared/crypto/mod.ts";
import type { ChannelStats } from "../shared/net/mod.ts";
import type { ConversationId, Event, MessageId, RequestOf, ResponseOf, UserName } from "../shared/protocol/mod.ts";
import { groupAddress } from "./addresses.ts";
import { Admission, replacedError } from "./admission.ts";
import { Audience } from "./audience.ts";
import { Changes } from "./changes.ts";
import { ChangeWaits } from "./change_waits.ts";
import { Confirmations, type SentMessage } from "./confirmations.ts";
import { CredentialsWatch } from "./credentials_watch.ts";
import { Devices, proposeDeviceName, type Rotated } from "./devices.ts";
import { dialUdp } from "./dialer.ts";
import type { Engine } from "./e2ee/engine.ts";
import { EngineHost } from "./engine_host.ts";
import { CannotReachError, TimedOutError, UsageError } from "./errors.ts";
import type { ChatEvent, NoticeEvent } from "./events.ts";
import { type Conversation, ConversationKind } from "./history.ts";
import { Holdups } from "./holdups.ts";
import { Inbox } from "./inbox.ts";
import { KeyLog } from "./key_log.ts";
import { isReplaced, newIdentities, noticesOf, unacknowledged } from "./key_watch.ts";
import { Keyring, type Self } from "./keyring.ts";
import { asFastChatError, Link } from "./link.ts";
import { Live } from "./live.ts";
import type { HomeParts } from "./local_home.ts";
import { LogIn } from "./login.ts";
import { lockLogin } from "./login_lock.ts";
import type { SessionOptions } from "./open_options.ts";
import { Outbox } from "./outbox.ts";
import { changePassword, type NewPassword } from "./password_change.ts";
import { pause } from "./pause.ts";
import { PinnedDialer } from "./pinned_dialer.ts";
import { Pins } from "./pins.ts";
import { Receipts } from "./receipts.ts";
import { readRecoveryKey, replaceRecoveryKey } from "./recovery.ts";
import type { Remote } from "./remote.ts";
import { type Recipient, Sender } from "./sender.ts";
import { formatServerAddress, parseServerAddress, type ServerAddress } from "./server_address.ts";
import type { Subscription } from "./subscription.ts";
import { TextRows } from "./text_rows.ts";
import { TicketPurse } from "./tickets.ts";
import { unlockToConnect } from "./unlock.ts";

export interface Presence {
  readonly name: UserName;
  readonly online: boolean;
}

export class Session {
  readonly server: string;
  readonly link: Link;
  readonly #address: ServerAddress;
  readonly #dialer: PinnedDialer;
  readonly #parts: HomeParts;
  readonly #login: LogIn;
  readonly #changes: Changes;
  readonly #outbox: Outbox;
  readonly #tickets: TicketPurse;
  readonly #audience: Audience;
  readonly live: Live;
  readonly #confirmations: Confirmations;
  readonly #holdups = new Holdups((notice) => this.#tell(notice));
  readonly #changeWaits = new ChangeWaits(() => this.#ended);
  #working: Working | undefined;
  #rotating = false;
  #caughtUp: Promise<void> = Promise.resolve();
  #remote: Remote | undefined;
  #ended: Error | undefined;
  #closing: Promise<void> | undefined;

  private constructor(parts: HomeParts, options: SessionOptions) {
    const account = parts.credentials.account();
    const address = options.server ?? (account && parseServerAddress(account.server));
    if (address === undefined) throw new UsageError("Say which server: HOST:PORT");
    this.server = formatServerAddress(address);
    this.#address = address;
    this.#parts = parts;
    this.#changes = new Changes(parts.database);
    this.#audience = new Audience(parts);
    const outbox = this.#outbox = new Outbox(parts.database, parts.history);
    this.#confirmations = new Confirmations({
      outbox,
      reason: (id) => this.#holdups.reason(parts.states.status(id)?.to ?? ""),
      onStored: (conversation, seq) => this.#working?.inbox.stored(conversation, seq),
    });
    this.#tickets = new TicketPurse(parts.database, this.server);
    this.#login = new LogIn({
      credentials: parts.credentials,
      name: options.name,
      server: this.server,
      password: options.password,
      signUp: options.register === "only" ? "only" : options.register ? "if-new" : "no",
      serverBackup: options.serverBackup ?? true,
      fresh: options.fresh ?? false,
      recovery: options.recoveryKey === undefined
        ? undefined
        : { key: readRecoveryKey(options.recoveryKey), endOthers: options.signOutOthers ?? false },
      onProgress: options.onProgress ?? (() => {}),
    });
    const dialer = this.#dialer = new PinnedDialer({
      address,
      servers: parts.servers,
      credentials: parts.credentials,
      tickets: this.#tickets,
      dial: options.dial ?? dialUdp,
      mayResume: () => this.#login.mayResume(),
      onNotice: (notice) => this.#tell(notice),
    });
    const admission = new Admission(this.#login, this.#tickets);
    this.link = new Link({
      dial: (asked) => dialer.dial(asked),
      authenticate: (remote, _signal, isResumed) => admission.admit(remote, isResumed),
      canReturn: () => this.#tickets.hasAny,
      onTicket: (ticket) => this.#tickets.put(ticket),
      onEvent: (event) => this.#onEvent(event),
      onHint: (hint) => this.live.heard(hint),
      onConnected: (remote, server) => this.#onConnected(remote, server),
      onReconnecting: (reason) => this.#tell({ type: "connection", state: "reconnecting", reason }),
      onClosed: (error) => this.#onClosed(error),
    });
    const { history, settings } = parts, { link } = this;
    this.live = new Live({ history, settings, link, onEvent: (event) => this.#tell(event) });
  }

  static async start(parts: HomeParts, options: SessionOptions): Promise<Session> {
    const timeoutMs = options.timeoutMs ?? OPEN_TIMEOUT_MS;
    const { credentials, directory } = parts, doing = `signing up or logging in with ${directory}`;
    // Two programs that make one home somebody's at once would make it two people's.
    const lock = credentials.account()?.enrolled
      ? undefined
      : await lockLogin(directory, { timeoutMs, signal: options.signal, doing });
    let session: Session, slow: ReturnType<typeof setTimeout> | undefined;
    try {
      if (options.deviceName !== undefined) proposeDeviceName(parts.database, options.deviceName);
      await unlockToConnect(credentials, options);
      session = new Session(parts, options);
      const { server } = session;
      slow = setTimeout(() => options.onProgress?.(`Connecting to ${server}`), SLOW_MS);
      await session.link.start(timeoutMs, options.signal);
    } finally {
      clearTimeout(slow);
      lock?.release();
    }
    session.#changes.listen((foreign) => session.#onChange(foreign));
    session.#outbox.forgetFailures(Date.now() - FAILURES_KEPT_MS);
    if (parts.vault.isOpen) session.#tell({ type: "notice", code: "unsealed", text: UNSEALED });
    if (options.catchUp ?? true) {
      await Promise.race([session.#caughtUp, pause(timeoutMs, options.signal).catch(() => {})]);
    }
    return session;
  }

  get self(): Self {
    return this.#login.self!;
  }

  /** SHA-256 of the key that the cluster proved to hold, 32 bytes. */
  get serverFingerprint(): Uint8Array {
    return this.#dialer.fingerprint;
  }

  takeRecoveryKey(): string | undefined {
    return this.#login.takeRecoveryKey();
  }

  /** @throws WrongPasswordError, CannotReachError, TimedOutError. */
  async newRecoveryKey(password: string): Promise<string> {
    return await replaceRecoveryKey(this.#parts.credentials, password, this.link, OPEN_TIMEOUT_MS);
  }

  /** Since when there is a recovery key, and whether the server keeps a backup that the password opens. */
  async credentials(): Promise<ResponseOf<"credentials">> {
    return await this.link.ask<"credentials">({ type: "credentials", device: undefined });
  }

  /** @throws UsageError, WrongPasswordError, CannotReachError, TimedOutError. */
  async changePassword(asked: NewPassword, onProgress: (text: string) => void): Promise<void> {
    const { credentials, directory: home } = this.#parts, { link } = this;
    await changePassword({ credentials, home, link, onProgress }, asked);
    // Those we have may be worth nothing now.
    if (asked.signOutOthers) this.#tickets.clear();
  }

  get stats(): ChannelStats {
    return this.#remote?.channel.stats ?? NO_STATS;
  }

  send(to: Recipient, text: string, timeoutMs: number | undefined): Promise<SentMessage> {
    if (this.#ended) throw this.#ended;
    const id = systemRandom.bytes(16).toHex() as MessageId;
    this.live.typing(undefined, false);
    this.#outbox.add({ id, ...to, text, createdMs: Date.now() });
    const sent = this.#confirmations.of(id, timeoutMs);
    this.#working?.sender.kick();
    return sent;
  }

  subscribe(own: boolean, presence: boolean): Subscription {
    const deafen = presence ? this.live.listen() : () => {};
    const subscription = this.#audience.add({ own, presence, onEnd: deafen });
    if (this.#ended) subscription.finish();
    return subscription;
  }

  waitForUnshown(timeoutMs: number, signal: AbortSignal | undefined): Promise<boolean> {
    const { history } = this.#parts;
    return this.#changeWaits.until(() => history.unshown(1).length > 0, timeoutMs, signal);
  }

  /** Resolves when something in the home has changed, after a time, or when the signal aborts. */
  waitForChange(timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
    return this.#changeWaits.next(timeoutMs, signal);
  }

  async users(onlineOnly: boolean, timeoutMs?: number): Promise<Presence[]> {
    const all: Presence[] = [];
    for (;;) {
      const after: string = all.at(-1)?.name ?? "";
      const { users, more } = await this.link.ask<"users">({ type: "users", after, onlineOnly }, timeoutMs);
      all.push(...users);
      if (!more || users.length === 0) return all;
    }
  }

  /** Learns which identity the server shows for somebody now. */
  async meet(name: UserName, timeoutMs = OPEN_TIMEOUT_MS): Promise<void> {
    const remote = await this.link.ready(AbortSignal.timeout(timeoutMs));
    await this.#working!.keyring.meet(name, remote).catch((error) => {
      throw asFastChatError(error);
    });
  }

  async trust(name: UserName): Promise<Uint8Array> {
    const { keyring, inbox, receipts } = this.#working!;
    const remote = await this.link.ready(AbortSignal.timeout(OPEN_TIMEOUT_MS));
    const fingerprint = await keyring.trust(name, remote).catch((error) => {
      throw asFastChatError(error);
    });
    await inbox.reopen(name);
    const conversation = this.#parts.history.conversationWith(name);
    if (conversation !== undefined) receipts.missed(conversation.id);
    this.#working!.sender.unpark();
    return fingerprint;
  }

  /** This person's devices, and what is stated of them. */
  get devices(): Devices {
    const { database, credentials } = this.#parts, { link, self } = this;
    return new Devices({ database, credentials, keyLog: this.#working!.keyLog, self, link });
  }

  /** @returns What a rotation leaves. This session is by the old identity: it is to be closed. */
  rotate(password: string): Promise<Rotated> {
    this.#rotating = true;
    return this.devices.rotate(password);
  }

  /** What the engine does while this process owns the home, over whatever connection there is. */
  async engine<T>(work: (engine: Engine) => Promise<T>, timeoutMs = OPEN_TIMEOUT_MS): Promise<T> {
    const signal = AbortSignal.timeout(timeoutMs);
    const gone = new Promise<never>((_resolve, reject) => {
      const isOver = () => reject(new TimedOutError(`Not done within ${timeoutMs / 1000} s`));
      signal.addEventListener("abort", isOver, { once: true });
    });
    gone.catch(() => {});
    try {
      await this.link.ready(signal);
      return await Promise.race([this.#working!.host.with(work, signal), gone]);
    } catch (error) {
      if (signal.aborted) return await gone;
      throw asFastChatError(error);
    }
  }

  /** Keeps what a conversation's group says of itself, which has just changed without a row. */
  async refresh(conversation: ConversationId): Promise<void> {
    const { host, inbox } = this.#working!;
    await host.with(() => inbox.refresh(conversation));
  }

  /** The home knows a group that this process has just made. */
  async adopt(conversation: ConversationId): Promise<void> {
    const { database, history } = this.#parts;
    database.transaction(() => history.addGroup({ id: conversation, cursor: 0 }));
    await this.refresh(conversation);
  }

  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    const deadline = performance.now() + CLOSE_WAIT_MS;
    while (this.#confirmations.areDue && this.link.remote && performance.now() < deadline) await pause(10);
    const last = Promise.all([this.#working?.receipts.flush().catch(() => {}), this.#working?.host.left()]);
    await Promise.race([last, pause(CLOSE_FLUSH_MS)]);
    this.live.close();
    this.#working?.inbox.close();
    this.#working?.receipts.close();
    this.#working?.credentials.close();
    const senderDone = this.#working?.sender.close();
    const hostDone = this.#working?.host.close();
    await Promise.all([this.link.close(), senderDone, hostDone]);
    this.#changes.close();
    this.#audience.finish();
  }

  #onConnected(remote: Remote, server: string): void {
    this.#remote = remote;
    const { credentials, inbox, keyLog, receipts, sender, host } = this.#working ??= this.#begin(this.#login.self!);
    // Catching up with a restored server may put into the outbox what it lost.
    const caughtUp = () => sender.kick(), groups = this.#parts.history.groups();
    const listed = inbox.catchUp(remote).then(() => this.#compareGroups(groups)),
      keysLeft = this.#leaveKeys(host, inbox);
    this.#caughtUp = Promise.all([listed, receipts.catchUp(remote), keysLeft]).then(caughtUp, (error) => {
      // A lost connection is tried again by the link, and catching up with it.
      if (!(error instanceof CannotReachError) && this.#ended === undefined) this.#tell(caughtUpNotice(error));
    });
    this.#readKeyLog(keyLog);
    this.devices.sayName().catch(() => {});
    credentials.connected(() => this.link.remote);
    sender.unpark();
    this.live.connected();
    this.#tell({ type: "connection", state: "connected", server });
  }

  /**
   * Others can write to a device once it has left keys to write with: the first time that is waited for, later on it goes beside
   * everything else.
   */
  async #leaveKeys(host: EngineHost, inbox: Inbox): Promise<void> {
    const { database } = this.#parts, device = this.self.keys.id;
    const leaving = inbox.heads().then((heads) => host.with((engine) => engine.connected(heads))).then(() => {
      if (database.closed || database.meta(KEYS_LEFT) === device) return;
      database.transaction(() => database.setMeta(KEYS_LEFT, device));
    }).catch(() => {
      // Without a connection there is a next one, and that comes with all of it.
    });
    if (database.meta(KEYS_LEFT) !== device || await this.#isExpected(inbox)) await leaving;
  }

  /**
   * Groups that the server does not list any more: deleted, or this user was removed, and the row that would prove it went with
   * the log. It is the server's word, so it is told as that; where it lists one again, what the group's own state says counts.
   *
   * @param known Those of before it was asked.
   */
  async #compareGroups(known: readonly Conversation[]): Promise<void> {
    const { database, history } = this.#parts, { inbox, host } = this.#working!;
    const listed = new Set((await inbox.heads()).map(({ conversation }) => conversation));
    if (database.closed) return;
    for (const { id } of known) {
      const now = history.conversation(id);
      if (now === undefined) continue;
      if (listed.has(id)) {
        if (now.ended) host.with(() => inbox.refresh(id)).catch(() => {});
        continue;
      }
      if (now.ended) continue;
      const name = history.addressOf(now);
      const text = `The server says that you are not in ${name} any more: it was deleted, or you were removed`;
      database.transaction(() => history.setEnded(id));
      this.#tell({ type: "notice", code: "members-differ", name, conversation: id, text });
    }
  }

  /** Whether there is a group that this home is to come into: what catches up and ends should have done so. */
  async #isExpected(inbox: Inbox): Promise<boolean> {
    const heads = await inbox.heads().catch(() => []), { history } = this.#parts;
    return heads.some(({ conversation, kind }) => {
      const known = history.conversation(conversation);
      return kind === ConversationKind.group && (known === undefined || known.name === "" || known.ended);
    });
  }

  #begin(self: Self): Working {
    const { database, history, states, settings, directory } = this.#parts, outbox = this.#outbox, link = this.link;
    const onNotice = (notice: NoticeEvent) => this.#tell(notice);
    const onSettled = (id: MessageId) => this.#confirmations.settle(id);
    const keyLog = new KeyLog({
      database,
      self,
      ask: (request: RequestOf<"keyLog" | "keyEntries">) =>
        link.ask<"keyLog" | "keyEntries">(request) as Promise<never>,
      onNews: (news) => {
        // Before anybody is told: what they send next must not go to the one before.
        for (const { name, identity } of newIdentities(news, self)) {
          if (pins.pinned(name) !== undefined) pins.check(name, identity, Date.now());
        }
        noticesOf(news, self).forEach(onNotice);
        if (news.some((item) => isReplaced(item, self)) && !this.#rotating) this.link.fail(replacedError());
      },
      onFork: (text) => onNotice({ type: "notice", code: "key-log", text }),
    });
    const pins = new Pins(database, self.clusterId, (name) => keyLog.history(name));
    const keyring = new Keyring({ database, history, pins, self, keyLog, onNotice });
    const receipts = new Receipts({ database, history, states, settings, keyring, self, link, onNotice });
    const onApplied = (id: ConversationId, here: boolean) => {
      receipts.applied(id, here);
      this.live.applied(id, here);
    };
    const texts = new TextRows({ history, outbox, keyring, self, ready: () => link.ready() });
    const host: EngineHost = new EngineHost({
      directory,
      database,
      history,
      self,
      keyring,
      keyLog,
      link,
      server: this.server,
      accountKey: () => this.#parts.credentials.accountKey(Date.now()),
      clusterFingerprint: () => this.serverFingerprint,
      takeText: (record) => texts.take(record),
      onReaches: (id, seq) => inbox.reaches(id, seq),
      onWarning: (id, { code, name, text }) =>
        onNotice({ type: "notice", code, ...(name && { name }), conversation: id, text }),
      onJoined: (engine, id, taken) => inbox.joined(engine, id, taken),
      onHeldUp: (error) => this.#holdups.heldUp(error),
      onChanged: (id) => {
        host.with(() => inbox.refresh(id)).catch(() => {});
        inbox.tryAgain(id);
        sender.unpark();
      },
    });
    const inbox: Inbox = new Inbox({
      database,
      history,
      outbox,
      states,
      keyring,
      host,
      self,
      link,
      onNotice,
      onSettled,
      onApplied,
    });
    const sender: Sender = new Sender({
      outbox,
      host,
      self: { name: self.name, device: self.keys.id },
      remote: () => link.remote,
      conversation: async ({ peer, target }, remote) => {
        const id = target ?? await keyring.direct(peer, remote);
        if (target !== undefined) keyring.requireKnown(history.members(target).map(({ name }) => name));
        await inbox.readyToSend(id);
        return id;
      },
      onSettled: (id) => {
        this.#holdups.isOver();
        onSettled(id);
      },
      onHeldUp: (error) => this.#holdups.heldUp(error),
      onNotReady: ({ target, peer }, { message: text }) => {
        this.#holdups.notReady(target === undefined ? peer : groupAddress(database, target), text);
      },
    });
    return {
      credentials: new CredentialsWatch({ credentials: this.#parts.credentials, device: self.keys.id, onNotice }),
      keyLog,
      keyring,
      inbox,
      receipts,
      host,
      sender,
    };
  }

  /** Who it is that speaks in the key log, and devices that nobody has acknowledged, are told; what fails is tried again later. */
  #readKeyLog(keyLog: KeyLog, atLeast?: number): void {
    // Of before this session; what comes up in it is told as it does.
    if (keyLog.fork !== undefined) return this.#tell({ type: "notice", code: "key-log", text: keyLog.fork });
    keyLog.catchUp(atLeast).then(() => {
      if (this.#parts.database.closed) return;
      for (const notice of unacknowledged(keyLog, this.#login.self!)) this.#tell(notice);
    }, () => {});
  }

  #onEvent(event: Event): void {
    if (event.type === "servers") return this.#parts.servers.rememberServers(this.#address, event.servers);
    const working = this.#working;
    // Before the login is finished nothing is missed by not looking: catching up reads it.
    if (working === undefined) return;
    switch (event.type) {
      case "deliver":
        return working.inbox.deliver(event.record);
      case "behind":
        working.receipts.missed(event.conversation);
        return working.inbox.reaches(event.conversation, event.head);
      case "receipt":
        return working.receipts.received(event.receipt);
      case "credentialsChanged":
        if (this.#remote) void working.credentials.look(this.#remote);
        return;
      case "devicesChanged": {
        const remote = this.link.remote;
        if (remote) working.keyring.devicesChanged(event.name, remote).catch(() => {});
        return this.#tellEngine(working, event);
      }
      case "dismissed":
        working.inbox.reaches(event.conversation, event.seq);
        return this.#tellEngine(working, event);
      case "asked":
      case "welcomed":
        return this.#tellEngine(working, event);
      case "keyLogGrown":
        this.#readKeyLog(working.keyLog, event.length);
    }
  }

  /** Whichever process of the home gets to it first: to the others there is nothing left to do then. */
  #tellEngine({ host }: Working, event: Event): void {
    host.with((engine) => {
      engine.onEvent(event);
      return Promise.resolve();
    }).catch(() => {});
  }

  #onClosed(error: Error): void {
    this.#ended = error;
    this.#tickets.close();
    this.#tell({ type: "connection", state: "closed", reason: error.message });
    this.#confirmations.fail(error);
    this.#changeWaits.wake();
  }

  #onChange(foreign: boolean): void {
    this.#audience.poke();
    this.#changeWaits.wake();
    this.#working?.receipts.onChange();
    if (!foreign) return;
    // Another process may have settled our rows, or left its own behind.
    this.#confirmations.settleAll();
    this.#working?.sender.kick();
  }

  #tell(event: ChatEvent): void {
    this.#audience.tell(event);
  }
}

/** What works while there is somebody to work for: from the first log-in on. */
interface Working {
  readonly credentials: CredentialsWatch;
  readonly keyLog: KeyLog;
  readonly keyring: Keyring;
  readonly inbox: Inbox;
  readonly receipts: Receipts;
  readonly host: EngineHost;
  readonly sender: Sender;
}

function caughtUpNotice(error: unknown): NoticeEvent {
  return {
    type: "notice",
    code: "gap",
    text: `Not everything that was waiting could be read: ${(error as Error).message}`,
  };
}

const NO_STATS: ChannelStats = {
  datagramsSent: 0,
  datagramsReceived: 0,
  bytesSent: 0,
  bytesReceived: 0,
  packetsLost: 0,
  rttUs: 0,
};
const UNSEALED = "This home was made before homes were sealed, and what is in it can be read by whoever copies it: " +
  "give the password once (fastchat agent), and it is sealed";
/** The device whose first keys are at the server. */
const KEYS_LEFT = "keys-left";
export const OPEN_TIMEOUT_MS = 20_000;
/** Nobody needs to be told of less. */
const SLOW_MS = 1_000;
const CLOSE_WAIT_MS = 5_000;
const CLOSE_FLUSH_MS = 500;
const FAILURES_KEPT_MS = 24 * 3600 * 1000;
