/** Safety numbers and marks, from the library: two real clients and a server that may lie. */
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { KeyChangedError, NumberDiffersError, RefusedError, UsageError } from "../../client/mod.ts";
import { formatSafetyNumber } from "../../shared/crypto/mod.ts";
import type { DirectoryEntry } from "../../shared/protocol/mod.ts";
import type { Store } from "../../server/store/store.ts";
import { withWorld } from "./chat_world.ts";

/** A world whose server shows, once told so, another entry under Bob's name. */
function withLiar(
  use: (world: Parameters<Parameters<typeof withWorld>[0]>[0], lie: (entry?: DirectoryEntry) => void) => Promise<void>,
): Promise<void> {
  let swapped: DirectoryEntry | undefined;
  const wrapStore = (store: Store): Store =>
    new Proxy(store, {
      get: (target, key) =>
        key !== "directory"
          ? Reflect.get(target, key).bind?.(target) ?? Reflect.get(target, key)
          : async (names: never) =>
            (await target.directory(names)).map((entry) => entry.name === "bob" && swapped ? swapped : entry),
    });
  return withWorld((world) => use(world, (entry) => swapped = entry), { wrapStore });
}

Deno.test("ChatClient.meet(): both sides see one number, before a word was said", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    assert.equal(alice.safety("bob"), undefined);
    assert.deepEqual(alice.trustOf("bob"), { name: "bob", trust: "unknown", wasVerified: false });
    const hers = await alice.meet("bob"), his = await bob.meet("Alice");
    assert.equal(hers.number, his.number);
    assert.equal(hers.uri, his.uri);
    assert.deepEqual(hers.identity, bob.fingerprint);
    assert.equal(alice.trustOf("bob").trust, "unverified");
    assert.equal(alice.trustOf("alice").trust, "self");
    assert.deepEqual(alice.trustsOf(["bob", "alice", "carol"]).map(({ trust }) => trust), [
      "unverified",
      "self",
      "unknown",
    ]);
    await assert.rejects(alice.meet("nobody"), RefusedError);
    await assert.rejects(alice.meet("alice"), UsageError);
  });
});

Deno.test("ChatClient.verifyNumber() marks by the digits of the other's screen, scanned or typed, and by no others", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob"), carol = await world.open("carol");
    const { number, uri } = await bob.meet("alice"), other = await carol.meet("alice");
    await assert.rejects(alice.verifyNumber("bob", other.number), (error) => {
      assert(error instanceof NumberDiffersError, String(error));
      assert.equal(error.exitCode, 6);
      return true;
    });
    await assert.rejects(alice.verifyNumber("bob", number.slice(1)), /60 digits; these are 59/);
    await assert.rejects(alice.verifyNumber("bob", other.uri), /safety number of alice and carol/);
    assert.equal(alice.trustOf("bob").trust, "unverified");

    assert.equal((await alice.verifyNumber("bob", ` ${formatSafetyNumber(number)}\n`)).trust, "verified");
    alice.unverify("bob");
    assert.equal(alice.trustOf("bob").trust, "unverified");
    assert.equal((await alice.verifyNumber("bob", uri.toLowerCase())).trust, "verified");
    assert.equal(bob.trustOf("alice").trust, "unverified", "each marks for oneself");
    await alice.close();
    const again = await world.open("alice", { password: undefined });
    assert.equal(again.trustOf("bob").trust, "verified", "it lasts");
  });
});

Deno.test("ChatClient: a changed identity takes the mark away and stops sending, in stronger words where it was verified", async () => {
  await withLiar(async (world, lie) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    const real = await bob.meet("alice");
    await alice.verifyNumber("bob", real.number);
    const safety = alice.safety("bob")!;
    await world.open("mallory");
    const [entry] = await world.harness.store.directory(["mallory" as typeof bob.name]);
    lie({ ...entry!, name: bob.name });
    world.pairs[0]!.sever();
    await assert.rejects(alice.send("bob", "secret"), (error) => {
      assert(error instanceof KeyChangedError);
      assert.match(error.message, /^WARNING: the key of bob, which you had verified/);
      assert.equal(error.exitCode, 6);
      return true;
    });
    const changed = alice.trustOf("bob");
    assert.deepEqual([changed.trust, changed.wasVerified], ["changed", true]);
    assert.notEqual(alice.safety("bob")!.number, real.number, "what is to be compared is the key in question");
    // What the person compared a moment before is not what counts now, and Bob's real digits are not Mallory's.
    assert.throws(() => alice.verify(safety), KeyChangedError);
    await assert.rejects(alice.verifyNumber("bob", real.number), NumberDiffersError);
    assert.equal(alice.trustOf("bob").trust, "changed");
  });
});

/** Alice knows Bob by another identity, which she had verified: as after an operator's reset of his account. */
function knowAnother(home: string): void {
  const raw = new DatabaseSync(`${home}/fastchat.db`);
  raw.exec("UPDATE peers SET fingerprint = zeroblob(32), verified = zeroblob(32), offered = NULL WHERE name = 'bob'");
  raw.close();
}

Deno.test("ChatClient.trust() accepts a changed key, and says that it is not the one that was verified", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice");
    await world.open("bob");
    await alice.meet("bob");
    knowAnother(alice.home);
    await alice.meet("bob");
    const changed = alice.trustOf("bob");
    assert.deepEqual([changed.trust, changed.wasVerified], ["changed", true]);
    assert.equal(await alice.trust("bob"), changed.offered);
    assert.deepEqual(alice.trustOf("bob"), {
      name: "bob",
      trust: "unverified",
      wasVerified: true,
      fingerprint: changed.offered,
    });
  });
});

Deno.test("ChatClient.verifyNumber() accepts a changed key by its digits, and sending goes on", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    await alice.send("bob", "1");
    await alice.close();
    knowAnother(alice.home);
    const again = await world.open("alice");
    await assert.rejects(again.send("bob", "2"), KeyChangedError);
    const { number } = await bob.meet("alice");
    const { trust, wasVerified } = await again.verifyNumber("bob", number);
    assert.deepEqual([trust, wasVerified], ["verified", false]);
    await again.send("bob", "3");
    assert.deepEqual(again.history("bob").map(({ text }) => text), ["1", "3"]);
  });
});
