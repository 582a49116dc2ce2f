/** Alice with two devices and Bob with one, as `sealFor` and `openRecord` want them. */
import { CertificateCache, type OpenRecordOptions, type SealForOptions } from "../../../client/e2ee/mod.ts";
import { directConversationId, NO_PREVIOUS } from "../../../shared/crypto/mod.ts";
import type { DirectoryEntry, MessageId, Record, UserName } from "../../../shared/protocol/mod.ts";
import { TEST_CLUSTER, TEST_NOW_MS, type TestDevice, type TestKeys, testKeys } from "../../keys.ts";

export const ALICE = "alice" as UserName, BOB = "bob" as UserName;
export const CONVERSATION = directConversationId(TEST_CLUSTER, ALICE, BOB);
export const MESSAGE = "aa".repeat(16) as MessageId;

export interface People extends TestKeys {
  readonly certificates: CertificateCache;
  pins: Map<UserName, Uint8Array>;
  directory: Map<UserName, DirectoryEntry>;
}

export async function people(): Promise<People> {
  const keys = await testKeys();
  const { alice, alice2, bob } = keys;
  return {
    ...keys,
    certificates: new CertificateCache(TEST_CLUSTER),
    pins: new Map([[ALICE, alice.identity.fingerprint], [BOB, bob.identity.fingerprint]]),
    directory: new Map([
      [ALICE, entry(ALICE, alice.identity.spki, [alice.certificate, alice2.certificate], 2)],
      [BOB, entry(BOB, bob.identity.spki, [bob.certificate], 1)],
    ]),
  };
}

export function entry(
  name: UserName,
  identityKey: Uint8Array,
  certificates: Uint8Array[],
  deviceRevision: number,
): DirectoryEntry {
  return { name, identityKey, certificates, deviceRevision };
}

/** From Alice's first device to Bob. */
export function sealing(world: People, change: Partial<SealForOptions> = {}): SealForOptions {
  const { alice, directory, pins, certificates } = world;
  return {
    clusterId: TEST_CLUSTER,
    self: { name: ALICE, identity: alice.identity.fingerprint, device: alice.id, leaf: alice.leaf },
    recipient: directory.get(BOB)!,
    own: directory.get(ALICE)!,
    pinned: (name) => pins.get(name),
    certificates,
    messageId: MESSAGE,
    counter: 1,
    previous: NO_PREVIOUS,
    timeMs: TEST_NOW_MS,
    nowMs: TEST_NOW_MS,
    text: "hi",
    ...change,
  };
}

/** The row that a server makes of a body: what it says of it is true unless changed. */
export function row(world: People, body: Uint8Array, change: Partial<Record> = {}): Record {
  return {
    conversation: CONVERSATION,
    seq: 1,
    timeMs: TEST_NOW_MS + 5,
    sender: ALICE,
    device: world.alice.id,
    messageId: MESSAGE,
    body,
    ...change,
  };
}

/** Opened by `reader`: Bob's device, or Alice's other one. */
export function opening(
  world: People,
  reader: TestDevice,
  record: Record,
  change: Partial<OpenRecordOptions> = {},
): OpenRecordOptions {
  return {
    record,
    clusterId: TEST_CLUSTER,
    self: {
      name: reader.user,
      identity: reader.identity.fingerprint,
      device: reader.id,
      envelopePrivate: reader.envelopePrivate,
    },
    peer: reader.user === ALICE ? BOB : ALICE,
    pinned: (name) => world.pins.get(name),
    certificatesOf: (name) => world.directory.get(name)?.certificates ?? [],
    certificates: world.certificates,
    chainOf: () => undefined,
    ...change,
  };
}
