/**
 * What somebody with a library and no scruples can sign: leaves, commits and Welcomes that are well-formed and lie (SECURITY M3, M5,
 * M8). Each is good but for one thing, so that nothing else can be why it is refused.
 */
import assert from "node:assert/strict";
import type { ClientState, GroupInfo as MlsGroupInfo, KeyPackage, RatchetTree } from "ts-mls";
import { createCommit } from "ts-mls/createCommit.js";
import { extractWelcomeSecret, signGroupInfo } from "ts-mls/groupInfo.js";
import { generateKeyPackageWithKey, makeKeyPackageRef, signKeyPackage } from "ts-mls/keyPackage.js";
import { signLeafNodeKeyPackage } from "ts-mls/leafNode.js";
import { treeHashRoot } from "ts-mls/treeHash.js";
import { leafToNodeIndex, toLeafIndex } from "ts-mls/treemath.js";
import { decryptGroupInfo, decryptGroupSecrets, encryptGroupInfo, encryptGroupSecrets } from "ts-mls/welcome.js";
import { makeCredential } from "../../../../client/e2ee/mls/credential.ts";
import { encodeNotes, NO_NOTES } from "../../../../client/e2ee/mls/commit_notes.ts";
import { openWelcome } from "../../../../client/e2ee/mls/join.ts";
import { privateKeysOf, publicPackageOf } from "../../../../client/e2ee/mls/key_packages.ts";
import { joinFromWelcome, JoinRefused, readKeyPackage } from "../../../../client/e2ee/mls/mod.ts";
import { capabilities, LIFETIME_S } from "../../../../client/e2ee/mls/profile.ts";
import { decodeMessage, encodeMessage } from "../../../../client/e2ee/mls/wire.ts";
import { Ed25519KeyPair, makeCertificate } from "../../../../shared/crypto/mod.ts";
import type { DeviceId, UserName } from "../../../../shared/protocol/mod.ts";
import { TEST_CLUSTER, TEST_NOT_AFTER_MS, TEST_NOT_BEFORE_MS, testKeys } from "../../../keys.ts";
import { CONVERSATION, everybodyDoes, makeDevice, mlsFor, NOW_MS, Person } from "./people.ts";

async function friends(...names: string[]): Promise<Person[]> {
  const mls = await mlsFor(), [first, ...others] = await Promise.all(names.map((name) => Person.make(mls, name)));
  await first!.create();
  await everybodyDoes([first!], first!, { add: others });
  return [first!, ...others];
}

/** A key package with all signatures right, of whatever certificate, signature key and encryption key. */
async function forgedPackage(
  { suite }: Person["mls"],
  { certificate, leaf, hpkePublicKey }: {
    readonly certificate: Uint8Array;
    readonly leaf: Ed25519KeyPair;
    readonly hpkePublicKey?: Uint8Array;
  },
) {
  const nowS = BigInt(Math.floor(NOW_MS / 1000)),
    lifetime = { notBefore: nowS - 60n, notAfter: nowS + BigInt(LIFETIME_S) };
  const keys = { signKey: leaf.pkcs8, publicKey: leaf.publicKey };
  const credential = makeCredential(certificate);
  const { publicPackage } = await generateKeyPackageWithKey(credential, capabilities(suite), lifetime, [], keys, suite);
  if (hpkePublicKey === undefined) return publicPackage;
  const { leafNode } = publicPackage;
  assert(leafNode.leafNodeSource === "key_package");
  const signed = await signLeafNodeKeyPackage({ ...leafNode, hpkePublicKey }, leaf.pkcs8, suite.signature);
  return await signKeyPackage({ ...publicPackage, leafNode: signed }, leaf.pkcs8, suite.signature);
}

/** A certificate of a user's device for a leaf key of one's choice. */
async function certificateFor(user: string, device: DeviceId, leafKey: Uint8Array): Promise<Uint8Array> {
  const { aliceIdentity, alice } = await testKeys();
  return await makeCertificate({
    clusterId: TEST_CLUSTER,
    user: user as UserName,
    device,
    leafKey,
    envelopeKey: alice.envelopeKey,
    identityKey: aliceIdentity.spki,
    notBeforeMs: TEST_NOT_BEFORE_MS,
    notAfterMs: TEST_NOT_AFTER_MS,
    serial: 2,
  }, aliceIdentity.privateKey);
}

