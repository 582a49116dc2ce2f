/**
 * Whose keys are whose, as far as this home knows: the directory's entries under the pins, and with them sealing and opening.
 * Table `directory`.
 */
import {
  type Certificate,
  decodeCertificate,
  directConversationId,
  equalBytes,
  fingerprint,
  formatFingerprint,
  validityFault,
} from "../../shared/crypto/mod.ts";
import { decode, DecodeError, encode } from "../../shared/codec/mod.ts";
import { ErrorCode } from "../../shared/errors.ts";
import {
  type ConversationId,
  type DeviceId,
  type DirectoryEntry,
  directoryEntry,
  type Record,
  type UserName,
} from "../../shared/protocol/mod.ts";
import type { Database } from "../home/database.ts";
import { CertificateCache, type DeviceKeys, mayTrust, type OpenedRecord, openRecord } from "../e2ee/mod.ts";
import { KeyChangedError, RefusedError } from "../errors.ts";
import type { NoticeEvent } from "../events.ts";
import type { KeyLog } from "./key_log.ts";
import type { Pins } from "./pins.ts";
import type { Remote } from "../network/remote.ts";

/** Who this home is. */
export interface Self {
  readonly name: UserName;
  /** Fingerprint of the own identity, 32 bytes. */
  readonly identity: Uint8Array;
  readonly keys: DeviceKeys;
  /** 16 bytes. */
  readonly clusterId: Uint8Array;
}

/** Where a conversation is kept that was opened to write to somebody new. */
export interface DirectConversations {
  with(peer: UserName): unknown;
  add(
    conversation: { readonly id: ConversationId; readonly peer: UserName; readonly cursor: number },
  ): void;
}

export interface KeyringOptions {
  readonly database: Database;
  readonly conversations: DirectConversations;
  readonly pins: Pins;
  readonly self: Self;
  readonly keyLog: KeyLog;
  onNotice(notice: NoticeEvent): void;
}

export class Keyring {
  readonly #options: KeyringOptions;
  readonly #certificates: CertificateCache;
  /** Who was looked up on a connection: that holds until the server says that devices changed. */
  readonly #looked = new WeakMap<Remote, Set<UserName>>();
  /** Devices that the directory, asked on that connection, did not know. */
  readonly #missing = new WeakMap<Remote, Set<DeviceId>>();
  readonly #fetching = new Map<UserName, Promise<void>>();

  constructor(options: KeyringOptions) {
    this.#options = options;
    this.#certificates = new CertificateCache(options.self.clusterId);
  }

