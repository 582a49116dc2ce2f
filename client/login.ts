/**
 * How a connection becomes somebody's (docs/PROTOCOL.md §7.1): by the session token, else by the password and this device's
 * proof; in an empty home by signing up, or by fetching the identity's backup and enrolling a new device.
 *
 * Keys lie on disk before the server hears of them, and the account is marked as enrolled only after its answer: a sign-up
 * cut off in the middle goes on where it was, with the same keys.
 */
import {
  equalBytes,
  fingerprint,
  openBackup,
  passwordProblem,
  sealBackup,
  type StretchedPassword,
  StretchingRefused,
  stretchPassword,
} from "../shared/crypto/mod.ts";
import { ErrorCode, RequestError } from "../shared/errors.ts";
import type { DeviceId, ResponseOf, Stretching, UserName } from "../shared/protocol/mod.ts";
import type { Account } from "./account.ts";
import type { Credentials } from "./credentials.ts";
import { adopt } from "./credentials_watch.ts";
import { DeviceKeys, Identity } from "./e2ee/mod.ts";
import {
  ApprovalNeededError,
  DeviceRevokedError,
  FastChatError,
  LockedError,
  NotAuthenticatedError,
  RefusedError,
  UsageError,
  WrongPasswordError,
} from "./errors.ts";
import type { Self } from "./keyring.ts";
import { liftApproval, recoverAccount } from "./recover.ts";
import { makeRecoveryKey } from "./recovery.ts";
import type { Remote } from "./remote.ts";
import { testOnlyFloor } from "./stretching.ts";

export interface LogInOptions {
  readonly credentials: Credentials;
  /** May be left out where the home has an account. */
  readonly name: UserName | undefined;
  /** HOST:PORT, to be remembered with the account. */
  readonly server: string;
  /** Kept in memory only, for when the session is over. */
  readonly password: string | undefined;
  /** "if-new": sign up unless the name exists, else log in. "only": a name that exists is an error. */
  readonly signUp: "no" | "if-new" | "only";
  /** Whether a sign-up leaves the sealed identity key on the server. */
  readonly serverBackup: boolean;
  /** Show the password even where a session would do. */
  readonly fresh: boolean;
  /** Not the password but the recovery key shows who this is; `password` is the new one. */
  readonly recovery?: {
    /** 20 bytes. */
    readonly key: Uint8Array;
    readonly endOthers: boolean;
  } | undefined;
  onProgress(text: string): void;
}

/** Logs in one connection after another, as the same person on the same device. */
export class LogIn {
  readonly #options: LogInOptions;
  #fresh: boolean;
  #self: Self | undefined;
  /** Of a sign-up whose recovery key is not made yet. */
  #unsaved: Identity | undefined;
  #recoveryKey: string | undefined;
  #recovered = false;
  #newKeys: { identity: Promise<Identity>; device: Promise<DeviceKeys> } | undefined;

  /** @throws UsageError where the name or the password cannot be right. */
  constructor(options: LogInOptions) {
    this.#options = options;
    this.#fresh = options.fresh;
    const account = options.credentials.account();
    if (account && options.name !== undefined && account.name !== options.name && account.enrolled) {
      throw new UsageError(`This home belongs to ${account.name}; ${options.name} needs another one (--home DIR)`);
    }
    if (options.recovery !== undefined) {
      const problem = options.password === undefined
        ? "Say which password to have from now on"
        : passwordProblem(options.password, account?.name ?? options.name ?? "");
      if (problem !== undefined) throw new UsageError(problem);
    }
    if (account?.enrolled) {
      if (options.signUp !== "only") return;
      if (account.server !== options.server) {
        throw new UsageError(
          `This home belongs to ${account.name} on ${account.server}; another server needs another one`,
        );
      }
      const text = `The name ${account.name} is taken: by you, it has signed up from this home already`;
      throw new RefusedError(text, ErrorCode.nameTaken);
    }
    if (options.name === undefined) throw new UsageError("This home has no account yet: say which name");
    if (options.password === undefined) {
      throw new NotAuthenticatedError(`The password of ${options.name} is needed: this home has no session`);
    }
    if (options.signUp === "no") return;
    const problem = passwordProblem(options.password, options.name);
    if (problem !== undefined && options.signUp === "only") throw new UsageError(problem);
  }

