/** The commands about what became of messages: `status`, `outbox`, `settings`, and what `listen`, `history` and `send` say of it. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { eventually, fastchat, lines, startCluster, startFastchat } from "./harness.ts";

Deno.test("status, history and listen --json tell how far a message has come, outbox what waits; offline too", async () => {
  const cluster = await startCluster(2), folder = await Deno.makeTempDir({ prefix: "fastchat-states-" });
  const home = (name: string) => ["--home", join(folder, name)];
  const run = async (name: string, ...args: string[]) => {
    const { code, stdout, stderr } = await fastchat([...args, ...home(name)]);
    return { code, out: stdout.trimEnd(), err: stderr };
  };
  const json = async (name: string, ...args: string[]) =>
    (await run(name, ...args, "--json")).out.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
  let stopped = false;
  try {
    for (const name of ["alice", "bob"]) {
      assert.equal((await run(name, "register", name, "--server", cluster.server)).code, 0);
    }
    const [sent] = await json("alice", "send", "bob", "hello");
    assert.equal(sent.state, "stored");
    const [stored] = await json("alice", "status", sent.id);
    const { conversation, id } = sent;
    assert.deepEqual(stored, {
      type: "state",
      id,
      conversation,
      to: "bob",
      state: "stored",
      delivered: 0,
      read: 0,
      members: 1,
      time: sent.time,
    });

    // Bob reads, and says so.
    assert.equal((await run("bob", "settings")).out, "read-receipts off\ntyping on");
    await run("bob", "recv");
    assert.match((await run("alice", "status", id)).out, /^✓✓ delivered to bob/);
    assert.equal((await run("bob", "settings", "read-receipts", "on")).out, "read-receipts on");
    await run("bob", "recv");
    assert.equal((await json("alice", "status", id))[0].state, "read");
    assert.deepEqual((await json("alice", "history", "bob")).map(({ state }) => state), ["read"]);
    assert.deepEqual((await json("bob", "history", "alice")).map(({ state }) => state), [undefined]);

    // What changed while nobody listened, then what changes now.
    const listener = startFastchat(["listen", "--json", ...home("alice")]);
    const states: string[] = [];
    const listening = (async () => {
      for await (const line of lines(listener.stdout)) {
        const event = JSON.parse(line);
        if (event.type === "state") states.push(event.state);
      }
    })();
    await eventually(() => states.length >= 3 || undefined, "what changed before");
    assert.deepEqual(states, ["stored", "delivered", "read"]);
    await run("alice", "send", "bob", "again");
    await eventually(() => states.length >= 4 || undefined, "a message of another process of the home");
    assert.equal(states.at(-1), "stored");
    listener.kill("SIGTERM");
    await Promise.all([listening, listener.status, listener.stderr.cancel(), listener.stdin.close()]);

    // Mistakes.
    assert.equal((await run("alice", "status", "0".repeat(32))).code, 2);
    assert.match((await run("alice", "status", "nonsense")).err, /no message id/);
    assert.equal((await run("alice", "settings", "read-receipts", "maybe")).code, 2);

    const failed = await run("alice", "send", "nobody", "is there anybody");
    assert.equal(failed.code, 5);
    const [given] = await json("alice", "outbox");
    assert.deepEqual([given.state, given.text, given.to], ["failed", "is there anybody", "nobody"]);
    assert.match(given.reason, /nobody/);

    await cluster.stop();
    stopped = true;
    const offline = await run("alice", "status", id);
    assert.deepEqual([offline.code, /read/.test(offline.out)], [0, true]);
    assert.match(offline.err, /cannot be reached/);
    assert.match((await run("alice", "outbox")).out, /not sent → nobody: is there anybody/);
    assert.equal((await run("alice", "outbox", "drop", given.id)).code, 0);
    assert.equal((await run("alice", "outbox")).out, "");
    assert.equal((await run("alice", "outbox", "drop", given.id)).code, 2);
  } finally {
    if (!stopped) await cluster.stop();
    await Deno.remove(folder, { recursive: true });
  }
});
