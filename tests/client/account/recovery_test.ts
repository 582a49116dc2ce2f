/** Recovery keys and other passwords, by real clients against a real server core: docs/PROTOCOL.md §17; SECURITY P1, P4, P8. */
import assert from "node:assert/strict";
import { openHome } from "../../../client/home_parts.ts";
import {
  ChatClient,
  type ChatEvent,
  LockedError,
  NotAuthenticatedError,
  RefusedError,
  UsageError,
  WrongPasswordError,
  WrongRecoveryKeyError,
} from "../../../client/mod.ts";
import type { Store } from "../../../server/store/store.ts";
import { decryptPem, generateRecoveryKey, systemRandom } from "../../../shared/crypto/mod.ts";
import type { UserName } from "../../../shared/protocol/mod.ts";
import { type ChatWorld, PASSWORD, withWorld } from "../chat_world.ts";

const ALICE = "alice" as UserName;
const NEW_PASSWORD = "silver-kettle-avenue-77";

Deno.test("a sign-up makes a recovery key and gives it once; a log-in makes none", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice");
    const key = alice.takeRecoveryKey();
    assert.match(key!, /^([0-9A-Z]{4}-){8}[0-9A-Z]{4}$/);
    assert.equal(alice.takeRecoveryKey(), undefined);
    assert((await alice.recoveryState()).since);
    await alice.close();
    const again = await world.open("alice");
    assert.equal(again.takeRecoveryKey(), undefined);
  });
});

Deno.test("recover() brings an account back in an empty home: same identity, new password, the old one refused", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), bob = await world.open("bob");
    const key = alice.takeRecoveryKey()!, { fingerprint } = alice;
    await alice.send("bob", "before");
    await alice.close();
    const back = await recover(world, "elsewhere", key.toLowerCase().replaceAll("-", " "));
    assert.deepEqual(back.fingerprint, fingerprint);
    assert.deepEqual(back.history("bob"), [], "what was sealed for other devices is not brought back");
    await back.send("bob", "after");
    const texts = () => bob.history("alice").map(({ text }) => text);
    await settled(() => texts().length === 2);
    assert.deepEqual(texts(), ["before", "after"]);
    await refused(world.open("alice", { home: world.home("third"), register: false }), WrongPasswordError);
    const third = await world.open("alice", { home: world.home("third"), register: false, password: NEW_PASSWORD });
    assert.deepEqual(third.fingerprint, fingerprint);
  });
});

Deno.test("recover() finds a slip in the key before it says anything, and tells a wrong key as it is", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), key = alice.takeRecoveryKey()!;
    const before = world.pairs.length;
    const slip = key.slice(0, -1) + (key.endsWith("7") ? "8" : "7");
    await refused(recover(world, "elsewhere", slip), UsageError, /checksum is wrong/);
    await refused(recover(world, "elsewhere", "ABCD"), UsageError, /has 4 characters/);
    assert.equal(world.pairs.length, before, "nobody was asked");
    await refused(recover(world, "elsewhere", generateRecoveryKey(systemRandom)), WrongRecoveryKeyError);
    await refused(recover(world, "elsewhere", key, { name: "nobody" }), WrongRecoveryKeyError);
    await refused(recover(world, "elsewhere", key, { password: "short" }), UsageError, /at least 10/);
    const back = await recover(world, "elsewhere", key);
    assert.equal(back.name, "alice");
  });
});

Deno.test("recover() works where the server keeps no backup, and leaves none there", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice", { serverBackup: false }), key = alice.takeRecoveryKey()!;
    await refused(
      world.open("alice2", { name: "alice", home: world.home("alice2"), register: false }),
      NotAuthenticatedError,
    );
    const back = await recover(world, "elsewhere", key);
    assert.deepEqual(back.fingerprint, alice.fingerprint);
    assert.equal((await back.recoveryState()).serverBackup, false);
    assert.deepEqual((await world.harness.store.account(ALICE))?.backup, new Uint8Array());
    await back.changePassword({ old: NEW_PASSWORD, new: "another-lantern-walks-9" });
    assert.deepEqual((await world.harness.store.account(ALICE))?.backup, new Uint8Array());
  });
});

