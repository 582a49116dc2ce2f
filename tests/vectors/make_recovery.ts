/**
 * Writes recovery.json anew from keys.json: `deno run -A tests/vectors/make_recovery.ts`. Bytes are put together here step by step
 * after docs/PROTOCOL.md §17, not by the code under test. Signatures differ each time: RSA-PSS has a random salt.
 */
import { constants, createCipheriv, createHash, createHmac, createPrivateKey, hkdfSync, sign } from "node:crypto";
import { TEST_CLUSTER, testKeys } from "../keys.ts";

const { aliceIdentity } = await testKeys();
const key = Uint8Array.from({ length: 20 }, (_, index) => (37 * index + 11) & 0xff);
const name = ascii("alice"), nonce = new Uint8Array(12).fill(0x4e), bind = new Uint8Array(32).fill(0xb1);

const sum = sha256(ascii("fastchat/recovery/1 checksum"), key);
const written = (base32(key) + base32(sum.subarray(0, 5)).slice(0, 4)).match(/.{4}/g)!.join("-");

const salt = sha256(ascii("fastchat/recovery/1"), TEST_CLUSTER, name);
const proof = derive("fastchat/recovery/1 proof", 32), sealKey = derive("fastchat/recovery/1 seal", 64);
const proofHash = sha256(ascii("fastchat/recovery/1 proof hash"), proof);

const plaintext = ascii("an identity key");
const cipher = createCipheriv("chacha20-poly1305", sealKey.subarray(0, 32), nonce, { authTagLength: 16 });
cipher.setAAD(join(ascii("fastchat/recovery-backup/1"), TEST_CLUSTER, name), { plaintextLength: plaintext.length });
const ciphertext = join(cipher.update(plaintext), cipher.final(), cipher.getAuthTag());
const committed = join([1], nonce, [ciphertext.length], ciphertext);
const backup = join(committed, createHmac("sha256", sealKey.subarray(32)).update(committed).digest());

const setting = join(ascii("fastchat/set-recovery/1"), bind, sha256(proof), sha256(backup));

const label = ascii("fastchat/password/1"), stretchingSalt = new Uint8Array(16).fill(0x5a), log2N = 17, serial = 258;
const statement = join(
  [label.length],
  label,
  TEST_CLUSTER,
  [name.length],
  name,
  stretchingSalt,
  [log2N, 0, 0, 0, 0, 1, 2],
);

await Deno.writeTextFile(
  new URL("recovery.json", import.meta.url),
  JSON.stringify(
    {
      keys: "keys.json: by alice's identity",
      clusterId: TEST_CLUSTER.toHex(),
      name: "alice",
      key: key.toHex(),
      written,
      proof: proof.toHex(),
      sealKey: sealKey.toHex(),
      proofHash: proofHash.toHex(),
      nonce: nonce.toHex(),
      plaintext: plaintext.toHex(),
      backup: backup.toHex(),
      bind: bind.toHex(),
      setRecoverySignature: pss(setting).toHex(),
      salt: stretchingSalt.toHex(),
      log2N,
      serial,
      statement: statement.toHex(),
      statementSignature: pss(statement).toHex(),
    },
    null,
    2,
  ) + "\n",
);

function derive(what: string, bytes: number): Uint8Array {
  return new Uint8Array(hkdfSync("sha256", key, salt, ascii(what), bytes));
}

function pss(bytes: Uint8Array): Uint8Array {
  const privateKey = createPrivateKey({ key: Buffer.from(aliceIdentity.pkcs8), format: "der", type: "pkcs8" });
  const padding = constants.RSA_PKCS1_PSS_PADDING;
  return new Uint8Array(sign("sha256", bytes, { key: privateKey, padding, saltLength: 32 }));
}

/** By the bits written out: slow, and plain. */
function base32(bytes: Uint8Array): string {
  const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, "0")).join("");
  return bits.match(/.{5}/g)!.map((five) => "0123456789ABCDEFGHJKMNPQRSTVWXYZ"[Number.parseInt(five, 2)]).join("");
}

function sha256(...parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(createHash("sha256").update(join(...parts)).digest());
}

function ascii(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function join(...parts: (Uint8Array | readonly number[])[]): Uint8Array {
  return new Uint8Array(parts.flatMap((part) => [...part]));
}
