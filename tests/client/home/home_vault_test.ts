import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { Database } from "../../../client/home/database.ts";
import { LockedError } from "../../../client/errors.ts";
import { Outbox } from "../../../client/talk/outbox.ts";
import { sealText, VaultError } from "../../../client/home/vault.ts";
import { Shown } from "../../../client/talk/shown.ts";
import { ALICE, BOB, BOBS_DEVICE, fromBob, historyWithBob, idOf, TALK, withDatabase } from "../homes.ts";
import { stretched, TEST_OWNER } from "../passwords.ts";

const PLAIN = new TextEncoder().encode("see you at ten");

Deno.test("HomeVault has no key before something is sealed, and one that lies open before there is a password", async () => {
  await withDatabase((database, path) => {
    const { vault } = database;
    assert.deepEqual([vault.isLocked, vault.isOpen], [false, false]);
    const sealed = vault.seal(PLAIN, "a b");
    assert.deepEqual([vault.isLocked, vault.isOpen], [false, true]);
    const again = Database.open(path);
    assert.deepEqual(again.vault.open(sealed, "a b"), PLAIN);
    assert.throws(() => again.vault.open(sealed, "a c"), VaultError);
    again.close();
  });
});

Deno.test("HomeVault.rewrap() closes a home: its key is gone from the disk, and its password or a token brings it back", async () => {
  await withDatabase(async (database, path) => {
    const sealed = database.vault.seal(PLAIN, "a b"), key = database.vault.key();
    const password = await stretched("violet otter"), token = new Uint8Array(32).fill(9);
    database.vault.rewrap(password, TEST_OWNER);
    assert.equal(database.vault.isOpen, false);
    const id = database.vault.addToken(token, "/a/file");
    assert.deepEqual(database.vault.open(sealed, "a b"), PLAIN, "who was there has it still");

    const opened = (unlock: (other: Database) => boolean | void) => {
      const other = Database.open(path);
      try {
        assert.equal(other.vault.isLocked, true);
        assert.throws(() => other.vault.open(sealed, "a b"), LockedError);
        assert.throws(() => other.vault.seal(PLAIN, "a b"), LockedError);
        assert.throws(() => other.vault.key(), LockedError);
        if (!unlock(other)) return undefined;
        return other.vault.open(sealed, "a b");
      } finally {
        other.close();
      }
    };
    assert.deepEqual(opened(({ vault }) => vault.unlockWithPassword(password)), PLAIN);
    assert.deepEqual(opened(({ vault }) => vault.unlockWithToken(token)), PLAIN);
    assert.deepEqual(opened(({ vault }) => vault.unlockWithKey(key)), PLAIN);
    const wrong = await stretched("violet otters");
    assert.equal(opened(({ vault }) => vault.unlockWithPassword(wrong)), undefined);
    assert.equal(opened(({ vault }) => vault.unlockWithToken(token.with(0, 8))), undefined);
    assert.equal(opened(({ vault }) => vault.unlockWithKey(key.with(0, key[0]! ^ 1))), undefined);

    // Another password: the one before is nobody's now, and the token goes on until it is revoked.
    const other = await stretched("canyon lagoon");
    database.vault.rewrap(other, TEST_OWNER);
    assert.equal(opened(({ vault }) => vault.unlockWithPassword(password)), undefined);
    assert.deepEqual(opened(({ vault }) => vault.unlockWithPassword(other)), PLAIN);
    assert.deepEqual(opened(({ vault }) => vault.unlockWithToken(token)), PLAIN);
    assert.deepEqual(database.vault.tokens().map(({ id, label }) => ({ id, label })), [{ id, label: "/a/file" }]);
    assert.equal(database.vault.tokenId(token), id);
    assert.equal(database.vault.revokeToken(id), true);
    assert.equal(database.vault.revokeToken(id), false);
    assert.equal(opened(({ vault }) => vault.unlockWithToken(token)), undefined);
    database.close();
    for (const file of [path, `${path}-wal`]) {
      const bytes = await Deno.readFile(file).catch(() => new Uint8Array());
      assert.equal(indexOf(bytes, key), -1, file);
    }
  });
});