Deno.test("recover() tells every other device, and signs them out where that is asked for", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), key = alice.takeRecoveryKey()!, heard = listen(alice);
    await recover(world, "elsewhere", key);
    await settled(() => notices(heard).some((text) => /recovered with the recovery key/.test(text)));
    assert(alice.isConnected);
    await recover(world, "third", key, { signOutOthers: true, password: "another-lantern-walks-9" });
    await settled(() => heard.some((event) => event.type === "connection" && event.state === "closed"));
    await refused(alice.send("bob", "hello"), NotAuthenticatedError);
  });
});

Deno.test("recover() changes nothing where the server shows others another identity than the key seals", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), key = alice.takeRecoveryKey()!;
    const bob = await world.open("bob");
    const { store } = world.harness, before = await store.account(ALICE);
    const { directory } = store;
    store.directory = async (names) => {
      const [entry] = await directory.call(store, ["bob" as UserName]);
      return names.map((name) => ({ ...entry!, name }));
    };
    await assert.rejects(
      recover(world, "elsewhere", key),
      /shows others another identity of alice .* nothing was changed/,
    );
    store.directory = directory;
    assert.deepEqual(await store.account(ALICE), before);
    assert(bob.isConnected);
  });
});

Deno.test("recover() whose answer was lost is asked again, and enrols one device", async () => {
  let changes = 0;
  let cut = () => {};
  await withWorld(async (world) => {
    const alice = await world.open("alice"), key = alice.takeRecoveryKey()!;
    cut = () => world.pairs.at(-1)!.sever();
    const back = await recover(world, "elsewhere", key);
    assert.equal(changes, 2);
    assert(back.isConnected);
    assert.equal((await world.harness.store.account(ALICE))?.devices.length, 2);
    await back.close();
    const again = { home: world.home("elsewhere"), register: false, fresh: true, unlock: undefined };
    assert((await world.open("alice", { ...again, password: NEW_PASSWORD })).isConnected);
  }, {
    wrapStore: intercept(async (change) => {
      const outcome = await change();
      if (changes++ === 0) cut();
      return outcome;
    }),
  });
});

Deno.test("recover() in the home that the password was forgotten for: the same device, once it is unlocked", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), key = alice.takeRecoveryKey()!, unlock = alice.key();
    await alice.close();
    await refused(recover(world, "alice", key, { unlock: undefined }), LockedError, /recover in another one/);
    const back = await recover(world, "alice", key, { unlock });
    assert.equal((await world.harness.store.account(ALICE))?.devices.length, 1);
    await back.close();
    assert((await fresh(world, NEW_PASSWORD)).isConnected);
    await refused(fresh(world, PASSWORD), WrongPasswordError);
  });
});

Deno.test("newRecoveryKey() makes the one before void, asks for the password, and other devices are told", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), first = alice.takeRecoveryKey()!;
    const second = await world.open("alice2", { name: "alice", home: world.home("alice2"), register: false });
    const heard = listen(second);
    await settled(() => hasLooked(world, "alice2"));
    await refused(alice.newRecoveryKey({ password: "not-the-password-1" }), WrongPasswordError);
    const other = await alice.newRecoveryKey({ password: PASSWORD });
    assert.notEqual(other, first);
    await settled(() => notices(heard).some((text) => /A recovery key was made at/.test(text)));
    await refused(recover(world, "elsewhere", first), WrongRecoveryKeyError);
    assert.equal((await recover(world, "elsewhere", other)).name, "alice");
  });
});

Deno.test("changePassword(): the new password opens everything, the old one nothing", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), { fingerprint } = alice;
    await alice.changePassword({ old: PASSWORD, new: NEW_PASSWORD });
    assert(alice.isConnected, "its own session goes on");
    await alice.close();
    await refused(fresh(world, PASSWORD), WrongPasswordError, /does not unlock this home/);
    const again = await fresh(world, NEW_PASSWORD);
    await again.newRecoveryKey({ password: NEW_PASSWORD });
    await refused(again.newRecoveryKey({ password: PASSWORD }), WrongPasswordError);
    const elsewhere = { home: world.home("elsewhere"), register: false };
    await refused(world.open("alice", elsewhere), WrongPasswordError);
    assert.deepEqual((await world.open("alice", { ...elsewhere, password: NEW_PASSWORD })).fingerprint, fingerprint);
    const pem = await Deno.readTextFile(`${world.home("alice")}/identity.pem`);
    assert(await decryptPem(pem, NEW_PASSWORD));
    assert.equal(await decryptPem(pem, PASSWORD), undefined);
    const files = [...Deno.readDirSync(world.home("alice"))].map(({ name }) => name);
    assert(!files.includes("identity.next.pem"));
  });
});