async function assertSkipped(members: readonly Person[], body: Uint8Array, reason: string): Promise<void> {
  for (const member of members) {
    const before = member.group, outcome = await member.receive(body);
    assert.deepEqual([outcome.kind, "reason" in outcome && outcome.reason], ["skipped", reason], member.name);
    assert.equal(member.group, before);
  }
}

/** A state whose owner looks at nobody's credential. */
function careless({ group }: Person): ClientState {
  const { state } = group!, authService = { validateCredential: () => Promise.resolve(true) };
  return { ...state, clientConfig: { ...state.clientConfig, authService } };
}

async function addOf(by: Person, keyPackage: KeyPackage): Promise<Uint8Array> {
  const { commit } = await createCommit({ state: careless(by), cipherSuite: by.mls.suite }, {
    authenticatedData: encodeNotes(NO_NOTES),
    extraProposals: [{ proposalType: "add", add: { keyPackage } }],
  });
  return encodeMessage(commit);
}

Deno.test("Credentials: somebody's certificate lets nobody in who signs with another key than it names", async () => {
  const [alice, bob] = await friends("alice", "bob") as [Person, Person];
  const { certificate } = await makeDevice("carol"), leaf = Ed25519KeyPair.generate();
  const keyPackage = await forgedPackage(alice.mls, { certificate, leaf });
  const encoded = encodeMessage({ version: "mls10", wireformat: "mls_key_package", keyPackage });
  assert.deepEqual(await readKeyPackage(alice.mls, encoded, { nowMs: NOW_MS }), {
    ok: false,
    reason: "bad credential",
  });
  await assertSkipped([alice], await addOf(bob, keyPackage), "bad credential");
});

Deno.test("receive() counts no commit by which its author takes another name, device or identity", async () => {
  const [alice, bob] = await friends("alice", "bob") as [Person, Person];
  const leaf = Ed25519KeyPair.fromPkcs8(bob.device.leafPkcs8);
  const others: readonly (readonly [string, DeviceId])[] = [["alice", bob.device.id], [
    "bob",
    "f".repeat(32) as DeviceId,
  ]];
  for (const [user, device] of others) {
    const credential = makeCredential(await certificateFor(user, device, leaf.publicKey));
    const { state } = bob.group!,
      at = leafToNodeIndex(toLeafIndex(state.privatePath.leafIndex)),
      own = state.ratchetTree[at];
    assert(own?.nodeType === "leaf");
    const ratchetTree = state.ratchetTree.with(at, { nodeType: "leaf", leaf: { ...own.leaf, credential } });
    const { commit } = await createCommit({ state: { ...state, ratchetTree }, cipherSuite: bob.mls.suite }, {
      authenticatedData: encodeNotes(NO_NOTES),
    });
    await assertSkipped([alice], encodeMessage(commit), "changes who its author is");
  }
});

Deno.test("receive() counts no commit that brings an encryption key in a second time", async () => {
  const [alice, bob] = await friends("alice", "bob") as [Person, Person];
  const leaf = Ed25519KeyPair.generate(),
    certificate = await certificateFor("bob", "e".repeat(32) as DeviceId, leaf.publicKey);
  const hers = alice.group!.state.ratchetTree[0];
  assert(hers?.nodeType === "leaf");
  const { hpkePublicKey } = hers.leaf;
  await assertSkipped(
    [alice],
    await addOf(bob, await forgedPackage(alice.mls, { certificate, leaf, hpkePublicKey })),
    "repeats a key",
  );
});

interface Parts {
  readonly info: MlsGroupInfo;
  readonly secrets: NonNullable<Awaited<ReturnType<typeof decryptGroupSecrets>>>;
  readonly tree: RatchetTree;
}

