/** What a server that lies about keys, salts and itself gets out of a client: nothing (SECURITY H5, P1, M1). */
import assert from "node:assert/strict";
import { ChatClient, KeyChangedError, KeyLogError, RefusedError } from "../../client/mod.ts";
import { formatFingerprint } from "../../shared/crypto/mod.ts";
import type { DirectoryEntry, Record } from "../../shared/protocol/mod.ts";
import type { Store } from "../../server/store/store.ts";
import { TEST_CLUSTER } from "../keys.ts";
import { forgedBody, forgedHeaderBytes } from "../shared/crypto/forge_envelope.ts";
import { withWorld } from "./chat_world.ts";

Deno.test("ChatClient.open() sends an account's token and password to no other key, whatever address is typed", async () => {
  await withWorld(async (world) => {
    await (await world.open("alice")).close();
    const own = world.fingerprint;
    world.fingerprint = new Uint8Array(32).fill(9);
    const counts = { ...world.harness.services.counters };
    for (const server of ["elsewhere:9000", `elsewhere:9000#${world.fingerprint.toHex()}`]) {
      await assert.rejects(world.open("alice", { server, fresh: true }), (error) => {
        assert(error instanceof KeyChangedError, String(error));
        assert.match(error.message, /account is at memory:9000.*home of its own/);
        return true;
      });
      assert.equal(world.pairs.at(-1)!.client.closed, true);
    }
    assert.deepEqual(world.harness.services.counters, counts);
    // The same cluster under another name is fine.
    world.fingerprint = own;
    await (await world.open("alice", { server: "elsewhere:9000", password: undefined })).close();
    await (await world.open("alice", { server: "memory:9000", password: undefined })).close();
  });
});

Deno.test("ChatClient.open() refuses a foreign salt for an account it knows, before anything is derived", async () => {
  let salt: Uint8Array | undefined;
  const wrapStore = (store: Store): Store =>
    new Proxy(store, {
      get: (target, key) =>
        key !== "account"
          ? Reflect.get(target, key).bind?.(target) ?? Reflect.get(target, key)
          : async (name: never) => {
            const account = await target.account(name);
            return account && salt ? { ...account, stretching: { ...account.stretching, salt } } : account;
          },
    });
  await withWorld(async (world) => {
    await (await world.open("alice")).close();
    salt = new Uint8Array(16).fill(7);
    const runs = world.harness.bcryptRuns;
    await assert.rejects(
      world.open("alice", { fresh: true }),
      (error) => error instanceof RefusedError && /salt is not this account's/.test(error.message),
    );
    assert.equal(world.harness.bcryptRuns, runs);
    salt = undefined;
    await (await world.open("alice", { fresh: true })).close();
  }, { wrapStore });
});

Deno.test("ChatClient.trust() accepts only the key that the person was warned of", async () => {
  let swapped: DirectoryEntry | undefined;
  const wrapStore = (store: Store): Store =>
    new Proxy(store, {
      get: (target, key) =>
        key !== "directory"
          ? Reflect.get(target, key).bind?.(target) ?? Reflect.get(target, key)
          : async (names: never) =>
            (await target.directory(names)).map((entry) => entry.name === "bob" && swapped ? swapped : entry),
    });
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    await alice.send("bob", "before");
    const pinned = await alice.trust("bob");
    await world.open("mallory");
    const [entry] = await world.harness.store.directory(["mallory" as typeof bob.name]);
    swapped = { ...entry!, name: bob.name };
    // Nobody has shown the person this key yet.
    await assert.rejects(alice.trust("bob"), KeyChangedError);
    swapped = undefined;
    assert.equal(await alice.trust("bob"), pinned);
    swapped = { ...entry!, name: bob.name };
    await assert.rejects(alice.trust("bob"), KeyChangedError);
    // They have seen it now, but the key log knows nothing of it.
    await assert.rejects(alice.trust("bob"), (error) => {
      assert(error instanceof KeyLogError, String(error));
      assert.match(error.message, /another key of bob in its directory than in its key log/);
      return true;
    });
    swapped = undefined;
    assert.equal(await alice.trust("bob"), pinned);
  }, { wrapStore });
});

Deno.test("ChatClient.trustServer() accepts no key that the person was never shown", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice");
    await alice.close();
    const own = formatFingerprint(world.fingerprint);
    const trust = () => ChatClient.trustServer({ home: alice.home, server: "memory:9000", dial: world.dial });
    assert.equal(await trust(), own);
    world.fingerprint = new Uint8Array(32).fill(9);
    await assert.rejects(trust(), (error) => error instanceof KeyChangedError && error.change.pinned === own);
    assert.equal(await trust(), formatFingerprint(world.fingerprint), "the second time it was shown");
  });
});

Deno.test("ChatClient: a row that the server makes up in its own device's name does not use its numbers up", async () => {
  let forged: Uint8Array | undefined;
  const wrapStore = (store: Store): Store =>
    new Proxy(store, {
      get: (target, key) =>
        key !== "read"
          ? Reflect.get(target, key).bind?.(target) ?? Reflect.get(target, key)
          : async (...args: Parameters<Store["read"]>) => {
            const page = await target.read(...args);
            const lie = (row: Record) => forged && row.seq === 3 ? { ...row, body: forged } : row;
            return page && { ...page, records: page.records.map(lie) };
          },
    });
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    const { conversation } = await alice.send("bob", "1");
    const [row] = (await world.harness.store.read(bob.name, conversation, 1, 1))!.records;
    await alice.close();
    await bob.send("alice", "2");
    forged = forgedBody({
      header: forgedHeaderBytes({
        label: "fastchat/envelope/1",
        suite: 1,
        clusterId: TEST_CLUSTER,
        senderIdentity: alice.fingerprint,
        recipientIdentity: bob.fingerprint,
        senderDevice: row!.device,
        devices: ["0".repeat(32)],
        conversation,
        messageId: "1".repeat(32),
        counter: Number.MAX_SAFE_INTEGER,
        previous: new Uint8Array(32),
        timeMs: Date.now(),
        innerType: 1,
      }),
      wraps: [new Uint8Array(384)],
      sealed: new Uint8Array(90),
    });
    const again = await world.open("alice", { password: undefined });
    assert.match(JSON.stringify(again.unshown(10)), /names this very device/);
    assert.equal((await again.send("bob", "3", { timeoutMs: 60_000 })).seq, 4);
  }, { wrapStore });
});
