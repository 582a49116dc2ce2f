/** A cluster that keeps messages for a month, and somebody who was away for longer. */
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { eventually, fastchat, type Result, startCluster } from "./harness.ts";
import { inDirectory } from "../temporary.ts";

Deno.test("retention: old messages go, the new ones come, and what is missing is named once", async () => {
  await inDirectory(async (directory) => {
    const data = `${directory}/data`;
    let cluster = await startCluster(2, [], data);
    const at = (name: string) => ["--home", `${directory}/${name}`];
    try {
      for (const name of ["alice", "bob"]) {
        succeeded(await fastchat(["register", name, "--server", cluster.server, ...at(name)]));
      }
      for (const text of ["one", "two", "three", "four"]) {
        succeeded(await fastchat(["send", "bob", text, ...at("alice")]));
      }
      await cluster.stop();
      // The commit that made their group and the first three were sent forty days ago.
      change(data, "UPDATE log SET time_ms = time_ms - 40 * 86400000 WHERE seq <= 4");
      cluster = await startCluster(2, ["--retention-days", "30"], data, cluster.port);
      await eventually(() => logged(data, "store.trimmed"), "the old messages are removed");
      const first = succeeded(await fastchat(["recv", "--json", ...at("bob")]));
      const events = first.stdout.trim().split("\n").map((line) => JSON.parse(line));
      assert.deepEqual(events.map(({ text, reason, seq }) => [seq, text ?? reason]), [
        [4, "4 earlier messages were removed by the server, which does not keep them for ever"],
        [5, "four"],
      ]);
      assert.doesNotMatch(first.stdout + first.stderr, /never came|holds back/);
      succeeded(await fastchat(["send", "bob", "five", ...at("alice")]));
      const second = succeeded(await fastchat(["recv", ...at("bob")]));
      assert.match(second.stdout, /five/);
      assert.doesNotMatch(second.stdout + second.stderr, /removed|four/);
    } finally {
      await cluster.stop();
    }
    const database = new DatabaseSync(`${data}/store.db`, { readOnly: true, timeout: 10_000 });
    const { begins, head } = database.prepare("SELECT begins, head FROM conversations").get()!;
    assert.deepEqual([begins, head, database.prepare("SELECT count(*) AS rows FROM log").get()!["rows"]], [4, 6, 2]);
    database.close();
  });
});

function succeeded(result: Result): Result {
  assert.equal(result.code, 0, result.stderr);
  return result;
}

function change(data: string, statement: string): void {
  const database = new DatabaseSync(`${data}/store.db`);
  database.exec(statement);
  database.close();
}

async function logged(data: string, event: string): Promise<boolean> {
  for (const number of [0, 1]) {
    if ((await Deno.readTextFile(`${data}/log/server-${number}.log`).catch(() => "")).includes(event)) return true;
  }
  return false;
}
