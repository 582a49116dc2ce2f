/**
 * A home with a group of many and a message of its own in it, to which the others' receipts come: for `bench receipts`. Real
 * certificates, signatures and tables; only the network is left out. All share one identity, as in population.ts.
 */
import { join } from "node:path";
import process from "node:process";
import { DeviceKeys } from "../client/e2ee/mod.ts";
import type { NoticeEvent } from "../client/events.ts";
import type { KeyLog } from "../client/trust/key_log.ts";
import { Keyring } from "../client/trust/keyring.ts";
import type { Link } from "../client/network/link.ts";
import { type HomeParts, openHome } from "../client/home_parts.ts";
import { Pins } from "../client/trust/pins.ts";
import { Receipts } from "../client/talk/receipts.ts";
import { encode } from "../shared/codec/mod.ts";
import {
  Ed25519KeyPair,
  fingerprint,
  generateRsaPkcs8,
  importPssPrivate,
  makeCertificate,
  sha256,
  signReceipt,
  spkiFromPkcs8,
} from "../shared/crypto/mod.ts";
import {
  type ConversationId,
  type DeviceId,
  directoryEntry,
  type MessageId,
  type Receipt,
  type UserName,
} from "../shared/protocol/mod.ts";
import { pause } from "./workload.ts";

const CLUSTER = new Uint8Array(16);
const GROUP = "60".repeat(16) as ConversationId;
const SELF = "me" as UserName;

interface Other {
  readonly name: UserName;
  readonly device: DeviceId;
  readonly leaf: Ed25519KeyPair;
}

/** What a run of receipts took of the client that is their author's. */
export interface Reading {
  readonly cpuMs: number;
  readonly states: number;
  readonly transactions: number;
}

export class Reader {
  readonly #parts: HomeParts;
  readonly #receipts: Receipts;
  readonly #others: readonly Other[];
  #head = 1;
  #transactions = 0;

  private constructor(parts: HomeParts, receipts: Receipts, others: readonly Other[]) {
    this.#parts = parts;
    this.#receipts = receipts;
    this.#others = others;
    parts.database.onCommit(() => this.#transactions++);
  }

  /** @param members With the one who reads. */
  static async make(folder: string, members: number): Promise<Reader> {
    const parts = openHome(join(folder, `home-${members}`)),
      { database, conversations, history, shown, states, settings } = parts;
    const pkcs8 = await generateRsaPkcs8(), identityKey = await spkiFromPkcs8(pkcs8);
    const signing = await importPssPrivate(pkcs8), identity = fingerprint(identityKey);
    const pins = new Pins(database, CLUSTER), others: Other[] = [];
    for (let number = 1; number < members; number++) {
      const name = `p${number}` as UserName, leaf = Ed25519KeyPair.generate();
      const device = sha256(new TextEncoder().encode(name)).toHex().slice(0, 32) as DeviceId;
      const certificate = await makeCertificate({
        clusterId: CLUSTER,
        user: name,
        device,
        leafKey: leaf.publicKey,
        envelopeKey: identityKey,
        identityKey,
        notBeforeMs: 0,
        notAfterMs: Date.now() * 2,
        serial: 1,
      }, signing);
      const entry = encode(directoryEntry, { name, identityKey, deviceRevision: 1, certificates: [certificate] });
      database.run("INSERT INTO directory (name, entry) VALUES (?, ?)", name, entry);
      pins.check(name, identity, 0);
      others.push({ name, device, leaf });
    }
    const self = { name: SELF, identity, keys: await DeviceKeys.generate(), clusterId: CLUSTER };
    const onNotice = ({ text }: NoticeEvent) => {
      throw new Error(text);
    };
    const keyLog = {} as KeyLog, link = { remote: undefined } as unknown as Link;
    const keyring = new Keyring({ database, conversations, pins, self, keyLog, onNotice });
    const receipts = new Receipts({
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
    database.transaction(() => {
      conversations.addGroup({ id: GROUP, cursor: 1 });
      const everybody = [SELF, ...others.map(({ name }) => name)].map((name) => ({ name, role: "member" as const }));
      conversations.setGroup(GROUP, { name: "bench", topic: "", ended: false, members: everybody });
      states.setRoster(GROUP, 1, others.map(({ name, device }) => ({ user: name, device })));
    });
    const reader = new Reader(parts, receipts, others);
    // Certificates are judged once in a process, whatever is said with them.
    await reader.measure({ messages: 1, overMs: 0 });
    return reader;
  }

  /** This person writes `messages`, and all others' receipts for all of them come, one each, within `overMs`. */
  async measure({ messages, overMs }: { readonly messages: number; readonly overMs: number }): Promise<Reading> {
    for (let left = messages; left > 0; left--) this.#write();
    const { database, states } = this.#parts, head = this.#head, hash = hashOf(head);
    const signed = this.#others.map(({ name, device, leaf }): Receipt => {
      const statement = { conversation: GROUP, user: name, device, delivered: head, hash, read: 0 };
      return { ...statement, signature: signReceipt(leaf, CLUSTER, statement) };
    });
    const last = database.get("SELECT max(position) AS at FROM states")!["at"] as number;
    const before = process.cpuUsage();
    this.#transactions = 0;
    const turns = Math.max(1, Math.floor(overMs / TURN_MS)), each = Math.ceil(signed.length / turns);
    for (let at = 0; at < signed.length; at += each) {
      for (const receipt of signed.slice(at, at + each)) this.#receipts.received(receipt);
      if (turns > 1) await pause(TURN_MS);
    }
    while (states.counts(GROUP, head).delivered < this.#others.length) await pause(20);
    const { user, system } = process.cpuUsage(before);
    const count = database.get("SELECT count(*) AS count FROM states WHERE position > ?", last)!["count"] as number;
    return { cpuMs: (user + system) / 1000, states: count, transactions: this.#transactions };
  }

  close(): void {
    this.#receipts.close();
    this.#parts.database.close();
  }

  #write(): void {
    const { database, conversations, states } = this.#parts, seq = ++this.#head;
    const id = seq.toString(16).padStart(32, "0") as MessageId, to = "#bench", timeMs = Date.now();
    database.transaction(() => {
      database.run(
        `INSERT INTO messages (conversation, seq, id, kind, sender, recipient, device, time_ms, own, text, hash)
         VALUES (?, ?, ?, 1, ?, '', ?, ?, 1, '', ?)`,
        GROUP,
        seq,
        id,
        SELF,
        "00".repeat(16),
        timeMs,
        hashOf(seq),
      );
      conversations.setCursor(GROUP, seq, hashOf(seq));
      states.stored({ id, conversation: GROUP, seq, to, timeMs, devices: [] });
    });
  }
}

function hashOf(seq: number): Uint8Array {
  return sha256(new TextEncoder().encode(`body ${seq}`));
}

/** What a server has gathered goes out together. */
const TURN_MS = 250;
