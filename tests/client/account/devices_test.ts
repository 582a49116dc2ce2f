/** Several devices of one person, against a real server core: named, approved, revoked, and an identity replaced. */
import assert from "node:assert/strict";
import type { ChatClient } from "../../../client/mod.ts";
import { ApprovalNeededError, DeviceRevokedError, KeyChangedError, UsageError } from "../../../client/mod.ts";
import { WrongPasswordError } from "../../../client/errors.ts";
import { until } from "../../server/harness.ts";
import { type ChatWorld, PASSWORD, withWorld } from "../chat_world.ts";
import { nextClosed, nextNotice } from "../notices.ts";

/** Alice's second device. */
function second(world: ChatWorld, options = {}): Promise<ChatClient> {
  return world.open("alice", { home: world.home("alice2"), register: false, deviceName: "laptop", ...options });
}

Deno.test("ChatClient.devices() lists one's devices by the names that they gave themselves", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice", { deviceName: "tower" }), laptop = await second(world);
    await laptop.nameDevice("  the\tlaptop ");
    const devices = await alice.devices();
    assert.deepEqual(devices.map(({ name, self, state }) => [name, self, state]), [
      ["tower", true, "active"],
      ["the laptop", false, "unapproved"],
    ]);
    assert.match(devices[0]!.since, /^20\d\d-/);
    await assert.rejects(alice.nameDevice("\u0007"), UsageError);
    assert.equal(await alice.needsApproval(), false);
  });
});

Deno.test("ChatClient shows a device that was added by password until it is approved", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), events = alice.events();
    const laptop = await second(world);
    assert.match(
      await nextNotice(events, "device-added"),
      /was added to your account \(\w{8}\) with your password.*device revoke/,
    );
    await alice.close();
    const again = await world.open("alice", { password: undefined }), later = again.events();
    assert.match(await nextNotice(later, "device-added"), /device approve/);
    await assert.rejects(laptop.approveDevice((await laptop.devices())[1]!.id), /another one must approve it/);
    await again.approveDevice("laptop");
    assert.equal((await again.devices())[1]!.state, "active");
    await again.approveDevice("laptop");
    await again.close();
    const third = await world.open("alice", { password: undefined }), quiet = third.events();
    await third.devices();
    await third.close();
    for await (const event of quiet) assert.notEqual(event.type === "notice" && event.code, "device-added");
  });
});

Deno.test("ChatClient.revokeDevice() ends a device at once, for good, and it is told so", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob"), laptop = await second(world);
    await bob.send("alice", "to both");
    const ended = laptop.events();
    await assert.rejects(alice.revokeDevice("laptop", "another password 17"), WrongPasswordError);
    await assert.rejects(alice.revokeDevice("tablet", PASSWORD), UsageError);
    await alice.revokeDevice("laptop", PASSWORD);
    const closed = await nextClosed(ended);
    assert.match(closed, /This device was revoked/);
    await assert.rejects(second(world, { password: undefined }), (error) => {
      assert(error instanceof DeviceRevokedError, String(error));
      assert.equal(error.exitCode, 4);
      assert.match(error.message, /revoked.*log in from an empty home/);
      return true;
    });
    await assert.rejects(second(world, { fresh: true }), DeviceRevokedError);
    assert.deepEqual((await alice.devices()).map(({ state }) => state), ["active", "revoked"]);
    assert.equal(await alice.revokeDevice((await alice.devices())[1]!.id, PASSWORD), (await alice.devices())[1]!.id);
    // The other device, and those who write to her, go on.
    await bob.send("alice", "to the one");
    assert.equal(await alice.waitForUnshown(30_000), true);
    const [entry] = await world.harness.store.directory([alice.name]);
    assert.equal(entry!.certificates.length, 1);
  });
});

Deno.test("ChatClient.revokeDevice() of itself is done when the connection ends", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), laptop = await second(world), [own] = await alice.devices();
    assert.equal(await alice.revokeDevice(own!.id, PASSWORD), own!.id);
    await assert.rejects(world.open("alice", { password: undefined }), DeviceRevokedError);
    const devices = await laptop.devices();
    // Of those that are left, the first one can approve the next.
    assert.deepEqual(devices.map(({ state }) => state), ["revoked", "active"]);
  });
});

Deno.test("ChatClient.setDevicePolicy() keeps a device with the password alone out until another one approves it", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    await alice.setDevicePolicy(true, PASSWORD);
    assert.equal(await alice.needsApproval(), true);
    await assert.rejects(second(world), (error) => {
      assert(error instanceof ApprovalNeededError, String(error));
      assert.match(error.message, /fastchat device approve \w{8}/);
      return true;
    });
    const [own, waiting] = await alice.devices();
    assert.deepEqual([own!.state, waiting!.state], ["active", "waiting"]);
    await assert.rejects(alice.shareHistory(waiting!.id), /is handed nothing until you approve it/);
    await bob.send("alice", "not for the new one");
    await assert.rejects(second(world), ApprovalNeededError, "it waits still, as the same device");
    assert.equal((await alice.devices()).length, 2);
    await alice.approveDevice(waiting!.id.slice(0, 8));
    const laptop = await second(world);
    await bob.send("alice", "for both");
    assert.equal(await laptop.waitForUnshown(30_000), true);
    const texts = laptop.unshown().map(({ event }) => event.type === "message" ? event.text : event.type);
    assert.deepEqual(texts, ["for both"]);
    await alice.setDevicePolicy(false, PASSWORD);
    assert.equal(await laptop.needsApproval(), false);
  });
});

