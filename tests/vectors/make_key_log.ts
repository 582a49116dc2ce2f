/**
 * Writes key_log.json anew from keys.json: `deno run -A tests/vectors/make_key_log.ts`. Bytes are put together here step by step
 * after docs/PROTOCOL.md §16, not by the code under test. RSA-PSS has a random salt: its signatures are others every time.
 */
import { constants, createHash, createPrivateKey, sign } from "node:crypto";
import { TEST_CLUSTER, testKeys } from "../keys.ts";

const { alice, alice2 } = await testKeys();
const text = (value: string) => [...varint(value.length), ...new TextEncoder().encode(value)];
const sha256 = (...parts: (Uint8Array | readonly number[])[]) => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(new Uint8Array(part));
  return new Uint8Array(hash.digest());
};
const hex = (value: string) => [...Uint8Array.fromHex(value)];
const owner = (label: string) => [...text(label), ...TEST_CLUSTER, ...text("alice")];
const byLeaf = (bytes: readonly number[]) =>
  sign(
    null,
    new Uint8Array(bytes),
    createPrivateKey({ key: Buffer.from(alice.leaf.pkcs8), format: "der", type: "pkcs8" }),
  );
const byIdentity = (bytes: readonly number[]) =>
  sign("sha256", new Uint8Array(bytes), {
    key: createPrivateKey({ key: Buffer.from(alice.identity.pkcs8), format: "der", type: "pkcs8" }),
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: 32,
  });
const bytes = (value: Uint8Array) => [...varint(value.length), ...value];

const timeMs = 1_900_000_000_000, time = u48(timeMs);
const approvalSigned = [
  ...owner("fastchat/approve/1"),
  ...hex(alice2.id),
  ...sha256(alice2.certificate),
  ...hex(alice.id),
  ...time,
];
const policySigned = [...owner("fastchat/policy/1"), 1, ...varint(70), ...time];
const revocationSigned = [...owner("fastchat/revoke/1"), ...hex(alice2.id), ...time];
const entries = [
  { what: "device", entry: [1, ...bytes(alice.certificate)] },
  { what: "device", entry: [1, ...bytes(alice2.certificate)] },
  {
    what: "approve",
    signed: approvalSigned,
    entry: [
      2,
      ...hex(alice2.id),
      ...sha256(alice2.certificate),
      ...hex(alice.id),
      ...time,
      ...byLeaf(approvalSigned),
    ],
  },
  { what: "policy", signed: policySigned, entry: [4, 1, ...varint(70), ...time, ...bytes(byIdentity(policySigned))] },
  {
    what: "revoke",
    signed: revocationSigned,
    entry: [3, ...hex(alice2.id), ...time, ...bytes(byIdentity(revocationSigned))],
  },
];
const chain: object[] = [];
let head: Uint8Array = new Uint8Array(32);
for (const { what, entry, signed } of entries) {
  const hash = sha256(entry);
  head = sha256(
    [...new TextEncoder().encode("fastchat/keylog/1")],
    head,
    [5],
    [...new TextEncoder().encode("alice")],
    hash,
  );
  chain.push({
    what,
    entry: new Uint8Array(entry).toHex(),
    ...(signed && { signed: new Uint8Array(signed).toHex() }),
    hash: hash.toHex(),
    head: head.toHex(),
  });
}
const nameSigned = [...owner("fastchat/device-name/1"), ...hex(alice.id), ...text("tower")];

await Deno.writeTextFile(
  new URL("key_log.json", import.meta.url),
  JSON.stringify(
    {
      keys: "keys.json: alice1 and alice2 of alice",
      clusterId: TEST_CLUSTER.toHex(),
      user: "alice",
      timeMs,
      chain,
      deviceName: {
        device: alice.id,
        name: "tower",
        signed: new Uint8Array(nameSigned).toHex(),
        signature: byLeaf(nameSigned).toString("hex"),
      },
    },
    null,
    2,
  ) + "\n",
);

/** RFC 9000 §16. */
function varint(value: number): number[] {
  if (value < 64) return [value];
  if (value < 16_384) return [0x40 | (value >> 8), value & 0xff];
  throw new RangeError("Longer than what is needed here");
}

function u48(value: number): number[] {
  return [5, 4, 3, 2, 1, 0].map((at) => Math.floor(value / 256 ** at) % 256);
}
