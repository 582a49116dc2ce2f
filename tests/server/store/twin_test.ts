/** Random operations on SQLite and on the in-memory twin agree: answers, what was told, and what is there at the end. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { MemoryStore } from "../../../server/store/memory.ts";
import { SqliteDatabase } from "../../../server/store/sqlite/database.ts";
import { SqliteStore } from "../../../server/store/sqlite_store.ts";
import type { Store } from "../../../server/store/store.ts";
import { KEPT_MS, TAKEN_MS } from "../../../server/store/groups.ts";
import type { ConversationId, DeviceId, MessageId, UserName } from "../../../shared/protocol/mod.ts";
import { RECORD_AGE_MS_MIN } from "../../../shared/limits.ts";
import { silentLogger } from "../../../shared/log.ts";
import { plain } from "./contract.ts";
import { bytesOf, deviceOf, directOf, idOf, nameOf, newDevice, newUser, Told } from "./fixtures.ts";

Deno.test("SqliteStore and MemoryStore agree on random operations", async () => {
  const directory = await Deno.makeTempDir({ prefix: "fastchat-store-" });
  let run = 0;
  try {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 120, size: "max" }), async (steps) => {
        const path = `${directory}/${run++}.db`;
        const told = new Told(), twinTold = new Told(), twin = new MemoryStore(twinTold);
        let store = openSqlite(path, told);
        for (const one of [store, twin]) {
          for (const name of ["alice", "bob"]) await one.createUser(newUser(name));
          await one.openDirect(directOf("alice", "bob"), nameOf("alice"), nameOf("bob"));
          await one.createGroup(idOf<ConversationId>("group", 1), nameOf("alice"), deviceOf("alice"));
        }
        for (const [at, current] of steps.entries()) {
          if (current === "reopen") {
            await store.close();
            store = openSqlite(path, told);
            continue;
          }
          const [found, wanted] = [await outcome(store, current), await outcome(twin, current)];
          assert.deepEqual(found, wanted, `step ${at}`);
        }
        assert.deepEqual(plain(told), plain(twinTold));
        assert.deepEqual(await contentOf(store), await contentOf(twin));
        await store.close();
      }),
      { numRuns: 60 },
    );
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

type Step = ((store: Store) => Promise<unknown>) | "reopen";

const NAMES = ["alice", "bob", "carol"];
const user = fc.constantFrom(...NAMES);
const device = fc.record({ user, number: fc.constantFrom(1, 1, 1, 2, 3) });
const direct = fc.tuple(user, user).map(([one, two]) => directOf(one, two));
const group = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...[1, 1, 2].map((number) => idOf<ConversationId>("group", number))) },
  { weight: 1, arbitrary: direct },
);
const place = fc.oneof({ weight: 1, arbitrary: direct }, { weight: 4, arbitrary: group });
const conversation = fc.oneof({ weight: 3, arbitrary: direct }, { weight: 2, arbitrary: group });
const entry = fc.tuple(device, place, fc.integer({ min: 0, max: 30 }), fc.option(fc.nat(6), { freq: 2 })).map((
  [sender, id, number, last],
) => ({
  user: nameOf(sender.user),
  device: deviceOf(sender.user, sender.number),
  conversation: id,
  messageId: idOf<MessageId>("message", number),
  lastCommit: last ?? undefined,
  body: bytesOf("commit"),
  nowMs: 1_000,
}));
const record = fc.record({
  conversation,
  messageId: fc.integer({ min: 0, max: 30 }).map((number) => idOf<MessageId>("message", number)),
  expectedEpoch: fc.integer({ min: 0, max: 6 }),
  body: fc.uint8Array({ maxLength: 20 }),
  sender: device,
  honest: fc.integer({ min: 0, max: 9 }),
  nowMs: fc.integer({ min: 0, max: 1e6 }),
});

const receipt = fc.record({
  conversation,
  delivered: fc.nat(8),
  hash: fc.constant(new Uint8Array(32).fill(1)),
  read: fc.nat(8),
  signature: fc.constant(new Uint8Array(64).fill(2)),
});

/** Signing up and opening come more often than chance would have it, or nothing ever happens. */
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: call(
      device,
      (store, { user, number }) => store.createUser({ ...newUser(user), device: newDevice(user, number) }),
    ),
  },
  {
    weight: 2,
    arbitrary: call(device, (store, { user, number }) => store.addDevice(nameOf(user), newDevice(user, number))),
  },
  {
    weight: 5,
    arbitrary: call(
      fc.tuple(user, user, device),
      (store, [one, two, { user, number }]) =>
        store.openDirect(directOf(one, two), nameOf(one), nameOf(two), deviceOf(user, number)),
    ),
  },
  {
    weight: 12,
    arbitrary: call(
      fc.array(record, { minLength: 1, maxLength: 8 }),
      (store, records) =>
        store.append(records.map(({ sender, honest, ...rest }) => ({
          ...rest,
          user: nameOf(honest === 0 ? "bob" : sender.user),
          device: deviceOf(sender.user, sender.number),
        }))),
    ),
  },
  {
    weight: 3,
    arbitrary: call(
      fc.tuple(user, conversation, fc.nat(10), fc.nat(10)),
      (store, [name, id, after, limit]) => store.read(nameOf(name), id, after, limit),
    ),
  },
  {
    weight: 3,
    arbitrary: call(
      fc.tuple(user, device, fc.array(fc.record({ conversation, seq: fc.nat(10) }), { maxLength: 4 })),
      (store, [name, { user, number }, cursors]) => store.setCursors(nameOf(name), deviceOf(user, number), cursors),
    ),
  },
  {
    weight: 4,
    arbitrary: call(
      fc.tuple(user, device, fc.array(receipt, { maxLength: 4 })),
      (store, [name, { user, number }, receipts]) => store.setReceipts(nameOf(name), deviceOf(user, number), receipts),
    ),
  },
  {
    weight: 2,
    arbitrary: call(
      fc.tuple(user, fc.array(conversation, { maxLength: 3 }), fc.option(device, { nil: undefined }), fc.nat(4)),
      (store, [name, ids, after, limit]) =>
        store.receipts(nameOf(name), ids, after && deviceOf(after.user, after.number), limit),
    ),
  },
  {
    weight: 2,
    arbitrary: call(
      fc.tuple(device, fc.nat(3), fc.nat(100)),
      (store, [{ user, number }, token, expiresMs]) =>
        store.createSession({
          tokenHash: tokenOf(token),
          user: nameOf(user),
          device: deviceOf(user, number),
          expiresMs,
        }),
    ),
  },
  {
    weight: 2,
    arbitrary: call(fc.tuple(fc.nat(3), fc.nat(100)), (store, [token, nowMs]) => store.session(tokenOf(token), nowMs)),
  },
  { weight: 1, arbitrary: call(fc.nat(3), (store, token) => store.deleteSession(tokenOf(token))) },
  {
    weight: 2,
    arbitrary: call(
      fc.tuple(device, fc.nat(2), fc.nat(100)),
      (store, [{ user, number }, key, nowMs]) =>
        store.setRecovery(nameOf(user), {
          proofHash: bytesOf(`proof ${key}`),
          backup: bytesOf(`seal ${key}`),
          device: deviceOf(user, number),
          nowMs,
        }),
    ),
  },
  {
    weight: 3,
    arbitrary: call(
      fc.record({
        at: device,
        from: fc.nat(2),
        to: fc.nat(2),
        serial: fc.integer({ min: 1, max: 4 }),
        byKey: fc.boolean(),
        endOthers: fc.boolean(),
        keep: fc.option(fc.nat(3), { nil: undefined }),
      }),
      (store, { at: { user, number }, from, to, serial, byKey, endOthers, keep }) =>
        store.changePassword({
          name: nameOf(user),
          expected: byKey
            ? { recoveryProofHash: bytesOf(`proof ${from}`) }
            : { passwordHash: bytesOf(from === 0 ? `hash of ${user}` : `hash ${from}`) },
          stretching: { salt: new Uint8Array(16).fill(to), log2N: 17 },
          serial,
          statement: bytesOf(`statement ${serial}`),
          passwordHash: bytesOf(`hash ${to}`),
          backup: bytesOf(`backup ${to}`),
          device: deviceOf(user, number),
          newDevice: byKey ? newDevice(user, number) : undefined,
          endOthers,
          keep: keep === undefined ? undefined : tokenOf(keep),
          nowMs: 7,
        }),
    ),
  },
  { weight: 2, arbitrary: call(user, (store, name) => store.credentials(nameOf(name))) },
  {
    weight: 3,
    arbitrary: call(
      fc.tuple(user, fc.nat(1), fc.nat(2)),
      (store, [name, key, recovery]) =>
        store.setArchiveKey(nameOf(name), {
          keyId: new Uint8Array(16).fill(key),
          sealed: bytesOf(`key ${key}`),
          recoveryProofHash: bytesOf(`proof ${recovery}`),
          nowMs: 9,
        }),
    ),
  },
  {
    weight: 4,
    arbitrary: call(
      fc.tuple(user, fc.nat(1), fc.nat(1), fc.integer({ min: 1, max: 3 }), fc.nat(1)),
      (store, [name, key, stream, number, what]) =>
        store.putArchiveChunk({
          user: nameOf(name),
          keyId: new Uint8Array(16).fill(key),
          stream: new Uint8Array(16).fill(stream),
          number,
          body: bytesOf(`chunk ${what}`),
          hash: new Uint8Array(32).fill(what),
          archiveBytesMax: 30,
          nowMs: number,
        }),
    ),
  },
  {
    weight: 1,
    arbitrary: call(
      fc.tuple(user, fc.nat(1)),
      (store, [name, key]) => store.dropArchive(nameOf(name), new Uint8Array(16).fill(key)),
    ),
  },
  {
    weight: 1,
    arbitrary: call(
      fc.tuple(user, fc.option(fc.nat(3), { nil: undefined })),
      (store, [name, keep]) => store.raiseGeneration(nameOf(name), keep === undefined ? undefined : tokenOf(keep)),
    ),
  },
  {
    weight: 2,
    arbitrary: call(
      fc.record({
        nowMs: fc.integer({ min: RECORD_AGE_MS_MIN, max: RECORD_AGE_MS_MIN + 2e6 }),
        ageMsMax: fc.integer({ min: RECORD_AGE_MS_MIN, max: RECORD_AGE_MS_MIN + 1e6 }),
        recordsMax: fc.integer({ min: 1, max: 5 }),
      }),
      async (store, limits) => {
        // Records of groups that ended go at a time of their own.
        while (await store.sweep(0));
        return await store.trim({ ...limits, bytesMax: undefined });
      },
    ),
  },
  {
    weight: 4,
    arbitrary: call(
      fc.tuple(group, device),
      (store, [id, { user, number }]) => store.createGroup(id, nameOf(user), deviceOf(user, number)),
    ),
  },
  {
    weight: 12,
    arbitrary: call(
      fc.record({
        entry,
        add: fc.uniqueArray(user, { maxLength: 2 }),
        remove: fc.oneof({ weight: 3, arbitrary: fc.constant<string[]>([]) }, fc.uniqueArray(user, { maxLength: 1 })),
        welcomes: fc.array(device, { maxLength: 3 }),
        tree: fc.uint8Array({ maxLength: 3 }),
      }),
      (store, { entry, add, remove, welcomes, tree }) =>
        withCommit(store, entry, (entry) =>
          store.commit({
            ...entry,
            add: add.map(nameOf),
            remove: remove.filter((name) => !add.includes(name)).map(nameOf),
            welcomes: welcomes.map(({ user, number }) => ({
              device: deviceOf(user, number),
              body: bytesOf("welcome"),
            })),
            tree,
          })),
    ),
  },
  { weight: 2, arbitrary: call(entry, (store, entry) => withCommit(store, entry, (entry) => store.leave(entry))) },
  {
    weight: 2,
    arbitrary: call(
      fc.tuple(user, place, fc.string({ maxLength: 2 }), fc.nat(3)),
      (store, [name, id, after, limit]) => store.members(nameOf(name), id, after, limit),
    ),
  },
  {
    weight: 4,
    arbitrary: call(
      fc.tuple(user, place, fc.nat(6), device, fc.boolean()),
      (store, [name, id, lastCommit, { user, number }, isOwn]) =>
        store.invite({
          user: isOwn ? nameOf(user) : nameOf(name),
          device: isOwn ? deviceOf(user, number) : deviceOf(name),
          conversation: id,
          lastCommit,
          welcome: { device: deviceOf(user, number), body: bytesOf("invitation") },
          tree: bytesOf("tree"),
          nowMs: 1_000,
        }),
    ),
  },
  {
    weight: 3,
    arbitrary: call(
      fc.tuple(device, place),
      (store, [{ user, number }, id]) => store.welcome(nameOf(user), deviceOf(user, number), id),
    ),
  },
  {
    weight: 4,
    arbitrary: call(
      fc.tuple(device, place, fc.constantFrom(1, 2), fc.nat(1000)),
      (store, [{ user, number }, conversation, kind, timeMs]) =>
        store.ask({
          conversation,
          user: nameOf(user),
          device: deviceOf(user, number),
          kind,
          body: bytesOf("me"),
          timeMs,
        }),
    ),
  },
  {
    weight: 2,
    arbitrary: call(
      fc.tuple(user, fc.option(place, { nil: undefined }), fc.nat(4)),
      (store, [name, id, limit]) => store.asks(nameOf(name), id, undefined, limit),
    ),
  },
  {
    weight: 1,
    arbitrary: call(
      fc.tuple(user, place, device),
      (store, [name, id, { user, number }]) => store.dropAsk(nameOf(name), id, deviceOf(user, number)),
    ),
  },
  {
    weight: 3,
    arbitrary: call(
      fc.tuple(
        device,
        fc.array(fc.uint8Array({ minLength: 1, maxLength: 1 }), { maxLength: 3 }),
        fc.boolean(),
        fc.nat(3),
      ),
      (store, [{ user, number }, oneTime, last, hours]) =>
        store.putKeyPackages({
          user: nameOf(user),
          device: deviceOf(user, number),
          oneTime,
          lastResort: last ? bytesOf("last") : undefined,
          nowMs: hours * TAKEN_MS,
        }),
    ),
  },
  {
    weight: 3,
    arbitrary: call(
      fc.tuple(device, place, fc.uniqueArray(user, { maxLength: 3 }), fc.nat(3)),
      (store, [{ user, number }, conversation, names, hours]) =>
        store.takeKeyPackages({
          user: nameOf(user),
          device: deviceOf(user, number),
          conversation,
          names: names.map(nameOf),
          nowMs: hours * TAKEN_MS,
        }),
    ),
  },
  {
    weight: 3,
    arbitrary: call(
      fc.tuple(device, device, place, fc.nat(2), fc.nat(2), fc.boolean(), fc.nat(1000)),
      (store, [giver, taker, conversation, bundle, part, unlessGiven, nowMs]) =>
        store.putHistory({
          user: nameOf(giver.user),
          device: deviceOf(giver.user, giver.number),
          conversation,
          to: deviceOf(taker.user, taker.number),
          bundle: idOf<MessageId>("bundle", bundle),
          part: part % (bundle + 1),
          parts: bundle + 1,
          body: bytesOf(`part ${part}`),
          unlessGiven,
          nowMs,
        }),
    ),
  },
  {
    weight: 2,
    arbitrary: call(
      fc.tuple(device, fc.nat(3)),
      (store, [{ user, number }, after]) => store.history(nameOf(user), deviceOf(user, number), after),
    ),
  },
  {
    weight: 1,
    arbitrary: call(
      fc.tuple(device, fc.array(fc.integer({ min: 1, max: 6 }), { maxLength: 3 }), fc.boolean()),
      (store, [{ user, number }, numbers, isTaken]) =>
        store.dropHistory(nameOf(user), deviceOf(user, number), numbers, isTaken),
    ),
  },
  {
    weight: 2,
    arbitrary: call(fc.constantFrom(2_000, KEPT_MS + 500), async (store, nowMs) => {
      while (await store.sweep(nowMs));
    }),
  },
  { weight: 1, arbitrary: fc.constant("reopen" as const) },
);

