/** Linking a device by a code, against a real server core. */
import assert from "node:assert/strict";
import { ChatClient, linkDevice, RefusedError, UsageError } from "../../../client/mod.ts";
import { WrongPasswordError } from "../../../client/errors.ts";
import { homeExists } from "../../../client/local_home.ts";
import { LINK_MS } from "../../../shared/limits.ts";
import type { Store } from "../../../server/store/store.ts";
import { type ChatWorld, PASSWORD, withWorld } from "../chat_world.ts";

const SERVER = { host: "memory", port: 9000 };

/** A new machine that shows a code. */
function begin(world: ChatWorld, home = "laptop", signal?: AbortSignal) {
  const code = Promise.withResolvers<string>();
  const linked = linkDevice({
    server: SERVER,
    timeoutMs: 5_000,
    dial: world.dial,
    home: () => world.home(home),
    deviceName: home,
    onCode: code.resolve,
    signal,
  });
  linked.catch(code.reject);
  return { code: code.promise, linked };
}

Deno.test("linkDevice() makes a device that needed no password, is approved, and reads what comes", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    await alice.setDevicePolicy(true, PASSWORD);
    const { code, linked } = begin(world);
    const shown = await code;
    await assert.rejects(alice.grantDevice(shown, "another password 17"), WrongPasswordError);
    await assert.rejects(alice.grantDevice("0".repeat(26), PASSWORD), RefusedError);
    await assert.rejects(alice.grantDevice("not a code", PASSWORD), UsageError);
    assert.equal((await alice.devices()).length, 1);
    const id = await alice.grantDevice(shown.toLowerCase(), PASSWORD);
    assert.equal(await alice.grantDevice(shown, PASSWORD), id, "granted once");
    const { home, name } = await linked;
    assert.deepEqual([home, name], [world.home("laptop"), "alice"]);
    const laptop = await ChatClient.open({ home, dial: world.dial });
    try {
      assert.equal(laptop.fingerprint.toHex(), alice.fingerprint.toHex());
      const devices = await alice.devices();
      assert.deepEqual(devices.map(({ name, state }) => [name, state]).at(-1), ["laptop", "active"]);
      await bob.send("alice", "to both");
      assert.equal(await laptop.waitForUnshown(30_000), true);
      // The key file is encrypted by the password that it has always had.
      await laptop.revokeDevice(alice.fingerprint && devices[0]!.id, PASSWORD);
    } finally {
      await laptop.close();
    }
  });
});

Deno.test("linkDevice(): a server that puts another device in its place, or another answer, links nothing", async () => {
  let swap: { offer?: Uint8Array; grant?: Uint8Array } = {};
  const wrapStore = (store: Store): Store =>
    new Proxy(store, {
      get: (target, key) => {
        if (key !== "link" && key !== "offerLink") {
          return Reflect.get(target, key).bind?.(target) ?? Reflect.get(target, key);
        }
        return async (...args: never[]) => {
          const link = await (Reflect.get(target, key) as (...args: never[]) => ReturnType<Store["link"]>).apply(
            target,
            args,
          );
          if (link === undefined) return link;
          const grant = link.grant && swap.grant ? { ...link.grant, sealed: swap.grant } : link.grant;
          return { offer: swap.offer ?? link.offer, grant };
        };
      },
    });
  await withWorld(async (world) => {
    const alice = await world.open("alice"), { code, linked } = begin(world), shown = await code;
    linked.catch(() => {});
    swap = { offer: new Uint8Array(600).fill(1) };
    await assert.rejects(alice.grantDevice(shown, PASSWORD), /is not the device that shows it/);
    assert.equal((await alice.devices()).length, 1);
    swap = { grant: new Uint8Array(600).fill(1) };
    await alice.grantDevice(shown, PASSWORD);
    await assert.rejects(linked, /was not made for this code: nothing was linked/);
    assert.equal(homeExists(world.home("laptop")), false);
  }, { wrapStore });
});

Deno.test("linkDevice() gives up with its signal, waits for no more than the code lives, and spares a home that is there", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"),
      enough = new AbortController(),
      { code, linked } = begin(world, "x", enough.signal);
    const shown = await code;
    enough.abort(new Error("enough"));
    await assert.rejects(linked, /enough/);
    // What it left at the server is of no use once it is too old.
    const now = world.harness.services.nowMs();
    Object.assign(world.harness.services, { nowMs: () => now + LINK_MS + 1 });
    await assert.rejects(alice.grantDevice(shown, PASSWORD), RefusedError);
    Object.assign(world.harness.services, { nowMs: () => now });
    const second = begin(world, "alice");
    second.linked.catch(() => {});
    await alice.grantDevice(await second.code, PASSWORD);
    await assert.rejects(second.linked, /There is a home already/);
    assert.equal((await alice.devices())[0]!.self, true);
  });
});

Deno.test("a device that was added by password itself lets no other in", async () => {
  await withWorld(async (world) => {
    await world.open("alice");
    const second = await world.open("alice", { home: world.home("alice2"), register: false });
    const { code, linked } = begin(world);
    linked.catch(() => {});
    await assert.rejects(second.grantDevice(await code, PASSWORD), /another one must approve it first/);
  });
});
