/** What a backup leaves on the disk, and what it clears away. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { discardOld, makeBackup } from "../../../server/store/backup.ts";
import { SqliteDatabase } from "../../../server/store/sqlite/database.ts";
import { inDirectory } from "../../temporary.ts";

const ABOUT = { program: "0", madeAt: "2026-01-01T00:00:00.000Z", clusterId: "00".repeat(16), fingerprint: "SHA256:x" };

Deno.test("makeBackup() takes away what killed ones left beside its file, and nothing else", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "store.db");
    new SqliteDatabase(path).close();
    const backups = join(directory, "backups"), monday = join(backups, "monday.fcb");
    await Deno.mkdir(backups);
    // Pids come again: in a container a killed one may well have had ours.
    const ours = [`monday.fcb.${Deno.pid}.tmp`, `monday.fcb.${Deno.pid}.tmp-journal`];
    const old = ["monday.fcb.1.tmp", "monday.fcb.1.tmp-journal"];
    const others = ["monday.fcb.2.tmp", "monday.fcb.old", "monday.fcb.1.tmp.keep", "tuesday.fcb.1.tmp"];
    for (const name of [...ours, ...old, ...others]) {
      await Deno.writeTextFile(join(backups, name), "half of it");
      if (name !== "monday.fcb.2.tmp" && !ours.includes(name)) await Deno.utime(join(backups, name), 1e9, 1e9);
    }
    await makeBackup({ from: path, to: monday, about: ABOUT, keys: new Map(), onProgress: () => {} });
    assert.deepEqual(names(backups), ["monday.fcb", ...others].sort());
  }));

Deno.test("discardOld() takes away whole folders: what looking at a backup leaves when it is killed", () =>
  inDirectory(async (directory) => {
    const work = join(directory, "monday.fcb.1.tmp");
    await Deno.mkdir(join(work, "keys"), { recursive: true });
    await Deno.utime(work, 1e9, 1e9);
    await discardOld(join(directory, "monday.fcb"));
    assert.deepEqual(names(directory), []);
  }));

function names(directory: string): string[] {
  return [...Deno.readDirSync(directory)].map(({ name }) => name).sort();
}
