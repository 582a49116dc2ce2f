/**
 * How a connection becomes somebody's (docs/PROTOCOL.md §7.1): by the session token, else by the password and this device's
 * proof; in an empty home by signing up, or by fetching the identity's backup and enrolling a new device.
 *
 * Keys lie on disk before the server hears of them, and the account is marked as enrolled only after its answer: a sign-up
 * cut off in the middle goes on where it was, with the same keys.
 */
import { fingerprint, passwordProblem } from "../../shared/crypto/mod.ts";
import { ErrorCode, RequestError } from "../../shared/errors.ts";
import type { UserName } from "../../shared/protocol/mod.ts";
import type { Account } from "./account.ts";
import type { Credentials } from "./credentials.ts";
import type { Identity } from "../e2ee/mod.ts";
import { enrol, recertify } from "./enrolment.ts";
import { FastChatError, NotAuthenticatedError, RefusedError, UsageError } from "../errors.ts";
import type { Self } from "../trust/keyring.ts";
import { explainLogIn, isRefusedWith, wrongPasswordHere } from "./login_errors.ts";
import { stretchToLogIn } from "./login_password.ts";
import { MovingIn } from "./moving_in.ts";
import { NewKeys } from "./new_keys.ts";
import { refreshKeyFile, requireShown } from "./own_identity.ts";
import { liftApproval, recoverAccount } from "./recover.ts";
import { makeRecoveryKey } from "./recovery.ts";
import type { Remote } from "../network/remote.ts";
import { signUp } from "./sign_up.ts";

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
  readonly #newKeys: NewKeys;
  readonly #movingIn: MovingIn;
  #self: Self | undefined;
  /** Of a sign-up whose recovery key is not made yet. */
  #unsaved: Identity | undefined;
  #recoveryKey: string | undefined;
  #recovered = false;

  /** @throws UsageError where the name or the password cannot be right. */
  constructor(options: LogInOptions) {
    this.#options = options;
    this.#newKeys = new NewKeys(options.credentials);
    this.#movingIn = new MovingIn(options.credentials);
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
    if (this.#mustShowPassword || this.#mustRecover || !credentials.account()?.enrolled) return false;
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
      throw explainLogIn(error);
    }
  }

  get #mustShowPassword(): boolean {
    return this.#options.fresh && !this.#movingIn.isDone;
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
    const session = this.#mustShowPassword ? undefined : credentials.session(Date.now());
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
    const device = { id: keys.id, proof };
    const login = await stretchToLogIn({ credentials, name, password, known: account, device, onProgress }, remote);
    const { stretched, stretching } = login;
    const answer = await remote.ask<"login">({
      type: "login",
      name,
      loginSecret: stretched.loginSecret,
      device,
    }).catch((error) => {
      throw wrongPasswordHere(error, name, server);
    });
    if (answer.type === "enrolNeeded") {
      const movingIn = this.#movingIn;
      return await recertify({ credentials, password, server, movingIn, onProgress }, self, login, remote);
    }
    // What was learned of the password meanwhile is in the home.
    this.#movingIn.finish({ ...(credentials.account() ?? account), server, ...stretching }, answer, stretched);
    await refreshKeyFile(credentials, password, stretched, remote);
    await credentials.learnAccountKey(password);
    return self;
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
    const { signUp: wanted, credentials, server, serverBackup, onProgress } = this.#options;
    const name = this.#options.name!, password = this.#options.password!;
    const newKeys = this.#newKeys, movingIn = this.#movingIn;
    // What a sign-up that was cut off has left behind another password was never anybody's.
    const resuming = pending?.name === name && !credentials.vault.isLocked ? pending : undefined;
    const options = { credentials, name, password, server, pending: resuming, newKeys, movingIn, onProgress };
    if (wanted === "no") return await enrol(options, remote);
    try {
      const { self, identity } = await signUp({ ...options, serverBackup }, remote);
      this.#unsaved = identity;
      return self;
    } catch (error) {
      if (!isRefusedWith(error, ErrorCode.nameTaken)) throw error;
      if (wanted === "only" && resuming === undefined) throw error;
      return await enrol(options, remote).catch((second) => {
        // It was not our own sign-up that took the name.
        throw wanted === "only" && isRefusedWith(second, ErrorCode.badCredentials) ? error : second;
      });
    }
  }

  /** By the recovery key: another password, and this device enrolled. */
  async #recover(before: Account | undefined, remote: Remote): Promise<Self> {
    const { credentials, server, onProgress, password, recovery } = this.#options;
    const name = before?.enrolled ? before.name : this.#options.name!, device = this.#newKeys.device();
    device.catch(() => {});
    const { account, session, stretched, identity, keys } = await recoverAccount({
      ...recovery!,
      credentials,
      name,
      server,
      password: password!,
      device,
      seal: (account, stretched) => this.#movingIn.seal(account, stretched),
      onProgress,
    }, remote);
    await requireShown(name, identity, remote);
    this.#movingIn.finish(account, session, stretched);
    credentials.saveAccountKey(identity, account.clusterId, Date.now());
    this.#recovered = true;
    await liftApproval(identity, account, remote);
    identity.wipe();
    return { name, identity: account.identity, keys, clusterId: account.clusterId };
  }
}
