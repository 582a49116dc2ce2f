/**
 * Devices with real certificates for tests of groups, and a log that they all read. RSA keys come from tests/vectors: one
 * identity key stands for everybody, so users differ by name only, except where a test wants a second identity.
 */
import assert from "node:assert/strict";
import { CertificateCache } from "../../../../client/e2ee/mod.ts";
import {
  commitChange,
  type Committed,
  createGroup,
  Credentials,
  epochOf,
  type Group,
  type GroupInfo,
  type Intent,
  joinFromWelcome,
  Kind,
  loadSuite,
  makeKeyPackage,
  type Mls,
  type Outcome,
  type OwnDevice,
  type OwnKeyPackage,
  type Plaintext,
  readKeyPackage,
  receive,
  Role,
  rosterOf,
  sealMessage,
  type SuiteName,
} from "../../../../client/e2ee/mls/mod.ts";
import { Ed25519KeyPair, makeCertificate } from "../../../../shared/crypto/mod.ts";
import type { ConversationId, DeviceId, MessageId, UserName } from "../../../../shared/protocol/mod.ts";
import { TEST_CLUSTER, TEST_NOT_AFTER_MS, TEST_NOT_BEFORE_MS, type TestIdentity, testKeys } from "../../../keys.ts";

export const CONVERSATION = "c0".repeat(16) as ConversationId;
/** The library looks at the wall clock when somebody is added, so these tests must live in the present. */
export const NOW_MS = Date.now();
/** Cheap, and the logic is the same; what differs is tested with X-Wing by name. */
export const QUICK: SuiteName = "x25519";

export async function mlsFor(suite: SuiteName = QUICK): Promise<Mls> {
  return { suite: await loadSuite(suite), credentials: new Credentials(new CertificateCache(TEST_CLUSTER)) };
}

let made = 0;

/** A device of a user, certified by Alice's identity key unless another is given. */
export async function makeDevice(
  user: string,
  { identity, id }: { readonly identity?: TestIdentity; readonly id?: string } = {},
): Promise<OwnDevice & { readonly id: DeviceId }> {
  const { aliceIdentity, alice } = await testKeys();
  const signer = identity ?? aliceIdentity, leaf = Ed25519KeyPair.generate();
  const device = (id ?? (++made).toString(16).padStart(32, "0")) as DeviceId;
  const certificate = await makeCertificate({
    clusterId: TEST_CLUSTER,
    user: user as UserName,
    device,
    leafKey: leaf.publicKey,
    envelopeKey: alice.envelopeKey,
    identityKey: signer.spki,
    notBeforeMs: TEST_NOT_BEFORE_MS,
    notAfterMs: TEST_NOT_AFTER_MS,
    serial: 1,
  }, signer.privateKey);
  return { id: device, certificate, leafPkcs8: leaf.pkcs8 };
}

export async function describe(
  owner: string,
  change: Partial<GroupInfo> = {},
): Promise<GroupInfo> {
  const { aliceIdentity } = await testKeys();
  return {
    kind: Kind.group,
    name: "friends",
    topic: "",
    roles: [{ user: owner as UserName, identity: aliceIdentity.fingerprint.toHex(), role: Role.owner }],
    membersAdd: true,
    historySinceMs: 0,
    invites: [],
    ...change,
  };
}

/** One device with its group; replaced at each step as a client would. */
export class Person {
  group: Group | undefined;
  readonly packages = new Map<string, OwnKeyPackage>();
  readonly used = new Set<string>();
  counter = 0;

  constructor(
    readonly mls: Mls,
    readonly name: string,
    readonly device: OwnDevice & { readonly id: DeviceId },
  ) {}

  static async make(mls: Mls, name: string, options: Parameters<typeof makeDevice>[1] = {}): Promise<Person> {
    return new Person(mls, name, await makeDevice(name, options));
  }

  get epoch(): number {
    return epochOf(this.group!);
  }

  get authenticator(): string {
    return this.group!.state.keySchedule.epochAuthenticator.toHex();
  }

  get members(): string[] {
    return rosterOf(this.group!).members.map(({ user }) => user).sort();
  }

