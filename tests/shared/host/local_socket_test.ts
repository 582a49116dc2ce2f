import assert from "node:assert/strict";
import { join } from "node:path";
import { connectLocal, listenLocal, LocalProofError, PrivateFileError } from "../../../shared/host/mod.ts";
import { removeStaleSocket, usesTcp } from "../../../shared/host/mod.ts";
import { inDirectory } from "../../temporary.ts";

const UNIX = Deno.build.os !== "windows";

for (const [kind, name] of [["a Unix socket", "s.sock"], ["loopback TCP", "x".repeat(101) + ".sock"]] as const) {
  Deno.test(`listenLocal() and connectLocal() carry bytes both ways over ${kind}`, () =>
    inDirectory(async (directory) => {
      const path = join(directory, name);
      assert.equal(usesTcp(path), !UNIX || kind === "loopback TCP");
      const listener = await listenLocal(path);
      const [client, server] = await Promise.all([connectLocal(path), listener.accept()]);
      await client.write(new Uint8Array([1, 2, 3]));
      await server.write(new Uint8Array([4, 5]));
      assert.deepEqual([...await read(server, 3)], [1, 2, 3]);
      assert.deepEqual([...await read(client, 2)], [4, 5]);
      client.close();
      assert.equal(await server.read(new Uint8Array(1)), null);
      server.close();
      await listener.close();
    }));

  Deno.test(`LocalListener.close() over ${kind} ends accept() and leaves no socket behind`, () =>
    inDirectory(async (directory) => {
      const path = join(directory, name);
      const listener = await listenLocal(path);
      const refused = assert.rejects(listener.accept());
      await listener.close();
      await refused;
      await listener.close();
      await assert.rejects(connectLocal(path));
      const left = [...Deno.readDirSync(directory)].map((entry) => entry.name);
      assert.deepEqual(left.filter((file) => file !== "local.key"), []);
      const next = await listenLocal(path);
      await next.close();
    }));

  Deno.test(`LocalListener.close() over ${kind} leaves the place to who has taken it already`, () =>
    inDirectory(async (directory) => {
      const path = join(directory, name);
      const deposed = await listenLocal(path);
      const refused = assert.rejects(deposed.accept());
      await removeStaleSocket(path);
      const successor = await listenLocal(path);
      await deposed.close();
      await refused;
      const [client, server] = await Promise.all([connectLocal(path), successor.accept()]);
      client.close();
      server.close();
      await successor.close();
      await assert.rejects(connectLocal(path));
    }));
}

Deno.test({
  name: "listenLocal() and connectLocal() refuse a directory or key that is open to others",
  ignore: !UNIX,
  fn: () =>
    inDirectory(async (directory) => {
      const path = join(directory, "y".repeat(101));
      const listener = await listenLocal(path);
      await Deno.chmod(join(directory, "local.key"), 0o640);
      await assert.rejects(connectLocal(path), PrivateFileError);
      await listener.close();
      await Deno.chmod(directory, 0o755);
      await assert.rejects(listenLocal(join(directory, "s.sock")), /chmod 700/);
    }),
});

Deno.test("connectLocal() over TCP does not trust a listener without the key", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "z".repeat(101));
    const listener = await listenLocal(path);
    await Deno.writeTextFile(join(directory, "local.key"), "00".repeat(32));
    await assert.rejects(connectLocal(path), LocalProofError);
    await listener.close();
  }));

Deno.test("connectLocal() over TCP does not trust a proof that another socket of the directory gave", () =>
  inDirectory(async (directory) => {
    const honest = await listenLocal(join(directory, "h".repeat(101)));
    // The port file of one socket points at another's listener, which does have the key.
    const stolen = join(directory, "i".repeat(101));
    await Deno.copyFile(`${honest.path}.tcp`, `${stolen}.tcp`);
    await assert.rejects(connectLocal(stolen), LocalProofError);
    await honest.close();
  }));

Deno.test("LocalListener.accept() over TCP hands out nobody who did not prove the key", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "w".repeat(101));
    const listener = await listenLocal(path);
    const port = Number(await Deno.readTextFile(`${path}.tcp`));
    const stranger = await Deno.connect({ hostname: "127.0.0.1", port });
    await stranger.write(crypto.getRandomValues(new Uint8Array(96)));
    // The server answers the first nonce, finds the proof wrong, and closes.
    await read(stranger, 64);
    assert.equal(await stranger.read(new Uint8Array(1)).catch(() => null), null);
    stranger.close();
    const [client, server] = await Promise.all([connectLocal(path), listener.accept()]);
    await client.write(new Uint8Array([7]));
    assert.deepEqual([...await read(server, 1)], [7]);
    client.close();
    server.close();
    await listener.close();
  }));

Deno.test("removeStaleSocket() makes room after a killed process", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "s.sock");
    await Deno.writeTextFile(path, "");
    await Deno.writeTextFile(`${path}.tcp`, "1");
    if (UNIX) await assert.rejects(listenLocal(path), Deno.errors.AddrInUse);
    await removeStaleSocket(path);
    await (await listenLocal(path)).close();
    await removeStaleSocket(path);
  }));

async function read(conn: Deno.Conn, count: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(count);
  for (let at = 0; at < count;) {
    const got = await conn.read(bytes.subarray(at));
    if (got === null) throw new Error(`Connection ended after ${at} of ${count} bytes`);
    at += got;
  }
  return bytes;
}
