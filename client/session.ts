/**
 * A home that is connected: admits one connection after another, hands what comes to the {@linkcode Correspondence}, and tells
 * those who listen and those who wait what became of it.
 */
import { systemRandom } from "../shared/crypto/mod.ts";
import type { ChannelStats } from "../shared/net/mod.ts";
import type { ConversationId, DeviceId, Event, MessageId, UserName } from "../shared/protocol/mod.ts";
import { Admission, replacedError } from "./account/admission.ts";
import type { Archive } from "./archive/archive.ts";
import { Audience } from "./talk/audience.ts";
import { Changes } from "./home/changes.ts";
import { ChangeWaits } from "./home/change_waits.ts";
import { Confirmations, type SentMessage } from "./talk/confirmations.ts";
import type { Shared } from "./copies/giver.ts";
import { Correspondence } from "./talk/correspondence.ts";
import { Devices, proposeDeviceName, type Rotated } from "./account/devices.ts";
import { dialUdp } from "./network/dialer.ts";
import type { Engine } from "./e2ee/engine.ts";
import { CannotReachError, TimedOutError, UsageError } from "./errors.ts";
import type { ChatEvent, NoticeEvent } from "./events.ts";
import { Holdups } from "./talk/holdups.ts";
import type { Self } from "./trust/keyring.ts";
import { asFastChatError, Link } from "./network/link.ts";
import { Live } from "./talk/live.ts";
import type { HomeParts } from "./home_parts.ts";
import { LogIn } from "./account/login.ts";
import { lockLogin } from "./account/login_lock.ts";
import { OPEN_TIMEOUT_MS, type SessionOptions } from "./open_options.ts";
import { Outbox } from "./talk/outbox.ts";
import { OwnAccount } from "./account/own_account.ts";
import { pause } from "./pause.ts";
import { PinnedDialer } from "./network/pinned_dialer.ts";
import type { Recipient } from "./talk/recipient.ts";
import { readRecoveryKey } from "./account/recovery.ts";
import type { Remote } from "./network/remote.ts";
import { formatServerAddress, parseServerAddress, type ServerAddress } from "./network/server_address.ts";
import type { Subscription } from "./talk/subscription.ts";
import { TicketPurse } from "./network/tickets.ts";
import { unlockToConnect } from "./account/unlock.ts";

