import assert from "node:assert/strict";
import { join } from "node:path";
import { FileLock } from "../../../shared/host/mod.ts";
import { inDirectory } from "../../temporary.ts";

/** Takes the lock it is told, says so, and keeps it until it is killed. */
const HOLDER = `
  import { FileLock } from ${JSON.stringify(new URL("../../../shared/host/mod.ts", import.meta.url).href)};
  const lock = await FileLock.tryAcquire(Deno.args[0]);
  console.log(lock === undefined ? "refused" : "held");
  setInterval(() => lock?.path, 1000);
`;

Deno.test("FileLock.tryAcquire() refuses a second holder until the first releases", () =>
  withLockFile(async (path) => {
    const first = await FileLock.tryAcquire(path);
    assert.ok(first);
    assert.equal(await FileLock.tryAcquire(path), undefined);
    assert.equal(await FileLock.holder(path), Deno.pid);
    first.release();
    first.release();
    using second = await FileLock.tryAcquire(path);
    assert.ok(second);
  }));

Deno.test("FileLock is dropped with its process, killed as it may be, and names its pid", () =>
  withLockFile(async (path) => {
    const program = `${path}.ts`;
    await Deno.writeTextFile(program, HOLDER);
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", program, path],
      stdout: "piped",
    }).spawn();
    const reader = child.stdout.getReader();
    assert.equal(new TextDecoder().decode((await reader.read()).value).trim(), "held");
    assert.equal(await FileLock.tryAcquire(path), undefined);
    assert.equal(await FileLock.holder(path), child.pid);
    const waiting = FileLock.acquire(path, { pollMs: 5 });
    child.kill("SIGKILL");
    (await waiting).release();
    await child.status;
    await reader.cancel();
  }));

Deno.test("FileLock.acquire() gives up when it is told to", () =>
  withLockFile(async (path) => {
    using _held = await FileLock.tryAcquire(path);
    const abort = new AbortController();
    const waiting = assert.rejects(FileLock.acquire(path, { pollMs: 1, signal: abort.signal }), /enough/);
    abort.abort(new Error("enough"));
    await waiting;
    await assert.rejects(FileLock.acquire(path, { signal: AbortSignal.abort(new Error("late")) }), /late/);
  }));

Deno.test("FileLock.acquire() lets one in at a time", () =>
  withLockFile(async (path) => {
    let inside = 0, most = 0, times = 0;
    await Promise.all(Array.from({ length: 5 }, async () => {
      using _lock = await FileLock.acquire(path, { pollMs: 1 });
      most = Math.max(most, ++inside);
      await Promise.resolve();
      times++;
      inside--;
    }));
    assert.deepEqual([most, times], [1, 5]);
  }));

Deno.test("FileLock.holder() knows nothing of a file that is missing or not a lock", () =>
  withLockFile(async (path) => {
    assert.equal(await FileLock.holder(path), undefined);
    for (const text of ["", "abc", "-4", "0"]) {
      await Deno.writeTextFile(path, text);
      assert.equal(await FileLock.holder(path), undefined, text);
    }
  }));

function withLockFile(body: (path: string) => Promise<void>): Promise<void> {
  return inDirectory((directory) => body(join(directory, "lock")));
}