  /**
   * The direct conversation with somebody, which is made where there is none; asks the directory, once on a connection, and pins at
   * first use.
   *
   * @throws KeyChangedError, RefusedError for a name nobody has, ConnectionLostError.
   */
  async direct(peer: UserName, remote: Remote): Promise<ConversationId> {
    const { self } = this.#options, names = [peer, self.name];
    let known = this.#looked.get(remote);
    if (known === undefined) this.#looked.set(remote, known = new Set());
    const isKnown = names.every((name) => known.has(name));
    await Promise.all([this.#openDirect(peer, remote), isKnown ? undefined : this.fetch(names, remote)]);
    if (this.entry(peer) === undefined) throw unknownName(peer);
    this.requireKnown([peer]);
    // What stops one is asked for again.
    for (const name of names) known.add(name);
    return directConversationId(self.clusterId, self.name, peer);
  }

  /** @throws KeyChangedError where another identity is shown for one of them, or oneself, than the one that counts. */
  requireKnown(names: readonly UserName[]): void {
    const { self, pins } = this.#options, own = this.entry(self.name);
    for (const name of names) {
      const offered = name === self.name ? undefined : pins.offered(name);
      if (offered !== undefined) throw pins.changed(name, offered);
    }
    const shown = own && fingerprint(own.identityKey);
    if (shown === undefined || equalBytes(shown, self.identity)) return;
    const change = {
      kind: "peer",
      subject: self.name,
      pinned: formatFingerprint(self.identity),
      offered: formatFingerprint(shown),
    } as const;
    throw new KeyChangedError(
      change,
      `The server shows others the key ${change.offered} as yours, but yours is ${change.pinned}: nothing was sent`,
    );
  }

  /** This device's own certificate, encoded. @throws RefusedError where the server shows none that is good. */
  async ownCertificate(remote: Remote): Promise<Uint8Array> {
    const { self } = this.#options;
    const find = async () => {
      for (const bytes of this.entry(self.name)?.certificates ?? []) {
        const verdict = await this.#certificates.verify(bytes);
        if (!verdict.ok || !equalBytes(verdict.identity, self.identity)) continue;
        const { user, device, leafKey } = verdict.certificate;
        if (user === self.name && device === self.keys.id && equalBytes(leafKey, self.keys.leaf.publicKey)) {
          return bytes;
        }
      }
      return undefined;
    };
    const known = await find();
    if (known !== undefined) return known;
    await this.fetch([self.name], remote);
    const found = await find();
    if (found !== undefined) return found;
    throw new RefusedError("The server shows no certificate of this device", ErrorCode.badCertificate);
  }

  /** Opens a row of the conversation with `peer`, asking the directory where the home does not know enough. */
  async open(record: Record, peer: UserName, remote: Remote): Promise<OpenedRecord> {
    const { name } = this.#options.self;
    if (peer !== name && this.#options.pins.pinned(peer) === undefined) await this.fetch([peer], remote);
    const opened = await this.#open(record, peer);
    if (opened.kind !== "refused") return opened;
    // A device that came after we last asked, or an identity that is not the pinned one: ask, and judge again.
    if (opened.code !== "unknown device" && opened.code !== "identity changed") return opened;
    await this.fetch([peer, name], remote);
    return await this.#open(record, peer);
  }

  /** Opens with what the home knows. */
  async reopen(record: Record, peer: UserName): Promise<OpenedRecord> {
    return await this.#open(record, peer);
  }

  /**
   * The certificate of a device of somebody, by their pinned identity. Where the home knows none, the directory is asked, once for
   * each device on a connection.
   */
  async certificateOf(
    name: UserName,
    device: DeviceId,
    ready: () => Promise<Remote>,
  ): Promise<Certificate | undefined> {
    const known = await this.#certificateOf(name, device);
    if (known !== undefined) return known;
    const remote = await ready();
    let missing = this.#missing.get(remote);
    if (missing === undefined) this.#missing.set(remote, missing = new Set());
    if (missing.has(device) || missing.size >= MISSING_MAX) return undefined;
    missing.add(device);
    await this.fetch([name], remote);
    const found = await this.#certificateOf(name, device);
    if (found !== undefined) missing.delete(device);
    return found;
  }

  /** As {@linkcode certificateOf}, encoded. */
  async encodedCertificateOf(
    name: UserName,
    device: DeviceId,
    ready: () => Promise<Remote>,
  ): Promise<Uint8Array | undefined> {
    const known = await this.certificateOf(name, device, ready);
    return this.entry(name)?.certificates.find((bytes) => {
      const certificate = known && readCertificate(bytes);
      return certificate?.device === device && certificate.serial === known!.serial;
    });
  }

  async #certificateOf(name: UserName, device: DeviceId): Promise<Certificate | undefined> {
    const pinned = this.pinned(name);
    if (pinned === undefined) return undefined;
    let found: Certificate | undefined;
    for (const bytes of this.entry(name)?.certificates ?? []) {
      const verdict = await this.#certificates.verify(bytes);
      if (!verdict.ok || !equalBytes(verdict.identity, pinned)) continue;
      const { certificate } = verdict;
      if (certificate.user !== name || certificate.device !== device) continue;
      if (validityFault(certificate, Date.now()) !== undefined) continue;
      if (found === undefined || certificate.serial > found.serial) found = certificate;
    }
    return found;
  }

  /** The server says that devices of somebody came or went. */
  async devicesChanged(name: UserName, remote: Remote): Promise<void> {
    this.#missing.delete(remote);
    this.#looked.get(remote)?.delete(name);
    await this.fetch([name], remote);
  }

  /**
   * Accepts the identity that the server shows for somebody now.
   *
   * @returns Its fingerprint.
   * @throws KeyChangedError where it is not the very one that the person was warned of: it could be swapped in between.
   */
  async trust(name: UserName, remote: Remote): Promise<Uint8Array> {
    const { entries } = await remote.ask<"directory">({ type: "directory", names: [name] });
    const entry = entries.find((entry) => entry.name === name);
    if (entry === undefined) throw unknownName(name);
    const shown = fingerprint(entry.identityKey), { pins } = this.#options, warned = pins.offered(name);
    // At first contact, and where the server shows the pinned one, there is nothing to be warned of.
    if (pins.check(name, shown, Date.now()) === "changed" && !mayTrust(warned, shown)) throw pins.changed(name, shown);
    const vetted = await this.#options.keyLog.vet(entry);
    pins.trust(name, shown, Date.now());
    this.#keep(vetted);
    return shown;
  }

  /** Asks whose identity the server shows for a name now, and pins it at first contact. @throws RefusedError for a name nobody has. */
  async meet(name: UserName, remote: Remote): Promise<void> {
    const { entries } = await remote.ask<"directory">({ type: "directory", names: [name] });
    const entry = entries.find((entry) => entry.name === name);
    if (entry === undefined) throw unknownName(name);
    await this.#learn(entry);
  }

  /** What the home last heard of somebody. */
  entry(name: UserName): DirectoryEntry | undefined {
    const row = this.#options.database.get("SELECT entry FROM directory WHERE name = ?", name);
    return row && decode(directoryEntry, row["entry"] as Uint8Array);
  }

  async #openDirect(peer: UserName, remote: Remote): Promise<void> {
    const { conversations, self } = this.#options;
    if (conversations.with(peer) !== undefined) return;
    const { head } = await remote.ask<"openDirect">({ type: "openDirect", peer });
    const id = directConversationId(self.clusterId, self.name, peer);
    if (head.conversation !== id) {
      throw new RefusedError(`The server names another conversation than the one with ${peer}`, ErrorCode.internal);
    }
    conversations.add({ id, peer, cursor: head.cursor });
  }

  async #open(record: Record, peer: UserName): Promise<OpenedRecord> {
    const { self } = this.#options;
    return await openRecord({
      record,
      clusterId: self.clusterId,
      self: {
        name: self.name,
        identity: self.identity,
        device: self.keys.id,
        envelopePrivate: self.keys.envelopePrivate,
      },
      peer,
      pinned: (name) => this.pinned(name),
      certificatesOf: (name) => this.entry(name)?.certificates ?? [],
      certificates: this.#certificates,
      // Rows are opened side by side, so their order is judged where they are applied.
      chainOf: () => undefined,
    });
  }

