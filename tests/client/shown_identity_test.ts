/**
 * After fetching a backup, and after being handed an identity, a client compares it with what the key log shows others (SECURITY
 * P8): where that is another one, somebody else reads what is written to this person.
 */
import assert from "node:assert/strict";
import { ChatClient, KeyLogError, linkDevice } from "../../client/mod.ts";
import { MemoryKeyLog } from "../../server/store/memory/key_log.ts";
import { deviceEntry, Ed25519KeyPair, makeCertificate } from "../../shared/crypto/mod.ts";
import type { DeviceId, UserName } from "../../shared/protocol/mod.ts";
import type { Store } from "../../server/store/store.ts";
import { TEST_CLUSTER, testKeys } from "../keys.ts";
import { type ChatWorld, PASSWORD, withWorld } from "./chat_world.ts";
import { until } from "./until.ts";

const NEW_PASSWORD = "silver-kettle-avenue-77";

Deno.test("ChatClient.recover() refuses an identity that the key log does not show others", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), recoveryKey = alice.takeRecoveryKey()!;
    const asked = { server: "memory:9000", name: "alice", password: NEW_PASSWORD, recoveryKey };
    await assert.rejects(
      ChatClient.recover({ ...asked, home: world.home("elsewhere"), dial: await lying(world) }),
      (error) => error instanceof KeyLogError && /shows others another identity of alice/.test(error.message),
    );
    const back = await ChatClient.recover({ ...asked, home: world.home("third"), dial: world.dial });
    assert.deepEqual(back.fingerprint, alice.fingerprint);
    await back.close();
  });
});

Deno.test("ChatClient.login() with an identity that the key log does not show others says so, and sends nothing", async () => {
  await withWorld(async (world) => {
    await world.open("alice");
    await world.open("bob");
    const home = world.home("alice2"), options = { name: "alice", home, register: false };
    await sendsNothing(await world.open("alice2", { ...options, dial: await lying(world) }));
  });
});

Deno.test("linkDevice(): a device that was handed an identity which the key log does not show others sends nothing", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice");
    await world.open("bob");
    const code = Promise.withResolvers<string>();
    const linked = linkDevice({
      server: { host: "memory", port: 9000 },
      timeoutMs: 60_000,
      dial: world.dial,
      home: () => world.home("laptop"),
      onCode: code.resolve,
    });
    await alice.grantDevice(await code.promise, PASSWORD);
    await linked;
    const laptop = await ChatClient.open({ home: world.home("laptop"), dial: await lying(world) });
    try {
      await sendsNothing(laptop);
    } finally {
      await laptop.close();
    }
  });
});

async function sendsNothing(client: ChatClient): Promise<void> {
  const notices: string[] = [];
  void (async () => {
    for await (const event of client.events()) if (event.type === "notice") notices.push(event.text);
  })();
  await until(client, () => notices.some((text) => /shows others another identity of alice/.test(text)));
  await assert.rejects(client.send("bob", "who reads this?", { timeoutMs: 60_000 }), /another identity of alice/);
}

/** To whom that dials, the key log says that Alice has Bob's identity. */
async function lying(world: ChatWorld) {
  const { bob } = await testKeys(), { store } = world.harness, leaf = Ed25519KeyPair.generate();
  const certificate = await makeCertificate({
    clusterId: TEST_CLUSTER,
    user: "alice" as UserName,
    device: "ee".repeat(16) as DeviceId,
    leafKey: leaf.publicKey,
    envelopeKey: bob.envelopeKey,
    identityKey: bob.identity.spki,
    notBeforeMs: 1,
    notAfterMs: 2 ** 42,
    serial: 1,
  }, bob.identity.privateKey);
  const forged = async () => {
    const log = new MemoryKeyLog(), { entries } = await store.keyLog(0, 1_000);
    let isSaid = false;
    for (const [at, { user }] of entries.entries()) {
      const [found] = await store.keyEntries([at + 1]);
      if (user !== "alice") log.add(user, found!.entry);
      else if (!isSaid) log.add(user, deviceEntry(certificate));
      isSaid ||= user === "alice";
    }
    return log;
  };
  const liar: Store = new Proxy(store, {
    get: (target, key) => {
      if (key === "keyLog") return async (after: number, limit: number) => (await forged()).page(after, limit);
      if (key === "keyEntries") return async (numbers: readonly number[]) => (await forged()).entries(numbers);
      return Reflect.get(target, key).bind?.(target) ?? Reflect.get(target, key);
    },
  });
  return world.dialWith({ store: liar });
}
