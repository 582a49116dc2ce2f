/** The key log in the client, against a real server core and against servers that lie (SECURITY M13). */
import assert from "node:assert/strict";
import { ChatClient, KeyLogError } from "../../../client/mod.ts";
import { KeyLog, type KeyLogNews } from "../../../client/trust/key_log.ts";
import { openHome } from "../../../client/home_parts.ts";
import {
  deviceEntry,
  EMPTY_KEY_LOG,
  encodeKeyStatement,
  makeCertificate,
  nextKeyLogHead,
  sha256,
  signApproval,
  signPolicy,
  signRevocation,
} from "../../../shared/crypto/mod.ts";
import type { DirectoryEntry, RequestOf, UserName } from "../../../shared/protocol/mod.ts";
import { MemoryKeyLog } from "../../../server/store/memory/key_log.ts";
import type { Store } from "../../../server/store/store.ts";
import { TEST_CLUSTER, TEST_NOT_AFTER_MS, TEST_NOT_BEFORE_MS, testKeys } from "../../keys.ts";
import { withFolder } from "../homes.ts";
import { withWorld } from "../chat_world.ts";
import { nextNotice } from "../notices.ts";

const ALICE = "alice" as UserName, BOB = "bob" as UserName;

/** A home of alice's beside a log that a test writes. */
async function withLog(use: (world: LogWorld) => Promise<void>): Promise<void> {
  await withFolder(async (folder) => {
    const { database } = openHome(folder);
    try {
      await use(new LogWorld(database));
    } finally {
      database.close();
    }
  });
}

class LogWorld {
  readonly log: KeyLog;
  served = new MemoryKeyLog();
  /** Entries given in one answer. */
  pageMax = 3;
  /** Requests, in order. */
  readonly asked: string[] = [];
  readonly news: KeyLogNews[] = [];
  readonly forks: string[] = [];
  /** What the server gives instead of an entry. */
  readonly swapped = new Map<number, Uint8Array | undefined>();

  constructor(readonly database: ReturnType<typeof openHome>["database"]) {
    this.log = new KeyLog({
      database,
      self: { name: ALICE, clusterId: TEST_CLUSTER },
      ask: (request: RequestOf<"keyLog"> | RequestOf<"keyEntries">) => Promise.resolve(this.#answer(request)) as never,
      onNews: (news) => this.news.push(...news),
      onFork: (text) => this.forks.push(text),
    });
  }

  #answer(request: RequestOf<"keyLog"> | RequestOf<"keyEntries">): unknown {
    this.asked.push(request.type);
    if (request.type === "keyLog") return { type: "keyLog", ...this.served.page(request.after, this.pageMax) };
    const entries = this.served.entries(request.numbers).flatMap(({ number, entry }) => {
      if (!this.swapped.has(number)) return [{ number, entry }];
      const other = this.swapped.get(number);
      return other === undefined ? [] : [{ number, entry: other }];
    });
    return { type: "keyEntries", entries };
  }
}

Deno.test("KeyLog.catchUp() has the whole chain, and entries of those only that this home follows", async () => {
  await withLog(async ({ log, served, asked, news, database }) => {
    assert.deepEqual([log.length, log.head, log.knows(EMPTY_KEY_LOG)], [0, EMPTY_KEY_LOG, true]);
    const { alice, bob } = await testKeys();
    let head = EMPTY_KEY_LOG;
    const heads: Uint8Array[] = [];
    for (let number = 1; number <= 8; number++) {
      const [user, entry] = number === 2
        ? [ALICE, deviceEntry(alice.certificate)] as const
        : number === 5
        ? [BOB, deviceEntry(bob.certificate)] as const
        : [`stranger${number}` as UserName, new Uint8Array([number])] as const;
      served.add(user, entry);
      heads.push(head = nextKeyLogHead(head, user, sha256(entry)));
    }
    await log.catchUp();
    assert.deepEqual([log.length, new Uint8Array(log.head)], [8, head]);
    assert(heads.every((one) => log.knows(one) === true));
    assert.deepEqual(asked, ["keyLog", "keyLog", "keyLog", "keyEntries"]);
    assert.equal(log.history(ALICE)!.devices.size, 1);
    assert.equal(log.history(BOB), undefined);
    await log.follow([BOB]);
    assert.equal(log.history(BOB)!.identity.toHex(), bob.identity.fingerprint.toHex());
    assert.deepEqual(news, [], "what is learned of somebody for the first time is no news");
    assert.equal(database.get("SELECT count(*) AS n FROM key_entries")!["n"], 2);
    asked.length = 0;
    await log.catchUp(8);
    await log.follow([BOB]);
    assert.deepEqual(asked, [], "nothing is missing");
  });
});

