/**
 * The library: one person's chat on one device. It owns connection, encryption and the local database; faces call it and
 * render what it tells.
 */
import { formatFingerprint, parseLinkCode } from "../shared/crypto/mod.ts";
import type { ChannelStats } from "../shared/net/mod.ts";
import type { ConversationId, DeviceId, UserName } from "../shared/protocol/mod.ts";
import type { DeviceInfo, Rotated } from "./account/devices.ts";
import type { People } from "./account/granting.ts";
import { parseAddress } from "./addresses.ts";
import type { Archive } from "./archive/archive.ts";
import type { Shared } from "./copies/giver.ts";
import type { GroupChange } from "./e2ee/engine.ts";
import { KeyLogError, UsageError } from "./errors.ts";
import type { ChatEvent, LogEvent } from "./events.ts";
import type { HomeParts } from "./home_parts.ts";
import { checkName, LocalHome } from "./local_home.ts";
import type { OpenOptions } from "./open_options.ts";
import { openSession, type TrustOptions, trustServer } from "./opening.ts";
import type { Presence, Session } from "./session.ts";
import type { Delivery } from "./talk/acks.ts";
import type { SentMessage } from "./talk/confirmations.ts";
import { deliveries, type DeliveriesOptions } from "./talk/deliveries.ts";
import { GroupChanges, type GroupOptions } from "./talk/group_changes.ts";
import { type Group, type GroupDetails, Groups } from "./talk/groups.ts";
import { show } from "./talk/showing.ts";
import { checkText } from "./text.ts";
import { timeText } from "./time.ts";
import { compareNumber, type PeerTrust, type Safety } from "./trust/people.ts";

/** One person's chat on one device, connected; what it has of {@linkcode LocalHome} works without a connection too. */
export class ChatClient extends LocalHome {
  readonly #session: Session;

  private constructor(parts: HomeParts, session: Session) {
    super(parts, session.self.name);
    this.#session = session;
  }

  /**
   * Opens a home and connects it.
   *
   * @throws UsageError, CannotReachError, NotAuthenticatedError, RefusedError, KeyChangedError, TimedOutError; or the
   * signal's reason.
   */
  static async open(options: OpenOptions): Promise<ChatClient> {
    const { parts, session } = await openSession(options);
    return new ChatClient(parts, session);
  }

  /** Signs up. @throws RefusedError where the name is taken. */
  static register(options: OpenOptions): Promise<ChatClient> {
    return ChatClient.open({ ...options, register: "only" });
  }

  /** Logs in with the password, in an empty home as a new device. */
  static login(options: OpenOptions): Promise<ChatClient> {
    return ChatClient.open({ ...options, register: false, fresh: true });
  }

