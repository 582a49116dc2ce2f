/** Small values for store tests: ids are derived from numbers and names, so that a failure reads well. */
import type {
  CommitListener,
  Committed,
  DevicesChanged,
  GroupNews,
  ReceiptMoved,
  SessionsEnded,
} from "../../../server/bus/bus.ts";
import type { NewUser, Store, StoreAppend } from "../../../server/store/store.ts";
import type { ConversationId, DeviceId, MessageId, UserName } from "../../../shared/protocol/mod.ts";

export function nameOf(text: string): UserName {
  return text as UserName;
}

/** 16 bytes in hex, the same for the same arguments. */
export function idOf<T extends ConversationId | DeviceId | MessageId>(kind: string, ...parts: (string | number)[]): T {
  let high = 0xcbf29ce4n << 32n | 0x84222325n, low = high ^ 0x5bd1e995n;
  for (const byte of new TextEncoder().encode([kind, ...parts].join("/"))) {
    high = BigInt.asUintN(64, (high ^ BigInt(byte)) * 0x100000001b3n);
    low = BigInt.asUintN(64, (low + BigInt(byte)) * 0x9e3779b97f4a7c15n ^ (high >> 7n));
  }
  return (high.toString(16).padStart(16, "0") + low.toString(16).padStart(16, "0")) as T;
}

export function deviceOf(user: string, number = 1): DeviceId {
  return idOf<DeviceId>("device", user, number);
}

export function directOf(...users: [string, string]): ConversationId {
  return idOf<ConversationId>("direct", ...users.toSorted());
}

export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export function newDevice(user: string, number = 1) {
  return { id: deviceOf(user, number), certificate: bytesOf(`certificate of ${user} ${number}`) };
}

export function newUser(name: string): NewUser {
  return {
    name: nameOf(name),
    stretching: { salt: new Uint8Array(16).fill(name.length), log2N: 17 },
    passwordHash: bytesOf(`hash of ${name}`),
    identityKey: bytesOf(`identity of ${name}`),
    backup: bytesOf(`backup of ${name}`),
    device: newDevice(name),
    nowMs: 1_000,
  };
}

/** A record from `sender`'s device to the conversation with `peer`. */
export function recordOf(
  sender: string,
  peer: string,
  message: string | number,
  options: { epoch?: number; body?: Uint8Array; device?: number; nowMs?: number } = {},
): StoreAppend {
  return {
    conversation: directOf(sender, peer),
    messageId: idOf<MessageId>("message", message),
    expectedEpoch: options.epoch ?? 2,
    body: options.body ?? bytesOf(`body ${message}`),
    user: nameOf(sender),
    device: deviceOf(sender, options.device ?? 1),
    nowMs: options.nowMs ?? 5_000,
  };
}

/** Signs up alice and bob (or others) and opens their conversation. */
export async function befriend(store: Store, user = "alice", peer = "bob"): Promise<ConversationId> {
  await store.createUser(newUser(user));
  await store.createUser(newUser(peer));
  await store.openDirect(directOf(user, peer), nameOf(user), nameOf(peer));
  return directOf(user, peer);
}

/** Keeps what a store tells of. */
export class Told implements CommitListener {
  readonly records: Committed[] = [];
  readonly moved: ReceiptMoved[] = [];
  readonly changes: DevicesChanged[] = [];
  readonly ended: SessionsEnded[] = [];
  readonly news: GroupNews[] = [];

  committed(committed: readonly Committed[]): void {
    this.records.push(...committed);
  }

  receipts(moved: readonly ReceiptMoved[]): void {
    this.moved.push(...moved);
  }

  devicesChanged(change: DevicesChanged): void {
    this.changes.push(change);
  }

  sessionsEnded(ended: SessionsEnded): void {
    this.ended.push(ended);
  }

  groupNews(news: GroupNews): void {
    this.news.push(news);
  }
}
