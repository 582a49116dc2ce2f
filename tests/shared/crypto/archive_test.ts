import assert from "node:assert/strict";
import fc from "fast-check";
import {
  archiveKeyId,
  openArchiveKey,
  openBackup,
  openChunk,
  recoverySecrets,
  sealArchiveKey,
  sealBackup,
  sealChunk,
} from "../../../shared/crypto/mod.ts";
import type { UserName } from "../../../shared/protocol/mod.ts";
import { ARCHIVE_KEY_BYTES_MAX } from "../../../shared/limits.ts";
import { scripted } from "../../vectors/scripted_random.ts";
import vectors from "../../vectors/archive.json" with { type: "json" };

const KEY = new Uint8Array(32).fill(1), OWNER = { clusterId: new Uint8Array(16).fill(2), name: "alice" as UserName };
const PLACE = { ...OWNER, stream: new Uint8Array(16).fill(3), number: 7 };
const { sealKey } = recoverySecrets({ ...OWNER, key: new Uint8Array(20).fill(4) });

Deno.test("openArchiveKey() opens what sealArchiveKey() sealed, for its owner and by its recovery key only", () => {
  const sealed = sealArchiveKey({ ...OWNER, sealKey, key: KEY });
  assert(sealed.length <= ARCHIVE_KEY_BYTES_MAX);
  assert.deepEqual(openArchiveKey({ ...OWNER, sealKey, sealed }), { ok: true, key: KEY });
  const others = [
    { ...OWNER, sealKey, name: "bob" as UserName },
    { ...OWNER, sealKey, clusterId: new Uint8Array(16) },
    { ...OWNER, sealKey: recoverySecrets({ ...OWNER, key: new Uint8Array(20).fill(5) }).sealKey },
    { ...OWNER, sealKey: sealKey.with(63, sealKey[63]! ^ 1) },
  ];
  for (const other of others) assert.equal(openArchiveKey({ ...other, sealed }).ok, false);
  for (let at = 0; at < sealed.length; at++) {
    const changed = sealed.with(at, sealed[at]! ^ 1);
    assert.equal(openArchiveKey({ ...OWNER, sealKey, sealed: changed }).ok, false, `byte ${at}`);
  }
});

Deno.test("openArchiveKey() takes no identity for a key, nor the other way round, though one recovery key seals both", () => {
  const sealed = sealArchiveKey({ ...OWNER, sealKey, key: KEY });
  assert.equal(openBackup({ ...OWNER, backupKey: sealKey, by: "recovery", backup: sealed }).ok, false);
  assert.equal(openBackup({ ...OWNER, backupKey: sealKey, backup: sealed }).ok, false);
  const identity = sealBackup({ ...OWNER, backupKey: sealKey, by: "recovery", pkcs8: KEY });
  assert.equal(openArchiveKey({ ...OWNER, sealKey, sealed: identity }).ok, false);
  const longer = sealBackup({ ...OWNER, backupKey: sealKey, by: "archive", pkcs8: new Uint8Array(33) });
  assert.deepEqual(openArchiveKey({ ...OWNER, sealKey, sealed: longer }), { ok: false, reason: "malformed" });
});

Deno.test("openChunk() opens a chunk in its own place only", () => {
  const content = new Uint8Array(256).fill(9), sealed = sealChunk({ ...PLACE, key: KEY, content });
  assert.deepEqual(openChunk({ ...PLACE, key: KEY, sealed }), content);
  const others = [
    { ...PLACE, name: "bob" as UserName },
    { ...PLACE, clusterId: new Uint8Array(16) },
    { ...PLACE, stream: new Uint8Array(16) },
    { ...PLACE, number: 8 },
    { ...PLACE, number: 70 },
  ];
  for (const other of others) assert.equal(openChunk({ ...other, key: KEY, sealed }), undefined);
  assert.equal(openChunk({ ...PLACE, key: KEY.with(0, 0), sealed }), undefined);
});

Deno.test("openChunk() refuses every changed byte, and every truncation", () => {
  const sealed = sealChunk({ ...PLACE, key: KEY, content: new Uint8Array(256) });
  fc.assert(fc.property(fc.nat(sealed.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
    assert.equal(openChunk({ ...PLACE, key: KEY, sealed: sealed.with(at, sealed[at]! ^ change) }), undefined);
    assert.equal(openChunk({ ...PLACE, key: KEY, sealed: sealed.subarray(0, at) }), undefined);
  }));
});

Deno.test("an archive's key, its id and its chunks are those of the vectors", () => {
  const hex = (text: string) => Uint8Array.fromHex(text);
  const { name, clusterId, recoveryKey, key, keyId, nonce, sealedKey, chunk } = vectors;
  const owner = { name: name as UserName, clusterId: hex(clusterId) };
  const secrets = recoverySecrets({ ...owner, key: hex(recoveryKey) });
  assert.equal(archiveKeyId(hex(key)).toHex(), keyId);
  assert.equal(
    sealArchiveKey({ ...owner, sealKey: secrets.sealKey, key: hex(key), random: scripted(hex(nonce)) }).toHex(),
    sealedKey,
  );
  const place = { ...owner, stream: hex(chunk.stream), number: chunk.number };
  assert.equal(
    sealChunk({ ...place, key: hex(key), content: hex(chunk.content), random: scripted(hex(chunk.salt)) }).toHex(),
    chunk.sealed,
  );
  assert.deepEqual(openChunk({ ...place, key: hex(key), sealed: hex(chunk.sealed) }), hex(chunk.content));
});
