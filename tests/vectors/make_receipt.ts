/**
 * Writes receipt.json anew from keys.json: `deno run -A tests/vectors/make_receipt.ts`. Bytes are put together here step by step
 * after docs/PROTOCOL.md §13, not by the code under test; Ed25519 is deterministic.
 */
import { createHash, createPrivateKey, sign } from "node:crypto";
import { directConversationId } from "../../shared/crypto/mod.ts";
import { TEST_CLUSTER, testKeys } from "../keys.ts";

const { alice, bob } = await testKeys();
const conversation = directConversationId(TEST_CLUSTER, alice.user, bob.user);
const hash = createHash("sha256").update("a body").digest();
const delivered = 300, read = 63;
const label = new TextEncoder().encode("fastchat/receipt/1"), user = new TextEncoder().encode("bob");
const statement = new Uint8Array([
  label.length,
  ...label,
  ...TEST_CLUSTER,
  ...Uint8Array.fromHex(conversation),
  user.length,
  ...user,
  ...Uint8Array.fromHex(bob.id),
  // RFC 9000 §16: two bytes from 64 on.
  0x40 | (delivered >> 8),
  delivered & 0xff,
  ...hash,
  read,
]);
const key = createPrivateKey({ key: Buffer.from(bob.leaf.pkcs8), format: "der", type: "pkcs8" });

await Deno.writeTextFile(
  new URL("receipt.json", import.meta.url),
  JSON.stringify(
    {
      keys: "keys.json: by bob1",
      clusterId: TEST_CLUSTER.toHex(),
      conversation,
      user: "bob",
      device: bob.id,
      leafKey: bob.leaf.publicKey.toHex(),
      delivered,
      hash: hash.toString("hex"),
      read,
      statement: statement.toHex(),
      signature: sign(null, statement, key).toString("hex"),
    },
    null,
    2,
  ) + "\n",
);
