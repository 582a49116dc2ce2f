/** The tree check on trees that were really made, and on the same ones bent (RFC 9420 §7.9, §12.4.3.1). */
import assert from "node:assert/strict";
import type { ParentNode, RatchetTree } from "ts-mls";
import { treeHashRoot } from "ts-mls/treeHash.js";
import { treeFault } from "../../../../client/e2ee/mls/tree.ts";
import { everybodyDoes, mlsFor, Person } from "./people.ts";

/** Six members, of whom the fourth has updated, and one who came later and is unmerged. */
async function grown(): Promise<readonly [Person, RatchetTree, number]> {
  const mls = await mlsFor(), alice = await (await Person.make(mls, "alice")).create(), everyone = [alice];
  const add = async (names: string[]) => {
    const added = await Promise.all(names.map((name) => Person.make(mls, name)));
    await everybodyDoes(everyone, alice, { add: added });
    everyone.push(...added);
  };
  await add(["b", "c", "d", "e", "f"]);
  await everybodyDoes(everyone, everyone[3]!, {});
  await everybodyDoes(everyone, everyone[5]!, {});
  await add(["g"]);
  const tree = alice.group!.state.ratchetTree;
  const unmerged = tree.findIndex((node) => node?.nodeType === "parent" && node.parent.unmergedLeaves.length > 0);
  assert(unmerged >= 0);
  return [alice, tree, unmerged];
}

async function faultOf({ mls, group }: Person, tree: RatchetTree): Promise<string | undefined> {
  const { groupId, extensions } = group!.state.groupContext;
  // The hash is the bent tree's own, so that each check is reached; a tree of no shape has none.
  const treeHash = await treeHashRoot(tree, mls.suite.hash).catch(() => new Uint8Array());
  return await treeFault(tree, { groupId, extensions, treeHash }, mls);
}

function withParent(tree: RatchetTree, index: number, change: Partial<ParentNode>): RatchetTree {
  const node = tree[index];
  assert(node?.nodeType === "parent");
  return tree.with(index, { nodeType: "parent", parent: { ...node.parent, ...change } });
}

Deno.test("treeFault() finds nothing in a tree that was honestly made, and another hash", async () => {
  const [alice, tree] = await grown(), { groupContext } = alice.group!.state;
  assert.equal(await treeFault(tree, groupContext, alice.mls), undefined);
  const treeHash = groupContext.treeHash.with(0, groupContext.treeHash[0]! ^ 1);
  assert.equal(await treeFault(tree, { ...groupContext, treeHash }, alice.mls), "tree hash differs");
});

Deno.test("treeFault() names what is bent", async () => {
  const [alice, tree, unmerged] = await grown();
  const leaf = tree[2], other = tree[4];
  assert(leaf?.nodeType === "leaf" && other?.nodeType === "leaf");
  const filled = tree.findIndex((node) => node?.nodeType === "parent" && node.parent.parentHash.length > 0);
  const cases: readonly (readonly [RatchetTree, string])[] = [
    [tree.with(1, leaf), "a node is out of place"],
    [[...tree, undefined], "it is not a full tree"],
    // Some bytes each for whoever makes them up, some derivations of keys for whoever takes it.
    [Array(2 ** 15 - 1).fill(undefined).with(0, tree[0]).with(-1, tree[0]), "it has too many leaves"],
    [tree.map((node, index) => index > (tree.length - 1) / 2 ? undefined : node), "its right half is blank"],
    [
      tree.with(4, { nodeType: "leaf", leaf: { ...other.leaf, hpkePublicKey: leaf.leaf.hpkePublicKey } }),
      "an encryption key stands twice",
    ],
    [
      tree.with(4, { nodeType: "leaf", leaf: { ...other.leaf, signaturePublicKey: leaf.leaf.signaturePublicKey } }),
      "a signature key stands twice",
    ],
    [
      tree.with(4, { nodeType: "leaf", leaf: { ...other.leaf, credential: leaf.leaf.credential } }),
      "a credential is bad",
    ],
    [
      tree.with(4, { nodeType: "leaf", leaf: { ...other.leaf, signature: leaf.leaf.signature } }),
      "a leaf's signature is bad",
    ],
    [withParent(tree, filled, { parentHash: new Uint8Array(32) }), "a parent hash does not follow"],
    [withParent(tree, unmerged, { unmergedLeaves: [] }), "a parent hash does not follow"],
    [withParent(tree, unmerged, { unmergedLeaves: [6, 6] }), "an unmerged leaf stands twice"],
    [withParent(tree, unmerged, { unmergedLeaves: [7] }), "an unmerged leaf is blank"],
    [withParent(tree, unmerged, { unmergedLeaves: [1000] }), "an unmerged leaf is blank"],
  ];
  for (const [bent, fault] of cases) {
    if (fault.startsWith("a leaf's") || fault.startsWith("a credential")) {
      // Leaves under filled parents are covered by parent hashes; either finding is right.
      assert([fault, "a parent hash does not follow"].includes(await faultOf(alice, bent) ?? ""), fault);
    } else {
      assert.equal(await faultOf(alice, bent), fault);
    }
  }
});
