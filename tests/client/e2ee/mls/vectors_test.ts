/**
 * Published MLS vectors against our suite, tree check and join, and our own recorded ones.
 *
 * The published ones are `test-vectors/` of github.com/mlswg/mls-implementations (commit cfd450286d1b, 2026-04-23), 12 MB,
 * and are not in this repository: `FASTCHAT_MLS_VECTORS=DIR deno test -A …/vectors_test.ts` runs them where they lie in DIR.
 * Of their cipher suites ours is number 1. What the library does by itself (tree math, TreeKEM) it tests itself.
 *
 * Ours (`tests/vectors/mls.json`, made by `make_mls.ts` beside it) are what a device saw of an X-Wing group: they fail when a
 * new version of the library, or a change of ours, no longer understands what older ones wrote.
 */
import assert from "node:assert/strict";
import { unprotectPrivateMessage } from "ts-mls/messageProtection.js";
import { decodeRatchetTree } from "ts-mls/ratchetTree.js";
import { createSecretTree } from "ts-mls/secretTree.js";
import { treeHash } from "ts-mls/treeHash.js";
import { leafWidth, root, toNodeIndex } from "ts-mls/treemath.js";
import { expandSenderDataKey, expandSenderDataNonce } from "ts-mls/sender.js";
import { type Holder, joinFromWelcome, JoinRefused, receive } from "../../../../client/e2ee/mls/mod.ts";
import { Credentials } from "../../../../client/e2ee/mls/credential.ts";
import { openWelcome } from "../../../../client/e2ee/mls/join.ts";
import { clientConfig, type Mls } from "../../../../client/e2ee/mls/profile.ts";
import { treeFault } from "../../../../client/e2ee/mls/tree.ts";
import { decodeMessage, decodeWhole } from "../../../../client/e2ee/mls/wire.ts";
import { CONVERSATION, mlsFor, NOW_MS } from "./people.ts";

const DIR = Deno.env.get("FASTCHAT_MLS_VECTORS"), SUITE = 1;

/** Published trees have credentials of their own, which are not ours to judge. */
class AnyCredential extends Credentials {
  override verify(): Promise<Holder | undefined> {
    return Promise.resolve({} as Holder);
  }
}

async function vectors<T>(name: string): Promise<{ readonly mls: Mls; readonly cases: readonly T[] }> {
  const all = JSON.parse(await Deno.readTextFile(`${DIR}/${name}.json`)) as { cipher_suite: number }[];
  const cases = all.filter(({ cipher_suite }) => cipher_suite === SUITE) as T[];
  assert(cases.length > 0, name);
  const { suite, credentials } = await mlsFor();
  return { mls: { suite, credentials: Object.setPrototypeOf(credentials, AnyCredential.prototype) }, cases };
}

function published(name: string, act: () => Promise<void>): void {
  Deno.test({ name: `published vectors: ${name}`, ignore: DIR === undefined, fn: act });
}

const hex = (text: string) => Uint8Array.fromHex(text);

published("tree-validation", async () => {
  interface Case {
    readonly tree: string;
    readonly group_id: string;
    readonly tree_hashes: readonly string[];
  }
  const { mls, cases } = await vectors<Case>("tree-validation");
  for (const { tree: encoded, group_id, tree_hashes } of cases) {
    const tree = decodeWhole(decodeRatchetTree, hex(encoded))!;
    for (const [index, hash] of tree_hashes.entries()) {
      assert.equal((await treeHash(tree, toNodeIndex(index), mls.suite.hash)).toHex(), hash);
    }
    const context = {
      groupId: hex(group_id),
      treeHash: hex(tree_hashes[root(leafWidth(tree.length))]!),
      extensions: [],
    };
    assert.equal(await treeFault(tree, context, mls), undefined);
    // And each is refused when a leaf or parent is another's.
    const filled = [...tree.keys()].filter((index) => tree[index] !== undefined);
    for (const index of filled.filter((index) => index % 2 === 1)) {
      const node = tree[index]!;
      assert(node.nodeType === "parent");
      const bent = tree.with(index, { ...node, parent: { ...node.parent, parentHash: new Uint8Array(32) } });
      const treeHashOf = await treeHash(bent, root(leafWidth(tree.length)), mls.suite.hash);
      // The root has no parent hash of its own to check; below it each breaks a chain.
      if (node.parent.parentHash.length === 0) continue;
      assert.notEqual(await treeFault(bent, { ...context, treeHash: treeHashOf }, mls), undefined, `node ${index}`);
    }
  }
});

