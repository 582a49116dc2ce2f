/**
 * A data directory with people and a past in it, written through the store before any server runs: signing 10,000 people up over
 * the wire would take bcrypt's time, and a million old messages nobody's patience.
 *
 * All share one identity, device key and certificate, and everything about one follows from its number, so that any process of a
 * bench can log in as any of them. Good for nothing but benches on loopback.
 */
import { openBackend } from "../server/store/backend.ts";
import type { Store, StoreAppend } from "../server/store/store.ts";
import { loadClusterKeys } from "../shared/cluster/mod.ts";
import {
  directConversationId,
  Ed25519KeyPair,
  generateRsaPkcs8,
  importPssPrivate,
  makeCertificate,
  makeDeviceProof,
  sha256,
  spkiFromPkcs8,
} from "../shared/crypto/mod.ts";
import { silentLogger } from "../shared/log.ts";
import type { ConversationId, DeviceId, MessageId, UserName } from "../shared/protocol/mod.ts";
import { connectUser, type Doorway, type LoadUser } from "./load.ts";

export interface Population {
  readonly users: number;
  /** So many pairs of neighbours, from the first on, have a past. */
  readonly pairs?: number;
  /** Messages in each of their conversations. */
  readonly messages?: number;
  /** So many groups, of people who follow one another. */
  readonly groups?: { readonly count: number; readonly members: number };
}

/** Makes keys, people and their past in `dataDir`. */
export async function populate(
  dataDir: string,
  { users, pairs = 0, messages = 0, groups }: Population,
): Promise<void> {
  const { clusterId } = await loadClusterKeys(dataDir, { create: true });
  const backend = await openBackend({ dataDir, serverNumber: 0, logger: silentLogger });
  try {
    await addUsers(backend.store, clusterId, users);
    for (let pair = 0; pair < pairs; pair++) {
      const [a, b] = [nameOf(2 * pair), nameOf(2 * pair + 1)];
      const conversation = directConversationId(clusterId, a, b);
      await backend.store.openDirect(conversation, a, b);
      await addMessages(backend.store, conversation, 2 * pair, messages);
    }
    for (let group = 0; group < (groups?.count ?? 0); group++) await addGroup(backend.store, group, groups!.members);
  } finally {
    await backend.close();
  }
}

/** Connects one of them, by its session token. */
export async function connectInhabitant(cluster: Doorway, index: number): Promise<LoadUser> {
  const name = nameOf(index);
  return await connectUser(cluster, name, (remote) =>
    remote.ask<"resume">({
      type: "resume",
      name,
      token: secretOf("token", index),
      device: deviceOf(index),
      proof: makeDeviceProof(leaf(), remote.channel.transcriptHash),
    }));
}

/** Connects so many of them, from the first on. */
export async function connectInhabitants(cluster: Doorway, from: number, to: number): Promise<LoadUser[]> {
  const users: LoadUser[] = [];
  for (let at = from; at < to; at += CONNECT_AT_ONCE) {
    const count = Math.min(CONNECT_AT_ONCE, to - at);
    users.push(...await Promise.all(Array.from({ length: count }, (_, i) => connectInhabitant(cluster, at + i))));
  }
  return users;
}

async function addUsers(store: Store, clusterId: Uint8Array, users: number): Promise<void> {
  const identity = await generateRsaPkcs8(), identityKey = await spkiFromPkcs8(identity), nowMs = Date.now();
  const certificate = await makeCertificate({
    clusterId,
    user: nameOf(0),
    device: deviceOf(0),
    leafKey: leaf().publicKey,
    envelopeKey: identityKey,
    identityKey,
    notBeforeMs: nowMs,
    notAfterMs: nowMs + DAY_MS,
    serial: 1,
  }, await importPssPrivate(identity));
  const add = async (index: number) => {
    const name = nameOf(index), device = deviceOf(index);
    await store.createUser({
      name,
      stretching: { salt: new Uint8Array(16), log2N: 17 },
      passwordHash: new Uint8Array(100),
      identityKey,
      backup: new Uint8Array(0),
      device: { id: device, certificate },
      nowMs,
    });
    const tokenHash = sha256(secretOf("token", index));
    await store.createSession({ tokenHash, user: name, device, expiresMs: nowMs + DAY_MS });
  };
  for (let at = 0; at < users; at += USERS_AT_ONCE) {
    await Promise.all(Array.from({ length: Math.min(USERS_AT_ONCE, users - at) }, (_, i) => add(at + i)));
  }
}

/** Its first member is user `group * members`, and its newest commit {@linkcode GROUP_EPOCH}. */
async function addGroup(store: Store, group: number, members: number): Promise<void> {
  const id = groupOf(group), first = group * members, user = nameOf(first), device = deviceOf(first);
  await store.createGroup(id, user, device);
  const add = Array.from({ length: members - 1 }, (_, at) => nameOf(first + 1 + at));
  const messageId = crypto.getRandomValues(new Uint8Array(16)).toHex() as MessageId, body = new Uint8Array(1000);
  const commit = { user, device, conversation: id, messageId, lastCommit: 0, body, add, nowMs: Date.now() };
  const { status } = await store.commit({ ...commit, remove: [], welcomes: [], tree: new Uint8Array() });
  if (status !== "stored") throw new Error(`Cannot prepare a group: ${status}`);
}

/** Two people in turn. */
async function addMessages(store: Store, conversation: ConversationId, user: number, messages: number): Promise<void> {
  for (let at = 0; at < messages; at += APPENDS_AT_ONCE) {
    const batch: StoreAppend[] = [];
    for (let number = at; number < Math.min(at + APPENDS_AT_ONCE, messages); number++) {
      const sender = user + number % 2;
      // Random, as those of real clients are: where a new one goes in the index is what growth may cost.
      const messageId = crypto.getRandomValues(new Uint8Array(16)).toHex() as MessageId;
      batch.push({
        conversation,
        messageId,
        expectedEpoch: 2,
        body: crypto.getRandomValues(new Uint8Array(BODY_BYTES)),
        user: nameOf(sender),
        device: deviceOf(sender),
        nowMs: Date.now(),
      });
    }
    const results = await store.append(batch);
    const refused = results.find(({ status }) => status !== "stored");
    if (refused !== undefined) throw new Error(`Cannot prepare the past: ${refused.status}`);
  }
}

export function nameOf(index: number): UserName {
  return `p${String(index).padStart(6, "0")}` as UserName;
}

export function groupOf(group: number): ConversationId {
  return secretOf("group", group).toHex().slice(0, 32) as ConversationId;
}

export function deviceOf(index: number): DeviceId {
  return secretOf("device", index).toHex().slice(0, 32) as DeviceId;
}

function secretOf(what: string, index: number): Uint8Array {
  return sha256(new TextEncoder().encode(`fastchat bench ${what} ${index}`));
}

function leaf(): Ed25519KeyPair {
  return leafKey ??= Ed25519KeyPair.fromSeed(secretOf("leaf", 0));
}

/** What members of a group that was populated have to name. */
export const GROUP_EPOCH = 1;
let leafKey: Ed25519KeyPair | undefined;
const DAY_MS = 24 * 3600 * 1000;
const USERS_AT_ONCE = 500;
const APPENDS_AT_ONCE = 2000;
const CONNECT_AT_ONCE = 10;
const BODY_BYTES = 200;