Deno.test("ChatClient.setDevicePolicy() wants every device to be looked at first", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice");
    const laptop = await second(world);
    await assert.rejects(alice.setDevicePolicy(true, PASSWORD), /Approve or revoke these devices first.*\w{8}/);
    await alice.approveDevice("laptop");
    await alice.setDevicePolicy(true, PASSWORD);
    assert.equal(await laptop.needsApproval(), true);
  });
});

Deno.test("ChatClient.rotateIdentity() warns whom one talks with, and the other devices log in again", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    await (await second(world)).close();
    const laptop = await second(world, { password: undefined });
    await bob.send("alice", "before");
    const before = await bob.trust("alice"), heard = bob.events(), ended = laptop.events();
    await assert.rejects(alice.rotateIdentity("another password 17"), WrongPasswordError);
    const { fingerprint } = await alice.rotateIdentity(PASSWORD);
    assert.notEqual(fingerprint, before);
    await alice.close();
    assert.match(await nextNotice(heard, "key-changed"), /alice has a new identity, signed by the one you know/);
    await assert.rejects(bob.send("alice", "to whom?"), (error) => {
      assert(error instanceof KeyChangedError, String(error));
      assert.equal(error.change.isSigned, true);
      assert.match(error.message, /has a new key, signed with the one you know/);
      return true;
    });
    assert.equal(await bob.trust("alice"), fingerprint);
    assert.match(await nextClosed(ended), /log in again with the password/);
    const back = await second(world, { fresh: true });
    assert.deepEqual((await back.devices()).map(({ state }) => state), ["active", "unapproved"]);
    const again = await world.open("alice", { password: undefined });
    assert.equal(again.fingerprint.toHex(), back.fingerprint.toHex());
    await again.send("bob", "it is me");
    await bob.send("alice", "welcome back");
    for (const client of [again, back]) assert.equal(await client.waitForUnshown(30_000), true);
  });
});

Deno.test("ChatClient: a rotation whose answer was lost is known by the next connection", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice");
    const { store } = world.harness, change = store.changeKeys.bind(store);
    // The store has it, and the server never says so.
    Object.assign(store, {
      changeKeys: async (asked: Parameters<typeof change>[0]) => {
        await change(asked);
        Object.assign(store, { changeKeys: change });
        world.pairs.at(-1)!.sever();
        await alice.close();
        throw new Error("lost");
      },
    });
    await assert.rejects(alice.rotateIdentity(PASSWORD));
    const [entry] = await store.directory([alice.name]);
    const again = await world.open("alice", { password: undefined });
    const { sha256 } = await import("../../../shared/crypto/mod.ts");
    assert.equal(again.fingerprint.toHex(), sha256(entry!.identityKey).toHex());
    await again.revokeDevice((await again.devices())[0]!.id, PASSWORD).catch(() => {});
    assert.equal((await store.account(alice.name))!.devices.length, 0, "identity.pem is the new one's");
  });
});

Deno.test("ChatClient.rotateIdentity() leaves an owner the owner of a group, and their other devices come back into it", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob"), carol = await world.open("carol");
    await alice.createGroup("crew");
    await alice.changeGroup("crew", { do: "add", names: [bob.name] });
    await alice.send("#crew", "before");
    assert.equal(await bob.waitForUnshown(60_000), true);
    await until(() => bob.groups().some(({ name }) => name === "crew"));
    // He knows her by the old one.
    await bob.send("#crew", "welcome");
    const heard = bob.events();
    await alice.rotateIdentity(PASSWORD);
    await alice.close();
    await nextNotice(heard, "key-changed");
    await assert.rejects(bob.send("#crew", "to whom?", { timeoutMs: 30_000 }), KeyChangedError);
    await bob.trust("alice");
    await bob.send("#crew", "to you");
    const again = await world.open("alice", { password: undefined });
    assert.equal(await again.waitForUnshown(30_000), true);
    await again.changeGroup("crew", { do: "add", names: [carol.name] });
    const back = await second(world);
    await again.send("#crew", "to all");
    assert.equal(await carol.waitForUnshown(30_000), true);
    assert.equal(await back.waitForUnshown(30_000), true);
    const { members } = await again.groupDetails("crew");
    assert.deepEqual(members.map(({ name, role }) => [name, role]), [["alice", "owner"], ["bob", "member"], [
      "carol",
      "member",
    ]]);
  });
});