Deno.test("HomeVault.rewrap() wipes what lay open from the file and its log, and goes on with that when others are in its way", async () => {
  await withDatabase(async (database, path) => {
    const history = historyWithBob(database);
    history.add(fromBob(1));
    const key = database.vault.key(), password = await stretched("violet otter");
    // A process that reads: the log has to stay as it is.
    const reader = new DatabaseSync(path);
    reader.exec("BEGIN; SELECT * FROM messages");
    database.vault.rewrap(password, TEST_OWNER);
    assert.equal(database.meta("open-traces"), "1");
    reader.close();
    Database.open(path).close();
    database.vault.clean();
    assert.equal(database.meta("open-traces"), undefined);
    const files = [path, `${path}-wal`].map((file) => Deno.readFileSync(file));
    assert.deepEqual(files.map((bytes) => indexOf(bytes, key)), [-1, -1]);
    assert.deepEqual(new Shown(database).unshown(10).length, 1);
  });
});

Deno.test("HomeVault: a key that is made in a transaction which fails is not used behind it", async () => {
  await withDatabase((database, path) => {
    assert.throws(() =>
      database.transaction(() => {
        database.vault.seal(PLAIN, "a b");
        throw new RangeError("no");
      }), RangeError);
    assert.equal(database.vault.isOpen, false);
    const other = Database.open(path);
    const theirs = other.vault.seal(PLAIN, "a b");
    const ours = database.vault.seal(PLAIN, "a c");
    assert.deepEqual(database.vault.open(theirs, "a b"), PLAIN);
    assert.deepEqual(other.vault.open(ours, "a c"), PLAIN);
    other.close();
  });
});

Deno.test("HomeVault: two processes may unlock, seal and change the password at once, and lose nothing", async () => {
  await withDatabase(async (database, path) => {
    const [one, two] = await Promise.all([stretched("violet otter"), stretched("canyon lagoon")]);
    database.vault.rewrap(one, TEST_OWNER);
    const other = Database.open(path);
    assert.equal(other.vault.unlockWithPassword(one), true);
    const ours = database.vault.seal(PLAIN, "a 1");
    other.vault.rewrap(two, TEST_OWNER);
    const theirs = other.vault.seal(PLAIN, "a 2");
    assert.deepEqual(database.vault.open(theirs, "a 2"), PLAIN);
    assert.deepEqual(other.vault.open(ours, "a 1"), PLAIN);
    assert.equal(database.vault.isSealedBy(two, TEST_OWNER), true);
    assert.equal(database.vault.isSealedBy(one, TEST_OWNER), false);
    other.close();
  });
});

Deno.test("HomeVault: a row does not open in another's place, and takes no others with it", async () => {
  await withDatabase((database) => {
    const history = historyWithBob(database), outbox = new Outbox(database, history);
    history.add(fromBob(1));
    history.add(fromBob(2, { text: "the other one" }));
    history.add({ ...fromBob(3), text: undefined!, reason: "a reason" });
    outbox.add({ id: idOf(11), peer: BOB, text: "eleven", createdMs: 1 });
    outbox.add({ id: idOf(12), peer: BOB, text: "twelve", createdMs: 2 });
    assert.deepEqual(outbox.list().map(({ text }) => text), ["eleven", "twelve"]);
    for (const [table, order] of [["messages", "position"], ["outbox", "place"]] as const) {
      const [first, second] = database.all(`SELECT ${order} AS at, sealed FROM ${table} ORDER BY ${order}`);
      database.run(
        `UPDATE ${table} SET sealed = ? WHERE ${order} = ?`,
        second!["sealed"] as Uint8Array,
        first!["at"] as number,
      );
    }
    assert.throws(() => outbox.list(), VaultError);
    // A reason is no text, whatever the row claims, and nobody's hand has sealed it.
    database.run("UPDATE messages SET text = '', reason = NULL WHERE seq = 3");
    database.run(
      "INSERT INTO messages (conversation, seq, id, sender, recipient, device, time_ms, own, text) VALUES (?, 4, ?, ?, ?, ?, 1, 0, 'mine')",
      TALK,
      idOf(4),
      BOB,
      ALICE,
      BOBS_DEVICE,
    );
    history.add(fromBob(5));
    const shown = new Shown(database).unshown(10).map(({ event }) =>
      event.type === "message" ? event.text : event.type
    );
    assert.deepEqual(shown, ["refused", "the other one", "refused", "refused", "text 5"]);
    assert.deepEqual(history.messagesIn(TALK, 10).map(({ text }) => text), ["the other one", "text 5"]);
  });
});