  /** Fingerprint of the identity that counts for somebody; of oneself one's own. */
  pinned(name: UserName): Uint8Array | undefined {
    const { self, pins } = this.#options;
    return name === self.name ? self.identity : pins.pinned(name);
  }

  /** Compares an identity with the pin, and pins it where there is none: of somebody who was met in a group. */
  check(name: UserName, shown: Uint8Array): "pinned" | "known" | "changed" {
    const outcome = this.#options.pins.check(name, shown, Date.now());
    if (outcome === "pinned") this.#tellPinned(name, shown);
    return outcome;
  }

  /** Whether somebody is shown under another identity than the one that counts, and nobody has accepted that. */
  isChanged(name: UserName): boolean {
    return this.#options.pins.offered(name) !== undefined;
  }

  /** What stops sending to a changed identity. */
  changed(name: UserName, offered: Uint8Array): KeyChangedError {
    return this.#options.pins.changed(name, offered);
  }

  #tellPinned(name: UserName, shown: Uint8Array): void {
    const text = `First contact with ${name}, whose key is ${formatFingerprint(shown)}: unverified; ` +
      `to be sure: fastchat verify ${name}`;
    this.#options.onNotice({ type: "notice", code: "peer-pinned", name, text });
  }

  /** Asks the directory for those names that nobody is asking for right now, and waits for the others' answers. */
  async fetch(names: readonly UserName[], remote: Remote): Promise<void> {
    const missing = [...new Set(names)].filter((name) => !this.#fetching.has(name));
    if (missing.length > 0) {
      const asking = remote.ask<"directory">({ type: "directory", names: missing }).then(async ({ entries }) => {
        for (const entry of entries) if (missing.includes(entry.name)) await this.#learn(entry);
      }).finally(() => {
        for (const name of missing) this.#fetching.delete(name);
      });
      for (const name of missing) this.#fetching.set(name, asking);
    }
    await Promise.all(names.map((name) => this.#fetching.get(name)));
  }

  /** @throws KeyLogError where the directory and the key log contradict one another. */
  async #learn(shownEntry: DirectoryEntry): Promise<void> {
    const { pins, self, keyLog, onNotice } = this.#options, { name } = shownEntry;
    const shown = fingerprint(shownEntry.identityKey), pinned = this.pinned(name);
    // A changed identity blocks whatever the log says; where it says that the old one has signed it, people are told so.
    const entry = pinned === undefined || equalBytes(pinned, shown) ? await keyLog.vet(shownEntry) : shownEntry;
    if (entry === shownEntry) await keyLog.catchUp();
    const before = this.entry(name);
    this.#keep(entry);
    if (name !== self.name) {
      const outcome = pins.check(name, shown, Date.now());
      if (outcome === "pinned") {
        this.#tellPinned(name, shown);
      } else if (outcome === "changed") {
        return onNotice({ type: "notice", code: "key-changed", name, text: pins.changed(name, shown).message });
      }
    }
    if (before === undefined) return;
    const old = new Set(before.certificates.map(deviceOf));
    for (const device of entry.certificates.map(deviceOf)) {
      // One's own are told of by the key log, until they are acknowledged.
      if (device === undefined || old.has(device) || name === self.name) continue;
      onNotice({ type: "notice", code: "device-added", name, text: `${name} added a device (${device.slice(0, 8)}…)` });
    }
  }

  #keep(entry: DirectoryEntry): void {
    this.#options.database.transaction(() =>
      this.#options.database.run(
        "INSERT INTO directory (name, entry) VALUES (?, ?) ON CONFLICT DO UPDATE SET entry = excluded.entry",
        entry.name,
        encode(directoryEntry, entry),
      )
    );
  }
}

/** A server that makes devices up gets no more questions. */
const MISSING_MAX = 256;

function deviceOf(certificate: Uint8Array): DeviceId | undefined {
  return readCertificate(certificate)?.device;
}

function readCertificate(bytes: Uint8Array): Certificate | undefined {
  try {
    return decodeCertificate(bytes);
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

function unknownName(name: UserName): RefusedError {
  return new RefusedError(`There is nobody called ${name}`, ErrorCode.unknownName);
}
