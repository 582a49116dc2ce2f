/** An archive of history with real programs: docs/PROTOCOL.md §21, SECURITY P8. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { eventually, fastchat, type Result, startCluster, startFastchat } from "./harness.ts";

const NEW_PASSWORD = "silver-kettle-avenue-77";

Deno.test("an archive, by real programs: what was said is read again in an empty home", async (test) => {
  const cluster = await startCluster(2), folder = await Deno.makeTempDir({ prefix: "fastchat-test-" });
  const home = (name: string) => join(folder, name), file = join(folder, "alice.key");
  const run = (words: string, at: string, options: Parameters<typeof fastchat>[1] = {}) =>
    fastchat([...words.split(" "), "--home", home(at)], options);
  try {
    await test.step("it is off, says what it means, and is switched on by who says yes and has the recovery key", async () => {
      ok(await run(`register alice --server ${cluster.server} --recovery-file ${file}`, "alice"));
      ok(await run(`register bob --server ${cluster.server}`, "bob"));
      ok(await run("send bob first-words", "alice"));
      const unasked = await run(`archive on --recovery-file ${file}`, "alice");
      assert.deepEqual([unasked.code, /trades forward secrecy.*--yes/s.test(unasked.stderr)], [2, true]);
      assert.equal(stateOf(await run("archive --json", "alice")).kept, undefined);
      const without = await run("archive on --yes", "alice");
      assert.deepEqual([without.code, /recovery key of alice is needed/.test(without.stderr)], [4, true]);
      const on = stateOf(await run(`archive on --yes --json --recovery-file ${file}`, "alice"));
      assert.deepEqual([on.on, on.waiting, on.kept?.chunks, on.kept?.opensNow], [true, 0, 1, true]);
    });

    await test.step("what comes is archived in an idle moment; kill -9 doubles nothing", async () => {
      const listener = startFastchat(["listen", "--json", "--home", home("alice")]), output = listener.output();
      ok(await run("send alice second-words", "bob"));
      // Whoever asked her home would keep it busy.
      await eventually(() => chunksIn(cluster.dataDir) >= 2, "it is archived");
      ok(await run("send alice third-words", "bob"));
      listener.kill("SIGKILL");
      await output;
      ok(await run("recv --wait 2", "alice"));
      assert.match(ok(await run("archive sync", "alice")).stdout, /This home archives/);
    });

    await test.step("recover in an empty home brings it back; the history says that it is from the archive", async () => {
      await Deno.remove(home("alice"), { recursive: true });
      const env = { env: { FASTCHAT_PASSWORD: NEW_PASSWORD, FASTCHAT_NEW_PASSWORD: NEW_PASSWORD } };
      const back = ok(
        await run(`recover alice --archive --json --recovery-file ${file} --server ${cluster.server}`, "found", env),
      );
      const lines = back.stdout.trim().split("\n").map((line) => JSON.parse(line));
      assert.deepEqual(lines.map(({ type }) => type), ["recovered", "archive-restored"]);
      assert.deepEqual([lines[1].messages, lines[1].known, lines[1].problems], [3, 0, []]);
      const history = ok(await run("history bob --json", "found", env)).stdout.trim().split("\n")
        .map((line) => JSON.parse(line));
      assert.deepEqual(history.map(({ from, text, copyFrom }) => [from, text, copyFrom]), [
        ["alice", "first-words", ""],
        ["bob", "second-words", ""],
        ["bob", "third-words", ""],
      ]);
      assert.match(ok(await run("history bob", "found", env)).stdout, /from your archive/);
    });

    await test.step("off --delete takes it away, by the password", async () => {
      const password = { env: { FASTCHAT_PASSWORD: NEW_PASSWORD } };
      assert.match(ok(await run("archive off --delete", "found", password)).stdout, /is deleted/);
      assert.equal(stateOf(await run("archive --json", "found", password)).kept, undefined);
    });
  } finally {
    await cluster.stop();
    await Deno.remove(folder, { recursive: true });
  }
});

function chunksIn(dataDir: string): number {
  const database = new DatabaseSync(join(dataDir, "store.db"), { readOnly: true, timeout: 10_000 });
  try {
    return database.prepare("SELECT count(*) AS count FROM archive_chunks").get()!["count"] as number;
  } finally {
    database.close();
  }
}

function stateOf(result: Result) {
  return JSON.parse(ok(result).stdout) as {
    readonly on: boolean;
    readonly waiting: number;
    readonly kept?: { readonly chunks: number; readonly opensNow: boolean };
  };
}

function ok(result: Result): Result {
  assert.equal(result.code, 0, result.stderr);
  return result;
}