Deno.test("HomeVault: a damaged seal is said clearly, and nothing changes", async () => {
  await withDatabase(async (database, path) => {
    const password = await stretched("violet otter");
    database.vault.rewrap(password, TEST_OWNER);
    database.run("UPDATE seals SET sealed = substr(sealed, 1, 40)");
    const other = Database.open(path);
    const isDamage = (error: unknown) =>
      error instanceof VaultError && /sealed key of this home is damaged/.test(error.message);
    assert.throws(() => other.vault.passwordOwner(), isDamage);
    assert.throws(() => other.vault.unlockWithPassword(password), isDamage);
    assert.equal(other.vault.isLocked, true);
    other.close();
  });
});

Deno.test("sealText() keeps texts as they are", async () => {
  await withDatabase(({ vault }) => {
    for (const text of ["", "日本語", "\uFEFFmark", "a\nb"]) {
      const sealed = sealText(vault, text, "x");
      assert.equal(new TextDecoder("utf-8", { ignoreBOM: true }).decode(vault.open(sealed, "x")), text);
    }
  });
});

Deno.test("HomeVault.addNext() lets a second password in, until takeNext() or dropNext() says which of the two counts", async () => {
  const old = await stretched("violet otter"),
    next = await stretched("canyon lagoon"),
    third = await stretched("silver kettle");
  for (const outcome of ["take", "drop"] as const) {
    await withDatabase((database, path) => {
      const { vault } = database, token = new Uint8Array(32).fill(9);
      const opens = () => {
        const other = Database.open(path);
        try {
          const ways = [old, next, third].map((password) => other.vault.unlockWithPassword(password));
          return [...ways, other.vault.unlockWithToken(token)];
        } finally {
          other.close();
        }
      };
      const sealed = vault.seal(PLAIN, "a b");
      vault.rewrap(old, TEST_OWNER);
      vault.addToken(token, "/a/file");
      vault.addNext(third, TEST_OWNER);
      // Asked for again, with another password: only the last one may come.
      vault.addNext(next, TEST_OWNER);
      assert.deepEqual(opens(), [true, true, false, true]);
      assert.equal(vault.passwordOwners().length, 2);
      assert.equal(vault.isSealedBy(old, TEST_OWNER), true);
      for (let twice = 0; twice < 2; twice++) {
        if (outcome === "take") vault.takeNext();
        else vault.dropNext();
        assert.deepEqual(opens(), outcome === "take" ? [false, true, false, true] : [true, false, false, true]);
      }
      assert.equal(vault.isSealedBy(outcome === "take" ? next : old, TEST_OWNER), true);
      assert.deepEqual(vault.open(sealed, "a b"), PLAIN);
    });
  }
});

function indexOf(bytes: Uint8Array, needle: Uint8Array): number {
  for (let at = 0; at + needle.length <= bytes.length; at++) {
    let same = 0;
    while (same < needle.length && bytes[at + same] === needle[same]) same++;
    if (same === needle.length) return at;
  }
  return -1;
}
