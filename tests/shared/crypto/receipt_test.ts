import assert from "node:assert/strict";
import { type Receipt } from "../../../shared/protocol/mod.ts";
import { isReceipt, NOTHING_DELIVERED, receiptBytes, signReceipt, verifyReceipt } from "../../../shared/crypto/mod.ts";
import { testKeys } from "../../keys.ts";
import vector from "../../vectors/receipt.json" with { type: "json" };

const CLUSTER = Uint8Array.fromHex(vector.clusterId);
const RECEIPT = {
  conversation: vector.conversation,
  user: vector.user,
  device: vector.device,
  delivered: vector.delivered,
  hash: Uint8Array.fromHex(vector.hash),
  read: vector.read,
  signature: Uint8Array.fromHex(vector.signature),
} as Receipt;
const LEAF = Uint8Array.fromHex(vector.leafKey);

Deno.test("signReceipt() makes the published bytes and signature", async () => {
  const { bob } = await testKeys();
  assert.equal(receiptBytes(CLUSTER, RECEIPT).toHex(), vector.statement);
  assert.equal(signReceipt(bob.leaf, CLUSTER, RECEIPT).toHex(), vector.signature);
});

Deno.test("verifyReceipt() accepts what the device signed and nothing that differs in one field", () => {
  assert(verifyReceipt(LEAF, CLUSTER, RECEIPT));
  const other = (id: string) => (id[0] === "0" ? "1" : "0") + id.slice(1);
  const changes: Partial<Record<keyof Receipt, unknown>>[] = [
    { conversation: other(RECEIPT.conversation) },
    { user: "alice" },
    { device: other(RECEIPT.device) },
    { delivered: RECEIPT.delivered + 1 },
    { hash: new Uint8Array(32).fill(1) },
    { read: RECEIPT.read + 1 },
    { read: 0 },
    { signature: new Uint8Array(64) },
  ];
  for (const change of changes) {
    assert(!verifyReceipt(LEAF, CLUSTER, { ...RECEIPT, ...change } as Receipt), JSON.stringify(change));
  }
  assert(!verifyReceipt(LEAF, new Uint8Array(16), RECEIPT), "another cluster");
  assert(!verifyReceipt(new Uint8Array(32).fill(3), CLUSTER, RECEIPT), "another key");
});

Deno.test("isReceipt() wants no more read than delivered, and zeros for nothing only", () => {
  const hash = new Uint8Array(32).fill(1);
  assert(isReceipt({ delivered: 0, hash: NOTHING_DELIVERED, read: 0 }));
  assert(isReceipt({ delivered: 2, hash, read: 2 }));
  assert(!isReceipt({ delivered: 2, hash, read: 3 }));
  assert(!isReceipt({ delivered: 0, hash, read: 0 }));
  assert(!isReceipt({ delivered: 1, hash: NOTHING_DELIVERED, read: 0 }));
});
