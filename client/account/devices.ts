/**
 * One person's devices (docs/PROTOCOL.md §16, SECURITY P9, M12): which there are, and what is stated of them in the key log. What
 * is listed is what the log says, not what the server says; names are by the devices themselves.
 */
import {
  encodeKeyStatement,
  equalBytes,
  formatFingerprint,
  isUsable,
  type KeyHistory,
  type KeyStatement,
  sealBackup,
  signApproval,
  signDeviceName,
  verifyDeviceName,
} from "../../shared/crypto/mod.ts";
import { DEVICE_NAME_BYTES_MAX } from "../../shared/limits.ts";
import type { DeviceId } from "../../shared/protocol/mod.ts";
import { OWN_RECOVERY_KEY } from "./account.ts";
import { historyFromMs } from "../trust/quarantine.ts";
import type { Credentials } from "./credentials.ts";
import type { Database } from "../home/database.ts";
import { Identity } from "../e2ee/mod.ts";
import { DeviceRevokedError, FastChatError, UsageError } from "../errors.ts";
import { timeText } from "../time.ts";
import type { KeyLog } from "../trust/key_log.ts";
import { shortDevice, unapproved } from "../trust/key_watch.ts";
import type { Self } from "../trust/keyring.ts";
import type { Link } from "../network/link.ts";
import { Granting, type People } from "./granting.ts";
import { askCredentials, openOwnIdentity, stretchOwn, withOwnIdentity } from "./own_identity.ts";
import { makeRecoveryKey } from "./recovery.ts";
import { sanitizeLine } from "../sanitize.ts";

/** A device as the key log has it. */
export interface DeviceInfo {
  readonly id: DeviceId;
  /** What its owner calls it, where that is known. */
  readonly name: string | undefined;
  /** Whether it is this one. */
  readonly self: boolean;
  /**
   * `unapproved`: certified by password alone, and nobody has stood in for it. `waiting`: so, and it counts for nothing until
   * somebody does. `superseded`: the identity was replaced since; it must log in again.
   */
  readonly state: "active" | "unapproved" | "waiting" | "superseded" | "revoked";
  /** RFC 3339: since when its certificate is good. */
  readonly since: string;
}

/** What a person has after a rotation. */
export interface Rotated {
  readonly fingerprint: string;
  /** The one before is void; `undefined` where none could be made: `fastchat recovery new`. */
  readonly recoveryKey: string | undefined;
}

export interface DevicesOptions {
  readonly database: Database;
  readonly credentials: Credentials;
  readonly keyLog: KeyLog;
  readonly self: Self;
  readonly link: Link;
}

export class Devices {
  readonly #options: DevicesOptions;
  readonly #granting: Granting;

  constructor(options: DevicesOptions) {
    this.#options = options;
    this.#granting = new Granting(options);
  }