Deno.test("changePassword() refuses a wrong old password, a weak and the same new one, and leaves all as it was", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), before = await world.harness.store.account(ALICE);
    await refused(alice.changePassword({ old: "not-the-password-1", new: NEW_PASSWORD }), WrongPasswordError);
    await refused(alice.changePassword({ old: PASSWORD, new: "password1234" }), UsageError, /easy to guess/);
    await refused(alice.changePassword({ old: PASSWORD, new: PASSWORD }), UsageError, /must be another/);
    assert.deepEqual(await world.harness.store.account(ALICE), before);
    await alice.close();
    assert.equal((await fresh(world, PASSWORD)).name, "alice");
  });
});

Deno.test("changePassword(): a device that was away follows the identity's word, and is told; its home opens as before", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice");
    const options = { name: "alice", home: world.home("alice2"), register: false, unlock: undefined };
    await (await world.open("alice2", options)).close();
    await alice.changePassword({ old: PASSWORD, new: NEW_PASSWORD, signOutOthers: true });
    await refused(
      world.open("alice2", options),
      WrongPasswordError,
      /does not take this password of alice.*fastchat login alice/,
    );
    await refused(
      world.open("alice2", { ...options, password: NEW_PASSWORD }),
      WrongPasswordError,
      /the one before still does/,
    );
    const second = await world.open("alice2", { ...options, password: NEW_PASSWORD, homePassword: PASSWORD });
    assert.equal(second.name, "alice");
    await second.newRecoveryKey({ password: NEW_PASSWORD });
    await second.close();
    assert.equal((await world.open("alice2", { ...options, password: NEW_PASSWORD })).name, "alice");
  });
});

Deno.test("changePassword(): a device that is here is told, and goes on under either password", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice");
    const options = { name: "alice", home: world.home("alice2"), register: false, unlock: undefined };
    const second = await world.open("alice2", options), heard = listen(second);
    await settled(() => hasLooked(world, "alice2"));
    await alice.changePassword({ old: PASSWORD, new: NEW_PASSWORD });
    await settled(() => notices(heard).some((text) => /Your password was changed on another device/.test(text)));
    assert(second.isConnected);
    // Its key file is encrypted by the password before: the server's backup helps.
    await second.changePassword({ old: NEW_PASSWORD, new: "another-lantern-walks-9" });
    await settled(() => openAccount(world, "alice").serial === 2);
    await second.close();
    await refused(world.open("alice2", { ...options, fresh: true }), WrongPasswordError);
    assert((await world.open("alice2", { ...options, password: "another-lantern-walks-9", fresh: true })).isConnected);
  });
});

Deno.test("changePassword() whose answer was lost is asked again, and happens once", async () => {
  let changes = 0;
  let cut = () => {};
  await withWorld(async (world) => {
    const alice = await world.open("alice");
    cut = () => world.pairs.at(-1)!.sever();
    await alice.changePassword({ old: PASSWORD, new: NEW_PASSWORD });
    assert.equal(changes, 1);
    assert.equal((await world.harness.store.credentials(ALICE))?.password?.serial, 1);
    await alice.close();
    assert.equal((await fresh(world, NEW_PASSWORD)).name, "alice");
  }, {
    wrapStore: intercept(async (change) => {
      const outcome = await change();
      if (changes++ === 0) cut();
      return outcome;
    }),
  });
});