/** A Welcome as Alice's changed client makes it: opened, changed, signed by her and sealed again. */
async function forgedWelcome(change: (parts: Parts, alice: Person) => Promise<Partial<Parts>> | Partial<Parts>) {
  const [alice] = await friends("alice", "bob", "dave") as [Person], carol = await Person.make(alice.mls, "carol");
  const { suite } = alice.mls, noPsk = new Uint8Array(suite.kdf.size);
  const { welcomes: [made], group } = await alice.propose({ add: [carol] }), message = decodeMessage(made!.bytes);
  assert(message?.wireformat === "mls_welcome");
  const { welcome } = message, own = [...carol.packages.values()].at(-1)!, keyPackage = publicPackageOf(own);
  const ref = await makeKeyPackageRef(keyPackage, suite.hash), keys = privateKeysOf(own, carol.device);
  const initKey = await suite.hpke.importPrivateKey(keys.initPrivateKey);
  const secrets = (await decryptGroupSecrets(initKey, ref, welcome, suite.hpke))!;
  const info = (await decryptGroupInfo(welcome, secrets.joinerSecret, noPsk, suite))!,
    tree = group.pending!.state.ratchetTree;
  const before = { info, secrets, tree }, after = { ...before, ...await change(before, alice) };
  const signed = await signGroupInfo(after.info, alice.device.leafPkcs8, suite.signature);
  const welcomeSecret = await extractWelcomeSecret(after.secrets.joinerSecret, noPsk, suite.kdf);
  const encryptedGroupInfo = await encryptGroupInfo(signed, welcomeSecret, suite);
  const initPublic = await suite.hpke.importPublicKey(keyPackage.initKey);
  const { enc, ct } = await encryptGroupSecrets(initPublic, encryptedGroupInfo, after.secrets, suite.hpke);
  const forged = {
    ...welcome,
    encryptedGroupInfo,
    secrets: [{ newMember: ref, encryptedGroupSecrets: { kemOutput: enc, ciphertext: ct } }],
  };
  return await openWelcome(carol.mls, forged, keyPackage, privateKeysOf(own, carol.device), after.tree);
}

Deno.test("openWelcome() opens what is sealed again unchanged, so that each refusal here has its own reason", async () => {
  const { groupContext } = await forgedWelcome(() => ({}));
  assert.equal(groupContext.groupId.toHex(), CONVERSATION);
});

for (
  const [what, change, reason] of [
    ["a confirmation tag of nobody's", ({ info }) => ({
      info: { ...info, confirmationTag: info.confirmationTag.with(0, info.confirmationTag[0]! ^ 1) },
    }), /its confirmation tag is bad/],
    ["a pre-shared key", ({ secrets }) => ({
      secrets: {
        ...secrets,
        psks: [{ psktype: "external", pskId: new Uint8Array(4), pskNonce: new Uint8Array(32) }],
      } as never,
    }), /it wants a pre-shared key/],
    ["a path to other keys than the tree's", ({ secrets }) => ({
      secrets: { ...secrets, pathSecret: new Uint8Array(secrets.joinerSecret.length) },
    }), /its path does not lead to the tree's keys/],
    ["another's word for the signer", ({ info }) => ({ info: { ...info, signer: 1 } }), /its signature is bad/],
    ["a tree in which a key stands twice", async ({ info, tree }, { mls: { suite } }) => {
      const [one, other] = [tree[0], tree[2]];
      assert(one?.nodeType === "leaf" && other?.nodeType === "leaf");
      const { hpkePublicKey } = one.leaf;
      const bent = tree.with(2, { nodeType: "leaf", leaf: { ...other.leaf, hpkePublicKey } });
      const treeHash = await treeHashRoot(bent, suite.hash);
      return { tree: bent, info: { ...info, groupContext: { ...info.groupContext, treeHash } } };
    }, /its tree is invalid: an encryption key stands twice/],
  ] as readonly (readonly [string, Parameters<typeof forgedWelcome>[0], RegExp])[]
) {
  Deno.test(`openWelcome() refuses ${what}`, async () => {
    await assert.rejects(forgedWelcome(change), (error) => {
      assert(error instanceof JoinRefused, String(error));
      assert.match(error.message, reason);
      return true;
    });
  });
}

Deno.test("joinFromWelcome() refuses a group in which two leaves go by one device", async () => {
  const [alice, bob] = await friends("alice", "bob") as [Person, Person], carol = await Person.make(alice.mls, "carol");
  const leaf = Ed25519KeyPair.generate(), certificate = await certificateFor("bob", bob.device.id, leaf.publicKey);
  await carol.keyPackage();
  const packages = [
    await forgedPackage(alice.mls, { certificate, leaf }),
    publicPackageOf([...carol.packages.values()][0]!),
  ];
  const { commit: _, welcome } = await createCommit({ state: alice.group!.state, cipherSuite: alice.mls.suite }, {
    authenticatedData: encodeNotes(NO_NOTES),
    extraProposals: packages.map((keyPackage) => ({ proposalType: "add", add: { keyPackage } }) as const),
    ratchetTreeExtension: true,
  });
  const joining = joinFromWelcome(carol.mls, {
    conversation: CONVERSATION,
    welcome: encodeMessage({ version: "mls10", wireformat: "mls_welcome", welcome: welcome! }),
    device: carol.device,
    keyPackages: (ref) => carol.packages.get(ref),
    used: () => false,
  });
  await assert.rejects(joining, /a device is in its tree twice/);
});
