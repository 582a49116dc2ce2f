import assert from "node:assert/strict";
import { createCipheriv, createHmac } from "node:crypto";
import fc from "fast-check";
import { openRow, ROW_SEAL_BYTES, sealRow } from "../../../shared/crypto/mod.ts";

const KEY = new Uint8Array(32).map((_, at) => at);
const bytes = () => fc.uint8Array({ maxLength: 300 });

Deno.test("sealRow() makes what docs/PROTOCOL.md says, byte for byte", () => {
  const salt = new Uint8Array(24).fill(7), plaintext = new TextEncoder().encode("see you at ten");
  const sealed = sealRow({ key: KEY, context: "messages.text x", plaintext, random: { bytes: () => salt } });
  const rowKey = createHmac("sha256", KEY).update("fastchat/row/1 key").update(salt).digest();
  const cipher = createCipheriv("chacha20-poly1305", rowKey, new Uint8Array(12), { authTagLength: 16 });
  cipher.setAAD(new TextEncoder().encode("fastchat/row/1 messages.text x"), { plaintextLength: plaintext.length });
  const ciphertext = new Uint8Array(cipher.update(plaintext));
  cipher.final();
  assert.deepEqual(sealed, new Uint8Array([1, ...salt, ...ciphertext, ...new Uint8Array(cipher.getAuthTag())]));
});

Deno.test("openRow() gives back what was sealed, in its place and under its key only", () => {
  fc.assert(fc.property(bytes(), fc.string(), fc.string(), (plaintext, context, other) => {
    const sealed = sealRow({ key: KEY, context, plaintext });
    assert.equal(sealed.length, plaintext.length + ROW_SEAL_BYTES);
    assert.deepEqual(openRow({ key: KEY, context, sealed }), plaintext);
    assert.equal(openRow({ key: new Uint8Array(32).fill(1), context, sealed }), undefined);
    if (other !== context) assert.equal(openRow({ key: KEY, context: other, sealed }), undefined);
    assert.notDeepEqual(sealRow({ key: KEY, context, plaintext }), sealed, "twice the same is never the same bytes");
  }));
});

Deno.test("openRow() refuses every truncation and every flipped byte", () => {
  const plaintext = new TextEncoder().encode("bob, the key is under the mat");
  const sealed = sealRow({ key: KEY, context: "c", plaintext });
  for (let length = 0; length < sealed.length; length++) {
    assert.equal(openRow({ key: KEY, context: "c", sealed: sealed.subarray(0, length) }), undefined, `${length} bytes`);
  }
  for (let at = 0; at < sealed.length; at++) {
    const changed = sealed.with(at, sealed[at]! ^ 0x10);
    assert.equal(openRow({ key: KEY, context: "c", sealed: changed }), undefined, `byte ${at}`);
  }
});