for (const happens of [true, false]) {
  const counts = happens ? "new" : "old";
  Deno.test(`changePassword() killed ${happens ? "behind" : "before"} the server's change: both passwords open the home, and it says that the ${counts} one counts`, async () => {
    let killed = () => {};
    await withWorld(async (world) => {
      const alice = await world.open("alice");
      const dead = new Promise<void>((resolve) => killed = resolve);
      alice.changePassword({ old: PASSWORD, new: NEW_PASSWORD }).catch(() => {});
      await dead;
      // What a killed process leaves: its files as they are.
      await Deno.mkdir(world.home("copy"));
      for (const { name } of Deno.readDirSync(world.home("alice"))) {
        await Deno.copyFile(`${world.home("alice")}/${name}`, `${world.home("copy")}/${name}`);
      }
      world.pairs.at(-1)!.sever();
      await alice.close();
      const home = world.home("copy"), right = happens ? NEW_PASSWORD : PASSWORD;
      for (const password of [PASSWORD, NEW_PASSWORD]) {
        const local = ChatClient.offline({ home });
        await local.unlock({ password });
        local.close();
      }
      // Later: a change may be under way for a while.
      const parts = openHome(home), pending = JSON.parse(parts.database.meta("password-change")!);
      parts.database.transaction(() =>
        parts.database.setMeta("password-change", JSON.stringify({ ...pending, askedMs: pending.askedMs - 600_000 }))
      );
      parts.database.close();
      const back = await world.open("alice", { home, password: right }), heard = listen(back);
      await settled(() => notices(heard).some((text) => text.endsWith(`the ${counts} password counts`)));
      await back.close();
      const wrong = happens ? PASSWORD : NEW_PASSWORD;
      await refused(world.open("alice", { home, password: wrong, fresh: true, unlock: undefined }), WrongPasswordError);
      assert((await world.open("alice", { home, password: right, fresh: true, unlock: undefined })).isConnected);
    }, {
      wrapStore: intercept(async (change) => {
        if (happens) await change();
        killed();
        return await new Promise<never>(() => {});
      }),
    });
  });
}

Deno.test("a server that changes the salt by itself is refused before anything is derived (P1)", async () => {
  await withWorld(async (world) => {
    await (await world.open("alice")).close();
    const { store } = world.harness, { account, credentials } = store;
    store.account = async (name) => {
      const found = await account.call(store, name);
      return found && { ...found, stretching: { ...found.stretching, salt: new Uint8Array(16).fill(0x66) } };
    };
    await refused(fresh(world, PASSWORD), RefusedError, /salt is not this account's/);
    // Nor with a word that the identity never gave.
    store.credentials = async (name) => ({
      ...(await credentials.call(store, name))!,
      password: {
        serial: 9,
        statement: new Uint8Array(384).fill(1),
        change: { what: 1, device: "00".repeat(16) as never, timeMs: 1 },
      },
    });
    await refused(fresh(world, PASSWORD), RefusedError, /salt is not this account's/);
    store.account = account;
    store.credentials = credentials;
    assert((await fresh(world, PASSWORD)).isConnected);
  });
});

function recover(
  world: ChatWorld,
  home: string,
  recoveryKey: string,
  options: { name?: string; password?: string; signOutOthers?: boolean; unlock?: Uint8Array | undefined } = {},
): Promise<ChatClient> {
  const { name = "alice", ...rest } = options;
  return world.open(name, {
    home: world.home(home),
    recoveryKey,
    register: false,
    password: NEW_PASSWORD,
    ...rest,
  });
}

/** By the password, in Alice's own home. */
function fresh(world: ChatWorld, password: string): Promise<ChatClient> {
  return world.open("alice", { register: false, fresh: true, password, unlock: undefined });
}

function openAccount(world: ChatWorld, home: string) {
  const parts = openHome(world.home(home));
  try {
    return parts.credentials.account()!;
  } finally {
    parts.database.close();
  }
}

/** Whether that home has asked the server what its credentials are. */
function hasLooked(world: ChatWorld, home: string): boolean {
  return openAccount(world, home).recoveryMs !== undefined;
}

function listen(client: ChatClient): ChatEvent[] {
  const heard: ChatEvent[] = [];
  void (async () => {
    for await (const event of client.events()) heard.push(event);
  })();
  return heard;
}

function notices(heard: readonly ChatEvent[]): string[] {
  return heard.flatMap((event) => event.type === "notice" ? [event.text] : []);
}

/** A store whose changes of passwords go through `how`. */
function intercept(how: (change: () => ReturnType<Store["changePassword"]>) => ReturnType<Store["changePassword"]>) {
  return (store: Store): Store =>
    new Proxy(store, {
      get(target, key) {
        if (key === "changePassword") {
          return (...asked: Parameters<Store["changePassword"]>) => how(() => target.changePassword(...asked));
        }
        const value = Reflect.get(target, key);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
}

async function settled(met: () => boolean): Promise<void> {
  for (let turn = 0; turn < 100_000; turn++) {
    if (met()) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.fail("It never came to hold");
}

async function refused(promise: Promise<unknown>, kind: abstract new (...args: never[]) => Error, message = /./) {
  await assert.rejects(promise, (error: Error) => {
    assert(error instanceof kind, `${error.name}: ${error.message}`);
    assert.match(error.message, message);
    return true;
  });
}