function call<T>(values: fc.Arbitrary<T>, run: (store: Store, value: T) => Promise<unknown>): fc.Arbitrary<Step> {
  return values.map((value) => (store: Store) => run(store, value));
}

/** The one there is, where none is given: or next to no commit would ever be the right one. */
async function withCommit<E extends { user: UserName; device: DeviceId; conversation: ConversationId }, T>(
  store: Store,
  entry: E & { readonly lastCommit: number | undefined },
  perform: (entry: E & { readonly lastCommit: number }) => Promise<T>,
): Promise<T> {
  const heads = await store.conversations(entry.user, entry.device, undefined, 100);
  const head = heads.find(({ conversation }) => conversation === entry.conversation);
  const newest = head?.kind === 2 || (head?.head ?? 0) > 0 ? head?.epoch ?? 0 : 0;
  return await perform({ ...entry, lastCommit: entry.lastCommit ?? newest });
}

async function outcome(store: Store, run: (store: Store) => Promise<unknown>): Promise<unknown> {
  try {
    return { value: plain(await run(store)) };
  } catch (error) {
    return { error: (error as Error).message };
  }
}

/** Everything that can be read. */
async function contentOf(store: Store): Promise<unknown> {
  const content: unknown[] = [await store.users("", 10), await store.directory(NAMES.map(nameOf))];
  for (const name of NAMES) {
    content.push(await store.account(nameOf(name)), await store.archive(nameOf(name)));
    for (const stream of [0, 1]) {
      content.push(await store.archiveChunks(nameOf(name), new Uint8Array(16).fill(stream), 0));
    }
    for (const number of [1, 2, 3]) {
      content.push(await store.conversations(nameOf(name), deviceOf(name, number), undefined, 10));
    }
    for (const peer of NAMES) content.push(await store.read(nameOf(name), directOf(name, peer), 0, 100));
    for (const number of [1, 2]) {
      const id = idOf<ConversationId>("group", number);
      content.push(await store.read(nameOf(name), id, 0, 100), await store.members(nameOf(name), id, "", 10));
      for (const  of of[1, 2, 3]) content.push(await store.welcome(nameOf(name), deviceOf(name, of), id));
    }
    content.push(await store.asks(nameOf(name), undefined, undefined, 100));
  }
  for (const token of [0, 1, 2, 3]) content.push(await store.session(tokenOf(token), 0));
  return plain(content);
}

function tokenOf(number: number): Uint8Array {
  const token = new Uint8Array(32);
  token.set(bytesOf(`token ${number}`));
  return token;
}

function openSqlite(path: string, told: Told): SqliteStore {
  return new SqliteStore(new SqliteDatabase(path), { listener: told, logger: silentLogger });
}