  /** Who the last connection became. */
  get self(): Self | undefined {
    return this.#self;
  }

  /** Whether a ticket would do: this home is somebody's, with a session, and nobody asked for the password to be shown. */
  mayResume(): boolean {
    const { credentials } = this.#options;
    if (this.#fresh || this.#mustRecover || !credentials.account()?.enrolled) return false;
    return credentials.session(Date.now()) !== undefined;
  }

  /** The recovery key of a sign-up, once: nobody else has it. */
  takeRecoveryKey(): string | undefined {
    const key = this.#recoveryKey;
    this.#recoveryKey = undefined;
    return key;
  }

  /** A server has taken our ticket: we are who we were, with nothing said. */
  async resumed(): Promise<Self> {
    const account = this.#options.credentials.account()!;
    const self = await this.#own(account);
    this.#noteServer(account);
    return this.#self = self;
  }

  /** In a session: which identity counts, where a change of it was cut off. */
  async settleRotation(remote: Remote): Promise<void> {
    const { credentials } = this.#options;
    if (!credentials.pendingRotation.isPending) return;
    const { identityKey } = await remote.ask<"credentials">({ type: "credentials", device: undefined });
    await credentials.pendingRotation.settle(fingerprint(identityKey));
    this.#self = await this.#own(credentials.account()!);
  }

  /** @throws ServerRefusal or ConnectionLostError to be tried again; any other error is final. */
  async run(remote: Remote): Promise<Self> {
    const account = this.#options.credentials.account();
    try {
      if (this.#mustRecover) return this.#self = await this.#recover(account, remote);
      return this.#self = account?.enrolled ? await this.#return(account, remote) : await this.#first(account, remote);
    } catch (error) {
      throw explain(error);
    }
  }

  get #mustRecover(): boolean {
    return this.#options.recovery !== undefined && !this.#recovered;
  }

  /** What a sign-up leaves to be done in its session: the recovery key. */
  async settle(remote: Remote): Promise<void> {
    const identity = this.#unsaved, account = this.#options.credentials.account();
    if (identity === undefined || account === undefined) return;
    try {
      this.#recoveryKey = await makeRecoveryKey(identity, account, remote);
    } catch (error) {
      // The account is there: a refused recovery key, which can be made later, is no reason to lose it.
      if (!(error instanceof RequestError) || isRefusedWith(error, ErrorCode.busy, ErrorCode.unavailable)) throw error;
    }
    identity.wipe();
    this.#unsaved = undefined;
  }

  /** In a home that has been somebody before. */
  async #return(account: Account, remote: Remote): Promise<Self> {
    const { credentials, password, onProgress, server } = this.#options, { name } = account;
    const self = await this.#own(account), { keys } = self;
    const proof = keys.prove(remote.channel.transcriptHash);
    const session = this.#fresh ? undefined : credentials.session(Date.now());
    if (session !== undefined) {
      try {
        await remote.ask<"resume">({ type: "resume", name, token: session.token, device: keys.id, proof });
        this.#noteServer(account);
        return self;
      } catch (error) {
        if (!isRefusedWith(error, ErrorCode.badCredentials, ErrorCode.notAuthenticated)) throw error;
        credentials.forgetSession(session.token);
      }
    }
    if (password === undefined) {
      throw new NotAuthenticatedError(
        `The session of ${name} is over: log in again with the password (fastchat login ${name} --server ${server})`,
      );
    }
    onProgress("Logging in with the password");
    const { stretched, stretching } = await this.#stretch(name, password, remote, account, { id: keys.id, proof });
    const answer = await remote.ask<"login">({
      type: "login",
      name,
      loginSecret: stretched.loginSecret,
      device: { id: keys.id, proof },
    });
    if (answer.type === "enrolNeeded") return await this.#recertify(self, { stretched, stretching }, remote);
    // What was learned of the password meanwhile is in the home.
    this.#finish({ ...(credentials.account() ?? account), server, ...stretching }, answer, stretched);
    await this.#refreshIdentity(password, stretched, remote);
    await credentials.learnAccountKey(password);
    return self;
  }