  /**
   * Gets an account back by its recovery key: sets another password and enrols this device. Messages from before are not brought
   * back. In an empty home, or in one of this account that is not locked.
   *
   * @param options.password The new one.
   * @throws UsageError for a key with a slip in it, before anything is sent; WrongRecoveryKeyError.
   */
  static async recover(options: OpenOptions & { readonly recoveryKey: string }): Promise<ChatClient> {
    const chat = await ChatClient.open({ ...options, register: false });
    if (await chat.#session.devices.isIdentityShown()) return chat;
    await chat.close();
    throw new KeyLogError(`The key log shows others another identity of ${chat.name} than the one that was recovered`);
  }

  /** The home alone, without a connection: history, conversations, trusting a server. */
  static offline({ home }: { readonly home: string }): LocalHome {
    return LocalHome.openExisting(home);
  }

  /**
   * Accepts a server's changed key: the one in `HOST:PORT#FINGERPRINT`, or the one that was shown last, or, for a server that is
   * new to this home, the one that it proves to hold now.
   *
   * @returns The fingerprint trusted from now on.
   * @throws KeyChangedError where it proves another one than the pinned one, and nobody has been shown that before.
   */
  static trustServer(options: TrustOptions): Promise<string> {
    return trustServer(options);
  }

  override get server(): string {
    return this.#session.server;
  }

  /** SHA-256 of the cluster's key, 32 bytes: what its balancer prints at its start. */
  get serverFingerprint(): Uint8Array {
    return this.#session.serverFingerprint;
  }

  override get fingerprint(): Uint8Array {
    return this.#session.self.identity;
  }

  /** This device's id, as the messages that it sends have it. */
  get device(): string {
    return this.#session.self.keys.id;
  }

  /** The recovery key of the sign-up that opened this client, once: show it to its owner. Nobody else has it. */
  takeRecoveryKey(): string | undefined {
    return this.#session.takeRecoveryKey();
  }

  /** Makes another recovery key; the one before is void. @throws WrongPasswordError */
  newRecoveryKey(options: { readonly password: string }): Promise<string> {
    return this.#session.account.newRecoveryKey(options.password);
  }

  /** Since when there is a recovery key (RFC 3339), and whether name and password are enough to log in elsewhere. */
  async recoveryState(): Promise<{ readonly since: string | undefined; readonly serverBackup: boolean }> {
    const { recoveryMs, keepsBackup } = await this.#session.account.credentials();
    return { since: recoveryMs === 0 ? undefined : timeText(recoveryMs), serverBackup: keepsBackup };
  }

  /** This person's archive of history: off until {@linkcode Archive.switchOn}. Only the recovery key opens it elsewhere. */
  get archive(): Archive {
    return this.#session.archive;
  }

  /**
   * Another password: for the account, the identity's key file, the backup at the server and this home, all or nothing.
   *
   * @param options.signOutOthers Whether every session but this home's ends.
   * @throws UsageError for a weak one, WrongPasswordError; CannotReachError or TimedOutError where it is not known whether it
   * happened: both passwords open this home then, and a notice at the next connection tells which one counts.
   */
  changePassword(
    options: { readonly old: string; readonly new: string; readonly signOutOthers?: boolean },
    onProgress: (text: string) => void = () => {},
  ): Promise<void> {
    const asked = { ...options, signOutOthers: options.signOutOthers ?? false };
    return this.#session.account.changePassword(asked, onProgress);
  }

  /** HOST:PORT of the server this is connected to, or was last. */
  get connectedTo(): string {
    return this.#session.link.server;
  }

  /** Whether there is a connection now. While there is none, what is sent waits in the outbox. */
  get isConnected(): boolean {
    return this.#session.link.remote !== undefined;
  }

  /** Counters of the connection, of the last one while there is none. */
  get stats(): ChannelStats {
    return this.#session.stats;
  }

  /**
   * Sends a text. Its place in the conversation is taken now, so concurrent calls keep their order; while there is no
   * connection it waits in the outbox, across restarts too.
   *
   * @param options.timeoutMs By default it waits for as long as this client is open.
   * @param to A name, or a group's `#name`.
   * @returns When the server has stored it durably.
   * @throws UsageError, RefusedError (an unknown name), KeyChangedError, TimedOutError.
   */
  send(to: string, text: string, options: { readonly timeoutMs?: number | undefined } = {}): Promise<SentMessage> {
    try {
      const address = parseAddress(to, this.parts.conversations.groups());
      checkText(text);
      if (address.kind === "group") {
        return this.#session.send(this.#openGroup(address.conversation), text, options.timeoutMs);
      }
      const { name: peer } = address;
      if (peer === this.name) throw new UsageError("That is you: a message needs somebody else to read it");
      return this.#session.send({ peer }, text, options.timeoutMs);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * What happens from now on: messages received, refused rows, changes of the connection, notices.
   *
   * @param options.own Whether to give messages that this person sent too, from any device or process.
   * @param options.presence Whether to tell who of the people one talks with comes and goes, and who types. While nobody asks for
   * it, the server is not asked either.
   */
  events(options: { readonly own?: boolean; readonly presence?: boolean } = {}): AsyncIterableIterator<ChatEvent> {
    return this.#session.subscribe(options.own ?? false, options.presence ?? false);
  }

  /** Tells `events({ presence: true })` of these too, and no longer of those named here before. */
  watchPresence(names: readonly string[]): void {
    this.#session.live.watch(names.map(checkName));
  }

  /** Whether somebody is here, as far as that is being told; `undefined` where it is not known. */
  presence(name: string): boolean | undefined {
    return this.#session.live.presence(checkName(name));
  }

  /**
   * This person is typing to somebody or in a group: call it with every key, it is said every few seconds and ends by itself. Nothing is said to
   * somebody one never talked with, or where `settings typing` is off.
   */
  typing(to: string, active = true): void {
    this.#session.live.typing(active ? this.conversationOf(to) : undefined, active);
  }

  /**
   * Makes a group that one is the owner of and alone in; others are added by {@linkcode changeGroup}.
   *
   * @returns Its address, `#name`.
   * @throws UsageError for what cannot be a name.
   */
  createGroup(name: string, options: GroupOptions = {}): Promise<string> {
    return this.#groupChanges.create(name, options);
  }

  /**
   * Changes a group: who is in it with which role, what it is called, what may be done in it.
   *
   * @param name `#name`, with or without its sign.
   * @returns When the change counts for everybody.
   * @throws UsageError, RefusedError where one may not, KeyChangedError, TimedOutError.
   */
  changeGroup(name: string, change: GroupChange, options: GroupOptions = {}): Promise<void> {
    return this.#groupChanges.change(name, change, options);
  }

  /** Leaves a group. @throws RefusedError for the last admin while others are there. */
  leaveGroup(name: string, options: GroupOptions = {}): Promise<void> {
    return this.#groupChanges.leave(name, options);
  }

  /** An invite link: the open one, or a new one. `revoke` closes those there are. */
  groupLink(name: string, options: GroupOptions & { readonly revoke?: boolean } = {}): Promise<string> {
    return this.#groupChanges.link(name, options);
  }

  /**
   * Asks to be let into a group by its link. It appears in {@linkcode groups} once a device of an admin has seen to it, which
   * may take until one is there.
   *
   * @returns The group's conversation: {@linkcode groupBy} has it from then on.
   */
  joinGroup(link: string, options: GroupOptions = {}): Promise<ConversationId> {
    return this.#groupChanges.join(link, options);
  }

  /** A group by its conversation; `undefined` while this home is not in it. */
  groupBy(conversation: ConversationId): Group | undefined {
    return new Groups(this.parts.conversations, this.name).of(conversation);
  }

  /** A group with what only its own state tells: devices, identities, links, why nothing can be sent. @throws UsageError */
  groupDetails(name: string, options: GroupOptions = {}): Promise<GroupDetails> {
    return this.#groupChanges.details(name, options);
  }

  /**
   * Puts out what others sent and no face has put out yet, oldest first, and marks it: no other process of this home puts it out
   * meanwhile. Where `put` throws, or this process is killed in it, that message is put out again.
   *
   * @returns Whether there was anything.
   */
  show(put: (event: LogEvent) => void): Promise<boolean> {
    return show(this.parts, put);
  }

  /**
   * Waits until something is unshown.
   *
   * @returns False where the time was over or the signal aborted before.
   * @throws What ended the connection for good.
   */
  waitForUnshown(timeoutMs: number, signal?: AbortSignal): Promise<boolean> {
    return this.#session.waitForUnshown(timeoutMs, signal);
  }

  /**
   * Messages of others for a program that acknowledges each when it is done with it ({@linkcode LocalHome.acknowledge}), and gets
   * it again where it did not: at its next start, or after a while. Several may listen at once; one has a message at a time.
   */
  deliveries(options: DeliveriesOptions = {}): AsyncGenerator<Delivery> {
    const { directory: home, acks } = this.parts;
    const waitForChange = (timeoutMs: number, signal?: AbortSignal) => this.#session.waitForChange(timeoutMs, signal);
    return deliveries({ home, acks, waitForChange, nowMs: Date.now }, options);
  }

  /** Everybody with an account, in order of name. */
  users(options: { readonly timeoutMs?: number } = {}): Promise<Presence[]> {
    return this.#session.users(false, options.timeoutMs);
  }

  /** Everybody who is connected now. */
  online(options: { readonly timeoutMs?: number } = {}): Promise<Presence[]> {
    return this.#session.users(true, options.timeoutMs);
  }

  /**
   * Asks the server whose identity it shows for somebody now: at first contact it is pinned, a changed one is told as a notice.
   *
   * @returns What to compare with them.
   * @throws RefusedError where there is nobody of that name.
   */
  async meet(name: string, options: { readonly timeoutMs?: number } = {}): Promise<Safety> {
    const peer = checkName(name);
    if (peer === this.name) throw new UsageError("That is you: there is nobody to compare your key with");
    await this.#session.meet(peer, options.timeoutMs);
    return this.safety(peer)!;
  }

  /**
   * Compares a safety number with the identity that counts for somebody now, accepts it where it had changed, and marks it as
   * verified: the digits prove more than a word of the server.
   *
   * @throws NumberDiffersError; UsageError where it is no safety number of these two.
   */
  async verifyNumber(name: string, number: string, options: { readonly timeoutMs?: number } = {}): Promise<PeerTrust> {
    const safety = await this.meet(name, options);
    compareNumber(safety, this.name, number);
    if (this.trustOf(name).trust === "changed") await this.trust(name);
    this.verify(safety, number);
    return this.trustOf(name);
  }

  /**
   * Accepts somebody's changed identity, and opens what was refused because of it: that is unshown then.
   *
   * @returns The fingerprint trusted from now on.
   */
  async trust(name: string): Promise<string> {
    return formatFingerprint(await this.#session.trust(checkName(name)));
  }

  /**
   * Goes on sending in a conversation whose members were shown different things. What was shown stays as it was: the server may
   * have lied to either side.
   *
   * @param address A name, or a group's `#name`.
   */
  async acceptFork(address: string, options: GroupOptions = {}): Promise<void> {
    const id = this.conversationOf(address);
    if (id !== undefined) await this.#session.engine((engine) => engine.accept(id), options.timeoutMs);
  }

  /** This person's devices, in the order in which they came, as the key log has them. */
  devices(): Promise<DeviceInfo[]> {
    return this.#session.devices.list();
  }

  /** Devices of this person that were added by password alone and that nobody has approved yet, by what this home has heard so far. */
  newDevices(): DeviceId[] {
    return this.#session.devices.unapproved();
  }

  /** Whether a new device counts for nothing until another one approves it. */
  needsApproval(): Promise<boolean> {
    return this.#session.devices.needsApproval();
  }

  /** Says what this device is called: its owner's other devices see that, and the server. @throws UsageError */
  nameDevice(name: string): Promise<void> {
    return this.#session.devices.rename(name);
  }

  /**
   * Stands in for a device that was added by password alone.
   *
   * @param which The first digits of its id, or its name. @returns Its id. @throws UsageError
   */
  approveDevice(which: string): Promise<string> {
    return this.#session.devices.approve(which);
  }

  /**
   * Lets a device in that shows a code (`linkDevice`), without its typing a password.
   *
   * @returns Its id.
   * @throws UsageError for what is no code, WrongPasswordError, RefusedError where no device shows that code.
   */
  grantDevice(code: string, password: string): Promise<string> {
    const parsed = parseLinkCode(code);
    if (parsed !== undefined) return this.#session.devices.grant(parsed, password);
    return Promise.reject(new UsageError(`${JSON.stringify(code)} is no code: those have 26 letters and digits`));
  }

  /**
   * Lets a device in that comes within two minutes (`linkDeviceByDigits`), once people agree on both that they show the same six
   * digits.
   *
   * @returns Its id.
   * @throws UsageError where this device may not, WrongPasswordError, NumberDiffersError, TimedOutError: nothing was granted then.
   */
  grantDeviceByDigits(password: string, people: People): Promise<string> {
    return this.#session.devices.grantByDigits(password, people);
  }

  /**
   * Hands another device of this person what was said between two people. In groups that share it that happens by itself.
   *
   * @param which As for {@linkcode approveDevice}.
   * @param options.sinceMs Nothing from before; milliseconds since 1970.
   * @throws UsageError for a device that may not have it, with the way out; TimedOutError.
   */
  async shareHistory(
    which: string,
    { sinceMs = 0, timeoutMs = SHARE_TIMEOUT_MS }: { readonly sinceMs?: number; readonly timeoutMs?: number } = {},
  ): Promise<Shared & { readonly device: DeviceId }> {
    const device = await this.#session.devices.shareable(which);
    return { device, ...await this.#session.shareHistory(device, sinceMs, timeoutMs) };
  }

  /** Ends a device for good. @param which As for {@linkcode approveDevice}. @throws WrongPasswordError, UsageError. */
  revokeDevice(which: string, password: string): Promise<string> {
    return this.#session.devices.revoke(which, password);
  }

  /** @param approval Whether new devices count for nothing until another one approves them. @throws WrongPasswordError */
  setDevicePolicy(approval: boolean, password: string): Promise<void> {
    return this.#session.devices.setPolicy(approval, password);
  }

  /**
   * Makes a new identity, signed by the old one: all other devices must log in again, and those one talks with are warned. This
   * client goes by the old one still: close it.
   *
   * @throws WrongPasswordError
   */
  rotateIdentity(password: string): Promise<Rotated> {
    return this.#session.rotate(password);
  }

  /** Waits for what earlier programs of this home have left in the outbox to be sent, as far as it can be, and at most so long. */
  drain(timeoutMs: number): Promise<void> {
    return this.#session.drain(timeoutMs);
  }

  /** Waits a moment for what is being sent, then ends everything. What is not stored by then stays in the outbox. */
  override async close(): Promise<void> {
    await this.#session.close();
    super.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  get #groupChanges(): GroupChanges {
    return new GroupChanges({ ...this.parts, self: this.name, session: this.#session });
  }

  /** @throws UsageError where one is no longer in it. */
  #openGroup(id: ConversationId): { readonly peer: UserName; readonly target: ConversationId } {
    const group = this.groupBy(id);
    if (group?.ended) throw new UsageError(`You are no longer in ${group.address}`);
    return { peer: "" as UserName, target: id };
  }
}

/** Megabytes, on whatever line. */
const SHARE_TIMEOUT_MS = 10 * 60_000;