  leafOf(other: Person): number {
    return rosterOf(this.group!).members.find(({ device }) => device === other.device.id)!.leaf;
  }

  async create(change: Partial<GroupInfo> = {}): Promise<this> {
    const info = await describe(this.name, change);
    this.group = await createGroup(this.mls, this.device, { conversation: CONVERSATION, info, nowMs: NOW_MS });
    return this;
  }

  async keyPackage(options: { readonly lastResort?: boolean } = {}): Promise<Uint8Array> {
    const own = await makeKeyPackage(this.mls, this.device, { nowMs: NOW_MS, ...options });
    this.packages.set(own.ref, own);
    return own.publicBytes;
  }

  async seal(text: string, change: Partial<Plaintext> = {}): Promise<Uint8Array> {
    this.counter++;
    const sealed = await sealMessage(this.mls, this.group!, {
      type: 1,
      messageId: this.counter.toString(16).padStart(32, "0") as MessageId,
      counter: this.counter,
      timeMs: NOW_MS,
      content: new TextEncoder().encode(text),
      view: { seq: 0, history: new Uint8Array(32), keyLog: new Uint8Array(32) },
      ...change,
    });
    this.group = sealed.group;
    sealed.wipe();
    return sealed.body;
  }

  /** Makes a commit and leaves it pending. */
  async propose(
    intent: Omit<Intent, "add"> & { readonly add?: readonly Person[] },
    options: Parameters<typeof commitChange>[3] = {},
  ): Promise<Committed> {
    const add = await Promise.all((intent.add ?? []).map(async (person) => {
      const verdict = await readKeyPackage(this.mls, await person.keyPackage(), { nowMs: NOW_MS });
      assert(verdict.ok, verdict.ok ? "" : verdict.reason);
      return verdict;
    }));
    const committed = await commitChange(this.mls, this.group!, { ...intent, add }, options);
    this.group = committed.group;
    return committed;
  }

  async receive(body: Uint8Array, grounds?: Parameters<typeof receive>[3]["grounds"]): Promise<Outcome> {
    const outcome = await receive(this.mls, this.group!, body, {
      nowMs: NOW_MS,
      ...(grounds === undefined ? {} : { grounds }),
    });
    if ("group" in outcome) {
      this.group = outcome.group;
      outcome.wipe();
    }
    return outcome;
  }

  async join({ welcomes, sealedTree }: Committed): Promise<void> {
    const welcome = welcomes.find(({ device }) => device === this.device.id);
    assert(welcome !== undefined && sealedTree !== undefined, "Nobody was added");
    const { group, keyPackage } = await joinFromWelcome(this.mls, {
      conversation: CONVERSATION,
      welcome: welcome.bytes,
      sealedTree,
      device: this.device,
      keyPackages: (ref) => this.packages.get(ref),
      used: (ref) => this.used.has(ref),
    });
    if (!keyPackage.lastResort) {
      this.packages.delete(keyPackage.ref);
      this.used.add(keyPackage.ref);
    }
    this.group = group;
  }
}

/** One commits, everybody reads it, newcomers join. Everybody must agree afterwards. */
export async function everybodyDoes(
  members: readonly Person[],
  author: Person,
  intent: Omit<Intent, "add"> & { readonly add?: readonly Person[] },
): Promise<Committed> {
  const committed = await author.propose(intent);
  for (const member of members) {
    const outcome = await member.receive(committed.body);
    const gone = intent.remove?.includes(member.group!.state.privatePath.leafIndex) ?? false;
    assert.equal(outcome.kind, gone && outcome.kind === "removed" ? "removed" : "commit", JSON.stringify(outcome.kind));
  }
  for (const newcomer of intent.add ?? []) await newcomer.join(committed);
  return committed;
}

/** Everybody holds the same epoch, by its authenticator. */
export function assertAgree(members: readonly Person[]): void {
  for (const member of members) {
    assert.equal(member.epoch, members[0]!.epoch, `${member.name} is in another epoch than ${members[0]!.name}`);
    assert.equal(member.authenticator, members[0]!.authenticator, `${member.name} disagrees with ${members[0]!.name}`);
  }
}
