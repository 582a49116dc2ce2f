/** Linking a device by a code, and by digits, against a real server core. */
import assert from "node:assert/strict";
import { ChatClient, linkDevice, linkDeviceByDigits, RefusedError, UsageError } from "../../../client/mod.ts";
import { NumberDiffersError, WrongPasswordError } from "../../../client/errors.ts";
import { compareAsOld, type LinkServer } from "../../../client/account/comparison.ts";
import { homeExists } from "../../../client/home_parts.ts";
import { hmacSha256 } from "../../../shared/crypto/mod.ts";
import { LINK_MS } from "../../../shared/limits.ts";
import { Hub } from "../../../server/bus/hub.ts";
import { MemoryStore } from "../../../server/store/memory.ts";
import type { Store } from "../../../server/store/store.ts";
import type { UserName } from "../../../shared/protocol/mod.ts";
import { TEST_CLUSTER } from "../../keys.ts";
import { type ChatWorld, PASSWORD, withWorld } from "../chat_world.ts";

const SERVER = { host: "memory", port: 9000 };

/** A new machine that shows a code. */
function begin(world: ChatWorld, home = "laptop", signal?: AbortSignal) {
  const code = Promise.withResolvers<string>();
  const linked = linkDevice({
    server: SERVER,
    timeoutMs: 60_000,
    dial: world.dial,
    home: () => world.home(home),
    deviceName: home,
    onCode: code.resolve,
    signal,
  });
  linked.catch(code.reject);
  return { code: code.promise, linked };
}

/** A new machine that compares digits. */
function compare(
  world: ChatWorld,
  agree: (digits: string) => Promise<boolean>,
  home = "laptop",
  dial = world.dial,
) {
  const linked = linkDeviceByDigits({
    server: SERVER,
    timeoutMs: 60_000,
    dial,
    home: () => world.home(home),
    deviceName: home,
    name: "alice" as UserName,
    agree,
  });
  linked.catch(() => {});
  return linked;
}

/** Somebody who looks at both screens. */
function bothScreens() {
  const shown = [Promise.withResolvers<string>(), Promise.withResolvers<string>()] as const;
  const agree = (screen: 0 | 1) => async (digits: string) => {
    shown[screen].resolve(digits);
    return await shown[0].promise === await shown[1].promise;
  };
  return { agree, digits: Promise.all(shown.map(({ promise }) => promise)) };
}

Deno.test("linkDeviceByDigits() makes a device that is approved and reads what comes, once both people agree", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob"), { agree, digits } = bothScreens();
    await alice.setDevicePolicy(true, PASSWORD);
    let isOpen = false;
    const onOpen = () => isOpen = true;
    await assert.rejects(
      alice.grantDeviceByDigits("another password 17", { agree: agree(0), onOpen }),
      WrongPasswordError,
    );
    assert.equal(isOpen, false, "a wrong password is found out before anybody could come");
    const linked = compare(world, agree(1)),
      id = await alice.grantDeviceByDigits(PASSWORD, { agree: agree(0), onOpen });
    assert.equal(isOpen, true);
    const [one, other] = await digits;
    assert.match(one!, /^\d{6}$/);
    assert.equal(one, other);
    const { home, name } = await linked;
    assert.deepEqual([home, name], [world.home("laptop"), "alice"]);
    const laptop = await ChatClient.open({ home, dial: world.dial });
    try {
      assert.equal(laptop.fingerprint.toHex(), alice.fingerprint.toHex());
      const { id: newest, name, state } = (await alice.devices()).at(-1)!;
      assert.deepEqual([newest, name, state], [id, "laptop", "active"]);
      await bob.send("alice", "to both");
      assert.equal(await laptop.waitForUnshown(30_000), true);
    } finally {
      await laptop.close();
    }
    await assert.rejects(compare(world, agree(1)), /There is a home already/);
  });
});

Deno.test("linkDeviceByDigits(): a server with keys of its own on either side shows different digits, and is given nothing", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"),
      { agree, digits } = bothScreens(),
      { nowMs, saltKey } = world.harness.services;
    // The new machine is served by this one, on which the server plays the device that lets it in ...
    const store = new MemoryStore(new Hub());
    const letter = async (place: Uint8Array, letter?: Uint8Array) =>
      (letter === undefined ? await store.link(place, nowMs()) : await store.offerLink(place, letter, nowMs()))?.offer;
    const meeting = hmacSha256(saltKey, new TextEncoder().encode("fastchat/link-meeting/1 alice"));
    const server: LinkServer = {
      async meet(_user, commitment) {
        await store.replaceLink(meeting, commitment!, nowMs() + LINK_MS, nowMs());
        return commitment;
      },
      letter,
      find: letter,
      offer: letter,
    };
    const yes = () => Promise.resolve(true);
    const towardsNew = compareAsOld({
      server,
      user: "alice" as UserName,
      clusterId: TEST_CLUSTER,
      agree: yes,
      onOpen: () => {},
    });
    // ... and on the one that alice is served by it plays the machine that wants in.
    const towardsOld = compare(world, yes, "mallory");
    const linked = compare(world, agree(1), "laptop", world.dialWith({ store }));
    const ends = await Promise.allSettled([
      alice.grantDeviceByDigits(PASSWORD, { agree: agree(0) }),
      linked,
      towardsNew,
      towardsOld,
    ]);
    const [one, other] = await digits;
    assert.notEqual(one, other);
    for (const end of ends) {
      assert((end as PromiseRejectedResult).reason instanceof NumberDiffersError, String(end.status));
    }
    assert.equal((await alice.devices()).length, 1);
    for (const home of ["laptop", "mallory"]) assert.equal(homeExists(world.home(home)), false);
  });
});

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
