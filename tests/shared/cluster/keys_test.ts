import assert from "node:assert/strict";
import { createPrivateKey } from "node:crypto";
import { join } from "node:path";
import { type ClusterKeys, ClusterKeysError, loadClusterKeys } from "../../../shared/cluster/mod.ts";
import {
  fingerprint,
  importOaepPrivate,
  importOaepPublic,
  oaepDecrypt,
  oaepEncrypt,
} from "../../../shared/crypto/mod.ts";
import { PrivateFileError } from "../../../shared/host/mod.ts";
import { inDirectory } from "../../temporary.ts";

Deno.test("loadClusterKeys() called by several at once makes one set of keys that all agree on", () =>
  inDirectory(async (directory) => {
    const dataDir = join(directory, "new", "data");
    const [first, ...others] = await Promise.all([1, 2, 3].map(() => loadClusterKeys(dataDir, { create: true })));
    for (const other of others) assert.deepEqual(other, first);
    assert.deepEqual(await loadClusterKeys(dataDir, { create: false }), first);
    const { clusterId, spki, privateKeyPkcs8, tokenKey, resetKey, saltKey, pepper } = first!;
    assert.equal(clusterId.length, 16);
    const secrets = [tokenKey, resetKey, saltKey, pepper];
    for (const secret of secrets) assert.equal(secret.length, 32);
    assert.equal(new Set(secrets.map((secret) => secret.toHex())).size, 4);
    assert.deepEqual(first!.fingerprint, fingerprint(spki));
    const sealed = await oaepEncrypt(await importOaepPublic(spki), "test", new Uint8Array([1, 2, 3]));
    const opened = await oaepDecrypt(await importOaepPrivate(privateKeyPkcs8), "test", sealed);
    assert.deepEqual(opened, new Uint8Array([1, 2, 3]));
  }));

Deno.test("loadClusterKeys() keeps its files closed, and cluster.pem is what other tools read", () =>
  inDirectory(async (dataDir) => {
    const keys = await loadClusterKeys(dataDir, { create: true });
    const pem = await Deno.readTextFile(join(dataDir, "keys", "cluster.pem"));
    const der = createPrivateKey(pem).export({ format: "der", type: "pkcs8" });
    assert.deepEqual(new Uint8Array(der), keys.privateKeyPkcs8);
    if (Deno.build.os === "windows") return;
    assert.equal((await Deno.stat(join(dataDir, "keys"))).mode! & 0o777, 0o700);
    for (const name of ["cluster.pem", "secrets.json"]) {
      const path = join(dataDir, "keys", name);
      assert.equal((await Deno.stat(path)).mode! & 0o777, 0o600);
      await Deno.chmod(path, 0o644);
      await assert.rejects(loadClusterKeys(dataDir, { create: true }), PrivateFileError);
      await Deno.chmod(path, 0o600);
    }
  }));

Deno.test("loadClusterKeys() never replaces keys that are damaged or half lost: every login hangs on them", () =>
  inDirectory(async (dataDir) => {
    const keys = await loadClusterKeys(dataDir, { create: true });
    for (const name of ["cluster.pem", "secrets.json"]) {
      const path = join(dataDir, "keys", name), content = await Deno.readTextFile(path);
      for (
        const damage of [
          undefined,
          "",
          content.slice(0, content.length / 2),
          content.slice(0, 99) + "!" + content.slice(100),
        ]
      ) {
        if (damage === undefined) await Deno.remove(path);
        else await Deno.writeTextFile(path, damage, { mode: 0o600 });
        await assert.rejects(loadClusterKeys(dataDir, { create: true }), (error: Error) => {
          assert.ok(error instanceof ClusterKeysError, String(error));
          assert.ok(error.message.includes(path), error.message);
          assert.ok(!error.message.includes(keys.pepper.toHex()));
          return true;
        });
        if (damage !== undefined) assert.equal(await Deno.readTextFile(path), damage);
      }
      await Deno.writeTextFile(path, content, { mode: 0o600 });
      await Deno.chmod(path, 0o600);
    }
    assert.deepEqual(await loadClusterKeys(dataDir, { create: true }) satisfies ClusterKeys, keys);
  }));

Deno.test("loadClusterKeys() that may not create says who would", () =>
  inDirectory(async (dataDir) => {
    await assert.rejects(loadClusterKeys(dataDir, { create: false }), /A balancer on --data .* makes them/);
    assert.deepEqual([...Deno.readDirSync(dataDir)], []);
  }));

Deno.test("loadClusterKeys() is not misled by what an interrupted start left", () =>
  inDirectory(async (dataDir) => {
    await Deno.mkdir(join(dataDir, "keys.new"), { mode: 0o700 });
    await Deno.writeTextFile(join(dataDir, "keys.new", "cluster.pem"), "half");
    const keys = await loadClusterKeys(dataDir, { create: true });
    assert.deepEqual(await loadClusterKeys(dataDir, { create: false }), keys);
  }));