  /** In the order in which they came. */
  async list(): Promise<DeviceInfo[]> {
    const { keyLog, link, self } = this.#options;
    const [named] = await Promise.all([link.ask<"devices">({ type: "devices" }), keyLog.catchUp()]);
    const history = this.#history();
    const names = new Map(named.devices.map(({ device, name, signature }) => {
      const leafKey = history.devices.get(device)?.certificate.leafKey;
      const isItsOwn = leafKey && verifyDeviceName(leafKey, { ...this.#owner, device, name }, signature);
      return [device, isItsOwn ? sanitizeLine(name) : undefined];
    }));
    return [...history.devices].map(([id, device]) => ({
      id,
      name: names.get(id),
      self: id === self.keys.id,
      state: device.ending ??
        (device.approvedAt !== undefined ? "active" : isUsable(history, device) ? "unapproved" : "waiting"),
      since: timeText(device.certificate.notBeforeMs),
    }));
  }

  /** Those that were added by password alone and that nobody has stood in for, by what this home has heard so far (SECURITY P9). */
  unapproved(): DeviceId[] {
    const { database, keyLog, self } = this.#options;
    return database.closed ? [] : unapproved(keyLog, self);
  }

  /** Whether the log that everybody is shown says that this person's identity is the one here (SECURITY P8). */
  async isIdentityShown(): Promise<boolean> {
    const { keyLog, self } = this.#options;
    await keyLog.catchUp();
    return equalBytes(this.#history().identity, self.identity);
  }

  /** Whether devices count for nothing until another one approves them. */
  async needsApproval(): Promise<boolean> {
    await this.#options.keyLog.catchUp();
    return this.#history().approval;
  }

  /** Says what this device is called. @throws UsageError */
  async rename(name: string): Promise<void> {
    const { database, link, self } = this.#options, clean = checkDeviceName(name);
    const signature = signDeviceName(self.keys.leaf, { ...this.#owner, device: self.keys.id, name: clean });
    await link.ask<"nameDevice">({ type: "nameDevice", name: clean, signature });
    database.transaction(() => {
      database.setMeta(NAME, clean);
      database.setMeta(NAME_SAID, clean);
    });
  }

  /** Says it where it was not said yet: after a log-in. */
  async sayName(): Promise<void> {
    const { database } = this.#options, name = database.meta(NAME);
    if (name !== undefined && name !== "" && name !== database.meta(NAME_SAID)) await this.rename(name);
  }

  /** Stands in for a device that was added by password alone. @param which An id's first digits, or a name. */
  async approve(which: string): Promise<DeviceId> {
    const { self } = this.#options, device = await this.#find(which), history = this.#history();
    const known = history.devices.get(device)!;
    if (known.endedAt !== undefined) {
      throw new UsageError(`The device ${shortDevice(device)} is ${known.ending} already`);
    }
    if (known.approvedAt !== undefined) return device;
    if (device === self.keys.id || history.devices.get(self.keys.id)?.approvedAt === undefined) {
      throw new UsageError("This device was added by password itself: another one must approve it");
    }
    await this.#state(signApproval(self.keys.leaf, this.#owner, {
      device,
      certificate: known.certificateHash,
      by: self.keys.id,
      timeMs: Date.now(),
    }));
    return device;
  }

  /**
   * Another device, to be handed what was said before it came.
   *
   * @throws UsageError for one that may not have it, or where this one may not give it, with the way out.
   */
  async shareable(which: string): Promise<DeviceId> {
    const { keyLog, self } = this.#options, device = await this.#find(which), nowMs = Date.now();
    if (device === self.keys.id) throw new UsageError("That is this device: name the one that is to have it");
    const fromMs = historyFromMs(keyLog, self.name, device), ownMs = historyFromMs(keyLog, self.name, self.keys.id);
    if (fromMs === undefined) throw new UsageError(`The device ${shortDevice(device)} is not yours any more`);
    if (ownMs === undefined || ownMs > nowMs) {
      throw new UsageError(
        "This device was added by password itself, a short while ago: another one must approve it first",
      );
    }
    const isNobodys = !keyLog.isUsable(self.name, device), short = shortDevice(device);
    if (fromMs <= nowMs && !isNobodys) return device;
    const later = isNobodys ? "" : `, or try again in ${Math.ceil((fromMs - nowMs) / 3_600_000)} h`;
    const until = isNobodys ? "until you approve it" : "for a day";
    throw new UsageError(
      `The device ${short} was added with your password alone, and is handed nothing ${until}. If it is yours: ` +
        `fastchat device approve ${short}${later}. If not: fastchat device revoke ${short}`,
    );
  }

  /** @param code From {@linkcode parseLinkCode}. As {@linkcode Granting.byCode}. */
  grant(code: string, password: string): Promise<DeviceId> {
    return this.#granting.byCode(code, password);
  }

  /** As {@linkcode Granting.byDigits}. */
  grantByDigits(password: string, people: People): Promise<DeviceId> {
    return this.#granting.byDigits(password, people);
  }

  /**
   * Ends a device for good: its sessions and tickets, its place in all conversations. Where it is this very one, the connection
   * ends with it.
   *
   * @throws WrongPasswordError, UsageError.
   */
  async revoke(which: string, password: string): Promise<DeviceId> {
    const device = await this.#find(which);
    if (this.#history().devices.get(device)!.ending === "revoked") return device;
    try {
      await this.#byIdentity(password, (identity) => identity.revoke(this.#owner, device, Date.now()));
    } catch (error) {
      // One that ends itself hears of it by being ended.
      if (device !== this.#options.self.keys.id || !(error instanceof DeviceRevokedError)) throw error;
    }
    return device;
  }

  /** @throws WrongPasswordError; UsageError where there are devices that nobody has approved yet. */
  async setPolicy(approval: boolean, password: string): Promise<void> {
    await this.#options.keyLog.catchUp();
    const history = this.#history();
    if (history.approval === approval) return;
    const open = [...history.devices].filter(([, { endedAt, approvedAt }]) =>
      endedAt === undefined && approvedAt === undefined
    );
    if (approval && open.length > 0) {
      const names = open.map(([id]) => shortDevice(id)).join(", ");
      throw new UsageError(`Approve or revoke these devices first, which were added by password: ${names}`);
    }
    const number = Math.max(history.policyNumber + 1, Date.now());
    await this.#byIdentity(
      password,
      (identity) => identity.setPolicy(this.#owner, { approval, number, timeMs: Date.now() }),
    );
  }

  /**
   * Makes a new identity, signed by the old one. All other devices must log in again, and those one talks with are warned.
   *
   * @throws WrongPasswordError
   */
  async rotate(password: string): Promise<Rotated> {
    const { credentials, keyLog, link, self } = this.#options;
    const told = await askCredentials(credentials, link);
    const stretch = () => stretchOwn(password, credentials.account()!, told);
    const old = await openOwnIdentity(credentials, link, password, stretch);
    await keyLog.catchUp();
    const known = this.#history().devices.get(self.keys.id);
    if (known === undefined || known.endedAt !== undefined) {
      throw new FastChatError("The key log does not know this device");
    }
    const identity = await Identity.generate(), { clusterId, user: name } = this.#owner, nowMs = Date.now();
    const serial = Math.max(known.certificate.serial + 1, nowMs);
    const certificate = await identity.certify({ clusterId, user: name, device: self.keys, nowMs, serial });
    const { backupKey } = await stretch();
    const statement = encodeKeyStatement(await old.rotate(this.#owner, certificate, nowMs));
    const backup = told.keepsBackup
      ? sealBackup({ backupKey, clusterId, name, pkcs8: identity.pkcs8 })
      : new Uint8Array();
    old.wipe();
    // On disk before the server hears of it; which one counts, the log says.
    await credentials.pendingRotation.prepare(identity, password);
    credentials.saveAccountKey(identity, clusterId, nowMs);
    await link.ask<"rotate">({ type: "rotate", statement, backup });
    await credentials.pendingRotation.settle(identity.fingerprint);
    const remote = await link.ready();
    const archiveKey = credentials.archiveKey();
    const recoveryKey = await makeRecoveryKey(identity, { name, clusterId }, remote, archiveKey).catch(() => undefined);
    credentials.updateAccount({ recoveryMs: OWN_RECOVERY_KEY });
    const fingerprint = formatFingerprint(identity.fingerprint);
    identity.wipe();
    return { fingerprint, recoveryKey };
  }

  #byIdentity(password: string, say: (identity: Identity) => Promise<KeyStatement>): Promise<void> {
    const { credentials, link } = this.#options;
    return withOwnIdentity(credentials, link, password, async (identity) => this.#state(await say(identity)));
  }

  async #state(said: KeyStatement): Promise<void> {
    const { keyLog, link } = this.#options;
    await link.ask<"stateKeys">({ type: "stateKeys", statement: encodeKeyStatement(said) });
    // A device that ends itself hears no more.
    await keyLog.catchUp().catch(() => {});
  }

  async #find(which: string): Promise<DeviceId> {
    const word = which.toLowerCase();
    const found = (await this.list()).filter(({ id, name, state }) =>
      (word.length >= PREFIX_CHARS_MIN && id.startsWith(word)) || (state !== "revoked" && name?.toLowerCase() === word)
    );
    if (found.length === 1) return found[0]!.id;
    if (found.length === 0) throw new UsageError(`You have no device ${which}: see fastchat device list`);
    throw new UsageError(`${which} may be ${found.map(({ id }) => shortDevice(id)).join(" or ")}: say which`);
  }

  #history(): KeyHistory {
    const { keyLog, self } = this.#options, history = keyLog.history(self.name);
    if (history === undefined) throw new FastChatError("The server's key log says nothing of you");
    return history;
  }

  get #owner() {
    const { clusterId, name: user } = this.#options.self;
    return { clusterId, user };
  }
}

/** @throws UsageError */
export function checkDeviceName(name: string): string {
  const clean = sanitizeLine(name).trim();
  const bytes = new TextEncoder().encode(clean).length;
  if (clean !== "" && bytes <= DEVICE_NAME_BYTES_MAX) return clean;
  throw new UsageError(`A device's name is one line of 1 to ${DEVICE_NAME_BYTES_MAX} bytes`);
}

/** Keeps what this device is to be called, for {@linkcode Devices.sayName}. Nothing where it has a name already. */
export function proposeDeviceName(database: Database, name: string): void {
  if (database.meta(NAME) === undefined) database.transaction(() => database.setMeta(NAME, name));
}

const NAME = "device-name";
const NAME_SAID = "device-name-said";
const PREFIX_CHARS_MIN = 4;
