/**
 * Writes archive.json anew: `deno run -A tests/vectors/make_archive.ts`. Bytes are put together here step by step after
 * docs/PROTOCOL.md §17.1 and §21, not by the code under test.
 */
import { createCipheriv, createHash, createHmac } from "node:crypto";
import { TEST_CLUSTER } from "../keys.ts";

const recoveryKey = Uint8Array.from({ length: 20 }, (_, index) => (37 * index + 11) & 0xff);
const key = Uint8Array.from({ length: 32 }, (_, index) => (29 * index + 3) & 0xff);
const name = "alice", stream = new Uint8Array(16).fill(0x57), number = 300;
const content = Uint8Array.from({ length: 256 }, (_, index) => index);
const nonce = new Uint8Array(12).fill(0x4e), salt = new Uint8Array(24).fill(0x5a);

const sealKey = expand(
  hmac(sha256(ascii("fastchat/recovery/1"), TEST_CLUSTER, ascii(name)), recoveryKey),
  "fastchat/recovery/1 seal",
  64,
);
const ciphertext = aead(
  sealKey.subarray(0, 32),
  nonce,
  join(ascii("fastchat/archive-key/1"), TEST_CLUSTER, ascii(name)),
  key,
);
const committed = join([1], nonce, [ciphertext.length], ciphertext);
const sealedKey = join(committed, hmac(sealKey.subarray(32), committed));

const place = `fastchat/row/1 fastchat/archive/1 ${TEST_CLUSTER.toHex()} ${name} ${stream.toHex()} ${number}`;
const chunkKey = hmac(expand(key, "fastchat/archive/1 chunks", 32), ascii("fastchat/row/1 key"), salt);
const sealed = join([1], salt, aead(chunkKey, new Uint8Array(12), ascii(place), content));

await Deno.writeTextFile(
  new URL("archive.json", import.meta.url),
  JSON.stringify(
    {
      clusterId: TEST_CLUSTER.toHex(),
      name,
      recoveryKey: recoveryKey.toHex(),
      key: key.toHex(),
      keyId: expand(key, "fastchat/archive/1 id", 16).toHex(),
      nonce: nonce.toHex(),
      sealedKey: sealedKey.toHex(),
      chunk: { stream: stream.toHex(), number, salt: salt.toHex(), content: content.toHex(), sealed: sealed.toHex() },
    },
    null,
    2,
  ) + "\n",
);

function aead(key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, plaintext: Uint8Array): Uint8Array {
  const cipher = createCipheriv("chacha20-poly1305", key, nonce, { authTagLength: 16 });
  cipher.setAAD(aad, { plaintextLength: plaintext.length });
  return join(cipher.update(plaintext), cipher.final(), cipher.getAuthTag());
}

/** RFC 5869 §2.3. */
function expand(key: Uint8Array, info: string, length: number): Uint8Array {
  const first = hmac(key, ascii(info), [1]);
  return join(first, hmac(key, first, ascii(info), [2])).subarray(0, length);
}

function hmac(key: Uint8Array, ...parts: ArrayLike<number>[]): Uint8Array {
  return new Uint8Array(createHmac("sha256", key).update(join(...parts)).digest());
}

function sha256(...parts: ArrayLike<number>[]): Uint8Array {
  return new Uint8Array(createHash("sha256").update(join(...parts)).digest());
}

function join(...parts: ArrayLike<number>[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => Array.from(part)));
}

function ascii(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