Deno.test("KeyLog.knows() a head only once the log has been read after it was named", async () => {
  await withLog(async ({ log, served }) => {
    const { alice } = await testKeys();
    served.add(ALICE, deviceEntry(alice.certificate));
    const later = served.page(0, 1).head, made = sha256(new Uint8Array([1]));
    assert.equal(log.knows(later), undefined);
    assert.equal(log.knows(made), undefined);
    await log.catchUp();
    assert.equal(log.knows(later), true);
    assert.equal(log.knows(made), false);
    assert.equal(log.knows(sha256(new Uint8Array([2]))), undefined, "another one may have come since");
  });
});

Deno.test("KeyLog.isRevoked() says the same for the same number of entries, whatever came since", async () => {
  await withLog(async ({ log, served, news }) => {
    const { alice, alice2 } = await testKeys(), owner = { clusterId: TEST_CLUSTER, user: ALICE };
    served.add(ALICE, deviceEntry(alice.certificate));
    served.add(ALICE, deviceEntry(alice2.certificate));
    await log.catchUp();
    assert.equal(log.isRevoked(ALICE, alice2.id), false);
    const revocation = await signRevocation(alice.identity.privateKey, owner, { device: alice2.id, timeMs: 1 });
    served.add(BOB, new Uint8Array([1]));
    served.add(ALICE, encodeKeyStatement(revocation));
    await log.catchUp();
    assert.equal(log.isRevoked(ALICE, alice2.id), true);
    assert.deepEqual([2, 3, 4, 5].map((upto) => log.isRevoked(ALICE, alice2.id, upto)), [false, false, true, true]);
    assert.equal(log.isRevoked(ALICE, alice.id), false);
    assert.equal(log.isRevoked(BOB, alice.id), false, "of whom nothing is known");
    assert.deepEqual(news.map(({ number, said, fault }) => [number, said?.type, fault]), [[4, "revoke", undefined]]);
  });
});

Deno.test("KeyLog.vet() leaves of a directory's entry the devices that the log vouches for, and refuses another identity", async () => {
  await withLog(async ({ log, served }) => {
    const { alice, alice2, bob } = await testKeys(), owner = { clusterId: TEST_CLUSTER, user: ALICE };
    const { privateKey, spki } = alice.identity;
    served.add(ALICE, deviceEntry(alice.certificate));
    served.add(ALICE, deviceEntry(alice2.certificate));
    // Her own identity's, but said in no log: whoever has stolen it could show it to one person alone.
    const unsaid = await makeCertificate({
      clusterId: TEST_CLUSTER,
      user: ALICE,
      device: bob.id,
      leafKey: bob.leaf.publicKey,
      envelopeKey: bob.envelopeKey,
      identityKey: spki,
      notBeforeMs: TEST_NOT_BEFORE_MS,
      notAfterMs: TEST_NOT_AFTER_MS,
      serial: 1,
    }, privateKey);
    const certificates = [alice.certificate, unsaid, alice2.certificate];
    const shown: DirectoryEntry = { name: ALICE, identityKey: spki, deviceRevision: 1, certificates };
    const vetted = async () => (await log.vet(shown)).certificates.map((one) => certificates.indexOf(one));
    assert.deepEqual(await vetted(), [0, 2]);
    served.add(
      ALICE,
      encodeKeyStatement(await signRevocation(privateKey, owner, { device: alice2.id, timeMs: 1 })),
    );
    await log.catchUp();
    assert.deepEqual(await vetted(), [0]);
    await assert.rejects(log.vet({ ...shown, identityKey: bob.identity.spki }), KeyLogError);
    await assert.rejects(log.vet({ ...shown, name: BOB }), KeyLogError, "of whom the log says nothing");
  });
});

