import assert from "node:assert/strict";
import { join } from "node:path";
import { TICKET_KEY_AGE_MS, TicketKeyFile } from "../../../shared/cluster/mod.ts";
import { inDirectory } from "../../temporary.ts";

const MINUTE_MS = 60_000;

Deno.test("TicketKeyFile makes keys for nobody else, and programs that start at once agree", () =>
  inDataDir(async (dataDir) => {
    const files = await Promise.all([0, 1, 2, 3].map(() => open(dataDir, () => 1_000)));
    const [first] = files.map(({ keys }) => keys.sealing);
    for (const file of files) {
      await file.refresh();
      assert.deepEqual(file.keys.sealing, first);
      assert.equal(file.keys.opening.length, 1);
      file.close();
    }
    const path = join(dataDir, "keys", "tickets.json");
    if (Deno.build.os !== "windows") assert.equal((await Deno.stat(path)).mode! & 0o777, 0o600);
  }));

Deno.test("TicketKeyFile makes a new key when the newest is too old, keeps two, and seals with it when all must know it", () =>
  inDataDir(async (dataDir) => {
    let nowMs = 1_000_000_000;
    const file = await open(dataDir, () => nowMs), other = await open(dataDir, () => nowMs);
    const first = file.keys.sealing;
    nowMs += TICKET_KEY_AGE_MS - 1;
    await file.refresh();
    assert.equal(file.keys.opening.length, 1);
    nowMs += 1;
    await file.refresh();
    const [second] = file.keys.opening;
    assert.notDeepEqual(second, first);
    assert.deepEqual(file.keys.opening[1]!.id, first.id);
    assert.deepEqual(file.keys.sealing.id, first.id, "others may not have read it yet");
    await other.refresh();
    assert.deepEqual(other.keys, file.keys);
    nowMs += 3 * MINUTE_MS;
    assert.deepEqual(file.keys.sealing, second);
    nowMs += TICKET_KEY_AGE_MS;
    await other.refresh();
    await file.refresh();
    assert.deepEqual(file.keys.opening.map(({ id }) => id), other.keys.opening.map(({ id }) => id));
    assert.equal(file.keys.opening.length, 2);
    assert.ok(!file.keys.opening.some(({ id }) => id.toHex() === first.id.toHex()), "two are kept");
    file.close();
    other.close();
  }));

Deno.test("TicketKeyFile makes new keys where the file is lost or damaged, and refuses an open one", () =>
  inDataDir(async (dataDir) => {
    const file = await open(dataDir, () => 1_000), path = join(dataDir, "keys", "tickets.json");
    const { sealing } = file.keys;
    for (
      const damage of [
        () => Deno.remove(path),
        () => Deno.writeTextFile(path, "{"),
        () => Deno.writeTextFile(path, "{}"),
      ]
    ) {
      await damage();
      // Time stamps of files are not finer than the clock that made them.
      await Deno.utime(path, 1, 1).catch(() => {});
      await file.refresh();
      assert.notDeepEqual(file.keys.sealing, sealing);
      assert.equal(file.keys.opening.length, 1);
    }
    file.close();
    if (Deno.build.os === "windows") return;
    await Deno.chmod(path, 0o644);
    await assert.rejects(open(dataDir, () => 1_000), /open to other users/);
  }));

function inDataDir(body: (dataDir: string) => Promise<void>): Promise<void> {
  return inDirectory(async (dataDir) => {
    await Deno.mkdir(join(dataDir, "keys"), { mode: 0o700 });
    await body(dataDir);
  });
}

function open(dataDir: string, nowMs: () => number): Promise<TicketKeyFile> {
  return TicketKeyFile.open({ dataDir, nowMs, maxAgeMs: TICKET_KEY_AGE_MS });
}