  /** The identity was replaced on another device since: this one has to be certified by the new one. */
  async #recertify(
    self: Self,
    { stretched, stretching }: { stretched: StretchedPassword; stretching: Stretching },
    remote: Remote,
  ): Promise<Self> {
    const { credentials, password, onProgress, server } = this.#options, { name, clusterId, keys } = self;
    onProgress("Your identity was replaced: adding this device to the new one");
    const { backup } = await remote.ask<"backup">({ type: "backup" });
    const identity = await this.#restore(backup, { backupKey: stretched.backupKey, clusterId, name }, password!);
    if (equalBytes(identity.fingerprint, self.identity)) {
      identity.wipe();
      throw new NotAuthenticatedError("The server no longer knows this device: log in from an empty home");
    }
    const bind = remote.channel.transcriptHash, nowMs = Date.now();
    // Higher than that of any certificate before: those count from 1, or are times too.
    const certificate = await identity.certify({ clusterId, user: name, device: keys, nowMs, serial: nowMs });
    await credentials.pendingRotation.prepare(identity, password!);
    credentials.saveAccountKey(identity, clusterId, nowMs);
    const session = await remote.ask<"enrol">({
      type: "enrol",
      certificate,
      identityProof: await identity.proveEnrolment({ bind, certificate }),
      deviceProof: keys.prove(bind),
    });
    await this.#checkShown(name, identity, remote);
    await credentials.pendingRotation.settle(identity.fingerprint);
    this.#finish({ ...credentials.account()!, server, ...stretching }, session, stretched);
    identity.wipe();
    return { ...self, identity: identity.fingerprint };
  }

  /** Who this home belongs to, with the keys in it. */
  async #own({ name, identity, clusterId }: Account): Promise<Self> {
    const keys = this.#self?.keys ?? await this.#options.credentials.deviceKeys();
    if (keys === undefined) throw new FastChatError("This home has lost its device's keys: log in from an empty home");
    return { name, identity, keys, clusterId };
  }

  /** By which address it was reached last. */
  #noteServer(account: Account): void {
    const { credentials, server } = this.#options;
    if (account.server !== server) credentials.saveAccount({ ...account, server });
  }

  /** In a home without an account, or with one whose enrolling was cut off. */
  async #first(pending: Account | undefined, remote: Remote): Promise<Self> {
    const { signUp } = this.#options, name = this.#options.name!, password = this.#options.password!;
    // What a sign-up that was cut off has left behind another password was never anybody's.
    const resuming = pending?.name === name && !this.#options.credentials.vault.isLocked ? pending : undefined;
    if (signUp !== "no") {
      try {
        return await this.#signUp(name, password, resuming, remote);
      } catch (error) {
        if (!isRefusedWith(error, ErrorCode.nameTaken)) throw error;
        if (signUp === "only" && resuming === undefined) throw error;
        try {
          return await this.#enrol(name, password, resuming, remote);
        } catch (second) {
          // It was not our own sign-up that took the name.
          if (signUp === "only" && isRefusedWith(second, ErrorCode.badCredentials)) throw error;
          throw second;
        }
      }
    }
    return await this.#enrol(name, password, resuming, remote);
  }

  async #signUp(name: UserName, password: string, pending: Account | undefined, remote: Remote): Promise<Self> {
    const { credentials, server, serverBackup, onProgress } = this.#options;
    // Asked before keys are made: where the name is taken they would be for nothing.
    const answer = await remote.ask<"stretch">({ type: "stretch", name, purpose: PURPOSE_REGISTER });
    const problem = passwordProblem(password, name);
    if (problem !== undefined) throw new UsageError(problem);
    onProgress("Making your keys");
    const [identity, keys, stretched] = await Promise.all([
      this.#identity(pending, password),
      this.#device(),
      stretch(name, password, answer, undefined),
    ]);
    const { clusterId, stretching } = answer;
    const certificate = await identity.certify({ clusterId, user: name, device: keys, nowMs: Date.now() });
    const account = {
      name,
      server,
      clusterId,
      identity: identity.fingerprint,
      ...stretching,
      serverBackup,
      enrolled: false,
    };
    await credentials.saveIdentity(identity, password);
    this.#seal(account, stretched);
    credentials.saveDeviceKeys(keys);
    credentials.saveAccount(account);
    credentials.saveAccountKey(identity, clusterId, Date.now());
    onProgress(`Signing up as ${name}`);
    try {
      const session = await remote.ask<"register">({
        type: "register",
        name,
        stretching,
        loginSecret: stretched.loginSecret,
        identityKey: identity.spki,
        backup: serverBackup
          ? sealBackup({ backupKey: stretched.backupKey, clusterId, name, pkcs8: identity.pkcs8 })
          : new Uint8Array(),
        certificate,
        deviceProof: keys.prove(remote.channel.transcriptHash),
      });
      this.#finish(account, session, stretched);
      this.#unsaved = identity;
    } catch (error) {
      if (isRefusedWith(error, ErrorCode.nameTaken)) await credentials.forgetAccount();
      throw error;
    }
    return { name, identity: identity.fingerprint, keys, clusterId };
  }

  /** The same person on a new device: the password yields the identity, the identity certifies the device. */
  async #enrol(name: UserName, password: string, pending: Account | undefined, remote: Remote): Promise<Self> {
    const { credentials, server, onProgress } = this.#options;
    onProgress("Logging in with the password");
    const device = this.#device();
    device.catch(() => {});
    const { stretched, stretching, clusterId } = await this.#stretch(name, password, remote, pending);
    const bind = remote.channel.transcriptHash;
    // Only a device that the server may know already proves itself: a sign-up or an enrolment was cut off.
    const known = pending && await device;
    const answer = await remote.ask<"login">({
      type: "login",
      name,
      loginSecret: stretched.loginSecret,
      device: known && { id: known.id, proof: known.prove(bind) },
    });
    const keys = await device;
    if (answer.type === "session") {
      this.#finish({ ...pending!, server, ...stretching }, answer, stretched);
      return { name, identity: pending!.identity, keys, clusterId };
    }
    onProgress("Adding this device to your account");
    const { backup } = await remote.ask<"backup">({ type: "backup" });
    const identity = await this.#restore(backup, { backupKey: stretched.backupKey, clusterId, name }, password);
    const certificate = await identity.certify({ clusterId, user: name, device: keys, nowMs: Date.now() });
    const account = {
      name,
      server,
      clusterId,
      identity: identity.fingerprint,
      ...stretching,
      enrolled: false,
    };
    await credentials.saveIdentity(identity, password);
    this.#seal(account, stretched);
    credentials.saveDeviceKeys(keys);
    credentials.saveAccount(account);
    credentials.saveAccountKey(identity, clusterId, Date.now());
    const session = await remote.ask<"enrol">({
      type: "enrol",
      certificate,
      identityProof: await identity.proveEnrolment({ bind, certificate }),
      deviceProof: keys.prove(bind),
    });
    await this.#checkShown(name, identity, remote);
    this.#finish(account, session, stretched);
    identity.wipe();
    return { name, identity: identity.fingerprint, keys, clusterId };
  }

  async #restore(
    backup: Uint8Array,
    owner: { backupKey: Uint8Array; clusterId: Uint8Array; name: UserName },
    password: string,
  ): Promise<Identity> {
    if (backup.length === 0) {
      const local = await this.#options.credentials.identity(password);
      if (local !== undefined) return local;
      throw new NotAuthenticatedError(
        `${owner.name} keeps no backup of the identity key on the server: copy identity.pem from another device of yours into this home`,
      );
    }
    const opened = openBackup({ ...owner, backup });
    if (!opened.ok) throw new NotAuthenticatedError(`Cannot open the identity's backup: ${opened.reason}`);
    return await Identity.fromPkcs8(opened.pkcs8);
  }

  /** A backup must be of the very identity that the server shows to everybody else (SECURITY P8). */
  async #checkShown(name: UserName, identity: Identity, remote: Remote): Promise<void> {
    const { entries } = await remote.ask<"directory">({ type: "directory", names: [name] });
    const shown = entries[0];
    if (shown?.name === name && equalBytes(fingerprint(shown.identityKey), identity.fingerprint)) return;
    throw new FastChatError(`The server shows others another identity of ${name} than the one in the backup`);
  }

  async #stretch(
    name: UserName,
    password: string,
    remote: Remote,
    known: Account | undefined,
    device?: { readonly id: DeviceId; readonly proof: Uint8Array },
  ): Promise<{ stretched: StretchedPassword; stretching: Stretching; clusterId: Uint8Array }> {
    const answer = await remote.ask<"stretch">({ type: "stretch", name, purpose: PURPOSE_LOG_IN });
    const isChanged = known?.salt !== undefined && !equalBytes(known.salt, answer.stretching.salt);
    if (isChanged && device !== undefined) known = await this.#learnChange(known!, answer.stretching, device, remote);
    return {
      stretched: await stretch(name, password, answer, known),
      stretching: answer.stretching,
      clusterId: answer.clusterId,
    };
  }

  /**
   * Another salt than the one known is followed where this home asked for it itself, or where the identity says so: a server
   * must not choose it (SECURITY P1).
   */
  async #learnChange(
    known: Account,
    offered: Stretching,
    device: { readonly id: DeviceId; readonly proof: Uint8Array },
    remote: Remote,
  ): Promise<Account> {
    const { credentials, onProgress } = this.#options, { name } = known;
    if (await credentials.pendingPassword.settle(offered, Date.now()) === "new") {
      onProgress("The change of your password that was cut off has happened: the new one counts");
    } else {
      const told = await remote.ask<"credentials">({ type: "credentials", device: { name, ...device } }).catch(
        (error) => {
          if (isRefusedWith(error, ErrorCode.badCredentials)) return undefined;
          throw error;
        },
      );
      if (told && await adopt(credentials, known, told)) onProgress("Your password was changed on another device");
    }
    return credentials.account() ?? known;
  }

  /** The identity's key file, where another device changed the password it is encrypted by. */
  async #refreshIdentity(
    password: string,
    { loginSecret, backupKey }: StretchedPassword,
    remote: Remote,
  ): Promise<void> {
    const { credentials } = this.#options, account = credentials.account();
    if (account?.identityStale !== true) return;
    const { name, clusterId } = account;
    const { backup } = await remote.ask<"ownBackup">({ type: "ownBackup", loginSecret });
    const opened = openBackup({ backupKey, clusterId, name, backup });
    if (!opened.ok) return;
    const identity = await Identity.fromPkcs8(opened.pkcs8);
    if (equalBytes(identity.fingerprint, account.identity)) {
      await credentials.saveIdentity(identity, password);
      credentials.saveAccountKey(identity, clusterId, Date.now());
      credentials.updateAccount({ identityStale: false });
    }
    identity.wipe();
  }

  /** By the recovery key: another password, and this device enrolled. */
  async #recover(before: Account | undefined, remote: Remote): Promise<Self> {
    const { credentials, server, onProgress, password, recovery } = this.#options;
    const name = before?.enrolled ? before.name : this.#options.name!, device = this.#device();
    device.catch(() => {});
    const { account, session, stretched, identity, keys } = await recoverAccount({
      ...recovery!,
      credentials,
      name,
      server,
      password: password!,
      device,
      seal: (account, stretched) => this.#seal(account, stretched),
      onProgress,
    }, remote);
    await this.#checkShown(name, identity, remote);
    this.#finish(account, session, stretched);
    credentials.saveAccountKey(identity, account.clusterId, Date.now());
    this.#recovered = true;
    await liftApproval(identity, account, remote);
    identity.wipe();
    return { name, identity: account.identity, keys, clusterId: account.clusterId };
  }

  #finish(account: Account, session: ResponseOf<"session">, stretched: StretchedPassword): void {
    const { credentials } = this.#options;
    this.#seal(account, stretched);
    credentials.saveSession(session);
    credentials.saveAccount({ ...account, enrolled: true });
    this.#fresh = false;
  }

  /** The password is this person's: it seals the home from now on. */
  #seal({ clusterId, name, log2N, salt }: Account, stretched: StretchedPassword): void {
    const { vault } = this.#options.credentials, owner = { clusterId, name, stretching: { log2N, salt: salt! } };
    // Only what a sign-up that was cut off has left may be lost.
    if (vault.isLocked && this.#options.credentials.account()?.enrolled) throw new LockedError();
    if (vault.isLocked) vault.forget();
    if (!vault.isSealedBy(stretched, owner)) vault.rewrap(stretched, owner);
  }

  async #identity(pending: Account | undefined, password: string): Promise<Identity> {
    const kept = pending && await this.#options.credentials.identity(password);
    return kept ?? await (this.#keys().identity);
  }

  async #device(): Promise<DeviceKeys> {
    const { credentials } = this.#options;
    return (credentials.vault.isLocked ? undefined : await credentials.deviceKeys()) ?? await this.#keys().device;
  }

  /** Made once, however often the connection is lost meanwhile. */
  #keys(): { identity: Promise<Identity>; device: Promise<DeviceKeys> } {
    let identity: Promise<Identity> | undefined;
    return this.#newKeys ??= {
      get identity() {
        return identity ??= Identity.generate();
      },
      device: DeviceKeys.generate(),
    };
  }
}