for (const name of ["passive-client-welcome", "passive-client-handling-commit", "passive-client-random"]) {
  published(name, async () => {
    interface Case {
      readonly external_psks: readonly unknown[];
      readonly key_package: string;
      readonly signature_priv: string;
      readonly encryption_priv: string;
      readonly init_priv: string;
      readonly welcome: string;
      readonly ratchet_tree: string | null;
      readonly initial_epoch_authenticator: string;
    }
    const { mls, cases } = await vectors<Case>(name);
    for (const vector of cases) {
      const welcome = decodeMessage(hex(vector.welcome)), keyPackage = decodeMessage(hex(vector.key_package));
      assert(welcome?.wireformat === "mls_welcome" && keyPackage?.wireformat === "mls_key_package");
      const keys = {
        initPrivateKey: hex(vector.init_priv),
        hpkePrivateKey: hex(vector.encryption_priv),
        signaturePrivateKey: hex(vector.signature_priv),
      };
      const tree = vector.ratchet_tree === null ? undefined : decodeWhole(decodeRatchetTree, hex(vector.ratchet_tree));
      const join = () => openWelcome(mls, welcome.welcome, keyPackage.keyPackage, keys, tree);
      if (vector.external_psks.length > 0) {
        await assert.rejects(join(), JoinRefused);
        continue;
      }
      assert.equal((await join()).keySchedule.epochAuthenticator.toHex(), vector.initial_epoch_authenticator);
    }
  });
}

published("secret-tree (sender data)", async () => {
  interface Case {
    readonly sender_data: Record<"sender_data_secret" | "ciphertext" | "key" | "nonce", string>;
  }
  const { mls: { suite }, cases } = await vectors<Case>("secret-tree");
  for (const { sender_data: { sender_data_secret, ciphertext, key, nonce } } of cases) {
    assert.equal((await expandSenderDataKey(suite, hex(sender_data_secret), hex(ciphertext))).toHex(), key);
    assert.equal((await expandSenderDataNonce(suite, hex(sender_data_secret), hex(ciphertext))).toHex(), nonce);
  }
});

published("message-protection (private messages)", async () => {
  type Field =
    | "group_id"
    | "tree_hash"
    | "confirmed_transcript_hash"
    | "signature_pub"
    | "encryption_secret"
    | "sender_data_secret"
    | "application"
    | "application_priv";
  const { mls, cases } = await vectors<Record<Field, string> & { readonly epoch: number }>("message-protection");
  const { suite } = mls;
  for (const vector of cases) {
    const groupContext = {
      version: "mls10" as const,
      cipherSuite: suite.name,
      groupId: hex(vector.group_id),
      epoch: BigInt(vector.epoch),
      treeHash: hex(vector.tree_hash),
      confirmedTranscriptHash: hex(vector.confirmed_transcript_hash),
      extensions: [],
    };
    const secretTree = await createSecretTree(2, hex(vector.encryption_secret), suite.kdf);
    const message = decodeMessage(hex(vector.application_priv));
    assert(message?.wireformat === "mls_private_message");
    const { content: { content } } = await unprotectPrivateMessage(
      hex(vector.sender_data_secret),
      message.privateMessage,
      secretTree,
      [undefined, undefined, { nodeType: "leaf", leaf: {} as never }],
      groupContext,
      clientConfig(mls.credentials).keyRetentionConfig,
      suite,
      hex(vector.signature_pub),
    );
    assert(content.contentType === "application");
    assert.equal(content.applicationData.toHex(), vector.application);
  }
});

Deno.test("recorded vectors: a device joins an X-Wing group and follows it", async () => {
  const mls = await mlsFor("x-wing");
  const file = JSON.parse(await Deno.readTextFile(new URL("../../../vectors/mls.json", import.meta.url)));
  const bytes = (text: string) => Uint8Array.fromBase64(text);
  const device = { certificate: bytes(file.device.certificate), leafPkcs8: bytes(file.device.leafPkcs8) };
  const own = {
    ref: file.keyPackage.ref,
    publicBytes: bytes(file.keyPackage.public),
    privateBytes: bytes(file.keyPackage.private),
    lastResort: false,
    notAfterMs: 0,
  };
  let { group } = await joinFromWelcome(mls, {
    conversation: CONVERSATION,
    welcome: bytes(file.welcome),
    sealedTree: bytes(file.sealedTree),
    device,
    keyPackages: (ref) => ref === own.ref ? own : undefined,
    used: () => false,
  });
  assert.equal(group.state.keySchedule.epochAuthenticator.toHex(), file.authenticator);
  for (const { body, kind, sender, text, authenticator } of file.rows) {
    const outcome = await receive(mls, group, bytes(body), { nowMs: NOW_MS });
    assert.equal(outcome.kind, kind);
    assert("group" in outcome);
    ({ group } = outcome);
    assert.equal(group.state.keySchedule.epochAuthenticator.toHex(), authenticator);
    if (outcome.kind !== "message") continue;
    assert.deepEqual([outcome.sender.user, new TextDecoder().decode(outcome.plaintext.content)], [sender, text]);
  }
});