Deno.test("KeyLog: an entry about oneself that no key of one's own has signed is told, and does not count", async () => {
  await withLog(async ({ log, served, news }) => {
    const { alice, alice2, bob } = await testKeys(), owner = { clusterId: TEST_CLUSTER, user: ALICE };
    served.add(ALICE, deviceEntry(alice.certificate));
    served.add(ALICE, deviceEntry(alice2.certificate));
    await log.catchUp();
    const by = bob.identity.privateKey;
    const ghost = await makeCertificate({
      clusterId: TEST_CLUSTER,
      user: ALICE,
      device: bob.id,
      leafKey: bob.leaf.publicKey,
      envelopeKey: bob.envelopeKey,
      identityKey: bob.identity.spki,
      notBeforeMs: TEST_NOT_BEFORE_MS,
      notAfterMs: TEST_NOT_AFTER_MS,
      serial: 1,
    }, by);
    const approval = { device: alice2.id, certificate: sha256(alice2.certificate), by: alice.id, timeMs: 1 };
    const forged = [
      deviceEntry(ghost),
      encodeKeyStatement(await signRevocation(by, owner, { device: alice.id, timeMs: 1 })),
      encodeKeyStatement(await signPolicy(by, owner, { approval: false, number: 9, timeMs: 1 })),
      encodeKeyStatement(signApproval(bob.leaf, owner, approval)),
      // By the device itself, which nobody has approved.
      encodeKeyStatement(signApproval(alice2.leaf, owner, { ...approval, by: alice2.id })),
      // Alice's own, of another cluster.
      encodeKeyStatement(
        await signRevocation(alice.identity.privateKey, { ...owner, clusterId: new Uint8Array(16) }, {
          device: alice.id,
          timeMs: 1,
        }),
      ),
      new Uint8Array([99, 1, 2]),
    ];
    for (const entry of forged) served.add(ALICE, entry);
    await log.catchUp();
    assert.deepEqual(news.map(({ fault }) => fault), [
      "the device is certified by another identity",
      "the signature is not by the key that it needs",
      "the signature is not by the key that it needs",
      "the signature is not by the key that it needs",
      "it is by a device that nobody has approved",
      "the signature is not by the key that it needs",
      "it cannot be read",
    ]);
    assert.equal(log.faults(ALICE).length, forged.length);
    const history = log.history(ALICE)!;
    assert.deepEqual([...history.devices.keys()], [alice.id, alice2.id]);
    assert.equal(log.isRevoked(ALICE, alice.id), false);
    assert.equal(history.devices.get(alice2.id)!.approvedAt, undefined);
  });
});

for (
  const [what, tamper, pattern] of [
    ["takes entries back", (world: LogWorld) => world.served = new MemoryKeyLog(), /now has 0 entries, it had shown 2/],
    ["puts another entry in place of one", (world: LogWorld) => {
      const other = new MemoryKeyLog();
      for (let number = 1; number <= 3; number++) other.add(BOB, new Uint8Array([number]));
      world.served = other;
    }, /does not go on from the 2 entries/],
  ] as const
) {
  Deno.test(`KeyLog: a server that ${what} is named, and nothing goes on`, async () => {
    await withLog(async (world) => {
      const { alice } = await testKeys();
      world.served.add(ALICE, deviceEntry(alice.certificate));
      world.served.add(BOB, new Uint8Array([1]));
      await world.log.catchUp();
      tamper(world);
      await assert.rejects(world.log.catchUp(), (error) => {
        assert(error instanceof KeyLogError);
        assert.equal(error.exitCode, 6);
        assert.match(error.message, pattern);
        return true;
      });
      assert.equal(world.forks.length, 1);
      assert.equal(world.log.length, 2, "what it was shown first stays");
      assert.throws(() => world.log.requireOne(), KeyLogError);
      await assert.rejects(world.log.catchUp(), KeyLogError);
      await assert.rejects(world.log.vet({} as DirectoryEntry), KeyLogError);
      assert.equal(world.forks.length, 1, "told once");
      KeyLog.accept(world.database);
      await world.log.catchUp();
      assert.equal(world.log.length, world.served.length);
    });
  });
}

for (
  const [what, entry, pattern] of [
    ["withholds an entry", undefined, /holds back entry 1/],
    ["shows another entry than the one in the chain", new Uint8Array([7]), /entry 1 is not the one in the chain/],
  ] as const
) {
  Deno.test(`KeyLog: a server that ${what} is named`, async () => {
    await withLog(async (world) => {
      const { alice } = await testKeys();
      world.served.add(ALICE, deviceEntry(alice.certificate));
      world.swapped.set(1, entry);
      await assert.rejects(world.log.catchUp(), pattern);
      assert.match(world.log.fork!, pattern);
      assert.equal(world.log.history(ALICE), undefined);
    });
  });
}