async function stretch(
  name: UserName,
  password: string,
  answer: ResponseOf<"stretching">,
  known: Account | undefined,
): Promise<StretchedPassword> {
  const testOnlyLog2NMin = testOnlyFloor();
  return await stretchPassword({
    password,
    name,
    // The answer came over a connection that only the cluster's key could have made.
    clusterId: known?.clusterId ?? answer.clusterId,
    offeredClusterId: answer.clusterId,
    stretching: answer.stretching,
    // Until the server has answered an enrolment it may be one that it never heard of, with a salt of its own.
    ...(known && { lastUsed: { log2N: known.log2N, ...(known.enrolled && known.salt && { salt: known.salt }) } }),
    ...(testOnlyLog2NMin !== undefined && { testOnlyLog2NMin }),
  });
}

function isRefusedWith(error: unknown, ...codes: readonly number[]): boolean {
  return (error instanceof RequestError || error instanceof RefusedError) && codes.includes(error.code);
}

function explain(error: unknown): unknown {
  if (error instanceof StretchingRefused) return new RefusedError(error.message, ErrorCode.internal, { cause: error });
  if (isRefusedWith(error, ErrorCode.badCredentials)) return new WrongPasswordError((error as Error).message);
  if (isRefusedWith(error, ErrorCode.deviceRevoked)) return new DeviceRevokedError((error as Error).message);
  if (isRefusedWith(error, ErrorCode.approvalNeeded)) return new ApprovalNeededError((error as Error).message);
  if (isRefusedWith(error, ErrorCode.notAuthenticated)) return new NotAuthenticatedError((error as Error).message);
  return error;
}

const PURPOSE_REGISTER = 1;
const PURPOSE_LOG_IN = 2;