/** Whether somebody is here. */
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
  readonly #onNotice: (notice: NoticeEvent) => void;
  readonly live: Live;
  readonly #confirmations: Confirmations;
  readonly #holdups = new Holdups((notice) => this.#tell(notice));
  readonly #changeWaits = new ChangeWaits(() => this.#ended);
  /** From the first log-in on. */
  #correspondence: Correspondence | undefined;
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
    this.#onNotice = options.onNotice ?? (() => {});
    const outbox = this.#outbox = new Outbox(parts.database, parts.history);
    this.#confirmations = new Confirmations({
      outbox,
      reason: (id) => this.#holdups.reason(parts.states.status(id)?.to ?? ""),
      onStored: (conversation, seq) => this.#correspondence?.inbox.stored(conversation, seq),
    });
    this.#tickets = new TicketPurse(parts.database, this.server);
    this.#login = this.#makeLogIn(options);
    this.#dialer = this.#makeDialer(options);
    const link = this.link = this.#makeLink(), { conversations, settings } = parts;
    this.live = new Live({ conversations, settings, link, onEvent: (event) => this.#tell(event) });
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

  /** What its owner changes of the account. */
  get account(): OwnAccount {
    const { credentials, directory: home } = this.#parts;
    return new OwnAccount({ credentials, home, link: this.link, tickets: this.#tickets });
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
    this.#correspondence?.sender.kick();
    return sent;
  }

  subscribe(own: boolean, presence: boolean): Subscription {
    const deafen = presence ? this.live.listen() : () => {};
    const subscription = this.#audience.add({ own, presence, onEnd: deafen });
    if (this.#ended) subscription.finish();
    return subscription;
  }

  waitForUnshown(timeoutMs: number, signal: AbortSignal | undefined): Promise<boolean> {
    const { shown } = this.#parts;
    return this.#changeWaits.until(() => shown.unshown(1).length > 0, timeoutMs, signal);
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
    await this.#correspondence!.keyring.meet(name, remote).catch((error) => {
      throw asFastChatError(error);
    });
  }

  async trust(name: UserName): Promise<Uint8Array> {
    const remote = await this.link.ready(AbortSignal.timeout(OPEN_TIMEOUT_MS));
    return await this.#correspondence!.trust(name, remote);
  }

  /** Hands what was said to another device of this person. @throws TimedOutError: then it goes on behind everything else. */
  async shareHistory(device: DeviceId, sinceMs: number, timeoutMs: number): Promise<Shared> {
    const over = new AbortController(), late = pause(timeoutMs, over.signal).catch(() => undefined);
    try {
      const shared = await Promise.race([this.#correspondence!.giver.share(device, sinceMs), late]);
      if (shared) return shared;
    } catch (error) {
      throw asFastChatError(error);
    } finally {
      over.abort();
    }
    throw new TimedOutError(`Not done within ${timeoutMs / 1000} s: it goes on at the next connection`);
  }

  /** This person's devices, and what is stated of them. */
  get devices(): Devices {
    const { database, credentials } = this.#parts, { link, self } = this;
    return new Devices({ database, credentials, keyLog: this.#correspondence!.keyLog, self, link });
  }

  /** This person's archive of history. */
  get archive(): Archive {
    return this.#correspondence!.archive;
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
      return await Promise.race([this.#correspondence!.host.with(work, signal), gone]);
    } catch (error) {
      if (signal.aborted) return await gone;
      throw asFastChatError(error);
    }
  }

  /** Keeps what a conversation's group says of itself, which has just changed without a row. */
  async refresh(conversation: ConversationId): Promise<void> {
    await this.#correspondence!.refresh(conversation);
  }

  /** The home knows a group that this process has just made. */
  async adopt(conversation: ConversationId): Promise<void> {
    const { database, conversations } = this.#parts;
    database.transaction(() => conversations.addGroup({ id: conversation, cursor: 0 }));
    await this.refresh(conversation);
  }

  /** Resolves when what was in the outbox is sent or cannot be sent for now, or after a time. */
  async drain(timeoutMs: number): Promise<void> {
    if (this.#closing !== undefined || this.#ended !== undefined || this.#outbox.isEmpty) return;
    await Promise.race([this.#correspondence?.sender.idle(), pause(timeoutMs)]);
  }

  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    const deadline = performance.now() + CLOSE_WAIT_MS;
    while (this.#confirmations.areDue && this.link.remote && performance.now() < deadline) await pause(10);
    await Promise.race([this.#correspondence?.flush(), pause(CLOSE_FLUSH_MS)]);
    this.live.close();
    const correspondenceDone = this.#correspondence?.close();
    await Promise.all([this.link.close(), correspondenceDone]);
    this.#changes.close();
    this.#audience.finish();
  }

  #makeLogIn(options: SessionOptions): LogIn {
    return new LogIn({
      credentials: this.#parts.credentials,
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
  }

  #makeDialer({ dial = dialUdp }: SessionOptions): PinnedDialer {
    const { servers, credentials } = this.#parts;
    return new PinnedDialer({
      address: this.#address,
      servers,
      tickets: this.#tickets,
      dial,
      home: () => {
        const account = credentials.account();
        return account?.enrolled ? parseServerAddress(account.server) : undefined;
      },
      mayResume: () => this.#login.mayResume(),
      onNotice: (notice) => this.#tell(notice),
    });
  }

  #makeLink(): Link {
    const admission = new Admission(this.#login, this.#tickets);
    return new Link({
      dial: (asked) => this.#dialer.dial(asked),
      authenticate: (remote, _signal, isResumed) => admission.admit(remote, isResumed),
      canReturn: () => this.#tickets.hasAny,
      onTicket: (ticket) => this.#tickets.put(ticket),
      onEvent: (event) => this.#onEvent(event),
      onHint: (hint) => this.live.heard(hint),
      onConnected: (remote, server) => this.#onConnected(remote, server),
      onReconnecting: (reason) => this.#tell({ type: "connection", state: "reconnecting", reason }),
      onClosed: (error) => this.#onClosed(error),
    });
  }

  #onConnected(remote: Remote, server: string): void {
    this.#remote = remote;
    this.#correspondence ??= this.#correspond();
    this.#caughtUp = this.#correspondence.connected(remote).catch((error) => {
      // A lost connection is tried again by the link, and catching up with it.
      if (!(error instanceof CannotReachError) && this.#ended === undefined) this.#tell(caughtUpNotice(error));
    });
    this.devices.sayName().catch(() => {});
    this.live.connected();
    this.#tell({ type: "connection", state: "connected", server });
  }

  #correspond(): Correspondence {
    const { server, link, self } = this;
    return new Correspondence({
      parts: this.#parts,
      outbox: this.#outbox,
      self,
      link,
      holdups: this.#holdups,
      server,
      clusterFingerprint: () => this.serverFingerprint,
      onNotice: (notice) => this.#tell(notice),
      onSettled: (id) => this.#confirmations.settle(id),
      onApplied: (id, here) => this.live.applied(id, here),
      onReplaced: () => {
        if (!this.#rotating) link.fail(replacedError());
      },
    });
  }

  #onEvent(event: Event): void {
    if (event.type === "servers") return this.#parts.servers.rememberServers(this.#address, event.servers);
    // Before the login is finished nothing is missed by not looking: catching up reads it.
    this.#correspondence?.onEvent(event);
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
    // Another process may have settled our rows.
    if (foreign) this.#confirmations.settleAll();
    this.#correspondence?.onChange(foreign);
  }

  #tell(event: ChatEvent): void {
    this.#audience.tell(event);
    if (event.type === "notice") this.#onNotice(event);
  }
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
const UNSEALED = "This home is not sealed: what is in it can be read by whoever copies it. " +
  "Give the password once (fastchat agent), and it is";
/** Nobody needs to be told of less. */
const SLOW_MS = 1_000;
const CLOSE_WAIT_MS = 5_000;
const CLOSE_FLUSH_MS = 500;
const FAILURES_KEPT_MS = 24 * 3600 * 1000;
