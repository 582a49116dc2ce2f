/** What was removed is gone from the file, not only from its tables. */
import assert from "node:assert/strict";
import { makeBackup } from "../../../server/store/backup.ts";
import { SqliteDatabase } from "../../../server/store/sqlite/database.ts";
import { SqliteStore } from "../../../server/store/sqlite_store.ts";
import { silentLogger } from "../../../shared/log.ts";
import { inDirectory } from "../../temporary.ts";
import { befriend, bytesOf, recordOf, Told } from "./fixtures.ts";

Deno.test("trim() leaves nothing of a body in the database, nor in a backup of it", () =>
  inDirectory(async (directory) => {
    const path = `${directory}/store.db`, day = 24 * 3600 * 1000;
    const store = new SqliteStore(new SqliteDatabase(path), { listener: new Told(), logger: silentLogger });
    await befriend(store);
    const body = bytesOf("removed-and-not-to-be-found ".repeat(40));
    await store.append(Array.from({ length: 200 }, (_, at) => recordOf("alice", "bob", at, { nowMs: 0, body })));
    await store.append([recordOf("alice", "bob", "stays", { nowMs: 9 * day, body: bytesOf("kept-and-found") })]);
    const limits = { nowMs: 9 * day, ageMsMax: day, bytesMax: undefined, recordsMax: 128 };
    while (await store.trim(limits) > 0);
    await store.close();
    assert.deepEqual([await holds(path, "kept-and-found"), await holds(path, "not-to-be-found")], [true, false]);
    const about = { program: "test", madeAt: new Date(0).toISOString(), clusterId: "00".repeat(16), fingerprint: "" };
    const to = `${directory}/backup`;
    await makeBackup({ from: path, to, about, keys: new Map(), onProgress() {} });
    assert.deepEqual([await holds(to, "kept-and-found"), await holds(to, "not-to-be-found")], [true, false]);
  }));

async function holds(path: string, text: string): Promise<boolean> {
  return new TextDecoder("latin1").decode(await Deno.readFile(path)).includes(text);
}
