import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { Acks } from "../../../client/talk/acks.ts";
import { Changes } from "../../../client/home/changes.ts";
import { Database } from "../../../client/home/database.ts";
import { FastChatError } from "../../../client/errors.ts";
import { Shown } from "../../../client/talk/shown.ts";
import { fromBob, historyWithBob, withDatabase } from "../homes.ts";

Deno.test("Database.open() makes a file for its owner alone", async () => {
  await withDatabase((database, path) => {
    database.transaction(() => database.setMeta("a", "1"));
    if (Deno.build.os === "windows") return;
    for (const file of [path, `${path}-wal`, `${path}-shm`]) {
      assert.equal(Deno.statSync(file).mode! & 0o777, 0o600, file);
    }
  });
});

Deno.test("Database.open() keeps what is there and refuses what a newer program wrote", async () => {
  await withDatabase((database, path) => {
    database.setMeta("a", "1");
    const again = Database.open(path);
    assert.equal(again.meta("a"), "1");
    again.close();
    database.close();
    const raw = new DatabaseSync(path);
    raw.exec("PRAGMA user_version=99");
    raw.close();
    assert.throws(
      () => Database.open(path),
      (error) => error instanceof FastChatError && /version 99/.test(error.message),
    );
  });
});

Deno.test("Database.transaction() is all or nothing", async () => {
  await withDatabase((database) => {
    assert.throws(() =>
      database.transaction(() => {
        database.setMeta("a", "1");
        throw new RangeError("no");
      }), RangeError);
    assert.equal(database.meta("a"), undefined);
    assert.equal(database.transaction(() => (database.setMeta("a", "2"), 7)), 7);
    assert.equal(database.meta("a"), "2");
    database.setMeta("a", undefined);
    assert.equal(database.meta("a"), undefined);
  });
});

Deno.test("Database.transaction() sees what another connection committed before it", async () => {
  await withDatabase((one, path) => {
    const two = Database.open(path);
    const increase = (database: Database) =>
      database.transaction(() => database.setMeta("n", String(Number(database.meta("n") ?? 0) + 1)));
    for (let i = 0; i < 50; i++) increase(i % 2 ? one : two);
    assert.equal(one.meta("n"), "50");
    two.close();
  });
});

Deno.test("Changes tells own changes after the transaction and others' when it looks", async () => {
  await withDatabase(async (one, path) => {
    const two = Database.open(path), changes = new Changes(one, 1_000_000), heard: boolean[] = [];
    const stop = changes.listen((foreign) => heard.push(foreign));
    one.transaction(() => one.setMeta("a", "1"));
    one.transaction(() => one.setMeta("a", "2"));
    assert.deepEqual(heard, []);
    await Promise.resolve();
    assert.deepEqual(heard, [false]);
    changes.poll();
    assert.deepEqual(heard, [false]);
    two.transaction(() => two.setMeta("a", "3"));
    changes.poll();
    changes.poll();
    assert.deepEqual(heard, [false, true]);
    stop();
    one.transaction(() => one.setMeta("a", "4"));
    await Promise.resolve();
    assert.deepEqual(heard, [false, true]);
    changes.close();
    two.close();
  });
});

Deno.test("Database.rewrite() leaves nothing of former content, and everything else as it was", async () => {
  await withDatabase((database, path) => {
    const history = historyWithBob(database), acks = new Acks(database, new Shown(database));
    for (const seq of [1, 2, 3, 4]) history.add(fromBob(seq));
    acks.begin();
    assert.equal(acks.take({ holder: 1, leaseMs: 1_000, window: 10, nowMs: 0 })?.position, 1);
    const needle = "what was said here once".repeat(200);
    database.transaction(() => database.setMeta("former", needle));
    database.transaction(() => database.setMeta("former", undefined));
    database.run("DELETE FROM messages WHERE seq = 4");
    const everything = () =>
      database.all("SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite%' ORDER BY name").map((
        { name, sql },
      ) => [
        name,
        sql,
        /^CREATE TABLE/.test(String(sql)) ? database.all(`SELECT * FROM ${name}`) : [],
      ]);
    const before = everything();
    assert.equal(database.rewrite(), true);
    assert.deepEqual(everything(), before);
    assert.deepEqual(database.all("PRAGMA foreign_key_check"), []);
    assert.deepEqual(database.all("PRAGMA integrity_check").map(Object.values), [["ok"]]);
    assert.equal(database.get("PRAGMA foreign_keys")?.["foreign_keys"], 1);
    history.add(fromBob(5));
    assert.equal(history.lastPosition(), 5, "a number that was given is not given again");
    for (const file of [path, `${path}-wal`]) {
      assert.equal(new TextDecoder("latin1").decode(Deno.readFileSync(file)).includes("said here once"), false, file);
    }
  });
});