Deno.test("KeyLog: what a sender names and the server never showed is reported by whoever finds it", async () => {
  await withLog(async ({ log, forks }) => {
    log.reportFork("bob was shown another log");
    log.reportFork("and carol");
    assert.deepEqual(forks, ["bob was shown another log"]);
    assert.throws(() => log.requireOne(), /bob was shown another log/);
    await Promise.resolve();
  });
});

Deno.test("ChatClient: a directory with another key than the key log's gets nothing, at the first contact too", async () => {
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
    await world.open("mallory");
    const [mallory] = await world.harness.store.directory(["mallory" as UserName]);
    const [own] = await world.harness.store.directory([bob.name]);
    swapped = { ...mallory!, name: bob.name };
    await assert.rejects(alice.send("bob", "secret", { timeoutMs: 3_000 }));
    assert.deepEqual(bob.unshown(), []);
    // Bob's identity, and a device that nobody has certified.
    swapped = { ...own!, certificates: [...own!.certificates, ...mallory!.certificates] };
    await alice.send("bob", "hello");
    assert.equal(await bob.waitForUnshown(30_000), true);
  }, { wrapStore });
});

Deno.test("ChatClient tells loudly of an entry about its person that none of their devices made", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice"), events = alice.events(), { bob } = await testKeys();
    await alice.devices();
    const entry = encodeKeyStatement(
      await signPolicy(bob.identity.privateKey, { clusterId: TEST_CLUSTER, user: alice.name }, {
        approval: true,
        number: 1,
        timeMs: 1,
      }),
    );
    // A server that is not honest looks at no signature.
    await world.harness.store.changeKeys({
      user: alice.name,
      after: 1,
      entry,
      effect: { type: "policy", approval: true },
    });
    assert.match(await nextNotice(events, "key-log"), /says something about you that none of your devices has said/);
    assert.equal(await alice.needsApproval(), false);
  });
});

Deno.test("ChatClient.trustServer() accepts what the server shows now, after it was set back", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice");
    await world.open("bob");
    await alice.send("bob", "before");
    await alice.devices();
    await alice.close();
    // As if it had been restored from a backup of an hour ago.
    const { database } = openHome(alice.home);
    database.transaction(() =>
      database.run("UPDATE key_log SET hash = zeroblob(32), head = zeroblob(32) WHERE number = 2")
    );
    database.close();
    const again = await world.open("alice", { password: undefined });
    await assert.rejects(again.devices(), /does not go on from the 2 entries/);
    await assert.rejects(again.send("bob", "nothing", { timeoutMs: 60_000 }), KeyLogError);
    await again.close();
    const later = await world.open("alice", { password: undefined });
    assert.match(await nextNotice(later.events(), "key-log"), /fastchat trust --server/);
    await later.close();
    await ChatClient.trustServer({ home: alice.home, server: "memory:9000", dial: world.dial });
    const third = await world.open("alice", { password: undefined });
    await third.send("bob", "after");
  });
});

Deno.test("ChatClient: two people who are shown two key logs find out at the next message, and stop", async () => {
  await withWorld(async (world) => {
    const alice = await world.open("alice");
    await (await world.open("carol")).close();
    // To Bob the server never says that Carol has signed up.
    const { store } = world.harness;
    const forked = async () => {
      const log = new MemoryKeyLog(), { entries } = await store.keyLog(0, 100);
      for (const [at, { user }] of entries.entries()) {
        const [found] = await store.keyEntries([at + 1]);
        if (user !== "carol") log.add(user, found!.entry);
      }
      return log;
    };
    const liar = new Proxy(store, {
      get: (target, key) => {
        if (key === "keyLog") return async (after: number, limit: number) => (await forked()).page(after, limit);
        if (key === "keyEntries") return async (numbers: readonly number[]) => (await forked()).entries(numbers);
        return Reflect.get(target, key).bind?.(target) ?? Reflect.get(target, key);
      },
    });
    const bob = await world.open("bob", { dial: world.dialWith({ store: liar }) }), events = bob.events();
    await alice.send("bob", "hello");
    assert.match(await nextNotice(events, "fork"), /alice/);
    await assert.rejects(bob.send("alice", "hello?", { timeoutMs: 60_000 }), /shown different things/);
    // Alice hears of it as soon as Bob says anything to her; until then she sees nothing wrong.
    assert.equal(alice.unshown().length, 0);
  });
});
